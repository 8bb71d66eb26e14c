//! The card that this system runs from.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Code, Error, Result};

use super::record::{Records, Slot};

/// Written by the first program of the system.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The whole card.
    pub disk: PathBuf,
    a: PathBuf,
    b: PathBuf,
    slot: String,
    #[serde(skip)]
    folder: PathBuf,
}

/// Keeps other updates out as long as it lives.
pub struct Lock(#[allow(dead_code, reason = "closing it unlocks")] File);

impl Card {
    /// Where the first program tells of the card.
    pub const PATH: &str = "/run/lookout/card.toml";

    /// Reads `path`. Errors ([`Code::Unsupported`]) on a system that no image is.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |cause: String| {
            let message = format!("this system was not made by `lookout flash image`: {cause}");
            Error::new(Code::Unsupported, message, "update the package instead: apt install ./lookout_VERSION_ARCH.deb")
        };
        let text = fs::read_to_string(path).map_err(|error| refuse(format!("{}: {error}", path.display())))?;
        let mut card: Self = toml::from_str(&text).map_err(|error| refuse(error.message().to_owned()))?;
        card.slot.parse::<Slot>().map_err(|()| refuse(format!("there is no slot {:?}", card.slot)))?;
        card.folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(card)
    }

    /// The slot that runs.
    pub fn running(&self) -> Slot {
        self.slot.parse().unwrap_or(Slot::A)
    }

    /// The device of a slot.
    pub fn device(&self, slot: Slot) -> &Path {
        if slot == Slot::A { &self.a } else { &self.b }
    }

    /// The records, to be read and written.
    pub fn records(&self) -> Result<Records<File>> {
        let shown = self.disk.display().to_string();
        let open = File::options().read(true).write(true).open(&self.disk).map_err(|error| {
            Error::new(Code::Input, format!("the card {shown} cannot be opened: {error}"), "run it as root")
        });
        Records::open(open?, &shown)
    }

    /// Refuses ([`Code::Busy`]) where another update is under way.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.folder.join("update.lock");
        let failed = |error: std::io::Error| {
            Error::new(Code::Output, format!("{} cannot be opened: {error}", path.display()), "run it as root")
        };
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                Code::Busy,
                "another update is under way",
                "wait until it has ended: lookout update status",
            )),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Tells the first program that the system need not be started again.
    pub fn confirmed(&self) -> Result<()> {
        fs::write(self.folder.join("confirmed"), b"").map_err(|error| {
            let message = format!("{} cannot be written: {error}", self.folder.display());
            Error::new(Code::Output, message, "run it as root")
        })
    }
}
