//! Boxes of phrases.

use serde::Deserialize;

use super::{Measured, Progress};
use crate::eval::Set;
use crate::eval::metrics::contains;
use crate::sight::{GroundOptions, Looker, iou};
use crate::{Code, Error, Result};

#[derive(Deserialize)]
struct Grounded {
    image: String,
    phrases: Vec<Phrase>,
}

#[derive(Deserialize)]
struct Phrase {
    phrase: String,
    /// `[x, y, width, height]` in fractions of the picture.
    boxes: Vec<[f32; 4]>,
}

pub(in crate::eval) fn ground(looker: &Looker, set: &Set, progress: Progress) -> Result<Measured> {
    let best = GroundOptions { threshold: 0.0, top: 1 };
    let total = set.count_rows()?;
    let (mut counted, mut overlapping, mut pointing) = (0usize, 0usize, 0usize);
    for (done, row) in set.rows::<Grounded>()?.enumerate() {
        let row = row?;
        let single: Vec<(&str, [f32; 4])> = row.body.phrases.iter().filter_map(Phrase::single).collect();
        if !single.is_empty() {
            let picture = set.picture(&row.body.image, row.line)?;
            let (width, height) = (picture.width() as f32, picture.height() as f32);
            let view = looker.look(&picture)?;
            for (phrase, [x, y, w, h]) in single {
                let expected = [x * width, y * height, w * width, h * height];
                counted += 1;
                if let Some(found) = looker.ground(&view, phrase, &best)?.boxes.first() {
                    overlapping += usize::from(iou(found.rect, expected) >= 0.5);
                    pointing += usize::from(contains(expected, found.rect));
                }
            }
        }
        progress(done + 1, total);
    }
    if counted == 0 {
        let help = "`eval ground` counts phrases that one box belongs to; raise --limit or give other rows";
        return Err(Error::new(Code::Input, "no row has a phrase with exactly one box", help));
    }
    let share = |count: usize| count as f64 / counted as f64;
    Ok(Measured { scores: vec![("acc_iou50", share(overlapping)), ("pointing", share(pointing))], counted })
}

impl Phrase {
    /// The phrase and its box, where it has exactly one.
    fn single(&self) -> Option<(&str, [f32; 4])> {
        match self.boxes[..] {
            [only] => Some((&self.phrase, only)),
            _ => None,
        }
    }
}
