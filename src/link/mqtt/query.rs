//! The other side: asking a lookout over MQTT.

use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
use serde_json::Value;

use super::config::{Address, refuse};
use super::topics::Topics;
use super::trouble::Trouble;
use super::{MqttConfig, backoff, session};
use crate::watch::{Request, check_name};
use crate::{Code, Error, Result};

/// Largest answer, in bytes: a snapshot in base64.
const MAX_ANSWER: u32 = 64 << 20;

/// Asks the lookout named `device` and waits for its answer, `timeout` at most. Returns the answer's JSON object; where
/// the lookout answers with an error, that error. [`Code::Link`] where the broker or the device does not answer.
pub fn query(config: &MqttConfig, device: &str, request: &Request, timeout: Duration) -> Result<Value> {
    config.check()?;
    check_name("device", device)?;
    let address = Address::parse(&config.url)?;
    let client_id = format!("lookout-query-{:013x}", (backoff::chance() * (1_u64 << 52) as f64) as u64);
    let topics = Topics::new(config, device);
    let way_back = format!("{}/{client_id}", topics.answer);
    let mut options = session::options(config, &address, &client_id)?;
    let config = MqttConfig { connect_timeout: timeout.max(Duration::from_secs(1)), ..config.clone() };
    options.set_connection_timeout(config.connect_timeout.as_secs()).set_max_packet_size(Some(MAX_ANSWER));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| refuse(format!("the network cannot be used: {error}"), "is the machine out of memory?"))?;
    let (client, eventloop) = AsyncClient::new(options, 8);
    let mut asker = Asker { client, eventloop, topics, way_back, device, address };
    let answer = runtime.block_on(async {
        let late = Error::new(
            Code::Link,
            format!("{device} did not answer within {timeout:?}"),
            "is it running and connected to this broker? `task` status answers at once",
        );
        let answer = tokio::time::timeout(timeout, asker.ask(request)).await.unwrap_or(Err(late));
        // A goodbye spares the broker's log a warning; that the answer is here matters more.
        let _ = tokio::time::timeout(Duration::from_millis(500), asker.leave()).await;
        answer
    });
    runtime.shutdown_background();
    answer.and_then(|body| read(&body, device))
}

struct Asker<'a> {
    client: AsyncClient,
    eventloop: EventLoop,
    topics: Topics,
    way_back: String,
    device: &'a str,
    address: Address,
}

impl Asker<'_> {
    async fn ask(&mut self, request: &Request) -> Result<Vec<u8>> {
        loop {
            match self.eventloop.poll().await.map_err(|error| self.broke(&error))? {
                Event::Incoming(Packet::ConnAck(_)) => {
                    self.hand_over(self.client.try_subscribe_many([
                        Filter::new(&self.way_back, QoS::AtLeastOnce),
                        Filter::new(&self.topics.status, QoS::AtLeastOnce),
                    ]))?;
                }
                Event::Incoming(Packet::SubAck(_)) => self.send(request)?,
                Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
                    PubAckReason::Success => {}
                    PubAckReason::NoMatchingSubscribers => return Err(self.absent("nobody listens there")),
                    reason => {
                        return Err(Error::new(
                            Code::Link,
                            format!("the broker refuses the question: {reason:?}"),
                            "see the broker's access list",
                        ));
                    }
                },
                Event::Incoming(Packet::Publish(message)) => {
                    if let Some(answer) = self.heard(&message)? {
                        return Ok(answer);
                    }
                }
                _ => {}
            }
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        let mut question = serde_json::to_value(&request.question)
            .map_err(|error| Error::new(Code::Usage, format!("the question has no JSON form: {error}"), ""))?;
        if let Some(camera) = &request.camera {
            question["camera"] = camera.clone().into();
        }
        let properties = PublishProperties {
            response_topic: Some(self.way_back.clone()),
            payload_format_indicator: Some(1),
            content_type: Some("application/json".to_owned()),
            ..PublishProperties::default()
        };
        let (topic, body) = (&self.topics.ask, question.to_string());
        self.hand_over(self.client.try_publish_with_properties(topic, QoS::AtLeastOnce, false, body, properties))
    }

    fn heard(&self, message: &Publish) -> Result<Option<Vec<u8>>> {
        if message.topic == self.way_back.as_bytes() {
            return Ok(Some(message.payload.to_vec()));
        }
        if message.topic == self.topics.status.as_bytes() && message.payload[..] == *b"offline" {
            return Err(self.absent("it is offline"));
        }
        Ok(None)
    }

    async fn leave(&mut self) {
        if self.client.try_disconnect().is_ok() {
            while !matches!(self.eventloop.poll().await, Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_)) {}
        }
    }

    fn hand_over<E: std::fmt::Display>(&self, result: Result<(), E>) -> Result<()> {
        result.map_err(|error| Error::new(Code::Link, format!("the question cannot be sent: {error}"), "ask again"))
    }

    fn broke(&self, error: &ConnectionError) -> Error {
        Trouble::explain(error, &self.address).error
    }

    fn absent(&self, cause: &str) -> Error {
        Error::new(
            Code::Link,
            format!("no lookout answers on {}: {cause}", self.topics.ask),
            format!("is {} its name, is it running, and is the prefix right?", self.device),
        )
    }
}

fn read(body: &[u8], device: &str) -> Result<Value> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| {
        Error::new(Code::Link, format!("{device} answered with no JSON: {error}"), "is it a lookout?")
    })?;
    let Some(error) = answer.get("error") else { return Ok(answer) };
    let field = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    Err(Error::new(code(field("code")), field("message"), field("help")))
}

/// The code of this name. One that this version does not know stands for a link that does not work.
fn code(name: &str) -> Code {
    use Code as C;
    let all = [
        C::Usage,
        C::Input,
        C::Picture,
        C::Text,
        C::Bundle,
        C::Unsupported,
        C::Engine,
        C::Output,
        C::Stopped,
        C::Config,
        C::Camera,
        C::Busy,
        C::Link,
        C::Memory,
    ];
    all.into_iter().find(|code| code.as_str() == name).unwrap_or(Code::Link)
}
