//! Many devices at one mosquitto, in one process.
//!
//! Real: lookout's memory of events and its outbox (a database for each device), its whole MQTT link with its threads, the
//! messages and snapshots as the daemon sends them, and mosquitto with the settings of `examples/fleet`, without TLS.
//! Simulated: cameras, networks and pictures (made-up bytes), and the disks: by default the memories lie in RAM, because a
//! thousand boards have a thousand disks. All share this machine's processor with the broker and with who takes the events.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lookout::link::Link;
use lookout::link::mqtt::{self, Device, MqttConfig};
use lookout::memory::{EventStore, MemoryConfig, Outbox};
use lookout::watch::{Desk, Event, EventId, Phase, Report};
use serde_json::{Value, json};

use super::PATIENCE;
use super::broker::Broker;
use super::desk::{self, ScriptedDesk};
use super::taker::{Taken, Taker};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Threads that make events.
const MAKERS: usize = 4;
/// Floats of an embedding, as the default bundle has them.
const WIDTH: usize = 384;

pub struct Plan {
    devices: usize,
    /// Events a device in the burst.
    burst: usize,
    /// Events a second of all devices together, and how long, with the broker there and over its restart.
    rate: f64,
    seconds: u64,
    /// How long the broker is away.
    away: u64,
    snapshot_bytes: usize,
    folder: PathBuf,
}

impl Plan {
    pub fn read(options: &[&str]) -> Outcome<Self> {
        let mut plan = Self {
            devices: 1000,
            burst: 10,
            rate: 50.0,
            seconds: 30,
            away: 5,
            snapshot_bytes: 30_000,
            folder: PathBuf::from("/dev/shm"),
        };
        for pair in options.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} wants a value", pair[0]).into()) };
            match *name {
                "--devices" => plan.devices = value.parse()?,
                "--burst" => plan.burst = value.parse()?,
                "--rate" => plan.rate = value.parse()?,
                "--seconds" => plan.seconds = value.parse()?,
                "--away" => plan.away = value.parse()?,
                "--snapshot-bytes" => plan.snapshot_bytes = value.parse()?,
                "--folder" => plan.folder = value.into(),
                other => return Err(format!("there is no {other}").into()),
            }
        }
        Ok(plan)
    }
}

struct Board {
    store: Arc<EventStore>,
    desk: Arc<ScriptedDesk>,
    link: Mutex<Box<dyn Link>>,
    last: AtomicU64,
    embedding: Arc<[f32]>,
}

impl Board {
    fn start(plan: &Plan, folder: &std::path::Path, port: u16, number: usize) -> Outcome<Self> {
        let name = format!("board-{number:04}");
        let store = Arc::new(EventStore::open(&folder.join(&name), &MemoryConfig::default())?);
        let desk = ScriptedDesk::showing(desk::picture(plan.snapshot_bytes, number as u64));
        desk.put_trigger(toml::from_str("name = \"door\"\nwhen = \"a person\"")?)?;
        let config = MqttConfig { url: format!("mqtt://127.0.0.1:{port}"), embeddings: true, ..MqttConfig::default() };
        let device = Device {
            id: name.clone(),
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bundle: desk::BUNDLE.to_owned(),
        };
        let link = mqtt::start(config, &device, desk.clone(), store.clone())?;
        let embedding = (0..WIDTH).map(|n| ((n * (number + 1)) % 97) as f32 / 97.0 - 0.5).collect();
        Ok(Self { store, desk, link: Mutex::new(link), last: AtomicU64::new(0), embedding })
    }

    /// An event from its begin to its end: on the disk, then told, as the daemon does it. Two messages.
    fn event(&self, number: usize) -> lookout::Result<()> {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let id = EventId::next(EventId(self.last.load(Ordering::Relaxed)), at_ms);
        self.last.store(id.0, Ordering::Relaxed);
        for (sequence, phase) in [(0, Phase::Begin), (1, Phase::End)] {
            let begin = phase == Phase::Begin;
            let event = Event {
                id,
                sequence,
                phase,
                trigger: "door".to_owned(),
                camera: "front".to_owned(),
                began_ms: at_ms,
                at_ms,
                score: 0.75,
                peak: 0.875,
                caption: Some(format!("a person stands at the door, number {number}")),
                boxes: Vec::new(),
                size: [640, 480],
                snapshot: true,
                bundle: desk::BUNDLE.to_owned(),
            };
            let report = Report {
                event,
                jpeg: begin.then(|| self.desk.jpeg.lock().unwrap().clone()),
                embedding: begin.then(|| self.embedding.clone()),
                to_mqtt: true,
                to_serial: false,
            };
            self.store.record(&report)?;
            self.desk.report(report);
        }
        Ok(())
    }
}

