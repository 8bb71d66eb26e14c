//! A desk in memory. What is to be seen is set by the test; scores and answers follow from it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use lookout::camera::{CameraState, CameraStatus, Frame};
use lookout::picture::Picture;
use lookout::sight::{Answer as Words, Boxes, Caption, Found, Label, Labels, Support};
use lookout::watch::{
    Answer, CameraScore, Desk, Edit, EditKind, Event, EventId, FindEvents, FoundEvent, FoundEvents, LinkStatus,
    MemoryStatus, Phase, Question, Reply, Report, Request, Snapshot, Status, Trigger, TriggerStatus,
};
use lookout::{Code, Error, Result};

const BUNDLE: &str = "lookout@2+b9f89f90a5cd";
/// Where the dog and the bicycle of the demo picture are.
const DOG: [f32; 4] = [125.0, 210.0, 190.0, 330.0];
const BICYCLE: [f32; 4] = [120.0, 130.0, 450.0, 290.0];

pub struct TestDesk {
    picture: Arc<Picture>,
    jpeg: Vec<u8>,
    started: Instant,
    inside: Mutex<Inside>,
    /// Questions wait while this is true.
    held: (Mutex<bool>, Condvar),
    waiting: AtomicU64,
    looks: AtomicU64,
}

struct Inside {
    /// The triggers of the configuration file.
    file: Vec<Trigger>,
    triggers: Vec<Trigger>,
    scores: Vec<(String, f32)>,
    events: Vec<Event>,
    listeners: Vec<Sender<Arc<Report>>>,
    armed: bool,
    stalled: Option<String>,
    garden: bool,
}

