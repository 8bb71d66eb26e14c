//! An outbox in memory that checks what is done with it.

use std::collections::BTreeMap;
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use lookout::Result;
use lookout::memory::{Outbox, Waiting};
use lookout::watch::{Event, EventId, Phase};

/// Asked about each message that is acknowledged, with its place.
type Witness = Box<dyn Fn(&Event) -> bool + Send>;

#[derive(Default)]
pub struct MemoryOutbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<i64, Event>,
    last: i64,
    embeddings: HashMap<u64, Vec<f32>>,
    witness: Option<Witness>,
    unfounded: Vec<(u64, u32)>,
    pub dropped: u64,
}

impl MemoryOutbox {
    pub fn push(&self, event: Event) {
        let mut state = self.state.lock().unwrap();
        state.last += 1;
        let place = state.last;
        state.waiting.insert(place, event);
    }

    /// What the picture of an event looks like.
    pub fn embed(&self, event: u64, embedding: &[f32]) {
        self.state.lock().unwrap().embeddings.insert(event, embedding.to_vec());
    }

    /// Fills it with `count` messages of new events, and returns their names.
    pub fn fill(&self, first: u64, count: u64) -> HashSet<(u64, u32)> {
        (first..first + count)
            .map(|id| {
                let event = event(id, 0, Phase::Begin);
                self.push(event);
                (id, 0)
            })
            .collect()
    }

    /// From now on `witness` is asked whether a message that is acknowledged really reached a broker.
    pub fn witness(&self, witness: impl Fn(&Event) -> bool + Send + 'static) {
        self.state.lock().unwrap().witness = Some(Box::new(witness));
    }

    /// Messages that were acknowledged although no witness saw them arrive.
    pub fn unfounded(&self) -> Vec<(u64, u32)> {
        self.state.lock().unwrap().unfounded.clone()
    }

    pub fn left(&self) -> usize {
        self.state.lock().unwrap().waiting.len()
    }

    pub fn dropped(&self) -> u64 {
        self.state.lock().unwrap().dropped
    }
}

impl Outbox for MemoryOutbox {
    fn waiting(&self, after: i64, most: usize, not_before_ms: u64) -> Result<Vec<Waiting>> {
        let mut state = self.state.lock().unwrap();
        let before = state.waiting.len();
        state.waiting.retain(|_, event| event.at_ms >= not_before_ms);
        state.dropped += (before - state.waiting.len()) as u64;
        let later = state.waiting.iter().filter(|(place, _)| **place > after).take(most);
        Ok(later.map(|(place, event)| Waiting { place: *place, event: event.clone() }).collect())
    }

    fn acknowledged(&self, places: &[i64]) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        for place in places {
            let event = state.waiting.remove(place).expect("each message is acknowledged once");
            if state.witness.as_ref().is_some_and(|witness| !witness(&event)) {
                state.unfounded.push((event.id.0, event.sequence));
            }
        }
        Ok(())
    }

    fn embedding(&self, event: EventId) -> Result<Option<Vec<f32>>> {
        Ok(self.state.lock().unwrap().embeddings.get(&event.0).cloned())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.left() as u64)
    }
}

pub fn event(id: u64, sequence: u32, phase: Phase) -> Event {
    Event {
        id: EventId(id),
        sequence,
        phase,
        trigger: "door".to_owned(),
        camera: "porch".to_owned(),
        began_ms: now_ms(),
        at_ms: now_ms(),
        score: 0.8,
        peak: 0.9,
        caption: Some(format!("a person at the door, number {id}")),
        boxes: Vec::new(),
        size: [640, 480],
        snapshot: true,
        bundle: "default 2".to_owned(),
    }
}

pub fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}
