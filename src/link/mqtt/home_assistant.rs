//! What Home Assistant reads about the device: one retained message that names all of its entities.
//!
//! The form is Home Assistant's device discovery (since 2024.11): `device`, `origin` and `components`, each component
//! with its `platform` and `unique_id`. Keys are written out; topics begin with `~`, which stands for the base topic.
//! Source: home-assistant.io, integration MQTT, "Device discovery payload".

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::state::MAX_STATE;
use super::topics::Topics;
use super::{Device, MqttConfig};
use crate::watch::{Status, Trigger};

/// The entities that Home Assistant was told about: their platform by id.
pub(super) type Known = BTreeMap<String, String>;

/// The entities of one device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Discovery {
    head: Map<String, Value>,
    components: BTreeMap<String, Value>,
}

impl Discovery {
    pub fn new(config: &MqttConfig, device: &Device, topics: &Topics, status: &Status, triggers: &[Trigger]) -> Self {
        let mut builder = Builder { device: &device.id, components: BTreeMap::new() };
        builder.switch(topics);
        builder.sensors(status);
        if config.snapshots {
            builder.add(
                "snapshot",
                "image",
                "Last event",
                json!({
                    "image_topic": topics.snapshot, "content_type": "image/jpeg",
                }),
            );
        }
        for trigger in triggers.iter().filter(|trigger| trigger.mqtt) {
            builder.trigger(trigger, topics);
        }
        let head = json!({
            "device": {
                "identifiers": [format!("lookout_{}", device.id)],
                "name": device.name,
                "manufacturer": "lookout",
                "model": device.bundle,
                "sw_version": device.version,
            },
            "origin": {"name": "lookout", "sw_version": device.version},
            "availability_topic": topics.status,
            "state_topic": topics.state,
            "qos": 1,
        });
        let Value::Object(head) = head else { unreachable!("a JSON object is written above") };
        Self { head, components: builder.components }
    }

    /// The message; `gone` are entities that Home Assistant shall forget.
    pub fn to_json(&self, gone: &Known) -> Vec<u8> {
        let mut components: Map<String, Value> = self.components.clone().into_iter().collect();
        for (id, platform) in gone {
            components.insert(id.clone(), json!({"platform": platform}));
        }
        let mut message = self.head.clone();
        message.insert("components".to_owned(), Value::Object(components));
        Value::Object(message).to_string().into_bytes()
    }

    /// What Home Assistant knows once it has read this.
    pub fn known(&self) -> Known {
        let platform = |component: &Value| component["platform"].as_str().unwrap_or_default().to_owned();
        self.components.iter().map(|(id, component)| (id.clone(), platform(component))).collect()
    }

    /// Those of `before` that are no longer there.
    pub fn gone(&self, before: &Known) -> Known {
        let still = |id: &String| self.components.contains_key(id);
        before.iter().filter(|(id, _)| !still(id)).map(|(id, platform)| (id.clone(), platform.clone())).collect()
    }
}

/// The entities of a message that the broker kept from before.
pub(super) fn read_known(message: &[u8]) -> Known {
    let message: Value = serde_json::from_slice(message).unwrap_or_default();
    let components = message.get("components").and_then(Value::as_object);
    let entity = |(id, component): (&String, &Value)| {
        // One with a platform alone was already taken back.
        let fields = component.as_object().filter(|fields| fields.len() > 1)?;
        Some((id.clone(), fields.get("platform")?.as_str()?.to_owned()))
    };
    components.into_iter().flatten().filter_map(entity).collect()
}

struct Builder<'a> {
    device: &'a str,
    components: BTreeMap<String, Value>,
}

impl Builder<'_> {
    fn add(&mut self, id: &str, platform: &str, name: &str, mut component: Value) {
        component["platform"] = platform.into();
        component["name"] = name.into();
        component["unique_id"] = format!("lookout_{}_{id}", self.device).into();
        self.components.insert(id.to_owned(), component);
    }

    fn switch(&mut self, topics: &Topics) {
        self.add("armed", "switch", "Armed", json!({
            "command_topic": topics.set_armed, "value_template": "{{ value_json.armed }}", "icon": "mdi:shield-home",
        }));
    }

    fn sensors(&mut self, status: &Status) {
        self.add(
            "caption",
            "sensor",
            "Caption",
            json!({
                "value_template": format!("{{{{ ((value_json.last or {{}}).caption or '')[:{MAX_STATE}] }}}}"),
                "icon": "mdi:text",
            }),
        );
        self.add(
            "last_trigger",
            "sensor",
            "Last trigger",
            json!({
                "value_template": "{{ (value_json.last or {}).trigger or '' }}", "icon": "mdi:bell",
            }),
        );
        self.add(
            "top",
            "sensor",
            "Top trigger",
            json!({
                "value_template": "{{ (value_json.top or {}).trigger or '' }}", "icon": "mdi:eye",
            }),
        );
        self.add(
            "top_score",
            "sensor",
            "Top score",
            json!({
                "value_template": "{{ ((value_json.top or {}).score or 0) * 100 }}",
                "unit_of_measurement": "%", "state_class": "measurement", "suggested_display_precision": 0,
                "icon": "mdi:percent",
            }),
        );
        self.add(
            "look_ms",
            "sensor",
            "Latency",
            json!({
                "value_template": "{{ value_json.look_ms }}", "unit_of_measurement": "ms", "device_class": "duration",
                "state_class": "measurement", "entity_category": "diagnostic",
            }),
        );
        if status.celsius.is_some() {
            self.add(
                "celsius",
                "sensor",
                "Temperature",
                json!({
                    "value_template": "{{ value_json.celsius }}", "unit_of_measurement": "°C",
                    "device_class": "temperature", "state_class": "measurement", "entity_category": "diagnostic",
                }),
            );
        }
    }

    fn trigger(&mut self, trigger: &Trigger, topics: &Topics) {
        let name = &trigger.name;
        // Names are letters, digits, - and _ alone, so they can stand in a template's quotes.
        self.add(
            &format!("trigger_{name}"),
            "binary_sensor",
            name,
            json!({
                "value_template": format!("{{{{ value_json.triggers['{name}'].active }}}}"),
            }),
        );
        // A longer text cannot be the state of an entity; it is set by the page or the configuration.
        if trigger.when.as_ref().is_some_and(|when| when.chars().count() <= MAX_STATE) {
            self.add(
                &format!("when_{name}"),
                "text",
                &format!("{name}: look for"),
                json!({
                    "command_topic": topics.set_when(name), "min": 1, "max": MAX_STATE, "entity_category": "config",
                    "value_template": format!("{{{{ value_json.triggers['{name}'].when }}}}"),
                }),
            );
        }
    }
}
