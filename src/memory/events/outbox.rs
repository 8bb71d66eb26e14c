//! Messages that wait for the broker.
//!
//! Places are given in the order of recording, and a place is visible no later than any larger one. A message whose report
//! is still in memory, because the disk cannot be written, waits here as well: it can be told although it is not stored.

use rusqlite::params;

use crate::Result;
use crate::memory::{Outbox, Waiting};
use crate::watch::EventId;

use super::read::parse;
use super::store::EventStore;
use super::write::{Writer, signed};

impl Outbox for EventStore {
    fn waiting(&self, after: i64, most: usize, not_before_ms: u64) -> Result<Vec<Waiting>> {
        self.drop_stale(after, not_before_ms)?;
        let shared = &self.shared;
        // Memory before disk: what is written in between is then in both, not in neither.
        let (in_memory, acknowledged) = {
            let pending = shared.pending();
            let waiting =
                |(place, report): (i64, &crate::watch::Report)| Waiting { place, event: report.event.clone() };
            (pending.waiting(after).map(waiting).collect::<Vec<_>>(), pending.acknowledged.clone())
        };
        let rows = shared.reader.with("the outbox cannot be read", |conn| {
            let mut statement =
                conn.prepare_cached("SELECT place, message FROM outbox WHERE place > ?1 ORDER BY place LIMIT ?2")?;
            let limit = signed(most.saturating_add(acknowledged.len()) as u64);
            let rows = statement.query_map([after, limit], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) if in_memory.is_empty() => return Err(error),
            Err(_) => Vec::new(),
        };
        let mut waiting: Vec<Waiting> = rows
            .into_iter()
            .filter(|(place, _)| !acknowledged.contains(place))
            .filter_map(|(place, message)| Some(Waiting { place, event: parse(&message)? }))
            .collect();
        let last = waiting.last().map_or(i64::MIN, |waiting| waiting.place);
        waiting.extend(in_memory.into_iter().filter(|kept| kept.place > last && kept.event.at_ms >= not_before_ms));
        waiting.truncate(most);
        Ok(waiting)
    }

    fn acknowledged(&self, places: &[i64]) -> Result<()> {
        let mut pending = self.shared.pending();
        let stored: Vec<i64> = places.iter().copied().filter(|place| !pending.acknowledge(*place)).collect();
        // Until the rows are gone.
        pending.acknowledged.extend(&stored);
        drop(pending);
        if stored.is_empty() {
            return Ok(());
        }
        self.shared.settle_acknowledged()
    }

    fn embedding(&self, event: EventId) -> Result<Option<Vec<f32>>> {
        // Memory before disk, as above.
        if let Some(embedding) = self.shared.pending().embedding(event) {
            return Ok(Some(embedding.to_vec()));
        }
        Ok(EventStore::embedding(self, event)?.map(|(_, embedding)| embedding))
    }

    fn len(&self) -> Result<u64> {
        Ok(self.shared.waiting())
    }
}

impl EventStore {
    /// Drops messages that are too old to be sent, if there are any.
    fn drop_stale(&self, after: i64, not_before_ms: u64) -> Result<()> {
        let limit = signed(not_before_ms);
        let stale = self.shared.reader.with("the outbox cannot be read", |conn| {
            conn.prepare_cached("SELECT 1 FROM outbox WHERE at_ms < ?1 AND place > ?2 LIMIT 1")?.exists([limit, after])
        });
        if !stale.unwrap_or(false) {
            return Ok(());
        }
        let dropped = self.shared.write("old messages cannot be dropped", |writer| {
            writer.transaction(|tx| {
                tx.execute("DELETE FROM outbox WHERE at_ms < ?1 AND place > ?2", params![limit, after])
            })
        })?;
        self.shared.less_waiting(dropped as u64);
        log::warn!("{dropped} messages were too old to be sent and were dropped");
        Ok(())
    }
}

/// Deletes messages; returns how many there were.
pub(super) fn delete(writer: &mut Writer, places: &[i64]) -> rusqlite::Result<u64> {
    writer.transaction(|tx| {
        let mut statement = tx.prepare_cached("DELETE FROM outbox WHERE place = ?1")?;
        let mut count = 0;
        for place in places {
            count += statement.execute([place])? as u64;
        }
        Ok(count)
    })
}
