//! Events of many devices in one PostgreSQL, found by words: `examples/fleet/fleet.py` with a real broker and a real
//! database. `make test-fleet` installs what this needs; where it is missing nothing is tested, and that is said.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use crate::peers::outbox::event;
use crate::peers::*;
use lookout::link::Link;
use lookout::link::mqtt::{self, Device, MqttConfig};
use serde_json::Value;

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet").join(file)
}

/// What is missing on this machine, if anything. With `LOOKOUT_FLEET` set it is an error.
fn missing() -> bool {
    let has = |what: &str| Path::new("/usr/bin/python3").exists() && python(&format!("import {what}")).status.success();
    let vector = std::fs::read_dir("/usr/share/postgresql").is_ok_and(|versions| {
        versions.flatten().any(|version| version.path().join("extension/vector.control").exists())
    });
    let needs = [
        (Path::new("/usr/lib/postgresql").exists(), "PostgreSQL (postgresql)"),
        (vector, "pgvector (examples/fleet/pgvector.sh)"),
        (has("paho.mqtt"), "python3-paho-mqtt"),
        (has("psycopg2"), "python3-psycopg2"),
    ];
    let lacks: Vec<&str> = needs.iter().filter(|(there, _)| !there).map(|(_, name)| *name).collect();
    if !lacks.is_empty() {
        println!("not tested, as this machine lacks {}: `make test-fleet` installs it", lacks.join(", "));
        assert!(std::env::var_os("LOOKOUT_FLEET").is_none(), "missing: {lacks:?}");
    }
    !lacks.is_empty()
}

fn python(code: &str) -> Output {
    Command::new("/usr/bin/python3").args(["-c", code]).output().unwrap()
}

/// A database of its own with the table, stopped when dropped.
struct Database {
    folder: tempfile::TempDir,
    address: String,
}

impl Database {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL, another user where root tests, must get in.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut database = Self { folder, address: String::new() };
        database.address = database.scratch("start").trim().to_owned();
        let made = fleet(&["setup", "--database", &database.address]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        database
    }

    fn scratch(&self, what: &str) -> String {
        // What PostgreSQL inherits it keeps open: not a pipe that is read to its end.
        let said = self.folder.path().join("said");
        let out = std::fs::File::create(&said).unwrap();
        let done = Command::new(example("scratch-database.sh")).arg(what).arg(self.folder.path()).stdout(out).status();
        assert!(done.unwrap().success(), "the database does not {what}");
        std::fs::read_to_string(said).unwrap()
    }

    /// The only column of the only row.
    fn asks(&self, sql: &str) -> String {
        let done = Command::new("psql").args(["-X", "-q", "-t", "-A", "-c", sql, &self.address]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = Command::new(example("scratch-database.sh")).arg("stop").arg(self.folder.path()).status();
    }
}

/// `fleet.py take`, killed when dropped.
struct Taker(Child);

impl Taker {
    fn start(broker: &Broker, database: &Database) -> Self {
        let url = format!("mqtt://127.0.0.1:{}", broker.port);
        let log = broker.folder.path().join("fleet.log");
        let err = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let command = ["take", "--broker", &url, "--database", &database.address];
        let child = Command::new(example("fleet.py")).args(command).stderr(err).stdin(Stdio::null()).spawn().unwrap();
        Self(child)
    }

