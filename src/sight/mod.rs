//! What one can ask of a picture.
//!
//! A `Looker` holds a bundle's networks. `Looker::look` runs the image tower once; every question is then asked of
//! the `View` that comes back, so several questions about one picture cost one look. Towers are loaded at once, the
//! decoder and the grounding head on first use. A question that needs a part the bundle lacks gives
//! [`Code::Unsupported`](crate::Code::Unsupported).
//!
//! | question | answer | needs |
//! |---|---|---|
//! | `Looker::label` | [`Labels`]: calibrated probabilities, with room for "none of these" | text |
//! | `Looker::caption` | [`Caption`]: a sentence, and how far the picture supports it | decoder |
//! | `Looker::ground` | [`Boxes`] of a phrase, in pixels of the original picture | text, ground |
//! | `Looker::ask` | [`Answer`] | decoder that knows questions |
//! | `Looker::check` | [`Support`]: is this sentence supported by the picture? | text; decoder to judge words |
//! | `Looker::told` | log-probabilities of sentences, to put what was found by words into order again | text, decoder |
//!
//! Scores are probabilities in `0..=1`, calibrated by the constants of the bundle's manifest; they are as good as that
//! calibration. Cosines of two bundles are never comparable: `Looker::identity` goes with every stored embedding.

mod answer;
#[cfg(feature = "engine")]
mod check;
#[cfg(feature = "engine")]
mod contest;
#[cfg(feature = "engine")]
mod ground;
#[cfg(feature = "engine")]
mod label;
#[cfg(feature = "engine")]
mod looker;
#[cfg(feature = "engine")]
mod rerank;
#[cfg(feature = "engine")]
mod scorer;
#[cfg(feature = "engine")]
mod self_test;
#[cfg(feature = "engine")]
mod speak;
#[cfg(feature = "engine")]
mod things;
#[cfg(feature = "engine")]
mod view;
#[cfg(feature = "engine")]
mod wording;

pub use answer::{Answer, Boxes, Caption, Found, Label, Labels, Support};
#[cfg(feature = "engine")]
pub use ground::{GroundOptions, iou};
#[cfg(feature = "engine")]
pub use label::MAX_LABELS;
#[cfg(feature = "engine")]
pub use looker::{Looker, cosine};
#[cfg(feature = "engine")]
pub use rerank::Sought;
#[cfg(feature = "engine")]
pub use scorer::Scorer;
#[cfg(feature = "engine")]
pub use speak::{MAX_SAMPLES, SpeakOptions};
#[cfg(feature = "engine")]
pub use view::View;
