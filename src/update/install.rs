//! Writing an update into the slot that does not run.
//!
//! Whatever is cut off, and wherever: until the last record is written the card boots the slot that runs now, and from
//! then on the new one is whole.

use sha2::{Digest as _, Sha256};

use crate::{Code, Error, Result};

use super::package::{CHUNK, Package, same};
use super::record::{Ask, Medium, Record, Records, Slot, TRIES};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The update is read, and compared with what was signed.
    Checking,
    /// It goes to the slot.
    Writing,
    /// The slot is read back.
    Reading,
}

/// Writes `package` into the slot that is not `running`, and has it tried from the next start on. `slot` is that slot, of
/// which `most` bytes can be used. Before anything is written all of the update is checked. Errors leave the slot that runs
/// as it is; a slot that is half written is known to be.
pub fn install<R: Medium, S: Medium>(
    package: &Package,
    records: &mut Records<R>,
    running: Slot,
    (slot, most): (&mut S, u64),
    ask: Ask,
    mut progress: impl FnMut(Stage, u64, u64),
) -> Result<()> {
    let (manifest, to) = (&package.manifest, running.other());
    refuse_unconfirmed(records.now(), running)?;
    if manifest.bytes > most {
        let message = format!("the update has {} bytes, and a slot of this card has {most}", manifest.bytes);
        return Err(Error::new(Code::Input, message, "write the card anew with an image whose slots are larger"));
    }
    package.read(|at, piece| {
        progress(Stage::Checking, at + piece.len() as u64, manifest.bytes);
        Ok(())
    })?;
    records.write(|record| {
        record.versions[to.index()] = None;
        record.trying = None;
        if record.failed == Some(to) {
            record.failed = None;
        }
    })?;
    let broken = |error: std::io::Error| {
        let message = format!("slot {to} cannot be written: {error}");
        Error::new(Code::Output, message, "the system that runs was not touched; is the card worn out?")
    };
    package.read(|at, piece| {
        slot.write_at(at, piece).map_err(broken)?;
        progress(Stage::Writing, at + piece.len() as u64, manifest.bytes);
        Ok(())
    })?;
    slot.sync().map_err(broken)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < manifest.bytes {
        let piece = &mut buffer[..CHUNK.min((manifest.bytes - at) as usize)];
        slot.read_at(at, piece).map_err(broken)?;
        hash.update(&*piece);
        at += piece.len() as u64;
        progress(Stage::Reading, at, manifest.bytes);
    }
    if !same(hash, &manifest.sha256) {
        let message = format!("slot {to} does not hold what was written");
        return Err(Error::new(Code::Output, message, "the card is broken: take another, and write it anew"));
    }
    records.write(|record| {
        record.versions[to.index()] = Some(manifest.version.clone());
        record.trying = Some((to, TRIES));
        record.ask = ask;
    })
}

/// Has the slot that is not `running` tried from the next start on, as an update is. Returns its version. Errors where it
/// holds no whole system, or failed when it was tried.
pub fn back<R: Medium>(records: &mut Records<R>, running: Slot, ask: Ask) -> Result<String> {
    let to = running.other();
    refuse_unconfirmed(records.now(), running)?;
    let refuse = |cause: &str| {
        let message = format!("there is no system to go back to: slot {to} {cause}");
        Err(Error::new(Code::Input, message, "install the one that you want: lookout update install FILE"))
    };
    let version = match records.now().version(to) {
        None => return refuse("holds none"),
        Some(_) if records.now().failed == Some(to) => return refuse("failed when it was tried"),
        Some(version) => version.to_owned(),
    };
    records.write(|record| {
        record.trying = Some((to, TRIES));
        record.ask = ask;
    })?;
    Ok(version)
}

/// Refuses where the slot that runs is being tried: the other one is what the board would go back to.
pub(super) fn refuse_unconfirmed(record: &Record, running: Slot) -> Result<()> {
    match record.trying {
        Some((slot, _)) if slot == running => Err(Error::new(
            Code::Busy,
            format!("{} in slot {slot} runs and is not confirmed yet", record.version(slot).unwrap_or("the system")),
            "wait until it is confirmed, or the board has gone back: lookout update status",
        )),
        _ => Ok(()),
    }
}
