//! Opening the file: pragmas, schema, migrations, and whether it is sound.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::aside::with_end;
use super::trouble::{cause, is_damage, is_full, needs_room};

/// Name of the database in its folder.
pub(super) const FILE: &str = "events.db";

/// "look".
const APPLICATION: i64 = 0x6c6f_6f6b;

/// A file up to this size is read whole when it is opened, to see whether it is sound. In a larger one damage is met
/// when it is read.
const CHECKED_BYTES: u64 = 64 << 20;

/// Each entry brings the schema from the version of its index to the next.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE names (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    -- AUTOINCREMENT remembers the largest id that ever was, also when its event is gone.
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sequence INTEGER NOT NULL,
        trigger INTEGER NOT NULL,
        camera INTEGER NOT NULL,
        began_ms INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        message TEXT NOT NULL);
    CREATE INDEX events_began ON events (began_ms);
    CREATE INDEX events_unfinished ON events (id) WHERE ended = 0;
    CREATE INDEX events_trigger ON events (trigger);
    CREATE TABLE snapshots (id INTEGER PRIMARY KEY, jpeg BLOB NOT NULL);
    CREATE TABLE embeddings (
        id INTEGER PRIMARY KEY,
        bundle INTEGER NOT NULL,
        trigger INTEGER NOT NULL,
        camera INTEGER NOT NULL,
        began_ms INTEGER NOT NULL,
        floats BLOB NOT NULL);
    CREATE TABLE outbox (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL,
        message TEXT NOT NULL);
    CREATE INDEX outbox_at ON outbox (at_ms);
"];

/// What the small tables hold must be readable, and the large ones must have their columns.
const PROBES: [&str; 7] = [
    "SELECT count(key || value) FROM settings",
    "SELECT count(number || name) FROM names",
    "SELECT max(id + sequence + trigger + camera + began_ms + ended), max(message) FROM (SELECT * FROM events ORDER BY id DESC LIMIT 1)",
    "SELECT count(began_ms) FROM events WHERE trigger = -1 AND began_ms > 0",
    "SELECT max(length(jpeg)) FROM (SELECT * FROM snapshots ORDER BY id DESC LIMIT 1)",
    "SELECT max(bundle + trigger + camera + began_ms), max(floats) FROM (SELECT * FROM embeddings ORDER BY id DESC LIMIT 1)",
    "SELECT max(place + at_ms), max(message) FROM (SELECT * FROM outbox ORDER BY place LIMIT 1)",
];

const NO_TABLES: &str = "it has no tables";

/// Why a file could not be opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Its content is to blame; the cause in words.
    Damaged(String),
    /// It is of this schema, which is newer than what is known here.
    Newer(i64),
    /// Something else.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        // A schema that SQLite cannot make sense of, or that lacks a table, gives a plain error.
        let nonsense = matches!(error.sqlite_error_code(), Some(ErrorCode::Unknown | ErrorCode::TypeMismatch))
            || matches!(error, rusqlite::Error::SqlInputError { .. } | rusqlite::Error::QueryReturnedNoRows);
        if nonsense || is_damage(&error) { Self::Damaged(cause(&error)) } else { Self::Sql(error) }
    }
}

