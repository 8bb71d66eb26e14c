//! The networks of a bundle, and the two things that every question starts with: a view and a text embedding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crate::bundle::{Bundle, Calibration, Role};
use crate::engine::{Grounder, ImageTower, Options, TextTower};
use crate::picture::{Picture, Preprocess};
use crate::text::Tokenizer;
use crate::{Code, Error, Result};

use super::speak::Voice;
use super::view::{View, frame};
use super::wording::Wording;

/// A loaded bundle that can be asked about pictures. Shared freely between threads.
pub struct Looker {
    pub(super) bundle: Bundle,
    pub(super) options: Options,
    identity: String,
    preprocess: Preprocess,
    pub(super) image: ImageTower,
    pub(super) text: Option<TextTower>,
    tokenizer: OnceLock<Tokenizer>,
    pub(super) voice: OnceLock<Voice>,
    pub(super) wording: OnceLock<Wording>,
    pub(super) grounder: OnceLock<Grounder>,
    /// Embeddings of labels and background prompts over all templates, by their words.
    pub(super) labels: Mutex<HashMap<String, Arc<[f32]>>>,
}

impl Looker {
    /// Loads the towers of `bundle`, side by side. The decoder and the grounding head wait for the first question that
    /// needs them.
    pub fn open(bundle: Bundle, options: Options) -> Result<Self> {
        let (image, text) = std::thread::scope(|scope| {
            let text = bundle.has(Role::Text).then(|| scope.spawn(|| TextTower::load(&bundle, &options)));
            let image = ImageTower::load(&bundle, &options);
            let text = text.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            (image, text.transpose())
        });
        Ok(Self {
            identity: bundle.identity(),
            preprocess: bundle.manifest().picture().preprocess(),
            image: image?,
            text: text?,
            tokenizer: OnceLock::new(),
            voice: OnceLock::new(),
            wording: OnceLock::new(),
            grounder: OnceLock::new(),
            labels: Mutex::new(HashMap::new()),
            bundle,
            options,
        })
    }

    /// The bundle that answers.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The bundle's `name@version+digits`. Embeddings of two identities are never compared.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Runs the image tower on a picture.
    pub fn look(&self, picture: &Picture) -> Result<View> {
        let begin = Instant::now();
        let pixels = self.preprocess.apply(picture);
        let ready = Instant::now();
        let features = self.image.encode(&pixels)?;
        let done = Instant::now();
        let (width, height) = (picture.width(), picture.height());
        Ok(View {
            embedding: features.embedding,
            patches: features.patches,
            width,
            height,
            preprocess_ms: (ready - begin).as_secs_f64() * 1e3,
            tower_ms: (done - ready).as_secs_f64() * 1e3,
            frame: frame(self.bundle.manifest(), width, height),
        })
    }

    /// The embedding of a sentence as it stands, of length 1. What lies beyond the context is cut off with a warning.
    /// Errors where `text` is blank or longer than [`MAX_TEXT_BYTES`](crate::text::MAX_TEXT_BYTES).
    pub fn embed_text(&self, text: &str) -> Result<Vec<f32>> {
        if text.trim().is_empty() {
            return Err(Error::new(Code::Text, "the sentence is empty", "give at least one word"));
        }
        let tower = self.text_tower()?;
        self.warn_if_cut("sentence", text, text)?;
        tower.encode(text)
    }

    pub(super) fn text_tower(&self) -> Result<&TextTower> {
        self.text.as_ref().ok_or_else(|| self.lacks("text tower", "compare words with pictures"))
    }

    pub(super) fn calibration(&self) -> Result<&Calibration> {
        self.bundle.manifest().calibration().ok_or_else(|| self.lacks("calibration", "score words against pictures"))
    }

    /// Warns where `filled` (what the tower reads) does not fit the context; `words` are what the warning shows.
    pub(super) fn warn_if_cut(&self, kind: &str, words: &str, filled: &str) -> Result<()> {
        let Some(input) = self.bundle.manifest().text() else { return Ok(()) };
        // A token is at least a byte, and two special tokens is the most that towers add.
        if filled.len() + 2 <= input.context {
            return Ok(());
        }
        let tokens = self.tokenizer()?.encode(filled)?.len();
        if tokens > input.context {
            log::warn!(
                "the {kind} \"{}\" has {tokens} tokens; only the first {} count",
                shortened(words, 40),
                input.context
            );
        }
        Ok(())
    }

    fn tokenizer(&self) -> Result<&Tokenizer> {
        lazily(&self.tokenizer, || {
            let bytes = self.bundle.bytes(Role::Tokenizer).ok_or_else(|| self.lacks("tokenizer", "read words"))?;
            Tokenizer::from_bytes(bytes, "tokenizer")
        })
    }

    pub(super) fn lacks(&self, part: &str, deed: &str) -> Error {
        Error::new(
            Code::Unsupported,
            format!("bundle {} has no {part}, so it cannot {deed}", self.bundle.name()),
            "use a bundle that has one: `--bundle PATH`, or leave `--bundle` out for the default one",
        )
    }
}

/// Cosine of two embeddings of length 1 and of one bundle.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The value of `cell`, made by `load` if it is not there yet. A failure leaves the cell empty.
pub(super) fn lazily<T>(cell: &OnceLock<T>, load: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = load()?;
    Ok(cell.get_or_init(|| value))
}

/// Scales `vector` to length 1; a null vector stays as it is.
pub(super) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// At most `most` characters of `text`, with an ellipsis where something is left out.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
