//! Text: tokens, prompts, label lists, and the choice of words (greedy, beam, sampling).
//!
//! Nothing here knows pictures or networks: a network that predicts the next token is a [`Speaker`].
mod beam;
mod prompt;
mod speak;
mod tokenizer;
mod told;

pub use beam::{Candidate, beam, candidates};
pub use prompt::{fill_template, parse_labels};
pub use speak::{Decoding, REPEATED_RUN, Speaker, Spoken, greedy, sample};
pub use tokenizer::{MAX_TEXT_BYTES, Tokenizer};
pub use told::told;
