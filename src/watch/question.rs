//! Questions to a running lookout and their answers, the same over MQTT, serial and the web.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::complaint::nearest;
use crate::sight::{Answer as Words, Boxes, Caption, Labels, Support};
use crate::{Code, Error, Result};

use super::event::{Event, EventId};
use super::status::Status;

/// Most bytes in a question's JSON form.
pub const MAX_REQUEST_BYTES: usize = 65_536;

/// A question, and the camera whose newest frame it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Name of the camera; the first one where nothing is named.
    pub camera: Option<String>,
    /// What is asked.
    pub question: Question,
    /// A picture file to look at in place of the camera's newest frame. It travels beside the JSON form.
    pub picture: Option<Arc<[u8]>>,
}

/// What can be asked. In JSON the field `task` names the kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "lowercase", deny_unknown_fields)]
pub enum Question {
    /// Which of these labels fit?
    Label {
        /// At least one.
        labels: Vec<String>,
    },
    /// What is to be seen?
    Caption {},
    /// Where is this phrase?
    Ground {
        /// The phrase.
        phrase: String,
        /// Most boxes.
        #[serde(default = "five")]
        top: usize,
        /// Least score, `0..=1`.
        #[serde(default = "box_threshold")]
        threshold: f32,
    },
    /// A question in words.
    Ask {
        /// The question.
        question: String,
    },
    /// Does the picture support this sentence?
    Check {
        /// The sentence.
        sentence: String,
    },
    /// Which past events match?
    Find(FindEvents),
    /// The newest picture itself.
    Snapshot {},
    /// How is the lookout?
    Status {},
}

/// Which past events to find: by words, by the picture of another event, or simply the newest ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FindEvents {
    /// Words that the picture should match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// An event whose picture they should be like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<EventId>,
    /// How long ago at most: `90s`, `2h`, `3d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only those of this trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// Only those of this camera.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Only those with a smaller id: the next page, after the last event of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<EventId>,
    /// Most events, 10 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reply {
    /// The question's `task`.
    pub task: &'static str,
    /// Name of the camera, where the answer is about its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// When that picture was taken, in milliseconds since 1970-01-01 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// Identity of the bundle.
    pub bundle: String,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// Milliseconds from taking the question up to the answer, without waiting in the queue.
    pub ms: f64,
}

/// What came of each kind of question.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Question::Label`].
    Labels(Labels),
    /// To [`Question::Caption`].
    Caption(Caption),
    /// To [`Question::Ground`].
    Boxes(Boxes),
    /// To [`Question::Ask`].
    Words(Words),
    /// To [`Question::Check`].
    Support(Support),
    /// To [`Question::Find`].
    Events(FoundEvents),
    /// To [`Question::Snapshot`].
    Snapshot(Snapshot),
    /// To [`Question::Status`].
    Status(Box<Status>),
}

/// Past events, best or newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundEvents {
    /// The events.
    pub events: Vec<FoundEvent>,
}

/// A past event, as it stood last.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundEvent {
    /// Words: the calibrated probability that its picture supports them. A picture: the cosine. Neither: left out.
    #[serde(skip_serializing_if = "Option::is_none", rename = "match")]
    pub matching: Option<f32>,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// A camera's picture as a JPEG file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Size of the file in bytes.
    pub bytes: usize,
    /// The file; it travels beside the JSON form.
    #[serde(skip)]
    pub jpeg: Arc<[u8]>,
}

impl Question {
    /// The name of its kind in JSON.
    pub fn task(&self) -> &'static str {
        match self {
            Question::Label { .. } => "label",
            Question::Caption {} => "caption",
            Question::Ground { .. } => "ground",
            Question::Ask { .. } => "ask",
            Question::Check { .. } => "check",
            Question::Find(_) => "find",
            Question::Snapshot {} => "snapshot",
            Question::Status {} => "status",
        }
    }
}

/// The names of all kinds of questions.
pub const TASKS: [&str; 8] = ["label", "caption", "ground", "ask", "check", "find", "snapshot", "status"];

