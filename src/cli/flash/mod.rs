//! `lookout flash`: one file a command.

mod image;
mod list;
mod settings;
mod write;

use clap::Subcommand;

use super::console::{Console, Outcome};

#[derive(Subcommand)]
pub(super) enum FlashCommand {
    /// The memory cards and disks of this machine
    List,
    /// Make the image of a whole card: a minimal Debian with lookout, and two slots for updates
    Image(image::MakeImage),
    /// What do these settings of a card say? A board reads them at every start
    Settings(settings::ReadSettings),
    /// Write an image to a memory card, and read it back
    Write(write::WriteImage),
}

impl FlashCommand {
    pub fn run(self, console: &Console) -> Outcome {
        match self {
            Self::List => list::run(console),
            Self::Image(command) => command.run(console),
            Self::Settings(command) => command.run(console),
            Self::Write(command) => command.run(console),
        }
    }
}
