//! Sentences that the picture supports, and such that it does not.

use serde::Deserialize;

use super::{Measured, Progress};
use crate::eval::Set;
use crate::eval::metrics::{Reliability, auroc};
use crate::sight::{Looker, View};
use crate::{Code, Error, Result};

#[derive(Deserialize)]
struct Checked {
    image: String,
    captions: Vec<String>,
    /// A true sentence and a wrong one.
    #[serde(default)]
    swapped: Vec<(String, String)>,
}

pub(in crate::eval) fn check(looker: &Looker, set: &Set, progress: Progress) -> Result<Measured> {
    let mut rows = Vec::new();
    for row in set.rows::<Checked>()? {
        let row = row?;
        let sentences = row.body.captions.iter().chain(row.body.swapped.iter().flat_map(|(own, wrong)| [own, wrong]));
        if row.body.captions.is_empty() {
            return Err(set.bad_row(row.line, "`captions` is empty"));
        }
        if sentences.map(|sentence| sentence.trim()).any(str::is_empty) {
            return Err(set.bad_row(row.line, "a sentence is blank"));
        }
        rows.push(row);
    }
    let (mut own, mut others, mut swapped) = (Vec::new(), Vec::new(), Vec::new());
    for (at, row) in rows.iter().enumerate() {
        let view = looker.look(&set.picture(&row.body.image, row.line)?)?;
        let score = |view: &View, sentence: &str| looker.check(view, sentence).map(|support| support.score);
        for (turn, caption) in row.body.captions.iter().enumerate() {
            own.push(score(&view, caption)?);
            others.push(score(&view, foreign(&rows, at, turn, |row| &row.body)?)?);
        }
        for (_, wrong) in &row.body.swapped {
            swapped.push(score(&view, wrong)?);
        }
        progress(at + 1, rows.len());
    }
    // True and wrong sentences weigh the same, and so do the two kinds of wrong ones.
    let mut reliability = Reliability::default();
    let kinds = if swapped.is_empty() { 1.0 } else { 2.0 };
    for (scores, right, share) in [(&own, true, 1.0), (&others, false, 1.0 / kinds), (&swapped, false, 1.0 / kinds)] {
        scores.iter().for_each(|score| reliability.add(*score, right, share / scores.len() as f64));
    }
    let mut scores = vec![("auroc_other", auroc(&own, &others))];
    if !swapped.is_empty() {
        scores.push(("auroc_swapped", auroc(&own, &swapped)));
    }
    scores.push(("ece", reliability.error()));
    Ok(Measured { scores, counted: own.len() + others.len() + swapped.len() })
}

/// A caption of another picture: for each `turn` from another part of the rows, far from row `at`, since neighbours may
/// show the same scene.
fn foreign<T>(rows: &[T], at: usize, turn: usize, body: impl Fn(&T) -> &Checked) -> Result<&str> {
    let own = body(&rows[at]);
    let far = (turn + 1) * rows.len() / (own.captions.len() + 1);
    let mut order = (0..rows.len()).map(|step| body(&rows[(at + far + step) % rows.len()]));
    let other = order.find(|row| row.image != own.image).ok_or_else(|| {
        let help = "`eval check` compares a picture's captions with those of another; raise --limit or give more rows";
        Error::new(Code::Input, "the rows name only one picture", help)
    })?;
    Ok(&other.captions[turn % other.captions.len()])
}
