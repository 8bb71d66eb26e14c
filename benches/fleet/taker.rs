//! The other side: takes all events with a session that the broker keeps, and notes each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lookout::watch::Event;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Event as Heard, MqttOptions};

/// What came.
#[derive(Default)]
pub struct Taken {
    /// How often, by topic, id and sequence.
    pub messages: HashMap<(String, u64, u32), u32>,
    pub all: u64,
    pub last: Option<Instant>,
    /// From being made to being here, in milliseconds, of those that came first.
    pub delays_ms: Vec<u64>,
}

pub struct Taker {
    pub taken: Arc<Mutex<Taken>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Taker {
    /// Returns once the broker has taken the subscription to `filter`.
    pub fn start(port: u16, name: &str, filter: &'static str) -> Self {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_clean_start(false).set_session_expiry_interval(Some(3600)).set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(Some(16 << 20)).set_receive_maximum(Some(1000));
        let (client, mut connection) = Client::new(options, 256);
        let (tell, ready) = crossbeam_channel::bounded(1);
        let (taken, ended) = (Arc::<Mutex<Taken>>::default(), Arc::new(AtomicBool::new(false)));
        let (into, end) = (taken.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            for heard in connection.iter() {
                match heard {
                    Ok(Heard::Incoming(Packet::ConnAck(_))) => drop(client.try_subscribe(filter, QoS::AtLeastOnce)),
                    Ok(Heard::Incoming(Packet::SubAck(_))) => drop(tell.try_send(())),
                    Ok(Heard::Incoming(Packet::Publish(publish))) => {
                        into.lock().unwrap().note(&publish.topic, &publish.payload)
                    }
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
                if end.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        ready.recv_timeout(super::PATIENCE).expect("the broker takes the subscription");
        Self { taken, ended, thread: Some(thread) }
    }

    /// Different messages so far.
    pub fn count(&self) -> usize {
        self.taken.lock().unwrap().messages.len()
    }
}

impl Taken {
    fn note(&mut self, topic: &[u8], payload: &[u8]) {
        self.all += 1;
        self.last = Some(Instant::now());
        let topic = String::from_utf8_lossy(topic).into_owned();
        let Ok(event) = serde_json::from_slice::<Event>(payload) else {
            // A picture.
            self.messages.insert((topic, 0, 0), 1);
            return;
        };
        let times = self.messages.entry((topic, event.id.0, event.sequence)).or_default();
        *times += 1;
        if *times == 1 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            self.delays_ms.push(now.saturating_sub(event.at_ms));
        }
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // It ends with the next thing that happens, the keep-alive at the latest.
        drop(self.thread.take());
    }
}
