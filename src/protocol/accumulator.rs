//! A stream of bytes to messages.

use super::frame::{MAX_STUFFED, decode};
use super::{Bad, Message};

/// Collects bytes, in whatever portions they come, until a frame is whole. Never holds more than one frame, and finds
/// its way back at the next zero byte whatever it was fed.
pub struct Accumulator {
    held: [u8; MAX_STUFFED],
    length: usize,
    /// Too much came without a zero; all is dropped until the next one.
    skipping: bool,
}

/// What came of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::large_enum_variant, reason = "there is no heap to box the message on")]
pub enum Fed {
    /// All bytes were taken; no frame is whole yet.
    Consumed,
    /// More bytes without a zero than the largest frame has. All is dropped until the next zero. Said once.
    Overfull,
    /// The bytes between two zeros are no message.
    Bad(Bad),
    /// A message.
    Done(Message),
}

impl Accumulator {
    /// Holds nothing.
    pub const fn new() -> Self {
        Self { held: [0; MAX_STUFFED], length: 0, skipping: false }
    }

    /// Takes bytes from the front of `bytes` until something can be said, and moves `bytes` past them. Says `None` when
    /// `bytes` is empty, so that a `while let` drains a portion.
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Option<Fed> {
        if bytes.is_empty() {
            return None;
        }
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if let Some(fed) = self.take(*byte) {
                return Some(fed);
            }
        }
        Some(Fed::Consumed)
    }

    /// Forgets what is held, as after reopening a port.
    pub fn reset(&mut self) {
        self.length = 0;
        self.skipping = false;
    }

    fn take(&mut self, byte: u8) -> Option<Fed> {
        if byte == 0 {
            // Two zeros with nothing between them are an idle line, not a frame.
            let fed = match &mut self.held[..self.length] {
                [] => None,
                _ if self.skipping => None,
                whole => Some(decode(whole).map_or_else(Fed::Bad, Fed::Done)),
            };
            self.reset();
            return fed;
        }
        if self.skipping {
            return None;
        }
        if self.length == MAX_STUFFED {
            self.skipping = true;
            return Some(Fed::Overfull);
        }
        self.held[self.length] = byte;
        self.length += 1;
        None
    }
}

impl Default for Accumulator {
    fn default() -> Self {
        Self::new()
    }
}
