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
    /// Scores `labels` (1 to [`MAX_LABELS`], none blank) by a softmax over `cosine / temperature`, in which the
    /// manifest's `none_bias` and background prompts compete as "none of these".
    pub fn label(&self, view: &View, labels: &[String]) -> Result<Labels> {
        let embeddings = self.embed_labels(labels, &mut |_, _| {})?;
        let background = self.background()?;
        let cosines = |rows: &[Arc<[f32]>]| rows.iter().map(|row| cosine(&view.embedding, row)).collect::<Vec<_>>();
        let calibration = self.calibration()?;
        let mut none = cosines(&background);
        none.push(calibration.none_bias);
        let (scores, none) = shares(&cosines(&embeddings), &none, calibration.temperature);
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

    /// The embeddings of the background prompts, which compete as "none of these".
    pub(super) fn background(&self) -> Result<Vec<Arc<[f32]>>> {
        self.embed_labels_unchecked(&self.calibration()?.background, true, &mut |_, _| {})
    }

    /// `whole`: the words are prompts already, no template goes around them.
    fn embed_labels_unchecked(
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

/// Softmax over `labels` and `none` together, each divided by `temperature`: the labels' shares, and the sum of `none`'s.
pub(super) fn shares(labels: &[f32], none: &[f32], temperature: f32) -> (Vec<f32>, f32) {
    let top = labels.iter().chain(none).copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |cosine: &f32| f64::from((cosine - top) / temperature).exp();
    let sum: f64 = labels.iter().chain(none).map(weight).sum();
    let share = |cosine: &f32| (weight(cosine) / sum) as f32;
    (labels.iter().map(share).collect(), (none.iter().map(weight).sum::<f64>() / sum) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_none_add_up_to_one() {
        let (labels, none) = shares(&[0.3, 0.1, -0.2], &[0.2, 0.05], 0.05);
        assert!((labels.iter().sum::<f32>() + none - 1.0).abs() < 1e-6);
        assert!(labels[0] > labels[1] && labels[1] > labels[2]);
    }

    #[test]
    fn a_single_label_far_below_none_gets_almost_nothing() {
        let (labels, none) = shares(&[0.0], &[0.5], 0.05);
        assert!(labels[0] < 1e-3 && none > 0.999);
    }

    #[test]
    fn a_tiny_temperature_does_not_overflow() {
        let (labels, none) = shares(&[1.0, -1.0], &[0.9], 1e-6);
        assert_eq!((labels[0], labels[1], none), (1.0, 0.0, 0.0));
    }
}