impl TestDesk {
    pub fn new() -> Arc<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo.jpg");
        let trigger = |json: &str| serde_json::from_str::<Trigger>(json).unwrap();
        let triggers = vec![
            trigger(r#"{"name": "dog", "when": "a dog on the porch", "unless": ["a toy"], "ground": "a dog"}"#),
            trigger(r#"{"name": "parcel", "when": "a parcel at the door", "threshold": 0.7, "hold": "1s"}"#),
            trigger(r#"{"name": "bell", "when": "a finger on the bell", "command": ["/usr/bin/ring", "once"]}"#),
        ];
        let scores = [("dog", 0.38), ("parcel", 0.12), ("bell", 0.04)].map(|(name, score)| (name.to_owned(), score));
        let inside = Inside {
            file: triggers.clone(),
            triggers,
            scores: scores.into(),
            events: Vec::new(),
            listeners: Vec::new(),
            armed: true,
            stalled: None,
            garden: false,
        };
        Arc::new(Self {
            picture: Arc::new(Picture::open(&path).unwrap()),
            jpeg: std::fs::read(&path).unwrap(),
            started: Instant::now(),
            inside: Mutex::new(inside),
            held: (Mutex::new(false), Condvar::new()),
            waiting: AtomicU64::new(0),
            looks: AtomicU64::new(0),
        })
    }

    /// What the trigger scores from now on.
    pub fn score(&self, trigger: &str, score: f32) {
        let mut inside = self.inside();
        inside.scores.retain(|(name, _)| name != trigger);
        inside.scores.push((trigger.to_owned(), score));
    }

    /// Begins an event of this trigger, `ago` before now.
    pub fn begin(&self, trigger: &str, caption: &str, ago: Duration) -> EventId {
        let now = unix_ms() - ago.as_millis() as u64;
        let mut inside = self.inside();
        let last = inside.events.last().map_or(EventId(0), |event| event.id);
        let score = inside.scores.iter().find(|(name, _)| name == trigger).map_or(0.8, |(_, score)| *score);
        let event = Event {
            id: EventId::next(last, now),
            sequence: 0,
            phase: Phase::Begin,
            trigger: trigger.to_owned(),
            camera: "porch".to_owned(),
            began_ms: now,
            at_ms: now,
            score,
            peak: score,
            caption: Some(caption.to_owned()),
            boxes: if caption.contains("dog") { vec![Found { rect: DOG, score: 0.58 }] } else { Vec::new() },
            size: [self.picture.width(), self.picture.height()],
            snapshot: true,
            bundle: BUNDLE.to_owned(),
        };
        inside.events.push(event.clone());
        inside.tell(event.clone());
        event.id
    }

    /// Ends it `after` it began.
    pub fn end(&self, id: EventId, after: Duration) {
        let mut inside = self.inside();
        let event = inside.events.iter_mut().find(|event| event.id == id).unwrap();
        event.sequence += 1;
        event.phase = Phase::End;
        event.at_ms = event.began_ms + after.as_millis() as u64;
        let event = event.clone();
        inside.tell(event);
    }

    /// Lets questions wait, or answers those that do.
    pub fn hold(&self, held: bool) {
        *self.held.0.lock().unwrap() = held;
        self.held.1.notify_all();
    }

    /// Questions that wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    pub fn stall(&self, reason: Option<&str>) {
        self.inside().stalled = reason.map(str::to_owned);
    }

    /// Adds a second camera, which fails.
    pub fn add_garden(&self) {
        self.inside().garden = true;
    }

    pub fn armed(&self) -> bool {
        self.inside().armed
    }

    pub fn trigger(&self, name: &str) -> Option<Trigger> {
        self.inside().triggers.iter().find(|known| known.name == name).cloned()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    fn answer(&self, request: &Request) -> Result<Answer> {
        let seen = "a black and white dog sits next to a red bicycle";
        Ok(match &request.question {
            Question::Label { labels } => {
                let share = 0.9 / labels.len() as f32;
                let score = |label: &String| share * (0.1 + 0.9 * fit(label, seen));
                let mut labels: Vec<Label> =
                    labels.iter().map(|label| Label { label: label.clone(), score: score(label) }).collect();
                labels.sort_by(|a, b| b.score.total_cmp(&a.score));
                let none = 1.0 - labels.iter().map(|label| label.score).sum::<f32>();
                Answer::Labels(Labels { labels, none })
            }
            Question::Caption {} => Answer::Caption(Caption {
                caption: seen.to_owned(),
                score: 0.92,
                log_probability: -0.4,
                instead_of: None,
                agreement: None,
                samples: Vec::new(),
            }),
            Question::Ground { phrase, top, .. } => {
                let known = [("dog", DOG), ("bicycle", BICYCLE)];
                let named = known.iter().filter(|(name, _)| phrase.contains(name));
                let boxes = named.map(|(_, rect)| Found { rect: *rect, score: 0.58 }).take(*top).collect();
                Answer::Boxes(Boxes { boxes })
            }
            Question::Ask { question } => {
                let answer = if question.contains("colour") { "red" } else { "2" };
                Answer::Words(Words { answer: answer.to_owned(), score: 0.85 })
            }
            Question::Check { sentence } => {
                let score = fit(sentence, seen);
                Answer::Support(Support { supported: score >= 0.5, score, cosine: score })
            }
            Question::Find(find) => Answer::Events(FoundEvents { events: self.find(find)? }),
            Question::Snapshot {} => Answer::Snapshot(Snapshot {
                width: self.picture.width(),
                height: self.picture.height(),
                bytes: self.jpeg.len(),
                jpeg: self.jpeg.clone().into(),
            }),
            Question::Status {} => Answer::Status(Box::new(self.status())),
        })
    }
}

impl Inside {
    fn tell(&mut self, event: Event) {
        let report = Arc::new(Report { event, jpeg: None, embedding: None, to_mqtt: true, to_serial: true });
        self.listeners.retain(|listener| match listener.try_send(report.clone()) {
            Ok(()) => true,
            Err(error) => !error.is_disconnected(),
        });
    }
}

impl Desk for TestDesk {
    fn ask(&self, request: &Request, patience: Duration) -> Result<Reply> {
        self.waiting.fetch_add(1, Relaxed);
        let held = self.held.0.lock().unwrap();
        let (held, waited) = self.held.1.wait_timeout_while(held, patience, |held| *held).unwrap();
        drop(held);
        self.waiting.fetch_sub(1, Relaxed);
        if waited.timed_out() {
            return Err(Error::new(Code::Stopped, "no answer in time", "ask again"));
        }
        let frame = self.newest(request.camera.as_deref())?;
        let (camera, at_ms) = (Some(frame.camera.to_string()), Some(frame.unix_ms));
        let answer = self.answer(request)?;
        Ok(Reply { task: request.question.task(), camera, at_ms, bundle: BUNDLE.to_owned(), answer, ms: 6.9 })
    }

    fn status(&self) -> Status {
        let inside = self.inside();
        let uptime = self.started.elapsed();
        let porch = CameraStatus {
            name: "porch".to_owned(),
            source: "v4l2:///dev/video0".to_owned(),
            state: CameraState::Running,
            error: None,
            frames: (uptime.as_secs_f32() * 5.0) as u64,
            broken: 0,
            fps: 5.0,
            age_ms: Some(120),
            size: Some([self.picture.width(), self.picture.height()]),
            reopened: 0,
        };
        let garden = CameraStatus {
            name: "garden".to_owned(),
            source: "http://10.0.0.9/mjpeg".to_owned(),
            state: CameraState::Failing,
            error: Some("10.0.0.9 refuses the connection".to_owned()),
            frames: 0,
            fps: 0.0,
            age_ms: None,
            size: None,
            reopened: 3,
            ..porch.clone()
        };
        let triggers = inside.triggers.iter().map(|trigger| {
            let score = inside.scores.iter().find(|(name, _)| *name == trigger.name).map_or(0.05, |(_, score)| *score);
            let of = |event: &&Event| event.trigger == trigger.name;
            TriggerStatus {
                name: trigger.name.clone(),
                enabled: trigger.enabled,
                scores: vec![CameraScore { camera: "porch".to_owned(), score }],
                threshold: trigger.threshold,
                active: inside.events.iter().filter(of).any(|event| event.phase != Phase::End),
                events: inside.events.iter().filter(of).count() as u64,
            }
        });
        let link = |name: &str, note: &str| LinkStatus {
            name: name.to_owned(),
            up: true,
            note: Some(note.to_owned()),
            sent: 12,
            received: 3,
        };
        let events = inside.events.len() as u64;
        Status {
            device: "porch-pi".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bundle: BUNDLE.to_owned(),
            uptime_s: uptime.as_secs(),
            armed: inside.armed,
            stalled: inside.stalled.clone(),
            looks: self.looks.load(Relaxed),
            events,
            questions: 3,
            refused: 0,
            look_ms: 7.4,
            celsius: Some(51.5),
            throttled: false,
            cameras: if inside.garden { vec![porch, garden] } else { vec![porch] },
            triggers: triggers.collect(),
            links: vec![link("mqtt", "mqtts://broker.local"), link("web", "this page")],
            memory: MemoryStatus { writable: true, note: None, events, bytes: 48_211_000, outbox: 0 },
        }
    }

    fn triggers(&self) -> Vec<Trigger> {
        self.inside().triggers.clone()
    }

    fn put_trigger(&self, trigger: Trigger) -> Result<()> {
        trigger.check()?;
        if let Some(zone) = trigger.zone.as_ref().filter(|zone| *zone != "steps") {
            let message = format!("trigger {}: there is no zone {zone:?}", trigger.name);
            return Err(Error::new(Code::Config, message, "the cameras have: steps"));
        }
        let mut inside = self.inside();
        match inside.triggers.iter_mut().find(|known| known.name == trigger.name) {
            Some(known) => *known = trigger,
            None => inside.triggers.push(trigger),
        }
        Ok(())
    }

    fn remove_trigger(&self, name: &str) -> Result<()> {
        self.inside().triggers.retain(|known| known.name != name);
        Ok(())
    }

    fn edits(&self) -> Vec<Edit> {
        let inside = self.inside();
        let find = |list: &[Trigger], name: &str| list.iter().find(|trigger| trigger.name == name).cloned();
        let names: BTreeSet<&str> = inside.file.iter().chain(&inside.triggers).map(|trigger| &*trigger.name).collect();
        let edit = |name: &&str| match (find(&inside.file, name), find(&inside.triggers, name)) {
            (Some(_), None) => Some(EditKind::Removed),
            (None, Some(_)) => Some(EditKind::Added),
            (before, now) => (before != now).then_some(EditKind::Changed),
        };
        names.iter().filter_map(|name| Some(Edit { name: (*name).to_owned(), edit: edit(name)? })).collect()
    }

    fn forget_edit(&self, name: &str) -> Result<()> {
        let mut inside = self.inside();
        let before = inside.file.iter().find(|trigger| trigger.name == name).cloned();
        inside.triggers.retain(|known| known.name != name);
        inside.triggers.extend(before);
        Ok(())
    }

    fn arm(&self, armed: bool) {
        self.inside().armed = armed;
    }

    fn newest(&self, camera: Option<&str>) -> Result<Arc<Frame>> {
        if let Some(name) = camera.filter(|name| *name != "porch") {
            let message = format!("camera {name} gives no frames: 10.0.0.9 refuses the connection");
            return Err(Error::new(Code::Camera, message, "is it on, and is its address right?"));
        }
        let sequence = 1 + (self.started.elapsed().as_secs_f32() * 5.0) as u64;
        self.looks.fetch_max(sequence, Relaxed);
        Ok(Arc::new(Frame::of("porch", sequence, self.picture.clone())))
    }

    fn find(&self, find: &FindEvents) -> Result<Vec<FoundEvent>> {
        let inside = self.inside();
        let like = find.like.and_then(|id| inside.events.iter().find(|event| event.id == id));
        let since = match &find.since {
            None => 0,
            Some(since) => {
                let ago = humantime::parse_duration(since).map_err(|_| {
                    Error::new(Code::Usage, format!("{since:?} is not a length of time"), "write 90s, 2h or 3d")
                })?;
                unix_ms() - ago.as_millis() as u64
            }
        };
        let caption = |event: &Event| event.caption.clone().unwrap_or_default();
        let mut found: Vec<FoundEvent> = inside
            .events
            .iter()
            .rev()
            .filter(|event| find.trigger.as_ref().is_none_or(|name| event.trigger == *name))
            .filter(|event| find.camera.as_ref().is_none_or(|name| event.camera == *name))
            .filter(|event| find.before.is_none_or(|before| event.id < before) && event.began_ms >= since)
            .map(|event| {
                let words = find.words.as_ref().map(|words| fit(words, &caption(event)));
                let like = like.map(|like| fit(&caption(like), &caption(event)));
                FoundEvent { matching: words.or(like), event: event.clone() }
            })
            .filter(|found| found.matching.is_none_or(|fits| fits > 0.3))
            .collect();
        found.sort_by(|a, b| b.matching.unwrap_or(0.0).total_cmp(&a.matching.unwrap_or(0.0)));
        found.truncate(find.top.unwrap_or(10));
        Ok(found)
    }

    fn snapshot(&self, event: EventId) -> Result<Option<Vec<u8>>> {
        let known = self.inside().events.iter().any(|known| known.id == event && known.snapshot);
        Ok(known.then(|| self.jpeg.clone()))
    }

    fn listen(&self) -> Receiver<Arc<Report>> {
        let (sender, receiver) = bounded(256);
        self.inside().listeners.push(sender);
        receiver
    }
}

/// The share of the words, articles left out, that occur in the sentence.
fn fit(words: &str, sentence: &str) -> f32 {
    let words: Vec<&str> = words.split_whitespace().filter(|word| !["a", "an", "the"].contains(word)).collect();
    let there = words.iter().filter(|word| sentence.split_whitespace().any(|other| other == **word)).count();
    there as f32 / words.len().max(1) as f32
}

fn unix_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}
