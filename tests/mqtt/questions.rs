//! Questions over MQTT: answered where they ask to be, and no number or size of them does harm.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::peers::*;
use crate::peers::{self, outbox::event};
use lookout::Code;
use lookout::link::mqtt;
use lookout::watch::{MAX_REQUEST_BYTES, Phase, Request};
use serde_json::json;

const ASK: &str = "lookout/porch/ask";
const ANSWER: &str = "lookout/porch/answer";

/// A broker, a lookout that is connected to it, and somebody who asks.
fn conversation() -> (Broker, Arc<ScriptedDesk>, Arc<MemoryOutbox>, Box<dyn lookout::link::Link>, Client) {
    let broker = Broker::open();
    let (desk, outbox) = (desk(&[]), Arc::new(MemoryOutbox::default()));
    let asker = Client::reads(broker.port, "asker", &[ANSWER, "reply/#", "lookout/porch/event/+"]);
    let link = start(&config(broker.port), &desk, &outbox);
    until_up(&*link);
    (broker, desk, outbox, link, asker)
}

#[test]
fn a_question_is_answered_with_its_id() {
    let (_broker, _desk, _outbox, link, asker) = conversation();
    asker.writes(ASK, r#"{"task": "label", "labels": ["a dog", "a cat"], "id": {"any": 7}}"#);
    let answer = asker.waits_for_json(ANSWER, |_| true);
    assert_eq!(answer["id"], json!({"any": 7}));
    assert_eq!(answer["task"], "label");
    assert_eq!(answer["labels"][1]["label"], "a cat");
    stop(link);
}

#[test]
fn the_answer_goes_where_the_question_asks_with_its_correlation() {
    let (_broker, _desk, _outbox, link, asker) = conversation();
    asker.asks(ASK, r#"{"task": "check", "sentence": "a dog runs"}"#, "reply/me", b"\x00\x07");
    let answer = asker.waits_for("reply/me", |_| true);
    assert_eq!(answer.properties.correlation_data.as_deref(), Some(&b"\x00\x07"[..]));
    assert_eq!(answer.properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(answer.json()["supported"], true);
    assert!(!answer.retain);
    stop(link);
}

#[test]
fn a_response_topic_that_would_do_harm_is_refused_on_the_usual_one() {
    let (_broker, _desk, _outbox, link, asker) = conversation();
    for topic in ["lookout/porch/set/armed", "lookout/porch/ask", "homeassistant/status"] {
        asker.asks(ASK, r#"{"task": "check", "sentence": "a dog runs", "id": 5}"#, topic, b"x");
        let answer = asker.waits_for_json(ANSWER, |_| true);
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(5), &json!("usage")), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(topic), "{answer}");
    }
    stop(link);
}

#[test]
fn nonsense_is_answered_with_its_cause() {
    let (_broker, _desk, _outbox, link, asker) = conversation();
    let long = format!(r#"{{"task": "ask", "question": "{}"}}"#, "why? ".repeat(MAX_REQUEST_BYTES / 5));
    for (question, code, cause) in [
        ("{not json", "usage", "not JSON"),
        ("", "usage", "not JSON"),
        ("\u{0}\u{1}", "usage", "not JSON"),
        (r#"{"task": "lable"}"#, "usage", "no task"),
        (r#"{"task": "caption"}"#, "unsupported", "cannot caption"),
        (long.as_str(), "usage", "too long"),
    ] {
        asker.writes(ASK, question);
        let error = &asker.waits_for_json(ANSWER, |_| true)["error"];
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(cause), "{error}");
    }
    stop(link);
}

#[test]
fn a_snapshot_is_in_its_answer() {
    use base64::Engine as _;
    let (_broker, _desk, _outbox, link, asker) = conversation();
    asker.writes(ASK, r#"{"task": "snapshot", "id": 1}"#);
    let answer = asker.waits_for_json(ANSWER, |_| true);
    let jpeg = base64::engine::general_purpose::STANDARD.decode(answer["jpeg"].as_str().unwrap()).unwrap();
    assert_eq!(jpeg, JPEG);
    assert_eq!(answer["bytes"], JPEG.len());
    stop(link);
}

#[test]
fn a_retained_question_is_not_answered_again_by_the_next_connection() {
    let (_broker, desk, outbox, link, asker) = conversation();
    asker.retains(ASK, r#"{"task": "check", "sentence": "a dog runs", "id": "kept"}"#);
    asker.waits_for_json(ANSWER, |answer| answer["id"] == "kept");
    stop(link);
    let config = config(_broker.port);
    let link = start(&config, &desk, &outbox);
    until_up(&*link);
    asker.writes(ASK, r#"{"task": "check", "sentence": "a dog runs", "id": "new"}"#);
    // Its answer is the first: nothing came for the question that the broker kept.
    assert_eq!(asker.waits_for_json(ANSWER, |_| true)["id"], "new");
    stop(link);
}

#[test]
fn a_flood_of_questions_is_told_busy_and_holds_up_no_event() {
    let (_broker, desk, outbox, link, asker) = conversation();
    let before = resident_bytes();
    desk.hold(true);
    let flood = Client::reads(_broker.port, "flood", &[]);
    for id in 0..10_000 {
        flood.writes(ASK, format!(r#"{{"task": "check", "sentence": "a dog runs", "id": {id}}}"#));
        if id == 5_000 {
            outbox.push(event(77, 0, Phase::Begin));
        }
    }
    let (mut busy, mut event_came) = (0, false);
    while busy < 2_000 || !event_came {
        let message = asker.next_within(PATIENCE).expect("busy answers and the event come while questions stand");
        event_came |= message.topic == "lookout/porch/event/door";
        busy += usize::from(message.json()["error"]["code"] == "busy");
    }
    // Two are being asked and eight wait; nothing else has reached the desk.
    assert!(desk.reached.load(Ordering::Relaxed) <= 2);
    desk.hold(false);
    until("those that waited are answered", || desk.reached.load(Ordering::Relaxed) >= 10);
    asker.writes(ASK, r#"{"task": "check", "sentence": "a dog runs", "id": "after"}"#);
    until("an answer after the flood", || {
        let Some(message) = asker.next_within(Duration::from_millis(200)) else {
            asker.writes(ASK, r#"{"task": "check", "sentence": "a dog runs", "id": "after"}"#);
            return false;
        };
        message.json()["id"] == "after" && message.json()["supported"] == true
    });
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "memory grew by {grown} bytes, listener and flood included");
    stop(link);
}

#[test]
fn a_message_of_100_mb_takes_no_memory_and_does_not_end_the_connection() {
    let (broker, _desk, _outbox, link, asker) = conversation();
    let file = broker.folder.path().join("large");
    let mut large = std::fs::File::create(&file).unwrap();
    for _ in 0..100 {
        large.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    let before = resident_bytes();
    let sent = Command::new(broker::tool("mosquitto_pub"))
        .args(["-V", "5", "-q", "1", "-h", "127.0.0.1", "-t", ASK, "-p"])
        .arg(broker.port.to_string())
        .arg("-f")
        .arg(&file)
        .status()
        .unwrap();
    assert!(sent.success());
    asker.writes(ASK, r#"{"task": "check", "sentence": "a dog runs", "id": "small"}"#);
    assert_eq!(asker.waits_for_json(ANSWER, |_| true)["id"], "small");
    assert!(link.status().up);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "memory grew by {grown} bytes");
    stop(link);
}

#[test]
fn the_other_side_asks_and_is_told_what_went_wrong() {
    let (broker, _desk, _outbox, link, _asker) = conversation();
    let config = config(broker.port);
    let request = |json: &str| Request::from_json(json.as_bytes()).map_err(|(error, _)| error).unwrap().0;
    let check = request(r#"{"task": "check", "sentence": "a dog runs", "camera": "yard"}"#);
    let answer = mqtt::query(&config, "porch", &check, Duration::from_secs(20)).unwrap();
    assert_eq!((&answer["supported"], &answer["camera"]), (&json!(true), &json!("yard")));

    let error = mqtt::query(&config, "porch", &request(r#"{"task":"caption"}"#), Duration::from_secs(20)).unwrap_err();
    assert_eq!((error.code(), error.help()), (Code::Unsupported, "take another bundle"));

    let error = mqtt::query(&config, "attic", &check, Duration::from_secs(20)).unwrap_err();
    assert_eq!(error.code(), Code::Link);
    assert!(error.message().contains("lookout/attic/ask"), "{error}");

    stop(link);
    let error = mqtt::query(&config, "porch", &check, Duration::from_secs(20)).unwrap_err();
    assert!(error.message().contains("offline") || error.message().contains("nobody"), "{error}");

    let nobody = peers::config(broker::free_port());
    let error = mqtt::query(&nobody, "porch", &check, Duration::from_secs(20)).unwrap_err();
    assert!(error.message().contains("refuses connections"), "{error}");
}

/// What this process holds in memory.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
