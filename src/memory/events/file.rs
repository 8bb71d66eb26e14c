//! The file under the writer: opened when it is needed, put aside where it is damaged, and opened anew.

use std::fs::File;
use std::sync::atomic::Ordering::Relaxed;

use crate::{Code, Error, Result};

use super::aside::set_aside;
use super::database::{Counts, Refusal, is_unmade, open_writer};
use super::keep::Clock;
use super::read::newer;
use super::shared::{Hand, Shared, closed, unix_ms};
use super::trouble::{cause, is_damage, trouble};
use super::write::Writer;

impl Shared {
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
    pub(super) fn writing<T>(
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
                    self.replace(hand, &cause(&error))?;
                }
                Err(error) => return Err(trouble(deed, &self.path, &error)),
            }
        }
    }

    /// Opens the file; a damaged one is put aside first.
    pub(super) fn open_file(&self, hand: &mut Hand) -> Result<(), Refusal> {
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
        self.count(hand, &Counts::of(&conn)?);
        hand.writer = Some(Writer::new(conn));
        self.reader.unmade.store(false, Relaxed);
        Ok(())
    }

    /// The file cannot be written at the start: reads what it holds, so that ids and places go on from there.
    pub(super) fn recall(&self, hand: &mut Hand) {
        if is_unmade(&self.path) {
            self.reader.unmade.store(true, Relaxed);
            return;
        }
        // What cannot be read either is told with every read.
        if let Ok(counts) = self.reader.with("the memory of events cannot be read", Counts::of) {
            self.count(hand, &counts);
        }
    }

    fn count(&self, hand: &mut Hand, counts: &Counts) {
        self.events.store(counts.events, Relaxed);
        self.waiting.store(counts.waiting, Relaxed);
        self.last_id.fetch_max(counts.last_id, Relaxed);
        hand.next_place = hand.next_place.max(Some(counts.last_place + 1));
        hand.clock = Clock::new(counts.newest_ms, unix_ms(), self.born.elapsed());
    }

    /// The file turned out to be damaged while it was in use.
    pub(super) fn replace(&self, hand: &mut Hand, cause: &str) -> Result<()> {
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

    pub(super) fn stuck(&self, cause: &str) -> Error {
        Error::new(
            Code::Memory,
            format!("the memory of events {} is damaged and cannot be put aside: {cause}", self.path.display()),
            "move the file away by hand",
        )
    }
}
