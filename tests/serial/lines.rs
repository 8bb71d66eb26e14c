//! What a person with a terminal on the serial line sees.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lookout::link::serial::MAX_LINE;
use lookout::protocol::checksum;
use lookout::watch::{Desk, Trigger};
use serde_json::Value;

use crate::common::desk::{ScriptedDesk, picture};
use crate::common::{hand, hand_with, wait};

#[test]
fn every_question_is_answered_by_one_json_object() {
    let (mut hand, served) = hand();
    let label = hand.ask("label a dog, a cat");
    assert_eq!(label["labels"][0]["label"], "a dog");
    assert_eq!(label["labels"][1]["label"], "a cat");
    assert_eq!((&label["task"], &label["camera"], &label["none"]), (&"label".into(), &"door".into(), &0.25.into()));
    assert_eq!(hand.ask("caption")["caption"], "the view of door");
    assert_eq!(hand.ask("ground the red car")["boxes"][0]["box"][0], 11.0);
    assert_eq!(hand.ask("ask how many chairs?")["answer"], "about how many chairs?");
    assert_eq!(hand.ask("check a cat on a couch")["supported"], true);
    assert_eq!(hand.ask("Check a cat on a couch!")["supported"], false);
    served.desk.begin("postman");
    assert_eq!(hand.ask("find a dog on the sofa since 2d")["events"][0]["trigger"], "postman");
    let status = hand.ask("status");
    assert_eq!((&status["device"], &status["task"]), (&"testling".into(), &"status".into()));
    assert_eq!(served.link.status().received, 8);
}

#[test]
fn return_newline_and_both_end_a_line_once() {
    let (mut hand, _served) = hand();
    for end in ["\r", "\n", "\r\n"] {
        hand.send(format!("ask which end?{end}"));
        assert_eq!(hand.json()["answer"], "about which end?", "{end:?}");
    }
    hand.send("\r\n\r\nAT\r\n");
    assert!(hand.line().starts_with("# lookout "));
    assert!(hand.line().starts_with("# lookout "));
    assert_eq!(hand.line(), "OK", "CRLF is one end");
}

#[test]
fn enter_greets_and_a_modems_words_get_a_modems_answers() {
    let (mut hand, _served) = hand();
    hand.send("\r");
    let greeting = hand.line();
    assert!(greeting.contains("testling") && greeting.contains("Type: help"), "{greeting}");
    hand.send("AT\r");
    assert_eq!(hand.line(), "OK");
    hand.send("AT+GCAP\r");
    assert_eq!(hand.line(), "ERROR");
    hand.send("help\r");
    let first = hand.line();
    assert!(first.starts_with("# label a dog, a cat"), "{first}");
    hand.expect(b"in JSON\r\n");
    hand.send("# a remark\r{\"error\":{\"code\":\"usage\"}}\rOK\rAT\r");
    assert_eq!(hand.line(), "OK", "remarks and echoes are not answered");
}

#[test]
fn a_json_question_is_answered_with_its_id() {
    let (mut hand, _served) = hand();
    let answer = hand.ask(r#"{"task": "ask", "question": "who?", "id": {"n": 7}}"#);
    assert_eq!((&answer["answer"], &answer["id"]["n"]), (&"about who?".into(), &7.into()));
    let answer = hand.ask(r#"{"task": "caption", "camera": "yard", "id": 8}"#);
    assert_eq!(answer["caption"], "the view of yard");
    let refused = hand.ask(r#"{"task": "lable", "id": 9}"#);
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&9.into(), &"usage".into()));
    let refused = hand.ask(r#"{"task": "caption", "camera": "roof", "id": 10}"#);
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&10.into(), &"camera".into()));
}

#[test]
fn what_is_not_understood_gets_a_cause_and_a_suggestion() {
    let (mut hand, _served) = hand();
    let help = |answer: &Value| answer["error"]["help"].as_str().unwrap_or_default().to_owned();
    assert!(help(&hand.ask("lable a dog")).contains("did you mean `label`?"));
    assert!(help(&hand.ask("label")).contains("at least one label"));
    assert!(help(&hand.ask("what is this?")).contains("type: help"));
    assert!(help(&hand.ask("{\"task\": ")).contains("write: "));
    let long = hand.ask(&"x".repeat(3 * MAX_LINE));
    assert!(long["error"]["message"].as_str().unwrap().contains("longer than 4096 bytes"), "{long}");
    assert_eq!(hand.ask("caption")["caption"], "the view of door", "and it goes on");
    hand.send(b"\xFF\xFE\x01\x02\r");
    assert!(hand.json()["error"]["message"].as_str().unwrap().contains("not text"));
    assert_eq!(hand.ask("caption")["caption"], "the view of door");
}

