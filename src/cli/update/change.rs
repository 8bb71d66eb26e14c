//! `lookout update install` and `lookout update back`

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use rustix::fs::OFlags;
use serde::Serialize;

use crate::update::{Ask, Package, Stage, back, install};
use crate::{Code, Error, Result};

use super::super::args::Global;
use super::super::console::{Console, Outcome};
use super::confirm::Daemon;
use super::{Place, trust};

#[derive(Args)]
#[command(after_help = "Example:
  lookout update install lookout-0.2.0.update --reboot

The signature and every byte are checked before anything is written, and the slot that runs is never written. At the next
start the new system is tried: once its daemon has answered a question it is confirmed, else the board goes back by itself.")]
pub(in crate::cli) struct Install {
    /// The update
    file: PathBuf,
    /// Take a version that is older than the one that runs
    #[arg(long)]
    allow_older: bool,
    #[command(flatten)]
    after: After,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
#[command(after_help = "Example:
  lookout update back --reboot")]
pub(in crate::cli) struct Back {
    #[command(flatten)]
    after: After,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct After {
    /// Start the board again at once
    #[arg(long)]
    reboot: bool,
}

#[derive(Serialize)]
struct Reply {
    task: &'static str,
    version: String,
    slot: String,
    signed_by: Option<String>,
}

impl Install {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let card = self.place.card()?;
        let _lock = card.lock()?;
        let package = Package::open(&self.file, &trust(global)?)?;
        let mut records = card.records()?;
        let running = card.running();
        package.fits(&records.now().board, records.now().version(running), self.allow_older)?;
        let ask = daemon_now(&self.place.config)?;
        let (mut slot, most) = open_slot(card.device(running.other()))?;
        let bars = ["checking", "writing", "reading back"].map(|what| console.bytes_bar(what));
        install(&package, &mut records, running, (&mut slot, most), ask, |stage, done, all| {
            let bar = match stage {
                Stage::Checking => 0,
                Stage::Writing => 1,
                Stage::Reading => 2,
            };
            bars[bar].at(done as usize, all as usize);
        })?;
        drop(bars);
        let signed_by = Some(package.key.clone());
        let (version, slot) = (package.manifest.version, running.other().to_string());
        self.after.tell(Reply { task: "update install", version, slot, signed_by }, console)
    }
}

impl Back {
    pub fn run(self, console: &Console) -> Outcome {
        let card = self.place.card()?;
        let _lock = card.lock()?;
        let version = back(&mut card.records()?, card.running(), daemon_now(&self.place.config)?)?;
        let slot = card.running().other().to_string();
        self.after.tell(Reply { task: "update back", version, slot, signed_by: None }, console)
    }
}

impl After {
    fn tell(&self, reply: Reply, console: &Console) -> Outcome {
        let when = if self.reboot { "the board starts again now" } else { "start the board again: reboot" };
        console.answer(&reply, || {
            format!("{} is in slot {} and is tried at the next start; {when}\n", reply.version, reply.slot)
        })?;
        if self.reboot {
            let started = Command::new("systemctl").arg("reboot").status();
            if !started.is_ok_and(|status| status.success()) {
                let message = "the board could not be started again";
                return Err(Error::new(Code::Output, message, "do it yourself: reboot").into());
            }
        }
        Ok(())
    }
}

/// What the daemon can be asked now, so that the new system is not asked for more. A daemon that does not answer may be
/// what the update is to mend.
fn daemon_now(config: &Path) -> Result<Ask> {
    let daemon = Daemon::of(config)?;
    Ok(match daemon.once(Ask::Picture, Duration::from_secs(20)) {
        Ok(()) => Ask::Picture,
        Err(_) => Ask::Words,
    })
}

/// Opens a slot for writing, with its size. Nobody else may use it meanwhile, which the kernel makes sure of.
fn open_slot(path: &Path) -> Result<(File, u64)> {
    let open = || {
        let mut file = File::options().read(true).write(true).custom_flags(OFlags::EXCL.bits() as i32).open(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        Ok((file, size))
    };
    open().map_err(|error: std::io::Error| {
        let message = format!("the slot {} cannot be opened: {error}", path.display());
        Error::new(Code::Output, message, "run it as root; nothing else may use that partition")
    })
}
