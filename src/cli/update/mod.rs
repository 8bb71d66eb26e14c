//! `lookout update`: the system of a card that `lookout flash image` made. One file a concern.

mod change;
mod confirm;
mod make;
mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Result;
use crate::bundle::Trust;
use crate::update::Card;

use super::args::Global;
use super::console::{Console, Outcome};

/// Whose updates are taken, unless a key is named.
const KEYS: &str = "/etc/lookout/update-keys";

/// The configuration of the daemon that is asked.
const CONFIG: &str = "/etc/lookout/lookout.toml";

#[derive(Subcommand)]
pub(super) enum UpdateCommand {
    /// Install a signed update beside the system that runs; it is tried at the next start
    Install(change::Install),
    /// Which systems are there, and which one runs?
    Status(status::Status),
    /// Ask the daemon, and confirm the system that is being tried; the board does this by itself
    Confirm(confirm::Confirm),
    /// Try the system before this one again, at the next start
    Back(change::Back),
    /// Make a signed update of the file system of a slot
    Make(make::Make),
}

#[derive(Args)]
struct Place {
    /// What the first program of the system tells of the card
    #[arg(long, value_name = "FILE", default_value = Card::PATH, hide = true)]
    card: PathBuf,
    /// Configuration of the daemon
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
}

impl Place {
    fn card(&self) -> Result<Card> {
        Card::read(&self.card)
    }
}

impl UpdateCommand {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        match self {
            Self::Install(command) => command.run(global, console),
            Self::Status(command) => command.run(console),
            Self::Confirm(command) => command.run(console),
            Self::Back(command) => command.run(console),
            Self::Make(command) => command.run(console),
        }
    }
}

/// The keys of the command line, else those of the system.
fn trust(global: &Global) -> Result<Trust> {
    match global.trust()? {
        Some(trust) => Ok(trust),
        None => Trust::read([KEYS]),
    }
}