#[test]
fn what_is_typed_can_be_edited_and_shown() {
    let (mut hand, _served) = hand();
    hand.send("ask whose hänt\x08\x08\x7Fund?\x1B[D\x1BOC\r");
    assert_eq!(hand.json()["answer"], "about whose hund?", "backspace takes back characters, not bytes");
    hand.send("nonsense\x15ask this\r");
    assert_eq!(hand.json()["answer"], "about this", "Ctrl-U drops the line");
    hand.send("echo on\r");
    assert_eq!(hand.line(), "# echo on");
    hand.send("axt\x08\x08");
    assert_eq!(hand.expect(b"\x08 \x08\x08 \x08"), b"axt\x08 \x08\x08 \x08");
    hand.send("t\r");
    assert_eq!(hand.expect(b"OK\r\n"), b"t\r\nOK\r\n");
    hand.send("echo off\r");
    hand.expect(b"# echo off\r\n");
    hand.send("AT\r");
    assert_eq!(hand.line(), "OK", "nothing is shown any more");
}

#[test]
fn events_are_told_after_they_were_asked_for() {
    let (mut quiet, other) = hand();
    other.desk.begin("postman");
    assert_eq!(quiet.ask("ask 1")["answer"], "about 1", "no event, as nobody asked for any");
    assert_eq!(quiet.ask("ask 2")["answer"], "about 2");

    let (mut hand, served) = hand();
    assert_eq!(hand.ask("events on")["events"], true);
    let event = served.desk.begin("postman");
    let told = hand.json();
    assert_eq!(told["event"]["id"], event.id.0);
    assert_eq!(told["event"]["caption"], "what postman saw");
    assert_eq!(hand.ask("events off")["events"], false);
    served.desk.begin("after");
    assert_eq!(hand.ask("caption")["caption"], "the view of door", "no event in between");

    let (mut hand, served) = hand_with(ScriptedDesk::new(), |config| config.events = true);
    served.desk.begin("postman");
    assert_eq!(hand.json()["event"]["trigger"], "postman", "told from the start where the configuration says so");
}

#[test]
fn triggers_are_listed_and_armed_and_a_camera_is_chosen() {
    let (mut hand, served) = hand();
    let trigger: Trigger = serde_json::from_str(r#"{"name": "door", "when": "a person"}"#).unwrap();
    served.desk.put_trigger(trigger).unwrap();
    assert_eq!(hand.ask("triggers")["triggers"][0]["when"], "a person");
    assert_eq!(hand.ask("disarm")["armed"], false);
    assert!(!served.desk.status().armed);
    assert_eq!(hand.ask("arm")["armed"], true);
    assert!(served.desk.status().armed);
    hand.send("camera yard\r");
    assert_eq!(hand.line(), "# camera: yard");
    assert_eq!(hand.ask("caption")["caption"], "the view of yard");
    let unknown = hand.ask("camera roof");
    assert!(unknown["error"]["help"].as_str().unwrap().contains("door, yard"), "{unknown}");
    assert_eq!(hand.ask("caption")["caption"], "the view of yard", "the choice stays");
    hand.send("camera\r");
    assert_eq!(hand.line(), "# camera: the first one");
    assert_eq!(hand.ask("caption")["caption"], "the view of door");
}

#[test]
fn a_snapshot_is_had_in_parts() {
    let file = picture(5_000, 3);
    let (mut hand, served) = hand_with(ScriptedDesk::showing(file.clone()), |_| {});
    assert_eq!(hand.ask("snapshot get 0")["error"]["message"], "there is no snapshot yet");
    let snapshot = hand.ask("snapshot");
    assert_eq!((&snapshot["bytes"], &snapshot["crc32"]), (&5_000.into(), &checksum(&file).into()));
    *served.desk.jpeg.lock().unwrap() = picture(70, 4).into();
    let mut had = Vec::new();
    while had.len() < 5_000 {
        let part = hand.ask(&format!("snapshot get {}", had.len()));
        let data = STANDARD.decode(part["data"].as_str().unwrap()).unwrap();
        assert_eq!((&part["total"], &part["crc32"]), (&5_000.into(), &checksum(&data).into()));
        had.extend(data);
    }
    assert_eq!(had, file);
    assert_eq!(hand.ask("snapshot get 5000")["error"]["code"], "usage");
}

#[test]
fn lines_are_answered_in_order_and_too_many_are_refused() {
    let (mut hand, served) = hand();
    hand.send("ask 1\rxyzzy\rask 2\rstatus\rask 3\r");
    assert_eq!(hand.json()["answer"], "about 1");
    assert_eq!(hand.json()["error"]["code"], "usage");
    assert_eq!(hand.json()["answer"], "about 2");
    assert_eq!(hand.json()["device"], "testling");
    assert_eq!(hand.json()["answer"], "about 3");

    served.desk.hold(true);
    let flood: String = (0..200).map(|id| format!("{{\"task\":\"caption\",\"id\":{id}}}\r")).collect();
    hand.send(flood);
    let first = hand.json();
    assert_eq!(first["error"]["code"], "busy", "{first}");
    hand.send("AT\r");
    hand.expect(b"OK\r\n");
    served.desk.hold(false);
    let answered = hand.json();
    assert_eq!((&answered["caption"], &answered["id"]), (&"the view of door".into(), &0.into()));
    wait("all that waited are answered", || served.desk.status().questions >= 8);
}
