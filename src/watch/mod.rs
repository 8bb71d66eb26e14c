//! Watching: when to look, when a trigger's condition holds, and what is told about it.
//!
//! The vocabulary that the links share with the watch lives here: an [`Event`] and its [`Report`], a [`Request`] and its
//! [`Reply`], the [`Status`], and the [`Desk`] where all of it is had.

mod desk;
mod event;
mod gate;
mod gauge;
#[cfg(feature = "engine")]
mod plan;
#[cfg(feature = "engine")]
mod pulse;
mod question;
#[cfg(feature = "engine")]
mod reply;
#[cfg(feature = "engine")]
mod running;
mod status;
mod trigger;
#[cfg(feature = "engine")]
mod watcher;

pub use desk::Desk;
pub(crate) use desk::not_edited;
pub use event::{Event, EventId, Phase, Report};
pub use gate::{Area, Gate, Motion, Verdict, check_area};
pub use gauge::{Gauge, Step};
#[cfg(feature = "engine")]
pub use pulse::Pulse;
pub use question::{
    Answer, FindEvents, FoundEvent, FoundEvents, MAX_REQUEST_BYTES, Question, Reply, Request, Snapshot, TASKS,
};
#[cfg(feature = "engine")]
pub use running::{QUEUE, Setup, Watch};
pub use status::{CameraScore, LinkStatus, MemoryStatus, Status, TriggerStatus};
pub use trigger::{Edit, EditKind, Hours, MAX_NAME, Trigger, check_name};
#[cfg(feature = "engine")]
pub use watcher::Eye;
#[cfg(feature = "engine")]
pub(crate) use watcher::{jpeg, newest, no_camera, unix_ms};
