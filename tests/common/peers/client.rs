//! Another client of the broker: reads topics, and writes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use lookout::watch::Event;
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, PublishProperties};
use rumqttc::v5::{Client as Sync, Event as Heard, MqttOptions};
use serde_json::Value;

/// A client with a session that the broker keeps; connects again by itself.
pub struct Client {
    client: Sync,
    messages: Receiver<Publish>,
    ended: Arc<AtomicBool>,
}

/// A message that came.
#[derive(Debug, Clone)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    pub properties: PublishProperties,
}

impl Client {
    /// Reads `filters` from now on: returns once the broker has taken them.
    pub fn reads(port: u16, name: &str, filters: &[&str]) -> Self {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_clean_start(false).set_session_expiry_interval(Some(3600)).set_keep_alive(Duration::from_secs(5));
        options.set_max_packet_size(Some(64 << 20));
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, mut connection) = Sync::new(options, 256);
        let (tell, messages) = unbounded();
        let ended = Arc::new(AtomicBool::new(false));
        let (subscribed, ready) = crossbeam_channel::bounded(1);
        let filters: Vec<Filter> = filters.iter().map(|filter| Filter::new(*filter, QoS::AtLeastOnce)).collect();
        let (on_connect, end) = (client.clone(), ended.clone());
        std::thread::spawn(move || {
            for event in connection.iter() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                match event {
                    Ok(Heard::Incoming(Packet::ConnAck(_))) if filters.is_empty() => drop(subscribed.try_send(())),
                    Ok(Heard::Incoming(Packet::ConnAck(_))) => on_connect.try_subscribe_many(filters.clone()).unwrap(),
                    Ok(Heard::Incoming(Packet::SubAck(_))) => drop(subscribed.try_send(())),
                    Ok(Heard::Incoming(Packet::Publish(publish))) => drop(tell.send(publish)),
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        ready.recv_timeout(super::PATIENCE).expect("the broker takes the subscription");
        Self { client, messages, ended }
    }

    pub fn writes(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload.into()).unwrap();
    }

    pub fn retains(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, true, payload.into()).unwrap();
    }

    /// Asks with quality of service 0, which nothing holds back.
    pub fn fires(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtMostOnce, false, payload.into()).unwrap();
    }

    /// Asks for an answer on `response`, with correlation data.
    pub fn asks(&self, topic: &str, payload: impl Into<Vec<u8>>, response: &str, correlation: &'static [u8]) {
        let properties = PublishProperties {
            response_topic: Some(response.to_owned()),
            correlation_data: Some(correlation.into()),
            ..PublishProperties::default()
        };
        self.client.publish_with_properties(topic, QoS::AtLeastOnce, false, payload.into(), properties).unwrap();
    }

    /// The next message, where one comes within `time`.
    pub fn next_within(&self, time: Duration) -> Option<Message> {
        let publish = self.messages.recv_timeout(time).ok()?;
        Some(Message {
            topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
            payload: publish.payload.to_vec(),
            retain: publish.retain,
            properties: publish.properties.unwrap_or_default(),
        })
    }

    /// The next message on `topic` that `fits`; others are passed over.
    pub fn waits_for(&self, topic: &str, mut fits: impl FnMut(&Message) -> bool) -> Message {
        let end = Instant::now() + super::PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Some(message) = self.next_within(left) else { panic!("no such message came on {topic}") };
            if message.topic == topic && fits(&message) {
                return message;
            }
        }
    }

    /// The next JSON object on `topic` that `fits`.
    pub fn waits_for_json(&self, topic: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let message = self.waits_for(topic, |message| fits(&message.json()));
        message.json()
    }

    /// Gathers events until all of `wanted` have come; returns how often one came again.
    pub fn gathers(&self, wanted: &HashSet<(u64, u32)>) -> usize {
        let (mut seen, mut again) = (HashSet::new(), 0);
        let end = Instant::now() + super::PATIENCE;
        while seen.len() < wanted.len() {
            let left = end.saturating_duration_since(Instant::now());
            let Some(message) = self.next_within(left) else {
                panic!("{} of {} events came", seen.len(), wanted.len());
            };
            if message.topic.contains("/event/") {
                let event: Event = serde_json::from_slice(&message.payload).unwrap();
                let name = (event.id.0, event.sequence);
                assert!(wanted.contains(&name), "{name:?} was never made");
                again += usize::from(!seen.insert(name));
            }
        }
        again
    }
}

impl Message {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.client.try_disconnect();
    }
}
