//! BLEU, ROUGE-L and CIDEr, with the numbers of `pycocoevalcap`.

use std::collections::{HashMap, HashSet};

use super::ngrams::{Counts, LONGEST, count};

/// ROUGE-L's weight of recall over precision.
const ROUGE_BETA_SQUARED: f64 = 1.2 * 1.2;
/// Width of CIDEr's penalty on a difference in length.
const CIDER_SIGMA: f64 = 6.0;

/// One picture: the caption to judge and what people wrote, both as [`caption_tokens`](super::caption_tokens).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scored {
    /// The caption to judge.
    pub candidate: Vec<String>,
    /// What people wrote. At least one.
    pub references: Vec<Vec<String>>,
}

/// Corpus scores. BLEU and ROUGE-L lie between 0 and 1, CIDEr between 0 and 10 (usually near 1).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CaptionScores {
    /// BLEU of single words.
    pub bleu1: f64,
    /// BLEU of runs of up to four words.
    pub bleu4: f64,
    /// Mean ROUGE-L.
    pub rouge_l: f64,
    /// Mean CIDEr, with document frequencies of the references given.
    pub cider: f64,
}

/// Scores a whole set at once: BLEU is a corpus measure, and CIDEr weighs words by how many pictures they occur with.
/// An empty set scores zero.
///
/// Sources: Papineni et al. 2002 (BLEU, closest reference length); Lin 2004 (ROUGE-L, beta 1.2); Vedantam et al. 2015
/// (CIDEr with clipping, n = 4, sigma = 6), each as in `pycocoevalcap` 1.2.
pub fn caption_scores(set: &[Scored]) -> CaptionScores {
    if set.is_empty() {
        return CaptionScores::default();
    }
    let bleu = bleu(set);
    let rouge: f64 = set.iter().map(rouge_l).sum();
    CaptionScores {
        bleu1: bleu[0],
        bleu4: bleu[LONGEST - 1],
        rouge_l: rouge / set.len() as f64,
        cider: Cider::new(set).mean(set),
    }
}

/// BLEU of runs of up to 1, 2, 3 and 4 words.
fn bleu(set: &[Scored]) -> [f64; LONGEST] {
    let (mut guessed, mut correct) = ([0u64; LONGEST], [0u64; LONGEST]);
    let (mut length, mut reference_length) = (0, 0);
    for scored in set {
        let words = scored.candidate.len();
        length += words;
        reference_length += closest_length(scored);
        let mut most = Counts::new();
        for reference in &scored.references {
            for (run, times) in count(reference) {
                let known = most.entry(run).or_default();
                *known = times.max(*known);
            }
        }
        for (n, guessed) in guessed.iter_mut().enumerate() {
            *guessed += words.saturating_sub(n) as u64;
        }
        for (run, times) in count(&scored.candidate) {
            correct[run.len() - 1] += u64::from(times.min(most.get(run).copied().unwrap_or(0)));
        }
    }
    // pycocoevalcap's guards against division by zero.
    let (tiny, small) = (1e-15, 1e-9);
    let ratio = (length as f64 + tiny) / (reference_length as f64 + small);
    let brevity = if ratio < 1.0 { (1.0 - 1.0 / ratio).exp() } else { 1.0 };
    let mut product = 1.0;
    std::array::from_fn(|n| {
        product *= (correct[n] as f64 + tiny) / (guessed[n] as f64 + small);
        product.powf(1.0 / (n + 1) as f64) * brevity
    })
}

/// Length of the reference nearest in length to the candidate; of two equally near, the shorter.
fn closest_length(scored: &Scored) -> usize {
    let words = scored.candidate.len();
    scored.references.iter().map(Vec::len).min_by_key(|&length| (length.abs_diff(words), length)).unwrap_or(0)
}

