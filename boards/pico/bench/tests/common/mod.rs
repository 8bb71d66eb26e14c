//! A board in an emulator, the real daemon, and the wire between them.
#![allow(dead_code, unused_imports, reason = "not every test file needs all of it")]

mod board;
mod daemon;
mod sbc;
mod wire;

use std::time::{Duration, Instant};

pub use board::{Board, Kind};
pub use daemon::{Daemon, lookout, picture, root};
pub use sbc::Sbc;
pub use wire::{Pty, Trouble, Wire};

/// Longer than anything takes on a machine that is busy with other things.
pub const LONG: Duration = Duration::from_secs(60);

/// Calls `probe` until it has something; `what` says what was waited for in vain.
pub fn wait_for<T>(what: impl FnMut() -> String, probe: impl FnMut() -> Option<T>) -> T {
    wait_within(LONG, what, probe)
}

/// The same with another limit.
pub fn wait_within<T>(limit: Duration, mut what: impl FnMut() -> String, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {}", what());
        std::thread::sleep(Duration::from_millis(5));
    }
}
