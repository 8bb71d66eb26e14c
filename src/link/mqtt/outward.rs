//! Everything that goes out over one connection, and in which order: the retained messages, answers, events.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, PublishProperties};
use tokio::time::Instant;

use super::embedding::{Embedded, encode};
use super::flight::{Cargo, Flight, Kept};
use super::home_assistant::Known;
use super::link::{Inward, Shared};
use super::mail::{Mail, unix_ms};
use super::questions::Answer;
use super::session::{Lasting, QUEUE};
use super::telling::Telling;
use super::trouble::Trouble;
use crate::memory::Waiting;
use crate::watch::Phase;
use crate::{Code, Error};

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
    telling: Telling,
    answers: VecDeque<Answer>,
    answer_bytes: usize,
    left_out: u64,
    mail: Mail,
    any_arrived: bool,
    leaving: Leaving,
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
        Self {
            shared,
            lasting,
            client,
            flight: Flight::new(careful),
            largest: usize::MAX,
            telling: Telling::new(),
            answers: VecDeque::new(),
            answer_bytes: 0,
            left_out: 0,
            mail: Mail::new(),
            any_arrived: false,
            leaving: Leaving::Arriving,
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
        self.telling.all(self.shared, self.lasting);
    }

    pub fn state_is_due(&mut self) {
        self.telling.state_again();
    }

    /// What the broker kept of what Home Assistant was told before.
    pub fn told_before(&mut self, known: Known, empty: bool) {
        self.telling.told_before(self.shared, self.lasting, known, empty);
    }

    /// What another thread says.
    pub fn take(&mut self, inward: &Inward) {
        let before = self.lasting.snapshot.as_ref().map(|jpeg| jpeg.as_ptr());
        self.lasting.take(inward, &self.shared.config);
        if self.lasting.snapshot.as_ref().map(|jpeg| jpeg.as_ptr()) != before {
            self.telling.snapshot();
        }
        match inward {
            Inward::Report(_) => {
                self.mail.look_soon();
                self.telling.look_soon();
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
        self.mail.done(place);
    }

    /// No broker will ever take this message.
    pub fn give_up(&mut self, place: i64, why: &str) {
        log::error!("mqtt: message {place} of the outbox is dropped: {why}");
        self.mail.done(place);
    }

    /// The broker does not take events now.
    pub fn refused(&mut self) {
        self.mail.refused();
    }

    /// Everything that can be done now.
    pub fn go_on(&mut self, now: Instant) {
        if !self.begun() {
            return;
        }
        self.mail.write_down_if_due(&*self.shared.outbox, &self.flight);
        if self.leaving == Leaving::No {
            self.telling.look(self.shared, self.lasting);
            self.tell();
            // Events first: they have their own window, so that they leave room for answers, and not the other way round.
            self.send_events();
            self.send_answers();
        } else {
            self.go_on_leaving(now);
        }
    }

    /// When there is something to do although nothing happens.
    pub fn deadline(&self) -> Instant {
        match self.leaving {
            Leaving::No => {
                let look_at = self.telling.look_at();
                self.mail.due(&self.flight).map_or(look_at, |at| at.min(look_at))
            }
            Leaving::Waiting(until) => until,
            // Nothing but the other side's answer goes on from here.
            _ => Instant::now() + Duration::from_secs(1),
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

    fn tell(&mut self) {
        while self.room() && self.flight.room_for_other() {
            let Some((what, topic, body)) = self.telling.next(self.shared, self.lasting) else { break };
            self.retain(what, topic, body);
        }
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

    fn send_events(&mut self) {
        if !self.room() {
            return;
        }
        let ttl_ms = self.shared.config.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        for message in self.mail.next(&*self.shared.outbox, &self.flight, ttl_ms) {
            let expires_ms = ttl_ms.map(|ttl| message.event.at_ms.saturating_add(ttl).saturating_sub(unix_ms()));
            self.send_event(&message, expires_ms.map(|ms| ms.div_ceil(1000)));
        }
    }

    fn send_event(&mut self, message: &Waiting, expires_s: Option<u64>) {
        let topic = self.shared.topics.event(&message.event.trigger);
        let embedding = self.embedding(message);
        let body = match serde_json::to_vec(&Embedded { event: &message.event, embedding }) {
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

    fn embedding(&self, message: &Waiting) -> Option<String> {
        if !self.shared.config.embeddings || message.event.phase != Phase::Begin {
            return None;
        }
        match self.shared.outbox.embedding(message.event.id) {
            Ok(embedding) => embedding.as_deref().map(encode),
            Err(error) => {
                log::warn!("mqtt: the event {} goes out without its embedding: {error}", message.event.id);
                None
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
        self.mail.write_down(&*self.shared.outbox);
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
        self.answer_bytes = 0;
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