    fn log(broker: &Broker) -> String {
        std::fs::read_to_string(broker.folder.path().join("fleet.log")).unwrap_or_default()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        // As a power cut would.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fleet(arguments: &[&str]) -> Output {
    Command::new(example("fleet.py")).args(arguments).output().unwrap()
}

fn link(broker: &Broker, name: &str, outbox: &Arc<MemoryOutbox>) -> Box<dyn Link> {
    let config = MqttConfig { embeddings: true, ..config(broker.port) };
    mqtt::start(config, &Device { id: name.to_owned(), ..device() }, desk(&[]), outbox.clone()).unwrap()
}

/// The broker has the session of a taker, so that nothing is lost from now on.
fn until_taken(broker: &Broker, times: usize) {
    until("fleet.py is connected", || Taker::log(broker).matches("connected to").count() >= times);
    until("it has subscribed", || broker.log().contains("lookout-fleet"));
}

#[test]
fn words_find_the_events_of_all_devices() {
    if missing() {
        return;
    }
    let (broker, database) = (Broker::persistent(), Database::start());
    let taker = Taker::start(&broker, &database);
    until_taken(&broker, 1);
    let program = format!("{} --bundle {}/models/default", env!("CARGO_BIN_EXE_lookout"), env!("CARGO_MANIFEST_DIR"));
    let embed = |words: &str| -> (String, Vec<f32>) {
        let mut command = program.split(' ');
        let done =
            Command::new(command.next().unwrap()).args(command).args(["embed", "--json", "--text", words]).output();
        let answer: Value = serde_json::from_slice(&done.unwrap().stdout).unwrap();
        (answer["bundle"].as_str().unwrap().to_owned(), serde_json::from_value(answer["embedding"].clone()).unwrap())
    };
    // What the pictures show is said by sentences: their embeddings lie in the same space.
    let mut links = Vec::new();
    let seen = ["a dog runs on the beach", "a man repairs a bicycle", "two children play in the snow"];
    for (number, sentence) in seen.iter().enumerate() {
        let outbox = Arc::new(MemoryOutbox::default());
        let (bundle, embedding) = embed(sentence);
        for (sequence, phase) in [(0, lookout::watch::Phase::Begin), (1, lookout::watch::Phase::End)] {
            // The same id on each device, as chance may have it.
            let mut event = event(7, sequence, phase);
            (event.caption, event.bundle) = ((sequence == 0).then(|| (*sentence).to_owned()), bundle.clone());
            outbox.push(event);
        }
        outbox.embed(7, &embedding);
        links.push(link(&broker, &format!("board-{number}"), &outbox));
    }
    until("all have come", || database.asks("SELECT count(*) FROM events WHERE ended IS NOT NULL") == "3");
    let search = |more: &[&str]| {
        let words = ["search", "a puppy by the sea", "--json", "--lookout", &program, "--database", &database.address];
        let done = fleet(&[&words[..], more].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice::<Value>(&done.stdout).unwrap()["events"].as_array().unwrap().clone()
    };
    for indexed in [false, true] {
        if indexed {
            assert!(fleet(&["index", "--database", &database.address]).status.success());
        }
        let found = search(&[]);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0]["device"], "board-0", "{found:?}");
        assert_eq!(found[0]["caption"], seen[0], "the begin has it, the end keeps it");
        assert!(found[0]["score"].as_f64() > found[1]["score"].as_f64());
        assert_eq!(search(&["--device", "board-2", "--since", "1h"])[0]["caption"], seen[2]);
        assert!(search(&["--trigger", "other"]).is_empty());
    }
    links.into_iter().for_each(stop);
    drop(taker);
}

#[test]
fn no_event_is_lost_or_doubled_when_the_taker_the_database_and_the_broker_fail() {
    if missing() {
        return;
    }
    let (mut broker, database) = (Broker::persistent(), Database::start());
    let mut taker = Some(Taker::start(&broker, &database));
    until_taken(&broker, 1);
    let outbox = Arc::new(MemoryOutbox::default());
    let link = link(&broker, "porch", &outbox);
    let count = || database.asks("SELECT count(*) FROM events").parse::<u64>().unwrap();
    for round in 0..3 {
        outbox.fill(1 + round * 1_000, 700);
        until("some are in the table", || count() > round * 1_000);
        let more = || outbox.fill(701 + round * 1_000, 300);
        match round {
            0 => {
                drop(taker.take());
                more();
                taker = Some(Taker::start(&broker, &database));
            }
            1 => {
                database.scratch("stop");
                more();
                until("it is said", || Taker::log(&broker).contains("the database does not take events"));
                database.scratch("start");
            }
            _ => {
                broker.end();
                more();
                broker.start();
            }
        }
        until("all are in the table", || outbox.left() == 0 && count() == (round + 1) * 1_000);
    }
    assert_eq!(database.asks("SELECT count(DISTINCT id) FROM events WHERE device = 'porch'"), "3000");
    stop(link);
}

#[test]
fn what_is_no_event_is_named_and_does_not_hold_up_the_others() {
    if missing() {
        return;
    }
    let (broker, database) = (Broker::persistent(), Database::start());
    let _taker = Taker::start(&broker, &database);
    until_taken(&broker, 1);
    let sound = serde_json::to_value(event(1, 0, lookout::watch::Phase::Begin)).unwrap();
    let with = |key: &str, value: Value| {
        let mut event = sound.clone();
        event[key] = value;
        event.to_string()
    };
    let bad = [
        "no JSON".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "[".repeat(100_000),
        with("id", Value::from("x")),
        with("id", Value::from(-1)),
        with("sequence", Value::from(1_u64 << 40)),
        with("began_ms", Value::from(1e300)),
        with("caption", Value::from("a\0b")),
        with("caption", Value::from(7)),
        with("embedding", Value::from("not base64!")),
        with("embedding", Value::from("")),
        with("embedding", Value::from("AAAA")),
    ];
    let writer = Client::reads(broker.port, "writer", &[]);
    for text in &bad {
        writer.writes("lookout/porch/event/door", text.as_bytes());
    }
    writer.writes("lookout/porch/event/door", sound.to_string());
    until("the sound one is in the table", || database.asks("SELECT count(*) FROM events") == "1");
    let log = Taker::log(&broker);
    assert_eq!(log.matches("is left out").count(), bad.len(), "{log}");
    assert!(log.contains("lookout/porch/event/door"), "{log}");
}
