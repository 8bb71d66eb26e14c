//! Every address of the API answers as its documentation says.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use crate::common::{self, Served, TOKEN, agent, get, send, wait};
use lookout::picture::Picture;
use serde_json::{Value, json};

fn ask(served: &Served, question: Value) -> common::Got {
    send(served, "POST", "/api/ask", &[], &question.to_string())
}

#[test]
fn questions_are_answered_and_their_id_comes_back() {
    let served = Served::open();
    let reply = ask(&served, json!({"task": "ask", "question": "what colour is the bicycle?", "id": [7]})).json();
    assert_eq!((&reply["answer"], &reply["camera"], &reply["id"]), (&json!("red"), &json!("porch"), &json!([7])));
    assert!(reply["at_ms"].as_u64().unwrap() > 1_700_000_000_000, "{reply}");
    let labels = ask(&served, json!({"task": "label", "labels": "a cat, a dog"})).json();
    assert_eq!(labels["labels"][0]["label"], "a dog");
    let boxes = ask(&served, json!({"task": "ground", "phrase": "a dog"})).json();
    assert_eq!(boxes["boxes"][0]["box"].as_array().unwrap().len(), 4);
    for (question, field) in [
        (json!({"task": "caption"}), "caption"),
        (json!({"task": "check", "sentence": "a dog"}), "supported"),
        (json!({"task": "snapshot", "camera": "porch"}), "width"),
        (json!({"task": "status"}), "uptime_s"),
        (json!({"task": "find", "words": "a dog"}), "events"),
    ] {
        let got = ask(&served, question.clone());
        assert_eq!(got.status, 200, "{question}: {}", got.text());
        assert!(got.json().get(field).is_some(), "{question}: {}", got.text());
    }
    assert_eq!(served.link.status().received, 8);
}

#[test]
fn a_question_that_does_not_fit_is_answered_with_what_does() {
    let served = Served::open();
    let got = ask(&served, json!({"task": "lable", "labels": ["a dog"]}));
    assert_eq!((got.status, &*got.code()), (400, "usage"));
    assert!(got.json()["error"]["help"].as_str().unwrap().contains("did you mean `label`?"));
    let got = ask(&served, json!({"task": "caption", "camera": "garden"}));
    assert_eq!((got.status, &*got.code()), (503, "camera"));
}

#[test]
fn too_many_questions_are_refused_at_once_and_answered_again_later() {
    let served = Served::open();
    served.desk.hold(true);
    std::thread::scope(|scope| {
        let caption = || ask(&served, json!({"task": "caption"})).status;
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(caption)).collect();
        wait("four questions stand before the desk", || (served.desk.waiting() == 4).then_some(()));
        let got = ask(&served, json!({"task": "caption"}));
        assert_eq!((got.status, &*got.code(), got.header("retry-after")), (429, "busy", "1"));
        assert_eq!(get(&served, "/api/status").status, 200, "other requests do not wait behind questions");
        served.desk.hold(false);
        assert!(waiting.into_iter().all(|asked| asked.join().unwrap() == 200));
    });
    assert_eq!(ask(&served, json!({"task": "caption"})).status, 200);
}

#[test]
fn no_answer_in_time_is_said() {
    let served = Served::with(false, |config| config.patience = Duration::from_millis(50));
    served.desk.hold(true);
    let got = ask(&served, json!({"task": "caption"}));
    assert_eq!((got.status, &*got.code()), (504, "stopped"));
}

