//! How probable given sentences are.
use super::Speaker;
use super::speak::log_softmax;
use crate::Result;

/// Sentences that go through the network together.
const TOGETHER: usize = 16;

/// The natural log-probability with which the speaker says each of these sentences after `start`, up to and with `end`;
/// infinitely low where it has no such token.
pub fn told<S: Speaker>(speaker: &S, start: u32, end: u32, sentences: &[&[u32]]) -> Result<Vec<f32>> {
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    // The longest first, so that those that have ended are at the end of a group; alike ones share groups.
    order.sort_by_key(|at| std::cmp::Reverse(sentences[*at].len()));
    let mut sums = vec![0.0; sentences.len()];
    for group in order.chunks(TOGETHER) {
        let longest = group.first().map_or(0, |at| sentences[*at].len());
        let mut states = group.iter().map(|_| speaker.start()).collect::<Result<Vec<_>>>()?;
        for said in 0..=longest {
            let open = group.partition_point(|at| sentences[*at].len() >= said);
            let before = |at: &usize| said.checked_sub(1).map_or(start, |last| sentences[*at][last]);
            let tokens: Vec<u32> = group[..open].iter().map(before).collect();
            let logits = speaker.steps(states[..open].iter_mut().collect(), &tokens)?;
            for (at, logits) in group.iter().zip(logits) {
                let next = sentences[*at].get(said).copied().unwrap_or(end);
                sums[*at] += log_softmax(logits)?.get(next as usize).copied().unwrap_or(f32::NEG_INFINITY);
            }
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the next token, counted from the last one, a logit of its own; remembers how many it took.
    struct Counting;

    impl Speaker for Counting {
        type State = usize;

        fn start(&self) -> Result<usize> {
            Ok(0)
        }

        fn step(&self, taken: &mut usize, token: u32) -> Result<Vec<f32>> {
            *taken += 1;
            let mut logits = vec![0.0; 4];
            logits[(token as usize + 1) % 4] = *taken as f32;
            Ok(logits)
        }
    }

    /// Of a token with the logit `high` among three of 0, or of one of these.
    fn log_probability(high: f32, chosen: bool) -> f32 {
        (if chosen { high } else { 0.0 }) - (high.exp() + 3.0).ln()
    }

    #[test]
    fn a_sentence_is_as_probable_as_its_tokens_and_its_end_together() {
        // 0 starts, 3 ends.
        let found = told(&Counting, 0, 3, &[&[1, 2], &[], &[2]]).unwrap();
        let expected = [
            log_probability(1.0, true) + log_probability(2.0, true) + log_probability(3.0, true),
            log_probability(1.0, false),
            log_probability(1.0, false) + log_probability(2.0, true),
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn more_sentences_than_go_together_are_told_as_each_alone() {
        let sentences: Vec<Vec<u32>> = (0..40u32).map(|n| (0..n % 7).map(|t| t % 3).collect()).collect();
        let all: Vec<&[u32]> = sentences.iter().map(Vec::as_slice).collect();
        let together = told(&Counting, 0, 3, &all).unwrap();
        for (sentence, found) in all.iter().zip(together) {
            assert_eq!(told(&Counting, 0, 3, &[*sentence]).unwrap(), [found]);
        }
    }

    #[test]
    fn a_token_that_the_speaker_lacks_is_never_said() {
        assert_eq!(told(&Counting, 0, 3, &[&[9]]).unwrap(), [f32::NEG_INFINITY]);
    }
}
