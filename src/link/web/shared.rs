//! What the handlers share: the desk, and how many may stand before it at a time.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::spawn_blocking;

use crate::Result;
use crate::watch::Desk;

use super::config::WebConfig;
use super::door::Door;
use super::pictures::Pictures;
use super::problem::Problem;
use super::stream::Telling;

/// Questions that wait for an answer of the engine, and short calls; each in a thread of its own.
const QUESTIONS: usize = 4;
const CALLS: usize = 4;
pub(super) const THREADS: usize = QUESTIONS + CALLS;
/// Most pages that are told of events as they happen.
const STREAMS: usize = 16;

/// What the handlers share.
pub(super) struct Shared {
    pub desk: Arc<dyn Desk>,
    pub door: Door,
    /// Names by which requests may come, besides IP addresses; lower case.
    pub hosts: Vec<String>,
    pub patience: Duration,
    pub timeout: Duration,
    pub counts: Counts,
    pub pictures: Arc<Pictures>,
    pub tellings: broadcast::Sender<Arc<Telling>>,
    /// True from when on the link ends.
    pub ending: watch::Receiver<bool>,
    pub streams: Arc<Semaphore>,
    questions: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

/// What was done since the start.
#[derive(Default)]
pub(super) struct Counts {
    pub told: AtomicU64,
    pub questions: AtomicU64,
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Shared {
    pub(super) fn new(
        config: &WebConfig,
        desk: Arc<dyn Desk>,
        tellings: broadcast::Sender<Arc<Telling>>,
        ending: watch::Receiver<bool>,
    ) -> Result<Self> {
        Ok(Self {
            desk,
            door: Door::new(config.token()?),
            hosts: hosts(config),
            patience: config.patience,
            timeout: config.timeout,
            counts: Counts::default(),
            pictures: Arc::default(),
            tellings,
            ending,
            streams: Arc::new(Semaphore::new(STREAMS)),
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            calls: Arc::new(Semaphore::new(CALLS)),
        })
    }

    /// A call that waits for the engine. Where too many wait already the answer is `busy` at once.
    pub(super) async fn question<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Desk) -> Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        self.counts.questions.fetch_add(1, Relaxed);
        let Ok(place) = self.questions.clone().try_acquire_owned() else { return Err(Problem::busy("questions")) };
        let desk = self.desk.clone();
        // The place is kept until the work is over, even if who asked has gone.
        let answer = spawn_blocking(move || (work(&*desk), drop(place)).0).await;
        Ok(answer.map_err(failed)??)
    }

    /// A call that is answered without the engine. It waits for a place as long as a request may last.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Desk) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = tokio::time::timeout(self.timeout, self.calls.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Problem::busy("requests")) };
        let desk = self.desk.clone();
        spawn_blocking(move || (work(&*desk), drop(place)).0).await.map_err(failed)
    }
}

impl Counts {
    pub(super) fn answered(&self, status: StatusCode) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(status.as_u16()).or_default() += 1;
    }

    /// Answers by status.
    pub(super) fn answers(&self) -> BTreeMap<u16, u64> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn hosts(config: &WebConfig) -> Vec<String> {
    let mut hosts: Vec<String> = config.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    hosts.push("localhost".to_owned());
    if let Ok(name) = fs::read_to_string("/proc/sys/kernel/hostname") {
        let name = name.trim().to_ascii_lowercase();
        hosts.push(format!("{name}.local"));
        hosts.push(name);
    }
    hosts.retain(|host| !host.is_empty());
    hosts
}

fn failed(error: tokio::task::JoinError) -> Problem {
    log::error!("web: a request failed: {error}");
    let help = "the log of the daemon says more; please report it";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request failed inside lookout", help)
}
