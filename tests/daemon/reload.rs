//! SIGHUP while an event is under way: it is neither lost nor told twice.

use std::time::Duration;

use crate::daemon::{DOG, Daemon, demo_picture, wait_for};
use crate::peers::{Broker, Client, PATIENCE};
use serde_json::Value;

const BUS: &str = "[[trigger]]\nname = \"bus\"\nwhen = \"a red bus\"\nthreshold = 1.0\n";

/// A daemon with an event under way, and somebody who reads what it tells.
struct Scene {
    daemon: Daemon,
    listener: Client,
    broker: Broker,
    /// All that was told, in order.
    told: Vec<(Value, Value, String)>,
}

impl Scene {
    fn begin(trigger: &str) -> Self {
        let broker = Broker::open();
        let listener = Client::reads(broker.port, "listener", &["lookout/test/event/+"]);
        let daemon = Daemon::start(&mqtt(&broker));
        let mut scene = Self { daemon, listener, broker, told: Vec::new() };
        scene.reload(trigger);
        scene.daemon.show(&demo_picture(), "one.jpg");
        scene.until("begin");
        scene
    }

    /// Takes a new configuration, and waits until the scene was looked at anew with it.
    fn reload(&self, rest: &str) {
        let before = self.count();
        self.daemon.configure(&format!("{}{rest}", mqtt(&self.broker)));
        self.daemon.hang_up();
        wait_for("the new configuration", PATIENCE, || (self.count() > before).then_some(()));
        let looks = self.daemon.looks();
        let seen = || self.daemon.looks() > looks || self.daemon.status()["cameras"][0]["frames"] == 0;
        wait_for("a look with the new triggers", PATIENCE, || seen().then_some(()));
    }

    fn count(&self) -> usize {
        self.daemon.log().matches("is in force").count()
    }

    /// Hears what is told until there is a message of this phase.
    fn until(&mut self, phase: &str) -> Value {
        loop {
            let message = self.listener.next_within(PATIENCE).unwrap_or_else(|| panic!("no {phase}: {:?}", self.told));
            let event = message.json();
            let told = event["phase"].as_str().unwrap().to_owned();
            self.told.push((event["id"].clone(), event["sequence"].clone(), told.clone()));
            if told == phase {
                return event;
            }
        }
    }

    /// The event of the memory that is under way, which must be the only one of its trigger.
    fn only_event(&self) -> Value {
        let events = self.daemon.events();
        assert_eq!(events.len(), 1, "{events:?}\n{}", self.daemon.log());
        assert_ne!(events[0]["phase"], "end", "{}", self.daemon.log());
        assert_eq!(self.daemon.status()["triggers"][0]["active"], true);
        events.into_iter().next().unwrap()
    }

    /// Every message of one event came once, in order, from its begin to its end.
    fn is_whole(&self) {
        let id = &self.told[0].0;
        for (n, (of, sequence, phase)) in self.told.iter().enumerate() {
            let wanted = match n {
                0 => "begin",
                _ if n + 1 == self.told.len() => "end",
                _ => "update",
            };
            assert_eq!((of, sequence.as_u64(), &phase[..]), (id, Some(n as u64), wanted), "{:?}", self.told);
        }
    }
}

fn mqtt(broker: &Broker) -> String {
    format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port)
}

#[test]
fn an_event_goes_on_while_its_trigger_is_kept_and_changed_and_ends_once_when_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let heard = folder.path().join("heard");
    let command =
        format!("command = [\"/bin/sh\", \"-c\", \"echo $LOOKOUT_PHASE $LOOKOUT_EVENT >> '{}'\"]\n", heard.display());
    let mut scene = Scene::begin(&format!("{DOG}{command}"));
    let id = scene.only_event()["id"].clone();

    scene.reload(&format!("{DOG}{command}{BUS}"));
    assert_eq!(scene.only_event()["id"], id, "kept, beside a new one");
    scene.reload(&format!("{}{BUS}", DOG.replace("0.3", "0.2")));
    assert_eq!(scene.only_event()["id"], id, "changed");
    assert!((scene.daemon.status()["triggers"][0]["threshold"].as_f64().unwrap() - 0.2).abs() < 1e-6);

    scene.reload(BUS);
    assert_eq!(scene.until("end")["id"], id);
    scene.is_whole();
    wait_for("the command to hear of the end", PATIENCE, || {
        (std::fs::read_to_string(&heard).ok()? == format!("begin {id}\nend {id}\n")).then_some(())
    });

    scene.reload(DOG);
    let again = scene.until("begin");
    assert_ne!(again["id"], id, "what is put back begins anew");
    assert_eq!(scene.daemon.events().len(), 2);
    let silence = scene.listener.next_within(Duration::from_millis(500));
    assert!(silence.is_none_or(|more| more.json()["phase"] == "update"), "and nothing else is told");
}

#[test]
fn an_event_ends_where_its_trigger_no_longer_watches_and_what_is_refused_changes_nothing() {
    let camera = "[[camera]]\nname = \"other\"\nsource = \"folder:.?loop=1\"\n";
    let mut scene = Scene::begin(&format!("{camera}{DOG}"));
    let id = scene.only_event()["id"].clone();

    // The new camera is sound, the example picture of the new trigger is not there.
    let missing = "[[trigger]]\nname = \"like\"\nlike = \"missing.jpg\"\n";
    let third = camera.replace("other", "third");
    scene.daemon.configure(&format!("{}{camera}{third}{DOG}{missing}", mqtt(&scene.broker)));
    scene.daemon.hang_up();
    let complaint = "the old configuration stays in force";
    wait_for("the complaint", PATIENCE, || scene.daemon.log().contains(complaint).then_some(()));
    assert_eq!(scene.daemon.status()["cameras"].as_array().unwrap().len(), 2, "all of the old one stays");
    assert_eq!(scene.only_event()["id"], id);

    scene.daemon.configure(&format!("{}{camera}{DOG}cameras = [\"other\"]\n", mqtt(&scene.broker)));
    scene.daemon.hang_up();
    assert_eq!(scene.until("end")["id"], id);
    scene.is_whole();
}