/// ROUGE-L of one picture: the best precision and the best recall over its references.
fn rouge_l(scored: &Scored) -> f64 {
    let (mut precision, mut recall) = (0f64, 0f64);
    for reference in &scored.references {
        let common = common_length(&scored.candidate, reference) as f64;
        precision = precision.max(common / scored.candidate.len().max(1) as f64);
        recall = recall.max(common / reference.len().max(1) as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (1.0 + ROUGE_BETA_SQUARED) * precision * recall / (recall + ROUGE_BETA_SQUARED * precision)
}

/// Length of the longest common subsequence.
fn common_length(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// How many pictures each run of words occurs with.
struct Cider<'a> {
    pictures: HashMap<&'a [String], u32>,
    log_size: f64,
}

/// A caption as weighted runs of words.
struct Weighted<'a> {
    weights: HashMap<&'a [String], f64>,
    norms: [f64; LONGEST],
    /// Pairs of words, the length that pycocoevalcap compares.
    pairs: u32,
}

impl<'a> Cider<'a> {
    fn new(set: &'a [Scored]) -> Self {
        let mut pictures = HashMap::new();
        for scored in set {
            let runs: HashSet<_> = scored.references.iter().flat_map(|words| count(words).into_keys()).collect();
            for run in runs {
                *pictures.entry(run).or_default() += 1;
            }
        }
        Self { pictures, log_size: (set.len() as f64).ln() }
    }

    fn mean(&self, set: &[Scored]) -> f64 {
        set.iter().map(|scored| self.score(scored)).sum::<f64>() / set.len() as f64
    }

    fn score(&self, scored: &Scored) -> f64 {
        let candidate = self.weigh(&scored.candidate);
        let sum: f64 = scored.references.iter().map(|words| self.weigh(words).likeness(&candidate)).sum();
        10.0 * sum / scored.references.len().max(1) as f64
    }

    fn weigh<'b>(&self, words: &'b [String]) -> Weighted<'b> {
        let mut norms = [0.0; LONGEST];
        let mut pairs = 0;
        let mut weights = HashMap::new();
        for (run, times) in count(words) {
            let known = self.pictures.get(run).copied().unwrap_or(0).max(1);
            let weight = f64::from(times) * (self.log_size - f64::from(known).ln());
            norms[run.len() - 1] += weight * weight;
            pairs += if run.len() == 2 { times } else { 0 };
            weights.insert(run, weight);
        }
        Weighted { weights, norms: norms.map(f64::sqrt), pairs }
    }
}

impl Weighted<'_> {
    /// Mean over the run lengths of the clipped cosine, less the penalty on a difference in length.
    fn likeness(&self, candidate: &Weighted<'_>) -> f64 {
        let mut products = [0.0; LONGEST];
        for (run, weight) in &candidate.weights {
            if let Some(own) = self.weights.get(run) {
                products[run.len() - 1] += weight.min(*own) * own;
            }
        }
        let apart = f64::from(candidate.pairs) - f64::from(self.pairs);
        let penalty = (-apart * apart / (2.0 * CIDER_SIGMA * CIDER_SIGMA)).exp();
        let cosines = (0..LONGEST).map(|n| match self.norms[n] * candidate.norms[n] {
            0.0 => products[n],
            norms => products[n] / norms,
        });
        cosines.sum::<f64>() / LONGEST as f64 * penalty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::caption_tokens;

    fn scored(candidate: &str, references: &[&str]) -> Scored {
        let references = references.iter().map(|text| caption_tokens(text)).collect();
        Scored { candidate: caption_tokens(candidate), references }
    }

    #[test]
    fn a_caption_that_repeats_its_reference_scores_full_marks() {
        let set = [
            scored("A dog runs on the beach.", &["a dog runs on the beach"]),
            scored("Two boys play chess inside.", &["two boys play chess inside"]),
        ];
        let scores = caption_scores(&set);
        for (name, value, full) in
            [("bleu4", scores.bleu4, 1.0), ("rouge", scores.rouge_l, 1.0), ("cider", scores.cider, 10.0)]
        {
            assert!((value - full).abs() < 1e-6, "{name} {value}");
        }
    }

    #[test]
    fn an_empty_caption_scores_zero_and_nothing_divides_by_zero() {
        let scores = caption_scores(&[scored("...", &["a dog runs"]), scored("", &["a cat sits"])]);
        assert!(scores.bleu1 < 1e-9 && scores.bleu1.is_finite(), "{scores:?}");
        assert_eq!((scores.rouge_l, scores.cider), (0.0, 0.0));
    }

    #[test]
    fn a_short_caption_pays_the_brevity_penalty() {
        let scores = caption_scores(&[scored("a dog", &["a dog runs on sand"])]);
        assert!((scores.bleu1 - (1.0f64 - 2.5).exp()).abs() < 1e-6, "{scores:?}");
    }

    #[test]
    fn an_empty_set_scores_zero() {
        assert_eq!(caption_scores(&[]), CaptionScores::default());
    }
}
