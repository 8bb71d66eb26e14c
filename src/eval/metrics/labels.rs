//! Accuracy of labels, and how far the scores can be taken at their word.

use super::Reliability;

/// Running count of right labels and of calibration.
#[derive(Debug, Clone, Default)]
pub struct LabelTally {
    seen: usize,
    top1: usize,
    top5: usize,
    reliability: Reliability,
}

/// Fractions, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelScores {
    /// The best label is right.
    pub top1: f64,
    /// The right label is among the best five.
    pub top5: f64,
    /// Expected calibration error of the best label's score; see [`Reliability`].
    pub ece: f64,
}

impl LabelTally {
    /// Adds one picture: where the right label came (0 is first, `None` is not at all) and the score of the best label,
    /// a probability.
    pub fn add(&mut self, rank: Option<usize>, best_score: f32) {
        let right = rank == Some(0);
        self.seen += 1;
        self.top1 += usize::from(right);
        self.top5 += usize::from(rank.is_some_and(|rank| rank < 5));
        self.reliability.add(best_score, right, 1.0);
    }

    /// The scores so far; zero when nothing was added.
    pub fn scores(&self) -> LabelScores {
        let seen = self.seen.max(1) as f64;
        LabelScores { top1: self.top1 as f64 / seen, top5: self.top5 as f64 / seen, ece: self.reliability.error() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_counts_follow_the_rank_of_the_right_label() {
        let mut tally = LabelTally::default();
        for rank in [Some(0), Some(4), Some(5), None] {
            tally.add(rank, 0.5);
        }
        assert_eq!((tally.scores().top1, tally.scores().top5), (0.25, 0.5));
    }

    #[test]
    fn scores_that_mean_what_they_say_have_no_calibration_error() {
        let mut tally = LabelTally::default();
        (0..4).for_each(|i| tally.add(Some(usize::from(i == 0)), 0.75));
        assert!(tally.scores().ece.abs() < 1e-9, "{:?}", tally.scores());
    }

    #[test]
    fn calibration_error_is_weighed_by_bin() {
        let mut tally = LabelTally::default();
        (0..3).for_each(|_| tally.add(Some(1), 1.0));
        tally.add(Some(0), 0.5);
        assert!((tally.scores().ece - (3.0 * 1.0 + 0.5) / 4.0).abs() < 1e-9);
        tally.add(Some(0), f32::NAN);
        assert!((tally.scores().ece - (3.0 + 0.5 + 1.0) / 5.0).abs() < 1e-9, "{:?}", tally.scores());
    }
}
