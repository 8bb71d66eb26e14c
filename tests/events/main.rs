//! The memory of events: what is kept, found, and lost at no power cut.
#![cfg(feature = "events")]

#[cfg(feature = "cli")]
#[path = "../common/cli.rs"]
mod cli;
#[cfg(feature = "cli")]
mod commands;
mod common;
mod disk;
mod power;
mod search;
mod store;
mod vfs;
