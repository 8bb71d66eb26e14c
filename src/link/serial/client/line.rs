//! Frames in and out of a port.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serial2::SerialPort;

use crate::Result;
use crate::protocol::{Accumulator, Event, Fed, MAX_FRAME, Message};

use super::super::port::{is_nothing, lost, open};
use super::super::session::framed;

/// Events that are kept while something else is waited for; of more the oldest are dropped.
const EVENTS: usize = 256;

/// What came.
#[expect(clippy::large_enum_variant, reason = "it is handled at once, a box would cost more")]
pub(super) enum Heard {
    /// A message that is no event.
    Message(Message),
    /// An event, which was set aside for [`Line::next_event`].
    Event,
    /// Something that could not be read.
    Damage,
    /// Nothing more until then.
    Nothing,
}

pub(super) struct Line {
    port: SerialPort,
    path: PathBuf,
    baud: u32,
    accumulator: Box<Accumulator>,
    came: VecDeque<u8>,
    events: VecDeque<Event>,
}

impl Line {
    pub fn open(path: &Path, baud: u32) -> Result<Self> {
        let accumulator = Box::new(Accumulator::new());
        let (came, events) = (VecDeque::new(), VecDeque::new());
        Ok(Self { port: connect(path, baud)?, path: path.to_owned(), baud, accumulator, came, events })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long the largest frame takes on the line.
    pub fn frame_time(&self) -> Duration {
        Duration::from_secs_f64(MAX_FRAME as f64 * 10.0 / f64::from(self.baud))
    }

    /// Opens the port again as soon as it is there, until `end` at most.
    pub fn reopen(&mut self, end: Instant) -> Result<()> {
        loop {
            match connect(&self.path, self.baud) {
                Ok(port) => {
                    self.port = port;
                    self.came.clear();
                    self.accumulator.reset();
                    return Ok(());
                }
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    pub fn tell(&mut self, message: &Message) -> Result<()> {
        self.port.write_all(&framed(message).unwrap_or_default()).map_err(|error| lost(&self.path, &error))
    }

    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What comes next, or that nothing came until `end`.
    pub fn hear(&mut self, end: Instant) -> Result<Heard> {
        loop {
            while !self.came.is_empty() {
                let mut bytes = self.came.as_slices().0;
                let before = bytes.len();
                let fed = self.accumulator.feed(&mut bytes);
                let taken = before - bytes.len();
                self.came.drain(..taken);
                match fed {
                    Some(Fed::Done(Message::Event(event))) => {
                        if self.events.len() == EVENTS {
                            self.events.pop_front();
                        }
                        self.events.push_back(event);
                        return Ok(Heard::Event);
                    }
                    Some(Fed::Done(message)) => return Ok(Heard::Message(message)),
                    Some(Fed::Bad(_) | Fed::Overfull) => return Ok(Heard::Damage),
                    Some(Fed::Consumed) | None => {}
                }
            }
            let mut buffer = [0; 4_096];
            match self.port.read(&mut buffer) {
                Ok(0) => return Err(lost(&self.path, &std::io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => self.came.extend(&buffer[..length]),
                Err(error) if is_nothing(error.kind()) && Instant::now() >= end => return Ok(Heard::Nothing),
                Err(error) if is_nothing(error.kind()) => {}
                Err(error) => return Err(lost(&self.path, &error)),
            }
        }
    }
}

fn connect(path: &Path, baud: u32) -> Result<SerialPort> {
    let mut port = open(path, baud, false)?;
    let set = port.set_read_timeout(Duration::from_millis(10));
    set.and_then(|()| port.set_write_timeout(Duration::from_secs(2))).map_err(|error| lost(path, &error))?;
    Ok(port)
}
