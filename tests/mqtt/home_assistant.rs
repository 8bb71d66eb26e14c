//! What Home Assistant is told, and what it sets.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::peers::outbox::event;
use crate::peers::*;
use lookout::link::mqtt::MqttConfig;
use lookout::watch::{Desk, Event, Phase, Report};
use serde_json::{Value, json};

const CONFIG: &str = "homeassistant/device/porch/config";
const STATE: &str = "lookout/porch/state";

/// What Home Assistant's schema wants of each platform besides `platform` and `unique_id`, and what it takes.
/// Source: home-assistant/core, homeassistant/components/mqtt: schemas.py, binary_sensor.py, image.py, sensor.py,
/// switch.py, text.py.
const PLATFORMS: [(&str, &[&str], &[&str]); 5] = [
    ("binary_sensor", &[], &["value_template"]),
    ("image", &["image_topic"], &["content_type"]),
    (
        "sensor",
        &[],
        &["value_template", "unit_of_measurement", "device_class", "state_class", "suggested_display_precision"],
    ),
    ("switch", &["command_topic"], &["value_template"]),
    ("text", &["command_topic"], &["value_template", "min", "max"]),
];
const EVERY: [&str; 5] = ["platform", "unique_id", "name", "icon", "entity_category"];

/// Panics where Home Assistant would not take the message. Returns its components.
fn validate(message: &Value) -> serde_json::Map<String, Value> {
    let roots = ["device", "origin", "components", "availability_topic", "state_topic", "qos"];
    for key in message.as_object().unwrap().keys() {
        assert!(roots.contains(&key.as_str()), "{key}");
    }
    let device = message["device"].as_object().unwrap();
    assert!(!device["identifiers"].as_array().unwrap().is_empty());
    for key in device.keys() {
        assert!(["identifiers", "name", "manufacturer", "model", "sw_version"].contains(&key.as_str()), "{key}");
    }
    assert!(message["origin"]["name"].is_string());
    assert_eq!(message["availability_topic"], "lookout/porch/status");
    let components = message["components"].as_object().unwrap();
    let mut ids = HashSet::new();
    for (key, component) in components {
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{key}");
        let (_, needs, takes) =
            PLATFORMS.iter().find(|(name, ..)| component["platform"] == *name).unwrap_or_else(|| panic!("{component}"));
        assert!(ids.insert(component["unique_id"].as_str().unwrap().to_owned()), "{key}: its id is not its own");
        for key in *needs {
            assert!(component[key].is_string(), "{component} has no {key}");
        }
        for (key, value) in component.as_object().unwrap() {
            assert!([needs, takes, &EVERY[..]].iter().any(|list| list.contains(&key.as_str())), "{key}");
            if key.ends_with("_topic") {
                assert!(!value.as_str().unwrap().contains(['+', '#']), "{value}");
            }
        }
    }
    components.clone()
}

#[test]
fn one_message_names_every_entity_in_the_form_that_home_assistant_wants() {
    let broker = Broker::open();
    let home = Client::reads(broker.port, "home", &["homeassistant/#", "lookout/#"]);
    let desk = desk(&[("door", "a person at the door"), ("car", "a car")]);
    let link = start(&config(broker.port), &desk, &Arc::new(MemoryOutbox::default()));
    let components = validate(&home.waits_for_json(CONFIG, |_| true));
    for id in [
        "armed",
        "caption",
        "last_trigger",
        "top",
        "top_score",
        "look_ms",
        "celsius",
        "snapshot",
        "trigger_door",
        "when_door",
        "trigger_car",
        "when_car",
    ] {
        assert!(components.contains_key(id), "{id}");
    }
    assert_eq!(components["when_door"]["command_topic"], "lookout/porch/set/door/when");
    assert_eq!(components["snapshot"]["image_topic"], "lookout/porch/snapshot");
    // What the templates read is there.
    let state = home.waits_for_json(STATE, |_| true);
    assert_eq!(state["armed"], "ON");
    assert_eq!(state["triggers"]["door"], json!({"active": "OFF", "enabled": "ON", "when": "a person at the door"}));
    assert_eq!((&state["look_ms"], &state["celsius"]), (&json!(12.3), &json!(48.5)));
    home.waits_for("lookout/porch/status", |message| message.text() == "online");
    // It is kept for a Home Assistant that starts later.
    let late = Client::reads(broker.port, "late", &[CONFIG]);
    assert!(late.waits_for(CONFIG, |_| true).retain);
    stop(link);
}

#[test]
fn it_is_told_again_when_home_assistant_starts() {
    let broker = Broker::open();
    let home = Client::reads(broker.port, "home", &[CONFIG, STATE]);
    let desk = desk(&[("door", "a person")]);
    let link = start(&config(broker.port), &desk, &Arc::new(MemoryOutbox::default()));
    home.waits_for(CONFIG, |_| true);
    home.waits_for(STATE, |_| true);
    home.writes("homeassistant/status", "online");
    validate(&home.waits_for_json(CONFIG, |_| true));
    home.waits_for(STATE, |_| true);
    stop(link);
}

