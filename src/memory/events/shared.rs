//! What the store's callers and its keeper thread share: the one writer, and what waits while it cannot write.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::said::Said;
use crate::watch::{EventId, MemoryStatus, Phase, Report};
use crate::{Code, Error, Result};

use super::aside::with_end;
use super::config::MemoryConfig;
use super::database::Refusal;
use super::keep::{Clock, Pages};
use super::matrix::Mark;
use super::outbox;
use super::pending::{MOST_REPORTS, Pending};
use super::read::{EventReader, newer};
use super::trouble::{is_full, trouble};
use super::write::{Stored, Writer, checked};

/// Pauses between attempts to write a disk that refuses.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) config: MemoryConfig,
    pub(super) reader: EventReader,
    hand: Mutex<Hand>,
    /// Held for moments only, and after `hand` where both are.
    pending: Mutex<Pending>,
    pub(super) bell: Mutex<Bell>,
    pub(super) rung: Condvar,
    pub(super) notes: Mutex<Notes>,
    pub(super) events: AtomicU64,
    /// Messages in the outbox on the disk.
    pub(super) waiting: AtomicU64,
    pub(super) last_id: AtomicU64,
    /// The folder, locked against other processes.
    lock: Mutex<Option<File>>,
    pub(super) born: Instant,
}

/// What only one thread at a time may touch.
pub(super) struct Hand {
    /// `None` where the file could not be opened yet.
    pub(super) writer: Option<Writer>,
    /// Unknown until the file was open.
    pub(super) next_place: Option<i64>,
    pub(super) under_way: HashSet<u64>,
    pub(super) retry_at: Instant,
    pause: Duration,
    pub(super) clock: Clock,
    /// Retention is on its way down from too many bytes.
    pub(super) lower: bool,
    pub(super) closed: bool,
}

#[derive(Default)]
pub(super) struct Bell {
    pub(super) closing: bool,
    pub(super) rung: bool,
}

#[derive(Default)]
pub(super) struct Notes {
    pub(super) aside: Option<String>,
    pub(super) trouble: Option<String>,
    said: Said,
}

impl Hand {
    /// A new place in the outbox. While the file cannot be opened they are above any that it may have given.
    fn place(&mut self) -> i64 {
        let place = self.next_place.unwrap_or_else(|| EventId::next(EventId(0), unix_ms()).0 as i64);
        self.next_place = Some(place + 1);
        place
    }
}

impl Shared {
    pub(super) fn open(path: PathBuf, config: &MemoryConfig, lock: File) -> Result<Self> {
        let now_ms = unix_ms();
        let born = Instant::now();
        let shared = Self {
            reader: EventReader::at(path.clone(), config.search_bytes.as_u64()),
            path,
            config: config.clone(),
            hand: Mutex::new(Hand {
                writer: None,
                next_place: None,
                under_way: HashSet::new(),
                retry_at: born,
                pause: PAUSES[0],
                clock: Clock::new(None, now_ms, Duration::ZERO),
                lower: false,
                closed: false,
            }),
            pending: Mutex::default(),
            bell: Mutex::default(),
            rung: Condvar::new(),
            notes: Mutex::default(),
            events: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            last_id: AtomicU64::new(0),
            lock: Mutex::new(Some(lock)),
            born,
        };
        {
            let mut hand = shared.hand();
            match shared.open_file(&mut hand) {
                Ok(()) => {}
                Err(Refusal::Newer(version)) => return Err(newer(&shared.path, version)),
                Err(Refusal::Damaged(cause)) => return Err(shared.stuck(&cause)),
                Err(Refusal::Sql(error)) => {
                    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
                    let told = trouble("the memory of events cannot be opened", &shared.path, &error);
                    match error.sqlite_error_code() {
                        Some(CannotOpen) if is_full(&shared.path) => {}
                        Some(CannotOpen | PermissionDenied | ReadOnly) => return Err(told),
                        _ => {}
                    }
                    shared.in_trouble(&mut hand, &told);
                    shared.recall(&mut hand);
                    log::warn!(
                        "events are kept in memory until the disk can be written, {MOST_REPORTS} reports at most"
                    );
                }
            }
        }
        Ok(shared)
    }

    pub(super) fn record(&self, report: &Report) -> Result<()> {
        let report = checked(report)?;
        let event = &report.event;
        let mut hand = self.hand();
        if hand.closed {
            return Err(closed());
        }
        self.last_id.fetch_max(event.id.0, Relaxed);
        match event.phase {
            Phase::End => hand.under_way.remove(&event.id.0),
            _ => hand.under_way.insert(event.id.0),
        };
        let mut told = None;
        if self.pending().reports() > 0 {
            if self.pending().contains(event.id, event.sequence) {
                return Err(self.kept(event.id));
            }
            if Instant::now() >= hand.retry_at {
                told = self.flush(&mut hand).err();
            }
        }
        let place = report.to_mqtt.then(|| hand.place());
        if self.pending().reports() == 0 {
            match self.put(&mut hand, &report, place) {
                Ok(()) => return Ok(()),
                Err(error) => told = Some(error),
            }
        }
        let id = event.id;
        self.pending().push(report, place);
        if let Some(told) = told {
            self.in_trouble(&mut hand, &told);
        }
        self.ring();
        Err(self.kept(id))
    }

