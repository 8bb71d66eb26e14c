//! Everything that goes out over one connection, and in which order: the retained messages, answers, events.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, PublishProperties};
use tokio::time::Instant;

use super::flight::{Cargo, Flight, Kept};
use super::home_assistant::{Discovery, Known};
use super::link::{Inward, Shared};
use super::questions::Answer;
use super::session::{Lasting, QUEUE};
use super::state::State;
use super::trouble::Trouble;
use crate::memory::Waiting;
use crate::said::Said;
use crate::{Code, Error};

/// How often the outbox is looked at where nobody says that something is in it.
const LOOK: Duration = Duration::from_secs(1);
/// How soon it is looked at again after a report: the report may have come before its message was stored.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long acknowledgements are gathered, so that the disk is written once for several.
const GATHER: Duration = Duration::from_millis(20);
/// Least and most time between two looks at the status, and most between two tellings of the state.
const STATUS_LEAST: Duration = Duration::from_millis(100);
const STATUS_MOST: Duration = Duration::from_secs(1);
const STATE_MOST: Duration = Duration::from_secs(30);
/// How long events rest after the broker has refused one.
const REST: Duration = Duration::from_secs(60);
/// Most answers that wait, and most bytes of them.
const MAX_ANSWERS: usize = 1024;
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// What a packet needs besides topic, payload and correlation data, at most.
const OVERHEAD: usize = 64;

/// The outward half of a connection.
pub(super) struct Outward<'a> {
    shared: &'a Shared,
    lasting: &'a mut Lasting,
    client: AsyncClient,
    pub flight: Flight,
    /// Largest packet that the broker takes, in bytes.
    pub largest: usize,
    due: Due,
    answers: VecDeque<Answer>,
    answer_bytes: usize,
    left_out: u64,
    /// The newest place that was sent over this connection.
    sent_up_to: i64,
    arrived: Vec<i64>,
    any_arrived: bool,
    write_at: Option<Instant>,
    look_at: Instant,
    look_again: bool,
    /// The broker has refused an event.
    resting: bool,
    status_at: Instant,
    looked_at_status: Option<Instant>,
    told: Option<(State, Instant)>,
    discovery: Option<Discovery>,
    leaving: Leaving,
    outbox_trouble: Said,
}

/// Which retained messages are to be sent.
#[derive(Default)]
struct Due {
    status: bool,
    state: bool,
    discovery: bool,
    snapshot: bool,
    /// Empty what Home Assistant was told.
    take_back: bool,
}

#[derive(PartialEq)]
enum Leaving {
    /// Not yet subscribed.
    Arriving,
    No,
    /// Waiting for what is on its way.
    Waiting(Instant),
    /// `offline` is on its way.
    Goodbye,
    Disconnecting,
    Left,
}

impl<'a> Outward<'a> {
    pub fn new(shared: &'a Shared, lasting: &'a mut Lasting, client: AsyncClient, careful: bool) -> Self {
        let now = Instant::now();
        Self {
            shared,
            lasting,
            client,
            flight: Flight::new(careful),
            largest: usize::MAX,
            due: Due::default(),
            answers: VecDeque::new(),
            answer_bytes: 0,
            left_out: 0,
            sent_up_to: i64::MIN,
            arrived: Vec::new(),
            any_arrived: false,
            write_at: None,
            look_at: now,
            look_again: false,
            resting: false,
            status_at: now,
            looked_at_status: None,
            told: None,
            discovery: None,
            leaving: Leaving::Arriving,
            outbox_trouble: Said::default(),
        }
    }

    pub fn subscribe(&self, filters: Vec<Filter>) {
        // The queue is empty: this is the first packet.
        let _ = self.client.try_subscribe_many(filters);
    }

    /// The broker has taken the subscriptions: from now on everything flows.
    pub fn begin(&mut self) {
        if self.leaving == Leaving::Arriving {
            self.leaving = Leaving::No;
        }
        self.tell_all();
    }

    pub fn begun(&self) -> bool {
        self.leaving != Leaving::Arriving
    }

    /// Sends all that is retained again.
    pub fn tell_all(&mut self) {
        self.due.status = true;
        self.due.snapshot = self.lasting.snapshot.is_some();
        self.due.discovery = self.shared.config.home_assistant;
        self.state_is_due();
    }

    pub fn state_is_due(&mut self) {
        self.told = None;
        self.status_at = Instant::now();
    }

