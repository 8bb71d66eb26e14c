//! Many devices at one broker: two of one name are told so, and none can speak for another.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use crate::peers;
use crate::peers::*;
use lookout::link::Link;
use lookout::link::mqtt::{self, Device, MqttConfig};

fn link(config: &MqttConfig, name: &str, outbox: &Arc<MemoryOutbox>) -> Box<dyn Link> {
    let device = Device { id: name.to_owned(), ..device() };
    mqtt::start(config.clone(), &device, desk(&[]), outbox.clone()).unwrap()
}

#[test]
fn two_devices_of_one_name_are_both_told_and_what_to_do() {
    let broker = Broker::open();
    let (first, second) = (Arc::new(MemoryOutbox::default()), Arc::new(MemoryOutbox::default()));
    let one = link(&config(broker.port), "porch", &first);
    until_up(&*one);
    let two = link(&config(broker.port), "porch", &second);
    for link in [&one, &two] {
        // mosquitto 2.0.11 closes without a word, newer ones say what happened.
        let note = until_trouble(&**link, "give each its own `device`");
        assert!(note.contains("do two devices have one name?") && note.contains("\"lookout:porch\""), "{note}");
    }
    // Until then neither loses anything.
    stop(two);
    first.fill(1, 20);
    until("the one that is left works", || first.left() == 0);
    stop(one);
}

#[test]
fn devices_of_one_name_below_two_prefixes_do_not_meet() {
    let broker = Broker::open();
    let outbox = Arc::new(MemoryOutbox::default());
    let at = |prefix: &str| MqttConfig { prefix: prefix.to_owned(), ..config(broker.port) };
    let links = ["site/north", "site/south", "site"].map(|prefix| link(&at(prefix), "porch", &outbox));
    for link in &links {
        until_up(&**link);
    }
    until("all are still there", || links.iter().all(|link| link.status().up));
    assert!(!broker.log().contains("already connected"), "{}", broker.log());
    links.into_iter().for_each(stop);
}

#[test]
fn a_broker_that_throws_out_without_a_word_makes_the_name_suspicious() {
    let broker = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = broker.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in broker.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            // Accepted; what comes next is read, and the connection closed.
            let _ = stream.write_all(&[0x20, 3, 0, 0, 0]);
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    let link = link(&config(port), "porch", &Arc::new(MemoryOutbox::default()));
    let note = until_trouble(&*link, "again and again");
    assert!(note.contains("do two devices have one name?") && note.contains("`device`"), "{note}");
    stop(link);
}

#[test]
fn the_embedding_goes_out_with_the_begin_of_an_event_where_it_is_asked_for() {
    use base64::Engine;
    let broker = Broker::open();
    let listener = Client::reads(broker.port, "listener", &["lookout/+/event/+"]);
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.embed(1, &[0.5, -1.0, 0.0]);
    outbox.fill(1, 1);
    outbox.push(outbox::event(1, 1, lookout::watch::Phase::End));
    let with = link(&MqttConfig { embeddings: true, ..config(broker.port) }, "with", &outbox);
    let begin = listener.waits_for_json("lookout/with/event/door", |_| true);
    let bytes = base64::engine::general_purpose::STANDARD.decode(begin["embedding"].as_str().unwrap()).unwrap();
    assert_eq!(bytes, [64, -127_i8 as u8, 0]);
    let end = listener.waits_for_json("lookout/with/event/door", |_| true);
    assert!(end["phase"] == "end" && end["embedding"].is_null());
    stop(with);
    outbox.fill(1, 1);
    let without = link(&config(broker.port), "without", &outbox);
    assert!(listener.waits_for_json("lookout/without/event/door", |_| true)["embedding"].is_null());
    stop(without);
}

/// A broker with the configuration, the access list and the certificates of `examples/fleet`.
struct Fleet {
    folder: tempfile::TempDir,
    broker: Broker,
}

impl Fleet {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        enrol(folder.path(), &["broker", "localhost"]);
        let text = fs::read_to_string(example("mosquitto.conf")).unwrap();
        let broker = Broker::with(|store, port| {
            let certificates = folder.path().join("broker");
            fs::copy(example("access"), certificates.join("access")).unwrap();
            text.replace("listener 8883", &format!("listener {port} 127.0.0.1"))
                .replace("/etc/mosquitto/fleet", certificates.to_str().unwrap())
                .replace("/var/lib/mosquitto", store.to_str().unwrap())
        });
        Self { folder, broker }
    }

    /// The configuration that a device is given.
    fn device(&self, name: &str) -> MqttConfig {
        let base = self.folder.path().join("base.toml");
        fs::write(&base, "[[camera]]\nname = \"door\"\nsource = \"cmd:true\"\n").unwrap();
        let host = format!("localhost:{}", self.broker.port);
        enrol(self.folder.path(), &["device", name, &host, base.to_str().unwrap()]);
        let folder = self.folder.path().join(name);
        let text = fs::read_to_string(folder.join("lookout.toml")).unwrap();
        let mut whole: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(whole["device"].as_str(), Some(name));
        let mut config: MqttConfig = whole.remove("mqtt").unwrap().try_into().unwrap();
        for file in [&mut config.ca, &mut config.cert, &mut config.key].into_iter().flatten() {
            *file = folder.join(&*file);
        }
        MqttConfig { keep_alive: peers::config(0).keep_alive, ..config }
    }

    /// One of mosquitto's clients as `name`.
    fn client(&self, tool: &str, name: &str) -> Command {
        enrol(self.folder.path(), &["reader", name]);
        let own = self.folder.path().join(name);
        // Its lines as they are written, not when a block of them is full.
        let mut command = Command::new("stdbuf");
        command.arg("-oL").arg(broker::tool(tool)).args(["-V", "mqttv5", "-q", "1", "-h", "localhost"]);
        command.args(["-p", &self.broker.port.to_string(), "--cafile"]).arg(own.join("authority.pem"));
        command.arg("--cert").arg(own.join("own.pem")).arg("--key").arg(own.join("own.key"));
        command
    }

    /// Another client, which reads `filter` as `name`: its lines, the topic first.
    fn reads(&self, name: &str, filter: &str) -> Reader {
        let mut command = self.client("mosquitto_sub", name);
        let mut child = command.args(["-d", "-v", "-t", filter]).stdout(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let reader = Reader { child, lines };
        reader.waits_for("Subscribed (mid");
        reader
    }
}

