//! The looking thread: frames to scores, scores to events, and questions in between.
//!
//! There is one, since the networks use all the threads that they may by themselves. Questions and frames take turns, so
//! that neither waits for more than one of the other. For every camera only the newest frame counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select};

use crate::camera::{Camera, Frame};
use crate::engine::Stop;
use crate::picture::Picture;
use crate::sight::{Looker, View};
use crate::{Code, Error, Result};

use super::event::{Event, EventId, Phase, Report};
use super::gate::{Area, Gate, Motion};
use super::gauge::Step;
use super::plan::{Armed, Plan};
use super::pulse::Pulse;
use super::reply;
use super::running::{Order, Query, gone};
use super::status::{CameraScore, TriggerStatus};
use super::trigger::Trigger;

/// How long a caption or boxes may hold up the message of an event.
const MOST_SPEAKING: Duration = Duration::from_secs(2);

/// How many reports may wait for the keeper of the memory with their pictures; of what comes then the event alone waits,
/// which takes little memory, so that a slow disk costs pictures before it costs events.
const PICTURES_WAITING: usize = 256;

/// How many reports may wait at all. A disk that takes none for hours has failed.
const REPORTS_WAITING: usize = 65_536;

/// How often time is looked at while something is pending, and while nothing is.
const TICK: Duration = Duration::from_millis(100);
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Quality of the JPEG files of snapshots, where the camera's own cannot be kept.
const JPEG_QUALITY: u8 = 85;

/// A camera with what the watch does about it.
pub struct Eye {
    /// The camera.
    pub camera: Arc<Camera>,
    /// Frames a second that are looked at, at most.
    pub fps: f32,
    /// When its picture counts as moving.
    pub motion: Motion,
    /// Parts whose motion does not count.
    pub masks: Vec<Area>,
    /// Named parts that triggers look at.
    pub zones: BTreeMap<String, Area>,
}

/// What the watcher keeps of a camera.
struct Seen {
    eye: Eye,
    name: Arc<str>,
    gate: Gate,
    /// The frame that was judged last.
    sequence: u64,
    /// No frame is looked at before.
    due: Instant,
    /// The newest view of the whole picture, and its frame.
    whole: Option<(Arc<Frame>, View)>,
    /// The views of zones, of the same frame.
    zones: BTreeMap<String, View>,
}

pub(super) struct Watcher {
    looker: Arc<Looker>,
    seen: Vec<Seen>,
    plan: Plan,
    pulse: Arc<Pulse>,
    reports: Sender<Report>,
    last_id: EventId,
    /// Goes off when the watch is to end.
    ending: Stop,
    /// Whether a score or a trigger's state changed since it was published.
    changed: bool,
}

impl Watcher {
    pub fn new(
        looker: Arc<Looker>,
        eyes: Vec<Eye>,
        triggers: Vec<Trigger>,
        pulse: Arc<Pulse>,
        reports: Sender<Report>,
        last_id: EventId,
        ending: Stop,
    ) -> Result<Self> {
        let plan = Plan::new(&looker, triggers)?;
        let seen = eyes.into_iter().map(Seen::new).collect();
        let watcher = Self { looker, seen, plan, pulse, reports, last_id, ending, changed: false };
        watcher.publish();
        Ok(watcher)
    }

    /// Works until it is told to stop, or until nobody can tell it anything any more.
    pub fn run(self, orders: &Receiver<Order>, queries: &Receiver<Query>, bell: &Receiver<()>) {
        self.ending.clone().during(|| self.work(orders, queries, bell));
    }