    /// What the broker kept of what Home Assistant was told before.
    pub fn told_before(&mut self, known: Known, empty: bool) {
        if !self.shared.config.home_assistant {
            self.due.take_back |= !empty;
        } else if self.discovery.as_ref().is_none_or(|discovery| !discovery.gone(&known).is_empty()) {
            self.lasting.known.extend(known);
            self.due.discovery = true;
        }
    }

    /// What another thread says.
    pub fn take(&mut self, inward: &Inward) {
        let before = self.lasting.snapshot.as_ref().map(|jpeg| jpeg.as_ptr());
        self.lasting.take(inward, &self.shared.config);
        self.due.snapshot |= self.lasting.snapshot.as_ref().map(|jpeg| jpeg.as_ptr()) != before;
        let now = Instant::now();
        match inward {
            Inward::Report(_) => {
                self.look_again = true;
                if !self.resting {
                    self.look_at = now;
                }
                self.status_at = self.status_at.min(now);
            }
            Inward::Done(super::questions::Done::Settled) => self.state_is_due(),
            Inward::Done(_) => {}
        }
    }

    pub fn answer(&mut self, answer: Answer) {
        let answer = self.fitting(answer);
        if self.answers.len() >= MAX_ANSWERS || self.answer_bytes + answer.body.len() > MAX_ANSWER_BYTES {
            self.left_out += 1;
            return;
        }
        self.answer_bytes += answer.body.len();
        self.answers.push_back(answer);
    }

    fn fitting(&self, answer: Answer) -> Answer {
        let correlation = answer.back.properties.correlation_data.as_ref().map_or(0, |data| data.len());
        let size = answer.body.len() + answer.back.topic.len() + correlation + OVERHEAD;
        if size <= self.largest {
            return answer;
        }
        let error = Error::new(
            Code::Output,
            format!("the answer of {} bytes is larger than the broker allows ({})", answer.body.len(), self.largest),
            "raise the broker's limit of packet sizes",
        );
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Answer::error(answer.back, body.get("id"), &error)
    }

    /// The broker has this message.
    pub fn arrived(&mut self, place: i64) {
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
        self.any_arrived = true;
        self.lasting.careful = false;
        self.arrived.push(place);
        self.write_at.get_or_insert_with(|| Instant::now() + GATHER);
    }

    /// No broker will ever take this message.
    pub fn give_up(&mut self, place: i64, why: &str) {
        log::error!("mqtt: message {place} of the outbox is dropped: {why}");
        self.arrived.push(place);
        self.write_at = Some(Instant::now());
    }

    /// The broker does not take events now.
    pub fn refused(&mut self) {
        self.sent_up_to = i64::MIN;
        self.resting = true;
        self.look_at = Instant::now() + REST;
    }

    /// Everything that can be done now.
    pub fn go_on(&mut self, now: Instant) {
        if !self.begun() {
            return;
        }
        if self.write_at.is_some_and(|at| now >= at) || (self.flight.events() == 0 && !self.arrived.is_empty()) {
            self.write_down();
        }
        if self.leaving == Leaving::No {
            self.look_at_status(now);
            self.tell();
            self.send_answers();
            self.send_events(now);
        } else {
            self.go_on_leaving(now);
        }
    }

    /// When there is something to do although nothing happens.
    pub fn deadline(&self) -> Instant {
        let status_at = self.looked_at_status.map_or(self.status_at, |at| self.status_at.max(at + STATUS_LEAST));
        let look_at = self.may_send_events().then_some(self.look_at);
        match self.leaving {
            Leaving::Waiting(until) => until,
            _ => [self.write_at, look_at].into_iter().flatten().fold(status_at, Instant::min),
        }
    }

    fn room(&self) -> bool {
        self.flight.backlog() < QUEUE / 2
    }

    fn publish(
        &mut self,
        cargo: Cargo,
        topic: &str,
        qos: QoS,
        retain: bool,
        body: Vec<u8>,
        properties: PublishProperties,
    ) {
        // There is room: what was handed over and is not written yet is half of the client's queue at most. Topics have
        // no wildcards, which is the other error.
        match self.client.try_publish_with_properties(topic, qos, retain, body, properties) {
            Ok(()) => self.flight.handed(cargo, qos != QoS::AtMostOnce),
            Err(error) => log::error!("mqtt: a message on {topic} could not be handed over: {error}"),
        }
    }