struct Storm<'a> {
    plan: &'a Plan,
    boards: Vec<Board>,
    made: AtomicU64,
    taker: Taker,
}

impl Storm<'_> {
    /// Makes events: `each` of every board as fast as it goes, or for `time` at the plan's rate.
    fn make(&self, each: Option<usize>, time: Duration) {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for maker in 0..MAKERS {
                scope.spawn(move || {
                    // A board is in one thread, so that its events are in order.
                    let own: Vec<&Board> = self.boards.iter().skip(maker).step_by(MAKERS).collect();
                    let mut turn = 0;
                    loop {
                        let number = turn * MAKERS + maker;
                        if own.is_empty() || each.is_some_and(|each| turn >= each * own.len()) {
                            return;
                        }
                        if each.is_none() {
                            let due = Duration::from_secs_f64(number as f64 / self.plan.rate);
                            if due >= time {
                                return;
                            }
                            std::thread::sleep(due.saturating_sub(begin.elapsed()));
                        }
                        own[turn % own.len()].event(number).expect("the memory takes events");
                        self.made.fetch_add(2, Ordering::Relaxed);
                        turn += 1;
                    }
                });
            }
        });
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed) as usize
    }

    fn up(&self) -> usize {
        self.boards.iter().filter(|board| board.link.lock().unwrap().status().up).count()
    }

    /// Seconds until `done`; an error after [`PATIENCE`].
    fn until(&self, what: &str, done: impl Fn() -> bool) -> Outcome<f64> {
        let begin = Instant::now();
        while !done() {
            if begin.elapsed() > PATIENCE {
                return Err(format!("{what} did not come: {} of {} messages", self.taker.count(), self.made()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(begin.elapsed().as_secs_f64())
    }

    fn all_taken(&self) -> Outcome<f64> {
        self.until("the last message", || self.taker.count() >= self.made())
    }
}

pub fn run(plan: &Plan) -> Outcome<()> {
    let load = load();
    let folder = tempfile::Builder::new().prefix("lookout-fleet").tempdir_in(&plan.folder)?;
    let mut broker = Broker::with(settings);
    let taker = Taker::start(broker.port, "fleet", "lookout/+/event/+");
    let begin = Instant::now();
    let boards = (0..plan.devices).map(|number| Board::start(plan, folder.path(), broker.port, number));
    let mut storm = Storm { plan, boards: boards.collect::<Outcome<_>>()?, made: AtomicU64::new(0), taker };
    storm.until("the last device", || storm.up() == plan.devices)?;
    let connected_s = begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    storm.make(Some(plan.burst), Duration::ZERO);
    let making_s = begin.elapsed().as_secs_f64();
    storm.all_taken()?;
    let burst_s = begin.elapsed().as_secs_f64();
    let burst = storm.made();

    storm.taker.taken.lock().unwrap().delays_ms.clear();
    storm.make(None, Duration::from_secs(plan.seconds));
    storm.all_taken()?;
    let steady = storm.made() - burst;
    let delays = delays(&mut storm.taker.taken.lock().unwrap());
    let usage = usage(&broker);

    // The broker goes in good order and comes back, while events go on.
    let restart = std::thread::scope(|scope| -> Outcome<Value> {
        let making = scope.spawn(|| storm.make(None, Duration::from_secs(plan.seconds)));
        std::thread::sleep(Duration::from_secs(plan.seconds / 4));
        broker.end();
        std::thread::sleep(Duration::from_secs(plan.away));
        let back = Instant::now();
        broker.start();
        storm.until("the last device after the restart", || storm.up() == plan.devices)?;
        let all_up_s = back.elapsed().as_secs_f64();
        making.join().map_err(|_| "a maker failed")?;
        storm.all_taken()?;
        Ok(json!({"away_s": plan.away, "all_connected_again_s": all_up_s, "all_taken_s": back.elapsed().as_secs_f64()}))
    })?;

    storm.until("an empty outbox", || storm.boards.iter().all(|board| board.store.is_empty().unwrap_or(false)))?;
    let pictures = Taker::start(broker.port, "pictures", "lookout/+/snapshot");
    storm.until("the last snapshot", || pictures.count() >= plan.devices)?;
    let (taken, twice) = {
        let taken = storm.taker.taken.lock().unwrap();
        (taken.messages.len(), taken.all - taken.messages.len() as u64)
    };
    let outcome = json!({
        "devices": plan.devices, "connected_s": connected_s,
        "burst": {"messages": burst, "made_s": making_s, "taken_s": burst_s, "messages_per_s": burst as f64 / burst_s},
        "steady": {"messages": steady, "messages_per_s": steady as f64 / plan.seconds as f64, "delay_ms": delays},
        "restart": restart,
        "messages": storm.made(), "lost": storm.made() - taken, "delivered_twice": twice,
        "most_twice_at_qos_1": 16 * plan.devices, "snapshots_kept": pictures.count(), "snapshot_bytes": plan.snapshot_bytes,
        "broker": usage, "load_before": load, "load_after": self::load(),
    });
    table(&outcome);
    println!("{outcome}");
    // As when a house loses its power: a thousand goodbyes prove nothing more.
    std::mem::take(&mut storm.boards).into_iter().for_each(std::mem::forget);
    if storm.made() == taken { Ok(()) } else { Err("messages were lost".into()) }
}

/// The settings of `examples/fleet` without certificates.
fn settings(folder: &std::path::Path, port: u16) -> String {
    let text = include_str!("../../examples/fleet/mosquitto.conf");
    let secret = ["cafile", "certfile", "keyfile", "require_certificate", "use_identity_as_username", "acl_file"];
    let lines = text.lines().filter(|line| !secret.iter().any(|word| line.starts_with(word)));
    let text: Vec<&str> = lines.collect();
    text.join("\n")
        .replace("listener 8883", &format!("listener {port} 127.0.0.1\nallow_anonymous true"))
        .replace("/var/lib/mosquitto", &folder.display().to_string())
}

fn delays(taken: &mut Taken) -> Value {
    taken.delays_ms.sort_unstable();
    let at = |share: f64| taken.delays_ms.get((taken.delays_ms.len().saturating_sub(1) as f64 * share) as usize);
    json!({"median": at(0.5), "p95": at(0.95), "most": at(1.0)})
}

/// What the broker takes of the machine.
fn usage(broker: &Broker) -> Value {
    let folder = PathBuf::from(format!("/proc/{}", broker.id()));
    let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
    let memory =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let files = std::fs::read_dir(folder.join("fd")).map(Iterator::count).ok();
    json!({"memory_mb": memory.map(|kib| kib / 1024), "open_files": files})
}

/// The load average of the last minute.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn table(outcome: &Value) {
    println!("| what | result |\n|---|---|");
    let number = |path: &str| match outcome.pointer(path) {
        Some(Value::Number(number)) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or_default()),
        Some(value) => value.to_string(),
        None => "?".to_owned(),
    };
    for (what, text) in [
        ("devices, all connected after", "{/devices}, {/connected_s} s"),
        ("burst", "{/burst/messages} messages in {/burst/taken_s} s: {/burst/messages_per_s} a second"),
        ("steady, messages a second", "{/steady/messages_per_s}"),
        (
            "delay, from made to taken",
            "median {/steady/delay_ms/median} ms, p95 {/steady/delay_ms/p95} ms, most {/steady/delay_ms/most} ms",
        ),
        ("broker away for", "{/restart/away_s} s; all connected {/restart/all_connected_again_s} s after its return"),
        ("messages in all", "{/messages}"),
        ("lost", "{/lost}"),
        ("delivered twice", "{/delivered_twice}"),
        ("snapshots kept by the broker", "{/snapshots_kept}"),
        ("broker", "{/broker/memory_mb} MB, {/broker/open_files} open files"),
        ("load average before, after", "{/load_before}, {/load_after}"),
    ] {
        let mut line = String::new();
        let mut parts = text.split('{');
        line += parts.next().unwrap_or_default();
        for part in parts {
            let (path, rest) = part.split_once('}').unwrap_or_default();
            line += &number(path);
            line += rest;
        }
        println!("| {what} | {line} |");
    }
}
