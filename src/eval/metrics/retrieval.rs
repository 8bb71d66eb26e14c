//! Recall of pictures by their captions and of captions by their pictures.

/// How many of the ranks seen so far are within 1, 5 and 10.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecallTally {
    seen: usize,
    within: [usize; 3],
}

impl RecallTally {
    /// Adds one query whose right answer came at `rank`, 0 being the best.
    pub fn add(&mut self, rank: usize) {
        self.seen += 1;
        for (within, limit) in self.within.iter_mut().zip([1, 5, 10]) {
            *within += usize::from(rank < limit);
        }
    }

    /// Fractions of the queries answered within the first 1, 5 and 10. Zero when nothing was added.
    pub fn recall(&self) -> [f64; 3] {
        self.within.map(|within| within as f64 / self.seen.max(1) as f64)
    }
}

/// Number of scores in `others` that the right answer's score does not beat: 0 is the best rank.
///
/// Equal scores count against the right answer, so a model that says the same of everything recalls nothing; so does a
/// score that is not a number.
pub fn rank(own: f32, others: impl IntoIterator<Item = f32>) -> usize {
    others.into_iter().filter(|&other| other.is_nan() || own.is_nan() || other >= own).count()
}

/// Recall in both directions over one table of scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recalls {
    /// Picture to text: the best of a picture's own texts among all texts.
    pub i2t: RecallTally,
    /// Text to picture: each text's picture among all pictures.
    pub t2i: RecallTally,
}

impl Recalls {
    /// `owners[t]` is the picture, below `pictures`, that text `t` belongs to; every picture owns at least one.
    /// `score(picture, text)` is called once for each pair, and once more for those that belong together.
    pub fn of(pictures: usize, owners: &[usize], score: impl Fn(usize, usize) -> f32) -> Self {
        let own: Vec<f32> = owners.iter().enumerate().map(|(text, &picture)| score(picture, text)).collect();
        let mut best = vec![f32::NEG_INFINITY; pictures];
        for (&picture, &score) in owners.iter().zip(&own) {
            best[picture] = best[picture].max(score);
        }
        let mut recalls = Self::default();
        let mut ahead = vec![0; owners.len()];
        for (picture, &best) in best.iter().enumerate() {
            let foreign = (0..owners.len()).filter(|&text| owners[text] != picture);
            let scores: Vec<(usize, f32)> = foreign.map(|text| (text, score(picture, text))).collect();
            recalls.i2t.add(rank(best, scores.iter().map(|(_, score)| *score)));
            for (text, score) in scores {
                ahead[text] += rank(own[text], [score]);
            }
        }
        ahead.into_iter().for_each(|rank| recalls.t2i.add(rank));
        recalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_counts_ranks_within_one_five_and_ten() {
        let mut tally = RecallTally::default();
        [0, 0, 3, 4, 9, 10, 50, 5].into_iter().for_each(|rank| tally.add(rank));
        assert_eq!(tally.recall(), [2.0 / 8.0, 4.0 / 8.0, 6.0 / 8.0]);
    }

    #[test]
    fn equal_scores_do_not_count_as_found() {
        assert_eq!(rank(0.5, [0.5, 0.5]), 2);
        assert_eq!(rank(0.9, [0.1, 0.5]), 0);
        assert_eq!(rank(f32::NAN, [0.1, 0.5]), 2);
        assert_eq!(rank(0.9, [f32::NAN, 0.5]), 1);
    }

    #[test]
    fn a_picture_is_found_by_the_best_of_its_texts_and_each_text_counts() {
        // Texts 0 and 1 belong to picture 0, text 2 to picture 1.
        let table = [[0.9, 0.1, 0.5], [0.2, 0.3, 0.4]];
        let recalls = Recalls::of(2, &[0, 0, 1], |picture, text| table[picture][text]);
        assert_eq!(recalls.i2t.recall(), [1.0, 1.0, 1.0]);
        assert_eq!(recalls.t2i.recall(), [1.0 / 3.0, 1.0, 1.0]);
    }
}
