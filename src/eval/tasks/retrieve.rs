//! Recall in both directions.

use std::collections::HashSet;

use super::caption::Captioned;
use super::{Measured, Progress};
use crate::Result;
use crate::eval::Set;
use crate::eval::metrics::Recalls;
use crate::sight::{Looker, cosine};

pub(in crate::eval) fn retrieve(looker: &Looker, set: &Set, progress: Progress) -> Result<Measured> {
    let total = set.count_rows()?;
    let (mut pictures, mut texts, mut owners) = (Vec::new(), Vec::new(), Vec::new());
    let mut names = HashSet::new();
    for row in set.rows::<Captioned>()? {
        let row = row?;
        row.body.complain(set, row.line)?;
        if !names.insert(row.body.image.clone()) {
            return Err(set.bad_row(row.line, &format!("it names {} a second time", row.body.image)));
        }
        for caption in &row.body.captions {
            texts.push(looker.embed_text(caption)?);
            owners.push(pictures.len());
        }
        pictures.push(looker.look(&set.picture(&row.body.image, row.line)?)?.embedding);
        progress(pictures.len(), total);
    }
    let recalls = Recalls::of(pictures.len(), &owners, |picture, text| cosine(&pictures[picture], &texts[text]));
    let (i2t, t2i) = (recalls.i2t.recall(), recalls.t2i.recall());
    let scores = vec![
        ("i2t_r1", i2t[0]),
        ("i2t_r5", i2t[1]),
        ("i2t_r10", i2t[2]),
        ("t2i_r1", t2i[0]),
        ("t2i_r5", t2i[1]),
        ("t2i_r10", t2i[2]),
    ];
    Ok(Measured { scores, counted: pictures.len() })
}
