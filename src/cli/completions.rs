//! `lookout completions`

use clap::Args;
use clap_complete::Shell;

use super::console::{Console, Outcome};

#[derive(Args)]
#[command(after_help = "Examples:
  lookout completions bash > ~/.local/share/bash-completion/completions/lookout
  lookout completions fish > ~/.config/fish/completions/lookout.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self, mut command: clap::Command, console: &Console) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "lookout", &mut script);
        console.bytes(&script)
    }
}
