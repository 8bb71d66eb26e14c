//! `eval` prints the numbers that pycocoevalcap prints. Made by `models/recipe/fixtures/eval.py`.

use std::path::Path;

use lookout::eval::metrics::{Scored, caption_scores, caption_tokens};
use serde::Deserialize;

#[derive(Deserialize)]
struct Captions {
    name: String,
    scores: Scores,
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Scores {
    bleu1: f64,
    bleu4: f64,
    rouge_l: f64,
    cider: f64,
}

#[derive(Deserialize)]
struct Image {
    candidate: String,
    references: Vec<String>,
}

#[derive(Deserialize)]
struct Tokens {
    text: String,
    tokens: Vec<String>,
}

#[test]
fn caption_scores_agree_with_pycocoevalcap_within_five_hundredths_of_a_point() {
    for set in fixture::<Captions>("captions.json") {
        let scored: Vec<Scored> = set.images.iter().map(scored).collect();
        let scores = caption_scores(&scored);
        for (key, ours, theirs) in [
            ("bleu1", scores.bleu1, set.scores.bleu1),
            ("bleu4", scores.bleu4, set.scores.bleu4),
            ("rouge_l", scores.rouge_l, set.scores.rouge_l),
            ("cider", scores.cider, set.scores.cider),
        ] {
            assert!((100.0 * ours - theirs).abs() < 0.05, "{key} of {}: {} against {theirs}", set.name, 100.0 * ours);
        }
    }
}

#[test]
fn caption_words_are_those_of_the_penn_treebank_tokenizer() {
    for sentence in fixture::<Tokens>("tokens.json") {
        assert_eq!(caption_tokens(&sentence.text), sentence.tokens, "{:?}", sentence.text);
    }
}

fn scored(image: &Image) -> Scored {
    let references = image.references.iter().map(|text| caption_tokens(text)).collect();
    Scored { candidate: caption_tokens(&image.candidate), references }
}

fn fixture<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/eval").join(name);
    let content = std::fs::read(path).expect("the fixture is in the repository");
    let cases: Vec<T> = serde_json::from_slice(&content).expect("the fixture is JSON");
    assert!(!cases.is_empty());
    cases
}
