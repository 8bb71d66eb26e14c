//! Who lookout talks to in the tests of MQTT: a real mosquitto, other clients, a line that can be cut.
#![allow(dead_code, unused_imports)]

pub mod broker;
pub mod certificates;
pub mod client;
#[path = "../desk.rs"]
pub mod desk;
pub mod line;
pub mod outbox;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lookout::link::Link;
use lookout::link::mqtt::{self, Device, MqttConfig};
use lookout::watch::Desk;

pub use broker::Broker;
pub use client::Client;
pub use desk::ScriptedDesk;
pub use line::Line;
pub use outbox::MemoryOutbox;

/// Longest wait for anything, generous for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`, and panics with `what` where it does not come.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What stands for a picture: not a JPEG file, but bytes that are recognised.
pub const JPEG: &[u8] = b"\xff\xd8 a picture \xff\xd9";

/// A desk whose bundle cannot speak, with triggers of these names and words.
pub fn desk(triggers: &[(&str, &str)]) -> Arc<ScriptedDesk> {
    let desk = ScriptedDesk::showing(JPEG.to_vec());
    *desk.lacks.lock().unwrap() = vec!["caption"];
    for (name, when) in triggers {
        desk.put_trigger(toml::from_str(&format!("name = {name:?}\nwhen = {when:?}")).unwrap()).unwrap();
    }
    desk
}

pub fn device() -> Device {
    Device {
        id: "porch".to_owned(),
        name: "Porch".to_owned(),
        version: "0.1.0".to_owned(),
        bundle: "default 2".to_owned(),
    }
}

/// A configuration with the shortest times that are allowed.
pub fn config(port: u16) -> MqttConfig {
    MqttConfig {
        url: format!("mqtt://127.0.0.1:{port}"),
        keep_alive: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        ..MqttConfig::default()
    }
}

pub fn start(config: &MqttConfig, desk: &Arc<ScriptedDesk>, outbox: &Arc<MemoryOutbox>) -> Box<dyn Link> {
    mqtt::start(config.clone(), &device(), desk.clone(), outbox.clone()).unwrap()
}

pub fn stop(mut link: Box<dyn Link>) {
    link.stop(Instant::now() + Duration::from_secs(5));
}

/// Waits until the link is connected and its broker has said so.
pub fn until_up(link: &dyn Link) {
    until("the link is up", || link.status().up);
}

/// Waits until the link says why it is down, and returns that.
pub fn until_trouble(link: &dyn Link, cause: &str) -> String {
    let mut note = String::new();
    until(&format!("trouble that says {cause:?}"), || {
        note = link.status().note.unwrap_or_default();
        note.contains(cause)
    });
    assert!(!link.status().up);
    note
}
