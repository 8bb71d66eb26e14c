//! The watch as a running thing: its thread, and the ways to tell and ask it something.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use crate::engine::Stop;
use crate::sight::Looker;
use crate::{Code, Error, Result};

use super::event::{EventId, Report};
use super::plan::Plan;
use super::pulse::Pulse;
use super::question::{Reply, Request};
use super::trigger::Trigger;
use super::watcher::{Eye, Watcher};

/// Questions that may wait at once.
pub const QUEUE: usize = 16;

/// What the watch is told. Orders are few and are never refused.
pub(super) enum Order {
    Triggers(Vec<Trigger>, Sender<Result<()>>),
    Looker(Arc<Looker>, Box<Plan>, Sender<()>),
    Eyes(Vec<Eye>),
    Look,
    Stop,
}

/// What it is asked. The queue of questions is bounded.
pub(super) enum Query {
    Ask { request: Request, answer: Sender<Result<Reply>>, until: Instant },
    Embed { words: String, answer: Sender<Result<(Arc<Looker>, Vec<f32>)>>, until: Instant },
}

impl Query {
    pub fn until(&self) -> Instant {
        match self {
            Query::Ask { until, .. } | Query::Embed { until, .. } => *until,
        }
    }
}

/// A running watch.
pub struct Watch {
    orders: Sender<Order>,
    queries: Sender<Query>,
    pulse: Arc<Pulse>,
    /// Ends what the networks are just doing.
    ending: Stop,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the watch begins with.
pub struct Setup {
    /// The cameras.
    pub eyes: Vec<Eye>,
    /// Rung by every camera that has a new frame.
    pub bell: Receiver<()>,
    /// The triggers.
    pub triggers: Vec<Trigger>,
    /// Whether they may begin events.
    pub armed: bool,
    /// The largest id that was ever given.
    pub last_id: EventId,
}

impl Watch {
    /// Starts watching. Reports go to `reports`, which should hold some: where it is full the watch waits. Errors where a
    /// trigger's words or example picture cannot be read.
    pub fn start(looker: Arc<Looker>, setup: Setup, reports: Sender<Report>) -> Result<Self> {
        let pulse = Arc::new(Pulse::new(setup.armed));
        let (orders, orders_in) = unbounded();
        let (queries, queries_in) = bounded(QUEUE);
        let Setup { eyes, bell, triggers, last_id, .. } = setup;
        let ending = Stop::by_hand();
        let watcher = Watcher::new(looker, eyes, triggers, pulse.clone(), reports, last_id, ending.clone())?;
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watcher.run(&orders_in, &queries_in, &bell))
            .map_err(|error| {
                Error::new(Code::Engine, format!("no thread can be started: {error}"), "free some memory")
            })?;
        Ok(Self { orders, queries, pulse, ending, thread: Mutex::new(Some(thread)) })
    }

    /// Counters and newest scores.
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Asks about a picture, and waits at most `patience`. [`Code::Busy`] at once where [`QUEUE`] questions wait already.
    pub fn ask(&self, request: Request, patience: Duration) -> Result<Reply> {
        self.query(patience, |answer, until| Query::Ask { request, answer, until })
    }

    /// The embedding of words, likewise, and the looker that made it.
    pub fn embed(&self, words: &str, patience: Duration) -> Result<(Arc<Looker>, Vec<f32>)> {
        self.query(patience, |answer, until| Query::Embed { words: words.to_owned(), answer, until })
    }

    /// Replaces the triggers. Those that keep their name keep where they stand. Errors, with nothing replaced, where
    /// words or an example picture cannot be read.
    pub fn set_triggers(&self, triggers: Vec<Trigger>) -> Result<()> {
        let (done, outcome) = bounded(1);
        self.orders.send(Order::Triggers(triggers, done)).map_err(|_| gone())?;
        outcome.recv().map_err(|_| gone())?
    }

    /// Replaces the networks between two frames. Triggers, which are embedded anew before anything changes, keep where they
    /// stand; what the old networks made of pictures is forgotten. Errors, with nothing replaced, where the new ones cannot
    /// read a trigger's words or example picture.
    pub fn set_looker(&self, looker: Arc<Looker>, triggers: Vec<Trigger>) -> Result<()> {
        let plan = Plan::new(&looker, triggers)?;
        let (done, outcome) = bounded(1);
        self.orders.send(Order::Looker(looker, Box::new(plan), done)).map_err(|_| gone())?;
        outcome.recv().map_err(|_| gone())
    }

    /// Replaces the cameras. Events under way on those that go end.
    pub fn set_eyes(&self, eyes: Vec<Eye>) {
        let _ = self.orders.send(Order::Eyes(eyes));
    }

    /// Looks at the next frame of every camera, moving or not.
    pub fn look_now(&self) {
        let _ = self.orders.send(Order::Look);
    }

    /// Whether its thread still runs. It ends before it is told to only by a fault of its own.
    pub fn is_running(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends the events under way and stops. What the networks are just doing is given up.
    pub fn stop(&self) {
        self.ending.now();
        let _ = self.orders.send(Order::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the watch ended by a fault of its own");
        }
    }

    fn query<T>(&self, patience: Duration, query: impl FnOnce(Sender<Result<T>>, Instant) -> Query) -> Result<T> {
        let (answer, outcome) = bounded(1);
        let until = Instant::now() + patience;
        self.queries.try_send(query(answer, until)).map_err(|error| match error {
            TrySendError::Full(_) => Error::new(
                Code::Busy,
                format!("{QUEUE} questions wait already"),
                "ask again in a moment, one question at a time",
            ),
            TrySendError::Disconnected(_) => gone(),
        })?;
        outcome.recv_deadline(until).map_err(|error| match error {
            crossbeam_channel::RecvTimeoutError::Timeout => Error::new(
                Code::Stopped,
                format!("no answer came within {} s", patience.as_secs_f32()),
                "ask again, or let it take longer: `patience` of the link in its configuration",
            ),
            crossbeam_channel::RecvTimeoutError::Disconnected => gone(),
        })?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) fn gone() -> Error {
    Error::new(Code::Stopped, "the watch has ended", "is the lookout shutting down?")
}
