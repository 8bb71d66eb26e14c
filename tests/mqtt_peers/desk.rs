//! A desk without a model: its answers are computed from the questions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use lookout::camera::{CameraState, CameraStatus, Frame};
use lookout::sight::{Label, Labels, Support};
use lookout::watch::*;
use lookout::{Code, Error, Result};

pub struct ScriptedDesk {
    state: Mutex<State>,
    opened: Condvar,
    pub asked: AtomicU64,
    listeners: Mutex<Vec<Sender<Arc<Report>>>>,
}

struct State {
    armed: bool,
    active: bool,
    triggers: Vec<Trigger>,
    /// While it is closed no question is answered.
    closed: bool,
}

/// What stands for a picture: not a JPEG file, but bytes that are recognised.
pub const JPEG: &[u8] = b"\xff\xd8 a picture \xff\xd9";

impl ScriptedDesk {
    pub fn new(triggers: &[(&str, &str)]) -> Arc<Self> {
        let triggers = triggers.iter().map(|(name, when)| trigger(name, when)).collect();
        let state = State { armed: true, active: false, triggers, closed: false };
        Arc::new(Self {
            state: Mutex::new(state),
            opened: Condvar::new(),
            asked: AtomicU64::new(0),
            listeners: Mutex::default(),
        })
    }

    pub fn armed(&self) -> bool {
        self.state.lock().unwrap().armed
    }

    pub fn set_active(&self, active: bool) {
        self.state.lock().unwrap().active = active;
    }

    /// Questions wait from now on.
    pub fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }

    pub fn open(&self) {
        self.state.lock().unwrap().closed = false;
        self.opened.notify_all();
    }

    pub fn report(&self, event: Event, jpeg: Option<&[u8]>) {
        let report = Report { event, jpeg: jpeg.map(Arc::from), embedding: None, to_mqtt: true, to_serial: false };
        let report = Arc::new(report);
        self.listeners.lock().unwrap().retain(|listener| listener.send(report.clone()).is_ok());
    }
}

impl Desk for ScriptedDesk {
    fn ask(&self, request: &Request, patience: Duration) -> Result<Reply> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap();
        let end = Instant::now() + patience;
        while state.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(Code::Stopped, "patience is over", "ask again"));
            }
            state = self.opened.wait_timeout(state, left).unwrap().0;
        }
        drop(state);
        let answer = match &request.question {
            Question::Label { labels } => Answer::Labels(Labels {
                labels: labels
                    .iter()
                    .map(|label| Label { label: label.clone(), score: 1.0 / (labels.len() as f32 + 1.0) })
                    .collect(),
                none: 1.0 / (labels.len() as f32 + 1.0),
            }),
            Question::Check { sentence } => {
                let score = if sentence.contains("dog") { 0.9 } else { 0.1 };
                Answer::Support(Support { supported: score > 0.5, score, cosine: score / 3.0 })
            }
            Question::Snapshot {} => {
                Answer::Snapshot(Snapshot { width: 4, height: 3, bytes: JPEG.len(), jpeg: JPEG.into() })
            }
            Question::Status {} => Answer::Status(Box::new(self.status())),
            other => {
                let message = format!("this bundle cannot {}", other.task());
                return Err(Error::new(Code::Unsupported, message, "take another bundle"));
            }
        };
        let camera = Some(request.camera.clone().unwrap_or_else(|| "porch".to_owned()));
        let task = request.question.task();
        Ok(Reply { task, camera, at_ms: Some(1), bundle: "default 2".to_owned(), answer, ms: 0.5 })
    }

    fn status(&self) -> Status {
        let state = self.state.lock().unwrap();
        Status {
            device: "porch".to_owned(),
            version: "0.1.0".to_owned(),
            bundle: "default 2".to_owned(),
            uptime_s: 1,
            armed: state.armed,
            stalled: None,
            looks: 1,
            events: 0,
            questions: 0,
            refused: 0,
            look_ms: 12.34,
            celsius: Some(41.5),
            throttled: false,
            cameras: vec![CameraStatus {
                name: "porch".to_owned(),
                source: "file:///a.jpg".to_owned(),
                state: CameraState::Running,
                error: None,
                frames: 1,
                broken: 0,
                fps: 1.0,
                age_ms: Some(1),
                size: Some([640, 480]),
                reopened: 0,
            }],
            triggers: state
                .triggers
                .iter()
                .map(|trigger| TriggerStatus {
                    name: trigger.name.clone(),
                    enabled: trigger.enabled,
                    scores: vec![CameraScore { camera: "porch".to_owned(), score: 0.25 }],
                    threshold: trigger.threshold,
                    active: state.active,
                    events: 0,
                })
                .collect(),
            links: Vec::new(),
            memory: MemoryStatus::default(),
        }
    }

    fn triggers(&self) -> Vec<Trigger> {
        self.state.lock().unwrap().triggers.clone()
    }

    fn put_trigger(&self, trigger: Trigger) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        state.triggers.retain(|known| known.name != trigger.name);
        state.triggers.push(trigger);
        Ok(())
    }

    fn remove_trigger(&self, name: &str) -> Result<()> {
        self.state.lock().unwrap().triggers.retain(|known| known.name != name);
        Ok(())
    }

    fn arm(&self, armed: bool) {
        self.state.lock().unwrap().armed = armed;
    }

    fn newest(&self, _: Option<&str>) -> Result<Arc<Frame>> {
        Err(Error::new(Code::Camera, "there is no frame", "wait"))
    }

    fn find(&self, _: &FindEvents) -> Result<Vec<FoundEvent>> {
        Ok(Vec::new())
    }

    fn snapshot(&self, _: EventId) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn listen(&self) -> Receiver<Arc<Report>> {
        let (tell, listen) = bounded(256);
        self.listeners.lock().unwrap().push(tell);
        listen
    }
}

pub fn trigger(name: &str, when: &str) -> Trigger {
    toml::from_str(&format!("name = {name:?}\nwhen = {when:?}")).unwrap()
}
