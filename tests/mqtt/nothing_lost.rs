//! No event is lost: not when the broker dies, not when lookout does, not when the line is cut.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::peers::outbox::{event, now_ms};
use crate::peers::*;
use lookout::link::mqtt::{self, MqttConfig};
use lookout::memory::{EventStore, MemoryConfig, Outbox};
use lookout::watch::{Phase, Report};

/// What lookout owes: each message is acknowledged by a broker before the outbox forgets it. Whether a broker that is
/// killed still delivers what it has acknowledged is its own matter, so the line to it is the witness here.
#[test]
fn a_broker_that_is_killed_again_and_again_loses_no_event() {
    let mut broker = Broker::open();
    let line = Line::to(broker.port);
    let (desk, outbox) = (desk(&[("door", "a person")]), Arc::new(MemoryOutbox::default()));
    outbox.witness(line.witness());
    let link = start(&config(line.port), &desk, &outbox);
    let mut wanted = HashSet::new();
    for round in 0..12 {
        let before = line.acknowledged().len();
        wanted.extend(outbox.fill(1 + round * 300, 300));
        until("events flow after the session was lost", || line.acknowledged().len() > before + 20);
        broker.kill();
        until("the link notices", || !link.status().up);
        broker.start();
    }
    until("all arrive in the end", || outbox.left() == 0);
    let lost: Vec<_> = wanted.difference(&line.acknowledged()).copied().collect();
    assert_eq!(lost, [], "never acknowledged by a broker");
    assert_eq!(outbox.unfounded(), [], "acknowledged although no broker had them");
    let again = line.sent_again();
    assert!(again <= 12 * 16, "{again} sent again, more than were on their way when the broker died");
    println!("{} events, 12 kills, {again} sent again, {} connections", wanted.len(), line.connections());
    stop(link);
}

#[test]
fn a_listener_has_every_event_after_the_broker_was_restarted() {
    let mut broker = Broker::persistent();
    let listener = Client::reads(broker.port, "listener", &["lookout/porch/event/+"]);
    let (desk, outbox) = (desk(&[]), Arc::new(MemoryOutbox::default()));
    let link = start(&config(broker.port), &desk, &outbox);
    let mut wanted = HashSet::new();
    for round in 0..4 {
        wanted.extend(outbox.fill(1 + round * 500, 500));
        until("some have arrived", || outbox.left() < 400);
        broker.end();
        broker.start();
    }
    listener.gathers(&wanted);
    until("the outbox is empty", || outbox.left() == 0);
    stop(link);
}

#[test]
fn events_that_a_killed_lookout_left_behind_are_sent_by_the_next_one() {
    let broker = Broker::open();
    let listener = Client::reads(broker.port, "listener", &["lookout/porch/event/+"]);
    let folder = tempfile::tempdir().unwrap();
    let desk = desk(&[]);
    let mut wanted = HashSet::new();
    let mut again = 0;
    for round in 0..3 {
        let store = Arc::new(EventStore::open(folder.path(), &MemoryConfig::default()).unwrap());
        for id in 0..200 {
            let event = event((now_ms() << 11) + id, 0, Phase::Begin);
            wanted.insert((event.id.0, 0));
            let report = Report { event, jpeg: None, embedding: None, to_mqtt: true, to_serial: false };
            store.record(&report).unwrap();
        }
        let link = mqtt::start(config(broker.port), &device(), desk.clone(), store.clone()).unwrap();
        if round < 2 {
            until("some are sent", || link.status().sent > 20);
            // Without a goodbye, in the middle of it.
            drop(link);
        } else {
            again = listener.gathers(&wanted);
            until("the outbox is empty", || store.is_empty().unwrap());
            stop(link);
        }
        store.close().unwrap();
    }
    assert!(again <= 2 * 16, "{again} came twice, more than were on their way when lookout ended");
}

#[test]
fn a_line_that_is_cut_without_a_word_is_noticed_and_loses_nothing() {
    let broker = Broker::open();
    let listener = Client::reads(broker.port, "listener", &["lookout/porch/#"]);
    let line = Line::to(broker.port);
    let (desk, outbox) = (desk(&[]), Arc::new(MemoryOutbox::default()));
    outbox.witness(line.witness());
    let link = start(&config(line.port), &desk, &outbox);
    let mut wanted = outbox.fill(1, 200);
    until("all flows", || outbox.left() == 0);

    line.cut();
    // More than the window and what TCP may swallow: the line is dead while messages are on their way.
    wanted.extend(outbox.fill(1000, 200));
    until_trouble(&*link, "no longer answers");
    line.mend();
    listener.gathers(&wanted);
    until("the outbox is empty", || outbox.left() == 0);
    assert_eq!(outbox.unfounded(), []);
    stop(link);
}

