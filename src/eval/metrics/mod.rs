//! The published metrics as pure functions: they know nothing of pictures, bundles or files.
//!
//! Fractions between 0 and 1 unless said otherwise; [`percent`] makes the printed form.

mod answers;
mod boxes;
mod calibration;
mod captions;
mod labels;
mod ngrams;
mod retrieval;
mod tokens;

pub use answers::{normalised_answer, same_answer};
pub use boxes::contains;
pub use calibration::{Reliability, auroc};
pub use captions::{CaptionScores, Scored, caption_scores};
pub use labels::{LabelScores, LabelTally};
pub use retrieval::{Ranks, rank, recall, reranked};
pub use tokens::caption_tokens;

/// A fraction as a percentage with two decimals, as `eval` prints it.
pub fn percent(fraction: f64) -> f64 {
    (fraction * 1e4).round() / 1e2
}
