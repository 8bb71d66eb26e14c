//! `lookout update status`

use clap::Args;
use serde::Serialize;

use crate::update::{Record, Slot};

use super::super::console::{Console, Outcome};
use super::Place;

#[derive(Args)]
#[command(after_help = "Example:
  lookout update status --json")]
pub(in crate::cli) struct Status {
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Reply {
    task: &'static str,
    board: String,
    running: String,
    /// Whether the slot that runs is one that was confirmed.
    confirmed: bool,
    slots: Vec<SlotReply>,
}

#[derive(Serialize)]
struct SlotReply {
    slot: String,
    version: Option<String>,
    /// `confirmed`, `before`, `trying`, `failed` or `empty`
    state: &'static str,
    /// How often it is booted at most, where it is tried.
    tries: Option<u8>,
}

impl Status {
    pub fn run(self, console: &Console) -> Outcome {
        let card = self.place.card()?;
        let records = card.records()?;
        let (record, running) = (records.now(), card.running());
        let reply = Reply {
            task: "update status",
            board: record.board.clone(),
            running: running.to_string(),
            confirmed: record.good == running && record.trying.is_none_or(|(slot, _)| slot != running),
            slots: [Slot::A, Slot::B].map(|slot| SlotReply::of(record, slot)).into(),
        };
        console.answer(&reply, || {
            let line = |slot: &SlotReply| {
                let runs = if slot.slot == reply.running { "runs" } else { "" };
                let version = slot.version.as_deref().unwrap_or("-");
                let tries = slot.tries.map_or(String::new(), |tries| format!(", booted {tries} more times at most"));
                format!("slot {}  {version:16} {runs:5} {}{tries}\n", slot.slot, slot.state)
            };
            reply.slots.iter().map(line).collect()
        })
    }
}

impl SlotReply {
    fn of(record: &Record, slot: Slot) -> Self {
        let tries = record.trying.filter(|(tried, _)| *tried == slot).map(|(_, left)| left);
        let state = match () {
            () if tries.is_some() => "trying",
            () if record.failed == Some(slot) => "failed",
            () if record.good == slot => "confirmed",
            () if record.version(slot).is_none() => "empty",
            () => "before",
        };
        Self { slot: slot.to_string(), version: record.version(slot).map(str::to_owned), state, tries }
    }
}
