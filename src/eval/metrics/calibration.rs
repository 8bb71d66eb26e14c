//! How well scores tell right from wrong, and how far they can be taken at their word.

const BINS: usize = 15;

/// Running expected calibration error over 15 bins of equal width: by how much score and share of right ones differ.
/// Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
#[derive(Debug, Clone, Default)]
pub struct Reliability {
    weight: f64,
    bins: [Bin; BINS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    right: f64,
    score: f64,
}

impl Reliability {
    /// Adds a judgement with its score, a probability, that counts `weight` times. What is not a number counts as 0.
    pub fn add(&mut self, score: f32, right: bool, weight: f64) {
        let score = if score.is_nan() { 0.0 } else { f64::from(score.clamp(0.0, 1.0)) };
        let bin = &mut self.bins[((score * BINS as f64).ceil() as usize).saturating_sub(1)];
        self.weight += weight;
        bin.right += weight * f64::from(u8::from(right));
        bin.score += weight * score;
    }

    /// The error so far, 0 to 1; zero when nothing was added.
    pub fn error(&self) -> f64 {
        let apart = self.bins.iter().map(|bin| (bin.score - bin.right).abs()).sum::<f64>();
        if self.weight > 0.0 { apart / self.weight } else { 0.0 }
    }
}

/// Area under the ROC curve: how often a score of `right` is above one of `wrong`; equals count half. One half where
/// either is empty.
pub fn auroc(right: &[f32], wrong: &[f32]) -> f64 {
    if right.is_empty() || wrong.is_empty() {
        return 0.5;
    }
    let mut wrong = wrong.to_vec();
    wrong.sort_unstable_by(f32::total_cmp);
    let below = |score: f32| wrong.partition_point(|other| *other < score);
    let up_to = |score: f32| wrong.partition_point(|other| *other <= score);
    let won = right.iter().map(|score| (below(*score) + up_to(*score)) as f64 / 2.0).sum::<f64>();
    won / (right.len() * wrong.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_order_and_equals_count_half() {
        assert_eq!(auroc(&[0.9, 0.8], &[0.1, 0.2]), 1.0);
        assert_eq!(auroc(&[0.1], &[0.2, 0.3]), 0.0);
        assert_eq!(auroc(&[0.5, 0.5], &[0.5]), 0.5);
        assert_eq!(auroc(&[0.9, 0.3], &[0.3, 0.1]), (2.0 + 0.5 + 1.0) / 4.0);
        assert_eq!(auroc(&[], &[0.1]), 0.5);
    }

    #[test]
    fn a_judgement_counts_by_its_weight() {
        let mut light = Reliability::default();
        light.add(1.0, true, 1.0);
        light.add(1.0, false, 0.25);
        assert!((light.error() - 0.2).abs() < 1e-9);
        light.add(f32::NAN, true, 1.25);
        assert!((light.error() - (0.25 + 1.25) / 2.5).abs() < 1e-9);
        assert_eq!(Reliability::default().error(), 0.0);
    }
}
