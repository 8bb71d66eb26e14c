//! `eval` with the default bundle: answers that the bundle itself gives score full marks, other answers none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lookout::bundle::Bundle;
use lookout::engine::Options;
use lookout::eval::metrics::{auroc, percent};
use lookout::eval::{self, Task, run};
use lookout::picture::Picture;
use lookout::sight::{GroundOptions, Looker, SpeakOptions, View};
use lookout::{Code, Error};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

fn looker() -> &'static Looker {
    static LOOKER: OnceLock<Looker> = OnceLock::new();
    LOOKER.get_or_init(|| {
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
        Looker::open(Bundle::open(&bundle).unwrap(), Options::default()).unwrap()
    })
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo.jpg")
}

fn demo_view() -> View {
    looker().look(&Picture::open(&demo()).unwrap()).unwrap()
}

fn temple() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/towers/china.png")
}

/// [`measure_as`] by default.
fn measure(task: Task, rows: &[Value]) -> Result<Map<String, Value>, Error> {
    measure_as(task, rows, eval::Options::default())
}

/// Measures `task` over `rows` with an archive that holds the demo picture as `demo.jpg` and another as `temple.png`.
fn measure_as(task: Task, rows: &[Value], options: eval::Options) -> Result<Map<String, Value>, Error> {
    let folder = TempDir::new().unwrap();
    let (images, jsonl) = (folder.path().join("x.tar"), folder.path().join("x.jsonl"));
    let mut archive = tar::Builder::new(File::create(&images).unwrap());
    archive.append_path_with_name(demo(), "demo.jpg").unwrap();
    archive.append_path_with_name(temple(), "temple.png").unwrap();
    archive.finish().unwrap();
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(&jsonl, lines.join("\n")).unwrap();
    let mut steps = Vec::new();
    let result = run(task, looker(), &images, &jsonl, options, &mut |done, total| steps.push((done, total)))?;
    let (done, total) = *steps.last().expect("progress is told");
    assert_eq!(done, total);
    Ok(result)
}

#[test]
fn own_captions_score_full_marks_and_foreign_ones_do_not() {
    let own = looker().caption(&demo_view(), &SpeakOptions::default()).unwrap().caption;
    let scores = measure(Task::Caption, &[json!({"image": "demo.jpg", "captions": [own]})]).unwrap();
    assert_eq!((&scores["bleu1"], &scores["rouge_l"]), (&json!(100.0), &json!(100.0)), "{scores:?}");
    let scores = measure(Task::Caption, &[json!({"image": "demo.jpg", "captions": ["zzz yyy xxx"]})]).unwrap();
    assert_eq!(scores["bleu1"], json!(0.0));
    assert!(scores.contains_key("bleu4") && scores.contains_key("cider"));
    assert_eq!((&scores["n"], &scores["task"]), (&json!(1), &json!("caption")));
    assert_eq!(scores["bundle"], json!(looker().identity()));
    assert!(scores["seconds"].is_number());
}

#[test]
fn own_boxes_are_found_and_far_ones_are_not_and_phrases_with_two_boxes_do_not_count() {
    let view = demo_view();
    let best = looker().ground(&view, "a dog", &GroundOptions { threshold: 0.0, top: 1 }).unwrap().boxes[0].rect;
    let (width, height) = (view.width as f32, view.height as f32);
    let own = [best[0] / width, best[1] / height, best[2] / width, best[3] / height];
    let row = |boxes: Value| json!({"image": "demo.jpg", "phrases": [{"phrase": "a dog", "boxes": boxes}]});
    let two = row(json!([own, own]));
    let scores = measure(Task::Ground, &[row(json!([own])), two.clone()]).unwrap();
    assert_eq!((&scores["acc_iou50"], &scores["pointing"]), (&json!(100.0), &json!(100.0)), "{scores:?}");
    assert_eq!(scores["n"], json!(1));
    let scores = measure(Task::Ground, &[row(json!([[2.0, 2.0, 0.1, 0.1]]))]).unwrap();
    assert_eq!((&scores["acc_iou50"], &scores["pointing"]), (&json!(0.0), &json!(0.0)));
    assert!(measure(Task::Ground, &[two]).unwrap_err().message().contains("exactly one box"));
}

#[test]
fn the_label_that_the_bundle_prefers_is_right_and_the_other_is_wrong() {
    let labels = ["a dog".to_owned(), "a bicycle".to_owned()];
    let order = looker().label(&demo_view(), &labels).unwrap().labels;
    let row = |at: usize| json!({"image": "demo.jpg", "label": order[at].label});
    let scores = measure(Task::Label, &[row(0), row(0), row(0), row(1)]).unwrap();
    assert_eq!((&scores["top1"], &scores["top5"], &scores["n"]), (&json!(75.0), &json!(100.0), &json!(4)));
    let expected = f64::from((0.75 - order[0].score).abs()) * 100.0;
    assert!((scores["ece"].as_f64().unwrap() - expected).abs() < 0.02, "{scores:?}, expected {expected}");
}

