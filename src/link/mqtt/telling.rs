//! The retained messages: which of them are to be sent, and what is in them.

use std::time::Duration;

use tokio::time::Instant;

use super::flight::Kept;
use super::home_assistant::{Discovery, Known};
use super::link::Shared;
use super::session::Lasting;
use super::state::State;

/// Least and most time between two looks at the status, and most between two tellings of the state.
const LOOK_LEAST: Duration = Duration::from_millis(100);
const LOOK_MOST: Duration = Duration::from_secs(1);
const TELL_MOST: Duration = Duration::from_secs(30);

/// What one connection has told, and has still to tell.
pub(super) struct Telling {
    due: Due,
    look_at: Instant,
    looked_at: Option<Instant>,
    told: Option<(State, Instant)>,
    discovery: Option<Discovery>,
}

#[derive(Default)]
struct Due {
    status: bool,
    state: bool,
    discovery: bool,
    snapshot: bool,
    /// Empty what Home Assistant was told.
    take_back: bool,
}

impl Telling {
    pub fn new() -> Self {
        Self { due: Due::default(), look_at: Instant::now(), looked_at: None, told: None, discovery: None }
    }

    /// All of it is told again.
    pub fn all(&mut self, shared: &Shared, lasting: &Lasting) {
        self.due.status = true;
        self.due.snapshot = lasting.snapshot.is_some();
        self.due.discovery = shared.config.home_assistant;
        self.state_again();
    }

    /// The state is told again, whether it has changed or not.
    pub fn state_again(&mut self) {
        self.told = None;
        self.look_soon();
    }

    pub fn snapshot(&mut self) {
        self.due.snapshot = true;
    }

    /// Something may have changed.
    pub fn look_soon(&mut self) {
        self.look_at = Instant::now();
    }

    /// What the broker kept of what Home Assistant was told before.
    pub fn told_before(&mut self, shared: &Shared, lasting: &mut Lasting, known: Known, empty: bool) {
        if !shared.config.home_assistant {
            self.due.take_back |= !empty;
        } else if self.discovery.as_ref().is_none_or(|discovery| !discovery.gone(&known).is_empty()) {
            lasting.known.extend(known);
            self.due.discovery = true;
        }
    }

    /// When to look at the status next.
    pub fn look_at(&self) -> Instant {
        self.looked_at.map_or(self.look_at, |at| self.look_at.max(at + LOOK_LEAST))
    }

    /// Looks at the status, where it is time to.
    pub fn look(&mut self, shared: &Shared, lasting: &Lasting) {
        let now = Instant::now();
        if now < self.look_at() {
            return;
        }
        self.looked_at = Some(now);
        self.look_at = now + LOOK_MOST;
        let (status, triggers) = (shared.desk.status(), shared.desk.triggers());
        if shared.config.home_assistant {
            let Shared { config, device, topics, .. } = shared;
            let discovery = Discovery::new(config, device, topics, &status, &triggers);
            if self.discovery.as_ref() != Some(&discovery) {
                self.discovery = Some(discovery);
                self.due.discovery = true;
            }
        }
        let state = State::new(&status, &triggers, lasting.last.as_ref());
        let old = |(told, at): &(State, Instant)| state.differs(told) || now >= *at + TELL_MOST;
        if self.told.as_ref().is_none_or(old) {
            self.told = Some((state, now));
            self.due.state = true;
        }
    }

    /// The next message to be sent, if any, and where it goes. `online` is the last: who reads it finds the rest there.
    pub fn next<'a>(&mut self, shared: &'a Shared, lasting: &mut Lasting) -> Option<(Kept, &'a str, Vec<u8>)> {
        let topics = &shared.topics;
        if std::mem::take(&mut self.due.take_back) {
            return Some((Kept::Discovery, &topics.discovery, Vec::new()));
        }
        if let (true, Some(discovery)) = (self.due.discovery, &self.discovery) {
            // Home Assistant wants to be told once which entities are gone, and then the message without them.
            let gone = discovery.gone(&lasting.known);
            self.due.discovery = !gone.is_empty();
            lasting.known = discovery.known();
            return Some((Kept::Discovery, &topics.discovery, discovery.to_json(&gone)));
        }
        if let (true, Some((state, _))) = (std::mem::take(&mut self.due.state), &self.told) {
            return Some((Kept::State, &topics.state, state.to_json()));
        }
        if let (true, Some(jpeg)) = (std::mem::take(&mut self.due.snapshot), &lasting.snapshot) {
            return Some((Kept::Snapshot, &topics.snapshot, jpeg.to_vec()));
        }
        std::mem::take(&mut self.due.status).then(|| (Kept::Status, topics.status.as_str(), b"online".to_vec()))
    }
}
