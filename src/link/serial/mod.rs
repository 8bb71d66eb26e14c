//! A serial line to a person or a program: the same questions and events as everywhere, in two forms that may take turns
//! on one line.
//!
//! | form | what it looks like | for |
//! |---|---|---|
//! | lines | `label a dog, a cat`, or a question in JSON; one JSON object a line comes back | a person with a terminal, a script |
//! | frames | [`crate::protocol`]: checked, numbered, with pictures in pieces both ways | programs and firmware |
//!
//! Which form it is shows byte by byte ([`Splitter`]). After noise a frame is found at the next zero, a line after the next
//! end of line or half a second of silence. What cannot be read is answered, a few times a second at most, and the line
//! goes on.
//!
//! Lines are answered in their order. Frames carry ids, and several may be asked at once. Each form has a bounded queue;
//! where it is full the answer is [`Code::Busy`]. An other end that reads nothing for two seconds loses what waits for it.
//!
//! Events are told as frames to who spoke in frames last, and as lines after `events on`. What happens while the port is
//! gone is not told later: `find` knows it.
//!
//! The port is opened again when it vanishes. It is not locked: leave no login prompt (`getty`) on it.

mod client;
mod command;
mod config;
mod lines;
mod pictures;
mod port;
mod session;
mod splitter;
mod wire;
mod work;
mod write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::watch::{Desk, LinkStatus};
use crate::{Code, Error, Result};

use super::Link;

pub use client::{Client, Snapshot};
pub use command::check_line;
pub use config::SerialConfig;
pub use pictures::MAX_PICTURE;
pub use splitter::{Damage, MAX_LINE, Split, Splitter};

use session::Counters;

/// Starts to serve the desk on the port. `device` is the name that a greeting tells. Errors where the configuration makes
/// no sense; a port that is not there is waited for.
pub fn start(config: SerialConfig, device: &str, desk: Arc<dyn Desk>) -> Result<Box<dyn Link>> {
    config.check()?;
    let (stopper, stop) = bounded(0);
    let (desks, mut threads) = work::start(config.patience, &stop)?;
    let shared = Arc::new(Shared::default());
    let port = port::Port { config, device: device.to_owned(), desk, desks, shared: shared.clone(), stop };
    threads.push(spawn("serial", move || port.run())?);
    Ok(Box::new(Serial { shared, stopper: Some(stopper), threads }))
}

/// What the link's status tells.
#[derive(Default)]
struct Shared {
    up: AtomicBool,
    note: Mutex<Option<String>>,
    counters: Arc<Counters>,
}

struct Serial {
    shared: Arc<Shared>,
    /// Closed to stop.
    stopper: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shared {
    fn is(&self, up: bool, note: Option<String>) {
        self.up.store(up, Ordering::Relaxed);
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = note;
    }
}

impl Link for Serial {
    fn status(&self) -> LinkStatus {
        let counters = &self.shared.counters;
        LinkStatus {
            name: "serial".to_owned(),
            up: self.shared.up.load(Ordering::Relaxed),
            note: self.shared.note.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            sent: counters.sent.load(Ordering::Relaxed),
            received: counters.received.load(Ordering::Relaxed),
        }
    }

    fn stop(&mut self, until: Instant) {
        drop(self.stopper.take());
        // A thread that still waits for an answer of the desk ends when it has it.
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        drop(self.stopper.take());
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        Error::new(Code::Link, format!("serial: a thread cannot be started: {error}"), "is there enough memory?")
    })
}
