//! How labels and "none of these" share a picture.

use std::sync::Arc;

use crate::Result;
use crate::bundle::Presence;

use super::looker::{Looker, cosine, sigmoid};

/// The rules of a bundle by which cosines become shares.
pub(super) struct Contest {
    background: Vec<Arc<[f32]>>,
    none_bias: f32,
    temperature: f32,
    presence: Option<Presence>,
}

/// A contest about one picture.
pub(super) struct Round<'a> {
    /// Cosines of the background prompts.
    background: Vec<f32>,
    rules: &'a Contest,
}

impl Looker {
    pub(super) fn contest(&self) -> Result<Contest> {
        let calibration = self.calibration()?;
        Ok(Contest {
            background: self.embed_labels_unchecked(&calibration.background, true, &mut |_, _| {})?,
            none_bias: calibration.none_bias,
            temperature: calibration.temperature,
            presence: calibration.presence,
        })
    }
}

impl Contest {
    pub(super) fn before(&self, embedding: &[f32]) -> Round<'_> {
        Round { background: self.background.iter().map(|row| cosine(embedding, row)).collect(), rules: self }
    }
}

impl Round<'_> {
    /// The log-odds that what a label with this cosine names is there; `None` where the bundle does not say.
    pub(super) fn odds(&self, label: f32) -> Option<f32> {
        let usual = self.background.iter().sum::<f32>() / self.background.len().max(1) as f32;
        self.rules.presence.map(|presence| presence.scale * label + presence.background * usual + presence.bias)
    }

    /// The labels' shares by their cosines, and that of none of them. Together they are 1.
    pub(super) fn shares(&self, labels: &[f32]) -> (Vec<f32>, f32) {
        let best = labels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let Some(odds) = self.odds(best) else {
            let none: Vec<f32> = self.background.iter().copied().chain([self.rules.none_bias]).collect();
            return softmax(labels, &none, self.rules.temperature);
        };
        let there = sigmoid(odds);
        let (mut shares, _) = softmax(labels, &[], self.rules.temperature);
        shares.iter_mut().for_each(|share| *share *= there);
        (shares, 1.0 - there)
    }
}

/// Softmax over `labels` and `none` together, each divided by `temperature`: the labels' shares, and the sum of `none`'s.
fn softmax(labels: &[f32], none: &[f32], temperature: f32) -> (Vec<f32>, f32) {
    let top = labels.iter().chain(none).copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |cosine: &f32| f64::from((cosine - top) / temperature).exp();
    let sum: f64 = labels.iter().chain(none).map(weight).sum();
    let share = |cosine: &f32| (weight(cosine) / sum) as f32;
    (labels.iter().map(share).collect(), (none.iter().map(weight).sum::<f64>() / sum) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESENCE: Presence = Presence { scale: 20.0, background: -25.0, bias: -1.0 };

    fn shares(labels: &[f32], background: &[f32], presence: Option<Presence>) -> (Vec<f32>, f32) {
        let rules = Contest { background: vec![], none_bias: 0.2, temperature: 0.05, presence };
        Round { background: background.to_vec(), rules: &rules }.shares(labels)
    }

    #[test]
    fn shares_and_none_add_up_to_one() {
        for presence in [None, Some(PRESENCE)] {
            let (labels, none) = shares(&[0.3, 0.1, -0.2], &[0.05, 0.15], presence);
            assert!((labels.iter().sum::<f32>() + none - 1.0).abs() < 1e-6);
            assert!(labels[0] > labels[1] && labels[1] > labels[2]);
        }
    }

    #[test]
    fn without_presence_none_competes_as_a_label() {
        let (labels, none) = shares(&[0.0], &[], None);
        assert!(labels[0] < 0.02 && none > 0.98);
        let (_, crowded) = shares(&[0.0; 10_000], &[], None);
        assert!(crowded < 0.01, "many labels drown it: {crowded}");
    }

    #[test]
    fn with_presence_none_does_not_depend_on_how_many_labels_compete() {
        let (_, alone) = shares(&[0.1], &[0.15], Some(PRESENCE));
        let (_, crowded) = shares(&[0.1; 10_000], &[0.15], Some(PRESENCE));
        assert!((alone - sigmoid(2.75)).abs() < 1e-6, "{alone}");
        assert_eq!(alone, crowded);
    }

    #[test]
    fn a_picture_that_is_near_to_all_words_needs_a_higher_cosine() {
        let (near, _) = shares(&[0.3], &[0.25], Some(PRESENCE));
        let (far, _) = shares(&[0.3], &[0.05], Some(PRESENCE));
        assert!(far[0] > 0.9 && near[0] < 0.3, "{far:?} {near:?}");
    }

    #[test]
    fn a_tiny_temperature_does_not_overflow() {
        assert_eq!(softmax(&[1.0, -1.0], &[0.9], 1e-6), (vec![1.0, 0.0], 0.0));
    }
}
