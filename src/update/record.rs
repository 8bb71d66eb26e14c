//! Which slot is good, and which one is tried.
//!
//! A record is text in one sector of 512 bytes, outside of every partition. There are two, 4 MiB apart, so that they lie
//! in different erase blocks of a card. The one with the higher sequence counts; the other one is written next. A record
//! that is cut while it is written fails its checksum, and the one before counts.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use rustix::fs::{Advice, fadvise};

use crate::bundle::Digest;
use crate::{Code, Error, Result};

/// Bytes of a record.
pub(super) const SECTOR: usize = 512;

/// Where the two records are, in bytes from the begin of the card.
const PLACES: [u64; 2] = [1 << 20, 5 << 20];

/// How often a system that is not confirmed is booted.
pub const TRIES: u8 = 2;

/// The first line.
const HEAD: &str = "lookout-slots 1";

/// Most letters of a board's name and of a version.
const MOST_LETTERS: usize = 48;

/// What records and slots are written to.
pub trait Medium {
    /// Fills `buffer` from byte `at` on.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at byte `at`.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once all that was written is on the medium, from where it is read afterwards.
    fn sync(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()?;
        Ok(fadvise(&*self, 0, None, Advice::DontNeed)?)
    }
}

/// One of the two places for a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The card's second partition.
    A,
    /// The card's third partition.
    B,
}

/// What the daemon is asked before a system is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A question about the camera's picture.
    Picture,
    /// A question that needs no camera, since the system before had no picture either.
    Words,
}

/// The state of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts the writes.
    pub sequence: u64,
    /// The board that the card is for.
    pub board: String,
    /// The slot that was confirmed last.
    pub good: Slot,
    /// The slot that is tried, and how often it may still be booted.
    pub trying: Option<(Slot, u8)>,
    /// The slot that was tried in vain last.
    pub failed: Option<Slot>,
    /// What the daemon is asked before the slot that is tried is confirmed.
    pub ask: Ask,
    /// Whether the file system for data was made; it is at the first start.
    pub data: bool,
    /// The versions in slot A and B, where a whole system is there.
    pub versions: [Option<String>; 2],
}

impl Slot {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its place in a list of two.
    pub fn index(self) -> usize {
        usize::from(self == Self::B)
    }
}

impl Record {
    /// The state of a card that was just made: one system, in slot A.
    pub fn new(board: &str, version: &str) -> Self {
        Self {
            sequence: 1,
            board: board.to_owned(),
            good: Slot::A,
            trying: None,
            failed: None,
            ask: Ask::Words,
            data: false,
            versions: [Some(version.to_owned()), None],
        }
    }

    /// The version in a slot, if a whole system is there.
    pub fn version(&self, slot: Slot) -> Option<&str> {
        self.versions[slot.index()].as_deref()
    }

    /// Reads a sector. `None` where it holds no whole record.
    pub fn from_sector(sector: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(sector).ok()?.trim_end_matches('\0');
        let end = text.rfind("check ")?;
        let (body, check) = text.split_at(end);
        if check.strip_prefix("check ")?.strip_suffix('\n')? != Digest::of(body.as_bytes()).to_string() {
            return None;
        }
        let mut lines = body.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let mut next = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let maybe = |text: &str| (text != "-").then(|| text.to_owned());
        Some(Self {
            sequence: next("sequence")?.parse().ok()?,
            board: next("board")?.to_owned(),
            good: next("good")?.parse().ok()?,
            trying: match next("trying")? {
                "-" => None,
                text => {
                    let (slot, left) = text.split_once(' ')?;
                    Some((slot.parse().ok()?, left.parse().ok()?))
                }
            },
            failed: match next("failed")? {
                "-" => None,
                text => Some(text.parse().ok()?),
            },
            ask: match next("ask")? {
                "picture" => Ask::Picture,
                "words" => Ask::Words,
                _ => return None,
            },
            data: match next("data")? {
                "ready" => true,
                "new" => false,
                _ => return None,
            },
            versions: [maybe(next("a")?), maybe(next("b")?)],
        })
    }

    /// The sector's bytes.
    pub fn to_sector(&self) -> [u8; SECTOR] {
        let mut text = self.to_string();
        text += &format!("check {}\n", Digest::of(text.as_bytes()));
        let mut sector = [0; SECTOR];
        sector[..text.len()].copy_from_slice(text.as_bytes());
        sector
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, board, good, .. } = self;
        let slot = |slot: Option<Slot>| slot.map_or("-".to_owned(), |slot| slot.to_string());
        let trying = self.trying.map_or("-".to_owned(), |(slot, left)| format!("{slot} {left}"));
        let ask = if self.ask == Ask::Picture { "picture" } else { "words" };
        let data = if self.data { "ready" } else { "new" };
        let [a, b] = [Slot::A, Slot::B].map(|slot| self.version(slot).unwrap_or("-"));
        writeln!(f, "{HEAD}\nsequence {sequence}\nboard {board}\ngood {good}\ntrying {trying}")?;
        writeln!(f, "failed {}\nask {ask}\ndata {data}\na {a}\nb {b}", slot(self.failed))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::A { "a" } else { "b" })
    }
}

