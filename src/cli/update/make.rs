//! `lookout update make`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::bundle::SigningKey;
use crate::update::{Manifest, make};
use crate::{Code, Error};

use super::super::bundle::Password;
use super::super::console::{Console, Outcome};

#[derive(Args)]
#[command(after_help = "Examples:
  sudo lookout flash image --board raspberry-pi --version 0.2.0 --root root.img --update-key vendor.pub
  lookout update make root.img --board raspberry-pi --version 0.2.0 --key vendor.key --out lookout-0.2.0.update

The keys are those of: lookout bundle keygen NAME")]
pub(in crate::cli) struct Make {
    /// The file system of a slot
    root: PathBuf,
    /// The board that it is for
    #[arg(long, value_name = "BOARD")]
    board: String,
    /// Its version
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// Secret key to sign it with
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    password: Password,
    /// The update to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Made {
    task: &'static str,
    update: PathBuf,
    #[serde(flatten)]
    manifest: Manifest,
}

impl Make {
    pub fn run(self, console: &Console) -> Outcome {
        if self.out.symlink_metadata().is_ok() {
            let message = format!("{} is there already", self.out.display());
            return Err(Error::new(Code::Output, message, "remove it, or choose another name").into());
        }
        let key = SigningKey::read(&self.key, || self.password.get())?;
        let manifest = make(&self.root, &self.board, &self.version, &key, &self.out)?;
        let made = Made { task: "update make", update: self.out, manifest };
        console.answer(&made, || {
            let Manifest { board, version, bytes, .. } = &made.manifest;
            format!("{}: {version} for {board}, {bytes} bytes, signed\n", made.update.display())
        })
    }
}
