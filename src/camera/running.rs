//! A camera that runs: its newest frame, and how it is doing.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::frame::Seen;
use super::session::{Event, supervise};
use super::{CameraState, CameraStatus, Frame, Rotate, Shot, Uri};
use crate::said::Said;
use crate::{Code, Error, Result};

/// Most threads of one camera that hang in the kernel. While that many do, it is not opened again.
pub const MAX_ABANDONED: usize = 2;

/// How long [`Camera::stop`] waits for a source to end.
const STOP_WITHIN: Duration = Duration::from_millis(800);
/// How often [`snap`] looks whether the camera has failed.
const LOOK: Duration = Duration::from_millis(50);
/// Frames a second are counted over this time.
const RATE_OVER: Duration = Duration::from_secs(5);

/// How a camera is run.
#[derive(Clone)]
pub struct CameraOptions {
    /// Most frames a second.
    pub fps: f32,
    /// How long no frame may come before the camera is opened again. Twice as long for the first one.
    pub stall: Duration,
    /// How its pictures are turned.
    pub rotate: Rotate,
    /// Rung without waiting at every new frame, and when there will be no more: give several cameras one bounded channel
    /// to wait for all of them at once.
    pub bell: Option<Sender<()>>,
    /// Whether trouble is left to the status, and not logged.
    pub quiet: bool,
}

/// A camera that runs in threads of its own, and is opened again for as long as it takes when it fails.
pub struct Camera {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    events: Sender<Event>,
}

pub(super) struct Shared {
    pub name: Arc<str>,
    pub source: String,
    pub options: CameraOptions,
    seen: Arc<Seen>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    doing: CameraState,
    error: Option<String>,
    newest: Option<Arc<Frame>>,
    frames: u64,
    reopened: u64,
    arrivals: VecDeque<Instant>,
    /// The session that may deliver frames; those of an abandoned one are refused.
    session: u64,
    /// When its next frame must have come; `None` where it may take its time.
    deadline: Option<Instant>,
    broken: u64,
    broken_sequence: u64,
    broken_error: Option<String>,
    trouble: Said,
    broken_said: Said,
}

