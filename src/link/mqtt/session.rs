//! One connection, from its begin to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, Filter, LastWill, Packet, PubAck, PubAckReason, Publish, RetainForwardRule, SubAck,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event as Heard, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing, TlsConfiguration, Transport};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::config::{Address, MqttConfig};
use super::flight::{Cargo, Kept, WINDOW, taken};
use super::home_assistant::{Known, read_known};
use super::link::{Inward, Shared};
use super::outward::Outward;
use super::questions::{Answer, Asked, Back, Done, Questions, Wish, read_setting};
use super::state::keep_newest;
use super::trouble::Trouble;
use crate::Result;
use crate::said::Said;
use crate::watch::{Event, FindEvents, MAX_REQUEST_BYTES, Request};

/// Largest packet that is taken from the broker. Questions over [`MAX_REQUEST_BYTES`] still get an answer up to here.
pub(super) const MAX_INCOMING: u32 = 4 * MAX_REQUEST_BYTES as u32;
/// Packets that may wait for the client to write them.
pub(super) const QUEUE: usize = 64;
/// A connection that held this long has worked, whatever went over it.
const HELD: Duration = Duration::from_secs(10);

/// How a connection ended.
pub(super) enum Ended {
    Stopped,
    Broke {
        trouble: Trouble,
        /// Whether it was of use, so that the next attempt may come soon.
        worked: bool,
        /// Since it was accepted; `None` where it was not.
        held: Option<Duration>,
    },
}

/// What outlives a connection.
#[derive(Default)]
pub(super) struct Lasting {
    /// The newest event that may be told.
    pub last: Option<Event>,
    /// The newest picture of an event that may be told.
    pub snapshot: Option<Arc<[u8]>>,
    /// The entities that Home Assistant was told about.
    pub known: Known,
    /// The broker stumbled over a message: one at a time, until it is known which.
    pub careful: bool,
    /// Retained messages that the broker stumbles over.
    pub stumbled: Vec<Kept>,
}

impl Lasting {
    pub fn begin(shared: &Shared) -> Self {
        let newest = FindEvents { top: Some(1), ..FindEvents::default() };
        let last = shared.desk.find(&newest).ok().and_then(|mut found| found.pop()).map(|found| found.event);
        Self { last, ..Self::default() }
    }

    /// Keeps what is worth telling once there is a connection.
    pub fn take(&mut self, inward: &Inward, config: &MqttConfig) {
        if let Inward::Report(report) = inward
            && report.to_mqtt
        {
            let newest = keep_newest(&mut self.last, &report.event);
            if newest && config.snapshots && report.jpeg.is_some() {
                self.snapshot = report.jpeg.clone();
            }
        }
    }
}

/// How a client for this configuration connects.
pub(super) fn options(config: &MqttConfig, address: &Address, client_id: &str) -> Result<MqttOptions> {
    let mut options = MqttOptions::new(client_id, &address.host, address.port);
    options.set_keep_alive(config.keep_alive).set_clean_start(true);
    options.set_connection_timeout(config.connect_timeout.as_secs());
    options.set_outgoing_inflight_upper_limit(WINDOW);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(0);
    properties.receive_maximum = Some(WINDOW);
    properties.max_packet_size = Some(MAX_INCOMING);
    options.set_connect_properties(properties);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some(username) = &config.username {
        options.set_credentials(username, config.password()?.unwrap_or_default());
    }
    if address.tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(super::tls::config(config)?)));
    }
    Ok(options)
}

