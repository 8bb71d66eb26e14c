//! The desk of the running daemon.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::board::Heat;
use crate::camera::{Camera, CameraState, Frame};
use crate::link::Link;
use crate::memory::{EventFilter, EventStore};
use crate::sight::Looker;
use crate::watch::{
    Answer, Desk, Edit, EventId, FindEvents, FoundEvent, FoundEvents, Question, Reply, Report, Request, Snapshot,
    Status, Trigger, Watch, not_edited,
};
use crate::{Code, Error, Result, seconds};

use super::config::Config;
use super::triggers::Edits;

/// Reports that a listener may fall behind.
const EARS: usize = 256;

/// Events that `find` gives where nothing is said, and at most.
const TOP: usize = 10;
const MOST_TOP: usize = 500;

/// How long a search may wait for its words to be embedded.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long no round of the watch may begin before it counts as stuck.
const STUCK: Duration = Duration::from_secs(15);

/// Names of what is kept over restarts.
const ARMED: &str = "armed";
const TRIGGERS: &str = "triggers";

pub(super) struct Hub {
    begun: Instant,
    looker: RwLock<Arc<Looker>>,
    pub watch: Watch,
    pub store: Arc<EventStore>,
    pub cameras: RwLock<Vec<Arc<Camera>>>,
    pub links: RwLock<Vec<Box<dyn Link>>>,
    pub heat: Mutex<Heat>,
    config: RwLock<Config>,
    edits: Mutex<Edits>,
    ears: Mutex<Vec<Sender<Arc<Report>>>>,
    questions: AtomicU64,
    refused: AtomicU64,
}

/// What was kept from the last run.
pub(super) struct Kept {
    pub armed: bool,
    pub edits: Edits,
}

impl Kept {
    /// Forgets how triggers were set while running.
    pub fn forget_edits(store: &EventStore) -> Result<()> {
        store.set_setting(TRIGGERS, &Edits::default().to_json())
    }

    pub fn read(store: &EventStore) -> Result<Self> {
        Ok(Self {
            armed: store.setting(ARMED)?.is_none_or(|armed| armed != "false"),
            edits: store.setting(TRIGGERS)?.map(|json| Edits::from_json(&json)).unwrap_or_default(),
        })
    }
}

