//! kill -9 and power cuts at every write: what was acknowledged is there, and nothing is there by half.
//!
//! The recording process is this test program itself, run again as `child`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::*;
use crate::vfs;
use bytesize::ByteSize;
use lookout::memory::{EventFilter, EventStore, MemoryConfig, Outbox};
use lookout::watch::{EventId, Phase, Report};

/// What a child is told, in the environment.
const JOB: &str = "LOOKOUT_TEST_JOB";

/// What a child does.
#[derive(Clone)]
struct Job {
    folder: PathBuf,
    /// Events that are recorded; 0 for as many as there is time for.
    events: u64,
    jpeg_bytes: usize,
    /// Most bytes of the memory.
    bytes: u64,
    end_at: Option<u64>,
    power_cut: Option<u64>,
}

/// What a child has said: each line before or after the deed.
#[derive(Default)]
struct Told {
    /// The highest acknowledged sequence of each event.
    stored: BTreeMap<u64, u32>,
    /// Messages that may have left the outbox.
    leaving: BTreeSet<(u64, u32)>,
    /// Messages that have.
    left: BTreeSet<(u64, u32)>,
    setting: u64,
    /// Writes of a child that came to its end.
    count: Option<u64>,
}

fn said(folder: &Path) -> PathBuf {
    folder.join("said")
}

impl Job {
    fn new(folder: &Path, events: u64) -> Self {
        Self { folder: folder.to_owned(), events, jpeg_bytes: 3_000, bytes: 1 << 31, end_at: None, power_cut: None }
    }

    fn command(&self) -> Command {
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "power::child", "--nocapture", "--test-threads=1"]).env(
            JOB,
            format!(
                "{} {} {} {} {} {}",
                self.events,
                self.jpeg_bytes,
                self.bytes,
                number(self.end_at),
                number(self.power_cut),
                self.folder.display()
            ),
        );
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn from_env() -> Option<Self> {
        let text = std::env::var(JOB).ok()?;
        let mut fields = text.splitn(6, ' ');
        let mut next = || fields.next().expect("six fields").to_owned();
        Some(Self {
            events: next().parse().expect("a number"),
            jpeg_bytes: next().parse().expect("a number"),
            bytes: next().parse().expect("a number"),
            end_at: next().parse().ok(),
            power_cut: next().parse().ok(),
            folder: next().into(),
        })
    }

    fn config(&self) -> MemoryConfig {
        MemoryConfig { bytes: ByteSize(self.bytes), days: 36_500, ..MemoryConfig::default() }
    }

    /// The reports of an event: two or three.
    fn reports(&self, id: u64) -> Vec<Report> {
        let began_ms = 1_795_000_000_000 + id;
        let mut reports = vec![report(id, 0, Phase::Begin, began_ms)];
        reports[0].jpeg = Some(jpeg(id, self.jpeg_bytes));
        if id.is_multiple_of(2) {
            reports.push(report(id, 1, Phase::Update, began_ms));
        }
        reports.push(report(id, reports.len() as u32, Phase::End, began_ms));
        reports
    }

    /// Records, and says what was acknowledged. The file has no buffer: what is said survives the process.
    fn work(&self) {
        vfs::install();
        vfs::plan().end_at = self.end_at;
        vfs::plan().power_cut = self.power_cut;
        let mut out = OpenOptions::new().create(true).append(true).open(said(&self.folder)).expect("a file");
        let mut say = |line: String| out.write_all(line.as_bytes()).expect("said");
        let store = EventStore::open(&self.folder, &self.config()).expect("the memory opens");
        let first = store.last_id().0 + 1;
        for id in first.. {
            if self.events > 0 && id >= first + self.events {
                break;
            }
            for report in self.reports(id) {
                store.record(&report).expect("recorded");
                say(format!("stored {id} {}\n", report.event.sequence));
            }
            if id % 3 == 0 {
                let waiting = store.waiting(0, 2, 0).expect("the outbox");
                let names: Vec<String> =
                    waiting.iter().map(|w| format!("{} {}\n", w.event.id.0, w.event.sequence)).collect();
                let places: Vec<i64> = waiting.iter().map(|w| w.place).collect();
                say(names.iter().map(|name| format!("leaving {name}")).collect());
                store.acknowledged(&places).expect("acknowledged");
                say(names.iter().map(|name| format!("left {name}")).collect());
            }
            if id % 5 == 0 {
                store.set_setting("count", &id.to_string()).expect("set");
                say(format!("setting {id}\n"));
            }
        }
        store.close().expect("closed");
        say(format!("count {}\n", vfs::plan().count));
    }

    /// Runs the child to its end, or to the one that was set.
    fn run(&self) -> Told {
        let status = self.command().status().expect("the child runs");
        let told = Told::read(&self.folder);
        assert_eq!(status.success(), told.count.is_some(), "it ends where it was told to: {status}");
        told
    }
}

