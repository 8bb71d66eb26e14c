//! Captions against what people wrote.

use serde::Deserialize;

use super::{Measured, Progress};
use crate::Result;
use crate::eval::Set;
use crate::eval::metrics::{Scored, caption_scores, caption_tokens};
use crate::sight::{Looker, SpeakOptions};

/// A picture and what people wrote of it.
#[derive(Deserialize)]
pub(super) struct Captioned {
    pub(super) image: String,
    pub(super) captions: Vec<String>,
}

impl Captioned {
    /// An error where there is nothing to compare with.
    pub(super) fn complain(&self, set: &Set, line: usize) -> Result<()> {
        if self.captions.is_empty() {
            return Err(set.bad_row(line, "`captions` is empty"));
        }
        match self.captions.iter().position(|caption| caption.trim().is_empty()) {
            Some(blank) => Err(set.bad_row(line, &format!("caption {} is blank", blank + 1))),
            None => Ok(()),
        }
    }
}

pub(in crate::eval) fn caption(looker: &Looker, set: &Set, progress: Progress) -> Result<Measured> {
    let total = set.count_rows()?;
    let mut scored = Vec::new();
    for row in set.rows::<Captioned>()? {
        let row = row?;
        row.body.complain(set, row.line)?;
        let view = looker.look(&set.picture(&row.body.image, row.line)?)?;
        let said = looker.caption(&view, &SpeakOptions::default())?;
        scored.push(Scored {
            candidate: caption_tokens(&said.caption),
            references: row.body.captions.iter().map(|text| caption_tokens(text)).collect(),
        });
        progress(scored.len(), total);
    }
    let scores = caption_scores(&scored);
    let scores =
        vec![("bleu1", scores.bleu1), ("bleu4", scores.bleu4), ("rouge_l", scores.rouge_l), ("cider", scores.cider)];
    Ok(Measured { scores, counted: scored.len() })
}