    fn work(mut self, orders: &Receiver<Order>, queries: &Receiver<Query>, bell: &Receiver<()>) {
        loop {
            self.pulse.beat();
            // One question, then the frames, then the next question.
            match queries.try_recv() {
                Ok(query) => self.answer(query),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    let timeout = if self.is_pending() { TICK } else { IDLE_TICK };
                    select! {
                        recv(orders) -> order => match order {
                            Ok(Order::Stop) | Err(_) => return self.end(),
                            Ok(order) => self.obey(order),
                        },
                        recv(queries) -> query => if let Ok(query) = query { self.answer(query) },
                        recv(bell) -> _ => {}
                        default(timeout) => {}
                    }
                }
            }
            while let Ok(order) = orders.try_recv() {
                match order {
                    Order::Stop => return self.end(),
                    order => self.obey(order),
                }
            }
            for at in 0..self.seen.len() {
                self.attend(at);
            }
            if std::mem::take(&mut self.changed) {
                self.publish();
            }
        }
    }

    /// Looks at the newest frame of a camera if it is worth it, and lets the triggers decide.
    fn attend(&mut self, at: usize) {
        let now = Instant::now();
        if let Some(frame) = self.fresh(at, now)
            && let Err(error) = self.look(at, &frame, now)
            && !self.ending.is_due()
        {
            self.seen[at].eye.camera.report(&frame, &error);
        }
        self.decide(at, Instant::now());
    }

    /// The newest frame, if it was not judged yet and the camera is due.
    fn fresh(&mut self, at: usize, now: Instant) -> Option<Arc<Frame>> {
        let seen = &mut self.seen[at];
        let frame = seen.eye.camera.newest().filter(|frame| frame.sequence != seen.sequence && now >= seen.due)?;
        seen.sequence = frame.sequence;
        let interval = Duration::from_secs_f32(1.0 / seen.eye.fps.max(0.01)) * self.pulse.slowdown();
        // From the moment it was due, so that the rate does not sink with every delay; half an interval early is fine.
        seen.due = (seen.due + interval).max(now + interval / 2);
        Some(frame)
    }

    fn look(&mut self, at: usize, frame: &Arc<Frame>, now: Instant) -> Result<()> {
        let picture = frame.picture()?;
        let attentive = self.plan.armed.iter().any(|armed| {
            armed
                .stands
                .get(&self.seen[at].name)
                .is_some_and(|stand| stand.gauge.is_active() || !stand.gauge.is_settled())
        });
        let seen = &mut self.seen[at];
        let verdict = seen.gate.judge(&picture, now, attentive);
        self.pulse.judged(&seen.name, verdict.changed);
        let wanted: Vec<Option<String>> = zones_wanted(&self.plan.armed, seen);
        if !verdict.look || wanted.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        let whole =
            if wanted.contains(&None) || seen.eye.zones.is_empty() { Some(self.looker.look(&picture)?) } else { None };
        let mut zones = BTreeMap::new();
        for zone in wanted.into_iter().flatten() {
            let part = crop(&picture, seen.eye.zones[&zone]);
            zones.insert(zone, self.looker.look(&part)?);
        }
        let scores_of = |view: &View| self.plan.scores(&view.embedding);
        let whole_scores = whole.as_ref().map(scores_of);
        let zone_scores: BTreeMap<&String, Vec<f32>> =
            zones.iter().map(|(name, view)| (name, scores_of(view))).collect();
        for (place, armed) in self.plan.armed.iter_mut().enumerate() {
            if !armed.watches(&seen.name) {
                continue;
            }
            let scores = match &armed.trigger.zone {
                None => whole_scores.as_ref(),
                Some(zone) => zone_scores.get(zone),
            };
            armed.stands.entry(seen.name.clone()).or_default().score = scores.map(|scores| scores[place]);
        }
        drop(zone_scores);
        self.changed = true;
        seen.zones = zones;
        if let Some(view) = whole {
            seen.whole = Some((frame.clone(), view));
        }
        self.pulse.looked(begin.elapsed());
        Ok(())
    }

    /// Steps every gauge of a camera, and tells what comes of it.
    fn decide(&mut self, at: usize, now: Instant) {
        let armed_now = self.pulse.is_armed();
        let mut minute = None;
        for place in 0..self.plan.armed.len() {
            let Armed { trigger, stands, .. } = &mut self.plan.armed[place];
            let Some(stand) = stands.get_mut(&self.seen[at].name) else { continue };
            let Some(score) = stand.score else { continue };
            let in_hours = trigger.hours.is_none_or(|hours| hours.contains(*minute.get_or_insert_with(minute_of_day)));
            let step = if (!armed_now || !trigger.enabled) && stand.gauge.is_active() {
                stand.gauge.release(trigger, now)
            } else {
                stand.gauge.step(trigger, score, now, armed_now && trigger.enabled && in_hours)
            };
            if step != Step::Stay {
                self.changed = true;
                self.tell(at, place, step);
            }
        }
    }

    /// Makes the message of a step and lets it out.
    fn tell(&mut self, at: usize, place: usize, step: Step) {
        let name = self.seen[at].name.clone();
        let mut report = match step {
            Step::Begin => self.begin(at, place),
            Step::Update | Step::End => {
                let armed = &mut self.plan.armed[place];
                let Some(stand) = armed.stands.get_mut(&name) else { return };
                let Some(event) = &mut stand.event else { return };
                event.sequence += 1;
                event.phase = if step == Step::End { Phase::End } else { Phase::Update };
                event.at_ms = unix_ms().max(event.at_ms);
                event.score = stand.score.unwrap_or_default();
                event.peak = event.peak.max(event.score);
                let report = without_picture(event.clone(), &armed.trigger);
                if step == Step::End {
                    stand.event = None;
                }
                report
            }
            Step::Stay => return,
        };
        let event = &report.event;
        log::info!(
            "event {} {:?}: {} on {}, score {:.2}",
            event.id,
            event.phase,
            event.trigger,
            event.camera,
            event.score
        );
        self.pulse.told(event.phase);
        let (id, waiting) = (report.event.id, self.reports.len());
        if waiting >= PICTURES_WAITING {
            (report.jpeg, report.embedding) = (None, None);
            log::warn!("event {id} is kept without its picture: {waiting} reports wait for the memory");
        }
        if waiting >= REPORTS_WAITING || self.reports.send(report).is_err() {
            log::error!("event {id} is lost: the memory has taken none for too long");
        }
    }

    fn begin(&mut self, at: usize, place: usize) -> Report {
        let seen = &self.seen[at];
        let armed = &self.plan.armed[place];
        let trigger = &armed.trigger;
        let frame = seen.eye.camera.newest();
        let (frame, view) = match (&trigger.zone, &seen.whole) {
            (Some(zone), whole) => {
                (frame.or_else(|| whole.as_ref().map(|(frame, _)| frame.clone())), seen.zones.get(zone))
            }
            (None, Some((frame, view))) => (Some(frame.clone()), Some(view)),
            (None, None) => (frame, None),
        };
        let size = frame.as_ref().and_then(|frame| frame.picture().ok()).map_or([0, 0], |p| [p.width(), p.height()]);
        let offset = trigger
            .zone
            .as_ref()
            .and_then(|zone| seen.eye.zones.get(zone))
            .map_or([0.0; 2], |area| [area[0] * size[0] as f32, area[1] * size[1] as f32]);
        let stop = self.ending.or_after(MOST_SPEAKING);
        let caption = view.filter(|_| trigger.caption).and_then(|view| self.spoken(&stop, view));
        let boxes = match (view, &trigger.ground) {
            (Some(view), Some(phrase)) => self.grounded(&stop, view, phrase, offset),
            _ => Vec::new(),
        };
        let jpeg = frame.as_ref().filter(|_| trigger.snapshot).and_then(|frame| match jpeg(frame) {
            Ok(jpeg) => Some(jpeg),
            Err(error) => {
                log::warn!("trigger {}: no snapshot: {error}", trigger.name);
                None
            }
        });
        let now = unix_ms();
        let id = EventId::next(self.last_id, now);
        self.last_id = id;
        let score = armed.stands.get(&seen.name).and_then(|stand| stand.score).unwrap_or_default();
        let event = Event {
            id,
            sequence: 0,
            phase: Phase::Begin,
            trigger: trigger.name.clone(),
            camera: seen.name.to_string(),
            began_ms: now,
            at_ms: now,
            score,
            peak: score,
            caption,
            boxes,
            size,
            snapshot: jpeg.is_some(),
            bundle: self.looker.identity().to_owned(),
        };
        let report = Report {
            jpeg,
            embedding: view.map(|view| view.embedding.as_slice().into()),
            ..without_picture(event.clone(), trigger)
        };
        let armed = &mut self.plan.armed[place];
        armed.events += 1;
        if let Some(stand) = armed.stands.get_mut(&self.seen[at].name) {
            stand.event = Some(event);
        }
        report
    }

    fn spoken(&self, stop: &Stop, view: &View) -> Option<String> {
        match stop.during(|| self.looker.caption(view, &Default::default())) {
            Ok(caption) => Some(caption.caption),
            Err(error) if error.code() == Code::Unsupported => None,
            Err(_) if self.ending.is_due() => None,
            Err(error) => {
                log::warn!("no caption: {error}");
                None
            }
        }
    }

    fn grounded(&self, stop: &Stop, view: &View, phrase: &str, offset: [f32; 2]) -> Vec<crate::sight::Found> {
        let boxes = stop.during(|| self.looker.ground(view, phrase, &Default::default())).map(|boxes| boxes.boxes);
        let mut boxes = boxes.unwrap_or_else(|error| {
            if error.code() != Code::Unsupported && !self.ending.is_due() {
                log::warn!("no boxes of \"{phrase}\": {error}");
            }
            Vec::new()
        });
        for found in &mut boxes {
            found.rect[0] += offset[0];
            found.rect[1] += offset[1];
        }
        boxes
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Stop => {}
            Order::Triggers(triggers, done) => {
                let outcome = Plan::new(&self.looker, triggers).map(|mut plan| {
                    self.release_all(|trigger, camera| !plan.watches(&trigger.name, camera));
                    plan.take_over(std::mem::replace(&mut self.plan, Plan::empty()));
                    self.plan = plan;
                });
                self.look_anew();
                self.publish();
                let _ = done.send(outcome);
            }
            Order::Looker(looker, plan, done) => {
                let mut plan = *plan;
                plan.take_over(std::mem::replace(&mut self.plan, Plan::empty()));
                // Nothing that the old networks made may meet what the new ones make.
                plan.armed.iter_mut().flat_map(|armed| armed.stands.values_mut()).for_each(|stand| stand.score = None);
                for seen in &mut self.seen {
                    seen.whole = None;
                    seen.zones.clear();
                }
                (self.plan, self.looker) = (plan, looker);
                self.look_anew();
                self.publish();
                let _ = done.send(());
            }
            Order::Look => self.look_anew(),
            Order::Eyes(eyes) => {
                let kept: Vec<Arc<str>> = eyes.iter().map(|eye| eye.camera.name().into()).collect();
                self.release_all(|_, camera| !kept.iter().any(|name| **name == *camera));
                self.seen = eyes.into_iter().map(Seen::new).collect();
                for armed in &mut self.plan.armed {
                    armed.stands.retain(|camera, _| kept.contains(camera));
                }
            }
        }
    }

    /// Makes sure that the next frame of every camera is looked at.
    fn look_anew(&mut self) {
        for seen in &mut self.seen {
            seen.gate.forget();
        }
    }

    fn answer(&mut self, query: Query) {
        if Instant::now() >= query.until() {
            return;
        }
        let begin = Instant::now();
        let stop = self.ending.or_after(query.until().saturating_duration_since(begin));
        match query {
            Query::Embed { words, answer, .. } => {
                let floats = stop.during(|| self.looker.embed_text(&words));
                let _ = answer.send(self.in_time(floats).map(|floats| (self.looker.clone(), floats)));
            }
            Query::Ask { request, answer, .. } => {
                let outcome = self.view_for(&request).and_then(|(frame, view)| {
                    stop.during(|| reply::reply(&self.looker, &request, frame.as_deref(), &view, begin))
                });
                let _ = answer.send(self.in_time(outcome));
            }
        }
    }

    /// What failed because the watch is to end says so.
    fn in_time<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| if self.ending.is_due() { gone() } else { error })
    }

    /// The frame that a request is about, and a view of it.
    fn view_for(&mut self, request: &super::Request) -> Result<(Option<Arc<Frame>>, View)> {
        if let Some(bytes) = &request.picture {
            let picture = Picture::decode(bytes, "the picture of the question")?;
            return Ok((None, self.looker.look(&picture)?));
        }
        let at = self.find_camera(request.camera.as_deref())?;
        let seen = &mut self.seen[at];
        let frame = newest(&seen.eye.camera)?;
        if let Some((looked, view)) = &seen.whole
            && looked.sequence == frame.sequence
        {
            return Ok((Some(frame), view.clone()));
        }
        let picture = frame.picture().inspect_err(|error| seen.eye.camera.report(&frame, error))?;
        let begin = Instant::now();
        let view = self.looker.look(&picture)?;
        self.pulse.looked(begin.elapsed());
        seen.whole = Some((frame.clone(), view.clone()));
        Ok((Some(frame), view))
    }

    fn find_camera(&self, name: Option<&str>) -> Result<usize> {
        let at = match name {
            None => (!self.seen.is_empty()).then_some(0),
            Some(name) => self.seen.iter().position(|seen| *seen.name == *name),
        };
        at.ok_or_else(|| no_camera(name, self.seen.iter().map(|seen| &*seen.name)))
    }

    /// Whether time alone may bring a step.
    fn is_pending(&self) -> bool {
        self.plan.armed.iter().flat_map(|armed| armed.stands.values()).any(|stand| !stand.gauge.is_settled())
    }

    /// Ends the events under way that `which` (trigger, camera) names.
    fn release_all(&mut self, which: impl Fn(&Trigger, &str) -> bool) {
        let now = Instant::now();
        for place in 0..self.plan.armed.len() {
            for at in 0..self.seen.len() {
                let Armed { trigger, stands, .. } = &mut self.plan.armed[place];
                let name = &self.seen[at].name;
                if which(trigger, name)
                    && let Some(stand) = stands.get_mut(name)
                    && stand.gauge.release(trigger, now) == Step::End
                {
                    self.tell(at, place, Step::End);
                }
            }
        }
    }

    fn end(mut self) {
        self.release_all(|_, _| true);
        self.publish();
    }

    /// Lets others see where the triggers stand.
    fn publish(&self) {
        let status = |armed: &Armed| TriggerStatus {
            name: armed.trigger.name.clone(),
            enabled: armed.trigger.enabled,
            scores: armed
                .stands
                .iter()
                .filter_map(|(camera, stand)| Some(CameraScore { camera: camera.to_string(), score: stand.score? }))
                .collect(),
            threshold: armed.trigger.threshold,
            active: armed.stands.values().any(|stand| stand.gauge.is_active()),
            events: armed.events,
        };
        self.pulse.set_triggers(self.plan.armed.iter().map(status).collect());
    }
}

