//! The daemon as its users run it: the binary, a folder of pictures, real files and sockets.

use std::time::Duration;

use crate::daemon::{self, Daemon, demo_picture, wait_for};

#[test]
fn the_example_configuration_is_sound_and_says_what_it_does() {
    let output = daemon::lookout(&["run", "--check", "-c", "boards/lookout.toml"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for word in ["camera   demo", "\"a dog\" rather than \"a cat\"", "web      http://127.0.0.1:8040", "is sound"] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_a_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lookout.toml");
    std::fs::write(&path, "[[camera]]\nname = \"a\"\nsource = \"folder:.\"\nfsp = 3\n").unwrap();
    for arguments in [&["run", "-c"][..], &["run", "--check", "-c"]] {
        let output = daemon::lookout(&[arguments, &[path.to_str().unwrap()]].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(text.contains("line 4") && text.contains("did you mean `fps`?"), "{text}");
    }
}

#[test]
fn a_picture_in_the_folder_becomes_an_event_on_the_disk_and_on_the_page() {
    let mut daemon = Daemon::start("");
    daemon.show(&demo_picture(), "one.jpg");
    let event = wait_for("an event", Duration::from_secs(60), || daemon.events().into_iter().next());
    assert_eq!(event["trigger"], "dog");
    assert_eq!(event["camera"], "demo");
    assert!(event["score"].as_f64().unwrap() >= 0.3);
    assert!(!event["caption"].as_str().unwrap().is_empty());
    let jpeg = daemon.get(&format!("/api/events/{}/snapshot.jpg", event["id"]));
    assert!(jpeg.starts_with(&[0xFF, 0xD8]), "the snapshot is a JPEG file");

    let reply = daemon.ask(r#"{"task":"label","labels":["a dog","a teapot"]}"#);
    assert_eq!(reply["labels"][0]["label"], "a dog");
    let reply = daemon.ask(r#"{"task":"find","words":"a dog"}"#);
    assert_eq!(reply["events"][0]["id"], event["id"]);
    let status = daemon.status();
    assert_eq!(status["cameras"][0]["state"], "running");
    assert!(status["looks"].as_u64().unwrap() >= 1);

    // The end comes with the daemon's, and is on the disk within two seconds.
    let begin = std::time::Instant::now();
    assert!(daemon.terminate().success());
    assert!(begin.elapsed() < Duration::from_secs(10), "it took {:?}", begin.elapsed());
    let output = daemon.find(&["--events", "a dog"]);
    assert_eq!(output["events"][0]["id"], event["id"], "{output}");
    assert_eq!(daemon.find_by_config(&["--events", "a dog"])["events"], output["events"]);
}

#[test]
fn a_still_scene_is_not_looked_at_and_a_change_is() {
    let daemon = Daemon::start("");
    daemon.show(&demo_picture(), "one.jpg");
    wait_for("a look", Duration::from_secs(60), || (daemon.looks() >= 1).then_some(()));
    // The camera goes on giving the same picture.
    let frames = || daemon.status()["cameras"][0]["frames"].as_u64().unwrap();
    let (looks, before) = (daemon.looks(), frames());
    wait_for("thirty frames", Duration::from_secs(60), || (frames() >= before + 30).then_some(()));
    assert!(daemon.looks() <= looks + 12, "{} looks at 30 still frames", daemon.looks() - looks);
}

#[test]
fn what_is_set_while_running_outlives_a_restart() {
    let mut daemon = Daemon::start("");
    daemon.put("/api/triggers/cat", r#"{"name":"cat","when":"a cat","threshold":0.9}"#);
    assert_eq!(daemon.trigger_names(), ["dog", "cat"]);
    daemon.post("/api/arm", r#"{"armed":false}"#);
    assert!(daemon.terminate().success());
    daemon.restart();
    assert_eq!(daemon.trigger_names(), ["dog", "cat"]);
    assert_eq!(daemon.status()["armed"], false);
}

#[test]
fn what_was_set_while_running_is_listed_and_forgotten_one_by_one_or_at_a_start() {
    let mut daemon = Daemon::start("\n[[trigger]]\nname = \"bus\"\nwhen = \"a red bus\"\n");
    let listed =
        |daemon: &Daemon| -> serde_json::Value { serde_json::from_slice(&daemon.get("/api/triggers")).unwrap() };
    let edit = |name: &str, edit: &str| serde_json::json!({"name": name, "edit": edit});
    daemon.put("/api/triggers/cat", r#"{"name":"cat","when":"a cat"}"#);
    daemon.put("/api/triggers/dog", r#"{"name":"dog","when":"a dog","threshold":0.9}"#);
    daemon.delete("/api/triggers/bus");
    let edits = [edit("bus", "removed"), edit("cat", "added"), edit("dog", "changed")];
    assert_eq!(listed(&daemon)["edits"], serde_json::json!(edits));

    daemon.delete("/api/triggers/bus/edit");
    assert_eq!(daemon.trigger_names(), ["dog", "bus", "cat"]);
    assert_eq!(listed(&daemon)["edits"], serde_json::json!(edits[1..]));

    assert!(daemon.terminate().success());
    daemon.restart_with("--forget-edits");
    assert_eq!(daemon.trigger_names(), ["dog", "bus"]);
    let now = listed(&daemon);
    assert_eq!(now["edits"], serde_json::json!([]));
    assert!((now["triggers"][0]["threshold"].as_f64().unwrap() - 0.3).abs() < 1e-6, "{now}");
}

#[test]
fn sighup_takes_a_new_configuration_and_keeps_the_old_one_where_the_new_makes_no_sense() {
    let daemon = Daemon::start("");
    daemon.write_config("\n[[trigger]]\nname = \"bus\"\nwhen = \"a red bus\"\n");
    daemon.hang_up();
    wait_for("the new trigger", Duration::from_secs(60), || (daemon.trigger_names() == ["dog", "bus"]).then_some(()));
    daemon.write_config("\n[[trigger]]\nname = \"bus\"\nwen = \"a red bus\"\n");
    daemon.hang_up();
    wait_for("the complaint", Duration::from_secs(60), || daemon.log().contains("did you mean `when`?").then_some(()));
    assert_eq!(daemon.trigger_names(), ["dog", "bus"]);
}

#[test]
fn an_event_that_a_power_cut_left_open_is_ended_by_the_next_start() {
    let mut daemon = Daemon::start("");
    daemon.show(&demo_picture(), "one.jpg");
    let event = wait_for("an event", Duration::from_secs(60), || daemon.events().into_iter().next());
    daemon.kill();
    daemon.restart();
    let ended = || daemon.events().into_iter().find(|known| known["id"] == event["id"] && known["phase"] == "end");
    wait_for("its end", Duration::from_secs(60), ended);
}

#[test]
fn two_daemons_do_not_share_a_memory() {
    let daemon = Daemon::start("");
    let output = daemon.second();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("error:") && text.contains("help:"), "{text}");
}
