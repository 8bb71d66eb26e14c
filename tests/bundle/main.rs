//! What a bundle is opened from, refused for, installed and swapped as.
#![cfg(feature = "bundle")]

#[cfg(feature = "cli")]
#[path = "../common/cli.rs"]
mod cli;
#[cfg(feature = "cli")]
#[path = "../common/daemon.rs"]
mod daemon;
mod default;
mod hostile;
#[cfg(feature = "cli")]
mod install;
mod manifest;
#[cfg(feature = "cli")]
mod signed;
#[cfg(feature = "cli")]
mod swap;