impl Told {
    fn read(folder: &Path) -> Self {
        let mut told = Told::default();
        for line in std::fs::read_to_string(said(folder)).unwrap_or_default().lines() {
            let mut words = line.split(' ');
            let verb = words.next().expect("a verb");
            let mut number = || words.next().expect("a number").parse::<u64>().expect("a number");
            match verb {
                "stored" => drop(told.stored.insert(number(), number() as u32)),
                "leaving" => drop(told.leaving.insert((number(), number() as u32))),
                "left" => drop(told.left.insert((number(), number() as u32))),
                "setting" => told.setting = number(),
                "count" => told.count = Some(number()),
                other => panic!("{other}"),
            }
        }
        told
    }
}

/// Opens the memory that a child left and holds it against what the child said.
#[track_caller]
fn check(job: &Job, told: &Told) {
    let store = EventStore::open(&job.folder, &job.config()).expect("the memory opens");
    let status = store.status();
    assert_eq!(status.note, None, "it is not damaged");
    let events = store.list(&EventFilter::default(), usize::MAX >> 1).expect("a list");
    assert_eq!(status.events, events.len() as u64);
    for (id, sequence) in &told.stored {
        let event = store.get(EventId(*id)).expect("it can be read").expect("what was acknowledged is there");
        assert!(event.sequence >= *sequence, "event {id} is at {}, {sequence} was acknowledged", event.sequence);
    }
    let mut expected = BTreeSet::new();
    for event in &events {
        let id = event.id.0;
        let reports = job.reports(id);
        assert_eq!(*event, reports[event.sequence as usize].event);
        let (_, floats) = store.embedding(event.id).unwrap().expect("an embedding goes with its event");
        assert_eq!(floats[..], reports[0].embedding.as_ref().unwrap()[..]);
        let jpeg = store.snapshot(event.id).unwrap().expect("a snapshot goes with its event");
        assert_eq!(jpeg[..], reports[0].jpeg.as_ref().unwrap()[..]);
        expected.extend((0..=event.sequence).map(|sequence| (id, sequence)));
    }
    let extra = events.iter().filter(|event| !told.stored.contains_key(&event.id.0)).count();
    assert!(extra <= 1, "{extra} events that were not acknowledged: one can have been under way");
    let waiting = store.waiting(0, usize::MAX >> 1, 0).expect("the outbox");
    assert!(waiting.is_sorted_by(|a, b| a.place < b.place));
    let waits: BTreeSet<_> = waiting.iter().map(|w| (w.event.id.0, w.event.sequence)).collect();
    assert_eq!(waits.len(), waiting.len(), "nothing waits twice");
    assert_eq!(store.len().unwrap(), waiting.len() as u64);
    assert!(waits.is_subset(&expected), "a message without its event");
    for message in expected.difference(&waits) {
        assert!(told.leaving.contains(message), "the message {message:?} is gone");
    }
    assert_eq!(waits.intersection(&told.left).next(), None, "an acknowledged message is back");
    let setting: u64 = store.setting("count").unwrap().map_or(0, |value| value.parse().unwrap());
    assert!(setting == told.setting || setting == told.setting + 5);
    store.close().unwrap();
    drop(store);
    integrity(&job.folder);
}

#[track_caller]
fn integrity(folder: &Path) {
    let conn = rusqlite::Connection::open(folder.join("events.db")).unwrap();
    let told: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(told, "ok");
}

/// Runs `each` for the numbers from 1 to `last`, on two threads.
fn on_two_threads(last: u64, each: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number <= last) {
                    each(number);
                }
            });
        }
    });
}

/// Not a test by itself: the process that the others kill.
#[test]
fn child() {
    if let Some(job) = Job::from_env() {
        job.work();
    }
}

