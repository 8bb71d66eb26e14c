//! What is told when a trigger begins, goes on or ends.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sight::Found;

/// Names an event for good: the milliseconds since 1970 when it began, times 2,048, plus a count within the millisecond.
/// Ids grow, are never used again on a device, and stay below 2^53, so that every reader of JSON keeps them exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub u64);

impl EventId {
    const COUNTS: u64 = 2_048;

    /// The least id of this time that is larger than `last`. A clock that is set back keeps counting on from `last`.
    pub fn next(last: EventId, unix_ms: u64) -> Self {
        Self((unix_ms * Self::COUNTS).max(last.0 + 1))
    }

    /// When it was given, in milliseconds since 1970-01-01 UTC.
    pub fn unix_ms(self) -> u64 {
        self.0 / Self::COUNTS
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The trigger's condition began to hold.
    Begin,
    /// It still holds, and something worth telling changed.
    Update,
    /// It no longer holds.
    End,
}

/// One message about an event. An event has one `Begin`, any number of `Update`s, and one `End`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The same in every message about this event.
    pub id: EventId,
    /// Counts the messages about this event from 0. `(id, sequence)` never occurs twice with different content, so it
    /// tells a repeated delivery from a new message.
    pub sequence: u32,
    /// Where it stands.
    pub phase: Phase,
    /// Name of the trigger.
    pub trigger: String,
    /// Name of the camera.
    pub camera: String,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub began_ms: u64,
    /// When this message was made, likewise.
    pub at_ms: u64,
    /// The trigger's calibrated score now, `0..=1`.
    pub score: f32,
    /// Its highest score in this event so far.
    pub peak: f32,
    /// What was seen, where the trigger asks for a caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Boxes of the trigger's phrase, in pixels of the snapshot, where the trigger asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boxes: Vec<Found>,
    /// Width and height of the camera's picture in pixels.
    pub size: [u32; 2],
    /// Whether a snapshot of this event is kept.
    pub snapshot: bool,
    /// Identity of the bundle that scored it.
    pub bundle: String,
}

/// An event's message with what is too large to be part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The message.
    pub event: Event,
    /// The picture as a JPEG file; with `Begin` only, where the trigger keeps snapshots.
    pub jpeg: Option<Arc<[u8]>>,
    /// The picture's embedding, of length 1; with `Begin` only.
    pub embedding: Option<Arc<[f32]>>,
    /// Whether the trigger lets it out by MQTT.
    pub to_mqtt: bool,
    /// Whether the trigger lets it out on the serial line.
    pub to_serial: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_within_a_millisecond_and_when_the_clock_is_set_back() {
        let now = 1_795_000_000_000;
        let first = EventId::next(EventId(0), now);
        let second = EventId::next(first, now);
        let third = EventId::next(second, now - 3_600_000);
        assert!(first < second && second < third);
        assert_eq!((first.unix_ms(), third.unix_ms()), (now, now));
        assert_eq!(EventId::next(third, now + 1).unix_ms(), now + 1);
    }

    #[test]
    fn ids_of_this_century_are_exact_in_a_double() {
        let end_of_century = 4_102_444_800_000;
        assert!(EventId::next(EventId(0), end_of_century).0 < 1 << 53);
    }
}
