//! Answers to questions.

use serde::Deserialize;

use super::{Measured, Progress};
use crate::Result;
use crate::eval::Set;
use crate::eval::metrics::{Reliability, same_answer};
use crate::sight::{Looker, SpeakOptions, View};

#[derive(Deserialize)]
struct Asked {
    image: String,
    question: String,
    answer: String,
}

pub(in crate::eval) fn ask(looker: &Looker, set: &Set, progress: Progress) -> Result<Measured> {
    let total = set.count_rows()?;
    let (mut exact, mut reliability) = (0usize, Reliability::default());
    // Questions about one picture usually follow each other.
    let mut last: Option<(String, View)> = None;
    for (done, row) in set.rows::<Asked>()?.enumerate() {
        let row = row?;
        let view = match last.take() {
            Some((image, view)) if image == row.body.image => view,
            _ => looker.look(&set.picture(&row.body.image, row.line)?)?,
        };
        let said = looker.ask(&view, &row.body.question, &SpeakOptions::default())?;
        let right = same_answer(&said.answer, &row.body.answer);
        exact += usize::from(right);
        reliability.add(said.score, right, 1.0);
        last = Some((row.body.image, view));
        progress(done + 1, total);
    }
    Ok(Measured { scores: vec![("exact", exact as f64 / total as f64), ("ece", reliability.error())], counted: total })
}
