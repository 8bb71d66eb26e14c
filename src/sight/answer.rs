//! What comes back from a question. Plain data: whoever passes answers on needs no engine.

use serde::{Deserialize, Serialize};

/// Labels, best first. Their scores and `none` add up to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Labels {
    /// Every label that was asked about, best first.
    pub labels: Vec<Label>,
    /// Probability of "none of these".
    pub none: f32,
}

/// One label and its calibrated probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Label {
    /// The words.
    pub label: String,
    /// Probability, `0..=1`.
    pub score: f32,
}

/// A sentence about a picture, and how far to trust it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Caption {
    /// The sentence; or, where the picture does not support it, what the picture is called in its place.
    pub caption: String,
    /// Probability that the picture supports the caption: of a sentence by the cosine of their embeddings and the things
    /// that it names, of a name as of a label. Where the bundle has no text tower, `exp(log_probability)`.
    pub score: f32,
    /// The sentence in whose place the picture was called by a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
    /// Mean log-probability of the sentence's tokens.
    pub log_probability: f32,
    /// Mean cosine of the sentence's text embedding with those of the sampled captions, `-1..=1`. A caption that the
    /// speaker would not say twice is more likely made up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f32>,
    /// The sampled captions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
}

/// An answer to a question about a picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The words.
    pub answer: String,
    /// Probability that the answer is right, `0..=1`; where the bundle is not calibrated for answers, the speaker's of just
    /// this answer.
    pub score: f32,
}

/// Boxes of a phrase, best first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Boxes {
    /// The boxes, best first; none where nothing reaches the threshold.
    pub boxes: Vec<Found>,
}

/// One box and the probability that it is right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// `[x, y, width, height]` in pixels of the original picture, origin at the top left.
    #[serde(rename = "box")]
    pub rect: [f32; 4],
    /// Probability, `0..=1`.
    pub score: f32,
}

/// How far a picture supports a sentence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Support {
    /// Whether the score is at least one half.
    pub supported: bool,
    /// Probability that the sentence holds.
    pub score: f32,
    /// Cosine of the two embeddings.
    pub cosine: f32,
}