    /// Stores one report.
    fn put(&self, hand: &mut Hand, report: &Report, place: Option<i64>) -> Result<()> {
        let stored = self.writing(hand, "events cannot be stored", |writer| writer.store(report, place))?;
        let event = &report.event;
        let Stored { began, waits, embedded } = stored;
        self.events.fetch_add(u64::from(began), Relaxed);
        self.waiting.fetch_add(u64::from(waits), Relaxed);
        if let (Some([bundle, trigger, camera]), Some(floats)) = (embedded, &report.embedding) {
            let (trigger, camera) = (trigger as u32, camera as u32);
            self.reader.search.added(
                bundle,
                Mark { id: event.id.0, began_ms: event.began_ms, trigger, camera },
                floats,
            );
        }
        let used = hand.writer.as_ref().and_then(|writer| Pages::of(&writer.conn).ok());
        if used.is_some_and(|pages| pages.used() > self.config.bytes.as_u64()) {
            self.ring();
        }
        Ok(())
    }

    /// Writes what waits in memory, oldest first, up to the first that fails.
    pub(super) fn flush(&self, hand: &mut Hand) -> Result<()> {
        self.settle(hand)?;
        loop {
            let Some(kept) = self.pending().first() else { break };
            self.put(hand, &kept.report, kept.place)?;
            self.pending().pop(kept.place);
        }
        self.settle(hand)
    }

    /// Deletes the messages that were acknowledged.
    fn settle(&self, hand: &mut Hand) -> Result<()> {
        let places: Vec<i64> = self.pending().acknowledged.iter().copied().collect();
        if places.is_empty() {
            return Ok(());
        }
        let count =
            self.writing(hand, "acknowledged messages cannot be dropped", |writer| outbox::delete(writer, &places))?;
        self.less_waiting(count);
        let mut pending = self.pending();
        for place in places {
            pending.acknowledged.remove(&place);
        }
        Ok(())
    }

    /// The same, for a caller: where it cannot be done now it is done later.
    pub(super) fn settle_acknowledged(&self) -> Result<()> {
        let mut hand = self.hand();
        if hand.closed {
            return Err(closed());
        }
        if let Err(error) = self.settle(&mut hand) {
            self.in_trouble(&mut hand, &error);
            self.ring();
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.bell().closing = true;
        self.rung.notify_all();
    }

    pub(super) fn close(&self) -> Result<()> {
        let mut hand = self.hand();
        if hand.closed {
            return Ok(());
        }
        let flushed = if self.pending().is_empty() { Ok(()) } else { self.flush(&mut hand) };
        hand.closed = true;
        // The last connection that closes brings the log into the file.
        self.reader.rest();
        hand.writer = None;
        if let Some(lock) = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Closing alone is not enough while a child process that is just being started has the file as well.
            let _ = lock.unlock();
        }
        flushed
    }

    pub(super) fn status(&self) -> MemoryStatus {
        self.reader.search.rest();
        let (waits, lost, lost_snapshots) = {
            let pending = self.pending();
            (pending.reports(), pending.lost, pending.lost_snapshots)
        };
        let notes = self.notes();
        let mut note: Vec<String> = notes.trouble.iter().chain(&notes.aside).cloned().collect();
        if waits > 0 {
            note.push(format!("{waits} reports wait in memory"));
        }
        if lost + lost_snapshots > 0 {
            note.push(format!("{lost} reports and {lost_snapshots} snapshots found no room and were lost"));
        }
        let size = |end: &str| fs::metadata(with_end(&self.path, end)).map_or(0, |meta| meta.len());
        MemoryStatus {
            writable: notes.trouble.is_none(),
            note: (!note.is_empty()).then(|| note.join("; ")),
            events: self.events.load(Relaxed),
            bytes: ["", "-wal", "-shm"].into_iter().map(size).sum(),
            outbox: self.waiting(),
        }
    }

    pub(super) fn last_id(&self) -> EventId {
        EventId(self.last_id.load(Relaxed))
    }

    /// Messages in the outbox, on the disk and in memory.
    pub(super) fn waiting(&self) -> u64 {
        let pending = self.pending();
        let in_memory = pending.waiting(i64::MIN).count() as u64;
        (self.waiting.load(Relaxed) + in_memory).saturating_sub(pending.acknowledged.len() as u64)
    }

    pub(super) fn less_waiting(&self, count: u64) {
        let _ = self.waiting.fetch_update(Relaxed, Relaxed, |old| Some(old.saturating_sub(count)));
    }

    /// Wakes the keeper where a reader has met damage.
    pub(super) fn ring_if_damaged(&self) {
        if self.reader.is_damaged() {
            self.ring();
        }
    }

    fn ring(&self) {
        self.bell().rung = true;
        self.rung.notify_all();
    }

    pub(super) fn in_trouble(&self, hand: &mut Hand, error: &Error) {
        hand.retry_at = Instant::now() + hand.pause;
        hand.pause = (hand.pause * 2).min(PAUSES[1]);
        let mut notes = self.notes();
        notes.said.trouble(error.message());
        notes.trouble = Some(error.message().to_owned());
    }

    pub(super) fn no_trouble(&self, hand: &mut Hand) {
        hand.pause = PAUSES[0];
        let mut notes = self.notes();
        if notes.trouble.take().is_some() {
            notes.said.over("the memory of events can be written again");
        }
    }

    /// The error of a report that went into memory instead of onto the disk.
    fn kept(&self, id: EventId) -> Error {
        let cause = self.notes().trouble.clone().unwrap_or_else(|| "the disk could not be written".to_owned());
        let waits = self.pending().reports();
        Error::new(
            Code::Memory,
            format!("the event {id} waits in memory ({waits} of at most {MOST_REPORTS} reports): {cause}"),
            "make room on the disk, or check it; what waits is then written by itself",
        )
    }

    pub(super) fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bell(&self) -> MutexGuard<'_, Bell> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn closed() -> Error {
    Error::new(Code::Memory, "the memory of events is closed", "start lookout again")
}

pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
