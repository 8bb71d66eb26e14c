//! What the optional parts of the calibration change: with them words are judged one by one, and a label that is not
//! there is not there however many compete.

use std::fs;
use std::path::Path;

use lookout::bundle::{Bundle, Calibration, MANIFEST_NAME, Manifest, Presence, WordCheck};
use lookout::engine::Options;
use lookout::picture::Picture;
use lookout::sight::{Looker, View};
use tempfile::TempDir;

/// The default bundle, calibrated as `change` says, and the demo picture.
fn looking(change: impl FnOnce(&mut Calibration)) -> (TempDir, Looker, View) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (from, folder) = (root.join("models/default"), TempDir::new().unwrap());
    for file in fs::read_dir(&from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let manifest = Manifest::from_bytes(&fs::read(from.join(MANIFEST_NAME)).unwrap(), "default").unwrap();
    let mut document = manifest.document().clone();
    change(document.calibration.as_mut().unwrap());
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
    let (_folder, looker, view) = looking(|calibration| calibration.check = Some(words_alone()));
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
    let (_folder, looker, view) = looking(|calibration| calibration.check = None);
    let checked = looker.check(&view, "a dog sits next to a bicycle").unwrap();
    assert_eq!(checked, looker.support(checked.cosine).unwrap());
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
