//! Reading, beside a writer or from another process.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension};

use crate::watch::{Event, EventId};
use crate::{Code, Error, Result};

use super::database::{self, Reading, Refusal};
use super::search::Search;
use super::trouble::{is_damage, trouble};
use super::write::signed;

/// Connections that are kept open while nobody reads.
const IDLE: usize = 2;

/// Which events are wanted. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFilter {
    /// Began at this time or later, in milliseconds since 1970-01-01 UTC.
    pub since_ms: Option<u64>,
    /// Came before this event: to list page by page.
    pub before: Option<EventId>,
    /// Of this trigger.
    pub trigger: Option<String>,
    /// Of this camera.
    pub camera: Option<String>,
}

/// Reads a memory of events; it writes nothing. It may be used from many threads, and while a daemon writes.
pub struct EventReader {
    path: PathBuf,
    idle: Mutex<Idle>,
    pub(super) search: Search,
    /// A reader has met damage.
    damaged: AtomicBool,
    /// The file was never finished: nothing is in it.
    pub(super) unmade: AtomicBool,
}

struct Idle {
    /// Counts the files: a connection to one that was put aside is not used again.
    age: u64,
    connections: Vec<Connection>,
}

impl EventReader {
    /// Opens the memory in `folder`. Errors where there is none, or it is damaged or of a newer lookout.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(database::FILE);
        if !path.is_file() {
            return Err(Error::new(
                Code::Memory,
                format!("there is no memory of events in {}", folder.display()),
                "`lookout run` makes one when it starts; is it the folder that its config names?",
            ));
        }
        let reader = Self::at(path, super::MemoryConfig::default().search_bytes.as_u64());
        let reading = reader.connect()?;
        reader.give_back(0, reading);
        Ok(reader)
    }

    pub(super) fn at(path: PathBuf, search_bytes: u64) -> Self {
        Self {
            path,
            idle: Mutex::new(Idle { age: 0, connections: Vec::new() }),
            search: Search::new(search_bytes),
            damaged: AtomicBool::new(false),
            unmade: AtomicBool::new(false),
        }
    }

    /// An event as it stood last; `None` where there is none (any more).
    pub fn get(&self, id: EventId) -> Result<Option<Event>> {
        let message = self.with("an event cannot be read", |conn| {
            conn.prepare_cached("SELECT message FROM events WHERE id = ?1")?
                .query_row([signed(id.0)], |row| row.get::<_, String>(0))
                .optional()
        })?;
        Ok(message.and_then(|message| parse(&message)))
    }

    /// The snapshot of an event as a JPEG file; `None` where it has none (any more).
    pub fn snapshot(&self, id: EventId) -> Result<Option<Vec<u8>>> {
        self.with("a snapshot cannot be read", |conn| {
            conn.prepare_cached("SELECT jpeg FROM snapshots WHERE id = ?1")?
                .query_row([signed(id.0)], |row| row.get(0))
                .optional()
        })
    }

    /// The embedding of an event's picture and the identity of the bundle that made it.
    pub fn embedding(&self, id: EventId) -> Result<Option<(String, Vec<f32>)>> {
        self.with("an embedding cannot be read", |conn| {
            conn.prepare_cached("SELECT name, floats FROM embeddings JOIN names ON number = bundle WHERE id = ?1")?
                .query_row([signed(id.0)], |row| Ok((row.get(0)?, floats(row.get_ref(1)?.as_blob()?).collect())))
                .optional()
        })
    }

    /// At most `top` events, newest first.
    pub fn list(&self, filter: &EventFilter, top: usize) -> Result<Vec<Event>> {
        let messages = self.with("events cannot be listed", |conn| {
            let mut text = "SELECT message FROM events WHERE 1".to_owned();
            let mut values: Vec<Box<dyn ToSql>> = Vec::new();
            let mut and = |condition: &str, value: i64| {
                text += " AND ";
                text += condition;
                values.push(Box::new(value));
            };
            if let Some(since) = filter.since_ms {
                // An id's time is never before the event's, so the first bounds the second.
                and("id >= ?", signed(since.saturating_mul(2_048)));
                and("+began_ms >= ?", signed(since));
            }
            if let Some(before) = filter.before {
                and("id < ?", signed(before.0));
            }
            for (column, name) in [("trigger = ?", &filter.trigger), ("+camera = ?", &filter.camera)] {
                if let Some(name) = name {
                    let Some(number) = number(conn, name)? else { return Ok(Vec::new()) };
                    and(column, number);
                }
            }
            text += " ORDER BY id DESC LIMIT ?";
            values.push(Box::new(signed(top as u64)));
            let mut statement = conn.prepare_cached(&text)?;
            let rows = statement.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(messages.iter().filter_map(|message| parse(message)).collect())
    }

    /// The events that have no end yet, oldest first.
    pub fn unfinished(&self) -> Result<Vec<Event>> {
        let messages = self.with("events cannot be read", |conn| {
            let mut statement = conn.prepare("SELECT message FROM events WHERE ended = 0 ORDER BY id")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(messages.iter().filter_map(|message| parse(message)).collect())
    }

    /// The `top` events whose pictures are nearest to `query`, with their cosines, best first. `query` has length 1 and
    /// was made by the bundle of this identity: embeddings of other bundles are not compared. The first search reads the
    /// embeddings of the time that it asks about into memory.
    pub fn find(&self, query: &[f32], bundle: &str, filter: &EventFilter, top: usize) -> Result<Vec<(Event, f32)>> {
        let found =
            self.with("events cannot be searched", |conn| self.search.find(conn, query, bundle, filter, top))?;
        Ok(found.into_iter().filter_map(|(message, cosine)| Some((parse(&message)?, cosine))).collect())
    }

    /// The value of a setting.
    pub(super) fn setting(&self, key: &str) -> Result<Option<String>> {
        self.with("a setting cannot be read", |conn| {
            conn.prepare_cached("SELECT value FROM settings WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()
        })
    }

    /// Runs `work` on a connection of its own. `deed` is said where it fails.
    pub(super) fn with<T>(&self, deed: &str, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let (age, idle) = {
            let mut idle = self.idle();
            (idle.age, idle.connections.pop())
        };
        let reading = match idle {
            Some(conn) => Reading { conn, alone: false },
            None => self.connect()?,
        };
        match work(&reading.conn) {
            Ok(value) => {
                self.give_back(age, reading);
                Ok(value)
            }
            Err(error) => {
                if is_damage(&error) {
                    self.damaged.store(true, Ordering::Relaxed);
                }
                Err(trouble(deed, &self.path, &error))
            }
        }
    }

    /// Whether damage was met since this was asked last.
    pub(super) fn take_damaged(&self) -> bool {
        self.damaged.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// The file was replaced: forget all about the old one.
    pub(super) fn renew(&self) {
        let mut idle = self.idle();
        idle.age += 1;
        idle.connections.clear();
        drop(idle);
        self.search.forget_all();
        self.damaged.store(false, Ordering::Relaxed);
    }

    /// Closes the connections that nobody uses.
    pub(super) fn rest(&self) {
        self.idle().connections.clear();
    }

    fn connect(&self) -> Result<Reading> {
        let unmade = self.unmade.load(Ordering::Relaxed);
        let opened = if unmade { database::nothing() } else { database::open_reader(&self.path) };
        opened.map_err(|refusal| match refusal {
            Refusal::Newer(version) => newer(&self.path, version),
            Refusal::Damaged(cause) => {
                self.damaged.store(true, Ordering::Relaxed);
                let message = format!("the memory of events {} is damaged: {cause}", self.path.display());
                Error::new(Code::Memory, message, "start `lookout run`: it puts the file aside and starts anew")
            }
            Refusal::Sql(error) => trouble("the memory of events cannot be opened", &self.path, &error),
        })
    }

    fn give_back(&self, age: u64, Reading { conn, alone }: Reading) {
        let mut idle = self.idle();
        if !alone && idle.age == age && idle.connections.len() < IDLE {
            idle.connections.push(conn);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error about a schema that this lookout does not know.
pub(super) fn newer(path: &Path, version: i64) -> Error {
    Error::new(
        Code::Memory,
        format!("the memory of events {} was written by a newer lookout (schema {version})", path.display()),
        "install that lookout again, or name another folder for the memory; nothing was changed",
    )
}

/// The number that stands for a name, if it was ever used.
pub(super) fn number(conn: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT number FROM names WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

/// The floats of an embedding as it is stored.
pub(super) fn floats(blob: &[u8]) -> impl Iterator<Item = f32> {
    blob.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four))
}

/// An event from its stored form. One that cannot be read is left out.
pub(super) fn parse(message: &str) -> Option<Event> {
    serde_json::from_str(message)
        .inspect_err(|error| log::warn!("an event in the memory cannot be read and is left out: {error}"))
        .ok()
}
