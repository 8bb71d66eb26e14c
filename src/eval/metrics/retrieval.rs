//! Recall of pictures by their captions and of captions by their pictures.

/// Fractions of the queries whose right answer is among the first 1, 5 and 10; rank 0 is the best. Zero without queries.
pub fn recall(ranks: &[usize]) -> [f64; 3] {
    [1, 5, 10].map(|limit| ranks.iter().filter(|rank| **rank < limit).count() as f64 / ranks.len().max(1) as f64)
}

/// Number of scores in `others` that the right answer's score does not beat: 0 is the best rank.
///
/// Equal scores count against the right answer, so a model that says the same of everything recalls nothing; so does a
/// score that is not a number.
pub fn rank(own: f32, others: impl IntoIterator<Item = f32>) -> usize {
    others.into_iter().filter(|&other| other.is_nan() || own.is_nan() || other >= own).count()
}

/// Ranks in both directions over one table of scores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranks {
    /// Picture to text: of each picture the best rank of its own texts among all foreign ones.
    pub i2t: Vec<usize>,
    /// Text to picture: of each text the rank of its picture.
    pub t2i: Vec<usize>,
}

impl Ranks {
    /// `owners[t]` is the picture, below `pictures`, that text `t` belongs to; every picture owns at least one.
    /// `score(picture, text)` is called once for each pair, and once more for those that belong together.
    pub fn of(pictures: usize, owners: &[usize], score: impl Fn(usize, usize) -> f32) -> Self {
        let own: Vec<f32> = owners.iter().enumerate().map(|(text, &picture)| score(picture, text)).collect();
        let mut best = vec![f32::NEG_INFINITY; pictures];
        for (&picture, &score) in owners.iter().zip(&own) {
            best[picture] = best[picture].max(score);
        }
        let mut ranks = Self { i2t: Vec::with_capacity(pictures), t2i: vec![0; owners.len()] };
        for (picture, &best) in best.iter().enumerate() {
            let foreign = (0..owners.len()).filter(|&text| owners[text] != picture);
            let scores: Vec<(usize, f32)> = foreign.map(|text| (text, score(picture, text))).collect();
            ranks.i2t.push(rank(best, scores.iter().map(|(_, score)| *score)));
            for (text, score) in scores {
                ranks.t2i[text] += rank(own[text], [score]);
            }
        }
        ranks
    }
}

/// The rank after the nearest have new scores: that of the best right one among them, or `before`, where none of them is
/// right. `scored` are their numbers and scores.
pub fn reranked(scored: &[(usize, f32)], right: impl Fn(usize) -> bool, before: usize) -> usize {
    let own = scored.iter().filter(|(at, _)| right(*at)).map(|(_, score)| *score).reduce(f32::max);
    let others = scored.iter().filter(|(at, _)| !right(*at)).map(|(_, score)| *score);
    own.map_or(before, |own| rank(own, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_counts_ranks_within_one_five_and_ten() {
        assert_eq!(recall(&[0, 0, 3, 4, 9, 10, 50, 5]), [2.0 / 8.0, 4.0 / 8.0, 6.0 / 8.0]);
        assert_eq!(recall(&[]), [0.0; 3]);
    }

    #[test]
    fn new_scores_put_the_nearest_into_order_and_no_others() {
        let scored = [(4, 0.1), (7, 0.9), (2, 0.5), (3, f32::NAN)];
        assert_eq!(reranked(&scored, |at| at == 2, 9), 2);
        assert_eq!(reranked(&scored, |at| at == 2 || at == 7, 9), 1);
        assert_eq!(reranked(&scored, |at| at == 8, 9), 9);
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
        let ranks = Ranks::of(2, &[0, 0, 1], |picture, text| table[picture][text]);
        assert_eq!(ranks, Ranks { i2t: vec![0, 0], t2i: vec![0, 1, 1] });
    }
}
