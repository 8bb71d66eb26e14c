//! The best of a search whose scores are known up to an error.

/// Candidates that are kept at most. Where more than this many lie within the error of each other, the best of them may
/// be missed by less than the error.
const MOST: usize = 4_096;

/// Collects what may belong to the best `top`.
pub(super) struct Best {
    top: usize,
    found: Vec<Candidate>,
    /// Below it nothing can belong to the best any more.
    floor: f32,
    /// The largest error of any score so far.
    error: f32,
}

/// An event, and about how well it matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) score: f32,
    pub(super) id: u64,
}

impl Best {
    pub(super) fn new(top: usize) -> Self {
        Self { top: top.clamp(1, MOST), found: Vec::new(), floor: f32::NEG_INFINITY, error: 0.0 }
    }

    /// Scores from now on are off by at most `error`.
    pub(super) fn allow(&mut self, error: f32) {
        self.error = self.error.max(error);
    }

    /// A score below it need not be offered.
    pub(super) fn floor(&self) -> f32 {
        self.floor
    }

    pub(super) fn offer(&mut self, score: f32, id: u64) {
        if score >= self.floor {
            self.found.push(Candidate { score, id });
            if self.found.len() >= 2 * MOST {
                self.shrink();
            }
        }
    }

    /// All that may belong to the best `top`, each id once, in no order.
    pub(super) fn finish(mut self) -> Vec<u64> {
        self.shrink();
        let mut ids: Vec<u64> = self.found.iter().map(|candidate| candidate.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn shrink(&mut self) {
        let descending = |a: &Candidate, b: &Candidate| b.score.total_cmp(&a.score);
        if self.found.len() > MOST {
            self.found.select_nth_unstable_by(MOST - 1, descending);
            self.found.truncate(MOST);
        }
        if self.found.len() > self.top {
            let (_, last, _) = self.found.select_nth_unstable_by(self.top - 1, descending);
            self.floor = self.floor.max(last.score - 2.0 * self.error);
            let floor = self.floor;
            self.found.retain(|candidate| candidate.score >= floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_within_twice_the_error_of_the_last_that_counts_are_kept() {
        let mut best = Best::new(2);
        best.allow(0.05);
        for (id, score) in [0.1, 0.9, 0.8, 0.71, 0.69, 0.2].into_iter().enumerate() {
            best.offer(score, id as u64);
        }
        assert_eq!(best.finish(), [1, 2, 3]);
    }

    #[test]
    fn a_flood_is_cut_down_to_its_best() {
        let mut best = Best::new(10);
        for id in 0..100_000u64 {
            best.offer((id * 7_919 % 100_003) as f32, id);
        }
        let ids = best.finish();
        let least = 100_003f32 - 20.0;
        assert!(ids.len() >= 10 && ids.len() <= 20, "{}", ids.len());
        assert!(ids.iter().filter(|id| (*id * 7_919 % 100_003) as f32 >= least).count() >= 10);
    }
}
