//! What is said in lines: one JSON object each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Error;
use crate::protocol::checksum;
use crate::watch::{Answer, Event, Reply, Trigger};

/// Bytes of a picture in one line: 1,024 characters of base64.
pub(super) const PART: usize = 768;

#[derive(Serialize)]
struct Answered<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Value>,
    #[serde(flatten)]
    reply: &'a Reply,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    file: Option<File>,
}

/// What one needs to fetch a snapshot.
#[derive(Serialize)]
struct File {
    /// CRC-32/ISO-HDLC of the file.
    crc32: u32,
    /// Bytes in each part.
    part: usize,
}

#[derive(Serialize)]
struct Told<'a> {
    event: &'a Event,
}

#[derive(Serialize)]
struct Set<'a> {
    triggers: &'a [Trigger],
}

/// The answer to a question.
pub(super) fn reply(reply: &Reply, id: Option<&Value>) -> Vec<u8> {
    let file = match &reply.answer {
        Answer::Snapshot(snapshot) => Some(File { crc32: checksum(&snapshot.jpeg), part: PART }),
        _ => None,
    };
    line(&Answered { id, reply, file })
}

/// A failure, and the id of the question that failed.
pub(super) fn error(error: &Error, id: Option<&Value>) -> Vec<u8> {
    let mut object =
        json!({"error": {"code": error.code().as_str(), "message": error.message(), "help": error.help()}});
    if let Some(id) = id {
        object["id"] = id.clone();
    }
    line(&object)
}

/// A part of a snapshot; `None` beyond its end.
pub(super) fn part(jpeg: &[u8], offset: usize) -> Option<Vec<u8>> {
    let rest = jpeg.get(offset..).filter(|rest| !rest.is_empty())?;
    let data = &rest[..rest.len().min(PART)];
    Some(line(&json!({"offset": offset, "total": jpeg.len(), "crc32": checksum(data), "data": STANDARD.encode(data)})))
}

pub(super) fn event(event: &Event) -> Vec<u8> {
    line(&Told { event })
}

pub(super) fn events(wanted: bool) -> Vec<u8> {
    line(&json!({ "events": wanted }))
}

pub(super) fn armed(armed: bool) -> Vec<u8> {
    line(&json!({ "armed": armed }))
}

pub(super) fn triggers(triggers: &[Trigger]) -> Vec<u8> {
    line(&Set { triggers })
}

pub(super) fn camera(camera: Option<&str>) -> Vec<u8> {
    format!("# camera: {}\r\n", camera.unwrap_or("the first one")).into_bytes()
}

pub(super) fn echo(wanted: bool) -> Vec<u8> {
    format!("# echo {}\r\n", if wanted { "on" } else { "off" }).into_bytes()
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // These types have no keys but strings, so they can be written.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.extend_from_slice(b"\r\n");
    line
}
