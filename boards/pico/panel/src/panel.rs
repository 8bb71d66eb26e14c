//! The state: what is asked, what is known about the line, what is to be seen.

use lookout::protocol::{Answer, Ask, Bad, Event, Failure, FailureCode, Message, Phase, Question, Status, Text, text};
use lookout_client::{Damage, Heard};

use crate::{Millis, Settings, View};

/// How often the other end is told that somebody is here. It also makes a lookout that was restarted tell events in frames.
const HERE_MS: Millis = 2_000;

/// After so long without a frame nobody is there.
const GONE_MS: Millis = 7_000;

/// So many bytes without a frame are no accident.
const STRAY: u32 = 12;

/// How long a question waits before it is asked again, while the lookout is busy, and after it was damaged on the way.
const AGAIN_MS: Millis = 1_000;
const BUSY_MS: Millis = 200;
const DAMAGED_MS: Millis = 50;

/// How long a question is asked.
const PATIENCE_MS: Millis = 30_000;

/// How long an answer is to be seen, and how long at least where an event begins meanwhile.
const SHOWN_MS: Millis = 15_000;
const LEAST_MS: Millis = 3_000;

/// How long a start is to be seen, unless something happens.
const STARTED_MS: Millis = 3_000;

/// What made the panel ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Cause {
    /// The motion sensor.
    Motion,
    /// The button.
    Button,
}

/// Something for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Note {
    /// A question of this id is asked.
    Asked(u32, Cause),
    /// It was answered, after so many milliseconds.
    Answered(u32, Millis),
    /// It was refused.
    Refused(u32, FailureCode),
    /// An event of this id was told.
    Told(u64, Phase),
    /// Something could not be read.
    Damaged(Damage),
}

/// The state of a board beside a lookout.
pub struct Panel {
    settings: Settings,
    by_watchdog: bool,
    line: Line,
    status: Option<Status>,
    asking: Option<Asking>,
    shown: Option<Shown>,
    event: Option<Event>,
}

#[derive(Default)]
struct Line {
    /// When a frame last came that could be read.
    heard: Option<Millis>,
    /// When a frame of another version last came, and which.
    other: Option<(Millis, u8)>,
    /// Bytes since a frame that could be read, and when the last of them came.
    stray: u32,
    strayed: Millis,
    /// When a [`Message::Ping`] was last sent.
    pinged: Option<Millis>,
    nonce: u32,
}

struct Asking {
    ask: Ask,
    since: Millis,
    /// When it is to be sent.
    next: Millis,
}

struct Shown {
    view: View,
    since: Millis,
    until: Millis,
}

impl Panel {
    /// A panel that has just started, or was restarted because it was stuck.
    pub fn new(settings: Settings, by_watchdog: bool) -> Self {
        Self { settings, by_watchdog, line: Line::default(), status: None, asking: None, shown: None, event: None }
    }

    /// Something wants an answer; `id` is for the question. While one is asked there is no other.
    pub fn want(&mut self, cause: Cause, id: u32, now: Millis) -> Option<Note> {
        if self.asking.is_some() {
            return None;
        }
        let (question, words) = match cause {
            Cause::Motion => (Question::Label, self.labels()),
            Cause::Button => (self.settings.button.0, text(self.settings.button.1)),
        };
        self.asking = Some(Asking { ask: Ask { id, question, text: words }, since: now, next: now });
        self.shown = None;
        Some(Note::Asked(id, cause))
    }

    /// So many bytes came, whatever they are.
    pub fn received(&mut self, bytes: u32, now: Millis) {
        if bytes > 0 {
            self.line.stray = self.line.stray.saturating_add(bytes);
            self.line.strayed = now;
        }
    }

    /// Something came.
    pub fn hear(&mut self, heard: Heard, now: Millis) -> Option<Note> {
        match heard {
            Heard::Message(message) => {
                self.line.is_readable(now);
                self.line.other = None;
                self.message(message, now)
            }
            Heard::Damage(damage) => {
                match damage {
                    Damage::Frame(Bad::Version(version)) => self.line.other = Some((now, version)),
                    // A message that came to the protocol after this board.
                    Damage::Frame(Bad::Malformed) => self.line.is_readable(now),
                    // A UART may tell bytes that it could not read in no other way.
                    Damage::Line => self.received(1, now),
                    Damage::Frame(_) | Damage::Overfull => {}
                }
                Some(Note::Damaged(damage))
            }
        }
    }