/// Connects, and talks until the connection breaks or the link is told to stop.
pub(super) async fn run(
    shared: &Shared,
    questions: &Questions,
    lasting: &mut Lasting,
    inbox: &mut mpsc::Receiver<Inward>,
    stop: &mut watch::Receiver<Option<std::time::Instant>>,
    said: &mut Said,
) -> Ended {
    let client_id = &shared.topics.client_id;
    let mut options = match options(&shared.config, &shared.address, client_id) {
        Ok(options) => options,
        Err(error) => return Ended::Broke { trouble: error.into(), worked: false, held: None },
    };
    options.set_last_will(LastWill::new(&shared.topics.status, "offline", QoS::AtLeastOnce, true, None));
    let (client, mut eventloop) = AsyncClient::new(options, QUEUE);
    let (tell, mut heard) = mpsc::channel(QUEUE);
    // The client's own loop must not be cut short between two of its steps, so it runs beside this one.
    let mut driver = pin!(async move {
        loop {
            match eventloop.poll().await {
                Ok(event) => drop(tell.send(event).await),
                Err(error) => return error,
            }
        }
    });
    let careful = lasting.careful;
    let mut session = Session {
        shared,
        questions,
        out: Outward::new(shared, lasting, client, careful),
        said,
        keep_alive: shared.config.keep_alive,
        connected: None,
        last_heard: Instant::now(),
    };
    let trouble = loop {
        let step = tokio::select! {
            biased;
            Some(event) = heard.recv() => session.hear(event),
            error = &mut driver => {
                let mut trouble = Trouble::explain(&error, &shared.address);
                while let Ok(event) = heard.try_recv() {
                    // An acknowledgement that came before the end still counts.
                    if let Err(earlier) = session.hear(event) {
                        trouble = earlier;
                    }
                }
                Err(trouble)
            }
            Some(inward) = inbox.recv() => {
                session.take(inward);
                Ok(())
            }
            _ = stop.changed(), if !session.out.leaving() => {
                let now = std::time::Instant::now();
                let until = stop.borrow().unwrap_or(now);
                if session.connected.is_none() || until <= now {
                    session.out.hang_up();
                    return Ended::Stopped;
                }
                session.out.leave(until.into());
                Ok(())
            }
            () = sleep_until(session.deadline()) => Ok(()),
        };
        if let Err(trouble) = step.and_then(|()| session.go_on()) {
            break trouble;
        }
        if session.out.has_left() {
            return Ended::Stopped;
        }
    };
    let leaving = session.out.leaving();
    let held = session.connected.map(|since| since.elapsed());
    let worked = session.out.end(&trouble) || held.is_some_and(|held| held >= HELD);
    if leaving { Ended::Stopped } else { Ended::Broke { trouble, worked, held } }
}

struct Session<'a> {
    shared: &'a Shared,
    questions: &'a Questions,
    out: Outward<'a>,
    said: &'a mut Said,
    keep_alive: Duration,
    /// Since when the broker has accepted the connection.
    connected: Option<Instant>,
    last_heard: Instant,
}

