//! Each command gives the answer that its description promises, as JSON and for people.

use std::path::Path;

use crate::cli::{self, changed_bundle, folder, lookout, lookout_reading, picture};
use serde_json::Value;

/// Asserts the keys that every answer about a picture has, and `own` ones.
#[track_caller]
fn has_keys(answer: &Value, task: &str, own: &[&str]) {
    assert_eq!(answer["task"], task);
    assert!(answer["bundle"].as_str().unwrap().contains('@') && answer["picture"].is_string(), "{answer}");
    for stage in ["decode", "encode", "decide", "total"] {
        assert!(answer["ms"][stage].as_f64().unwrap() >= 0.0, "{answer}");
    }
    assert!(answer["ms"]["total"].as_f64().unwrap() > 0.0);
    for key in own {
        assert!(!answer[*key].is_null(), "{key} is not in {answer}");
    }
}

#[test]
fn every_question_answers_in_json() {
    let fine = picture("fine.jpg");
    let ask = |args: &[&str]| lookout(args.iter().chain(&["--json"])).good().json();

    let answer = ask(&["label", &fine, "--labels", "a dog, a cat, a plain wall"]);
    has_keys(&answer, "label", &["labels", "none"]);
    let scores: Vec<f64> =
        answer["labels"].as_array().unwrap().iter().map(|label| label["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b));
    assert!((scores.iter().sum::<f64>() + answer["none"].as_f64().unwrap() - 1.0).abs() < 1e-4);

    let answer = ask(&["caption", &fine, "--samples", "3"]);
    has_keys(&answer, "caption", &["caption", "score", "agreement"]);
    assert_eq!(answer["samples"].as_array().unwrap().len(), 3);

    has_keys(&ask(&["ask", &fine, "what is this?"]), "ask", &["answer", "score"]);
    has_keys(&ask(&["check", &fine, "a cat on a couch"]), "check", &["supported", "score"]);
    has_keys(&ask(&["check", &fine]), "check", &["supported", "score", "caption", "agreement"]);

    let answer = ask(&["embed", &fine]);
    has_keys(&answer, "embed", &["embedding"]);
    let length: f64 = answer["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap().powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-4, "{length}");
    assert_eq!(ask(&["embed", "--text", "a dog"])["embedding"].as_array().unwrap().len(), 384);
}

#[test]
fn ground_draws_what_it_prints() {
    let folder = folder();
    let out = folder.path().join("boxes.png");
    let fine = picture("fine.jpg");
    let args = ["ground", &fine, "a dog", "--threshold", "0", "--top", "2", "--out", out.to_str().unwrap(), "--json"];
    let answer = lookout(args).good().json();
    has_keys(&answer, "ground", &["boxes", "out"]);
    assert_eq!(answer["boxes"].as_array().unwrap().len(), 2);
    assert_eq!(answer["boxes"][0]["box"].as_array().unwrap().len(), 4);
    let (before, after) = (open(Path::new(&fine)), open(&out));
    assert_eq!((before.width(), before.height()), (after.width(), after.height()));
    assert!(before != after, "something is drawn");
}

fn open(path: &Path) -> lookout::picture::Picture {
    lookout::picture::Picture::open(path).unwrap()
}

#[test]
fn a_caption_that_fits_the_picture_better_wins_where_the_bundle_says_so() {
    let weighing = |weight: f64| {
        changed_bundle(|_, manifest| {
            let speaker = manifest["speaker"].as_table_mut().unwrap();
            speaker.insert("cosine_weight".into(), weight.into());
            speaker.remove("names");
        })
    };
    // The score rises with the cosine of sentence and picture.
    let scores = |weight| {
        let bundle = weighing(weight);
        let score = |name| {
            let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/towers").join(name);
            let said =
                lookout(["caption", picture.to_str().unwrap(), "--bundle", bundle.path().to_str().unwrap(), "--json"]);
            said.good().json()["score"].as_f64().unwrap()
        };
        ["astronaut.png", "chelsea.png", "coffee.png", "flower.png", "rocket.png"].map(score)
    };
    let (never, always) = (scores(0.0), scores(100.0));
    assert!(always.iter().zip(&never).all(|(always, never)| always >= never), "{always:?} {never:?}");
    assert_ne!(always, never, "it makes no difference");
}

#[test]
fn what_would_not_hold_is_shown_as_what_a_name_stands_for() {
    let doubting = changed_bundle(|_, manifest| {
        let strict = toml::toml! {
            kinds = [["dog", "dogs"]]
            least = [50.0]
        };
        manifest["calibration"].as_table_mut().unwrap().insert("things".into(), strict.into());
        let names = ["an aeroplane", "a dog"].map(|name| name.into()).to_vec();
        manifest["speaker"].as_table_mut().unwrap().insert("names".into(), toml::Value::Array(names));
    });
    let asked = |task: &str, options: &[&str]| {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo.jpg");
        let bundle = doubting.path().to_str().unwrap();
        lookout([task, demo.to_str().unwrap(), "--bundle", bundle].iter().chain(options)).good()
    };
    let answer = asked("caption", &["--json"]).json();
    let (name, sentence) = (answer["caption"].as_str().unwrap(), answer["instead_of"].as_str().unwrap());
    assert_eq!(name, "a dog", "{answer}");
    assert!(sentence.contains("dog is"), "{answer}");
    assert!(answer["score"].as_f64().unwrap() >= 0.5, "{answer}");
    let shown = asked("caption", &[]).out;
    assert!(shown.starts_with(&format!("{name}\n  score 0.")), "{shown}");
    assert!(shown.ends_with(&format!(", instead of \"{sentence}\"\n")), "{shown}");
    let checked = asked("check", &["--samples", "1", "--json"]).json();
    assert_eq!(
        (&checked["caption"], &checked["supported"]),
        (&sentence.into(), &false.into()),
        "what it said is checked"
    );
}

#[test]
fn the_same_picture_from_a_file_a_uri_and_standard_input_gives_the_same_caption() {
    let fine = picture("fine.jpg");
    let said = |run: cli::Run| run.good().out;
    let file = said(lookout(["caption", &fine]));
    assert_eq!(file, said(lookout(["caption", &format!("file://{fine}")])));
    assert_eq!(file, said(lookout_reading(["caption", "-"], &std::fs::read(&fine).unwrap())));
    assert_eq!(file, said(lookout(["caption", &fine, "--threads", "1"])), "threads do not change the answer");
}

#[test]
fn handled_kinds_of_picture_are_looked_at() {
    for name in ["moving.gif", "rgb16.png", "grey16.png", "cmyk_adobe.jpg", "alpha.webp"] {
        lookout(["label", &picture(name), "--labels", "a dog"]).good();
    }
}

#[test]
fn ten_thousand_labels_are_answered() {
    let folder = folder();
    let file = folder.path().join("words.txt");
    std::fs::write(&file, (0..10_000).map(|n| format!("thing {n}\n")).collect::<String>()).unwrap();
    let args = ["label", &picture("fine.jpg"), "--labels-file", file.to_str().unwrap(), "--json"];
    let answer = lookout(args).good().json();
    assert_eq!(answer["labels"].as_array().unwrap().len(), 10_000);
}

#[test]
fn find_embeds_only_what_is_new() {
    let folder = folder();
    let put = |name: &str, from: &str| std::fs::copy(picture(from), folder.path().join(name)).unwrap();
    put("a.jpg", "fine.jpg");
    put("b.png", "flat.png");
    put("broken.jpg", "cut.jpg");
    let find = |args: &[&str]| {
        let dir = folder.path().to_str().unwrap();
        lookout(["find"].iter().chain(args).chain(&[dir, "--json"])).good()
    };
    let first = find(&["a dog on a beach"]);
    assert!(first.err.contains("broken.jpg") && first.err.contains("warning"), "{}", first.err);
    let answer = first.json();
    assert_eq!((&answer["index"]["embedded"], &answer["index"]["unreadable"]), (&2.into(), &1.into()), "{answer}");
    assert_eq!(answer["found"].as_array().unwrap().len(), 2);
    assert!(folder.path().join(".lookout-index").is_file());

    let second = find(&["--like", &picture("fine.jpg")]);
    assert_eq!(second.err, "", "the broken picture is warned about once");
    let answer = second.json();
    assert_eq!(answer["index"]["embedded"], 0);
    assert!(answer["found"][0]["picture"].as_str().unwrap().ends_with("/a.jpg"), "{answer}");
    assert!(answer["found"][0]["score"].as_f64().unwrap() > 0.999);

    let mut damaged = std::fs::read(folder.path().join(".lookout-index")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(folder.path().join(".lookout-index"), damaged).unwrap();
    std::fs::remove_file(folder.path().join("b.png")).unwrap();
    let third = find(&["a dog", "--top", "1"]);
    assert!(third.err.contains("rebuilt") && third.err.contains("checksum"), "{}", third.err);
    assert_eq!(third.json()["index"]["pictures"], 1);
}

#[test]
fn find_looks_again_at_the_best_and_orders_them_by_what_would_be_said_of_them() {
    let folder = folder();
    for name in ["astronaut.png", "chelsea.png", "china.png", "coffee.png", "flower.png"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/towers").join(name);
        std::fs::copy(from, folder.path().join(name)).unwrap();
    }
    let dir = folder.path().to_str().unwrap();
    let find = |most: &str, bundle: &[&str]| {
        let words = "a man is sitting on a bench in front of a building";
        lookout(["find", words, dir, "--rerank", most, "--json"].iter().chain(bundle)).good().json()["found"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| (found["cosine"].as_f64().unwrap(), found["log_probability"].as_f64()))
            .collect::<Vec<_>>()
    };
    let weighing = changed_bundle(|_, manifest| {
        manifest["speaker"].as_table_mut().unwrap().insert("rerank_weight".into(), 0.5.into());
    });
    let bundle = ["--bundle", weighing.path().to_str().unwrap()];
    let plain = find("0", &bundle);
    assert!(plain.iter().all(|(_, told)| told.is_none()) && plain.is_sorted_by(|a, b| a.0 >= b.0), "{plain:?}");
    let all = find("9", &bundle);
    let score = |(cosine, told): &(f64, Option<f64>)| cosine + 0.5 * told.unwrap();
    assert!(all.iter().map(score).is_sorted_by(|a, b| a >= b), "{all:?}");
    assert!(!all.is_sorted_by(|a, b| a.0 >= b.0), "another order: {all:?}");
    let some = find("2", &bundle);
    assert_eq!(some.iter().filter(|(_, told)| told.is_some()).count(), 2);
    assert!(some[0].1.is_some() && some[1].1.is_some() && some[2..] == plain[2..], "{some:?}");

    let silent = changed_bundle(|_, manifest| {
        manifest["speaker"].as_table_mut().unwrap().remove("rerank_weight");
    });
    let silent = silent.path().to_str().unwrap();
    lookout(["find", "a dog", dir, "--rerank", "2", "--bundle", silent]).bad(1, &["rerank_weight", "--rerank"]);
}

#[test]
fn help_completions_and_manual_pages_name_every_command() {
    let help = lookout(["--help"]).good().out;
    let script = lookout(["completions", "bash"]).good().out;
    let folder = folder();
    lookout(["man", "--dir", folder.path().to_str().unwrap()]).good();
    let commands = [
        "label",
        "caption",
        "ground",
        "ask",
        "check",
        "embed",
        "find",
        "eval",
        "bench",
        "bundle",
        "completions",
        "man",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        assert!(script.contains(command));
        assert!(folder.path().join(format!("lookout-{command}.1")).is_file(), "{command}");
        assert!(lookout([command, "--help"]).good().out.contains("Usage"));
    }
    assert!(lookout(["man"]).good().out.contains(".TH lookout"));
    assert!(lookout(["--version"]).good().out.starts_with("lookout "));
}

#[test]
fn bench_measures_every_stage() {
    let answer = lookout(["bench", "--runs", "2", "--starts", "1", "--json"]).good().json();
    let stages: Vec<&str> =
        answer["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(
        stages,
        ["decode", "preprocess", "image tower", "text tower", "label decide", "caption", "ground"],
        "{answer}"
    );
    assert!(answer["cold_start"]["median"].as_f64().unwrap() > 0.0);
    assert!(answer["peak_rss_mb"].as_f64().unwrap() > 1.0);
}
