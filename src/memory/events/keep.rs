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
const PAGES: u64 = 256;
const DAY_MS: u64 = 86_400_000;
const DAY: Duration = Duration::from_secs(86_400);

/// What may stay, and what must.
pub(super) struct Rule<'a> {
    /// Now in milliseconds since 1970; `None` where the clock is not believed.
    pub(super) now_ms: Option<u64>,
    pub(super) days: u32,
    pub(super) bytes: u64,
    /// Events that there are.
    pub(super) events: u64,
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
    let wasted = pages.free > PAGES && pages.free > pages.count / 4;
    // Pages that new events will take again soon are not worth the wear of moving others.
    if wasted || (pages.free > 0 && file > rule.bytes + rule.bytes / 50) {
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
    let mut oldest: Vec<i64> = {
        let mut statement = writer.conn.prepare_cached("SELECT id FROM events ORDER BY id LIMIT ?1")?;
        let ids = statement.query_map([(STEP + rule.stay.len()) as i64], |row| row.get(0))?;
        ids.collect::<rusqlite::Result<_>>()?
    };
    oldest.retain(|id| !rule.stay.contains(&(*id as u64)));
    // No more than what is needed, by the mean size, and never all at once.
    let excess = pages.used() - rule.bytes / 20 * 19;
    let needed = excess * rule.events.max(1) / pages.used().max(1) + 1;
    oldest.truncate(needed.min(STEP as u64) as usize);
    if !oldest.is_empty() {
        return drop_events(writer, &oldest);
    }
    let unsent = writer.transaction(|tx| {
        tx.execute("DELETE FROM outbox WHERE place IN (SELECT place FROM outbox ORDER BY place LIMIT 1000)", [])
    })?;
    Ok(Step { unsent: unsent as u64, more: unsent > 0, ..Step::default() })
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

#[cfg(test)]
mod tests {
    use super::super::database::open_writer;
    use super::*;

    const NOW: u64 = 1_795_000_000_000;
    const HOUR: Duration = Duration::from_secs(3_600);

    /// Which of the events `(name, ms of its id, ms of its own)` are too old.
    fn old(now_ms: u64, events: &[(&'static str, u64, u64)]) -> Vec<&'static str> {
        let folder = tempfile::tempdir().unwrap();
        let conn = open_writer(&folder.path().join("events.db")).unwrap();
        for (_, id_ms, began_ms) in events {
            let row = params![(id_ms * 2_048) as i64, *began_ms as i64];
            conn.execute("INSERT INTO events VALUES (?1, 0, 1, 1, ?2, 1, '')", row).unwrap();
        }
        let ids = expired(&conn, now_ms, 30).unwrap();
        let named = events.iter().filter(|(_, id_ms, _)| ids.contains(&((id_ms * 2_048) as i64)));
        named.map(|(name, ..)| *name).collect()
    }

    #[test]
    fn events_are_old_after_their_days() {
        let events =
            [("31 days", NOW - 31 * DAY_MS, NOW - 31 * DAY_MS), ("29 days", NOW - 29 * DAY_MS, NOW - 29 * DAY_MS)];
        assert_eq!(old(NOW, &events), ["31 days"]);
    }

    #[test]
    fn a_clock_that_is_set_back_a_year_makes_nothing_old() {
        let events = [("a", NOW - 31 * DAY_MS, NOW - 31 * DAY_MS), ("b", NOW, NOW), ("c", NOW + 1, NOW - 365 * DAY_MS)];
        assert!(old(NOW - 365 * DAY_MS, &events).is_empty());
    }

    #[test]
    fn an_event_from_a_boot_in_1970_is_as_old_as_its_neighbours() {
        let events =
            [("before", NOW - DAY_MS, NOW - DAY_MS), ("in 1970", NOW - DAY_MS + 1, 5_000), ("after", NOW, NOW)];
        assert!(old(NOW, &events).is_empty());
        assert_eq!(old(NOW + 30 * DAY_MS, &events), ["before", "in 1970"]);
    }

    #[test]
    fn an_event_from_the_future_goes_with_the_next_that_is_old() {
        let year = 365 * DAY_MS;
        // The clock was a year ahead for one event; ids go on from there.
        let events = [
            ("before", NOW - DAY_MS, NOW - DAY_MS),
            ("ahead", NOW + year, NOW + year),
            ("after", NOW + year + 1, NOW),
            ("later", NOW + year + 2, NOW + 10 * DAY_MS),
        ];
        assert!(old(NOW + DAY_MS, &events).is_empty());
        assert_eq!(old(NOW + 29 * DAY_MS + 1, &events), ["before"]);
        assert_eq!(old(NOW + 31 * DAY_MS, &events), ["before", "ahead", "after"]);
    }

    #[test]
    fn a_clock_that_jumps_a_year_ahead_is_believed_after_a_day_only() {
        let mut clock = Clock::new(Some(NOW), NOW + 5_000, Duration::ZERO);
        assert_eq!(clock.believed(NOW + 5_000, Duration::ZERO), Some(NOW + 5_000));
        let year = 365 * DAY_MS;
        for hours in 1..25 {
            assert_eq!(clock.believed(NOW + year, hours * HOUR), None, "after {hours} hours");
        }
        // It came back: nothing happened, and the next jump is doubted again.
        assert!(clock.believed(NOW + DAY_MS, 25 * HOUR).is_some());
        assert_eq!(clock.believed(NOW + year, 26 * HOUR), None);
        assert_eq!(clock.believed(NOW + year, 50 * HOUR), Some(NOW + year));
        assert!(clock.believed(NOW + year, 51 * HOUR).is_some());
        assert!(clock.believed(NOW, 52 * HOUR).is_some(), "back is harmless");
    }

    #[test]
    fn a_device_that_was_off_for_weeks_waits_a_day_before_it_drops_by_age() {
        let mut clock = Clock::new(Some(NOW - 60 * DAY_MS), NOW, Duration::ZERO);
        assert_eq!(clock.believed(NOW, Duration::ZERO), None);
        assert_eq!(clock.believed(NOW + DAY_MS, 24 * HOUR), Some(NOW + DAY_MS));
    }
}