struct Reader {
    child: Child,
    lines: Receiver<String>,
}

impl Reader {
    /// The next line that begins like this; what came before it is returned too.
    fn waits_for(&self, begin: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {begin:?} among {before:?}"));
            before.push(line);
            if before.last().is_some_and(|line| line.starts_with(begin)) {
                return before;
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet").join(file)
}

fn enrol(folder: &Path, arguments: &[&str]) {
    let done = Command::new(example("enrol.sh")).arg(folder).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_device_speaks_for_itself_alone() {
    let fleet = Fleet::new();
    let events = fleet.reads("fleet", "lookout/+/event/+");
    let (porch, stolen) = (Arc::new(MemoryOutbox::default()), Arc::new(MemoryOutbox::default()));
    // The device porch, and one that has its certificate and says that it is the yard.
    let config = fleet.device("porch");
    stolen.fill(1, 1);
    let liar = link(&config, "yard", &stolen);
    until("the broker refuses it", || liar.status().note.is_some_and(|note| note.contains("refuses events")));
    // Nor may it with another client, which leaves no will.
    let mut publish = fleet.client("mosquitto_pub", "porch");
    let lied = publish.args(["-t", "lookout/yard/event/door", "-m", "a lie"]).output().unwrap();
    let said = String::from_utf8_lossy(&lied.stderr).to_lowercase();
    assert!(said.contains("not authorized"), "{said}");
    porch.fill(2, 1);
    let honest = link(&config, "porch", &porch);
    until("the honest one is heard", || porch.left() == 0);
    let heard = events.waits_for("lookout/");
    assert!(heard.last().unwrap().starts_with("lookout/porch/event/door "), "{heard:?}");
    assert_eq!(stolen.left(), 1, "it waits");
    stop(liar);
    stop(honest);
}

#[test]
fn a_device_does_not_hear_what_another_one_says() {
    let fleet = Fleet::new();
    let (nosy, console) = (fleet.reads("yard", "lookout/#"), fleet.reads("console", "lookout/#"));
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.fill(1, 1);
    let porch = link(&fleet.device("porch"), "porch", &outbox);
    console.waits_for("lookout/porch/event/door");
    let yard = link(&fleet.device("yard"), "yard", &outbox);
    let heard = nosy.waits_for("lookout/yard/status");
    assert!(!heard.iter().any(|line| line.contains("porch")), "{heard:?}");
    stop(porch);
    stop(yard);
}

#[test]
fn who_has_no_certificate_of_the_fleet_is_not_let_in() {
    let (fleet, other) = (Fleet::new(), tempfile::tempdir().unwrap());
    let mut config = fleet.device("porch");
    enrol(other.path(), &["reader", "porch"]);
    let mine = config.clone();
    (config.cert, config.key) = (Some(other.path().join("porch/own.pem")), Some(other.path().join("porch/own.key")));
    let stranger = link(&config, "porch", &Arc::new(MemoryOutbox::default()));
    until_trouble(&*stranger, "certificate");
    stop(stranger);
    let known = link(&mine, "porch", &Arc::new(MemoryOutbox::default()));
    until_up(&*known);
    stop(known);
}

#[test]
fn a_site_passes_its_events_on_although_the_central_broker_was_away() {
    let mut central = Broker::persistent();
    let listener = Client::reads(central.port, "fleet", &["lookout/+/event/+"]);
    let site = Broker::with(|store, port| {
        let bridge = fs::read_to_string(example("bridge.conf")).unwrap();
        // Without certificates.
        let bridge: Vec<&str> =
            bridge.lines().filter(|line| !line.starts_with("bridge_") || line.contains("mqttv50")).collect();
        let bridge = bridge.join("\n").replace("central.example:8883", &format!("127.0.0.1:{}", central.port));
        let store = store.display();
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {store}/\n{bridge}\n"
        )
    });
    let outbox = Arc::new(MemoryOutbox::default());
    let porch = link(&config(site.port), "porch", &outbox);
    outbox.fill(1, 50);
    listener.waits_for("lookout/porch/event/door", |message| message.json()["id"] == 50);
    central.end();
    outbox.fill(51, 500);
    until("the site has them", || outbox.left() == 0);
    central.start();
    let mut missing: HashSet<u64> = (51..551).collect();
    while !missing.is_empty() {
        let event = listener.waits_for_json("lookout/porch/event/door", |_| true);
        missing.remove(&event["id"].as_u64().unwrap());
    }
    stop(porch);
}
