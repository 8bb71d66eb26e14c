//! What waits in memory while the disk cannot be written: reports, and acknowledgements of the broker.

use std::collections::{BTreeSet, VecDeque};

use crate::watch::{EventId, Phase, Report};

/// Reports that are kept at most.
pub(super) const MOST_REPORTS: usize = 1_000;
/// Bytes of their snapshots at most.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// Reports and acknowledgements that are not on the disk yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    reports: VecDeque<Kept>,
    /// Of all snapshots.
    bytes: usize,
    /// Places in the outbox whose messages were acknowledged.
    pub(super) acknowledged: BTreeSet<i64>,
    /// Reports that found no room.
    pub(super) lost: u64,
    /// Snapshots that found no room.
    pub(super) lost_snapshots: u64,
}

/// A report, and its place in the outbox if it has one.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) report: Report,
    pub(super) place: Option<i64>,
}

impl Pending {
    /// Keeps a report. Where there is no more room the oldest snapshots go first, then the oldest update, then the oldest
    /// report.
    pub(super) fn push(&mut self, report: Report, place: Option<i64>) {
        self.bytes += jpeg_bytes(&report);
        self.reports.push_back(Kept { report, place });
        if self.reports.len() > MOST_REPORTS {
            let update = self.reports.iter().position(|kept| kept.report.event.phase == Phase::Update);
            if let Some(gone) = self.reports.remove(update.unwrap_or(0)) {
                self.bytes -= jpeg_bytes(&gone.report);
                self.lost += 1;
            }
        }
        for kept in &mut self.reports {
            if self.bytes <= MOST_BYTES {
                break;
            }
            if let Some(jpeg) = kept.report.jpeg.take() {
                self.bytes -= jpeg.len();
                self.lost_snapshots += 1;
            }
        }
    }

    /// The oldest report.
    pub(super) fn first(&self) -> Option<Kept> {
        self.reports.front().cloned()
    }

    /// Forgets the oldest report: it is on the disk, with its message at `place`.
    pub(super) fn pop(&mut self, place: Option<i64>) {
        if let Some(kept) = self.reports.pop_front() {
            self.bytes -= jpeg_bytes(&kept.report);
            if kept.place.is_none() {
                // It was acknowledged meanwhile.
                self.acknowledged.extend(place);
            }
        }
    }

    /// Reports that wait.
    pub(super) fn reports(&self) -> usize {
        self.reports.len()
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.acknowledged.is_empty()
    }

    pub(super) fn contains(&self, id: EventId, sequence: u32) -> bool {
        self.reports.iter().any(|kept| kept.report.event.id == id && kept.report.event.sequence == sequence)
    }

    /// The embedding of an event that began in one of these reports.
    pub(super) fn embedding(&self, id: EventId) -> Option<&[f32]> {
        self.reports.iter().filter(|kept| kept.report.event.id == id).find_map(|kept| kept.report.embedding.as_deref())
    }

    /// Reports that have a place above `after`, oldest first.
    pub(super) fn waiting(&self, after: i64) -> impl Iterator<Item = (i64, &Report)> {
        self.reports.iter().filter_map(move |kept| Some((kept.place.filter(|place| *place > after)?, &kept.report)))
    }

    /// Takes a report's place from it: it was acknowledged, and need not go into the outbox. Returns whether it was here.
    pub(super) fn acknowledge(&mut self, place: i64) -> bool {
        let found = self.reports.iter_mut().find(|kept| kept.place == Some(place));
        found.map(|kept| kept.place = None).is_some()
    }
}

fn jpeg_bytes(report: &Report) -> usize {
    report.jpeg.as_ref().map_or(0, |jpeg| jpeg.len())
}
