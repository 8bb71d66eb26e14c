//! Sentences that are looked for among pictures, or pictures among sentences: by the cosine first, which needs no picture,
//! then for the nearest by what the speaker would say of them.

use crate::text::told;
use crate::{Code, Error, Result};

use super::looker::Looker;
use super::view::View;
use super::wording::read;

/// A sentence as the speaker reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sought {
    tokens: Vec<u32>,
}

impl Looker {
    /// Prepares a sentence for [`Looker::told`]. Errors where it is too long, or the bundle has no decoder.
    pub fn sought(&self, sentence: &str) -> Result<Sought> {
        Ok(Sought { tokens: read(&self.voice("tell how probable a sentence is")?.tokenizer, sentence)? })
    }

    /// The natural log-probability with which the speaker says each of these sentences about the picture. It tells which of
    /// several pictures a sentence fits best, and says little about which of several sentences fits one: some sentences are
    /// said of everything.
    pub fn told(&self, view: &View, sentences: &[&Sought]) -> Result<Vec<f32>> {
        let voice = self.voice("tell how probable a sentence is")?;
        let tokens: Vec<&[u32]> = sentences.iter().map(|sentence| &sentence.tokens[..]).collect();
        told(&voice.decoder.attend(voice.patches(view)?), voice.start, voice.end, &tokens)
    }

    /// What a nat of [`Looker::told`] counts beside a cosine, above 0. Errors where the bundle does not say.
    pub fn rerank_weight(&self) -> Result<f32> {
        let weight = self.bundle.manifest().speaker().map_or(0.0, |speaker| speaker.rerank_weight);
        if weight > 0.0 {
            return Ok(weight);
        }
        let message = format!("bundle {} has no rerank_weight, so what it found keeps its order", self.bundle.name());
        Err(Error::new(Code::Unsupported, message, "leave out --rerank, or use a bundle that has one: --bundle PATH"))
    }
}
