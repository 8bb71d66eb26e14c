//! `lookout find --events`: what a daemon kept is found by words, by a picture, and beside the running daemon.

use crate::cli::{self, lookout, picture};
use crate::common::{now_ms, open, report};
use lookout::watch::Phase;
use serde_json::Value;

/// A memory with an event for each picture, newest last, an hour apart, and the store that still holds it open.
fn kept(folder: &std::path::Path, pictures: &[&str]) -> lookout::memory::EventStore {
    let store = open(folder);
    let now = now_ms();
    for (n, name) in pictures.iter().enumerate() {
        let path = picture(name);
        let seen = lookout(["embed", &path, "--json"]).good().json();
        let floats: Vec<f32> = serde_json::from_value(seen["embedding"].clone()).expect("floats");
        let began_ms = now - 3_600_000 * (pictures.len() - n) as u64 + 60_000;
        let mut report = report(began_ms * 2_048, 0, Phase::Begin, began_ms);
        report.event.bundle = seen["bundle"].as_str().expect("an identity").to_owned();
        report.event.trigger = format!("trigger{n}");
        report.event.caption = Some((*name).to_owned());
        report.embedding = Some(floats.into());
        report.jpeg = Some(std::fs::read(&path).expect("a picture").into());
        store.record(&report).expect("recorded");
    }
    store
}

fn names(answer: &Value) -> Vec<&str> {
    answer["events"].as_array().expect("a list").iter().map(|event| event["caption"].as_str().expect("text")).collect()
}

#[test]
fn past_events_are_found_by_words_by_picture_and_by_time_beside_the_daemon() {
    let pictures = ["grey.jpg", "photo.jpg", "fine.jpg"];
    let folder = cli::folder();
    let store = kept(folder.path(), &pictures);
    let memory = folder.path().to_str().expect("UTF-8");
    let find =
        |more: &[&str]| lookout(["find", "--events", "--memory", memory, "--json"].iter().chain(more)).good().json();

    let by_words = find(&["a dog next to a bicycle"]);
    assert_eq!(by_words["task"], "find");
    assert_eq!(names(&by_words).len(), pictures.len());
    let scores: Vec<f64> =
        by_words["events"].as_array().unwrap().iter().map(|e| e["match"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");

    let by_picture = find(&["--like", &picture(pictures[1]), "--top", "1"]);
    assert_eq!(names(&by_picture), [pictures[1]]);
    assert!(by_picture["events"][0]["match"].as_f64().unwrap() > 0.999);

    assert_eq!(names(&find(&[])), pictures.iter().rev().copied().collect::<Vec<_>>(), "newest first");
    assert_eq!(names(&find(&["--since", "1h"])), [pictures[pictures.len() - 1]]);
    assert_eq!(names(&find(&["--trigger", "trigger0"])), [pictures[0]]);
    assert!(names(&find(&["--camera", "other", "a dog"])).is_empty());

    let out = folder.path().join("out");
    let written = find(&["--trigger", "trigger0", "--snapshots", out.to_str().unwrap()]);
    let file = written["events"][0]["file"].as_str().expect("a file");
    assert_eq!(std::fs::read(file).unwrap(), std::fs::read(picture(pictures[0])).unwrap());

    let shown = lookout(["find", "--events", "--memory", memory, "--trigger", "trigger0"]).good().out;
    assert!(shown.contains("trigger0") && shown.contains("front") && shown.contains(pictures[0]), "{shown}");
    assert!(store.status().writable);
}

#[test]
fn events_are_looked_at_again_where_their_picture_is_kept() {
    let folder = cli::folder();
    let store = kept(folder.path(), &["photo.jpg", "fine.jpg"]);
    let seen = lookout(["embed", &picture("flat.png"), "--json"]).good().json();
    let mut report = report(now_ms() * 2_048, 0, Phase::Begin, now_ms());
    report.event.bundle = seen["bundle"].as_str().expect("an identity").to_owned();
    report.embedding = Some(serde_json::from_value::<Vec<f32>>(seen["embedding"].clone()).expect("floats").into());
    report.jpeg = None;
    store.record(&report).expect("recorded");
    let memory = folder.path().to_str().expect("UTF-8");
    let run = lookout(["find", "--events", "a dog next to a bicycle", "--rerank", "9", "--memory", memory, "--json"]);
    let found = run.good();
    assert!(found.err.contains("has no picture"), "{}", found.err);
    let events = found.json()["events"].as_array().expect("a list").clone();
    let told: Vec<f64> = events.iter().filter_map(|event| event["log_probability"].as_f64()).collect();
    assert_eq!((events.len(), told.len()), (3, 2), "{events:?}");
    assert!(told.iter().all(|told| *told < 0.0), "{told:?}");
}

#[test]
fn what_makes_no_sense_is_refused_with_help() {
    let folder = cli::folder();
    let memory = folder.path().to_str().expect("UTF-8");
    lookout(["find", "--events", "--memory", memory]).bad(1, &["no memory of events", memory, "lookout run"]);
    lookout(["find", "--events", "a", "b", "--memory", memory]).bad(2, &["takes the place of the folder"]);
    lookout(["find", "--events", "a", "--like", "x.jpg"]).bad(2, &["takes the place of the words"]);
    lookout(["find", "--events", "--rerank", "3", "--memory", memory]).bad(2, &["needs words"]);
    lookout(["find", "--events", "--since", "soon"]).bad(2, &["soon", "2h"]);
    lookout(["find", "a dog", memory, "--since", "2d"]).bad(2, &["--events"]);
}
