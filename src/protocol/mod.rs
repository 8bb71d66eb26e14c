//! The wire between a lookout and a microcontroller, or any two ends of a serial line: messages and their framing.
//!
//! No heap, no `std`, no input or output: the same code runs in the daemon and in firmware. Everything has a fixed upper
//! size; the largest frame is [`MAX_FRAME`] bytes.
//!
//! | file | what it holds |
//! |---|---|
//! | `message` | the messages, in the order of their wire numbers |
//! | `frame` | one message to bytes and back: version, checksum, byte stuffing |
//! | `accumulator` | a stream of bytes to messages, and what was wrong with the rest |
//!
//! # A frame
//!
//! ```text
//! 00 | COBS( version: 1 byte | message: postcard, at most 512 bytes | CRC-32: 4 bytes, little-endian ) | 00
//! ```
//!
//! The checksum is CRC-32/ISO-HDLC over the version and the message. It finds every change of up to 32 neighbouring bits
//! of them, and all but one in 4 billion of other changes. The version comes first and the checksum last in every version of the protocol, so an end can tell a
//! newer frame from a damaged one. A zero byte never occurs within a frame; the one in front keeps noise on an idle line
//! from swallowing the frame that follows, and lost bytes cost at most the frame that they were lost from.
//!
//! # Versions
//!
//! New messages and new variants come at the end of their `enum` and keep [`VERSION`]: an old end reports them as
//! [`Bad::Malformed`] and goes on. Anything else that changes the bytes of an existing message raises [`VERSION`].
//!
//! # Pictures
//!
//! A snapshot is fetched: `Ask` for it, take the size from the `Answer` and the checksum from the `Picture` behind it, then
//! `Fetch` parts by their offsets until all are there, those that were lost once more. A picture is sent: `Picture` offers
//! it, each `Piece` must begin where the last `Have` said, and `AskAbout` then asks about it. An offer that is repeated
//! goes on where it stood.
//!
//! # Example
//!
//! ```
//! use lookout::protocol::{Accumulator, Fed, MAX_FRAME, Message, encode};
//!
//! let mut buffer = [0; MAX_FRAME];
//! let frame = encode(&Message::Ping { nonce: 7 }, &mut buffer)?;
//!
//! let mut accumulator = Accumulator::new();
//! let mut rest = frame;
//! while let Some(fed) = accumulator.feed(&mut rest) {
//!     match fed {
//!         Fed::Done(message) => assert_eq!(message, Message::Ping { nonce: 7 }),
//!         Fed::Consumed => {}
//!         Fed::Overfull | Fed::Bad(_) => unreachable!("nothing damaged this frame"),
//!     }
//! }
//! # Ok::<(), lookout::protocol::EncodeError>(())
//! ```

mod accumulator;
mod frame;
mod message;

pub use accumulator::{Accumulator, Fed};
pub use frame::{Bad, EncodeError, MAX_FRAME, MAX_MESSAGE, VERSION, checksum, decode, encode};
pub use message::{
    About, Answer, Ask, AskAbout, Event, Failure, FailureCode, Fetch, Findings, Found, Have, Label, LabelScore,
    MAX_PIECE, Message, Name, Phase, Picture, Piece, Question, Score, ScoredBox, Status, Text, Watch, text,
};
