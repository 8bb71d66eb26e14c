//! Is this sentence supported by the picture?

use crate::Result;
use crate::bundle::{Role, WordCheck};

use super::answer::Support;
use super::looker::{Looker, cosine, lazily, sigmoid};
use super::view::View;
use super::wording::{Worded, Wording};

/// The least score of what counts as supported.
pub(super) const SUPPORTED: f32 = 0.5;

impl Looker {
    /// Checks a sentence against a picture: whether the two are about the same thing, by the cosine of their embeddings,
    /// and, where the bundle has a decoder and `[calibration.check]`, whether each word of a known kind is the one that
    /// the speaker would have chosen. Words count only among the first 32 tokens. Where the bundle has
    /// `[calibration.things]`, a thing that is not there counts wherever it is named.
    pub fn check(&self, view: &View, sentence: &str) -> Result<Support> {
        let (support, things) = (self.without_things(view, sentence)?, self.things(view, sentence)?);
        Ok(Support::of(support.score * things, support.cosine))
    }

    fn without_things(&self, view: &View, sentence: &str) -> Result<Support> {
        let cosine = cosine(&view.embedding, &self.embed_text(sentence)?);
        let check = self.calibration()?.check.as_ref().filter(|_| self.bundle.has(Role::Decoder));
        let (Some(check), Some(patches)) = (check, &view.patches) else { return self.support(cosine) };
        let voice = self.voice("check words")?;
        let wording = lazily(&self.wording, || {
            let grid = self.bundle.manifest().patches().ok_or_else(|| self.lacks("patch tokens", "check words"))?;
            Ok(Wording::new(check, grid, &voice.tokenizer))
        })?;
        let tokens = wording.tokens(&voice.tokenizer, sentence)?;
        let decoder = &voice.decoder;
        let worded = wording.judge(&decoder.attend(patches), &decoder.attend(wording.blank()), voice.start, &tokens)?;
        Ok(Support::of(holds(check, cosine, worded), cosine))
    }

    /// The calibrated probability behind a cosine of a picture and a sentence, without a look at the words.
    pub fn support(&self, cosine: f32) -> Result<Support> {
        let calibration = self.calibration()?;
        Ok(Support::of(sigmoid(calibration.check_scale * cosine + calibration.check_bias), cosine))
    }
}

impl Support {
    fn of(score: f32, cosine: f32) -> Self {
        Self { supported: score >= SUPPORTED, score, cosine }
    }
}

/// The probability that a sentence is about the picture, times that of its words being right.
fn holds(check: &WordCheck, cosine: f32, worded: Worded) -> f32 {
    sigmoid(check.cosine_scale * cosine + check.cosine_bias)
        * sigmoid(check.choice * worded.choice + check.gain * worded.gain + check.bias)
}
