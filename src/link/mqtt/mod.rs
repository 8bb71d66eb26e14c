//! MQTT 5: every event to a broker, questions from it, and Home Assistant.
//!
//! All topics begin with `<prefix>/<device>/`, by default `lookout/<device>/`:
//!
//! | topic | direction | what |
//! |---|---|---|
//! | `status` | out, retained | `online` or `offline`; the broker says `offline` when the device is gone |
//! | `event/<trigger>` | out | each message about an event of this trigger, as JSON ([`Event`](crate::watch::Event)) |
//! | `snapshot` | out, retained | the picture of the last event, a JPEG file |
//! | `state` | out, retained | the device's main values as JSON: on change, and every 30 s |
//! | `ask` | in | a question as JSON ([`Request::from_json`](crate::watch::Request::from_json)) |
//! | `answer` | out | its answer as JSON, with the question's `id` |
//! | `set/armed` | in | `ON` or `OFF` |
//! | `set/<trigger>/when` | in | the words that the trigger looks for |
//!
//! **Events** come from the outbox at QoS 1. A message leaves the outbox only once the broker has acknowledged it, so none
//! is lost while the broker is away, restarts, or the device does. A message whose acknowledgement was lost is sent again:
//! at most 16 for each broken connection. `(id, sequence)` is the same then, so a receiver can tell. What the broker does
//! with a message that it acknowledged is the broker's matter: mosquitto forgets it when it is killed, unless it has a
//! `persistence` file. Two kinds of messages are dropped, and the log names them: those older than `ttl`, and those that
//! the broker refuses for their size or form.
//!
//! With `embeddings = true` the first message about an event has a key `embedding` besides: the direction of its picture's
//! embedding, one signed byte for each number, in base64. The largest number is 127 or -127; a cosine needs no more. It
//! belongs to the event's `bundle`, and is compared with what `lookout embed` prints for the same one.
//!
//! **Questions** are answered on `answer`, or on the MQTT 5 response topic, with the correlation data. The answer is a
//! [`Reply`](crate::watch::Reply) or `{"error": {"code", "message", "help"}}`, with the question's `id` and quality of
//! service; a snapshot is in its field `jpeg`, in base64. Eight questions may wait; more are answered `busy` at once, and
//! where even such answers pile up the newest are left out. Questions over 64 KiB are refused, messages over 256 KiB are
//! not taken from the broker at all. Retained questions are ignored: they would come again with each connection.
//! mosquitto holds small packets back for up to 40 ms, which shows with answers at QoS 1; `set_tcp_nodelay true` in its
//! configuration ends that.
//!
//! **Home Assistant** finds the device by itself: a `binary_sensor` and a `text` for each trigger, sensors, the last
//! event's picture, and a switch to arm. With `home_assistant = false` what it was told before is taken back.
//!
//! Each connection begins with a clean session and a new client: nothing but the outbox remembers what is still to be
//! sent, so a session that the broker has lost makes no difference. The client's id is `<prefix>:<device>`, with a dot for
//! each slash in the prefix: a second device of the same name throws the first one out rather than mix its events with it,
//! and both say so.

mod backoff;
mod config;
mod embedding;
mod flight;
mod home_assistant;
mod link;
mod mail;
mod outward;
mod query;
mod questions;
mod rivals;
mod session;
mod state;
mod telling;
mod tls;
mod topics;
mod trouble;

use std::sync::Arc;

use super::Link;
use crate::Result;
use crate::memory::Outbox;
use crate::watch::Desk;

pub use config::MqttConfig;
pub use query::query;

/// Who is talking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Letters, digits, `-` and `_`: part of topics, and what Home Assistant knows the device by.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Name of the bundle.
    pub bundle: String,
}

/// Starts the link. Errors where the configuration makes no sense; a broker that is away is none: it is tried again, every
/// 0.5 to 60 s.
pub fn start(
    config: MqttConfig,
    device: &Device,
    desk: Arc<dyn Desk>,
    outbox: Arc<dyn Outbox>,
) -> Result<Box<dyn Link>> {
    link::MqttLink::start(config, device, desk, outbox).map(|link| Box::new(link) as Box<dyn Link>)
}