    fn retain(&mut self, what: Kept, topic: &str, body: Vec<u8>) {
        if self.lasting.stumbled.contains(&what) {
            return;
        }
        if body.len() + topic.len() + OVERHEAD > self.largest {
            log::warn!("mqtt: {topic} is not told: its {} bytes are more than the broker allows", body.len());
            return;
        }
        self.publish(Cargo::Kept(what), topic, QoS::AtLeastOnce, true, body, PublishProperties::default());
    }

    fn look_at_status(&mut self, now: Instant) {
        let too_soon = self.looked_at_status.is_some_and(|at| now < at + STATUS_LEAST);
        if now < self.status_at || too_soon {
            return;
        }
        self.looked_at_status = Some(now);
        self.status_at = now + STATUS_MOST;
        let (status, triggers) = (self.shared.desk.status(), self.shared.desk.triggers());
        if self.shared.config.home_assistant {
            let Shared { config, device, topics, .. } = self.shared;
            let discovery = Discovery::new(config, device, topics, &status, &triggers);
            if self.discovery.as_ref() != Some(&discovery) {
                self.discovery = Some(discovery);
                self.due.discovery = true;
            }
        }
        let state = State::new(&status, &triggers, self.lasting.last.as_ref());
        let old = |(told, at): &(State, Instant)| state.differs(told) || now >= *at + STATE_MOST;
        if self.told.as_ref().is_none_or(old) {
            self.told = Some((state, now));
            self.due.state = true;
        }
    }

    fn tell(&mut self) {
        let topics = &self.shared.topics;
        if self.due.take_back && self.room() && self.flight.room_for_other() {
            self.due.take_back = false;
            self.retain(Kept::Discovery, &topics.discovery, Vec::new());
        }
        if self.due.discovery && self.room() && self.flight.room_for_other() {
            self.due.discovery = false;
            self.tell_home_assistant();
        }
        if self.due.state && self.room() && self.flight.room_for_other() {
            self.due.state = false;
            if let Some(body) = self.told.as_ref().map(|(state, _)| state.to_json()) {
                self.retain(Kept::State, &topics.state, body);
            }
        }
        if self.due.snapshot && self.room() && self.flight.room_for_other() {
            self.due.snapshot = false;
            if let Some(jpeg) = self.lasting.snapshot.clone() {
                self.retain(Kept::Snapshot, &topics.snapshot, jpeg.to_vec());
            }
        }
        // After the rest: who reads `online` finds everything there.
        let rest = self.due.discovery || self.due.state || self.due.snapshot;
        if self.due.status && !rest && self.room() && self.flight.room_for_other() {
            self.due.status = false;
            self.retain(Kept::Status, &topics.status, b"online".to_vec());
        }
    }

    fn tell_home_assistant(&mut self) {
        let Some(discovery) = &self.discovery else { return };
        let (topic, gone) = (&self.shared.topics.discovery, discovery.gone(&self.lasting.known));
        let (first, then) = (discovery.to_json(&gone), discovery.to_json(&Known::new()));
        self.lasting.known = discovery.known();
        // Home Assistant wants to be told once which entities are gone, and then the message without them.
        if !gone.is_empty() {
            self.retain(Kept::Discovery, topic, first);
        }
        self.retain(Kept::Discovery, topic, then);
    }

    fn send_answers(&mut self) {
        while self.room() {
            let Some(answer) = self.answers.front() else { break };
            if answer.back.qos != QoS::AtMostOnce && !self.flight.room_for_other() {
                break;
            }
            let Some(answer) = self.answers.pop_front() else { break };
            self.answer_bytes -= answer.body.len();
            self.shared.sent.fetch_add(1, Ordering::Relaxed);
            let back = answer.back;
            self.publish(Cargo::Answer, &back.topic, back.qos, false, answer.body, back.properties);
        }
        if self.answers.is_empty() && self.left_out > 0 {
            log::warn!("mqtt: {} questions were left without an answer: they came too fast", self.left_out);
            self.left_out = 0;
        }
    }

    fn send_events(&mut self, now: Instant) {
        if now < self.look_at || !self.may_send_events() {
            return;
        }
        self.resting = false;
        let room = self.flight.room_for_events();
        if !self.arrived.is_empty() && self.sent_up_to == i64::MIN {
            self.write_down();
        }
        let unix_ms = unix_ms();
        let ttl = self.shared.config.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let not_before_ms = ttl.map_or(0, |ttl| unix_ms.saturating_sub(ttl));
        let waiting = match self.shared.outbox.waiting(self.sent_up_to, room, not_before_ms) {
            Ok(waiting) => waiting,
            Err(error) => {
                self.outbox_trouble.trouble(&format!("mqtt: the outbox cannot be read: {error} ({})", error.help()));
                self.look_at = now + LOOK;
                return;
            }
        };
        self.outbox_trouble.over("mqtt: the outbox can be read again");
        if waiting.len() < room {
            let again = std::mem::take(&mut self.look_again);
            self.look_at = now + if again { LOOK_AGAIN } else { LOOK };
        }
        for message in waiting {
            let expires = ttl.map(|ttl| (message.event.at_ms + ttl).saturating_sub(unix_ms).div_ceil(1000));
            self.send_event(&message, expires);
        }
    }

