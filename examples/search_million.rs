//! How long a search among a million events takes on one core, and how long the first one, which loads them.
//!
//!     cargo run --release --no-default-features --features events --example search_million [EVENTS] [FOLDER]
//!
//! The memory that it makes takes 2.4 GB for a million events. It is made in FOLDER if that is given, and kept there for
//! the next time.

use std::path::{Path, PathBuf};
use std::time::Instant;

use lookout::memory::{EventFilter, EventReader, EventStore, MemoryConfig};
use lookout::watch::{Event, EventId, Phase};
use rusqlite::{Connection, params};

const WIDTH: usize = 384;
const BUNDLE: &str = "example@1";
const SEARCHES: usize = 200;
/// Times of the events: one every two seconds from here.
const BASE_MS: u64 = 1_795_000_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let scratch = tempfile::tempdir()?;
    let folder = arguments.next().map_or(scratch.path().to_owned(), PathBuf::from);
    if !folder.join("events.db").exists() {
        let begin = Instant::now();
        fill(&folder, count)?;
        println!("made a memory of {count} events in {:.1} s", begin.elapsed().as_secs_f64());
    }
    let kernel = lookout::kernels::Kernel::chosen().name();
    let reader = EventReader::open(&folder)?;
    println!("{count} events, {WIDTH} floats each, top 10, {kernel} kernel, one thread");
    let all = EventFilter::default();
    let day = EventFilter { since_ms: Some(BASE_MS + 2_000 * count.saturating_sub(43_200)), ..all.clone() };
    for (name, filter) in [("the last day", day), ("all", all)] {
        let begin = Instant::now();
        reader.find(&direction(1), BUNDLE, &filter, 10)?;
        println!("{name}: first search {:.1} ms, which loads", begin.elapsed().as_secs_f64() * 1e3);
        let mut times: Vec<f64> = Vec::new();
        for seed in 0..SEARCHES as u64 {
            let query = direction(seed * 31 % count + 1_000_000_007);
            let begin = Instant::now();
            let found = reader.find(&query, BUNDLE, &filter, 10)?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            assert_eq!(found.len(), 10);
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("{name}: median {:.1} ms, p95 {:.1} ms of {SEARCHES} searches", at(0.5), at(0.95));
    }
    println!("peak memory {}", peak().unwrap_or_default());
    Ok(())
}

/// Puts events into a new memory, many in a transaction: one by one each would wait for the disk.
fn fill(folder: &Path, count: u64) -> Result<(), Box<dyn std::error::Error>> {
    EventStore::open(folder, &MemoryConfig::default())?.close()?;
    let mut conn = Connection::open(folder.join("events.db"))?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    let tx = conn.transaction()?;
    for (number, name) in [BUNDLE, "door", "front"].into_iter().enumerate() {
        tx.execute("INSERT INTO names (number, name) VALUES (?1, ?2)", params![number as i64 + 1, name])?;
    }
    {
        let mut events = tx.prepare(
            "INSERT INTO events (id, sequence, trigger, camera, began_ms, ended, message) VALUES (?1, 1, 2, 3, ?2, 1, ?3)",
        )?;
        let mut embeddings = tx.prepare(
            "INSERT INTO embeddings (id, bundle, trigger, camera, began_ms, floats) VALUES (?1, 1, 2, 3, ?2, ?3)",
        )?;
        for n in 0..count {
            let began_ms = BASE_MS + 2_000 * n;
            let id = EventId(began_ms * 2_048);
            let event = Event {
                id,
                sequence: 1,
                phase: Phase::End,
                trigger: "door".to_owned(),
                camera: "front".to_owned(),
                began_ms,
                at_ms: began_ms + 1_000,
                score: 0.75,
                peak: 0.875,
                caption: Some("a person stands at the door".to_owned()),
                boxes: Vec::new(),
                size: [640, 480],
                snapshot: false,
                bundle: BUNDLE.to_owned(),
            };
            events.execute(params![id.0 as i64, began_ms as i64, serde_json::to_string(&event)?])?;
            let floats: Vec<u8> = direction(n).iter().flat_map(|value| value.to_le_bytes()).collect();
            embeddings.execute(params![id.0 as i64, began_ms as i64, floats])?;
        }
    }
    tx.commit()?;
    Ok(())
}

/// A direction that looks random.
fn direction(seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    for _ in 0..16 {
        next();
    }
    let mut vector: Vec<f32> = (0..WIDTH).map(|_| next() + next() + next()).collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(|kib| kib.trim().to_owned())
}
