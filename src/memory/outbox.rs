//! Messages that wait until somebody has them.

use crate::Result;
use crate::watch::{Event, EventId};

/// A message that was not acknowledged yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its place in the outbox; places grow and are never used again.
    pub place: i64,
    /// The message.
    pub event: Event,
}

/// Messages on disk, in the order in which they were made. They survive restarts and power cuts. All calls are short.
pub trait Outbox: Send + Sync + 'static {
    /// At most `most` messages with places above `after`, oldest first. Those made before `not_before_ms` (milliseconds
    /// since 1970) are too old to be sent: they are dropped, and counted in the log.
    fn waiting(&self, after: i64, most: usize, not_before_ms: u64) -> Result<Vec<Waiting>>;

    /// Drops messages that were acknowledged.
    fn acknowledged(&self, places: &[i64]) -> Result<()>;

    /// The embedding of an event's picture; `None` where it has none (any more).
    fn embedding(&self, event: EventId) -> Result<Option<Vec<f32>>>;

    /// Messages that wait.
    fn len(&self) -> Result<u64>;

    /// Whether none waits.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}
