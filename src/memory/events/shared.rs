//! What the store's callers and its keeper thread share: the one writer, and what waits while it cannot write.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension};

use crate::said::Said;
use crate::watch::{EventId, MemoryStatus, Phase, Report};
use crate::{Code, Error, Result};

use super::aside::{set_aside, with_end};
use super::config::MemoryConfig;
use super::database::{Refusal, open_writer};
use super::keep::{Clock, Pages, Rule, step};
use super::matrix::Mark;
use super::outbox;
use super::pending::{MOST_REPORTS, Pending};
use super::read::{EventReader, newer};
use super::trouble::{is_damage, trouble};
use super::write::{Stored, Writer};

/// Pauses between attempts to write a disk that refuses.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

pub(super) struct Shared {
    path: PathBuf,
    config: MemoryConfig,
    pub(super) reader: EventReader,
    hand: Mutex<Hand>,
    /// Held for moments only, and after `hand` where both are.
    pending: Mutex<Pending>,
    bell: Mutex<Bell>,
    rung: Condvar,
    notes: Mutex<Notes>,
    events: AtomicU64,
    /// Messages in the outbox on the disk.
    waiting: AtomicU64,
    last_id: AtomicU64,
    /// The folder, locked against other processes.
    lock: Mutex<Option<File>>,
    born: Instant,
}

/// What only one thread at a time may touch.
struct Hand {
    /// `None` where the file could not be opened yet.
    writer: Option<Writer>,
    /// Unknown until the file was open.
    next_place: Option<i64>,
    under_way: HashSet<u64>,
    retry_at: Instant,
    pause: Duration,
    clock: Clock,
    /// Retention is on its way down from too many bytes.
    lower: bool,
    closed: bool,
}

#[derive(Default)]
struct Bell {
    closing: bool,
    rung: bool,
}

