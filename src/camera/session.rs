//! One opening of a source after the other, each in a thread of its own with a deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::backoff::Backoff;
use super::running::Shared;
use super::source::open_parsed;
use super::{MAX_ABANDONED, Stop, Uri};
use crate::{Code, Error, Result};

/// How long a source that was told to end may take before it is abandoned.
const GRACE: Duration = Duration::from_millis(500);
/// How often a deadline is looked at that may have moved.
const LOOK: Duration = Duration::from_millis(250);
/// A session that ran this long was well.
const WELL: Duration = Duration::from_secs(10);

/// What the supervisor is told.
pub(super) enum Event {
    Stop { within: Duration },
    Over { session: u64, result: Result<()> },
}

/// How a session ended.
enum End {
    /// The source has no more pictures.
    Done,
    Failed(Error),
    Stopped,
}

struct Session {
    number: u64,
    stop: Stop,
    thread: JoinHandle<()>,
}

/// Opens the source again and again until it is done or the camera is stopped.
pub(super) fn supervise(shared: &Arc<Shared>, uri: &Uri, events: &Sender<Event>, received: &Receiver<Event>) {
    let mut backoff = Backoff::new();
    let mut abandoned: Vec<JoinHandle<()>> = Vec::new();
    for number in 1.. {
        let (began, frames) = (Instant::now(), shared.frames());
        let end = match Session::start(number, shared, uri, events) {
            Ok(session) => session.watch(shared, received, &mut abandoned),
            Err(error) => End::Failed(error),
        };
        let error = match end {
            End::Done | End::Stopped => return shared.end(),
            End::Failed(error) => error,
        };
        if shared.frames() > frames && began.elapsed() > WELL {
            backoff.reset();
        }
        let delay = backoff.delay();
        shared.fail(&error, delay);
        if pause(received, delay) || wait_for_abandoned(shared, received, &mut abandoned) {
            return shared.end();
        }
    }
}

impl Session {
    fn start(number: u64, shared: &Arc<Shared>, uri: &Uri, events: &Sender<Event>) -> Result<Self> {
        let stop = Stop::default();
        shared.begin(number, Instant::now() + shared.options.stall * 2);
        let (shared, uri, events, told) = (shared.clone(), uri.clone(), events.clone(), stop.clone());
        let thread = std::thread::Builder::new().name(format!("capture {}", shared.name)).spawn(move || {
            // The libraries below are other people's: a panic there is the camera's failure.
            let result =
                catch_unwind(AssertUnwindSafe(|| capture(number, &shared, &uri, &told))).unwrap_or_else(|_| {
                    let message = format!("{uri}: its library gave up");
                    Err(Error::new(Code::Camera, message, "unplug the camera and plug it in again"))
                });
            let _ = events.send(Event::Over { session: number, result });
        });
        let thread = thread.map_err(|error| {
            let message = format!("no thread can be started: {error}");
            Error::new(Code::Camera, message, "raise the limit of processes, or free memory")
        })?;
        Ok(Self { number, stop, thread })
    }

    /// Until it is over, or its deadline has passed.
    fn watch(self, shared: &Shared, received: &Receiver<Event>, abandoned: &mut Vec<JoinHandle<()>>) -> End {
        loop {
            let until = shared.deadline().map_or(LOOK, |then| then.saturating_duration_since(Instant::now()).min(LOOK));
            match received.recv_timeout(until) {
                Ok(Event::Over { session, result }) if session == self.number => {
                    let _ = self.thread.join();
                    return result.map_or_else(End::Failed, |()| End::Done);
                }
                Ok(Event::Over { .. }) => {}
                Ok(Event::Stop { within }) => {
                    self.close(received, within, &mut Vec::new());
                    return End::Stopped;
                }
                Err(_) if shared.deadline().is_some_and(|then| Instant::now() >= then) => {
                    // From here on its frames are refused.
                    shared.begin(0, Instant::now());
                    return match self.close(received, GRACE, abandoned) {
                        true => End::Stopped,
                        false => End::Failed(stalled(shared)),
                    };
                }
                Err(_) => {}
            }
        }
    }

    /// Tells it to end, and waits a little; `true` when the whole camera is to stop.
    fn close(self, received: &Receiver<Event>, within: Duration, abandoned: &mut Vec<JoinHandle<()>>) -> bool {
        self.stop.tell();
        let until = Instant::now() + within;
        loop {
            match received.recv_deadline(until) {
                Ok(Event::Over { session, .. }) if session == self.number => {
                    let _ = self.thread.join();
                    return false;
                }
                Ok(Event::Over { .. }) => {}
                Ok(Event::Stop { .. }) => return true,
                Err(_) => {
                    abandoned.push(self.thread);
                    return false;
                }
            }
        }
    }
}

/// Waits; `true` when the camera is to stop.
fn pause(received: &Receiver<Event>, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        match received.recv_deadline(until) {
            Ok(Event::Stop { .. }) => return true,
            Ok(Event::Over { .. }) => {}
            Err(_) => return false,
        }
    }
}

/// Waits while too many threads hang; `true` when the camera is to stop.
fn wait_for_abandoned(shared: &Shared, received: &Receiver<Event>, abandoned: &mut Vec<JoinHandle<()>>) -> bool {
    loop {
        abandoned.retain(|thread| !thread.is_finished());
        if abandoned.len() < MAX_ABANDONED {
            return false;
        }
        shared
            .hangs(format!("its driver hangs in {} threads; it is opened again when one comes back", abandoned.len()));
        if pause(received, LOOK) {
            return true;
        }
    }
}

fn stalled(shared: &Shared) -> Error {
    let stall = shared.options.stall;
    let message = format!("{}: no frame came for {stall:.1?}", shared.source);
    Error::new(Code::Camera, message, "check the cable and the power of the camera, or raise `stall`")
}

/// Opens the source and hands over its frames at no more than the frame rate asked for.
fn capture(session: u64, shared: &Shared, uri: &Uri, stop: &Stop) -> Result<()> {
    let options = &shared.options;
    let mut source = open_parsed(uri, options, stop)?;
    let period = Duration::from_secs_f64(1.0 / f64::from(options.fps.clamp(0.001, 1000.0)));
    let mut due = Instant::now();
    let can_stall = source.can_stall();
    if !can_stall {
        shared.ready(session);
    }
    let mut first = true;
    while !stop.told() {
        let stall = if first { options.stall * 2 } else { options.stall };
        shared.expect(session, can_stall.then(|| due.max(Instant::now()) + stall));
        // A camera whose clock trembles at just this rate loses no frame.
        let Some(shot) = source.next(due - period / 4)? else { return Ok(()) };
        let now = Instant::now();
        if !shared.deliver(session, shot) {
            break;
        }
        first = false;
        due = (due + period).max(now + period / 2);
    }
    Ok(())
}
