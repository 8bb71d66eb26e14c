//! The link's threads: one that talks to the broker, connection after connection, and one that listens to the watch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use tokio::sync::{mpsc, watch};

use super::backoff::Backoff;
use super::config::Address;
use super::questions::{Done, Questions};
use super::rivals::Rivals;
use super::session::{self, Ended, Lasting};
use super::topics::Topics;
use super::trouble::Trouble;
use super::{Device, MqttConfig};
use crate::link::Link;
use crate::memory::Outbox;
use crate::said::Said;
use crate::watch::{Desk, LinkStatus, Report, check_name};
use crate::{Code, Error, Result};

/// A running link.
pub(super) struct MqttLink {
    shared: Arc<Shared>,
    stop: watch::Sender<Option<Instant>>,
    ended: crossbeam_channel::Receiver<()>,
}

/// What all parts of the link know.
pub(super) struct Shared {
    pub config: MqttConfig,
    pub address: Address,
    pub device: Device,
    pub topics: Topics,
    pub desk: Arc<dyn Desk>,
    pub outbox: Arc<dyn Outbox>,
    up: AtomicBool,
    note: Mutex<Option<String>>,
    pub sent: AtomicU64,
    pub received: AtomicU64,
}

/// What reaches the talking thread from other threads.
pub(super) enum Inward {
    Report(Arc<Report>),
    Done(Done),
}

/// Reports and answers that may wait for the talking thread.
const INBOX: usize = 64;

impl MqttLink {
    pub fn start(config: MqttConfig, device: &Device, desk: Arc<dyn Desk>, outbox: Arc<dyn Outbox>) -> Result<Self> {
        config.check()?;
        check_name("device", &device.id)?;
        let shared = Arc::new(Shared {
            address: Address::parse(&config.url)?,
            topics: Topics::new(&config, &device.id),
            device: device.clone(),
            config,
            desk,
            outbox,
            up: AtomicBool::new(false),
            note: Mutex::new(Some("not connected yet".to_owned())),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        });
        let failed = |error: std::io::Error| {
            Error::new(
                Code::Link,
                format!("mqtt: a thread cannot be started: {error}"),
                "is the machine out of memory?",
            )
        };
        let (post, inbox) = mpsc::channel(INBOX);
        let answered = post.clone();
        let questions = Questions::start(shared.desk.clone(), shared.config.patience, move |done| {
            // Nobody is there to be told once the link has ended.
            let _ = answered.blocking_send(Inward::Done(done));
        })
        .map_err(failed)?;
        let reports = shared.desk.listen();
        thread::Builder::new()
            .name("mqtt-reports".to_owned())
            .spawn(move || {
                while !post.is_closed() {
                    match reports.recv_timeout(Duration::from_millis(500)) {
                        Ok(report) => drop(post.blocking_send(Inward::Report(report))),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })
            .map_err(failed)?;
        let (stop, stopping) = watch::channel(None);
        let (end, ended) = crossbeam_channel::bounded(1);
        let talker = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        thread::Builder::new()
            .name("mqtt".to_owned())
            .spawn(move || {
                runtime.block_on(talk(&talker, &questions, inbox, stopping));
                // A name that is still being looked up would be waited for.
                runtime.shutdown_background();
                talker.is_down("stopped".to_owned());
                let _ = end.send(());
            })
            .map_err(failed)?;
        Ok(Self { shared, stop, ended })
    }
}

impl Shared {
    pub fn is_up(&self) {
        self.up.store(true, Ordering::Relaxed);
        self.set_note(None);
    }

    pub fn is_down(&self, why: String) {
        self.up.store(false, Ordering::Relaxed);
        self.set_note(Some(why));
    }

    pub fn set_note(&self, note: Option<String>) {
        *self.note.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = note;
    }
}

impl Link for MqttLink {
    fn status(&self) -> LinkStatus {
        LinkStatus {
            name: "mqtt".to_owned(),
            up: self.shared.up.load(Ordering::Relaxed),
            note: self.shared.note.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone(),
            sent: self.shared.sent.load(Ordering::Relaxed),
            received: self.shared.received.load(Ordering::Relaxed),
        }
    }

    fn stop(&mut self, until: Instant) {
        self.stop.send_replace(Some(until));
        let _ = self.ended.recv_deadline(until);
    }
}

impl Drop for MqttLink {
    fn drop(&mut self) {
        // Without a goodbye where nobody called `stop`: the broker then tells the last will.
        if self.stop.borrow().is_none() {
            self.stop.send_replace(Some(Instant::now()));
            let _ = self.ended.recv_timeout(Duration::from_secs(1));
        }
    }
}

async fn talk(
    shared: &Shared,
    questions: &Questions,
    mut inbox: mpsc::Receiver<Inward>,
    mut stop: watch::Receiver<Option<Instant>>,
) {
    let mut backoff = Backoff::default();
    let mut lasting = Lasting::begin(shared);
    let mut said = Said::default();
    let mut rivals = Rivals::default();
    loop {
        let ended = session::run(shared, questions, &mut lasting, &mut inbox, &mut stop, &mut said).await;
        let trouble = match ended {
            Ended::Stopped => return,
            Ended::Broke { trouble, worked, held } => {
                if worked {
                    backoff.worked();
                }
                rivals.judge(trouble, held, &shared.topics.client_id)
            }
        };
        said.trouble(&format!("mqtt: {}", trouble.line()));
        shared.is_down(trouble.line());
        let wait = tokio::time::sleep(backoff.wait(trouble.lasting));
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                _ = stop.changed() => return,
                Some(inward) = inbox.recv() => lasting.take(&inward, &shared.config),
            }
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::lasting(error)
    }
}
