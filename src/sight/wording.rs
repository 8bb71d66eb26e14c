//! Would the speaker have chosen these words?

use std::collections::HashMap;

use crate::bundle::{PatchGrid, WordCheck};
use crate::engine::Patches;
use crate::text::{Speaker, Tokenizer};
use crate::{Code, Error, Result};

/// Most tokens of a sentence that the speaker reads.
const MAX_TOKENS: usize = 32;

/// The kinds of words that are judged, as tokens of the speaker.
pub(super) struct Wording {
    kinds: Vec<Vec<u32>>,
    kind_of: HashMap<u32, usize>,
    /// What the speaker reads in place of a picture.
    blank: Patches,
}

/// How the words of a sentence fare, each among the words of its kind. Both are 0 where no word is of a known kind.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Worded {
    /// Least log-probability of a word.
    pub(super) choice: f32,
    /// The least, and at most 0, that the picture adds to the log-probability of a word.
    pub(super) gain: f32,
}

impl Wording {
    /// Words of which the tokenizer has no single token are left out.
    pub(super) fn new(check: &WordCheck, grid: &PatchGrid, tokenizer: &Tokenizer) -> Self {
        let mut kinds: Vec<Vec<u32>> = Vec::with_capacity(check.kinds.len());
        let mut kind_of = HashMap::new();
        for words in &check.kinds {
            let fresh: Vec<u32> =
                words.iter().filter_map(|word| tokenizer.id(word)).filter(|id| !kind_of.contains_key(id)).collect();
            kind_of.extend(fresh.iter().map(|id| (*id, kinds.len())));
            kinds.push(fresh);
        }
        let blank = Patches { count: grid.count, width: grid.width, data: check.blank.repeat(grid.count).into() };
        Self { kinds, kind_of, blank }
    }

    /// What the speaker reads in place of a picture.
    pub(super) fn blank(&self) -> &Patches {
        &self.blank
    }

    /// The tokens of a sentence up to its last word of a known kind; none where there is no such word.
    pub(super) fn tokens(&self, tokenizer: &Tokenizer, sentence: &str) -> Result<Vec<u32>> {
        let mut tokens = read(tokenizer, sentence)?;
        let judged = tokens.iter().rposition(|token| self.kind_of.contains_key(token)).map_or(0, |last| last + 1);
        tokens.truncate(judged);
        Ok(tokens)
    }

    /// Judges what [`Wording::tokens`] gave. `seen` looks at the picture, `unseen` at [`Wording::blank`].
    pub(super) fn judge<S: Speaker>(&self, seen: &S, unseen: &S, start: u32, tokens: &[u32]) -> Result<Worded> {
        let (seen, unseen) = (self.shares(seen, start, tokens)?, self.shares(unseen, start, tokens)?);
        let worst = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::min);
        Ok(Worded {
            choice: worst(&mut seen.iter().copied()),
            gain: worst(&mut seen.iter().zip(&unseen).map(|(with, without)| with - without)),
        })
    }

    /// The log-probability of each word of a known kind among the words of its kind, in the order of the sentence.
    fn shares<S: Speaker>(&self, speaker: &S, start: u32, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut state = speaker.start()?;
        let mut before = start;
        let mut shares = Vec::new();
        for &token in tokens {
            let logits = speaker.step(&mut state, before)?;
            if let Some(kind) = self.kind_of.get(&token) {
                shares.push(share(&logits, &self.kinds[*kind], token)?);
            }
            before = token;
        }
        Ok(shares)
    }
}

/// Log-softmax of `token` over the tokens of `kind`, of which it is one.
fn share(logits: &[f32], kind: &[u32], token: u32) -> Result<f32> {
    let logit = |token: u32| logits.get(token as usize).copied().map(f64::from);
    let all: Option<Vec<f64>> = kind.iter().map(|token| logit(*token)).collect();
    let (Some(own), Some(all)) = (logit(token), all) else {
        let message = format!("the decoder gives {} logits, fewer than its tokenizer has tokens", logits.len());
        return Err(Error::new(Code::Bundle, message, "check the bundle with `lookout bundle check`"));
    };
    let top = all.iter().copied().fold(own, f64::max);
    Ok((own - top - all.iter().map(|logit| (logit - top).exp()).sum::<f64>().ln()) as f32)
}

/// The tokens of a sentence, as the speaker learned captions; of a long one the first.
pub(super) fn read(tokenizer: &Tokenizer, sentence: &str) -> Result<Vec<u32>> {
    let mut tokens = tokenizer.encode_plain(&plain(sentence))?;
    tokens.truncate(MAX_TOKENS);
    Ok(tokens)
}

/// Lower case without punctuation.
pub(super) fn plain(sentence: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '\'' { c } else { ' ' };
    let spaced: String = sentence.to_lowercase().chars().map(kept).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the same logits after every token.
    struct Always(Vec<f32>);

    impl Speaker for Always {
        type State = ();

        fn start(&self) -> Result<()> {
            Ok(())
        }

        fn step(&self, _: &mut (), _: u32) -> Result<Vec<f32>> {
            Ok(self.0.clone())
        }
    }

    fn wording() -> Wording {
        let kinds = vec![vec![1, 2], vec![3, 4, 5]];
        let kind_of = [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1)].into();
        Wording { kinds, kind_of, blank: Patches { count: 1, width: 1, data: vec![0.0].into() } }
    }

    #[test]
    fn the_worst_word_decides_and_words_of_no_kind_do_not_count() {
        let (seen, unseen) = (Always(vec![9.0, 0.0, 0.0, 0.0, 0.0, 0.0]), Always(vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0]));
        let worded = wording().judge(&seen, &unseen, 0, &[0, 2, 0, 3]).unwrap();
        assert!((worded.choice - (1f32 / 3.0).ln()).abs() < 1e-6, "{worded:?}");
        let expected = 0.5f32.ln() - (1f32.exp() / (1.0 + 1f32.exp())).ln();
        assert!((worded.gain - expected).abs() < 1e-6, "{worded:?}");
        assert_eq!(wording().judge(&seen, &unseen, 0, &[]).unwrap(), Worded::default());
    }

    #[test]
    fn a_picture_that_speaks_for_every_word_adds_nothing_below_zero() {
        let (seen, unseen) = (Always(vec![0.0, 0.0, 5.0, 0.0, 0.0, 0.0]), Always(vec![0.0; 6]));
        assert_eq!(wording().judge(&seen, &unseen, 0, &[2]).unwrap().gain, 0.0);
    }

    #[test]
    fn fewer_logits_than_tokens_is_an_error() {
        let short = Always(vec![0.0; 4]);
        assert_eq!(wording().judge(&short, &short, 0, &[3]).unwrap_err().code(), Code::Bundle);
    }

    #[test]
    fn sentences_are_read_as_captions_were_learned() {
        assert_eq!(plain("  A red-haired Girl's hat, and \"two\" dogs ."), "a red haired girl's hat and two dogs");
    }
}
