//! Is this sentence supported by the picture?

use crate::Result;

use super::answer::Support;
use super::looker::{Looker, cosine, sigmoid};
use super::view::View;

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
