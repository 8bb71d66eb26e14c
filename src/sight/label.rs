//! Which of these words fit the picture?

use std::sync::Arc;

use crate::text::{MAX_TEXT_BYTES, fill_template};
use crate::{Code, Error, Result};

use super::answer::{Label, Labels};
use super::looker::{Looker, cosine, normalise, shortened};
use super::view::View;

/// Most labels in one question.
pub const MAX_LABELS: usize = 10_000;

impl Looker {
    /// Scores `labels` (1 to [`MAX_LABELS`], none blank); the scores and "none of these" add up to 1.
    ///
    /// Where the manifest has `[calibration.presence]`, the best label's own probability of being there, whatever else is
    /// asked about, is shared among the labels by a softmax over `cosine / temperature`; the rest is "none of these".
    /// Elsewhere `none_bias` and the background prompts compete in that softmax.
    pub fn label(&self, view: &View, labels: &[String]) -> Result<Labels> {
        let embeddings = self.embed_labels(labels, &mut |_, _| {})?;
        let cosines: Vec<f32> = embeddings.iter().map(|row| cosine(&view.embedding, row)).collect();
        let (scores, none) = self.contest()?.before(&view.embedding).shares(&cosines);
        let mut labels: Vec<Label> =
            labels.iter().zip(scores).map(|(label, score)| Label { label: label.clone(), score }).collect();
        labels.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(Labels { labels, none })
    }

    /// The embeddings of `labels`, each the mean over the manifest's templates, of length 1. They are kept, so that the
    /// next question with the same words costs nothing. `progress` hears how many of how many are done.
    pub fn embed_labels(&self, labels: &[String], progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Arc<[f32]>>> {
        if labels.is_empty() {
            return Err(Error::new(Code::Usage, "there are no labels", "name at least one: --labels \"a dog, a cat\""));
        }
        if labels.len() > MAX_LABELS {
            return Err(Error::new(
                Code::Usage,
                format!("{} labels are too many (at most {MAX_LABELS})", labels.len()),
                "ask in several parts",
            ));
        }
        for (at, label) in labels.iter().enumerate() {
            if label.trim().is_empty() {
                let help = "leave it out, or give it a word";
                return Err(Error::new(Code::Text, format!("label {} is empty", at + 1), help));
            }
            if label.len() > MAX_TEXT_BYTES {
                return Err(Error::new(
                    Code::Text,
                    format!(
                        "the label \"{}\" has {} bytes, more than {MAX_TEXT_BYTES}",
                        shortened(label, 40),
                        label.len()
                    ),
                    "a label is a few words; is this the wrong file?",
                ));
            }
        }
        self.embed_labels_unchecked(labels, false, progress)
    }

    /// `whole`: the words are prompts already, no template goes around them.
    pub(super) fn embed_labels_unchecked(
        &self,
        labels: &[String],
        whole: bool,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Arc<[f32]>>> {
        // The line feed keeps a prompt apart from a label of the same words.
        let key = |label: &str| if whole { format!("\n{label}") } else { label.to_owned() };
        let kept = |label: &str| self.labels.lock().unwrap_or_else(|e| e.into_inner()).get(&key(label)).cloned();
        let mut embeddings = Vec::with_capacity(labels.len());
        for (at, label) in labels.iter().enumerate() {
            let embedding = match kept(label) {
                Some(embedding) => embedding,
                None => {
                    let made: Arc<[f32]> =
                        if whole { self.text_tower()?.encode(label)? } else { self.averaged(label)? }.into();
                    self.labels.lock().unwrap_or_else(|e| e.into_inner()).insert(key(label), Arc::clone(&made));
                    made
                }
            };
            embeddings.push(embedding);
            progress(at + 1, labels.len());
        }
        Ok(embeddings)
    }

    fn averaged(&self, label: &str) -> Result<Vec<f32>> {
        let tower = self.text_tower()?;
        let templates = self.bundle.manifest().text().map(|text| text.templates.as_slice()).unwrap_or_default();
        let prompts: Vec<String> = templates.iter().map(|template| fill_template(template, label)).collect();
        if let Some(longest) = prompts.iter().max_by_key(|prompt| prompt.len()) {
            self.warn_if_cut("label", label, longest)?;
        }
        let mut mean = vec![0.0; self.bundle.manifest().embedding_width()];
        for prompt in &prompts {
            mean.iter_mut().zip(tower.encode(prompt)?).for_each(|(sum, x)| *sum += x);
        }
        normalise(&mut mean);
        Ok(mean)
    }
}