#[test]
fn none_is_judged_with_and_without_the_pictures_own_label() {
    let labels = ["a bicycle".to_owned(), "a dog".to_owned()];
    let none = |labels: &[String]| looker().label(&demo_view(), labels).unwrap().none;
    let rows = [0, 1].map(|at| json!({"image": "demo.jpg", "label": labels[at]}));
    let expected = auroc(&[none(&labels[1..]), none(&labels[..1])], &[none(&labels); 2]);
    assert_eq!(measure(Task::Label, &rows).unwrap()["none_auroc"], json!(percent(expected)));
    let alone = measure(Task::Label, &rows[..1]).unwrap();
    assert!(!alone.contains_key("none_auroc"), "one label cannot be left out: {alone:?}");
}

#[test]
fn sentences_about_the_picture_are_told_from_those_about_another() {
    let (dog, house) = ("a dog sits next to a bicycle", "people walk in front of a building");
    let row =
        |image: &str, own: &str, wrong: &str| json!({"image": image, "captions": [own], "swapped": [[own, wrong]]});
    let right = measure(Task::Check, &[row("demo.jpg", dog, house), row("temple.png", house, dog)]).unwrap();
    assert_eq!(
        (&right["auroc_other"], &right["auroc_swapped"], &right["n"]),
        (&json!(100.0), &json!(100.0), &json!(6))
    );
    let turned = measure(Task::Check, &[row("demo.jpg", house, dog), row("temple.png", dog, house)]).unwrap();
    assert_eq!((&turned["auroc_other"], &turned["auroc_swapped"]), (&json!(0.0), &json!(0.0)));
    assert!(turned["ece"].as_f64() > right["ece"].as_f64(), "{turned:?} {right:?}");
    let plain =
        [("demo.jpg", dog), ("temple.png", house)].map(|(image, own)| json!({"image": image, "captions": [own]}));
    let plain = measure(Task::Check, &plain).unwrap();
    assert_eq!((plain.get("auroc_swapped"), &plain["n"]), (None, &json!(4)));
}

#[test]
fn a_single_picture_cannot_be_told_from_another() {
    let row = json!({"image": "demo.jpg", "captions": ["a dog"]});
    assert!(measure(Task::Check, &[row.clone(), row]).unwrap_err().message().contains("only one picture"));
    let blank = json!({"image": "demo.jpg", "captions": ["a dog"], "swapped": [["a dog", " "]]});
    assert!(measure(Task::Check, &[blank]).unwrap_err().message().contains("blank"));
}

#[test]
fn own_answers_are_exact_and_others_are_not() {
    let question = "what colour is the bicycle?";
    let own = looker().ask(&demo_view(), question, &SpeakOptions::default()).unwrap().answer;
    let row = |answer: &str| json!({"image": "demo.jpg", "question": question, "answer": answer});
    let scores = measure(Task::Ask, &[row(&own.to_uppercase()), row("a purple zeppelin, probably")]).unwrap();
    assert_eq!((&scores["exact"], &scores["n"]), (&json!(50.0), &json!(2)), "{own}");
}

#[test]
fn one_picture_alone_is_always_retrieved_and_naming_it_twice_is_refused() {
    let row = json!({"image": "demo.jpg", "captions": ["a dog on a porch", "a dog beside a bicycle"]});
    let scores = measure(Task::Retrieve, std::slice::from_ref(&row)).unwrap();
    for key in ["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10"] {
        assert_eq!(scores[key], json!(100.0), "{key}");
    }
    let error = measure(Task::Retrieve, &[row.clone(), row]).unwrap_err();
    assert!(error.message().contains("line 2") && error.message().contains("second time"), "{error}");
}

#[test]
fn what_the_speaker_would_say_puts_the_nearest_into_order_again() {
    let own = looker().caption(&demo_view(), &SpeakOptions::default()).unwrap().caption;
    let rows =
        [json!({"image": "demo.jpg", "captions": [own]}), json!({"image": "temple.png", "captions": ["a temple"]})];
    let scores = measure_as(Task::Retrieve, &rows, eval::Options { limit: None, rerank: 2 }).unwrap();
    for key in ["reranked_i2t_r1", "reranked_t2i_r1", "reranked_t2i_r10"] {
        assert_eq!(scores[key], json!(100.0), "{key}: {scores:?}");
    }
    assert_eq!(measure(Task::Retrieve, &rows).unwrap().get("reranked_i2t_r1"), None);
}

#[test]
fn a_row_without_the_fields_of_its_task_says_which_is_missing() {
    let row = json!({"image": "demo.jpg"});
    for (task, field) in [
        (Task::Label, "label"),
        (Task::Caption, "captions"),
        (Task::Ground, "phrases"),
        (Task::Retrieve, "captions"),
        (Task::Ask, "question"),
        (Task::Check, "captions"),
    ] {
        let error = measure(task, std::slice::from_ref(&row)).unwrap_err();
        assert_eq!(error.code(), Code::Input);
        assert!(error.message().contains(&format!("`{field}`")), "{error}");
    }
}
