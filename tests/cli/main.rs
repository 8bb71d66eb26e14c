//! The commands as a user types them.
#![cfg(feature = "cli")]

mod answers;
mod bad_bundle;
mod bad_input;
mod boards;
#[path = "../common/cli.rs"]
mod cli;