#[derive(Default)]
struct Notes {
    aside: Option<String>,
    trouble: Option<String>,
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

/// What the file holds when it is opened.
struct Counts {
    events: u64,
    waiting: u64,
    last_id: u64,
    last_place: i64,
    newest_ms: Option<u64>,
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
                    if let Some(CannotOpen | PermissionDenied | ReadOnly) = error.sqlite_error_code() {
                        return Err(told);
                    }
                    shared.in_trouble(&mut hand, &told);
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
        if self.pending().len() > 0 {
            if self.pending().contains(event.id, event.sequence) {
                return Err(self.kept(event.id));
            }
            if Instant::now() >= hand.retry_at {
                told = self.flush(&mut hand).err();
            }
        }
        let place = report.to_mqtt.then(|| hand.place());
        if self.pending().len() == 0 {
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
    fn flush(&self, hand: &mut Hand) -> Result<()> {
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

    /// Runs `work` on the writer.
    pub(super) fn write<T>(&self, deed: &str, work: impl FnMut(&mut Writer) -> rusqlite::Result<T>) -> Result<T> {
        let mut hand = self.hand();
        if hand.closed {
            return Err(closed());
        }
        self.writing(&mut hand, deed, work).inspect_err(|error| self.in_trouble(&mut hand, error))
    }

    /// Runs `work`, which is one transaction, on the writer. Opens the file where it is not open, and puts it aside and
    /// tries again where it is damaged.
    fn writing<T>(
        &self,
        hand: &mut Hand,
        deed: &str,
        mut work: impl FnMut(&mut Writer) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut replaced = false;
        loop {
            if hand.writer.is_none() {
                self.open_file(hand).map_err(|refusal| match refusal {
                    Refusal::Newer(version) => newer(&self.path, version),
                    Refusal::Damaged(cause) => self.stuck(&cause),
                    Refusal::Sql(error) => trouble(deed, &self.path, &error),
                })?;
            }
            let writer = hand.writer.as_mut().expect("it was opened above");
            match work(writer) {
                Ok(value) => {
                    self.no_trouble(hand);
                    return Ok(value);
                }
                Err(error) if is_damage(&error) && !replaced => {
                    replaced = true;
                    self.replace(hand, &super::trouble::cause(&error))?;
                }
                Err(error) => return Err(trouble(deed, &self.path, &error)),
            }
        }
    }

    /// Opens the file; a damaged one is put aside first.
    fn open_file(&self, hand: &mut Hand) -> Result<(), Refusal> {
        let fresh = !self.path.exists();
        let conn = match open_writer(&self.path) {
            Err(Refusal::Damaged(cause)) => {
                self.put_aside(&cause).map_err(|error| Refusal::Damaged(error.to_string()))?;
                open_writer(&self.path)?
            }
            other => other?,
        };
        if fresh && let Some(folder) = self.path.parent() {
            // SQLite syncs the file, not the name of a new one.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        let counts = Counts::of(&conn)?;
        self.events.store(counts.events, Relaxed);
        self.waiting.store(counts.waiting, Relaxed);
        self.last_id.fetch_max(counts.last_id, Relaxed);
        hand.next_place = hand.next_place.max(Some(counts.last_place + 1));
        hand.clock = Clock::new(counts.newest_ms, unix_ms(), self.born.elapsed());
        hand.writer = Some(Writer::new(conn));
        Ok(())
    }

    /// The file turned out to be damaged while it was in use.
    fn replace(&self, hand: &mut Hand, cause: &str) -> Result<()> {
        hand.writer = None;
        self.put_aside(cause).map_err(|error| self.stuck(&error.to_string()))?;
        Ok(())
    }

    fn put_aside(&self, cause: &str) -> std::io::Result<()> {
        let bad = set_aside(&self.path)?;
        self.reader.renew();
        self.pending().acknowledged.clear();
        let note =
            format!("the memory was damaged ({cause}); it was put aside as {} and a new one begun", bad.display());
        log::error!("{note}");
        self.notes().aside = Some(note);
        Ok(())
    }

    /// Drops what is due, a step at a time, so that reports come in between.
    pub(super) fn tidy(&self) -> Result<u64> {
        let (mut dropped, mut unsent) = (0, 0);
        loop {
            let mut hand = self.hand();
            if hand.closed || self.bell().closing {
                break;
            }
            let now_ms = hand.clock.believed(unix_ms(), self.born.elapsed());
            let stay = hand.under_way.clone();
            let mut lower = hand.lower;
            let rule = Rule { now_ms, days: self.config.days, bytes: self.config.bytes.as_u64(), stay: &stay };
            let step = self
                .writing(&mut hand, "old events cannot be dropped", |writer| step(writer, &rule, &mut lower))
                .inspect_err(|error| self.in_trouble(&mut hand, error))?;
            hand.lower = lower;
            drop(hand);
            self.reader.search.dropped(&step.dropped);
            self.events.fetch_sub(step.dropped.len() as u64, Relaxed);
            self.less_waiting(step.unsent);
            dropped += step.dropped.len() as u64;
            unsent += step.unsent;
            if !step.more {
                break;
            }
            // A mutex is not fair: whoever waits for the writer gets it now.
            let bell = self.bell();
            let _ = self.rung.wait_timeout(bell, Duration::from_millis(2));
        }
        if unsent > 0 {
            log::warn!("{unsent} messages were never sent and were dropped: they took more than the memory may take");
        }
        Ok(dropped)
    }

    /// The keeper's life: writes what waits, drops what is due.
    pub(super) fn keep(&self, look_every: Duration) {
        let mut looked: Option<Instant> = None;
        loop {
            let waits = !self.pending().is_empty();
            let retry_at = waits.then(|| self.hand().retry_at);
            let look_at = looked.map_or_else(Instant::now, |looked| looked + look_every);
            let until = retry_at.map_or(look_at, |retry_at| retry_at.min(look_at));
            let mut bell = self.bell();
            while !bell.closing && !bell.rung && Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                bell = self.rung.wait_timeout(bell, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if bell.closing {
                return;
            }
            let rung = std::mem::take(&mut bell.rung);
            drop(bell);
            let mut hand = self.hand();
            if self.reader.take_damaged()
                && let Err(error) = self.replace(&mut hand, "it was met while reading")
            {
                self.in_trouble(&mut hand, &error);
            }
            let waits = !self.pending().is_empty();
            if waits
                && Instant::now() >= hand.retry_at
                && let Err(error) = self.flush(&mut hand)
            {
                self.in_trouble(&mut hand, &error);
            }
            let works = self.notes().trouble.is_none();
            drop(hand);
            if works && (rung || Instant::now() >= look_at) {
                looked = Some(Instant::now());
                // What fails was noted.
                let _ = self.tidy();
            } else if Instant::now() >= look_at {
                looked = Some(Instant::now());
            }
            self.reader.search.rest();
        }
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
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        flushed
    }

    pub(super) fn status(&self) -> MemoryStatus {
        self.reader.search.rest();
        let (waits, lost, lost_snapshots) = {
            let pending = self.pending();
            (pending.len(), pending.lost, pending.lost_snapshots)
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

    fn in_trouble(&self, hand: &mut Hand, error: &Error) {
        hand.retry_at = Instant::now() + hand.pause;
        hand.pause = (hand.pause * 2).min(PAUSES[1]);
        let mut notes = self.notes();
        notes.said.trouble(error.message());
        notes.trouble = Some(error.message().to_owned());
    }

    fn no_trouble(&self, hand: &mut Hand) {
        hand.pause = PAUSES[0];
        let mut notes = self.notes();
        if notes.trouble.take().is_some() {
            notes.said.over("the memory of events can be written again");
        }
    }

    /// The error of a report that went into memory instead of onto the disk.
    fn kept(&self, id: EventId) -> Error {
        let cause = self.notes().trouble.clone().unwrap_or_else(|| "the disk could not be written".to_owned());
        let waits = self.pending().len();
        Error::new(
            Code::Memory,
            format!("the event {id} waits in memory ({waits} of at most {MOST_REPORTS} reports): {cause}"),
            "make room on the disk, or check it; what waits is then written by itself",
        )
    }

    fn stuck(&self, cause: &str) -> Error {
        Error::new(
            Code::Memory,
            format!("the memory of events {} is damaged and cannot be put aside: {cause}", self.path.display()),
            "move the file away by hand",
        )
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bell(&self) -> MutexGuard<'_, Bell> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(conn: &Connection) -> rusqlite::Result<Self> {
        let number = |text: &str| -> rusqlite::Result<Option<i64>> {
            Ok(conn.query_row(text, [], |row| row.get::<_, Option<i64>>(0)).optional()?.flatten())
        };
        Ok(Self {
            events: number("SELECT count(*) FROM events")?.unwrap_or(0) as u64,
            waiting: number("SELECT count(*) FROM outbox")?.unwrap_or(0) as u64,
            last_id: number("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?.unwrap_or(0) as u64,
            last_place: number("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")?.unwrap_or(0),
            newest_ms: number("SELECT began_ms FROM events ORDER BY id DESC LIMIT 1")?.map(|ms| ms as u64),
        })
    }
}

/// The report as it can be stored. Numbers that are none have no JSON form.
fn checked(report: &Report) -> Result<Report> {
    let event = &report.event;
    let boxes = event.boxes.iter().flat_map(|found| found.rect.into_iter().chain([found.score]));
    let sound = [event.score, event.peak].into_iter().chain(boxes).all(f32::is_finite);
    if !sound || event.id.0 == 0 || event.id.0 >= 1 << 53 {
        let message = format!("the report {} of the event {} makes no sense", event.sequence, event.id);
        return Err(Error::new(Code::Memory, message, "its scores and boxes must be numbers, its id below 2^53"));
    }
    let mut report = report.clone();
    if report.embedding.as_ref().is_some_and(|floats| floats.is_empty() || !floats.iter().all(|x| x.is_finite())) {
        log::warn!("the embedding of the event {} is not made of numbers; it cannot be found by words", event.id);
        report.embedding = None;
    }
    Ok(report)
}

fn closed() -> Error {
    Error::new(Code::Memory, "the memory of events is closed", "start lookout again")
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