impl Session<'_> {
    /// What came over the connection, or went out over it.
    fn hear(&mut self, event: Heard) -> Result<(), Trouble> {
        if let Heard::Incoming(_) = event {
            self.last_heard = Instant::now();
        }
        match event {
            Heard::Incoming(Packet::ConnAck(answer)) => self.accepted(&answer),
            Heard::Incoming(Packet::SubAck(answer)) => self.subscribed(&answer),
            Heard::Incoming(Packet::PubAck(answer)) => self.acknowledged(&answer),
            Heard::Incoming(Packet::Publish(publish)) => self.message(&publish),
            Heard::Outgoing(Outgoing::Publish(packet)) => self.out.flight.written(packet),
            Heard::Outgoing(Outgoing::Disconnect) => self.out.left(),
            _ => {}
        }
        Ok(())
    }

    fn accepted(&mut self, answer: &ConnAck) {
        self.connected = Some(Instant::now());
        if let Some(properties) = &answer.properties {
            if let Some(window) = properties.receive_max {
                self.out.flight.limit(window);
            }
            if let Some(most) = properties.max_packet_size {
                self.out.largest = most as usize;
            }
            if let Some(seconds) = properties.server_keep_alive {
                self.keep_alive = Duration::from_secs(u64::from(seconds.max(1)));
            }
        }
        let topics = &self.shared.topics;
        let mut filters = vec![
            Filter::new(&topics.ask, QoS::AtLeastOnce),
            Filter::new(&topics.set_armed, QoS::AtLeastOnce),
            Filter::new(topics.set_when("+"), QoS::AtLeastOnce),
        ];
        if self.shared.config.home_assistant {
            filters.push(Filter::new(&topics.birth, QoS::AtLeastOnce));
        }
        for filter in &mut filters {
            filter.retain_forward_rule = RetainForwardRule::Never;
        }
        // What was told before, by this device or by the one that had its name.
        let mut before = Filter::new(&topics.discovery, QoS::AtLeastOnce);
        before.nolocal = true;
        filters.push(before);
        self.out.subscribe(filters);
    }

    fn subscribed(&mut self, answer: &SubAck) {
        if answer.return_codes.iter().any(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
            log::warn!(
                "mqtt: the broker lets {} not read all of its topics: {:?} (see the broker's access list)",
                self.shared.device.id,
                answer.return_codes
            );
        }
        self.shared.is_up();
        self.said.over("mqtt: connected");
        self.out.begin();
    }

    fn acknowledged(&mut self, answer: &PubAck) {
        match self.out.flight.answered(answer.pkid) {
            Some(Cargo::Event(place)) if taken(answer.reason) => self.out.arrived(place),
            Some(Cargo::Event(place)) => match answer.reason {
                PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => {
                    self.out.give_up(place, &format!("the broker refuses it: {:?}", answer.reason));
                }
                reason => {
                    let note =
                        format!("the broker refuses events: {reason:?} (see the broker's access list and limits)");
                    self.said.trouble(&format!("mqtt: {note}"));
                    self.shared.set_note(Some(note));
                    self.out.refused();
                }
            },
            Some(Cargo::Kept(_) | Cargo::Answer) | None => {}
        }
    }

    fn message(&mut self, publish: &Publish) {
        let Ok(topic) = std::str::from_utf8(&publish.topic) else { return };
        let topics = &self.shared.topics;
        if topic == topics.discovery {
            self.out.told_before(read_known(&publish.payload), publish.payload.is_empty());
        } else if publish.retain {
            log::debug!("mqtt: the retained message on {topic} is ignored");
        } else if topic == topics.birth {
            if publish.payload[..] == *b"online" {
                self.out.tell_all();
            }
        } else if topic == topics.ask {
            self.question(publish);
        } else if let Some(setting) = topics.setting(topic) {
            let wish = read_setting(setting, &publish.payload);
            let refused = match wish.map(|wish| self.questions.put(wish)) {
                Ok(Ok(())) => return,
                Ok(Err(_)) => "too many questions wait already (send it again)".to_owned(),
                Err(error) => format!("{error} ({})", error.help()),
            };
            log::warn!("mqtt: {topic} was not set: {refused}");
            self.out.state_is_due();
        }
    }

    fn question(&mut self, publish: &Publish) {
        self.shared.received.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let topics = &self.shared.topics;
        let (back, wrong) = Back::of(publish, &topics.answer, |topic| topics.may_answer(topic));
        let answer = match (Request::from_json(&publish.payload), wrong) {
            (Ok((_, id)) | Err((_, id)), Some(error)) | (Err((error, id)), None) => {
                Answer::error(back, id.as_ref(), &error)
            }
            (Ok((request, id)), None) => match self.questions.put(Wish::Ask(Box::new(Asked { request, id, back }))) {
                Err(Wish::Ask(refused)) => Answer::busy(refused.back, refused.id.as_ref()),
                _ => return,
            },
        };
        self.out.answer(answer);
    }

    fn take(&mut self, inward: Inward) {
        self.out.take(&inward);
        if let Inward::Done(Done::Answered(answer)) = inward {
            self.out.answer(answer);
        }
    }

    fn go_on(&mut self) -> Result<(), Trouble> {
        let now = Instant::now();
        if self.connected.is_some() {
            if now >= self.silent_at() {
                return Err(Trouble::silent(&self.shared.address));
            }
            self.out.go_on(now);
        }
        Ok(())
    }

    /// When the other side has been silent for too long.
    fn silent_at(&self) -> Instant {
        let patience = self.keep_alive + self.keep_alive / 2;
        match self.connected {
            Some(since) if !self.out.begun() => since + self.shared.config.connect_timeout.min(patience),
            _ => self.last_heard + patience,
        }
    }

    fn deadline(&self) -> Instant {
        match self.connected {
            // The client itself ends an attempt to connect.
            None => Instant::now() + Duration::from_secs(3600),
            Some(_) => self.silent_at().min(self.out.deadline()),
        }
    }
}
