//! `lookout bundle install` and `lookout bundle back`

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::Result;
use crate::bundle::{Installed, Slots, Trust};
use crate::daemon::Config;
use crate::sight::Looker;

use super::super::args::Global;
use super::super::console::{Console, Outcome};

/// Where bundles are installed, unless another folder is named.
const FOLDER: &str = "/var/lib/lookout-bundle";

/// The configuration that tells whose bundles are taken, unless another is named.
const CONFIG: &str = "/etc/lookout/lookout.toml";

#[derive(Args)]
#[command(after_help = "Examples:
  lookout bundle install new-bundle.tar
  lookout bundle install new-bundle.tar --trusted-key vendor.pub --into bundles

The bundle is checked, copied beside the one in use, and its self-test is run on this machine; then the link `current` is
set in one step. A running daemon whose `bundle` is that link swaps within a second, and no question fails meanwhile.
Whatever fails, the bundle in use stays as it is.")]
pub(in crate::cli) struct Install {
    /// Folder or .tar of the new bundle
    path: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Take a version that is older than the one in use
    #[arg(long)]
    allow_older: bool,
}

#[derive(Args)]
#[command(after_help = "Example:
  lookout bundle back")]
pub(in crate::cli) struct Back {
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Place {
    /// Folder of the installed bundles
    #[arg(long, value_name = "FOLDER", default_value = FOLDER)]
    into: PathBuf,
    /// Configuration whose `require_signature` and `trusted_keys` count [default: /etc/lookout/lookout.toml, if it is there]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Serialize)]
struct Reply {
    task: &'static str,
    bundle: String,
    before: Option<String>,
    changed: bool,
}

impl Install {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let trust = self.place.trust(global)?;
        let slots = Slots::open(&self.place.into)?;
        let installed = slots.install(&self.path, trust.as_ref(), self.allow_older, |bundle| {
            Looker::open(bundle, global.options())?.self_test()
        })?;
        tell("bundle install", installed, console)
    }
}

impl Back {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let trust = self.place.trust(global)?;
        tell("bundle back", Slots::open(&self.place.into)?.back(trust.as_ref())?, console)
    }
}

impl Place {
    /// The keys of the command line, else those of the configuration if it requires a signature.
    fn trust(&self, global: &Global) -> Result<Option<Trust>> {
        if let Some(trust) = global.trust()? {
            return Ok(Some(trust));
        }
        match &self.config {
            Some(path) => Config::read(path)?.trust(),
            None if Path::new(CONFIG).exists() => Config::read(Path::new(CONFIG))?.trust(),
            None => Ok(None),
        }
    }
}

fn tell(task: &'static str, installed: Installed, console: &Console) -> Outcome {
    let Installed { now, before, changed } = installed;
    let reply = Reply { task, bundle: now, before, changed };
    console.answer(&reply, || match (&reply.before, reply.changed) {
        (_, false) => format!("{} is in use already\n", reply.bundle),
        (Some(before), true) => format!("{} is in use now, in place of {before}\n", reply.bundle),
        (None, true) => format!("{} is in use now\n", reply.bundle),
    })
}
