//! Many conditions in words scored against one view.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Result;

use super::contest::Contest;
use super::looker::{Looker, cosine};

/// Conditions in words, with their embeddings at hand. Words that occur in several are embedded and compared once.
pub struct Scorer {
    rows: Vec<Arc<[f32]>>,
    /// For each condition the rows of its words, its own first.
    conditions: Vec<Vec<usize>>,
    contest: Contest,
}

impl Looker {
    /// Prepares conditions: each is what should be seen, then what competes with it. Errors where a condition has no
    /// words, or where words are blank.
    pub fn scorer(&self, conditions: &[Vec<String>]) -> Result<Scorer> {
        let mut places = HashMap::new();
        let mut rows = Vec::new();
        let mut indices = Vec::with_capacity(conditions.len());
        for words in conditions {
            let embeddings = self.embed_labels(words, &mut |_, _| {})?;
            indices.push(
                words
                    .iter()
                    .zip(embeddings)
                    .map(|(word, embedding)| {
                        *places.entry(word.clone()).or_insert_with(|| {
                            rows.push(embedding);
                            rows.len() - 1
                        })
                    })
                    .collect(),
            );
        }
        Ok(Scorer { rows, conditions: indices, contest: self.contest()? })
    }
}

impl Scorer {
    /// For each condition the calibrated probability, `0..=1`, that its first words fit the picture with this embedding
    /// better than its other words and than "none of these": what [`Looker::label`] gives for these words.
    pub fn scores(&self, embedding: &[f32]) -> Vec<f32> {
        let cosines: Vec<f32> = self.rows.iter().map(|row| cosine(embedding, row)).collect();
        let round = self.contest.before(embedding);
        let mut own = Vec::new();
        self.conditions
            .iter()
            .map(|rows| {
                own.clear();
                own.extend(rows.iter().map(|row| cosines[*row]));
                round.shares(&own).0[0]
            })
            .collect()
    }
}
