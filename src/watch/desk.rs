//! Where the outside meets the watch: what MQTT, serial and the web can ask of a running lookout.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::camera::Frame;
use crate::{Code, Error, Result};

use super::event::{EventId, Report};
use super::question::{FindEvents, FoundEvent, Reply, Request};
use super::status::Status;
use super::trigger::{Edit, Trigger};

/// A running lookout, as seen from its links. Everything here may be called from any thread.
pub trait Desk: Send + Sync + 'static {
    /// Asks a question and waits for the answer, `patience` at most. Questions stand in a bounded queue: where it is full
    /// the answer is [`Code::Busy`](crate::Code::Busy) at once. [`Code::Stopped`](crate::Code::Stopped) where patience
    /// ends or the lookout shuts down.
    fn ask(&self, request: &Request, patience: Duration) -> Result<Reply>;

    /// How the lookout is doing. Never waits for the networks.
    fn status(&self) -> Status;

    /// The triggers as they are set now.
    fn triggers(&self) -> Vec<Trigger>;

    /// Adds a trigger or replaces the one of its name. It is kept over restarts. Errors where it does not make sense.
    fn put_trigger(&self, trigger: Trigger) -> Result<()>;

    /// Removes a trigger for good. Errors where there is none of that name.
    fn remove_trigger(&self, name: &str) -> Result<()>;

    /// How the triggers differ from those of the configuration file. Where there is none, nothing does.
    fn edits(&self) -> Vec<Edit> {
        Vec::new()
    }

    /// Forgets what was set while running about a trigger, so that it is as the configuration file says. Errors where
    /// nothing was.
    fn forget_edit(&self, name: &str) -> Result<()> {
        Err(not_edited(name))
    }

    /// Whether triggers may begin events. It is kept over restarts. Events that are under way end when it is taken away.
    fn arm(&self, armed: bool);

    /// The newest frame of a camera (the first one where none is named). Errors where there is none yet, or no such camera.
    fn newest(&self, camera: Option<&str>) -> Result<Arc<Frame>>;

    /// Past events. Words and `like` are searched by embedding, and wait in the queue of questions as [`Desk::ask`] does.
    fn find(&self, find: &FindEvents) -> Result<Vec<FoundEvent>>;

    /// The snapshot of an event as a JPEG file; `None` where it has none (any more).
    fn snapshot(&self, event: EventId) -> Result<Option<Vec<u8>>>;

    /// From now on every report, as it happens. The channel holds 256; a listener that does not keep up loses the newest
    /// ones and finds them in the memory of events.
    fn listen(&self) -> Receiver<Arc<Report>>;
}

pub(crate) fn not_edited(name: &str) -> Error {
    let shown: String = name.chars().take(60).collect();
    let message = format!("trigger {shown:?} was not changed while running");
    Error::new(Code::Usage, message, "GET /api/triggers lists under `edits` what was")
}