impl Camera {
    /// Starts the camera at `uri`. Only an address that makes no sense is an error: a camera that does not open is tried
    /// again, and its status says why.
    pub fn start(name: &str, uri: &str, options: &CameraOptions) -> Result<Self> {
        let uri = Uri::parse(uri)?;
        let shared = Arc::new(Shared {
            name: name.into(),
            source: uri.to_string(),
            options: options.clone(),
            seen: Arc::default(),
            state: Mutex::new(State::new(options.quiet)),
            changed: Condvar::new(),
        });
        let (events, received) = crossbeam_channel::unbounded();
        let (of_thread, own) = (shared.clone(), events.clone());
        let supervisor = std::thread::Builder::new()
            .name(format!("camera {name}"))
            .spawn(move || supervise(&of_thread, &uri, &own, &received))
            .map_err(|error| {
                let message = format!("camera {name}: no thread can be started: {error}");
                Error::new(Code::Camera, message, "raise the limit of processes (ulimit -u), or free memory")
            })?;
        Ok(Self { shared, supervisor: Mutex::new(Some(supervisor)), events })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The newest frame, if any came yet.
    pub fn newest(&self) -> Option<Arc<Frame>> {
        self.shared.lock().newest.clone()
    }

    /// The newest frame once its sequence number is over `after`; `None` when none came within `timeout`, or none will.
    pub fn wait(&self, after: u64, timeout: Duration) -> Option<Arc<Frame>> {
        let until = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if let Some(frame) = state.newest.as_ref().filter(|frame| frame.sequence > after) {
                return Some(frame.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.doing == CameraState::Ended {
                return None;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Counts a frame that cannot be used, and shows why in the status until a later one is decoded. Each frame counts
    /// once.
    pub fn report(&self, frame: &Frame, error: &Error) {
        let mut state = self.shared.lock();
        if frame.sequence > state.broken_sequence {
            state.broken += 1;
            state.broken_sequence = frame.sequence;
            state.broken_error = Some(error.message().to_owned());
            state.broken_said.trouble(&format!("camera {}: {}", self.shared.name, error.message()));
        }
    }

    /// How it is doing.
    pub fn status(&self) -> CameraStatus {
        let now = Instant::now();
        let decoded = self.shared.seen.sequence();
        let mut state = self.shared.lock();
        state.forget_arrivals_before(now);
        let broken = state.broken_error.clone().filter(|_| state.broken_sequence > decoded);
        CameraStatus {
            name: self.shared.name.to_string(),
            source: self.shared.source.clone(),
            state: state.doing,
            error: state.error.clone().or(broken),
            frames: state.frames,
            broken: state.broken,
            fps: state.rate(now),
            age_ms: state.newest.as_ref().map(|frame| frame.taken.elapsed().as_millis() as u64),
            size: self.shared.seen.size(),
            reopened: state.reopened,
        }
    }

    /// Ends it, within a second also where its source hangs. The newest frame stays.
    pub fn stop(&self) {
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(supervisor) = supervisor {
            let _ = self.events.send(Event::Stop { within: STOP_WITHIN });
            let _ = supervisor.join();
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Default for CameraOptions {
    fn default() -> Self {
        super::CameraConfig::new("", "").options()
    }
}

impl Shared {
    /// A new session begins; its first frame must come before `deadline`.
    pub fn begin(&self, session: u64, deadline: Instant) {
        let mut state = self.lock();
        (state.session, state.deadline) = (session, Some(deadline));
    }

    /// The session has opened its source, whose next frame must come before `deadline`.
    pub fn expect(&self, session: u64, deadline: Option<Instant>) {
        let mut state = self.lock();
        if state.session == session {
            state.deadline = deadline;
        }
    }

    /// The source is open and need not give anything for now.
    pub fn ready(&self, session: u64) {
        let mut state = self.lock();
        if state.session == session {
            state.well(&self.name);
        }
    }

    /// Makes `shot` the newest frame. `false`: the session was abandoned.
    pub fn deliver(&self, session: u64, shot: Shot) -> bool {
        let mut state = self.lock();
        if state.session != session {
            return false;
        }
        state.frames += 1;
        let frame = Frame::new(self.name.clone(), state.frames, shot.content, self.options.rotate);
        let frame = frame.in_file(shot.file).seen_by(self.seen.clone());
        state.forget_arrivals_before(frame.taken);
        state.arrivals.push_back(frame.taken);
        state.newest = Some(Arc::new(frame));
        state.well(&self.name);
        if self.seen.sequence() > state.broken_sequence {
            state.broken_said.over(&format!("camera {}: its frames can be decoded again", self.name));
        }
        drop(state);
        self.ring();
        true
    }

    /// The session is over: why, and whether it gave frames.
    pub fn fail(&self, error: &Error, again_in: Duration) {
        let mut state = self.lock();
        (state.session, state.deadline) = (0, None);
        state.doing = CameraState::Failing;
        state.error = Some(error.message().to_owned());
        state.reopened += 1;
        state.trouble.trouble(&format!("camera {}: {error}; {}", self.name, error.help()));
        log::debug!("camera {}: opened again in {again_in:.1?}", self.name);
    }

    pub fn end(&self) {
        let mut state = self.lock();
        (state.session, state.deadline, state.doing) = (0, None, CameraState::Ended);
        drop(state);
        self.ring();
    }

    /// Why the camera cannot be opened again for now.
    pub fn hangs(&self, cause: String) {
        let mut state = self.lock();
        state.trouble.trouble(&format!("camera {}: {cause}", self.name));
        state.error = Some(cause);
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.lock().deadline
    }

    pub fn frames(&self) -> u64 {
        self.lock().frames
    }

    fn ring(&self) {
        self.changed.notify_all();
        if let Some(bell) = &self.options.bell {
            let _ = bell.try_send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(quiet: bool) -> Self {
        let said = || if quiet { Said::silent() } else { Said::default() };
        Self {
            doing: CameraState::Opening,
            error: None,
            newest: None,
            frames: 0,
            reopened: 0,
            arrivals: VecDeque::new(),
            session: 0,
            deadline: None,
            broken: 0,
            broken_sequence: 0,
            broken_error: None,
            trouble: said(),
            broken_said: said(),
        }
    }

    fn well(&mut self, name: &str) {
        self.doing = CameraState::Running;
        self.error = None;
        self.trouble.over(&format!("camera {name} gives frames again"));
    }

    fn forget_arrivals_before(&mut self, now: Instant) {
        while self.arrivals.front().is_some_and(|then| now.saturating_duration_since(*then) > RATE_OVER) {
            self.arrivals.pop_front();
        }
    }

    /// Frames a second between the first of the last seconds and now or the last, whichever is the lower rate.
    fn rate(&self, now: Instant) -> f32 {
        let (Some(first), Some(last)) = (self.arrivals.front(), self.arrivals.back()) else { return 0.0 };
        let gaps = (self.arrivals.len() - 1) as f32;
        let between = last.saturating_duration_since(*first).as_secs_f32();
        let since = now.saturating_duration_since(*first).as_secs_f32();
        if gaps == 0.0 { 0.0 } else { (gaps / between.max(1e-3)).min((gaps + 1.0) / since.max(1e-3)) }
    }
}

/// One frame of the camera at `uri`, decoded. The error says why it fails, or that none came `within` that time.
pub fn snap(uri: &str, within: Duration) -> Result<Arc<Frame>> {
    let options = CameraOptions { stall: within, fps: 120.0, quiet: true, ..CameraOptions::default() };
    let shown = Uri::parse(uri)?.to_string();
    let camera = Camera::start(&shown, uri, &options)?;
    let until = Instant::now() + within;
    let mut after = 0;
    let mut last = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if let Some(frame) = camera.wait(after, left.min(LOOK)) {
            match frame.picture() {
                Ok(_) => return Ok(frame),
                // The first frame of many a camera is broken.
                Err(error) => last = Some(error),
            }
            after = frame.sequence;
        } else if left.is_zero() || matches!(camera.status().state, CameraState::Failing | CameraState::Ended) {
            break;
        }
    }
    Err(last.unwrap_or_else(|| {
        let cause = camera.status().error.unwrap_or_else(|| format!("no picture came within {within:.0?}"));
        Error::new(
            Code::Camera,
            format!("{shown}: {cause}"),
            "look at `lookout camera list`, the cable and the address",
        )
    }))
}
