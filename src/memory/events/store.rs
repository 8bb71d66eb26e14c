//! The store: all of the memory behind one door.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::watch::{Event, EventId, MemoryStatus, Report};
use crate::{Code, Error, Result};

use super::config::MemoryConfig;
use super::database::FILE;
use super::read::{EventFilter, EventReader};
use super::shared::Shared;

/// Retention looks this often whether something is too old, if no event makes it look before.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// The memory of events, of which a folder has one writer. All of it may be called from any thread; reads do not wait for
/// writes.
///
/// While the disk cannot be written, reports are kept in memory (see the module's limits) and written when it can be again;
/// [`EventStore::status`] says so, and they can already be had from the [`Outbox`](crate::memory::Outbox), though not yet
/// be listed or found.
pub struct EventStore {
    pub(super) shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl EventStore {
    /// Opens the memory in `folder`, and makes both where they are missing. A damaged file is put aside as
    /// `events.db.bad`, and an empty one takes its place; [`EventStore::status`] says so. A disk that is full is no error
    /// here, unless there is no room for the folder. Errors where another process writes this memory, where a newer lookout has written it, or where the folder
    /// cannot be used.
    pub fn open(folder: &Path, config: &MemoryConfig) -> Result<Self> {
        config.check()?;
        let unusable = |error: &std::io::Error| {
            let message = format!("the folder {} cannot hold the memory of events: {error}", folder.display());
            let help = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk",
                _ => "name a folder that this user may write into",
            };
            Error::new(Code::Memory, message, help)
        };
        fs::create_dir_all(folder).map_err(|error| unusable(&error))?;
        let lock = File::open(folder).map_err(|error| unusable(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another lookout already keeps its memory of events in {}", folder.display());
                return Err(Error::new(Code::Memory, message, "stop it, or give each its own folder"));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(&error)),
        }
        let shared = Arc::new(Shared::open(folder.join(FILE), config, lock)?);
        let kept = shared.clone();
        let keeper =
            std::thread::Builder::new().name("memory".to_owned()).spawn(move || kept.keep(LOOK_EVERY)).map_err(
                |error| Error::new(Code::Memory, format!("no thread for the memory of events: {error}"), "free memory"),
            )?;
        Ok(Self { shared, keeper: Mutex::new(Some(keeper)) })
    }

    /// Stores a report: the event's row, its snapshot and embedding, and, where it goes out by MQTT, its message in the
    /// outbox, all or nothing. `Ok` means that it is on the disk and survives a power cut. A report whose `(id, sequence)`
    /// is known changes nothing.
    ///
    /// An error means that it is not on the disk. Unless the report itself makes no sense it is then kept in memory and
    /// written as soon as that works: do not record it again.
    pub fn record(&self, report: &Report) -> Result<()> {
        self.shared.record(report)
    }

    /// The largest id of any event that was ever recorded here; 0 where there was none.
    pub fn last_id(&self) -> EventId {
        self.shared.last_id()
    }

    /// An event as it stood last; `None` where there is none (any more).
    pub fn get(&self, id: EventId) -> Result<Option<Event>> {
        self.read(|reader| reader.get(id))
    }

    /// The snapshot of an event as a JPEG file; `None` where it has none (any more).
    pub fn snapshot(&self, id: EventId) -> Result<Option<Vec<u8>>> {
        self.read(|reader| reader.snapshot(id))
    }

    /// The embedding of an event's picture and the identity of the bundle that made it.
    pub fn embedding(&self, id: EventId) -> Result<Option<(String, Vec<f32>)>> {
        self.read(|reader| reader.embedding(id))
    }

    /// At most `top` events, newest first.
    pub fn list(&self, filter: &EventFilter, top: usize) -> Result<Vec<Event>> {
        self.read(|reader| reader.list(filter, top))
    }

    /// The events that have no end yet, oldest first: see [`EventReader::unfinished`].
    pub fn unfinished(&self) -> Result<Vec<Event>> {
        self.read(EventReader::unfinished)
    }

    /// The `top` events whose pictures are nearest to `query`, with their cosines, best first: see [`EventReader::find`].
    pub fn find(&self, query: &[f32], bundle: &str, filter: &EventFilter, top: usize) -> Result<Vec<(Event, f32)>> {
        self.read(|reader| reader.find(query, bundle, filter, top))
    }

    /// The value of a setting that was kept.
    pub fn setting(&self, key: &str) -> Result<Option<String>> {
        self.read(|reader| reader.setting(&setting_key(key)))
    }

    /// Keeps a setting over restarts. Nothing is written where it has this value already.
    pub fn set_setting(&self, key: &str, value: &str) -> Result<()> {
        if self.setting(key).is_ok_and(|old| old.as_deref() == Some(value)) {
            return Ok(());
        }
        let key = setting_key(key);
        self.shared.write("a setting cannot be stored", |writer| {
            writer.transaction(|tx| {
                tx.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)", [key.as_str(), value])
            })
        })?;
        Ok(())
    }

    /// How it is doing. Does not wait for the disk.
    pub fn status(&self) -> MemoryStatus {
        self.shared.status()
    }

    /// Drops what is too old or too much, now. Returns the number of events that went. It is done by itself after an event
    /// that makes it necessary, and every hour.
    pub fn tidy(&self) -> Result<u64> {
        self.shared.tidy()
    }

    /// Writes what waits and closes the file. What is recorded after that is an error. Errors where something could not be
    /// written.
    pub fn close(&self) -> Result<()> {
        let begin = Instant::now();
        self.shared.stop();
        if let Some(keeper) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic of the keeper was reported where it happened.
            let _ = keeper.join();
        }
        let closed = self.shared.close();
        log::debug!("the memory of events closed in {:?}", begin.elapsed());
        closed
    }

    fn read<T>(&self, read: impl FnOnce(&EventReader) -> Result<T>) -> Result<T> {
        let read = read(&self.shared.reader);
        if read.is_err() {
            self.shared.ring_if_damaged();
        }
        read
    }
}

impl Drop for EventStore {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            log::error!("{error}");
        }
    }
}

/// The database keeps settings of its own in the same table.
fn setting_key(key: &str) -> String {
    format!("user.{key}")
}
