//! Recall in both directions.

use std::collections::{HashMap, HashSet};

use super::caption::Captioned;
use super::{Measured, Progress};
use crate::Result;
use crate::eval::Set;
use crate::eval::metrics::{Ranks, recall, reranked};
use crate::sight::{Looker, Sought, cosine};

/// `rerank`: how many of the nearest are put into order again; 0 is none.
pub(in crate::eval) fn retrieve(looker: &Looker, set: &Set, rerank: usize, progress: Progress) -> Result<Measured> {
    let passes = if rerank > 0 { 2 } else { 1 };
    let weight = if rerank > 0 { looker.rerank_weight()? } else { 0.0 };
    let total = passes * set.count_rows()?;
    let mut seen = Seen::default();
    let mut names = HashSet::new();
    for row in set.rows::<Captioned>()? {
        let row = row?;
        row.body.complain(set, row.line)?;
        if !names.insert(row.body.image.clone()) {
            return Err(set.bad_row(row.line, &format!("it names {} a second time", row.body.image)));
        }
        for caption in &row.body.captions {
            seen.texts.push(looker.embed_text(caption)?);
            if rerank > 0 {
                seen.sought.push(looker.sought(caption)?);
            }
            seen.owners.push(seen.pictures.len());
        }
        seen.pictures.push(looker.look(&set.picture(&row.body.image, row.line)?)?.embedding);
        seen.files.push((row.body.image, row.line));
        progress(seen.pictures.len(), total);
    }
    let ranks = Ranks::of(seen.pictures.len(), &seen.owners, |picture, text| seen.cosine(picture, text));
    let mut scores = recalls(["i2t_r1", "i2t_r5", "i2t_r10"], ["t2i_r1", "t2i_r5", "t2i_r10"], &ranks);
    if rerank > 0 {
        let again = seen.again(looker, set, rerank, weight, &ranks, &mut |done| progress(total / 2 + done, total))?;
        scores.extend(recalls(
            ["reranked_i2t_r1", "reranked_i2t_r5", "reranked_i2t_r10"],
            ["reranked_t2i_r1", "reranked_t2i_r5", "reranked_t2i_r10"],
            &again,
        ));
    }
    Ok(Measured { scores, counted: seen.pictures.len() })
}

fn recalls(i2t: [&'static str; 3], t2i: [&'static str; 3], ranks: &Ranks) -> Vec<(&'static str, f64)> {
    i2t.into_iter().zip(recall(&ranks.i2t)).chain(t2i.into_iter().zip(recall(&ranks.t2i))).collect()
}

/// Embeddings of everything.
#[derive(Default)]
struct Seen {
    pictures: Vec<Vec<f32>>,
    /// The file of each picture, and its line.
    files: Vec<(String, usize)>,
    texts: Vec<Vec<f32>>,
    /// The texts as the speaker reads them, where they are to be put into order again.
    sought: Vec<Sought>,
    /// The picture of each text.
    owners: Vec<usize>,
}

impl Seen {
    fn cosine(&self, picture: usize, text: usize) -> f32 {
        cosine(&self.pictures[picture], &self.texts[text])
    }

    /// The ranks after the `most` nearest of each query have been put into order again: by the cosine and `weight` times the
    /// text's log-probability about the picture. Among texts that is less its mean about the pictures nearest to the
    /// text, as some are said of everything. Each picture is looked at once more, so that one is in memory at a time.
    fn again(
        &self,
        looker: &Looker,
        set: &Set,
        most: usize,
        weight: f32,
        ranks: &Ranks,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Ranks> {
        let (pictures, texts) = (0..self.pictures.len(), 0..self.texts.len());
        let of_text: Vec<Vec<usize>> =
            texts.clone().map(|text| nearest(pictures.clone().map(|at| self.cosine(at, text)), most)).collect();
        let of_picture: Vec<Vec<usize>> =
            pictures.clone().map(|picture| nearest(texts.clone().map(|at| self.cosine(picture, at)), most)).collect();
        let mut asked = of_picture.clone();
        for (text, near) in of_text.iter().enumerate() {
            near.iter().for_each(|picture| asked[*picture].push(text));
        }
        let mut told = HashMap::new();
        for (picture, asked) in asked.iter_mut().enumerate() {
            asked.sort_unstable();
            asked.dedup();
            let (file, line) = &self.files[picture];
            let view = looker.look(&set.picture(file, *line)?)?;
            let sentences: Vec<&Sought> = asked.iter().map(|text| &self.sought[*text]).collect();
            let said = looker.told(&view, &sentences)?;
            told.extend(asked.iter().zip(said).map(|(text, said)| ((picture, *text), said)));
            progress(picture + 1);
        }
        let score = |picture, text, usual: f32| self.cosine(picture, text) + weight * (told[&(picture, text)] - usual);
        let usual: Vec<f32> = of_text
            .iter()
            .enumerate()
            .map(|(text, near)| near.iter().map(|at| told[&(*at, text)]).sum::<f32>() / near.len() as f32)
            .collect();
        let i2t = of_picture.iter().enumerate().map(|(picture, near)| {
            let scored: Vec<_> = near.iter().map(|text| (*text, score(picture, *text, usual[*text]))).collect();
            reranked(&scored, |text| self.owners[text] == picture, ranks.i2t[picture])
        });
        let t2i = of_text.iter().enumerate().map(|(text, near)| {
            let scored: Vec<_> = near.iter().map(|picture| (*picture, score(*picture, text, 0.0))).collect();
            reranked(&scored, |picture| self.owners[text] == picture, ranks.t2i[text])
        });
        Ok(Ranks { i2t: i2t.collect(), t2i: t2i.collect() })
    }
}

/// The places of the `most` highest scores, the highest first.
fn nearest(scores: impl Iterator<Item = f32>, most: usize) -> Vec<usize> {
    let mut places: Vec<(usize, f32)> = scores.enumerate().collect();
    places.sort_by(|a, b| b.1.total_cmp(&a.1));
    places.into_iter().take(most).map(|(at, _)| at).collect()
}