    fn may_send_events(&self) -> bool {
        // Beginning anew while some are on their way would send those twice.
        let clear = self.sent_up_to > i64::MIN || self.flight.events() == 0;
        clear && self.flight.room_for_events() > 0 && self.room()
    }

    fn send_event(&mut self, message: &Waiting, expires_s: Option<u64>) {
        self.sent_up_to = message.place;
        let topic = self.shared.topics.event(&message.event.trigger);
        let body = match serde_json::to_vec(&message.event) {
            Ok(body) => body,
            Err(error) => return self.give_up(message.place, &format!("it has no JSON form: {error}")),
        };
        if body.len() + topic.len() + OVERHEAD > self.largest {
            let why = format!("its {} bytes are more than the broker allows ({})", body.len(), self.largest);
            return self.give_up(message.place, &why);
        }
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some("application/json".to_owned()),
            message_expiry_interval: expires_s.map(|seconds| u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)),
            ..PublishProperties::default()
        };
        self.publish(Cargo::Event(message.place), &topic, QoS::AtLeastOnce, false, body, properties);
    }

    /// Lets the outbox forget what has arrived.
    fn write_down(&mut self) {
        match self.shared.outbox.acknowledged(&self.arrived) {
            Ok(()) => {
                self.arrived.clear();
                self.write_at = None;
                self.outbox_trouble.over("mqtt: the outbox can be written again");
            }
            Err(error) => {
                self.outbox_trouble.trouble(&format!("mqtt: the outbox cannot be written: {error} ({})", error.help()));
                self.write_at = Some(Instant::now() + LOOK);
            }
        }
    }

    /// The connection is over. Returns whether it was of use.
    pub fn end(&mut self, trouble: &Trouble) -> bool {
        let under_way = self.flight.cargo();
        if trouble.garbled {
            match under_way.as_slice() {
                [culprit] if self.lasting.careful => {
                    self.blame(*culprit, trouble.error.message());
                    self.lasting.careful = false;
                    self.any_arrived = true;
                }
                _ => self.lasting.careful = true,
            }
        }
        self.hang_up();
        self.any_arrived
    }

    /// The connection is over, and nothing more is said over it.
    pub fn hang_up(&mut self) {
        if !self.arrived.is_empty() {
            self.write_down();
        }
    }

    fn blame(&mut self, culprit: Cargo, cause: &str) {
        match culprit {
            Cargo::Event(place) => self.give_up(place, cause),
            Cargo::Kept(what) => {
                log::error!("mqtt: {what:?} is no longer told: {cause}");
                self.lasting.stumbled.push(what);
            }
            Cargo::Answer => log::error!("mqtt: an answer is dropped: {cause}"),
        }
    }

    /// Begins to say goodbye; it takes until `until` at most.
    pub fn leave(&mut self, until: Instant) {
        let now = Instant::now();
        self.answers.clear();
        self.leaving = Leaving::Waiting(now + until.saturating_duration_since(now) / 2);
    }

    pub fn leaving(&self) -> bool {
        !matches!(self.leaving, Leaving::Arriving | Leaving::No)
    }

    fn go_on_leaving(&mut self, now: Instant) {
        match self.leaving {
            Leaving::Waiting(until) if self.flight.is_empty() || now >= until => {
                let topic = &self.shared.topics.status;
                if self.room() {
                    self.retain(Kept::Status, topic, b"offline".to_vec());
                }
                self.leaving = Leaving::Goodbye;
            }
            Leaving::Goodbye if self.flight.is_empty() => {
                let _ = self.client.try_disconnect();
                self.leaving = Leaving::Disconnecting;
            }
            _ => {}
        }
    }

    /// The client has said goodbye.
    pub fn left(&mut self) {
        self.leaving = Leaving::Left;
    }

    pub fn has_left(&self) -> bool {
        self.leaving == Leaving::Left
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
