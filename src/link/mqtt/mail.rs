//! The outbox as one connection empties it: what is sent next, and what may be forgotten.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::flight::Flight;
use crate::memory::{Outbox, Waiting};
use crate::said::Said;

/// How often the outbox is looked at where nobody says that something is in it.
const LOOK: Duration = Duration::from_secs(1);
/// How soon it is looked at again after a report: the report may have come before its message was stored.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long acknowledgements are gathered, so that the disk is written once for several.
const GATHER: Duration = Duration::from_millis(20);
/// How long events rest after the broker has refused one.
const REST: Duration = Duration::from_secs(60);

/// Where one connection stands in the outbox.
pub(super) struct Mail {
    /// The newest place that was sent over this connection; `None` before the first.
    sent_up_to: Option<i64>,
    /// What the broker has, and the outbox does not know yet.
    arrived: Vec<i64>,
    write_at: Option<Instant>,
    look_at: Instant,
    look_again: bool,
    /// The broker has refused an event.
    resting: bool,
    trouble: Said,
}

impl Mail {
    pub fn new() -> Self {
        Self {
            sent_up_to: None,
            arrived: Vec::new(),
            write_at: None,
            look_at: Instant::now(),
            look_again: false,
            resting: false,
            trouble: Said::default(),
        }
    }

    /// There may be something new.
    pub fn look_soon(&mut self) {
        self.look_again = true;
        if !self.resting {
            self.look_at = Instant::now();
        }
    }

    /// The broker has the message of this place, or will never take it.
    pub fn done(&mut self, place: i64) {
        self.arrived.push(place);
        self.write_at.get_or_insert_with(|| Instant::now() + GATHER);
    }

    /// The broker does not take events now: after a rest all that it has not acknowledged is sent again.
    pub fn refused(&mut self) {
        self.sent_up_to = None;
        self.resting = true;
        self.look_at = Instant::now() + REST;
    }

    /// When there is something to do.
    pub fn due(&self, flight: &Flight) -> Option<Instant> {
        let look_at = self.may_send(flight).then_some(self.look_at);
        self.write_at.into_iter().chain(look_at).min()
    }

    fn may_send(&self, flight: &Flight) -> bool {
        // Beginning anew while some are on their way would send those twice.
        let clear = self.sent_up_to.is_some() || flight.events() == 0;
        clear && flight.room_for_events() > 0
    }

    /// The messages to be sent now, oldest first. Those older than `ttl_ms` are dropped by the outbox.
    pub fn next(&mut self, outbox: &dyn Outbox, flight: &Flight, ttl_ms: Option<u64>) -> Vec<Waiting> {
        let now = Instant::now();
        if now < self.look_at || !self.may_send(flight) {
            return Vec::new();
        }
        if self.sent_up_to.is_none() {
            // Else what has arrived would be sent again.
            self.write_down(outbox);
        }
        self.resting = false;
        let room = flight.room_for_events();
        let not_before_ms = ttl_ms.map_or(0, |ttl| unix_ms().saturating_sub(ttl));
        match outbox.waiting(self.sent_up_to.unwrap_or(i64::MIN), room, not_before_ms) {
            Ok(waiting) => {
                self.trouble.over("mqtt: the outbox can be read again");
                if waiting.len() < room {
                    let again = std::mem::take(&mut self.look_again);
                    self.look_at = now + if again { LOOK_AGAIN } else { LOOK };
                }
                self.sent_up_to = waiting.last().map(|message| message.place).or(self.sent_up_to);
                waiting
            }
            Err(error) => {
                self.trouble.trouble(&format!("mqtt: the outbox cannot be read: {error} ({})", error.help()));
                self.look_at = now + LOOK;
                Vec::new()
            }
        }
    }

    /// Lets the outbox forget what has arrived, where it is time to.
    pub fn write_down_if_due(&mut self, outbox: &dyn Outbox, flight: &Flight) {
        let all_there = flight.events() == 0 && !self.arrived.is_empty();
        if all_there || self.write_at.is_some_and(|at| Instant::now() >= at) {
            self.write_down(outbox);
        }
    }

    /// Lets the outbox forget what has arrived.
    pub fn write_down(&mut self, outbox: &dyn Outbox) {
        if self.arrived.is_empty() {
            return;
        }
        match outbox.acknowledged(&self.arrived) {
            Ok(()) => {
                self.arrived.clear();
                self.write_at = None;
                self.trouble.over("mqtt: the outbox can be written again");
            }
            Err(error) => {
                self.trouble.trouble(&format!("mqtt: the outbox cannot be written: {error} ({})", error.help()));
                self.write_at = Some(Instant::now() + LOOK);
            }
        }
    }
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
