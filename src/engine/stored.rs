//! A bundle's stored pairs, run through its towers.

use crate::Result;
use crate::bundle::{Bundle, agreement};

use super::{ImageTower, TextTower};

/// Least cosine between a stored embedding and ours.
const AGREES: f32 = 0.99;

/// How one stored output compares with what a tower gives here.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Agreement {
    /// `image` or `text`.
    pub tower: &'static str,
    /// What the tower was given.
    pub input: String,
    /// Cosine between both, `-1..=1`.
    pub cosine: f32,
    /// Whether it is at least 0.99.
    pub ok: bool,
}

/// Runs the stored pairs of `bundle` through the towers that are given. Empty where it has none.
pub fn compare_stored(bundle: &Bundle, image: Option<&ImageTower>, text: Option<&TextTower>) -> Result<Vec<Agreement>> {
    let Some(stored) = bundle.pairs()? else { return Ok(Vec::new()) };
    let compared = |tower, input, expected: &[f32], found: &[f32]| {
        let cosine = agreement(expected, found);
        Agreement { tower, input, cosine, ok: cosine >= AGREES }
    };
    let mut all = Vec::new();
    if let Some(tower) = image {
        let count = bundle.manifest().picture().floats();
        for pair in &stored.image {
            let found = tower.encode(&pair.input(count))?.embedding;
            all.push(compared("image", format!("seed {}", pair.seed), &pair.embedding, &found));
        }
    }
    if let Some(tower) = text {
        for pair in &stored.text {
            all.push(compared("text", format!("{:?}", pair.text), &pair.embedding, &tower.encode(&pair.text)?));
        }
    }
    Ok(all)
}
