//! Stored inputs and outputs: what the towers gave where the bundle was made, for `bundle check` to compare.

use serde::{Deserialize, Serialize};

/// Floats of an embedding that are stored.
pub const STORED: usize = 16;

/// Stored pairs of both towers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// Pairs of the image tower.
    #[serde(default)]
    pub image: Vec<ImagePair>,
    /// Pairs of the text tower.
    #[serde(default)]
    pub text: Vec<TextPair>,
}

/// The image tower's output for a made-up input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePair {
    /// Which made-up input; see [`ImagePair::input`].
    pub seed: u32,
    /// The first [`STORED`] floats of the embedding, or all of a shorter one.
    pub embedding: Vec<f32>,
}

/// The text tower's output for a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextPair {
    /// The sentence.
    pub text: String,
    /// The first [`STORED`] floats of the embedding, or all of a shorter one.
    pub embedding: Vec<f32>,
}

impl Pairs {
    /// Parses and checks a check file. The error is a cause, to follow the file's name.
    pub(super) fn from_bytes(bytes: &[u8], embedding_width: usize) -> Result<Self, String> {
        let pairs: Self = serde_json::from_slice(bytes).map_err(|error| format!("is no check file: {error}"))?;
        if pairs.image.is_empty() && pairs.text.is_empty() {
            return Err("holds no pairs".to_owned());
        }
        let stored = embedding_width.min(STORED);
        let embeddings = pairs.image.iter().map(|p| &p.embedding).chain(pairs.text.iter().map(|p| &p.embedding));
        for embedding in embeddings {
            if embedding.len() != stored {
                return Err(format!("has an embedding of {} floats where {stored} are stored", embedding.len()));
            }
            if !embedding.iter().all(|value| value.is_finite()) || embedding.iter().all(|value| *value == 0.0) {
                return Err("has an embedding that is zero or not finite".to_owned());
            }
        }
        Ok(pairs)
    }
}

impl ImagePair {
    /// The tower's input of `count` floats in `-1..1`: `(i * 2654435761 + seed * 40503) / 2^32 * 2 - 1`, the sum taken
    /// modulo 2^32.
    pub fn input(&self, count: usize) -> Vec<f32> {
        let offset = self.seed.wrapping_mul(40_503);
        let value = |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(offset);
        (0..count).map(|i| (f64::from(value(i)) / 4_294_967_296.0 * 2.0 - 1.0) as f32).collect()
    }
}

/// Cosine between stored floats and as many of `embedding`, `-1..=1`; 0 where either is zero. At least 0.99 is agreement.
pub fn agreement(stored: &[f32], embedding: &[f32]) -> f32 {
    let pairs = || stored.iter().zip(embedding).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let norms = pairs().map(|(a, _)| a * a).sum::<f64>().sqrt() * pairs().map(|(_, b)| b * b).sum::<f64>().sqrt();
    if norms > 0.0 { (dot / norms) as f32 } else { 0.0 }
}
