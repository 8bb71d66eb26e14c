//! One connection: what comes in, and what is said about it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};

use crate::protocol::{About, Ask, AskAbout, Failure, FailureCode, Fetch, MAX_FRAME, Message, Question, encode, text};
use crate::watch::{Desk, Report};
use crate::{Code, Error, Result};

use super::command::{self, Command};
use super::lines;
use super::pictures::Pictures;
use super::splitter::{Damage, MAX_LINE, Split};
use super::wire;
use super::work::{Desks, Job};
use super::write::Out;

/// How long the reader waits for room on the way out. What finds none is dropped: who asks more than it reads loses
/// answers, not we our time.
const ROOM: Duration = Duration::from_millis(250);

/// Complaints about what cannot be read that are made at once, and how long each then waits.
const COMPLAINTS: u32 = 4;
const COMPLAINT_EVERY: Duration = Duration::from_millis(250);

/// What is counted over all connections.
#[derive(Default)]
pub(super) struct Counters {
    pub sent: AtomicU64,
    pub received: AtomicU64,
}

/// A connection, shared by its reader, its writer and those who answer its questions.
pub(super) struct Session {
    pub desk: Arc<dyn Desk>,
    pub counters: Arc<Counters>,
    device: String,
    desks: Desks,
    out: Sender<Out>,
    ended: AtomicBool,
    state: Mutex<State>,
}

struct State {
    form: Form,
    /// Events are told as lines.
    events: bool,
    camera: Option<String>,
    /// Questions in frames that are not answered yet.
    asked: Vec<(Option<About>, Ask)>,
    pictures: Pictures,
    /// The newest snapshot that was asked for by a line.
    snapshot: Option<Arc<[u8]>>,
    complaints: u32,
    complained: Instant,
    /// The log has been told that something could not be read.
    warned: bool,
}

/// How the other end spoke last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Unknown,
    Lines,
    Frames,
}

impl Session {
    pub fn new(
        desk: Arc<dyn Desk>,
        counters: Arc<Counters>,
        device: &str,
        desks: Desks,
        out: Sender<Out>,
        events: bool,
    ) -> Arc<Self> {
        let state = State {
            form: Form::Unknown,
            events,
            camera: None,
            asked: Vec::new(),
            pictures: Pictures::default(),
            snapshot: None,
            complaints: COMPLAINTS,
            complained: Instant::now(),
            warned: false,
        };
        let (device, ended) = (device.to_owned(), AtomicBool::new(false));
        Arc::new(Self { desk, counters, device, desks, out, ended, state: Mutex::new(state) })
    }

    /// The port is gone: what is still being answered is not wanted any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let _ = self.out.try_send(Out::End);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Deals with what came in. Returns whether to show what is typed, where that was asked for.
    pub fn take(self: &Arc<Self>, split: Split) -> Option<bool> {
        match split {
            Split::Line(line) => return self.line(&line),
            Split::Frame(message) => self.frame(message),
            Split::Bad(damage) => self.complain(damage),
        }
        None
    }

    /// How an event is told to the other end, if at all.
    pub fn event(&self, report: &Report) -> Option<Vec<u8>> {
        if !report.to_serial {
            return None;
        }
        let (form, wanted) = {
            let state = self.state();
            (state.form, state.events)
        };
        match form {
            Form::Frames => framed(&Message::Event(wire::event(&report.event))),
            Form::Lines | Form::Unknown if wanted => Some(lines::event(&report.event)),
            Form::Lines | Form::Unknown => None,
        }
    }

    /// Whether events are told as lines from now on.
    pub fn tell_events(&self, wanted: bool) {
        self.state().events = wanted;
    }

    /// Keeps a snapshot that a line asked for.
    pub fn keep_snapshot(&self, jpeg: Arc<[u8]>) {
        self.state().snapshot = Some(jpeg);
    }

    pub fn snapshot(&self) -> Option<Arc<[u8]>> {
        self.state().snapshot.clone()
    }

    /// Sends bytes, or drops them where the way out stays full.
    pub fn say(&self, bytes: Vec<u8>, patience: Duration) {
        self.send(Out::Bytes(bytes), patience);
    }

    pub fn tell(&self, message: &Message, patience: Duration) {
        if let Some(bytes) = framed(message) {
            self.say(bytes, patience);
        }
    }

