//! The other end of the line: asks a lookout in frames.

mod line;
mod transfer;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::protocol::{About, Answer, Ask, AskAbout, Event, Failure, FailureCode, Message, Question, Status, Text};
use crate::{Code, Error, Result};

use line::{Heard, Line};

pub use transfer::Snapshot;

/// How long a question waits, besides the time that four frames take, before it is asked again. One that is repeated
/// while it is being answered costs the lookout nothing.
const AGAIN: Duration = Duration::from_millis(300);

/// How long the line must be quiet after damage before a question is asked again.
const QUIET: Duration = Duration::from_millis(30);

/// How long to wait while the lookout is busy.
const BUSY: Duration = Duration::from_millis(100);

/// How often an asker that listens for events makes itself known.
const HERE: Duration = Duration::from_secs(10);

/// A client on a serial line. Frames that are lost or damaged are asked for again; a port that vanishes is opened again.
pub struct Client {
    line: Line,
    patience: Duration,
    next_id: u32,
}

impl Client {
    /// Opens the port, at this many bits a second. `patience` is how long a question may take, and how long a transfer may
    /// stand still.
    pub fn open(port: &Path, baud: u32, patience: Duration) -> Result<Self> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        // Ids of a client before this one may still be on the way.
        let next_id = since.as_millis() as u32;
        Ok(Self { line: Line::open(port, baud)?, patience, next_id })
    }

    /// Asks about the first camera's newest picture. `text` is as in [`Ask::text`].
    pub fn ask(&mut self, question: Question, text: &str) -> Result<Answer> {
        self.ask_about(None, question, text)
    }

    /// Asks about a picture that [`Client::send`] sent, or about another camera than the first.
    pub fn ask_about(&mut self, about: Option<About>, question: Question, text: &str) -> Result<Answer> {
        let ask = self.question(question, text)?;
        let id = ask.id;
        let message = match about {
            Some(about) => Message::AskAbout(AskAbout { about, ask }),
            None => Message::Ask(ask),
        };
        self.exchange(Some(id), &message, |message| match message {
            Message::Answer(answer) if answer.id == id => Some(answer),
            _ => None,
        })
    }

    /// How the lookout is doing.
    pub fn status(&mut self) -> Result<Status> {
        let nonce = self.id();
        self.exchange(None, &Message::Ping { nonce }, |message| match message {
            Message::Status(status) => Some(status),
            _ => None,
        })
    }

    /// The next event; `None` where none comes for `patience`.
    pub fn next_event(&mut self, patience: Duration) -> Result<Option<Event>> {
        let end = Instant::now() + patience;
        loop {
            if let Some(event) = self.line.next_event() {
                return Ok(Some(event));
            }
            let now = Instant::now();
            if now >= end {
                return Ok(None);
            }
            match self.line.hear(end.min(now + HERE)) {
                Ok(Heard::Nothing) => {
                    let nonce = self.id();
                    self.line.tell(&Message::Ping { nonce })?;
                }
                Ok(_) => {}
                Err(error) => {
                    self.line.reopen(end).map_err(|_| error)?;
                    let nonce = self.id();
                    self.line.tell(&Message::Ping { nonce })?;
                }
            }
        }
    }

    fn question(&mut self, question: Question, text: &str) -> Result<Ask> {
        let typed: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = Text::try_from(typed.as_str()).map_err(|_| {
            let message = format!("the question has {} bytes, more than a frame holds ({})", typed.len(), 256);
            Error::new(Code::Usage, message, "say it shorter, or ask with fewer labels")
        })?;
        Ok(Ask { id: self.id(), question, text })
    }

    fn id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// Tells `message` until `pick` takes something that comes back. A failure of this id is the answer too. A lookout that
    /// has a question, whose id this is, is asked meanwhile whether it is there, so that slow is told from silent.
    fn exchange<T>(
        &mut self,
        id: Option<u32>,
        message: &Message,
        mut pick: impl FnMut(Message) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now() + self.patience;
        let (mut gone, mut there, mut told) = (None, None, false);
        while Instant::now() < end {
            let ping = id.filter(|_| told).map(|_| Message::Ping { nonce: self.id() });
            told = true;
            let mut pick = |message| match message {
                Message::Status(status) if id.is_some() => {
                    there = Some(status);
                    None
                }
                message => pick(message),
            };
            match self.attempt(id, &[Some(message), ping.as_ref()], &mut pick, end) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(Stop::Refused(error)) => return Err(error),
                Err(Stop::Gone(error)) => {
                    // Reopening says the same as the error that is told at the end.
                    let _ = self.line.reopen(end);
                    gone = Some(error);
                }
            }
        }
        Err(gone.unwrap_or_else(|| there.map_or_else(|| self.silent(), |status| self.slow(&status))))
    }

    /// Tells `messages` once. `None` where they have to be told again.
    fn attempt<T>(
        &mut self,
        id: Option<u32>,
        messages: &[Option<&Message>],
        pick: &mut impl FnMut(Message) -> Option<T>,
        end: Instant,
    ) -> Result<Option<T>, Stop> {
        let mut again = Instant::now() + AGAIN + 4 * self.line.frame_time();
        messages.iter().flatten().try_for_each(|message| self.line.tell(message))?;
        loop {
            match self.line.hear(again.min(end))? {
                Heard::Message(Message::Failure(failure)) if failure.id.is_some() && failure.id == id => {
                    if failure.code != FailureCode::Busy {
                        return Err(Stop::Refused(refused(&failure)));
                    }
                    again = Instant::now() + BUSY;
                }
                Heard::Message(message) if !is_damage(&message) => {
                    if let Some(answer) = pick(message) {
                        return Ok(Some(answer));
                    }
                }
                Heard::Message(_) | Heard::Damage => again = again.min(Instant::now() + QUIET),
                Heard::Event => {}
                Heard::Nothing => return Ok(None),
            }
        }
    }

    fn silent(&self) -> Error {
        Error::new(
            Code::Link,
            format!("nobody answers on {} within {} s", self.line.path().display(), self.patience.as_secs_f32()),
            "does `lookout run` serve this port, have both ends the same speed, and are the wires crossed?",
        )
    }

    fn slow(&self, status: &Status) -> Error {
        let patience = self.patience.as_secs_f32();
        let look = match status.look_ms {
            0 => String::new(),
            ms => format!("; a look takes it {:.1} s", ms as f32 / 1e3),
        };
        Error::new(
            Code::Link,
            format!("{} has a lookout that has not answered within {patience} s{look}", self.line.path().display()),
            "wait longer (lookout query --timeout 5m), and let it take longer: `patience` under [serial] in its configuration",
        )
    }
}

/// Why an exchange ended without an answer.
enum Stop {
    Refused(Error),
    Gone(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Gone(error)
    }
}

/// Whether the lookout says that it could not read something.
fn is_damage(message: &Message) -> bool {
    matches!(message, Message::Failure(Failure { id: None, code: FailureCode::Frame, .. }))
}

fn refused(failure: &Failure) -> Error {
    let code = match failure.code {
        FailureCode::Busy => Code::Busy,
        FailureCode::Unsupported => Code::Unsupported,
        FailureCode::Question => Code::Usage,
        FailureCode::Camera => Code::Camera,
        FailureCode::Frame => Code::Link,
        FailureCode::Internal => Code::Engine,
    };
    let (message, help) = failure.text.split_once("; ").unwrap_or((&failure.text, "the lookout's log says more"));
    Error::new(code, message, help)
}