    /// What is to be told to the lookout now. To be called until there is nothing.
    pub fn next(&mut self, now: Millis) -> Option<Message> {
        if let Some(asking) = &mut self.asking {
            if now - asking.since >= PATIENCE_MS {
                self.asking = None;
                self.show(View::unanswered(), now);
            } else if now >= asking.next {
                asking.next = now + AGAIN_MS;
                return Some(Message::Ask(asking.ask.clone()));
            }
        }
        if self.line.pinged.is_none_or(|pinged| now - pinged >= HERE_MS) {
            self.line.pinged = Some(now);
            self.line.nonce = self.line.nonce.wrapping_add(1);
            return Some(Message::Ping { nonce: self.line.nonce });
        }
        None
    }

    /// What is to be seen.
    pub fn view(&mut self, now: Millis) -> View {
        if self.shown.as_ref().is_some_and(|shown| now >= shown.until) {
            self.shown = None;
        }
        let up = self.line.is_up(now);
        if !up {
            // How it ended will not be told to who was not there.
            self.event = None;
            self.status = None;
        }
        if let Some((_, version)) = self.line.other.filter(|(since, _)| now - since < GONE_MS) {
            return View::other_version(version);
        }
        if !up && self.line.is_unreadable(now) {
            return View::unreadable(self.settings.baud);
        }
        if self.asking.is_some() && (up || self.line.heard.is_none() && now < STARTED_MS) {
            return View::asking();
        }
        match (&self.shown, &self.event, &self.status) {
            _ if now < STARTED_MS && self.by_watchdog => View::started(true),
            (Some(shown), ..) => shown.view.clone(),
            (None, Some(event), _) => View::event(event),
            (None, None, Some(status)) => View::idle(status),
            (None, None, None) if up || now < STARTED_MS => View::started(self.by_watchdog),
            (None, None, None) => View::silent(self.settings.baud),
        }
    }

    fn message(&mut self, message: Message, now: Millis) -> Option<Note> {
        match message {
            Message::Answer(answer) => self.answered(&answer, now),
            Message::Failure(failure) => self.failed(&failure, now),
            Message::Event(event) => Some(self.told(event, now)),
            Message::Status(status) => {
                self.status = Some(status);
                None
            }
            _ => None,
        }
    }

    fn answered(&mut self, answer: &Answer, now: Millis) -> Option<Note> {
        let asking = self.asking.take_if(|asking| asking.ask.id == answer.id)?;
        self.show(View::answered(answer, &self.settings), now);
        Some(Note::Answered(answer.id, now - asking.since))
    }

    fn failed(&mut self, failure: &Failure, now: Millis) -> Option<Note> {
        let asking = self.asking.as_mut()?;
        match failure {
            Failure { id: Some(id), .. } if *id != asking.ask.id => None,
            Failure { id: Some(_), code: FailureCode::Busy, .. } => {
                asking.next = now + BUSY_MS;
                None
            }
            Failure { id: Some(id), code, .. } => {
                self.asking = None;
                self.show(View::refused(failure), now);
                Some(Note::Refused(*id, *code))
            }
            Failure { id: None, .. } => {
                asking.next = asking.next.min(now + DAMAGED_MS);
                None
            }
        }
    }

    fn told(&mut self, event: Event, now: Millis) -> Note {
        let note = Note::Told(event.id, event.phase);
        if event.phase == Phase::Ended {
            self.event.take_if(|shown| shown.id == event.id);
            return note;
        }
        if let Some(shown) = self.shown.as_mut().filter(|_| event.phase == Phase::Began) {
            shown.until = shown.until.min(now.max(shown.since + LEAST_MS));
        }
        self.event = Some(event);
        note
    }

    fn show(&mut self, view: View, now: Millis) {
        self.shown = Some(Shown { view, since: now, until: now + SHOWN_MS });
    }

    fn labels(&self) -> Text {
        let mut words = Text::new();
        for (label, _) in self.settings.labels {
            let comma = if words.is_empty() { "" } else { ", " };
            // What does not fit is left out whole.
            if words.len() + comma.len() + label.len() <= words.capacity() {
                let _ = words.push_str(comma).and_then(|()| words.push_str(label));
            }
        }
        words
    }
}

impl Line {
    fn is_readable(&mut self, now: Millis) {
        self.heard = Some(now);
        self.stray = 0;
    }

    fn is_up(&self, now: Millis) -> bool {
        self.heard.is_some_and(|heard| now - heard < GONE_MS)
    }

    fn is_unreadable(&self, now: Millis) -> bool {
        self.stray >= STRAY && now - self.strayed < GONE_MS
    }
}

#[cfg(test)]
mod tests;
