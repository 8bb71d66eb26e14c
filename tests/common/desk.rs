//! A desk for tests of the links: its answers are computed from the questions, so that each can be told from any other.
#![allow(dead_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use lookout::camera::{CameraState, CameraStatus, Frame};
use lookout::sight;
use lookout::watch::{
    Answer, CameraScore, Desk, Event, EventId, FindEvents, FoundEvent, FoundEvents, MemoryStatus, Phase, Question,
    Reply, Report, Request, Snapshot, Status, Trigger, TriggerStatus,
};
use lookout::{Code, Error, Result};

/// Cameras of the desk, the first one where none is named.
pub const CAMERAS: [&str; 2] = ["door", "yard"];

/// Name and version of the bundle.
pub const BUNDLE: &str = "test 1 (0123456789ab)";

/// A desk without an engine. `jpeg` is what its cameras show.
pub struct ScriptedDesk {
    pub jpeg: Mutex<Arc<[u8]>>,
    pub asked: AtomicUsize,
    /// Questions that came, those that wait included.
    pub reached: AtomicUsize,
    pub armed: AtomicBool,
    /// Whether its triggers are in an event.
    pub active: AtomicBool,
    /// What its bundle cannot do.
    pub lacks: Mutex<Vec<&'static str>>,
    pub triggers: Mutex<Vec<Trigger>>,
    pub events: Mutex<Vec<Event>>,
    next_id: AtomicU64,
    listeners: Mutex<Vec<Sender<Arc<Report>>>>,
    /// While held, questions wait.
    held: Mutex<bool>,
    released: Condvar,
    started: Instant,
}

impl ScriptedDesk {
    pub fn new() -> Arc<Self> {
        Self::showing(picture(3_000, 1))
    }

    pub fn showing(jpeg: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            jpeg: Mutex::new(jpeg.into()),
            asked: AtomicUsize::new(0),
            reached: AtomicUsize::new(0),
            armed: AtomicBool::new(true),
            active: AtomicBool::new(false),
            lacks: Mutex::default(),
            triggers: Mutex::new(Vec::new()),
            events: Mutex::new(Vec::new()),
            next_id: AtomicU64::new(1),
            listeners: Mutex::new(Vec::new()),
            held: Mutex::new(false),
            released: Condvar::new(),
            started: Instant::now(),
        })
    }

    /// From now on questions wait, or no longer.
    pub fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.released.notify_all();
    }

    /// An event of this trigger begins.
    pub fn begin(&self, trigger: &str) -> Event {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let event = Event {
            id: EventId(1_795_000_000_000 * 2_048 + id),
            sequence: 0,
            phase: Phase::Begin,
            trigger: trigger.to_owned(),
            camera: CAMERAS[0].to_owned(),
            began_ms: 1_795_000_000_000,
            at_ms: 1_795_000_000_000,
            score: 0.75,
            peak: 0.875,
            caption: Some(format!("what {trigger} saw")),
            boxes: Vec::new(),
            size: [640, 480],
            snapshot: true,
            bundle: BUNDLE.to_owned(),
        };
        self.tell(event.clone());
        event
    }

    /// A message about an event, to all who listen.
    pub fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event.clone());
        let report = Report { event, jpeg: None, embedding: None, to_mqtt: true, to_serial: true };
        self.report(report);
    }

    pub fn report(&self, report: Report) {
        let report = Arc::new(report);
        self.listeners.lock().unwrap().retain(|listener| match listener.try_send(report.clone()) {
            Err(crossbeam_channel::TrySendError::Disconnected(_)) => false,
            Ok(()) | Err(crossbeam_channel::TrySendError::Full(_)) => true,
        });
    }

    fn answer(&self, request: &Request) -> Result<Answer> {
        if let Some(camera) = &request.camera
            && !CAMERAS.contains(&camera.as_str())
        {
            return Err(Error::new(Code::Camera, format!("there is no camera {camera}"), "one of: door, yard"));
        }
        let task = request.question.task();
        if self.lacks.lock().unwrap().contains(&task) {
            return Err(Error::new(Code::Unsupported, format!("this bundle cannot {task}"), "take another bundle"));
        }
        Ok(match &request.question {
            Question::Label { labels } => {
                let share = 0.75 / labels.len() as f32;
                let label = |label: &String| sight::Label { label: label.clone(), score: share };
                Answer::Labels(sight::Labels { labels: labels.iter().map(label).collect(), none: 0.25 })
            }
            Question::Caption {} => {
                let caption = match &request.picture {
                    Some(picture) => describe(picture),
                    None => format!("the view of {}", request.camera.as_deref().unwrap_or(CAMERAS[0])),
                };
                Answer::Caption(sight::Caption {
                    caption,
                    score: 0.5,
                    log_probability: -0.5,
                    instead_of: None,
                    agreement: None,
                    samples: Vec::new(),
                })
            }
            Question::Ground { phrase, .. } => {
                let rect = [phrase.len() as f32, 2.0, 30.0, 40.0];
                Answer::Boxes(sight::Boxes { boxes: vec![sight::Found { rect, score: 0.5 }] })
            }
            Question::Ask { question } => {
                Answer::Words(sight::Answer { answer: format!("about {question}"), score: 0.25 })
            }
            Question::Check { sentence } => {
                let supported = sentence.len().is_multiple_of(2);
                let score = if supported { 0.75 } else { 0.125 };
                Answer::Support(sight::Support { supported, score, cosine: 0.0 })
            }
            Question::Find(find) => Answer::Events(FoundEvents { events: self.find(find)? }),
            Question::Snapshot {} => {
                let jpeg = self.jpeg.lock().unwrap().clone();
                Answer::Snapshot(Snapshot { width: 640, height: 480, bytes: jpeg.len(), jpeg })
            }
            Question::Status {} => Answer::Status(Box::new(self.status())),
        })
    }
}

