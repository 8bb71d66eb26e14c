//! Over a serial line, in frames.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::link::serial::Client;
use crate::protocol::{About, Answer, Event, Findings, Label, Name, Phase, Question as Asked, Score, Status, Watch};
use crate::watch::{FindEvents, Question, Request};
use crate::{Code, Error, Result};

use super::super::console::Outcome;
use super::Way;

#[derive(Args)]
pub(super) struct SerialArgs {
    /// Bits a second of the serial line, the same as the lookout's
    #[arg(long, value_name = "N", default_value_t = 115_200, conflicts_with_all = ["mqtt", "http"],
          value_parser = clap::value_parser!(u32).range(1_200..=3_000_000))]
    baud: u32,
    /// Ask about this JPEG file, which is sent over the line, in place of the camera's picture
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mqtt", "http", "camera"])]
    picture: Option<std::path::PathBuf>,
}

pub(super) struct Serial {
    client: Client,
    /// What was sent, to be asked about.
    sent: Option<u32>,
}

impl Serial {
    pub fn open(port: &Path, args: &SerialArgs, timeout: Duration) -> Result<Self> {
        let jpeg = args.picture.as_ref().map(|path| {
            std::fs::read(path).map_err(|error| {
                let message = format!("the picture {} cannot be read: {error}", path.display());
                Error::new(Code::Input, message, "give a JPEG file")
            })
        });
        let jpeg = jpeg.transpose()?;
        let mut client = Client::open(port, args.baud, timeout)?;
        let sent = jpeg.map(|jpeg| client.send(&jpeg)).transpose()?;
        Ok(Self { client, sent })
    }

    fn about(&self, request: &Request) -> Result<Option<About>> {
        if let Some(sent) = self.sent {
            return Ok(Some(About::Picture(sent)));
        }
        Ok(camera(request)?.map(About::Camera))
    }
}

impl Way for Serial {
    fn ask(&mut self, request: &Request) -> Result<Value> {
        let (asked, words) = match &request.question {
            Question::Label { labels } => (Asked::Label, labels.join(", ")),
            Question::Caption {} => (Asked::Caption, String::new()),
            Question::Ground { phrase, .. } => (Asked::Ground, phrase.clone()),
            Question::Ask { question } => (Asked::Ask, question.clone()),
            Question::Check { sentence } => (Asked::Check, sentence.clone()),
            Question::Find(find) => (Asked::Find, words(find)),
            Question::Snapshot {} => (Asked::Snapshot, String::new()),
            Question::Status {} => return Ok(status(&self.client.status()?)),
        };
        let about = self.about(request)?;
        let answer = self.client.ask_about(about, asked, &words)?;
        Ok(reply(request.question.task(), request.camera.as_deref(), &answer))
    }

    fn snapshot(&mut self, request: &Request) -> Result<(Value, Vec<u8>)> {
        let snapshot = self.client.snapshot(camera(request)?)?;
        let (width, height) = (snapshot.width, snapshot.height);
        let value = json!({"task": "snapshot", "width": width, "height": height, "bytes": snapshot.jpeg.len()});
        Ok((value, snapshot.jpeg))
    }

    fn watch(&mut self, tell: &mut dyn FnMut(&Value) -> Outcome) -> Outcome {
        // Who never spoke in frames is not told events in frames.
        self.client.status()?;
        loop {
            if let Some(told) = self.client.next_event(Duration::from_secs(3_600))? {
                tell(&event(&told))?;
            }
        }
    }
}

fn camera(request: &Request) -> Result<Option<Name>> {
    let name = |camera: &String| {
        Name::try_from(camera.as_str()).map_err(|_| {
            Error::new(Code::Usage, format!("{camera:?} is too long for a camera's name"), "see `query ... status`")
        })
    };
    request.camera.as_ref().map(name).transpose()
}

/// As they are typed on the line.
fn words(find: &FindEvents) -> String {
    let since = find.since.as_ref().map(|since| format!("since {since}"));
    let top = find.top.map(|top| format!("top {top}"));
    [find.words.clone(), since, top].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn reply(task: &str, camera: Option<&str>, answer: &Answer) -> Value {
    let mut fields = Map::from_iter([("task".to_owned(), json!(task))]);
    if let Some(camera) = camera {
        fields.insert("camera".to_owned(), camera.into());
    }
    let mut put = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    match &answer.findings {
        Findings::Labels(labels) => {
            let (mut all, mut none) = (Vec::new(), None);
            for label in labels {
                match &label.label {
                    Label::Is(name) => all.push(json!({"label": name.as_str(), "score": share(label.score)})),
                    Label::None => none = Some(share(label.score)),
                }
            }
            put("labels", all.into());
            if let Some(none) = none {
                put("none", none);
            }
        }
        Findings::Caption { text, score } => {
            put("caption", text.as_str().into());
            put("score", share(*score));
        }
        Findings::Boxes(boxes) => {
            let found = |found: &crate::protocol::ScoredBox| json!({"box": found.rect, "score": share(found.score)});
            put("boxes", boxes.iter().map(found).collect());
        }
        Findings::Words { text, score } => {
            put("answer", text.as_str().into());
            put("score", share(*score));
        }
        Findings::Verdict { supported, score } => {
            put("supported", (*supported).into());
            put("score", share(*score));
        }
        Findings::Events(events) => {
            let found = |found: &crate::protocol::Found| json!({"id": found.event, "began_ms": found.unix_ms, "score": share(found.score)});
            put("events", events.iter().map(found).collect());
        }
        Findings::Snapshot { bytes, width, height } => {
            put("width", (*width).into());
            put("height", (*height).into());
            put("bytes", (*bytes).into());
        }
    }
    put("ms", answer.ms.into());
    fields.into()
}

fn status(status: &Status) -> Value {
    let watch = match status.watch {
        Watch::Starting => "starting",
        Watch::Watching => "watching",
        Watch::Paused => "paused",
        Watch::Blind => "blind",
    };
    let mut value = json!({
        "task": "status", "watch": watch, "uptime_s": status.uptime_s, "looks": status.frames,
        "events": status.events, "look_ms": status.look_ms, "throttled": status.throttled,
        "bundle": status.bundle.as_str(),
    });
    if let Some(tenths) = status.decidegrees {
        value["celsius"] = json!(f64::from(tenths) / 10.0);
    }
    value
}

fn event(event: &Event) -> Value {
    let phase = match event.phase {
        Phase::Began => "begin",
        Phase::Updated => "update",
        Phase::Ended => "end",
    };
    let mut value = json!({
        "id": event.id, "trigger": event.trigger.as_str(), "phase": phase, "at_ms": event.unix_ms,
        "score": share(event.score),
    });
    if !event.caption.is_empty() {
        value["caption"] = event.caption.as_str().into();
    }
    value
}

/// A score with as many digits as the wire has.
fn share(score: Score) -> Value {
    (f64::from(u16::from(score)) / 10_000.0).into()
}
