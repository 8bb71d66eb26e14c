//! The names of all topics of one device.

use super::MqttConfig;

/// All topics of one device, ready to be used.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    base: String,
    /// What the broker knows this device by: no other one's, whatever its prefix.
    pub client_id: String,
    pub status: String,
    pub state: String,
    pub snapshot: String,
    pub ask: String,
    pub answer: String,
    pub set: String,
    pub set_armed: String,
    /// Where Home Assistant reads about the device.
    pub discovery: String,
    /// Where Home Assistant says that it has started.
    pub birth: String,
}

/// What somebody wants to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setting {
    Armed,
    /// What the trigger of this name looks for.
    When(String),
}

impl Topics {
    pub fn new(config: &MqttConfig, device: &str) -> Self {
        let base = format!("{}/{device}", config.prefix);
        let below = |name: &str| format!("{base}/{name}");
        Self {
            // Neither a level's end nor what a name may hold.
            client_id: format!("{}:{device}", config.prefix.replace('/', ".")),
            status: below("status"),
            state: below("state"),
            snapshot: below("snapshot"),
            ask: below("ask"),
            answer: below("answer"),
            set: below("set"),
            set_armed: below("set/armed"),
            discovery: format!("{}/device/{device}/config", config.home_assistant_prefix),
            birth: format!("{}/status", config.home_assistant_prefix),
            base,
        }
    }

    /// Where messages about a trigger's events go.
    pub fn event(&self, trigger: &str) -> String {
        format!("{}/event/{trigger}", self.base)
    }

    /// Where the words of a trigger are set.
    pub fn set_when(&self, trigger: &str) -> String {
        format!("{}/{trigger}/when", self.set)
    }

    /// What a message on `topic` sets, if anything.
    pub fn setting(&self, topic: &str) -> Option<Setting> {
        if topic == self.set_armed {
            return Some(Setting::Armed);
        }
        let trigger = topic.strip_prefix(&self.set)?.strip_prefix('/')?.strip_suffix("/when")?;
        Some(Setting::When(trigger.to_owned()))
    }

    /// Whether an answer may go to `topic`, which the one who asks has chosen: no wildcards, not the broker's own
    /// topics, and none of this device's except below `answer`. Else whoever may ask could also set, or write events.
    pub fn may_answer(&self, topic: &str) -> bool {
        let below =
            |prefix: &str| topic.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        !topic.is_empty()
            && topic.len() <= 1024
            && !topic.starts_with('$')
            && !topic.contains(['+', '#', '\0'])
            && topic != self.discovery
            && topic != self.birth
            && (below(&self.answer) || !below(&self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new(&MqttConfig::default(), "porch")
    }

    #[test]
    fn settings_are_told_apart_by_their_topic() {
        let topics = topics();
        assert_eq!(topics.setting("lookout/porch/set/armed"), Some(Setting::Armed));
        assert_eq!(topics.setting(&topics.set_when("door")), Some(Setting::When("door".to_owned())));
        for other in
            ["lookout/porch/set", "lookout/porch/set/x", "lookout/other/set/armed", "lookout/porch/setting/when"]
        {
            assert_eq!(topics.setting(other), None, "{other}");
        }
    }

    #[test]
    fn who_asks_cannot_have_the_answer_written_where_it_would_do_harm() {
        let topics = topics();
        for sound in ["replies/7", "lookout/porch/answer", "lookout/porch/answer/me", "lookout/porch2/x"] {
            assert!(topics.may_answer(sound), "{sound}");
        }
        for bad in [
            "",
            "a/#",
            "+/b",
            "$SYS/broker",
            "lookout/porch/ask",
            "lookout/porch/set/armed",
            "lookout/porch/event/door",
            "lookout/porch/status",
            "lookout/porch",
            "homeassistant/device/porch/config",
            "homeassistant/status",
        ] {
            assert!(!topics.may_answer(bad), "{bad}");
        }
    }
}