/// Opens the database for writing, and makes it where there is none.
pub(super) fn open_writer(path: &Path) -> Result<Connection, Refusal> {
    if is_foreign(path) {
        return Err(Refusal::Damaged("it does not begin as a database".to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    let version = version(&conn)?;
    if version == 0 {
        // Both before the first page is written; the first is for good.
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    } else if conn.is_readonly("main")? && fs::OpenOptions::new().write(true).open(path).is_ok() {
        return Err(Refusal::Damaged("its header says that it must not be written".to_owned()));
    }
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "journal_size_limit", 16 << 20)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    migrate(&conn, version)?;
    check(&conn, path)?;
    Ok(conn)
}

/// A connection that reads.
pub(super) struct Reading {
    pub(super) conn: Connection,
    /// Nobody else can use the file meanwhile: it is not to be kept.
    pub(super) alone: bool,
}

/// Opens the database for reading, beside whoever writes it.
pub(super) fn open_reader(path: &Path) -> Result<Reading, Refusal> {
    let open = |name: &Path, more: OpenFlags| {
        let alone = more.contains(OpenFlags::SQLITE_OPEN_READ_WRITE);
        let conn = Connection::open_with_flags(name, OpenFlags::SQLITE_OPEN_NO_MUTEX | more)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        if alone {
            conn.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
            conn.pragma_update(None, "query_only", true)?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        match version(&conn)? {
            0 => Err(Refusal::Damaged(NO_TABLES.to_owned())),
            _ => Ok(Reading { conn, alone }),
        }
    };
    let opened = match open(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
        // The log is read by way of shared memory, a file for which there is no room. Whoever has the database alone needs
        // none; its lock is one for writing.
        Err(Refusal::Sql(error)) if needs_room(&error) && is_full(path) => {
            open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        }
        other => other,
    };
    match opened {
        Err(Refusal::Sql(error))
            if matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
                && fs::metadata(with_end(path, "-wal")).map_or(0, |meta| meta.len()) == 0 =>
        {
            // A reader that may not write the folder, or finds no room in it, cannot share the log. There is none: nobody writes.
            let reading = open(&unchanging(path), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?;
            Ok(Reading { alone: is_full(path), ..reading })
        }
        other => other,
    }
}

/// Whether the file was never finished, as where there was no room for it.
pub(super) fn is_unmade(path: &Path) -> bool {
    !path.exists() || matches!(open_reader(path), Err(Refusal::Damaged(cause)) if cause == NO_TABLES)
}

/// A memory in which nothing is, to be read in place of one that was never finished.
pub(super) fn nothing() -> Result<Reading, Refusal> {
    let conn = Connection::open_in_memory()?;
    migrate(&conn, 0)?;
    Ok(Reading { conn, alone: true })
}

/// The name by which SQLite opens a file without looking whether somebody writes it.
fn unchanging(path: &Path) -> PathBuf {
    let mut name = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'?' | b'#' | b'%' => name.extend(format!("%{byte:02x}").bytes()),
            _ => name.push(*byte),
        }
    }
    name.extend(b"?immutable=1");
    OsString::from_vec(name).into()
}

/// Whether the file is something else than a database. SQLite would take one that is shorter than a page for empty. What
/// was not finished when it was made is brought in order by its journal.
fn is_foreign(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(16).read_to_end(&mut start));
    read.is_ok() && !start.is_empty() && start != b"SQLite format 3\0" && !with_end(path, "-journal").exists()
}

/// The schema's version; 0 for an empty file.
fn version(conn: &Connection) -> Result<i64, Refusal> {
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, application) = (number("user_version")?, number("application_id")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 && version == 0 {
        return Ok(0);
    }
    if application != APPLICATION {
        return Err(Refusal::Damaged("it is not a memory of events".to_owned()));
    }
    // Kept twice, so that a damaged header is not taken for a newer schema.
    let noted: Option<String> =
        conn.query_row("SELECT value FROM settings WHERE key = 'schema'", [], |row| row.get(0)).optional()?;
    if noted != Some(version.to_string()) {
        return Err(Refusal::Damaged(format!("its header gives {version} as the schema, its table {noted:?}")));
    }
    if version > MIGRATIONS.len() as i64 { Err(Refusal::Newer(version)) } else { Ok(version) }
}

/// Brings the schema up to date, each step in one transaction.
fn migrate(conn: &Connection, from: i64) -> Result<(), Refusal> {
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(from as usize) {
        let version = index + 1;
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {migration} \
             INSERT OR REPLACE INTO settings (key, value) VALUES ('schema', '{version}'); \
             PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version}; COMMIT"
        ))
        .inspect_err(|_| drop(conn.execute_batch("ROLLBACK")))?;
    }
    Ok(())
}

fn check(conn: &Connection, path: &Path) -> Result<(), Refusal> {
    for probe in PROBES {
        conn.query_row(probe, [], |_| Ok(()))?;
    }
    if fs::metadata(path).map_or(0, |meta| meta.len()) <= CHECKED_BYTES {
        let told: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if told != "ok" {
            return Err(Refusal::Damaged(told.lines().last().unwrap_or_default().to_owned()));
        }
    }
    Ok(())
}

/// What the file holds when it is opened.
pub(super) struct Counts {
    pub(super) events: u64,
    pub(super) waiting: u64,
    pub(super) last_id: u64,
    pub(super) last_place: i64,
    pub(super) newest_ms: Option<u64>,
}

impl Counts {
    pub(super) fn of(conn: &Connection) -> rusqlite::Result<Self> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_name_can_be_read_without_writing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("50% of what?#1.db");
        drop(open_writer(&path).unwrap());
        let conn = Connection::open_with_flags(
            unchanging(&path),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
        )
        .unwrap();
        assert_eq!(version(&conn).unwrap(), MIGRATIONS.len() as i64);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no log, no shared memory");
    }

    #[test]
    fn a_commit_is_on_the_disk_and_the_file_can_shrink() {
        let folder = tempfile::tempdir().unwrap();
        let conn = open_writer(&folder.path().join("events.db")).unwrap();
        let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), number("synchronous"), number("auto_vacuum")), ("wal", 2, 2));
    }

    #[test]
    fn a_damaged_version_is_not_taken_for_a_newer_lookout() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let conn = open_writer(&path).unwrap();
        conn.pragma_update(None, "user_version", 77).unwrap();
        drop(conn);
        assert!(matches!(open_writer(&path), Err(Refusal::Damaged(_))));
    }
}