#[test]
fn entities_of_a_trigger_that_is_gone_are_taken_back_and_then_left_out() {
    let broker = Broker::open();
    let home = Client::reads(broker.port, "home", &[CONFIG]);
    let desk = desk(&[("door", "a person"), ("car", "a car")]);
    let outbox = Arc::new(MemoryOutbox::default());
    let link = start(&config(broker.port), &desk, &outbox);
    home.waits_for_json(CONFIG, |message| message["components"]["trigger_car"].is_object());
    desk.remove_trigger("car").unwrap();
    let taken_back = home
        .waits_for_json(CONFIG, |message| message["components"]["trigger_car"] == json!({"platform": "binary_sensor"}));
    assert_eq!(taken_back["components"]["when_car"], json!({"platform": "text"}));
    let after = validate(&home.waits_for_json(CONFIG, |_| true));
    assert!(!after.contains_key("trigger_car") && after.contains_key("trigger_door"));

    // The same where the trigger goes while lookout is not running: the broker still has the old message.
    stop(link);
    desk.remove_trigger("door").unwrap();
    let link = start(&config(broker.port), &desk, &outbox);
    home.waits_for_json(CONFIG, |message| {
        message["components"]["trigger_door"] == json!({"platform": "binary_sensor"})
    });
    let after = validate(&home.waits_for_json(CONFIG, |_| true));
    assert!(!after.contains_key("trigger_door"));
    stop(link);
}

#[test]
fn without_home_assistant_what_was_told_before_is_taken_back() {
    let broker = Broker::open();
    let home = Client::reads(broker.port, "home", &[CONFIG]);
    let (desk, outbox) = (desk(&[("door", "a person")]), Arc::new(MemoryOutbox::default()));
    let link = start(&config(broker.port), &desk, &outbox);
    home.waits_for(CONFIG, |message| !message.payload.is_empty());
    stop(link);
    let link = start(&MqttConfig { home_assistant: false, ..config(broker.port) }, &desk, &outbox);
    home.waits_for(CONFIG, |message| message.payload.is_empty());
    stop(link);
}

#[test]
fn the_switch_arms_and_the_text_sets_what_a_trigger_looks_for() {
    let broker = Broker::open();
    let home = Client::reads(broker.port, "home", &[STATE]);
    let desk = desk(&[("door", "a person")]);
    let link = start(&config(broker.port), &desk, &Arc::new(MemoryOutbox::default()));
    home.waits_for_json(STATE, |state| state["armed"] == "ON");
    home.writes("lookout/porch/set/armed", "OFF");
    home.waits_for_json(STATE, |state| state["armed"] == "OFF");
    assert!(!desk.status().armed);
    home.writes("lookout/porch/set/door/when", "a cat at the door");
    home.waits_for_json(STATE, |state| state["triggers"]["door"]["when"] == "a cat at the door");
    // What makes no sense changes nothing, and the state is told again so that nobody believes it did.
    for (topic, payload) in [
        ("armed", "maybe"),
        ("door/when", " "),
        ("nobody/when", "a dog"),
        ("door/when", "\u{fffd}".repeat(600).as_str()),
    ] {
        home.writes(&format!("lookout/porch/set/{topic}"), payload);
        let state = home.waits_for_json(STATE, |_| true);
        assert_eq!((&state["armed"], &state["triggers"]["door"]["when"]), (&json!("OFF"), &json!("a cat at the door")));
    }
    stop(link);
}

#[test]
fn an_event_turns_its_sensor_on_and_off_and_shows_its_picture() {
    let broker = Broker::open();
    let home = Client::reads(broker.port, "home", &[STATE]);
    let pictures = Client::reads(broker.port, "pictures", &["lookout/porch/snapshot"]);
    let desk = desk(&[("door", "a person")]);
    let link = start(&config(broker.port), &desk, &Arc::new(MemoryOutbox::default()));
    home.waits_for_json(STATE, |state| state["triggers"]["door"]["active"] == "OFF");
    desk.active.store(true, Ordering::Relaxed);
    desk.report(report(event(9, 0, Phase::Begin), Some(JPEG)));
    let state =
        home.waits_for_json(STATE, |state| state["triggers"]["door"]["active"] == "ON" && !state["last"].is_null());
    assert_eq!(state["last"]["trigger"], "door");
    assert_eq!(state["last"]["caption"], "a person at the door, number 9");
    assert_eq!(pictures.waits_for("lookout/porch/snapshot", |_| true).payload, JPEG);
    desk.active.store(false, Ordering::Relaxed);
    desk.report(report(event(9, 1, Phase::End), None));
    home.waits_for_json(STATE, |state| state["triggers"]["door"]["active"] == "OFF");
    let late = Client::reads(broker.port, "late", &["lookout/porch/snapshot"]);
    assert!(late.waits_for("lookout/porch/snapshot", |_| true).retain);
    stop(link);
}

fn report(event: Event, jpeg: Option<&[u8]>) -> Report {
    Report { event, jpeg: jpeg.map(Arc::from), embedding: None, to_mqtt: true, to_serial: false }
}
