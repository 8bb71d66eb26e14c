//! `lookout man`

use std::path::PathBuf;

use clap::Args;

use crate::{Code, Error};

use super::console::{Console, Outcome};

#[derive(Args)]
#[command(after_help = "Examples:
  lookout man | man -l -
  lookout man --dir ~/.local/share/man/man1")]
pub(super) struct Man {
    /// Write one page for each command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub fn run(self, command: clap::Command, console: &Console) -> Outcome {
        let Some(dir) = &self.dir else {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(|error| {
                Error::new(Code::Output, format!("the manual page cannot be made: {error}"), "report this as a bug")
            })?;
            return console.bytes(&page);
        };
        clap_mangen::generate_to(command, dir).map_err(|error| {
            let message = format!("the manual pages cannot be written into {}: {error}", dir.display());
            Error::new(Code::Output, message, "name a folder that exists and can be written")
        })?;
        Ok(())
    }
}
