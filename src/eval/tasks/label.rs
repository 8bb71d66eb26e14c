//! Zero-shot labelling.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Measured, Progress};
use crate::Result;
use crate::eval::Set;
use crate::eval::metrics::{LabelTally, auroc, rank};
use crate::sight::{Labels, Looker};

#[derive(Deserialize)]
struct Labelled {
    image: String,
    label: String,
}

#[derive(Deserialize)]
struct LabelOnly {
    label: String,
}

pub(in crate::eval) fn label(looker: &Looker, set: &Set, progress: Progress) -> Result<Measured> {
    let rows = set.count_rows()?;
    let mut labels = BTreeSet::new();
    for row in set.all_rows::<LabelOnly>()? {
        labels.insert(row?.body.label);
    }
    let labels: Vec<String> = labels.into_iter().collect();
    let total = labels.len() + rows;
    looker.embed_labels(&labels, &mut |done, _| progress(done, total))?;

    let mut tally = LabelTally::default();
    // Of "none of these": where the picture's own label is left out, and where it is there.
    let (mut left_out, mut there) = (Vec::new(), Vec::new());
    for (done, row) in set.rows::<Labelled>()?.enumerate() {
        let row = row?;
        let view = looker.look(&set.picture(&row.body.image, row.line)?)?;
        let Labels { labels: answer, none } = looker.label(&view, &labels)?;
        let others: Vec<String> = labels.iter().filter(|label| **label != row.body.label).cloned().collect();
        if !others.is_empty() {
            left_out.push(looker.label(&view, &others)?.none);
            there.push(none);
        }
        let (right, wrong): (Vec<_>, Vec<_>) = answer.iter().partition(|answer| answer.label == row.body.label);
        let place = right.first().map(|right| rank(right.score, wrong.iter().map(|label| label.score)));
        tally.add(place, answer.first().map_or(0.0, |best| best.score));
        progress(labels.len() + done + 1, total);
    }
    let tallied = tally.scores();
    let mut scores = vec![("top1", tallied.top1), ("top5", tallied.top5), ("ece", tallied.ece)];
    if !there.is_empty() {
        scores.push(("none_auroc", auroc(&left_out, &there)));
    }
    Ok(Measured { scores, counted: rows })
}
