//! Which messages are on their way, and which of them the broker has.

use std::collections::{HashMap, VecDeque};

use rumqttc::v5::mqttbytes::v5::PubAckReason;

/// Most messages on their way at once, events and others together.
pub(super) const WINDOW: u16 = 20;
/// Of these, how many are kept free of events, for answers and status.
const RESERVED: u16 = 4;

/// What a message on its way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cargo {
    /// A message of the outbox, by its place.
    Event(i64),
    /// Something that the broker keeps.
    Kept(Kept),
    Answer,
}

/// The retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Status,
    State,
    Snapshot,
    Discovery,
}

/// The messages on their way over one connection. The client takes messages in order and tells for each the packet id
/// that it gave; the broker acknowledges by packet id.
#[derive(Debug)]
pub(super) struct Flight {
    window: u16,
    /// Given to the client, not yet written. `true`: it will be acknowledged.
    handed: VecDeque<(Cargo, bool)>,
    /// Written, by packet id.
    written: HashMap<u16, Cargo>,
    events: u16,
    others: u16,
}

impl Flight {
    /// `careful`: one message at a time, so that it is known which one the broker stumbles over.
    pub fn new(careful: bool) -> Self {
        let (handed, written) = (VecDeque::new(), HashMap::new());
        Self { window: if careful { 1 } else { WINDOW }, handed, written, events: 0, others: 0 }
    }

    /// The broker wants fewer at once.
    pub fn limit(&mut self, window: u16) {
        self.window = window.clamp(1, self.window);
    }

    /// How many events may be handed to the client now.
    pub fn room_for_events(&self) -> usize {
        let most = self.window - RESERVED.min(self.window / 2);
        most.min(self.window.saturating_sub(self.others)).saturating_sub(self.events).into()
    }

    /// Whether another message that is to be acknowledged may be handed to the client now.
    pub fn room_for_other(&self) -> bool {
        self.events + self.others < self.window
    }

    /// Messages that the client has not written yet.
    pub fn backlog(&self) -> usize {
        self.handed.len()
    }

    pub fn events(&self) -> u16 {
        self.events
    }

    pub fn is_empty(&self) -> bool {
        self.events == 0 && self.others == 0 && self.handed.is_empty()
    }

    /// All messages on their way that are to be acknowledged.
    pub fn cargo(&self) -> Vec<Cargo> {
        let handed = self.handed.iter().filter(|(_, acknowledged)| *acknowledged).map(|(cargo, _)| *cargo);
        handed.chain(self.written.values().copied()).collect()
    }

    /// A message was handed to the client.
    pub fn handed(&mut self, cargo: Cargo, acknowledged: bool) {
        if acknowledged {
            *self.count(cargo) += 1;
        }
        self.handed.push_back((cargo, acknowledged));
    }

    /// The client has written the oldest message that was handed to it, under this packet id (0: never acknowledged).
    pub fn written(&mut self, packet: u16) {
        if let Some((cargo, true)) = self.handed.pop_front() {
            self.written.insert(packet, cargo);
        }
    }

    /// The broker has answered for this packet id. Returns what it was.
    pub fn answered(&mut self, packet: u16) -> Option<Cargo> {
        let cargo = self.written.remove(&packet)?;
        *self.count(cargo) -= 1;
        Some(cargo)
    }

    fn count(&mut self, cargo: Cargo) -> &mut u16 {
        match cargo {
            Cargo::Event(_) => &mut self.events,
            Cargo::Kept(_) | Cargo::Answer => &mut self.others,
        }
    }
}

/// Whether the broker has the message.
pub(super) fn taken(reason: PubAckReason) -> bool {
    matches!(reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_lead_back_to_places_whatever_is_between() {
        let mut flight = Flight::new(false);
        flight.handed(Cargo::Answer, false);
        flight.handed(Cargo::Event(70), true);
        flight.handed(Cargo::Answer, true);
        flight.handed(Cargo::Event(71), true);
        for packet in [0, 1, 2, 3] {
            flight.written(packet);
        }
        assert_eq!(flight.answered(3), Some(Cargo::Event(71)));
        assert_eq!(flight.answered(3), None);
        assert_eq!(flight.answered(1), Some(Cargo::Event(70)));
        assert_eq!(flight.answered(2), Some(Cargo::Answer));
        assert!(flight.is_empty());
    }

    #[test]
    fn events_leave_room_for_answers_and_fit_in_what_the_broker_allows() {
        let mut flight = Flight::new(false);
        assert_eq!(flight.room_for_events(), 16);
        for place in 0..16 {
            flight.handed(Cargo::Event(place), true);
        }
        assert_eq!(flight.room_for_events(), 0);
        assert!(flight.room_for_other());
        flight.limit(1);
        assert!(!flight.room_for_other());
        let mut narrow = Flight::new(false);
        narrow.limit(1);
        assert_eq!(narrow.room_for_events(), 1);
        assert_eq!(Flight::new(true).room_for_events(), 1);
    }
}
