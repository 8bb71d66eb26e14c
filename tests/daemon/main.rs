//! `lookout run` as a process: its start, its reload, its full disk.
#![cfg(feature = "cli")]

#[path = "../common/daemon.rs"]
mod daemon;
mod full_disk;
#[path = "../common/peers/mod.rs"]
mod peers;
mod reload;
mod run;
