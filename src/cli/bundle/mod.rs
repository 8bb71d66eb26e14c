//! `lookout bundle`: one file a command.

mod check;
mod install;
mod keys;
mod make;

use clap::Subcommand;

use super::args::Global;
use super::console::{Console, Outcome};

pub(super) use keys::Password;

#[derive(Subcommand)]
pub(super) enum BundleCommand {
    /// Check a bundle: manifest, hashes, every network, stored outputs
    Check(check::Check),
    /// Make a bundle from your own ONNX files: fill in hashes, store outputs, sign, pack
    Make(make::Make),
    /// Make a pair of keys, to sign bundles with
    Keygen(keys::Keygen),
    /// Sign a bundle: writes lookout.toml.minisig beside its manifest
    Sign(keys::Sign),
    /// Put a bundle into use, in one step that is safe against power cuts
    Install(install::Install),
    /// Put the bundle before the current one into use again
    Back(install::Back),
}

impl BundleCommand {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        match self {
            Self::Check(command) => command.run(global, console),
            Self::Make(command) => command.run(global, console),
            Self::Keygen(command) => command.run(console),
            Self::Sign(command) => command.run(console),
            Self::Install(command) => command.run(global, console),
            Self::Back(command) => command.run(global, console),
        }
    }
}