#[test]
fn the_newest_frame_is_a_picture_and_not_sent_twice() {
    let served = Served::open();
    let got = get(&served, "/api/frame.jpg?camera=porch");
    assert_eq!((got.status, got.header("content-type")), (200, "image/jpeg"));
    let picture = Picture::decode(&got.body, "the frame").unwrap();
    assert_eq!((picture.width(), picture.height()), (768, 576));
    assert!(got.header("x-frame-ms").parse::<u64>().unwrap() > 1_700_000_000_000);
    // The desk gives a new frame every 200 ms: the second request is most often about the same one.
    wait("the same frame asked for twice", || {
        let tag = get(&served, "/api/frame.jpg").header("etag").to_owned();
        let again = send(&served, "GET", "/api/frame.jpg", &[("If-None-Match", &tag)], "");
        (again.status == 304 && again.body.is_empty()).then_some(())
    });
    let missing = get(&served, "/api/frame.jpg?camera=cellar");
    assert_eq!((missing.status, &*missing.code()), (404, "not_found"));
    served.desk.add_garden();
    let failing = get(&served, "/api/frame.jpg?camera=garden");
    assert_eq!((failing.status, &*failing.code()), (503, "camera"));
    assert!(failing.text().contains("refuses the connection"), "it says why");
}