impl Seen {
    fn new(eye: Eye) -> Self {
        Self {
            name: eye.camera.name().into(),
            gate: Gate::new(eye.motion.clone(), &eye.masks),
            eye,
            sequence: 0,
            due: Instant::now(),
            whole: None,
            zones: BTreeMap::new(),
        }
    }
}

/// The parts of a camera's picture that its triggers look at; `None` is the whole.
fn zones_wanted(armed: &[Armed], seen: &Seen) -> Vec<Option<String>> {
    let mut wanted: Vec<Option<String>> =
        armed.iter().filter(|armed| armed.watches(&seen.name)).map(|armed| armed.trigger.zone.clone()).collect();
    wanted.retain(|zone| zone.as_ref().is_none_or(|zone| seen.eye.zones.contains_key(zone)));
    wanted.sort();
    wanted.dedup();
    wanted
}

fn crop(picture: &Picture, [x, y, width, height]: Area) -> Picture {
    let (w, h) = (picture.width() as f32, picture.height() as f32);
    let (left, top) = ((x * w) as u32, (y * h) as u32);
    let (wide, high) = (((width * w) as u32).max(1), ((height * h) as u32).max(1));
    let (left, top) = (left.min(picture.width() - 1), top.min(picture.height() - 1));
    picture.crop(left, top, wide.min(picture.width() - left), high.min(picture.height() - top))
}

