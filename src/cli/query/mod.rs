//! `lookout query`

mod http;
mod mqtt;
mod serial;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::watch::Request;
use crate::{Code, Error, Result};

use super::args::{Global, text};
use super::console::{Console, Outcome};

#[derive(Args)]
#[command(subcommand_value_name = "QUESTION", subcommand_help_heading = "Questions")]
#[command(after_help = "Examples:
  lookout query --serial /dev/ttyACM0 label --labels \"a dog, a cat\"
  lookout query --serial /dev/ttyUSB0 --baud 921600 snapshot --out now.jpg
  lookout query --mqtt mqtt://broker --device kitchen caption --json
  lookout query --http http://kitchen:8040 --token-file token ask \"is the stove on?\"
  lookout query --serial /dev/ttyACM0 watch")]
pub(super) struct Query {
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    serial: serial::SerialArgs,
    #[command(flatten)]
    mqtt: mqtt::MqttArgs,
    #[command(flatten)]
    http: http::HttpArgs,
    /// Name of the camera [default: the first one]
    #[arg(long, value_name = "NAME", value_parser = text())]
    camera: Option<String>,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    timeout: Duration,
    #[command(subcommand)]
    what: What,
}

/// How the lookout is reached.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct To {
    /// Ask over this serial port
    #[arg(long, value_name = "PORT")]
    serial: Option<PathBuf>,
    /// Ask through this broker: mqtt://host:1883 or mqtts://host:8883
    #[arg(long, value_name = "URL")]
    mqtt: Option<String>,
    /// Ask its page: http://host:8040
    #[arg(long, value_name = "URL")]
    http: Option<String>,
}

#[derive(Subcommand)]
enum What {
    /// Which of these words fit what the camera sees?
    Label {
        /// Labels, separated by commas
        #[arg(long, value_name = "LABELS", value_parser = text())]
        labels: String,
    },
    /// Say in one sentence what the camera sees
    Caption,
    /// Where is this? Prints boxes
    Ground {
        /// What to look for
        #[arg(value_parser = text())]
        phrase: String,
    },
    /// Answer a question
    Ask {
        /// The question
        #[arg(value_parser = text())]
        question: String,
    },
    /// Does what the camera sees support this sentence?
    Check {
        /// The sentence
        #[arg(value_parser = text())]
        sentence: String,
    },
    /// Search past events by words; without words the newest
    Find {
        /// What to look for
        #[arg(value_parser = text())]
        words: Option<String>,
        /// How long ago at most: 90s, 2h, 3d
        #[arg(long, value_name = "TIME", value_parser = since)]
        since: Option<String>,
        /// Most events
        #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
        top: Option<usize>,
    },
    /// Fetch the newest picture
    Snapshot {
        /// JPEG file to write
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
    /// How is the lookout?
    Status,
    /// Print events as they come, until interrupted
    Watch,
}

/// Asks the page at `url` one question, for other commands. The answer itself does not matter to them.
pub(super) fn ask_page(url: &str, token_file: Option<PathBuf>, timeout: Duration, request: &Request) -> Result<()> {
    http::Http::new(url, &http::HttpArgs { token_file }, timeout)?.ask(request).map(|_| ())
}

/// A way to a lookout.
trait Way {
    /// The answer's object.
    fn ask(&mut self, request: &Request) -> Result<Value>;

    /// The answer's object and the JPEG file.
    fn snapshot(&mut self, request: &Request) -> Result<(Value, Vec<u8>)>;

    /// Hands over events as they come, until it fails or `tell` does.
    fn watch(&mut self, tell: &mut dyn FnMut(&Value) -> Outcome) -> Outcome;
}

impl Query {
    pub fn run(self, _: &Global, console: &Console) -> Outcome {
        let request = self.what.request(self.camera.as_deref())?;
        let mut way = self.way()?;
        match (&self.what, request) {
            (What::Snapshot { out }, Some(request)) => {
                let (mut reply, jpeg) = way.snapshot(&request)?;
                std::fs::write(out, &jpeg).map_err(|error| {
                    let message = format!("{} cannot be written: {error}", out.display());
                    Error::new(Code::Output, message, "is the folder there, and may it be written?")
                })?;
                reply["out"] = out.display().to_string().into();
                console.answer(&reply, || format!("{} bytes written into {}\n", jpeg.len(), out.display()))
            }
            (_, Some(request)) => {
                let reply = way.ask(&request)?;
                console.answer(&reply, || show::reply(&reply))
            }
            (_, None) => way.watch(&mut |event: &Value| console.answer(event, || show::event(event))),
        }
    }

    fn way(&self) -> Result<Box<dyn Way>> {
        let way: Box<dyn Way> = match (&self.to.serial, &self.to.mqtt, &self.to.http) {
            (Some(port), ..) => Box::new(serial::Serial::open(port, &self.serial, self.timeout)?),
            (None, Some(url), _) => Box::new(mqtt::Mqtt::new(url, &self.mqtt, self.timeout)?),
            (None, None, url) => {
                Box::new(http::Http::new(url.as_deref().unwrap_or_default(), &self.http, self.timeout)?)
            }
        };
        Ok(way)
    }
}

impl What {
    /// What is asked; `None` for [`What::Watch`].
    fn request(&self, camera: Option<&str>) -> Result<Option<Request>> {
        let mut fields = match self {
            What::Label { labels } => json!({"task": "label", "labels": labels}),
            What::Caption => json!({"task": "caption"}),
            What::Ground { phrase } => json!({"task": "ground", "phrase": phrase}),
            What::Ask { question } => json!({"task": "ask", "question": question}),
            What::Check { sentence } => json!({"task": "check", "sentence": sentence}),
            What::Find { words, since, top } => json!({"task": "find", "words": words, "since": since, "top": top}),
            What::Snapshot { .. } => json!({"task": "snapshot"}),
            What::Status => json!({"task": "status"}),
            What::Watch => return Ok(None),
        };
        if let Some(camera) = camera {
            fields["camera"] = camera.into();
        }
        Request::from_json(fields.to_string().as_bytes()).map(|(request, _)| Some(request)).map_err(|(error, _)| error)
    }
}

/// A request in its JSON form, as MQTT and the page take it.
fn body(request: &Request) -> Result<String> {
    let mut body = serde_json::to_value(&request.question)
        .map_err(|error| Error::new(Code::Usage, format!("the question has no JSON form: {error}"), "reword it"))?;
    if let Some(camera) = &request.camera {
        body["camera"] = camera.clone().into();
    }
    Ok(body.to_string())
}

fn only_serial(what: &str) -> Error {
    Error::new(
        Code::Unsupported,
        format!("{what} needs --serial"),
        "MQTT tells events on lookout/NAME/event (mosquitto_sub), the page on /api/stream (curl -N)",
    )
}

fn time(typed: &str) -> Result<Duration, String> {
    match crate::seconds::parse(typed)? {
        Duration::ZERO => Err("no time at all is too short".to_owned()),
        time => Ok(time),
    }
}

fn since(typed: &str) -> Result<String, String> {
    crate::seconds::parse(typed).map(|_| typed.to_owned())
}