/// Kills a child at every write, and holds what it left against what it said. With `seed` as a power cut.
fn at_every_write(events: u64, seed: Option<u64>) {
    let whole = tempfile::tempdir().unwrap();
    let job = Job::new(whole.path(), events);
    let told = job.run();
    check(&job, &told);
    let count = told.count.expect("it came to its end");
    assert!(count > 30 * events, "{count} writes");
    on_two_threads(count, |end_at| {
        let folder = tempfile::tempdir().unwrap();
        let job =
            Job { end_at: Some(end_at), power_cut: seed.map(|seed| seed + end_at), ..Job::new(folder.path(), events) };
        let told = job.run();
        assert!(told.count.is_none(), "it ended at write {end_at}");
        let checked = std::panic::catch_unwind(|| check(&job, &told));
        assert!(checked.is_ok(), "ended at write {end_at} of {count}");
    });
}

#[test]
fn a_kill_at_every_write_loses_nothing_that_was_acknowledged() {
    at_every_write(3, None);
}

#[test]
fn a_power_cut_at_every_write_loses_nothing_that_was_acknowledged() {
    at_every_write(3, Some(1));
}

/// The same memory is killed again and again.
#[test]
fn kills_at_random_times_leave_a_sound_memory() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), 0);
    let mut noise = Noise(7);
    for round in 0..15 {
        let before = Told::read(folder.path()).stored.len();
        let mut child = job.command().spawn().expect("the child runs");
        wait_for("the child records", || {
            assert_eq!(child.try_wait().expect("a state"), None, "the child does not end by itself");
            Told::read(folder.path()).stored.len() > before
        });
        std::thread::sleep(Duration::from_millis(noise.next() % 40));
        child.kill().expect("killed");
        child.wait().expect("ended");
        let told = Told::read(folder.path());
        // What was under way when earlier children were killed stays as it was.
        let store = EventStore::open(folder.path(), &job.config()).unwrap();
        assert_eq!(store.status().note, None, "round {round}");
        for (id, sequence) in &told.stored {
            let event = store.get(EventId(*id)).unwrap().expect("what was acknowledged is there");
            assert!(event.sequence >= *sequence, "round {round}");
            assert!(store.snapshot(event.id).unwrap().is_some() && store.embedding(event.id).unwrap().is_some());
        }
        let waits: BTreeSet<_> =
            store.waiting(0, usize::MAX >> 1, 0).unwrap().iter().map(|w| (w.event.id.0, w.event.sequence)).collect();
        assert_eq!(waits.intersection(&told.left).next(), None);
        store.close().unwrap();
        drop(store);
        integrity(folder.path());
    }
}

#[test]
fn kills_while_old_events_are_dropped_leave_a_sound_memory() {
    let whole = tempfile::tempdir().unwrap();
    let small = |folder: &Path| Job { jpeg_bytes: 200_000, bytes: 4_000_000, ..Job::new(folder, 40) };
    let count = small(whole.path()).run().count.expect("it came to its end");
    let kept = EventStore::open(whole.path(), &small(whole.path()).config()).unwrap().status().events;
    assert!(kept < 40, "retention was at work: {kept} events");
    let mut noise = Noise(11);
    let ends: Vec<u64> = (0..40).map(|_| count / 3 + noise.next() % (count * 2 / 3)).collect();
    on_two_threads(ends.len() as u64, |number| {
        let folder = tempfile::tempdir().unwrap();
        let end_at = ends[number as usize - 1];
        let job = Job { end_at: Some(end_at), power_cut: Some(end_at), ..small(folder.path()) };
        let status = job.command().status().expect("the child runs");
        // The keeper drops when it gets to it, so that the number of writes is not the same each time.
        let told = Told::read(folder.path());
        assert_eq!(status.success(), told.count.is_some());
        // With room for all, so that nothing is dropped while it is looked at.
        let store = EventStore::open(folder.path(), &Job::new(folder.path(), 0).config()).unwrap();
        assert_eq!(store.status().note, None, "ended at write {end_at}");
        for event in store.list(&EventFilter::default(), 1_000).unwrap() {
            let reports = job.reports(event.id.0);
            let jpeg = store.snapshot(event.id).unwrap().expect("a snapshot goes with its event");
            assert_eq!(jpeg[..], reports[0].jpeg.as_ref().unwrap()[..]);
        }
        let newest = told.stored.keys().last().copied().unwrap_or(0);
        assert!(newest == 0 || store.get(EventId(newest)).unwrap().is_some(), "the newest event is there");
        let waits = store.waiting(0, 1_000, 0).unwrap();
        for (id, sequence) in &told.stored {
            let there = waits.iter().any(|w| (w.event.id.0, w.event.sequence) == (*id, *sequence));
            assert!(there || told.leaving.contains(&(*id, *sequence)), "a message went with its event");
        }
        store.close().unwrap();
        drop(store);
        integrity(folder.path());
    });
}