/// What the desk says of a picture that came with a question.
pub fn describe(picture: &[u8]) -> String {
    format!("{} bytes, sum {:08x}", picture.len(), lookout::protocol::checksum(picture))
}

/// Bytes that look like no other picture's.
pub fn picture(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

impl Desk for ScriptedDesk {
    fn ask(&self, request: &Request, patience: Duration) -> Result<Reply> {
        self.reached.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + patience;
        let mut held = self.held.lock().unwrap();
        while *held {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(Code::Stopped, "no answer in time", "ask again"));
            }
            held = self.released.wait_timeout(held, left).unwrap().0;
        }
        drop(held);
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answer(request)?;
        Ok(Reply {
            task: request.question.task(),
            camera: Some(request.camera.clone().unwrap_or_else(|| CAMERAS[0].to_owned())),
            at_ms: Some(1_795_000_000_000),
            bundle: BUNDLE.to_owned(),
            answer,
            ms: 12.0,
        })
    }

    fn status(&self) -> Status {
        let stands = |trigger: &Trigger| TriggerStatus {
            name: trigger.name.clone(),
            enabled: trigger.enabled,
            scores: vec![CameraScore { camera: CAMERAS[0].to_owned(), score: 0.25 }],
            threshold: trigger.threshold,
            active: self.active.load(Ordering::Relaxed),
            events: 0,
        };
        let camera = |name: &&str| CameraStatus {
            name: (*name).to_owned(),
            source: "test".to_owned(),
            state: CameraState::Running,
            error: None,
            frames: 1,
            broken: 0,
            fps: 1.0,
            age_ms: Some(1),
            size: Some([640, 480]),
            reopened: 0,
        };
        Status {
            device: "testling".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bundle: BUNDLE.to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            armed: self.armed.load(Ordering::Relaxed),
            stalled: None,
            looks: 1,
            events: self.events.lock().unwrap().len() as u64,
            questions: self.asked.load(Ordering::Relaxed) as u64,
            refused: 0,
            look_ms: 12.34,
            celsius: Some(48.5),
            throttled: false,
            cameras: CAMERAS.iter().map(camera).collect(),
            triggers: self.triggers.lock().unwrap().iter().map(stands).collect(),
            links: Vec::new(),
            memory: MemoryStatus { writable: true, ..MemoryStatus::default() },
        }
    }

    fn triggers(&self) -> Vec<Trigger> {
        self.triggers.lock().unwrap().clone()
    }

    fn put_trigger(&self, trigger: Trigger) -> Result<()> {
        trigger.check()?;
        let mut triggers = self.triggers.lock().unwrap();
        triggers.retain(|old| old.name != trigger.name);
        triggers.push(trigger);
        Ok(())
    }

    fn remove_trigger(&self, name: &str) -> Result<()> {
        let mut triggers = self.triggers.lock().unwrap();
        let before = triggers.len();
        triggers.retain(|old| old.name != name);
        if triggers.len() == before {
            return Err(Error::new(Code::Usage, format!("there is no trigger {name}"), "see the list of triggers"));
        }
        Ok(())
    }

    fn arm(&self, armed: bool) {
        self.armed.store(armed, Ordering::Relaxed);
    }

    fn newest(&self, _: Option<&str>) -> Result<Arc<Frame>> {
        Err(Error::new(Code::Camera, "this desk has no frames", "ask for a snapshot"))
    }

    fn find(&self, find: &FindEvents) -> Result<Vec<FoundEvent>> {
        let matching = find.words.as_ref().map(|_| 0.5);
        let events = self.events.lock().unwrap();
        let fits = |event: &&Event| find.trigger.as_ref().is_none_or(|name| *name == event.trigger);
        let newest = events.iter().rev().filter(fits).take(find.top.unwrap_or(10));
        Ok(newest.map(|event| FoundEvent { matching, event: event.clone() }).collect())
    }

    fn snapshot(&self, event: EventId) -> Result<Option<Vec<u8>>> {
        let known = self.events.lock().unwrap().iter().any(|known| known.id == event);
        Ok(known.then(|| self.jpeg.lock().unwrap().to_vec()))
    }

    fn listen(&self) -> Receiver<Arc<Report>> {
        let (sender, receiver) = bounded(256);
        self.listeners.lock().unwrap().push(sender);
        receiver
    }
}
