//! One report in one transaction.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::watch::{Event, Phase, Report};
use crate::{Code, Error, Result};

/// The one connection that writes.
pub(super) struct Writer {
    pub(super) conn: Connection,
    /// Numbers of names that are in the table for sure.
    names: HashMap<String, i64>,
}

/// What a report changed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stored {
    /// Its event was not there before.
    pub(super) began: bool,
    /// A message went into the outbox.
    pub(super) waits: bool,
    /// Numbers of bundle, trigger and camera, where an embedding was stored.
    pub(super) embedded: Option<[i64; 3]>,
}

impl Writer {
    pub(super) fn new(conn: Connection) -> Self {
        conn.set_prepared_statement_cache_capacity(32);
        Self { conn, names: HashMap::new() }
    }

    /// Writes the event's row, its snapshot, its embedding and, at `place`, its message for the broker: all or nothing. A
    /// report whose sequence is not above the stored one was stored already, and changes nothing.
    pub(super) fn store(&mut self, report: &Report, place: Option<i64>) -> rusqlite::Result<Stored> {
        let mut names = std::mem::take(&mut self.names);
        let stored = self.transaction(|tx| store(tx, &mut names, report, place));
        if stored.is_ok() {
            self.names = names;
        }
        stored
    }

    /// Runs `work` in a transaction of its own.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&tx)?;
        tx.commit()?;
        Ok(done)
    }
}

fn store(
    tx: &Transaction,
    names: &mut HashMap<String, i64>,
    report: &Report,
    place: Option<i64>,
) -> rusqlite::Result<Stored> {
    let mut event = report.event.clone();
    let id = event.id.0 as i64;
    let known: Option<u32> =
        tx.prepare_cached("SELECT sequence FROM events WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()?;
    if known.is_some_and(|sequence| sequence >= event.sequence) {
        return Ok(Stored::default());
    }
    if let Some(jpeg) = &report.jpeg {
        tx.prepare_cached("INSERT OR REPLACE INTO snapshots (id, jpeg) VALUES (?1, ?2)")?
            .execute(params![id, &jpeg[..]])?;
    }
    // What is told must be true also where the snapshot was dropped while the disk was full.
    event.snapshot = event.snapshot
        && (report.jpeg.is_some() || tx.prepare_cached("SELECT 1 FROM snapshots WHERE id = ?1")?.exists([id])?);
    let (trigger, camera) = (number(tx, names, &event.trigger)?, number(tx, names, &event.camera)?);
    let message = to_json(&event);
    tx.prepare_cached(
        "INSERT INTO events (id, sequence, trigger, camera, began_ms, ended, message) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET sequence = ?2, ended = ?6, message = ?7",
    )?
    .execute(params![
        id,
        event.sequence,
        trigger,
        camera,
        signed(event.began_ms),
        event.phase == Phase::End,
        message
    ])?;
    let mut embedded = None;
    if let Some(embedding) = &report.embedding {
        let bundle = number(tx, names, &event.bundle)?;
        let floats: Vec<u8> = embedding.iter().flat_map(|value| value.to_le_bytes()).collect();
        tx.prepare_cached(
            "INSERT OR REPLACE INTO embeddings (id, bundle, trigger, camera, began_ms, floats) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![id, bundle, trigger, camera, signed(event.began_ms), floats])?;
        embedded = Some([bundle, trigger, camera]);
    }
    if let Some(place) = place {
        tx.prepare_cached("INSERT INTO outbox (place, at_ms, message) VALUES (?1, ?2, ?3)")?.execute(params![
            place,
            signed(event.at_ms),
            message
        ])?;
    }
    Ok(Stored { began: known.is_none(), waits: place.is_some(), embedded })
}

/// The number that stands for a name.
fn number(tx: &Transaction, names: &mut HashMap<String, i64>, name: &str) -> rusqlite::Result<i64> {
    if let Some(number) = names.get(name) {
        return Ok(*number);
    }
    tx.prepare_cached("INSERT INTO names (name) VALUES (?1) ON CONFLICT DO NOTHING")?.execute([name])?;
    let number = tx.prepare_cached("SELECT number FROM names WHERE name = ?1")?.query_row([name], |row| row.get(0))?;
    names.insert(name.to_owned(), number);
    Ok(number)
}

/// An event is plain data: it always has a JSON form.
pub(super) fn to_json(event: &Event) -> String {
    serde_json::to_string(event).expect("plain data has a JSON form")
}

/// SQLite's integers have a sign.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The report as it can be stored. Numbers that are none have no JSON form.
pub(super) fn checked(report: &Report) -> Result<Report> {
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
