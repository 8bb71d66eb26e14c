//! Between the watch and everybody else: what happened is kept first, then told.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;

use crate::memory::EventStore;
use crate::said::Said;
use crate::watch::{Event, Phase, Report, unix_ms};
use crate::{Code, Error, Result};

use super::hub::Hub;

/// Starts the thread. It ends once the watch has ended and all its reports are kept.
pub(super) fn start(hub: Arc<Hub>, reports: Receiver<Report>) -> Result<JoinHandle<()>> {
    let keep = move || {
        let mut said = Said::default();
        for mut report in reports {
            // Without a broker nobody would ever take it out of the outbox.
            report.to_mqtt &= hub.has_broker();
            match hub.store.record(&report) {
                Ok(()) => said.over("the memory takes events again"),
                Err(error) => said.trouble(&format!("{error}; {}", error.help())),
            }
            hub.broadcast(&Arc::new(report));
        }
    };
    std::thread::Builder::new().name("keeper".to_owned()).spawn(keep).map_err(no_thread)
}

/// Ends the events that the last run left without an end, as after a power cut, so that nobody waits for it for ever.
pub(super) fn end_unfinished(store: &EventStore, to_mqtt: bool) -> Result<usize> {
    let unfinished = store.unfinished()?;
    for event in &unfinished {
        let at_ms = unix_ms().max(event.at_ms);
        let event = Event { sequence: event.sequence + 1, phase: Phase::End, at_ms, ..event.clone() };
        // What is not on the disk yet is in memory, and the store has said so.
        let _ = store.record(&Report { event, jpeg: None, embedding: None, to_mqtt, to_serial: false });
    }
    Ok(unfinished.len())
}

pub(super) fn no_thread(error: std::io::Error) -> Error {
    Error::new(
        Code::Engine,
        format!("no thread can be started: {error}"),
        "free some memory, or raise the limit on tasks",
    )
}