    /// What came of a question in frames.
    pub fn answered(&self, about: Option<&About>, ask: &Ask, messages: &[Message], patience: Duration) {
        self.state().asked.retain(|(subject, asked)| (subject.as_ref(), asked) != (about, ask));
        for message in messages {
            self.tell(message, patience);
        }
    }

    /// Keeps a snapshot for fetching; returns its size and checksum.
    pub fn took(&self, answer: crate::protocol::Answer, jpeg: Arc<[u8]>) -> Message {
        Message::Picture(self.state().pictures.took(answer, jpeg))
    }

    fn line(self: &Arc<Self>, line: &str) -> Option<bool> {
        let camera = self.state().camera.clone();
        let parsed = command::parse(line, camera.as_deref()).and_then(|command| match &command {
            Command::Camera(Some(camera)) => self.knows(camera).map(|()| command).map_err(|error| (error, None)),
            _ => Ok(command),
        });
        if !matches!(parsed, Ok(Command::Ignore)) {
            self.state().form = Form::Lines;
        }
        match parsed {
            Ok(Command::Ignore) => {}
            Ok(Command::Greet) => {
                let version = env!("CARGO_PKG_VERSION");
                self.say(format!("# lookout {version} on {}. Type: help\r\n", self.device).into_bytes(), ROOM);
            }
            Ok(Command::Attention) => self.say(b"OK\r\n".to_vec(), ROOM),
            Ok(Command::Modem) => self.say(b"ERROR\r\n".to_vec(), ROOM),
            Ok(Command::Help) => self.say(command::help().into_bytes(), ROOM),
            Ok(Command::Echo(wanted)) => {
                self.say(lines::echo(wanted), ROOM);
                return Some(wanted);
            }
            Ok(command) => {
                if let Command::Camera(camera) = &command {
                    self.state().camera.clone_from(camera);
                }
                let id = if let Command::Ask(_, id) = &command { id.clone() } else { None };
                self.counters.received.fetch_add(1, Ordering::Relaxed);
                if self.desks.lines.try_send(Job::Line(self.clone(), command)).is_err() {
                    self.say(lines::error(&busy(), id.as_ref()), ROOM);
                }
            }
            Err((error, id)) => {
                if let Err(TrySendError::Full(_)) = self.desks.lines.try_send(Job::Refuse(self.clone(), error, id)) {
                    self.say(lines::error(&busy(), None), ROOM);
                }
            }
        }
        None
    }

    /// Refuses a camera that there is not.
    fn knows(&self, camera: &str) -> Result<()> {
        let names: Vec<String> = self.desk.status().cameras.into_iter().map(|camera| camera.name).collect();
        if names.iter().any(|name| name == camera) {
            return Ok(());
        }
        let shown: String = camera.chars().take(40).collect();
        Err(Error::new(Code::Camera, format!("there is no camera {shown:?}"), format!("one of: {}", names.join(", "))))
    }

    fn frame(self: &Arc<Self>, message: Message) {
        self.state().form = Form::Frames;
        match message {
            Message::Ping { nonce } => {
                self.tell(&Message::Pong { nonce }, ROOM);
                self.tell(&Message::Status(wire::status(&self.desk.status())), ROOM);
            }
            Message::Ask(ask) => self.ask(ask, None),
            Message::AskAbout(AskAbout { about, ask }) => self.ask(ask, Some(about)),
            Message::Fetch(fetch) => self.fetch(fetch),
            Message::Picture(offer) => {
                let have = self.state().pictures.offer(offer);
                self.tell(&have.map_or_else(|error| failed(Some(offer.id), &error), Message::Have), ROOM);
            }
            Message::Piece(piece) => {
                let have = self.state().pictures.piece(&piece);
                self.tell(&have.map_or_else(|error| failed(Some(piece.id), &error), Message::Have), ROOM);
            }
            // What only a lookout says: an echo of ours, or two lookouts on one line. Answering would never end.
            Message::Pong { .. }
            | Message::Answer(_)
            | Message::Event(_)
            | Message::Status(_)
            | Message::Failure(_)
            | Message::Have(_) => {}
        }
    }

