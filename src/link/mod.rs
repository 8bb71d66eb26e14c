//! Ways out: MQTT, a serial line, and a page on the web. Each runs in its own thread and talks to the watch through the
//! [`Desk`](crate::watch::Desk) alone.

#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "serial")]
pub mod serial;
#[cfg(feature = "web")]
pub mod web;

use std::time::Instant;

use crate::watch::LinkStatus;

/// A running link.
pub trait Link: Send + Sync {
    /// How it is doing.
    fn status(&self) -> LinkStatus;

    /// Tells it to end, and waits until it has, `until` at most. Says goodbye to the other side where there is a way to.
    fn stop(&mut self, until: Instant);
}