/// The newest frame of a camera, or why there is none.
pub(crate) fn newest(camera: &Camera) -> Result<Arc<Frame>> {
    camera.newest().ok_or_else(|| {
        let status = camera.status();
        let cause = status.error.unwrap_or_else(|| "it has given no frame yet".to_owned());
        Error::new(Code::Camera, format!("camera {}: {cause}", status.name), "is it plugged in, and the right one?")
    })
}

/// A frame as a JPEG file: the camera's own where it sent one.
pub(crate) fn jpeg(frame: &Frame) -> Result<Arc<[u8]>> {
    match frame.jpeg() {
        Some(bytes) => Ok(bytes.into()),
        None => Ok(frame.picture()?.to_jpeg(JPEG_QUALITY)?.into()),
    }
}

/// There is no such camera.
pub(crate) fn no_camera<'a>(name: Option<&str>, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.collect();
    match name {
        Some(name) => Error::new(
            Code::Usage,
            format!("there is no camera {:?}", name.chars().take(60).collect::<String>()),
            format!("known here: {}", known.join(", ")),
        ),
        None => Error::new(Code::Camera, "there is no camera", "add a [[camera]] to the configuration"),
    }
}

fn without_picture(event: Event, trigger: &Trigger) -> Report {
    Report { event, jpeg: None, embedding: None, to_mqtt: trigger.mqtt, to_serial: trigger.serial }
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}

/// Minutes after midnight, local time.
fn minute_of_day() -> u16 {
    let now = jiff::ZonedDateTime::now();
    now.hour() as u16 * 60 + now.minute() as u16
}
