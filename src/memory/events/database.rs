//! Opening the file: pragmas, schema, migrations, and whether it is sound.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::trouble::{cause, is_damage};

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
        message TEXT NOT NULL);
    CREATE INDEX events_began ON events (began_ms);
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
    "SELECT max(id + sequence + trigger + camera + began_ms), max(message) FROM (SELECT * FROM events ORDER BY id DESC LIMIT 1)",
    "SELECT count(began_ms) FROM events WHERE trigger = -1 AND began_ms > 0",
    "SELECT max(length(jpeg)) FROM (SELECT * FROM snapshots ORDER BY id DESC LIMIT 1)",
    "SELECT max(bundle + trigger + camera + began_ms), max(floats) FROM (SELECT * FROM embeddings ORDER BY id DESC LIMIT 1)",
    "SELECT max(place + at_ms), max(message) FROM (SELECT * FROM outbox ORDER BY place LIMIT 1)",
];

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

/// Opens the database for reading, beside whoever writes it.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Refusal> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    match version(&conn)? {
        0 => Err(Refusal::Damaged("it has no tables".to_owned())),
        _ => Ok(conn),
    }
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
