//! What the optional parts of the calibration change: with them words are judged one by one, and a label that is not
//! there is not there however many compete.

use std::fs;
use std::path::Path;

use lookout::bundle::{Bundle, Calibration, Document, MANIFEST_NAME, Manifest, Presence, Things, WordCheck};
use lookout::engine::Options;
use lookout::picture::Picture;
use lookout::sight::{Looker, SpeakOptions, View};
use tempfile::TempDir;

/// The default bundle, calibrated as `change` says, and the demo picture.
fn looking(change: impl FnOnce(&mut Calibration)) -> (TempDir, Looker, View) {
    changed(|document| change(document.calibration.as_mut().unwrap()))
}

/// The default bundle with a changed manifest, and the demo picture.
fn changed(change: impl FnOnce(&mut Document)) -> (TempDir, Looker, View) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (from, folder) = (root.join("models/default"), TempDir::new().unwrap());
    for file in fs::read_dir(&from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let manifest = Manifest::from_bytes(&fs::read(from.join(MANIFEST_NAME)).unwrap(), "default").unwrap();
    let mut document = manifest.document().clone();
    change(&mut document);
    fs::write(folder.path().join(MANIFEST_NAME), Manifest::new(&document).unwrap().to_toml().unwrap()).unwrap();
    let looker = Looker::open(Bundle::open(folder.path()).unwrap(), Options::default()).unwrap();
    let view = looker.look(&Picture::open(&root.join("models/demo.jpg")).unwrap()).unwrap();
    (folder, looker, view)
}

/// Only the words decide: the cosine's part is always one half.
fn words_alone() -> WordCheck {
    let kinds = [&["dog", "horse", "bird", "cow"][..], &["one", "two", "three", "five"]];
    let kinds = kinds.map(|kind| kind.iter().map(|word| (*word).to_owned()).collect()).to_vec();
    WordCheck { cosine_scale: 0.0, cosine_bias: 0.0, choice: 1.0, gain: 0.5, bias: 2.0, blank: vec![0.0; 256], kinds }
}

#[test]
fn a_word_that_the_picture_does_not_show_lowers_the_score_and_an_unknown_word_does_not() {
    let (_folder, looker, view) =
        looking(|calibration| (calibration.check, calibration.things) = (Some(words_alone()), None));
    let score = |sentence: &str| looker.check(&view, sentence).unwrap().score;
    let right = score("A dog sits next to a bicycle.");
    for wrong in ["A horse sits next to a bicycle.", "A bird sits next to a bicycle.", "A cow sits next to a bicycle."]
    {
        assert!(right > score(wrong) + 0.1, "{right} {wrong} {}", score(wrong));
    }
    let no_word_of_a_kind = 0.5 / (1.0 + (-2f32).exp());
    assert!((score("Something sits there.") - no_word_of_a_kind).abs() < 1e-5);
    let sentence = "a dog sits next to a bicycle";
    assert_eq!(right, score(sentence), "punctuation and capitals do not count");
    let long = format!("{}dog", "very ".repeat(40));
    assert!((score(&long) - no_word_of_a_kind).abs() < 1e-5, "words beyond the 32nd token are not judged");
}

#[test]
fn without_word_checks_the_cosine_alone_decides() {
    let (_folder, looker, view) = looking(|calibration| (calibration.check, calibration.things) = (None, None));
    let checked = looker.check(&view, "a dog sits next to a bicycle").unwrap();
    assert_eq!(checked, looker.support(checked.cosine).unwrap());
}

