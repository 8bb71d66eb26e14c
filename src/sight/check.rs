//! Is this sentence supported by the picture?

use serde::Serialize;

use crate::Result;

use super::looker::{Looker, cosine, sigmoid};
use super::view::View;

/// How far a picture supports a sentence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Support {
    /// Whether the score is at least one half.
    pub supported: bool,
    /// Probability that the sentence holds: `sigmoid(check_scale * cosine + check_bias)`.
    pub score: f32,
    /// Cosine of the two embeddings.
    pub cosine: f32,
}

impl Looker {
    /// Checks a sentence against a picture by the cosine of their embeddings. It judges whether the two are about the
    /// same thing; a wrong count or a swapped colour moves the score little.
    pub fn check(&self, view: &View, sentence: &str) -> Result<Support> {
        self.support(cosine(&view.embedding, &self.embed_text(sentence)?))
    }

    /// The calibrated probability behind a cosine of a picture and a sentence.
    pub fn support(&self, cosine: f32) -> Result<Support> {
        let calibration = self.calibration()?;
        let score = sigmoid(calibration.check_scale * cosine + calibration.check_bias);
        Ok(Support { supported: score >= 0.5, score, cosine })
    }
}
