//! What is told about the device as a whole: one JSON object, kept by the broker.

use serde_json::{Map, Value, json};

use crate::watch::{Event, Phase, Status, Trigger};

/// Longest state of an entity in Home Assistant, in characters.
pub(super) const MAX_STATE: usize = 255;

/// The main values of a device's status.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    /// What is told as soon as it changes.
    steady: Value,
    /// What always moves, and is told now and then.
    drifting: Value,
}

impl State {
    /// `last` is the newest event.
    pub fn new(status: &Status, triggers: &[Trigger], last: Option<&Event>) -> Self {
        let (mut steady_triggers, mut scores) = (Map::new(), Map::new());
        let mut top: Option<(&str, f32)> = None;
        for trigger in &status.triggers {
            let when = triggers.iter().find(|known| known.name == trigger.name).and_then(|known| known.when.as_deref());
            steady_triggers.insert(
                trigger.name.clone(),
                json!({"active": on(trigger.active), "enabled": on(trigger.enabled), "when": when}),
            );
            if let Some(score) = trigger.scores.iter().map(|score| score.score).reduce(f32::max) {
                scores.insert(trigger.name.clone(), rounded(score));
                if top.is_none_or(|(_, best)| score > best) {
                    top = Some((&trigger.name, score));
                }
            }
        }
        let cameras: Map<_, _> =
            status.cameras.iter().map(|camera| (camera.name.clone(), json!(camera.state))).collect();
        let last = last.map(|event| {
            json!({
                "id": event.id, "trigger": event.trigger, "camera": event.camera, "phase": event.phase,
                "began_ms": event.began_ms, "peak": rounded(event.peak), "caption": event.caption,
            })
        });
        let steady = json!({
            "armed": on(status.armed), "triggers": steady_triggers, "cameras": cameras, "last": last,
            "throttled": status.throttled, "bundle": status.bundle, "version": status.version,
        });
        let drifting = json!({
            "scores": scores, "top": top.map(|(name, score)| json!({"trigger": name, "score": rounded(score)})),
            "look_ms": (status.look_ms * 10.0).round() / 10.0,
            "celsius": status.celsius.map(|celsius| (f64::from(celsius) * 10.0).round() / 10.0),
            "looks": status.looks, "events": status.events, "questions": status.questions,
            "uptime_s": status.uptime_s, "outbox": status.memory.outbox,
        });
        Self { steady, drifting }
    }

    /// Whether something changed that is worth telling at once.
    pub fn differs(&self, told: &Self) -> bool {
        self.steady != told.steady
    }

    pub fn to_json(&self) -> Vec<u8> {
        let mut all = self.steady.as_object().cloned().unwrap_or_default();
        all.extend(self.drifting.as_object().cloned().unwrap_or_default());
        Value::Object(all).to_string().into_bytes()
    }
}

/// Keeps the newest event. Returns whether `event` is now it.
pub(super) fn keep_newest(last: &mut Option<Event>, event: &Event) -> bool {
    let newer = last.as_ref().is_none_or(|last| (event.id, event.sequence) > (last.id, last.sequence));
    if newer {
        let mut event = event.clone();
        if event.caption.is_none() && event.phase != Phase::Begin {
            let before = last.take().filter(|last| last.id == event.id);
            event.caption = before.and_then(|last| last.caption);
        }
        *last = Some(event);
    }
    newer
}

fn on(yes: bool) -> &'static str {
    if yes { "ON" } else { "OFF" }
}

/// Three digits after the point.
fn rounded(score: f32) -> Value {
    json!((f64::from(score) * 1000.0).round() / 1000.0)
}
