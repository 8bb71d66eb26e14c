//! A board's system: images, cards, signed updates and power cuts.
#![cfg(feature = "cli")]

#[path = "../common/cli.rs"]
mod cli;
mod common;
mod confirm;
#[path = "../common/daemon.rs"]
mod daemon;
mod flash_write;
mod image_refused;
mod install;
mod power;
mod slots;