impl Hub {
    pub fn new(
        config: Config,
        looker: Arc<Looker>,
        watch: Watch,
        store: Arc<EventStore>,
        cameras: Vec<Arc<Camera>>,
        edits: Edits,
    ) -> Self {
        Self {
            begun: Instant::now(),
            looker: RwLock::new(looker),
            watch,
            store,
            cameras: RwLock::new(cameras),
            links: RwLock::default(),
            heat: Mutex::default(),
            config: RwLock::new(config),
            edits: Mutex::new(edits),
            ears: Mutex::default(),
            questions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Lets every listener hear a report. Listeners that are gone are forgotten.
    pub fn broadcast(&self, report: &Arc<Report>) {
        held(&self.ears).retain(|ear| !matches!(ear.try_send(report.clone()), Err(TrySendError::Disconnected(_))));
    }

    /// The configuration as it was read last.
    pub fn config(&self) -> Config {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a broker is configured.
    pub fn has_broker(&self) -> bool {
        self.config.read().unwrap_or_else(PoisonError::into_inner).mqtt.is_some()
    }

    /// Replaces the configuration, and the triggers by those of the file with the edits applied.
    pub fn set_config(&self, config: Config) -> Result<()> {
        let edits = held(&self.edits);
        self.watch.set_triggers(edits.apply(&config.triggers))?;
        for edit in edits.against(&config.triggers) {
            log::info!("trigger {} stays as it was set while running", edit.name);
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// The networks that answer now.
    pub fn looker(&self) -> Arc<Looker> {
        self.looker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the networks between two frames. No question fails meanwhile. Errors, with nothing replaced, where the new
    /// ones cannot read the triggers.
    pub fn set_looker(&self, looker: Arc<Looker>) -> Result<()> {
        let edits = held(&self.edits);
        self.watch.set_looker(looker.clone(), edits.apply(&self.config().triggers))?;
        *self.looker.write().unwrap_or_else(PoisonError::into_inner) = looker;
        Ok(())
    }

    /// Why nothing makes progress, if so. A camera that is opened again and again is progress of a kind, but as long as
    /// none gives frames nothing is seen.
    pub fn stalled(&self) -> Option<String> {
        if !self.watch.is_running() {
            return Some("the watch has ended by a fault of its own".to_owned());
        }
        let silent = self.watch.pulse().since_beat();
        if silent > STUCK {
            return Some(format!("the watch is stuck since {} s", silent.as_secs()));
        }
        let cameras = self.cameras.read().unwrap_or_else(PoisonError::into_inner);
        let blind = |camera: &Arc<Camera>| {
            let status = camera.status();
            (status.state == CameraState::Failing)
                .then(|| format!("camera {}: {}", status.name, status.error.unwrap_or_else(|| "no frames".to_owned())))
        };
        let failing: Vec<String> = cameras.iter().filter_map(blind).collect();
        (!cameras.is_empty() && failing.len() == cameras.len()).then(|| failing.join("; "))
    }

    /// Whether the watch goes round.
    pub fn watch_moves(&self) -> bool {
        self.watch.is_running() && self.watch.pulse().since_beat() <= STUCK
    }

    fn edit(&self, change: impl FnOnce(Edits, &Config) -> Result<Edits>) -> Result<()> {
        let mut edits = held(&self.edits);
        let config = self.config();
        let changed = change(edits.clone(), &config)?;
        self.watch.set_triggers(changed.apply(&config.triggers))?;
        self.store.set_setting(TRIGGERS, &changed.to_json())?;
        *edits = changed;
        Ok(())
    }

    fn answer(&self, request: &Request, patience: Duration) -> Result<Reply> {
        let begin = Instant::now();
        let (camera, at_ms, answer) = match &request.question {
            Question::Status {} => (None, None, Answer::Status(Box::new(self.status()))),
            Question::Find(find) => {
                (None, None, Answer::Events(FoundEvents { events: self.find_within(find, patience)? }))
            }
            Question::Snapshot {} => {
                let frame = self.newest(request.camera.as_deref())?;
                let (picture, jpeg) = (frame.picture()?, crate::watch::jpeg(&frame)?);
                let (width, height, bytes) = (picture.width(), picture.height(), jpeg.len());
                let snapshot = Snapshot { width, height, bytes, jpeg };
                (Some(frame.camera.to_string()), Some(frame.unix_ms), Answer::Snapshot(snapshot))
            }
            _ => return self.watch.ask(request.clone(), patience),
        };
        let ms = begin.elapsed().as_secs_f64() * 1e3;
        Ok(Reply {
            task: request.question.task(),
            camera,
            at_ms,
            bundle: self.looker().identity().to_owned(),
            answer,
            ms,
        })
    }

    fn find_within(&self, find: &FindEvents, patience: Duration) -> Result<Vec<FoundEvent>> {
        let top = find.top.unwrap_or(TOP).clamp(1, MOST_TOP);
        let since_ms = match &find.since {
            None => None,
            Some(text) => {
                let ago =
                    seconds::parse(text).map_err(|cause| Error::new(Code::Usage, cause, "for example: since 2d"))?;
                Some(crate::watch::unix_ms().saturating_sub(ago.as_millis() as u64))
            }
        };
        let filter =
            EventFilter { since_ms, trigger: find.trigger.clone(), camera: find.camera.clone(), before: find.before };
        // The looker that made the embedding: it may be another one by the time the search ends.
        let (looker, like) = match (&find.words, find.like) {
            (Some(_), Some(_)) => {
                return Err(Error::new(Code::Usage, "both `words` and `like` are given", "search by one of them"));
            }
            (None, None) => {
                let plain = |event| FoundEvent { matching: None, event };
                return Ok(self.store.list(&filter, top)?.into_iter().map(plain).collect());
            }
            (Some(words), None) => self.watch.embed(words, patience)?,
            (None, Some(event)) => match (self.looker(), self.store.embedding(event)?) {
                (looker, Some((bundle, embedding))) if bundle == looker.identity() => (looker, embedding),
                (_, found) => {
                    let cause =
                        if found.is_some() { "was seen by another bundle" } else { "has no picture to compare with" };
                    return Err(Error::new(Code::Usage, format!("event {event} {cause}"), "choose another event"));
                }
            },
        };
        let hits = self.store.find(&like, looker.identity(), &filter, top)?;
        hits.into_iter()
            .map(|(event, cosine)| {
                let matching = if find.words.is_some() { looker.support(cosine)?.score } else { cosine };
                Ok(FoundEvent { matching: Some(matching), event })
            })
            .collect()
    }
}

impl Desk for Hub {
    fn ask(&self, request: &Request, patience: Duration) -> Result<Reply> {
        let reply = self.answer(request, patience);
        match &reply {
            Err(error) if error.code() == Code::Busy => self.refused.fetch_add(1, Relaxed),
            _ => self.questions.fetch_add(1, Relaxed),
        };
        reply
    }

    fn status(&self) -> Status {
        let pulse = self.watch.pulse();
        let heat = *held(&self.heat);
        let cameras = self.cameras.read().unwrap_or_else(PoisonError::into_inner);
        Status {
            device: self.config.read().unwrap_or_else(PoisonError::into_inner).device.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bundle: self.looker().identity().to_owned(),
            uptime_s: self.begun.elapsed().as_secs(),
            stalled: self.stalled(),
            armed: pulse.is_armed(),
            looks: pulse.looks(),
            events: pulse.events(),
            questions: self.questions.load(Relaxed),
            refused: self.refused.load(Relaxed),
            look_ms: pulse.look_ms(),
            celsius: heat.celsius,
            throttled: heat.throttled,
            cameras: cameras.iter().map(|camera| camera.status()).collect(),
            triggers: pulse.triggers(),
            links: self.links.read().unwrap_or_else(PoisonError::into_inner).iter().map(|link| link.status()).collect(),
            memory: self.store.status(),
        }
    }

    fn triggers(&self) -> Vec<Trigger> {
        let edits = held(&self.edits);
        edits.apply(&self.config.read().unwrap_or_else(PoisonError::into_inner).triggers)
    }

    fn put_trigger(&self, trigger: Trigger) -> Result<()> {
        self.edit(|edits, config| {
            config.check_trigger(&trigger)?;
            Ok(edits.with(trigger))
        })
    }

    fn remove_trigger(&self, name: &str) -> Result<()> {
        self.edit(|edits, config| {
            if !edits.apply(&config.triggers).iter().any(|trigger| trigger.name == name) {
                let shown: String = name.chars().take(60).collect();
                let message = format!("there is no trigger {shown:?}");
                return Err(Error::new(Code::Usage, message, "see their names with: status"));
            }
            Ok(edits.without(name, config.triggers.iter().any(|trigger| trigger.name == name)))
        })
    }

    fn edits(&self) -> Vec<Edit> {
        let edits = held(&self.edits);
        edits.against(&self.config.read().unwrap_or_else(PoisonError::into_inner).triggers)
    }

    fn forget_edit(&self, name: &str) -> Result<()> {
        self.edit(|edits, config| {
            if !edits.against(&config.triggers).iter().any(|edit| edit.name == name) {
                return Err(not_edited(name));
            }
            log::info!("trigger {name} is as the configuration file says again");
            Ok(edits.forgetting(name))
        })
    }

    fn arm(&self, armed: bool) {
        if self.watch.pulse().is_armed() == armed {
            return;
        }
        log::info!("{}", if armed { "armed" } else { "disarmed: no events begin" });
        self.watch.pulse().arm(armed);
        if let Err(error) = self.store.set_setting(ARMED, if armed { "true" } else { "false" }) {
            log::warn!("being armed or not is not kept over a restart: {error}");
        }
    }

    fn newest(&self, camera: Option<&str>) -> Result<Arc<Frame>> {
        let cameras = self.cameras.read().unwrap_or_else(PoisonError::into_inner);
        let found = match camera {
            None => cameras.first(),
            Some(name) => cameras.iter().find(|camera| camera.name() == name),
        };
        match found {
            Some(camera) => crate::watch::newest(camera),
            None => Err(crate::watch::no_camera(camera, cameras.iter().map(|camera| camera.name()))),
        }
    }

    fn find(&self, find: &FindEvents) -> Result<Vec<FoundEvent>> {
        self.find_within(find, PATIENCE)
    }

    fn snapshot(&self, event: EventId) -> Result<Option<Vec<u8>>> {
        self.store.snapshot(event)
    }

    fn listen(&self) -> Receiver<Arc<Report>> {
        let (ear, heard) = bounded(EARS);
        held(&self.ears).push(ear);
        heard
    }
}

pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
