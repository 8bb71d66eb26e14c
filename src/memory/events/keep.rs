//! Retention: by days, by bytes, and giving pages back to the file system.
//!
//! Whole events go, oldest first, with snapshot and embedding. An event that is under way stays. A message in the outbox
//! holds its own copy of the event and stays too; only where no event is left to drop do its oldest messages go.
//!
//! A clock that jumps must not wipe the memory:
//! - Forth: where the clock is more than a day ahead of what the newest event and the time since explain, nothing is
//!   dropped by age until the clock has stood by it for a day. A device that was off for weeks waits that day too.
//! - Back: events look younger than they are, and stay longer.
//! - An event counts as old where its own time says so and its id agrees: ids carry the latest time that the device had
//!   seen, so an event from a boot in 1970 is not taken for half a century old. Ids from the future say nothing.
//! - An event from the future goes with the first later one that is too old.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::write::{Writer, signed};

/// Events that are dropped in one transaction.
const STEP: usize = 64;
/// Pages that are given back in one transaction.
const PAGES: i64 = 256;
const DAY_MS: u64 = 86_400_000;
const DAY: Duration = Duration::from_secs(86_400);

/// What may stay, and what must.
pub(super) struct Rule<'a> {
    /// Now in milliseconds since 1970; `None` where the clock is not believed.
    pub(super) now_ms: Option<u64>,
    pub(super) days: u32,
    pub(super) bytes: u64,
    /// Events that are under way.
    pub(super) stay: &'a HashSet<u64>,
}

/// What one step did.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    /// Events that are gone.
    pub(super) dropped: Vec<u64>,
    /// Messages that left the outbox unsent.
    pub(super) unsent: u64,
    /// There may be more to do.
    pub(super) more: bool,
}

/// Pages of the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages {
    pub(super) count: u64,
    pub(super) free: u64,
    pub(super) size: u64,
}

impl Pages {
    pub(super) fn of(conn: &Connection) -> rusqlite::Result<Self> {
        let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(|n| n as u64);
        Ok(Self { count: number("page_count")?, free: number("freelist_count")?, size: number("page_size")? })
    }

    /// Bytes of what is stored.
    pub(super) fn used(self) -> u64 {
        self.count.saturating_sub(self.free) * self.size
    }
}

/// One step of dropping by age, then by bytes, then of giving pages back; nothing where nothing is due. While `lower` is
/// set bytes are dropped down to 95 %, so that it is not done again for each event.
pub(super) fn step(writer: &mut Writer, rule: &Rule, lower: &mut bool) -> rusqlite::Result<Step> {
    if let Some(now_ms) = rule.now_ms {
        let mut old = expired(&writer.conn, now_ms, rule.days)?;
        old.retain(|id| !rule.stay.contains(&(*id as u64)));
        if !old.is_empty() {
            return drop_events(writer, &old);
        }
    }
    let pages = Pages::of(&writer.conn)?;
    let goal = if *lower { rule.bytes / 20 * 19 } else { rule.bytes };
    if pages.used() > goal {
        *lower = true;
        return drop_bytes(writer, rule, pages);
    }
    *lower = false;
    let file = pages.count * pages.size;
    // Pages that new events will take again soon are not worth the wear of moving others.
    if pages.free > PAGES as u64 && (pages.free > pages.count / 4 || file > rule.bytes + rule.bytes / 50) {
        let mut statement = writer.conn.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        return Ok(Step { more: true, ..Step::default() });
    }
    Ok(Step::default())
}

/// Ids of events that are too old, oldest first, [`STEP`] at most.
fn expired(conn: &Connection, now_ms: u64, days: u32) -> rusqlite::Result<Vec<i64>> {
    const OLD: &str = "began_ms < ?1 AND (id < ?1 * 2048 OR id > ?2 * 2048)";
    let (cutoff, future) = (signed(now_ms.saturating_sub(u64::from(days) * DAY_MS)), signed(now_ms + DAY_MS));
    let text = format!(
        "SELECT id FROM events WHERE {OLD} UNION ALL \
         SELECT id FROM events WHERE began_ms > ?2 AND id < (SELECT max(id) FROM events WHERE {OLD}) \
         LIMIT {STEP}"
    );
    let mut statement = conn.prepare_cached(&text)?;
    let ids = statement.query_map([cutoff, future], |row| row.get(0))?;
    ids.collect()
}

fn drop_bytes(writer: &mut Writer, rule: &Rule, pages: Pages) -> rusqlite::Result<Step> {
    let outbox: u64 = writer.conn.query_row("SELECT count(*) FROM outbox", [], |row| row.get::<_, i64>(0))? as u64;
    let mut oldest: Vec<i64> = {
        let mut statement = writer.conn.prepare_cached("SELECT id FROM events ORDER BY id LIMIT ?1")?;
        let ids = statement.query_map([(STEP + rule.stay.len()) as i64], |row| row.get(0))?;
        ids.collect::<rusqlite::Result<_>>()?
    };
    oldest.retain(|id| !rule.stay.contains(&(*id as u64)));
    // No more than what is needed, by the mean size, and never all at once.
    let events: u64 = writer.conn.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0))? as u64;
    let excess = pages.used() - rule.bytes / 20 * 19;
    let needed = excess * events.max(1) / pages.used().max(1) + 1;
    oldest.truncate(needed.min(STEP as u64) as usize);
    if !oldest.is_empty() {
        return drop_events(writer, &oldest);
    }
    if outbox > 0 {
        let unsent = writer.transaction(|tx| {
            tx.execute("DELETE FROM outbox WHERE place IN (SELECT place FROM outbox ORDER BY place LIMIT 1000)", [])
        })?;
        return Ok(Step { unsent: unsent as u64, more: true, ..Step::default() });
    }
    Ok(Step::default())
}

fn drop_events(writer: &mut Writer, ids: &[i64]) -> rusqlite::Result<Step> {
    writer.transaction(|tx| {
        for table in ["snapshots", "embeddings", "events"] {
            let mut statement = tx.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?;
            for id in ids {
                statement.execute(params![id])?;
            }
        }
        Ok(())
    })?;
    Ok(Step { dropped: ids.iter().map(|id| *id as u64).collect(), more: true, ..Step::default() })
}

/// Whether the clock can be believed. Times are given, so that this can be tested.
#[derive(Debug)]
pub(super) struct Clock {
    /// A time that was believed, and the steady clock then.
    anchor: (u64, Duration),
    /// The steady clock when the jump was first seen.
    doubted: Option<Duration>,
}

impl Clock {
    /// `newest_ms` is the time of the newest event.
    pub(super) fn new(newest_ms: Option<u64>, now_ms: u64, steady: Duration) -> Self {
        Self { anchor: (newest_ms.unwrap_or(now_ms), steady), doubted: None }
    }

    /// `now_ms`, if it is believed; `steady` never jumps.
    pub(super) fn believed(&mut self, now_ms: u64, steady: Duration) -> Option<u64> {
        let passed = steady.saturating_sub(self.anchor.1).as_millis() as u64;
        if now_ms > self.anchor.0.saturating_add(passed).saturating_add(DAY_MS) {
            let doubted = *self.doubted.get_or_insert(steady);
            if steady.saturating_sub(doubted) < DAY {
                return None;
            }
        }
        self.doubted = None;
        self.anchor = (now_ms, steady);
        Some(now_ms)
    }
}