    fn ask(self: &Arc<Self>, ask: Ask, about: Option<About>) {
        let id = ask.id;
        let picture = {
            let mut state = self.state();
            let repeated = (ask.question == Question::Snapshot).then(|| state.pictures.again(id));
            if let Some((answer, picture)) = repeated.flatten() {
                drop(state);
                self.tell(&Message::Answer(answer), ROOM);
                self.tell(&Message::Picture(picture), ROOM);
                return;
            }
            // A question that is repeated while it is being answered has one answer.
            if state.asked.iter().any(|(subject, asked)| (subject, asked) == (&about, &ask)) {
                return;
            }
            let sent = match &about {
                Some(About::Picture(picture)) => state.pictures.sent(*picture).map(Some),
                Some(About::Camera(_)) | None => Ok(None),
            };
            match sent {
                Ok(picture) => {
                    state.asked.push((about.clone(), ask.clone()));
                    picture
                }
                Err(error) => {
                    drop(state);
                    self.tell(&failed(Some(id), &error), ROOM);
                    return;
                }
            }
        };
        self.counters.received.fetch_add(1, Ordering::Relaxed);
        if self.desks.frames.try_send(Job::Ask(self.clone(), ask.clone(), about.clone(), picture)).is_err() {
            self.answered(about.as_ref(), &ask, &[failed(Some(id), &busy())], ROOM);
        }
    }

    fn fetch(&self, fetch: Fetch) {
        let found = self.state().pictures.fetch(fetch.id);
        match found {
            Err(error) => self.tell(&failed(Some(fetch.id), &error), ROOM),
            Ok((picture, _)) if fetch.pieces == 0 || fetch.size == 0 => self.tell(&Message::Picture(picture), ROOM),
            Ok((_, jpeg)) => self.send(Out::Pieces(fetch, jpeg), ROOM),
        }
    }

    /// Says that something could not be read, unless that was said a few times just now.
    fn complain(&self, damage: Damage) {
        let form = {
            let mut state = self.state();
            let since = state.complained.elapsed().as_millis() / COMPLAINT_EVERY.as_millis();
            if since > 0 {
                state.complaints = COMPLAINTS.min(state.complaints + u32::try_from(since).unwrap_or(COMPLAINTS));
                state.complained = Instant::now();
            }
            if std::mem::replace(&mut state.warned, true) {
                log::debug!("serial: {}", describe(damage));
            } else {
                log::warn!("serial: {}; have both ends the same speed? More of it is not logged", describe(damage));
            }
            if damage != Damage::LongLine {
                let Some(left) = state.complaints.checked_sub(1) else { return };
                state.complaints = left;
            }
            state.form
        };
        match damage {
            Damage::LongLine => {}
            Damage::Frame(_) | Damage::LongFrame => {
                return self.tell(&Message::Failure(frame_failure(damage)), ROOM);
            }
            Damage::Noise | Damage::Half if form == Form::Frames => {
                return self.tell(&Message::Failure(frame_failure(damage)), ROOM);
            }
            Damage::Noise => {}
            Damage::Half => return,
        }
        let error = Error::new(Code::Usage, describe(damage), "send the line again; type: help");
        self.say(lines::error(&error, None), ROOM);
    }

    fn send(&self, out: Out, patience: Duration) {
        if self.has_ended() {
            return;
        }
        if self.out.send_timeout(out, patience).is_err() {
            log::debug!("serial: an answer was dropped, as the other end does not read");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message as a frame.
pub(super) fn framed(message: &Message) -> Option<Vec<u8>> {
    // Every message fits in the largest frame.
    encode(message, &mut [0; MAX_FRAME]).ok().map(<[u8]>::to_vec)
}

pub(super) fn failed(id: Option<u32>, error: &Error) -> Message {
    Message::Failure(wire::failure(id, error))
}

fn frame_failure(damage: Damage) -> Failure {
    Failure { id: None, code: FailureCode::Frame, text: text(&describe(damage)) }
}

fn busy() -> Error {
    Error::new(Code::Busy, "too many questions wait for an answer", "wait for one, then ask again")
}

fn describe(damage: Damage) -> String {
    match damage {
        Damage::Frame(bad) => bad.to_string(),
        Damage::LongFrame => format!("a frame is longer than {MAX_FRAME} bytes"),
        Damage::LongLine => format!("a line is longer than {MAX_LINE} bytes"),
        Damage::Noise => "a line is not text".to_owned(),
        Damage::Half => "a frame broke off".to_owned(),
    }
}