impl FromStr for Slot {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            _ => Err(()),
        }
    }
}

/// The two records of a card.
pub struct Records<M> {
    medium: M,
    newest: Record,
}

impl<M: Medium> Records<M> {
    /// Reads both. Errors where neither is whole.
    pub fn open(medium: M, shown: &str) -> Result<Self> {
        let mut newest: Option<Record> = None;
        for place in PLACES {
            let mut sector = [0; SECTOR];
            let read = medium.read_at(place, &mut sector);
            read.map_err(|error| {
                let help = "run it as root, on a board whose card `lookout flash image` made";
                Error::new(Code::Input, format!("the card {shown} cannot be read: {error}"), help)
            })?;
            let found = Record::from_sector(&sector);
            newest = newest.into_iter().chain(found).max_by_key(|record| record.sequence);
        }
        let newest = newest.ok_or_else(|| {
            let message = format!("the card {shown} does not say which of its slots is good");
            Error::new(Code::Input, message, "write the card anew: lookout flash write IMAGE DEVICE")
        })?;
        Ok(Self { medium, newest })
    }

    /// Writes both records of a card that is being made.
    pub fn make(medium: &mut M, record: &Record) -> io::Result<()> {
        for (ahead, place) in PLACES.into_iter().enumerate() {
            // Sequence 2 lies at the first place, sequence 1 at the second.
            let sequence = record.sequence + 1 - ahead as u64;
            medium.write_at(place, &Record { sequence, ..record.clone() }.to_sector())?;
        }
        medium.sync()
    }

    /// The record that counts.
    pub fn now(&self) -> &Record {
        &self.newest
    }

    /// Writes what `change` makes of the record that counts, over the one that does not. It counts once this returns.
    pub fn write(&mut self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut next = self.newest.clone();
        change(&mut next);
        next.sequence = self.newest.sequence + 1;
        let place = PLACES[(next.sequence % 2) as usize];
        let written = self.medium.write_at(place, &next.to_sector()).and_then(|()| self.medium.sync());
        written.map_err(|error| {
            let help = "the system that runs was not touched; is the card worn out?";
            Error::new(Code::Output, format!("the state of the card cannot be written: {error}"), help)
        })?;
        self.newest = next;
        Ok(())
    }
}

/// Refuses the name of a board, or a version, that would not stand in a record: 1 to 48 letters, digits and `.+~_-`,
/// beginning with a letter or digit.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let sound = |c: char| c.is_ascii_alphanumeric() || ".+~_-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= MOST_LETTERS && name.chars().all(sound) {
        return Ok(());
    }
    let message = format!("{:?} is no {what}", name.chars().take(60).collect::<String>());
    Err(Error::new(Code::Usage, message, format!("use 1 to {MOST_LETTERS} letters, digits and .+~_-, like 1.2.3")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            sequence: u64::MAX - 1,
            board: "b".repeat(MOST_LETTERS),
            trying: Some((Slot::B, 2)),
            failed: Some(Slot::A),
            data: true,
            versions: [Some("1".repeat(MOST_LETTERS)), Some("2".repeat(MOST_LETTERS))],
            ..Record::new("", "")
        }
    }

    #[test]
    fn the_longest_record_fits_into_a_sector_and_comes_back() {
        assert_eq!(Record::from_sector(&record().to_sector()), Some(record()));
    }

    #[test]
    fn a_record_of_which_any_byte_changed_is_none() {
        let sector = record().to_sector();
        let length = sector.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for at in 0..length {
            let mut broken = sector;
            broken[at] ^= 1;
            assert_eq!(Record::from_sector(&broken), None, "byte {at}");
            let mut cut = sector;
            cut[at..].fill(0);
            assert_eq!(Record::from_sector(&cut), None, "cut at {at}");
        }
    }

    #[test]
    fn names_that_would_break_a_line_are_refused() {
        for name in ["", "a b", "1\n2", "-", "-1", &"1".repeat(49), "ü"] {
            assert!(check_name("version", name).is_err(), "{name:?}");
        }
        check_name("version", "1.2.3-rc1+build~2_x").unwrap();
    }
}
