//! Questions and settings that came in, answered by a few threads so that a slow answer holds nothing up.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use serde_json::{Value, json};

use super::topics::Setting;
use crate::watch::{Answer as Found, Desk, Reply, Request};
use crate::{Code, Error, Result};

/// Questions and settings that may wait; what comes beyond is refused at once.
const WAITING: usize = 8;
/// Threads that put questions to the desk.
const WORKERS: usize = 2;
/// Longest words that may be set for a trigger, in bytes.
const MAX_WHEN: usize = 1024;

/// What somebody wants of the lookout.
pub(super) enum Wish {
    Ask(Box<Asked>),
    Arm(bool),
    When { trigger: String, words: String },
}

/// A question, and how to answer it.
pub(super) struct Asked {
    pub request: Request,
    pub id: Option<Value>,
    pub back: Back,
}

/// Where an answer goes.
#[derive(Debug, Clone)]
pub(super) struct Back {
    pub topic: String,
    /// The question's own quality of service.
    pub qos: QoS,
    /// The question's correlation data, content type and format.
    pub properties: PublishProperties,
}

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Answer {
    pub back: Back,
    pub body: Vec<u8>,
}

/// What a worker tells the connection.
pub(super) enum Done {
    Answered(Answer),
    /// Something was set, or could not be: the state is worth telling anew.
    Settled,
}

/// The threads, as long as this lives.
pub(super) struct Questions {
    wishes: Sender<Wish>,
}

impl Questions {
    /// `done` is called on the threads. They end once this is dropped and their last question is answered.
    pub fn start(
        desk: Arc<dyn Desk>,
        patience: Duration,
        done: impl Fn(Done) + Send + Clone + 'static,
    ) -> io::Result<Self> {
        let (wishes, waiting) = bounded(WAITING);
        for _ in 0..WORKERS {
            let (desk, waiting, done) = (desk.clone(), waiting.clone(), done.clone());
            thread::Builder::new()
                .name("mqtt-ask".to_owned())
                .spawn(move || work(&*desk, &waiting, patience, &done))?;
        }
        Ok(Self { wishes })
    }

    /// Gives the wish back where too many wait.
    pub fn put(&self, wish: Wish) -> Result<(), Wish> {
        self.wishes.try_send(wish).map_err(TrySendError::into_inner)
    }
}

impl Back {
    /// The way back that a question asks for. Where it asks for none it is `usual`; so it is where it asks for one that
    /// cannot be, with what is wrong about it.
    pub fn of(question: &Publish, usual: &str, may: impl Fn(&str) -> bool) -> (Self, Option<Error>) {
        let asked = question.properties.as_ref();
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some("application/json".to_owned()),
            correlation_data: asked.and_then(|properties| properties.correlation_data.clone()),
            ..PublishProperties::default()
        };
        let qos = if question.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let back = |topic: &str| Self { topic: topic.to_owned(), qos, properties: properties.clone() };
        match asked.and_then(|properties| properties.response_topic.as_deref()) {
            None => (back(usual), None),
            Some(topic) if may(topic) => (back(topic), None),
            Some(topic) => {
                let shown: String = topic.chars().take(80).collect();
                let error = Error::new(
                    Code::Usage,
                    format!("no answer can go to the topic {shown:?}"),
                    format!("name a response topic of your own without wildcards, or none: answers go to {usual}"),
                );
                (back(usual), Some(error))
            }
        }
    }
}

impl Answer {
    /// The answer that says what went wrong.
    pub fn error(back: Back, id: Option<&Value>, error: &Error) -> Self {
        let mut body = json!({
            "error": {"code": error.code().as_str(), "message": error.message(), "help": error.help()}
        });
        if let Some(id) = id {
            body["id"] = id.clone();
        }
        Self { back, body: body.to_string().into_bytes() }
    }

    /// The answer to a question for which there is no room.
    pub fn busy(back: Back, id: Option<&Value>) -> Self {
        let error = Error::new(Code::Busy, "too many questions wait already", "ask again in a moment");
        Self::error(back, id, &error)
    }

    fn reply(back: Back, id: Option<Value>, reply: &Reply) -> Self {
        let mut body = serde_json::to_value(reply).unwrap_or_else(|error| json!({"error": error.to_string()}));
        if let Found::Snapshot(snapshot) = &reply.answer {
            body["jpeg"] = BASE64.encode(&snapshot.jpeg).into();
        }
        if let Some(id) = id {
            body["id"] = id;
        }
        Self { back, body: body.to_string().into_bytes() }
    }
}

fn work(desk: &dyn Desk, waiting: &Receiver<Wish>, patience: Duration, done: &impl Fn(Done)) {
    for wish in waiting {
        match wish {
            Wish::Ask(asked) => {
                let Asked { request, id, back } = *asked;
                done(Done::Answered(match desk.ask(&request, patience) {
                    Ok(reply) => Answer::reply(back, id, &reply),
                    Err(error) => Answer::error(back, id.as_ref(), &error),
                }));
            }
            Wish::Arm(armed) => {
                desk.arm(armed);
                done(Done::Settled);
            }
            Wish::When { trigger, words } => {
                if let Err(error) = set_when(desk, &trigger, words) {
                    log::warn!("mqtt: the words of trigger {trigger} were not set: {error} ({})", error.help());
                }
                done(Done::Settled);
            }
        }
    }
}

fn set_when(desk: &dyn Desk, name: &str, words: String) -> Result<()> {
    let known = desk.triggers().into_iter().find(|trigger| trigger.name == name);
    let Some(mut trigger) = known else {
        return Err(Error::new(Code::Usage, "there is no such trigger", "see `triggers` in the device's state"));
    };
    if trigger.like.is_some() {
        return Err(Error::new(Code::Usage, "it looks for a picture, not for words", "edit it in the configuration"));
    }
    trigger.when = Some(words);
    trigger.check()?;
    desk.put_trigger(trigger)
}

/// What a message on a topic below `set` wants. Errors name what was sent.
pub(super) fn read_setting(setting: Setting, payload: &[u8]) -> Result<Wish> {
    let shown = || String::from_utf8_lossy(&payload[..payload.len().min(60)]).into_owned();
    match setting {
        Setting::Armed => match payload {
            b"ON" => Ok(Wish::Arm(true)),
            b"OFF" => Ok(Wish::Arm(false)),
            _ => Err(Error::new(Code::Usage, format!("{:?} is neither ON nor OFF", shown()), "send ON or OFF")),
        },
        Setting::When(trigger) => match std::str::from_utf8(payload) {
            Ok(words) if words.len() <= MAX_WHEN => Ok(Wish::When { trigger, words: words.trim().to_owned() }),
            _ => Err(Error::new(
                Code::Usage,
                format!("the words for trigger {trigger} are not text of at most {MAX_WHEN} bytes"),
                "send the words as they are, in UTF-8",
            )),
        },
    }
}