#[test]
fn past_events_are_paged_filtered_and_searched() {
    let served = Served::open();
    let ago = |hours: u64| Duration::from_secs(hours * 3_600);
    let ids: Vec<u64> = (0..5).rev().map(|hours| served.desk.begin("dog", "a dog runs", ago(hours)).0).collect();
    let parcel = served.desk.begin("parcel", "a box at the door", ago(0)).0;
    let listed = |query: &str| -> Vec<u64> {
        let got = get(&served, &format!("/api/events?{query}"));
        assert_eq!(got.status, 200, "{query}: {}", got.text());
        got.json()["events"].as_array().unwrap().iter().map(|event| event["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(listed("top=2"), [parcel, ids[4]]);
    assert_eq!(listed(&format!("top=2&before={}", ids[4])), [ids[3], ids[2]]);
    assert_eq!(listed("trigger=parcel"), [parcel]);
    assert_eq!(listed("since=90m&trigger=dog"), [ids[4], ids[3]]);
    assert_eq!(listed("words=a+box&camera="), [parcel], "an empty field is none");
    assert_eq!(listed(&format!("like={}", ids[0])).len(), 5);

    let one = get(&served, &format!("/api/events/{}", ids[1])).json();
    assert_eq!((&one["id"], &one["phase"]), (&json!(ids[1]), &json!("begin")));
    let shot = get(&served, &format!("/api/events/{}/snapshot.jpg", ids[1]));
    assert!(shot.status == 200 && Picture::decode(&shot.body, "the snapshot").is_ok());
    assert!(shot.header("cache-control").contains("immutable"));
    for (path, status) in [
        ("/api/events?top=0", 400),
        ("/api/events?top=1000", 400),
        ("/api/events?since=soon", 400),
        ("/api/events?treshold=1", 400),
        ("/api/events/7", 404),
        ("/api/events/x", 404),
        ("/api/events/7/snapshot.jpg", 404),
    ] {
        let got = get(&served, path);
        assert_eq!(got.status, status, "{path}");
        assert!(!got.json()["error"]["help"].as_str().unwrap().is_empty(), "{path}");
    }
}

#[test]
fn triggers_are_set_and_removed_but_never_run_programs() {
    let served = Served::open();
    let put =
        |name: &str, trigger: Value| send(&served, "PUT", &format!("/api/triggers/{name}"), &[], &trigger.to_string());
    let names = || -> HashSet<String> {
        let triggers = get(&served, "/api/triggers").json();
        triggers["triggers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let got = put("cat", json!({"when": "a cat", "threshold": 0.6, "hold": "500ms", "zone": "steps"}));
    assert_eq!((got.status, &got.json()["name"]), (200, &json!("cat")));
    assert!(names().contains("cat"));
    assert_eq!(served.desk.trigger("cat").unwrap().hold, Duration::from_millis(500));
    for (trigger, status, cause) in [
        (json!({"when": "a cat", "command": ["/bin/sh"]}), 403, "`command`"),
        (json!({"like": "/etc/shadow"}), 403, "`like`"),
        (json!({"when": "a cat", "gpio": "door"}), 403, "`gpio`"),
        (json!({"when": "a cat", "name": "dog"}), 400, "name"),
        (json!({"when": "a cat", "threshold": 2}), 400, "`threshold`"),
        (json!({"when": "a cat", "treshold": 0.5}), 400, "treshold"),
        (json!({"when": "a cat", "zone": "roof"}), 400, "roof"),
        (json!(["a cat"]), 400, "JSON object"),
    ] {
        let got = put("cat", trigger.clone());
        assert_eq!(got.status, status, "{trigger}: {}", got.text());
        assert!(got.json()["error"]["message"].as_str().unwrap().contains(cause), "{trigger}: {}", got.text());
    }
    let bell = served.desk.trigger("bell").unwrap();
    let mut same = serde_json::to_value(&bell).unwrap();
    same["threshold"] = json!(0.9);
    assert_eq!(put("bell", same).status, 200, "a command that stays may stay");
    assert_eq!(put("bell", json!({"when": "a finger"})).status, 403, "nor is it taken away here");
    assert_eq!(served.desk.trigger("bell").unwrap().command, bell.command);
    let edits = || get(&served, "/api/triggers").json()["edits"].clone();
    assert_eq!(edits(), json!([{"name": "bell", "edit": "changed"}, {"name": "cat", "edit": "added"}]));
    assert_eq!(send(&served, "DELETE", "/api/triggers/cat", &[], "").json(), json!({"removed": "cat"}));
    assert_eq!(send(&served, "DELETE", "/api/triggers/dog", &[], "").status, 200);
    assert_eq!(edits(), json!([{"name": "bell", "edit": "changed"}, {"name": "dog", "edit": "removed"}]));
    assert_eq!(send(&served, "DELETE", "/api/triggers/dog/edit", &[], "").json(), json!({"forgotten": "dog"}));
    assert_eq!((edits(), names().contains("dog")), (json!([{"name": "bell", "edit": "changed"}]), true));
    assert_eq!(send(&served, "DELETE", "/api/triggers/dog/edit", &[], "").status, 404);
    assert_eq!(send(&served, "DELETE", "/api/triggers/cat", &[], "").status, 404);
    assert!(!names().contains("cat"));
}

#[test]
fn the_switch_is_turned_and_nonsense_leaves_it() {
    let served = Served::open();
    let arm = |body: &str| send(&served, "POST", "/api/arm", &[], body).status;
    assert_eq!((arm(r#"{"armed": false}"#), served.desk.armed()), (200, false));
    assert_eq!((arm(r#"{"armed": "yes"}"#), arm("{}"), served.desk.armed()), (400, 400, false));
    assert_eq!((arm(r#"{"armed": true}"#), served.desk.armed()), (200, true));
}

#[test]
fn the_stream_tells_the_status_at_once_and_events_as_they_happen() {
    let served = Served::open();
    let response = agent().get(served.url("/api/stream")).call().unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut lines = BufReader::new(response.into_body().into_reader()).lines();
    let mut next = |kind: &str| -> Value {
        loop {
            let line = lines.next().expect("the stream goes on").unwrap();
            if line.strip_prefix("event: ") == Some(kind) {
                let data = lines.next().unwrap().unwrap();
                return serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            }
        }
    };
    assert_eq!(next("status")["device"], "porch-pi");
    let id = served.desk.begin("dog", "a dog runs", Duration::ZERO);
    served.desk.end(id, Duration::from_secs(4));
    let (begin, end) = (next("event"), next("event"));
    assert_eq!((&begin["id"], &begin["phase"], &end["phase"]), (&json!(id.0), &json!("begin"), &json!("end")));
    served.desk.score("dog", 0.77);
    let scored = |status: &Value| (status["triggers"][0]["scores"][0]["score"].as_f64().unwrap() - 0.77).abs() < 1e-3;
    while !scored(&next("status")) {}
    assert_eq!(served.link.status().sent, 2);
}

#[test]
fn health_follows_capture_and_inference() {
    let served = Served::open();
    assert_eq!((get(&served, "/healthz").status, get(&served, "/healthz").text()), (200, "ok\n"));
    served.desk.stall(Some("no look for 31 s"));
    let got = get(&served, "/healthz");
    assert_eq!((got.status, got.text()), (503, "no look for 31 s\n"));
    served.desk.stall(None);
    served.desk.add_garden();
    let got = get(&served, "/healthz");
    assert_eq!((got.status, got.text()), (503, "camera garden: 10.0.0.9 refuses the connection\n"));
}

#[test]
fn every_file_of_the_page_is_served_once() {
    let served = Served::open();
    let page = get(&served, "/");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!((page.header("x-content-type-options"), page.header("x-frame-options")), ("nosniff", "DENY"));
    let mut files: HashSet<String> = HashSet::new();
    let mut unread = vec!["/".to_owned(), "/api".to_owned(), "/login".to_owned()];
    while let Some(path) = unread.pop() {
        let mut got = get(&served, &path);
        if got.status == 303 {
            continue;
        }
        assert_eq!(got.status, 200, "{path}");
        let tag = got.header("etag").to_owned();
        let again = send(&served, "GET", &path, &[("If-None-Match", &format!("\"x\", W/{tag}"))], "");
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let text = String::from_utf8(std::mem::take(&mut got.body)).unwrap();
        assert!(!text.contains("https://") && !text.contains("//cdn"), "{path} asks for nothing from elsewhere");
        for part in text.split(['"', '\'']).filter(|_| path != "/api") {
            let known = [".js", ".css", ".svg", ".webmanifest"].iter().any(|end| part.ends_with(end));
            let file = format!("/{}", part.trim_start_matches("./").trim_start_matches('/'));
            if known && !part.contains(' ') && files.insert(file.clone()) {
                unread.push(file);
            }
        }
    }
    assert!(files.len() >= 10, "{files:?}");
}

#[test]
fn the_documented_addresses_exist() {
    let served = Served::open();
    let doc = get(&served, "/api");
    let rows = doc.text().lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut tried = 0;
    for (method, path) in rows.filter_map(|(request, _)| request.split_once(' ')) {
        let path = path.split('?').next().unwrap().replace("{id}", "7").replace("{name}", "dog");
        if path != "/api/stream" {
            let got = send(&served, method, &path, &[], "");
            assert!(
                got.status != 405 && !String::from_utf8_lossy(&got.body).contains("nothing at this address"),
                "{method} {path}: {}",
                got.status
            );
            tried += 1;
        }
    }
    assert!(tried >= 13, "{tried}");
    assert_eq!(get(&served, "/api/ask").code(), "method");
    assert_eq!(get(&served, "/nothing").code(), "not_found");
}

#[test]
fn stopping_takes_less_than_a_second_though_pages_listen_and_questions_wait() {
    let mut served = Served::with_token();
    served.desk.hold(true);
    let bearer = format!("Bearer {TOKEN}");
    let stream = agent().get(served.url("/api/stream")).header("Authorization", &bearer).call().unwrap();
    let (url, question) = (served.url("/api/ask"), r#"{"task": "caption"}"#);
    let asked = std::thread::spawn(move || agent().post(url).header("Authorization", &bearer).send(question).is_ok());
    wait("the question stands before the desk", || (served.desk.waiting() == 1).then_some(()));
    let until = Instant::now() + Duration::from_secs(10);
    served.link.stop(until);
    assert!(Instant::now() < until, "it does not wait for the question");
    assert!(!served.link.status().up);
    let mut reader = BufReader::new(stream.into_body().into_reader());
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {}
    served.desk.hold(false);
    let _ = asked.join().unwrap();
}
