//! Asks a lookout from a microcontroller: no `std`, no heap, any UART of [`embedded_io`], any delay of [`embedded_hal`].
//!
//! Wire TX to RX and RX to TX, 115,200 bits a second, 8N1, and give the lookout that port in `[serial]`. Then:
//!
//! ```no_run
//! # fn demo(uart: impl embedded_io::Read + embedded_io::ReadReady + embedded_io::Write, delay: &mut impl embedded_hal::delay::DelayNs) {
//! use lookout::protocol::{Findings, Label, Question};
//! use lookout_client::Client;
//!
//! let mut lookout = Client::new(uart);
//! if let Ok(answer) = lookout.answer(Question::Label, "a person, a cat, an empty porch", delay, 10_000)
//!     && let Findings::Labels(labels) = answer.findings
//!     && let Some(best) = labels.first()
//!     && best.label == Label::Is("a person".try_into().unwrap())
//! {
//!     // ring the bell
//! }
//! # }
//! ```
//!
//! [`Client::answer`] waits. A program that has other things to do calls [`Client::ask`] and then [`Client::poll`], which
//! never waits; events that nobody asked for come there too.
#![no_std]

use embedded_hal::delay::DelayNs;
use embedded_io::{Read, ReadReady, Write};
use lookout::protocol::{
    Accumulator, Answer, Ask, Bad, Failure, FailureCode, Fed, MAX_FRAME, Message, Question, encode, text,
};

/// How long a question waits before it is asked again, in milliseconds. A lookout answers a repeated question once.
const AGAIN_MS: u32 = 1_000;

/// One end of a serial line with a lookout at the other.
pub struct Client<U> {
    uart: U,
    accumulator: Accumulator,
    held: [u8; 64],
    /// What of `held` is not looked at yet.
    from: usize,
    to: usize,
    received: u32,
    last_id: u32,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::large_enum_variant, reason = "there is no heap to box the message on")]
pub enum Heard {
    /// A message.
    Message(Message),
    /// Something that is no message; what comes after it is heard.
    Damage(Damage),
}

/// Why something is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Damage {
    /// The UART could not read a byte, as where the speed is wrong, or bytes came faster than they were taken.
    Line,
    /// More bytes than the largest frame has.
    Overfull,
    /// A frame that cannot be read.
    Frame(Bad),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(clippy::large_enum_variant, reason = "there is no heap to box the failure on")]
pub enum NoAnswer<E> {
    /// The lookout says that it cannot, and why.
    Refused(Failure),
    /// The lookout speaks this other version of the protocol; [`lookout::protocol::VERSION`] is ours.
    Version(u8),
    /// Nothing came in time.
    Silent,
    /// The UART cannot write.
    Uart(E),
}

impl<U: Read + ReadReady + Write> Client<U> {
    /// A client on this UART, which must buffer what comes between two calls of [`Client::poll`]: 12 bytes a millisecond
    /// at 115,200 bits a second.
    pub const fn new(uart: U) -> Self {
        Self { uart, accumulator: Accumulator::new(), held: [0; 64], from: 0, to: 0, received: 0, last_id: 0 }
    }

    /// Numbers questions from here on. After a restart, answers to questions from before it may still be on the way: start
    /// somewhere else each time, as at a clock or a random number.
    pub fn number_from(&mut self, id: u32) {
        self.last_id = id;
    }

    /// The id for the next question.
    pub fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    /// Asks, and returns the id that the answer will have. Words beyond 256 bytes are cut off.
    pub fn ask(&mut self, question: Question, words: &str) -> Result<u32, U::Error> {
        let id = self.next_id();
        self.tell(&Message::Ask(Ask { id, question, text: text(words) }))?;
        Ok(id)
    }

    /// Writes a message.
    pub fn tell(&mut self, message: &Message) -> Result<(), U::Error> {
        let mut buffer = [0; MAX_FRAME];
        // The largest frame fits.
        let Ok(frame) = encode(message, &mut buffer) else { return Ok(()) };
        self.uart.write_all(frame)?;
        self.uart.flush()
    }

    /// What came, if something did. Never waits.
    pub fn poll(&mut self) -> Option<Heard> {
        loop {
            let mut rest = &self.held[self.from..self.to];
            let fed = self.accumulator.feed(&mut rest);
            self.from = self.to - rest.len();
            match fed {
                Some(Fed::Done(message)) => return Some(Heard::Message(message)),
                Some(Fed::Bad(bad)) => return Some(Heard::Damage(Damage::Frame(bad))),
                Some(Fed::Overfull) => return Some(Heard::Damage(Damage::Overfull)),
                Some(Fed::Consumed) | None => {}
            }
            match self.uart.read_ready() {
                Ok(false) => return None,
                Ok(true) => {}
                Err(_) => return Some(Heard::Damage(Damage::Line)),
            }
            match self.uart.read(&mut self.held) {
                Ok(0) => return None,
                Ok(length) => {
                    (self.from, self.to) = (0, length);
                    self.received = self.received.wrapping_add(length as u32);
                }
                Err(_) => return Some(Heard::Damage(Damage::Line)),
            }
        }
    }

    /// Bytes that have come so far. Where it grows and no message comes, the speed of one end is wrong.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Asks, and waits for the answer, `patience_ms` milliseconds at most. The question is repeated where a frame is lost
    /// or damaged, and while the lookout is busy. What else comes meanwhile, such as events, is dropped.
    #[expect(clippy::result_large_err, reason = "there is no heap to box the failure on")]
    pub fn answer(
        &mut self,
        question: Question,
        words: &str,
        delay: &mut impl DelayNs,
        patience_ms: u32,
    ) -> Result<Answer, NoAnswer<U::Error>> {
        let id = self.next_id();
        let message = Message::Ask(Ask { id, question, text: text(words) });
        let mut version = None;
        for waited_ms in 0..patience_ms {
            if waited_ms % AGAIN_MS == 0 {
                self.tell(&message).map_err(NoAnswer::Uart)?;
            }
            while let Some(heard) = self.poll() {
                match heard {
                    Heard::Message(Message::Answer(answer)) if answer.id == id => return Ok(answer),
                    Heard::Message(Message::Failure(failure))
                        if failure.id == Some(id) && failure.code != FailureCode::Busy =>
                    {
                        return Err(NoAnswer::Refused(failure));
                    }
                    Heard::Damage(Damage::Frame(Bad::Version(other))) => version = Some(other),
                    Heard::Message(_) => version = None,
                    Heard::Damage(_) => {}
                }
            }
            delay.delay_ms(1);
        }
        Err(version.map_or(NoAnswer::Silent, NoAnswer::Version))
    }
}