#[test]
fn what_is_older_than_its_time_to_live_is_not_sent() {
    let broker = Broker::open();
    let listener = Client::reads(broker.port, "listener", &["lookout/porch/event/+"]);
    let (desk, outbox) = (desk(&[]), Arc::new(MemoryOutbox::default()));
    let mut stale = event(1, 0, Phase::Begin);
    stale.at_ms -= 3_600_000;
    outbox.push(stale);
    outbox.push(event(2, 0, Phase::Begin));
    let config = MqttConfig { ttl: Some(Duration::from_secs(600)), ..config(broker.port) };
    let link = start(&config, &desk, &outbox);
    let first = listener.waits_for("lookout/porch/event/door", |_| true);
    assert_eq!(first.json()["id"], 2);
    let expires = first.properties.message_expiry_interval.unwrap();
    assert!((1..=600).contains(&expires), "{expires}");
    until("the outbox is empty", || outbox.left() == 0);
    assert_eq!(outbox.dropped(), 1);
    stop(link);
}

#[test]
fn one_event_that_the_broker_never_takes_does_not_hold_up_those_behind_it() {
    let broker =
        Broker::with(|_, port| format!("listener {port} 127.0.0.1\nallow_anonymous true\nmessage_size_limit 5000\n"));
    let listener = Client::reads(broker.port, "listener", &["lookout/porch/event/+"]);
    let (desk, outbox) = (desk(&[]), Arc::new(MemoryOutbox::default()));
    let mut wanted = outbox.fill(1, 5);
    let mut large = event(100, 0, Phase::Begin);
    large.caption = Some("a very long story ".repeat(500));
    outbox.push(large);
    wanted.extend(outbox.fill(200, 5));
    let link = start(&MqttConfig { home_assistant: false, ..config(broker.port) }, &desk, &outbox);
    listener.gathers(&wanted);
    until("the outbox is empty", || outbox.left() == 0);
    stop(link);
}

#[test]
fn a_broker_that_refuses_events_still_gets_answers_and_keeps_the_events_waiting() {
    let broker = Broker::with(|folder, port| {
        let list = folder.join("acl");
        std::fs::write(
            &list,
            "topic read lookout/porch/event/+\ntopic readwrite other/#\n\
            pattern readwrite lookout/porch/ask\npattern readwrite lookout/porch/answer\n",
        )
        .unwrap();
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {}\n", list.display())
    });
    let (desk, outbox) = (desk(&[]), Arc::new(MemoryOutbox::default()));
    outbox.fill(1, 3);
    let link = start(&config(broker.port), &desk, &outbox);
    until("it is said", || link.status().note.is_some_and(|note| note.contains("refuses events")));
    let asker = Client::reads(broker.port, "asker", &["lookout/porch/answer"]);
    asker.writes("lookout/porch/ask", r#"{"task":"check","sentence":"a dog runs","id":1}"#);
    assert_eq!(asker.waits_for_json("lookout/porch/answer", |_| true)["supported"], true);
    assert_eq!(outbox.left(), 3);
    stop(link);
}

#[test]
fn the_broker_says_offline_when_lookout_is_gone_and_when_it_leaves() {
    let broker = Broker::open();
    let (desk, outbox) = (desk(&[]), Arc::new(MemoryOutbox::default()));
    let listener = Client::reads(broker.port, "listener", &["lookout/porch/status"]);
    let status = |wanted: &'static str| {
        listener.waits_for("lookout/porch/status", |message| message.text() == wanted);
    };
    let link = start(&config(broker.port), &desk, &outbox);
    status("online");
    drop(link);
    status("offline");
    let link = start(&config(broker.port), &desk, &outbox);
    status("online");
    stop(link);
    status("offline");
    let late = Client::reads(broker.port, "late", &["lookout/porch/status"]);
    let kept = late.waits_for("lookout/porch/status", |_| true);
    assert!(kept.retain && kept.text() == "offline");
}
