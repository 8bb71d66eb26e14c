//! What the tests of the memory share: reports made from a number, and folders.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lookout::memory::{EventStore, MemoryConfig};
use lookout::watch::{Event, EventId, Phase, Report};

/// The bundle of most events.
pub const BUNDLE: &str = "test@1+0123456789ab";
/// Floats of an embedding.
pub const WIDTH: usize = 384;

/// Numbers that look random and are the same each time.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `-1..1`.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A direction, of length 1.
    pub fn direction(&mut self, width: usize) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..width).map(|_| self.float() + self.float() + self.float()).collect();
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

/// A report of an event that began at `began_ms`.
pub fn report(id: u64, sequence: u32, phase: Phase, began_ms: u64) -> Report {
    let begin = phase == Phase::Begin;
    Report {
        event: Event {
            id: EventId(id),
            sequence,
            phase,
            trigger: "door".to_owned(),
            camera: "front".to_owned(),
            began_ms,
            at_ms: began_ms + u64::from(sequence),
            score: 0.75,
            peak: 0.8125,
            caption: Some(format!("event {id}, message {sequence}")),
            boxes: Vec::new(),
            size: [640, 480],
            snapshot: true,
            bundle: BUNDLE.to_owned(),
        },
        jpeg: begin.then(|| jpeg(id, 3_000)),
        embedding: begin.then(|| Noise(id).direction(WIDTH).into()),
        to_mqtt: true,
        to_serial: false,
    }
}

/// The report with which an event of now begins.
pub fn begin(id: u64) -> Report {
    report(id, 0, Phase::Begin, now_ms())
}

/// Bytes that stand for a JPEG file, different for each event.
pub fn jpeg(id: u64, bytes: usize) -> Arc<[u8]> {
    let mut noise = Noise(id ^ 0xffff);
    (0..bytes).map(|_| noise.next() as u8).collect()
}

pub fn open(folder: &std::path::Path) -> EventStore {
    EventStore::open(folder, &MemoryConfig::default()).expect("the memory opens")
}

/// Waits until `done`, for a minute at most.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited a minute for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
