//! `lookout query --serial`, the program itself, over a pseudo-terminal.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::common::desk::{ScriptedDesk, describe, picture};
use crate::common::{Faults, Wire, serve, wait};

fn query(port: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    command.args(["query", "--json", "--timeout", "60s", "--serial"]).arg(port);
    command
}

fn json(output: &Output) -> Value {
    let said = || format!("{} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said()))
}

#[test]
fn every_question_is_answered_on_the_command_line() {
    let wire = Wire::new(Faults::default());
    let file = picture(9_000, 2);
    let served = serve(&wire.lookout, ScriptedDesk::showing(file.clone()));
    let ask = |words: &[&str]| json(&query(&wire.client).args(words).output().unwrap());
    let label = ask(&["label", "--labels", "a dog, a cat"]);
    assert_eq!((&label["labels"][1]["label"], &label["none"]), (&"a cat".into(), &0.25.into()));
    assert_eq!(ask(&["caption"])["caption"], "the view of door");
    assert_eq!(ask(&["--camera", "yard", "caption"])["caption"], "the view of yard");
    assert_eq!(ask(&["ground", "the red car"])["boxes"][0]["box"][0], 11);
    assert_eq!(ask(&["ask", "who?"])["answer"], "about who?");
    assert_eq!(ask(&["check", "a cat on a couch"])["supported"], true);
    let event = served.desk.begin("postman");
    assert_eq!(ask(&["find", "a man", "--since", "2d", "--top", "1"])["events"][0]["id"], event.id.0);
    assert_eq!(ask(&["status"])["watch"], "watching");

    let folder = tempfile::tempdir().unwrap();
    let (taken, sent) = (folder.path().join("taken.jpg"), folder.path().join("sent.jpg"));
    assert_eq!(ask(&["snapshot", "--out", taken.to_str().unwrap()])["bytes"], 9_000);
    assert_eq!(std::fs::read(&taken).unwrap(), file);
    let other = picture(4_321, 3);
    std::fs::write(&sent, &other).unwrap();
    assert_eq!(ask(&["--picture", sent.to_str().unwrap(), "caption"])["caption"], describe(&other));

    let refused = query(&wire.client).args(["--camera", "roof", "caption"]).output().unwrap();
    assert_eq!((refused.status.code(), &json(&refused)["error"]["code"]), (Some(1), &"camera".into()));
    let text = Command::new(env!("CARGO_BIN_EXE_lookout"))
        .args(["query", "--serial", wire.client.to_str().unwrap(), "caption"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&text.stdout), "the view of door\n  score 0.50\n");
}

#[test]
fn a_lookout_that_is_slow_is_told_from_nobody() {
    let wire = Wire::new(Faults::default());
    let served = serve(&wire.lookout, ScriptedDesk::new());
    served.wait_until_up();
    served.desk.hold(true);
    let ask = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
        command.args(["query", "--timeout", "3s", "--serial"]).arg(&wire.client).arg("caption").output().unwrap()
    };
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let slow = ask();
    assert_eq!(slow.status.code(), Some(1), "{}", told(&slow));
    for words in
        ["has a lookout that has not answered within 3 s", "a look takes it 0.0 s", "--timeout 5m", "`patience`"]
    {
        assert!(told(&slow).contains(words), "{words} is not in {}", told(&slow));
    }
    drop(served);
    let silent = ask();
    assert!(told(&silent).contains("nobody answers on") && told(&silent).contains("same speed"), "{}", told(&silent));
}

#[test]
fn events_are_printed_as_they_come() {
    let wire = Wire::new(Faults::default());
    let served = serve(&wire.lookout, ScriptedDesk::new());
    let mut watch = query(&wire.client).arg("watch").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    // It has made itself known once something came from it.
    wait("it listens", || served.link.status().sent >= 2);
    let event = served.desk.begin("postman");
    let told: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(
        (&told["id"], &told["trigger"], &told["phase"]),
        (&event.id.0.into(), &"postman".into(), &"begin".into())
    );
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn a_command_line_without_sense_is_refused() {
    for (words, cause) in [
        (&["query", "caption"][..], "--serial"),
        (&["query", "--serial", "/dev/null", "--mqtt", "mqtt://x", "caption"], "cannot be used with"),
        (&["query", "--serial", "/dev/null", "--baud", "300", "caption"], "300"),
        (&["query", "--mqtt", "mqtt://localhost", "caption"], "which lookout"),
        (&["query", "--serial", "/dev/null", "find", "--since", "soon"], "soon"),
        (&["query", "--http", "http://localhost", "--baud", "9600", "caption"], "cannot be used with"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_lookout")).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(cause), "{words:?}: {said}");
    }
}
