//! A line to the broker that can be cut, and that notes which events the broker acknowledged over it.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A TCP proxy on loopback.
pub struct Line {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cut: AtomicBool,
    ended: AtomicBool,
    connections: AtomicUsize,
    /// Names of the events that the broker has acknowledged, with how often they were sent.
    acknowledged: Mutex<HashSet<(u64, u32)>>,
    sent: Mutex<HashMap<(u64, u32), usize>>,
}

impl Line {
    pub fn to(broker: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if state.ended.load(Ordering::Relaxed) {
                    return;
                }
                state.connections.fetch_add(1, Ordering::Relaxed);
                // Where the broker is away the connection is closed, as if nobody listened.
                if let Ok(far) = TcpStream::connect(("127.0.0.1", broker)) {
                    carry(near, far, &state);
                }
            }
        });
        Self { port, shared }
    }

    /// Nothing passes any more in either direction, and neither end is told.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }

    /// New connections pass again, and what stood in old ones.
    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub fn acknowledged(&self) -> HashSet<(u64, u32)> {
        self.shared.acknowledged.lock().unwrap().clone()
    }

    /// How often events went out again.
    pub fn sent_again(&self) -> usize {
        self.shared.sent.lock().unwrap().values().map(|times| times - 1).sum()
    }

    /// Says of an event whether the broker has acknowledged it.
    pub fn witness(&self) -> impl Fn(&lookout::watch::Event) -> bool + Send + 'static {
        let shared = self.shared.clone();
        move |event| shared.acknowledged.lock().unwrap().contains(&(event.id.0, event.sequence))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn carry(near: TcpStream, far: TcpStream, shared: &Arc<Shared>) {
    let by_packet: Arc<Mutex<HashMap<u16, (u64, u32)>>> = Arc::default();
    for (from, to, outward) in [(near.try_clone(), far.try_clone(), true), (Ok(far), Ok(near), false)] {
        let (mut from, mut to) = (from.unwrap(), to.unwrap());
        let _ = to.set_nodelay(true);
        let (shared, by_packet) = (shared.clone(), by_packet.clone());
        std::thread::spawn(move || {
            let mut packets = Packets::default();
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                packets.feed(&buffer[..count], |packet| note(packet, outward, &shared, &by_packet));
                while shared.cut.load(Ordering::SeqCst) && !shared.ended.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}

fn note(packet: &[u8], outward: bool, shared: &Shared, by_packet: &Mutex<HashMap<u16, (u64, u32)>>) {
    let head = 1 + packet[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let body = &packet[head..];
    let number = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    match (packet[0] >> 4, outward) {
        // PUBLISH with an acknowledgement to come.
        (3, true) if packet[0] & 0b110 != 0 => {
            let topic = &body[2..2 + number(0)];
            let packet_id = number(2 + topic.len()) as u16;
            if String::from_utf8_lossy(topic).contains("/event/") {
                // Properties lie between; the JSON object begins at the first brace.
                let json = &body[4 + topic.len()..];
                let json = &json[json.iter().position(|byte| *byte == b'{').unwrap()..];
                let event: lookout::watch::Event = serde_json::from_slice(json).unwrap();
                let name = (event.id.0, event.sequence);
                by_packet.lock().unwrap().insert(packet_id, name);
                *shared.sent.lock().unwrap().entry(name).or_default() += 1;
            }
        }
        // PUBACK; a third byte is a reason, from 0x80 on a refusal.
        (4, false) if body.get(2).is_none_or(|reason| *reason < 0x80) => {
            if let Some(name) = by_packet.lock().unwrap().remove(&(number(0) as u16)) {
                shared.acknowledged.lock().unwrap().insert(name);
            }
        }
        _ => {}
    }
}

/// Cuts a stream into packets.
#[derive(Default)]
struct Packets {
    bytes: Vec<u8>,
}

impl Packets {
    fn feed(&mut self, more: &[u8], mut each: impl FnMut(&[u8])) {
        self.bytes.extend_from_slice(more);
        while let Some(length) = length(&self.bytes).filter(|length| *length <= self.bytes.len()) {
            each(&self.bytes[..length]);
            self.bytes.drain(..length);
        }
    }
}

/// Length of the packet that begins here, in bytes; `None` where that is not known yet.
fn length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(1 + at + 1 + length);
        }
    }
    None
}