impl Request {
    /// Reads `{"task": "label", "labels": ["a dog"], "camera": "door", "id": 7}`. Besides the request returns `id`,
    /// whatever it is, for the answer. `labels` may also be one string with commas.
    pub fn from_json(bytes: &[u8]) -> Result<(Self, Option<Value>), (Error, Option<Value>)> {
        let wrong = |message: String, help: &str| (Error::new(Code::Usage, message, help), None);
        const LIKE: &str = r#"write: {"task": "label", "labels": ["a dog", "a cat"]}"#;
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(wrong(
                format!("a question of {} bytes is too long (at most {MAX_REQUEST_BYTES})", bytes.len()),
                LIKE,
            ));
        }
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| wrong(format!("the question is not JSON: {error}"), LIKE))?;
        let Value::Object(mut fields) = value else {
            return Err(wrong("the question is not a JSON object".to_owned(), LIKE));
        };
        let id = fields.remove("id");
        Self::from_fields(fields).map(|request| (request, id.clone())).map_err(|error| (error, id))
    }

    fn from_fields(mut fields: serde_json::Map<String, Value>) -> Result<Self> {
        let usage = |message: String, help: String| Error::new(Code::Usage, message, help);
        let task = match fields.get("task") {
            Some(Value::String(task)) => task.clone(),
            _ => return Err(usage("the question has no `task`".to_owned(), format!("one of: {}", TASKS.join(", ")))),
        };
        if !TASKS.contains(&task.as_str()) {
            let shown: String = task.chars().take(40).collect();
            let hint = nearest(&task, &TASKS).map_or(String::new(), |known| format!("did you mean `{known}`? "));
            return Err(usage(format!("there is no task {shown:?}"), format!("{hint}one of: {}", TASKS.join(", "))));
        }
        let camera = match fields.remove("camera") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => {
                return Err(usage("`camera` is not a name".to_owned(), "give the camera's name in quotes".to_owned()));
            }
        };
        if let Some(Value::String(list)) = fields.get("labels") {
            let labels = crate::text::parse_labels(list)?;
            fields.insert("labels".to_owned(), labels.into());
        }
        if task == "find"
            && let Some(camera) = &camera
        {
            fields.insert("camera".to_owned(), camera.clone().into());
        }
        let question = serde_json::from_value(Value::Object(fields))
            .map_err(|error| usage(format!("the question `{task}` does not fit: {error}"), help(&task)))?;
        Ok(Self { camera, question, picture: None })
    }
}

/// How to write a question of this task.
fn help(task: &str) -> String {
    let example = match task {
        "label" => r#"{"task": "label", "labels": ["a dog", "a cat"]}"#,
        "ground" => r#"{"task": "ground", "phrase": "the red car"}"#,
        "ask" => r#"{"task": "ask", "question": "how many chairs?"}"#,
        "check" => r#"{"task": "check", "sentence": "a cat sits on a couch"}"#,
        "find" => r#"{"task": "find", "words": "a dog on the sofa", "since": "2d"}"#,
        other => return format!(r#"write: {{"task": "{other}"}}"#),
    };
    format!("write: {example}")
}

fn five() -> usize {
    5
}

fn box_threshold() -> f32 {
    0.3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Request> {
        Request::from_json(json.as_bytes()).map(|(request, _)| request).map_err(|(error, _)| error)
    }

    #[test]
    fn every_task_is_read_from_json() {
        for (json, task) in [
            (r#"{"task":"label","labels":["a dog"]}"#, "label"),
            (r#"{"task":"label","labels":"a dog, a cat"}"#, "label"),
            (r#"{"task":"caption","camera":"door"}"#, "caption"),
            (r#"{"task":"ground","phrase":"a dog","top":2}"#, "ground"),
            (r#"{"task":"ask","question":"how many?"}"#, "ask"),
            (r#"{"task":"check","sentence":"a dog"}"#, "check"),
            (r#"{"task":"find","words":"a dog","since":"2d","camera":"door"}"#, "find"),
            (r#"{"task":"snapshot"}"#, "snapshot"),
            (r#"{"task":"status"}"#, "status"),
        ] {
            assert_eq!(read(json).unwrap().question.task(), task, "{json}");
        }
        assert_eq!(read(r#"{"task":"caption","camera":"door"}"#).unwrap().camera.as_deref(), Some("door"));
    }

    #[test]
    fn the_id_comes_back_even_from_a_question_that_does_not_fit() {
        let (error, id) = Request::from_json(br#"{"task":"lable","id":"x7"}"#).unwrap_err();
        assert_eq!(id, Some("x7".into()));
        assert!(error.help().contains("did you mean `label`?"), "{}", error.help());
    }

    #[test]
    fn unknown_fields_and_other_nonsense_are_refused_with_a_cause() {
        for (json, cause) in [
            ("[1]", "not a JSON object"),
            ("{", "not JSON"),
            ("{}", "no `task`"),
            (r#"{"task":"caption","beams":3}"#, "beams"),
            (r#"{"task":"label"}"#, "labels"),
            (r#"{"task":"caption","camera":3}"#, "camera"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.message().contains(cause), "{json}: {error}");
            assert_eq!(error.code(), Code::Usage);
        }
    }
}
