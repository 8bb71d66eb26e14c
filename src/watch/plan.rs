//! Triggers made ready to be scored: words embedded, pictures looked at, gauges for every camera.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::picture::Picture;
use crate::sight::{Looker, Scorer, cosine};
use crate::{Code, Error, Result};

use super::event::Event;
use super::gauge::Gauge;
use super::trigger::Trigger;

/// All triggers, in the order of the configuration.
pub(super) struct Plan {
    pub armed: Vec<Armed>,
    scorer: Option<Scorer>,
}

/// One trigger and where it stands on each camera.
pub(super) struct Armed {
    pub trigger: Trigger,
    condition: Condition,
    /// By the camera's name.
    pub stands: BTreeMap<Arc<str>, Stand>,
    /// Events that it began.
    pub events: u64,
}

/// Where a trigger stands on one camera.
#[derive(Default)]
pub(super) struct Stand {
    pub gauge: Gauge,
    /// The newest score; nothing before the first look.
    pub score: Option<f32>,
    /// The last message about the event under way.
    pub event: Option<Event>,
}

enum Condition {
    /// Place among the scorer's conditions.
    Words(usize),
    /// Embedding of the example picture.
    Like(Vec<f32>),
}

impl Plan {
    /// No triggers.
    pub fn empty() -> Self {
        Self { armed: Vec::new(), scorer: None }
    }

    /// Embeds every trigger's words once. Errors name the trigger.
    pub fn new(looker: &Looker, triggers: Vec<Trigger>) -> Result<Self> {
        let mut conditions: Vec<Vec<String>> = Vec::new();
        let mut armed = Vec::with_capacity(triggers.len());
        for trigger in triggers {
            trigger.check()?;
            let condition = match (&trigger.when, &trigger.like) {
                (Some(when), _) => {
                    let words = [when].into_iter().chain(&trigger.unless).cloned().collect();
                    conditions.push(words);
                    Condition::Words(conditions.len() - 1)
                }
                (None, Some(path)) => {
                    let named = |error: Error| {
                        Error::new(Code::Config, format!("trigger {}: {error}", trigger.name), error.help())
                    };
                    let picture = Picture::open(path).map_err(named)?;
                    Condition::Like(looker.look(&picture)?.embedding)
                }
                (None, None) => unreachable!("checked above"),
            };
            armed.push(Armed { trigger, condition, stands: BTreeMap::new(), events: 0 });
        }
        let scorer = if conditions.is_empty() { None } else { Some(looker.scorer(&conditions)?) };
        Ok(Self { armed, scorer })
    }

    /// Whether the trigger of this name is there and watches the camera.
    pub fn watches(&self, trigger: &str, camera: &str) -> bool {
        self.armed.iter().any(|armed| armed.trigger.name == trigger && armed.watches(camera))
    }

    /// A trigger that keeps its name keeps where it stands on the cameras that it still watches.
    pub fn take_over(&mut self, old: Plan) {
        let mut old: BTreeMap<String, Armed> =
            old.armed.into_iter().map(|armed| (armed.trigger.name.clone(), armed)).collect();
        for armed in &mut self.armed {
            if let Some(before) = old.remove(&armed.trigger.name) {
                armed.events = before.events;
                let (trigger, mut stands) = (&armed.trigger, before.stands);
                stands.retain(|camera, _| watches(trigger, camera));
                armed.stands = stands;
            }
        }
    }

    /// The scores of all triggers for a picture with this embedding, in their order.
    pub fn scores(&self, embedding: &[f32]) -> Vec<f32> {
        let words = self.scorer.as_ref().map(|scorer| scorer.scores(embedding)).unwrap_or_default();
        let score = |armed: &Armed| match &armed.condition {
            Condition::Words(place) => words[*place],
            Condition::Like(example) => cosine(embedding, example).clamp(0.0, 1.0),
        };
        self.armed.iter().map(score).collect()
    }
}

impl Armed {
    /// Whether the trigger watches this camera.
    pub fn watches(&self, camera: &str) -> bool {
        watches(&self.trigger, camera)
    }
}

fn watches(trigger: &Trigger, camera: &str) -> bool {
    trigger.cameras.is_empty() || trigger.cameras.iter().any(|name| name == camera)
}