#[test]
fn a_thing_that_is_not_there_takes_from_sentences_that_name_it_and_from_no_others() {
    let kinds = vec![["dog", "horse"].map(str::to_owned).to_vec(), ["car", "bus"].map(str::to_owned).to_vec()];
    let least = vec![-1.0, -3.0];
    let (_folder, looker, view) = looking(|calibration| calibration.things = Some(Things { kinds, least }));
    let (_other, without, _) = looking(|calibration| calibration.things = None);
    let share = |sentence: &str| {
        let [with, without] = [&looker, &without].map(|looker| looker.check(&view, sentence).unwrap());
        assert_eq!(with.cosine, without.cosine);
        with.score / without.score
    };
    // As by the label alone: its probability p is sigmoid(l), so sigmoid(l + 1) is to be expected.
    let expected = |word: &str, least: f32| {
        let p = looker.label(&view, &[word.to_owned()]).unwrap().labels[0].score;
        1.0 / (1.0 + (1.0 / p - 1.0) * least.exp())
    };
    for (sentence, wanted) in [
        ("A dog sits next to a bicycle.", expected("dog", -1.0)),
        ("A horse sits next to a bicycle.", expected("horse", -1.0)),
        ("a dog in front of a BUS", expected("dog", -1.0).min(expected("bus", -3.0))),
        ("something sits next to a bicycle", 1.0),
    ] {
        assert!((share(sentence) - wanted).abs() < 1e-4, "{sentence}: {} not {wanted}", share(sentence));
    }
    assert!(share("A dog sits there.") > share("A horse sits there.") + 0.3);
    let [with, without] = [&looker, &without].map(|looker| looker.caption(&view, &SpeakOptions::default()).unwrap());
    assert_eq!(with.caption, without.caption);
    assert!(with.caption.contains("dog"), "{}", with.caption);
    assert!((with.score / without.score - expected("dog", -1.0)).abs() < 1e-4, "{} {}", with.score, without.score);
}

#[test]
fn what_a_picture_does_not_support_is_not_said_where_a_name_is_surely_there() {
    let said = |names: &[&str], least: f32| {
        let (_folder, looker, view) = changed(|document| {
            document.speaker.as_mut().unwrap().names = names.iter().map(|name| (*name).to_owned()).collect();
            let kinds = vec![["dog", "dogs"].map(str::to_owned).to_vec()];
            document.calibration.as_mut().unwrap().things = Some(Things { kinds, least: vec![least] });
        });
        looker.caption(&view, &SpeakOptions { samples: 2, ..SpeakOptions::default() }).unwrap()
    };
    // With so much asked of dogs no sentence that names one is supported.
    let sentence = said(&[], 50.0);
    assert!(sentence.caption.contains("dog") && sentence.score < 0.01, "{sentence:?}");
    let named = said(&["a dog", "an aeroplane"], 50.0);
    assert_eq!((named.caption.as_str(), named.instead_of.as_ref()), ("a dog", Some(&sentence.caption)));
    assert!(named.score >= 0.5, "{named:?}");
    assert_eq!((named.log_probability, named.agreement), (sentence.log_probability, sentence.agreement));
    assert_eq!(said(&["an aeroplane"], 50.0), sentence, "what is not there is no name");
    let supported = said(&["a dog"], -50.0);
    assert_eq!((&supported.caption, supported.instead_of), (&sentence.caption, None));
    assert!(supported.score > 0.5);
}

#[test]
fn how_sure_the_speaker_is_of_an_answer_is_calibrated() {
    let asked = |scale: f32, bias: f32| {
        let (_folder, looker, view) =
            looking(|calibration| (calibration.answer_scale, calibration.answer_bias) = (scale, bias));
        looker.ask(&view, "what colour is the bicycle?", &SpeakOptions::default()).unwrap()
    };
    let odds = |score: f32| (score / (1.0 - score)).ln();
    let (plain, calibrated) = (asked(1.0, 0.0), asked(0.5, -1.0));
    assert_eq!(plain.answer, calibrated.answer);
    assert!((odds(calibrated.score) - (0.5 * odds(plain.score) - 1.0)).abs() < 1e-3, "{plain:?} {calibrated:?}");
}

#[test]
fn with_presence_the_best_label_is_as_sure_alone_as_among_many() {
    let (_folder, looker, view) = looking(|calibration| {
        calibration.background = ["a person", "a wall", "a tree"].map(str::to_owned).to_vec();
        calibration.presence = Some(Presence { scale: 20.0, background: -25.0, bias: 0.0 });
    });
    let label = |words: &[String]| looker.label(&view, words).unwrap();
    let alone = label(&["a dog".to_owned()]);
    assert!((alone.labels[0].score + alone.none - 1.0).abs() < 1e-6);
    let crowd: Vec<String> = (0..200).map(|_| "a dog".to_owned()).collect();
    assert!((label(&crowd).none - alone.none).abs() < 1e-6);
    let scorer = looker.scorer(&[vec!["a dog".to_owned()]]).unwrap();
    assert!((scorer.scores(&view.embedding)[0] - alone.labels[0].score).abs() < 1e-6, "the daemon scores the same");
    let absent = label(&["an aeroplane in the sky".to_owned()]);
    assert!(absent.none > alone.none, "{absent:?} {alone:?}");
}
