//! One token after another: what a speaker is, and the two ways that keep a single sentence.
use crate::kernels::{Kernel, add_exp};
use crate::{Code, Error, Result};

/// A network that predicts the next token.
pub trait Speaker {
    /// What it remembers of the tokens so far, such as a key/value cache.
    type State: Clone;

    /// The state before any token.
    fn start(&self) -> Result<Self::State>;

    /// Takes one more token; returns the raw logits `[V]` of the next one.
    fn step(&self, state: &mut Self::State, token: u32) -> Result<Vec<f32>>;

    /// [`Speaker::step`] of several sentences, a token for each; returns their logits in the same order.
    fn steps(&self, states: Vec<&mut Self::State>, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        states.into_iter().zip(tokens).map(|(state, token)| self.step(state, *token)).collect()
    }
}

/// The rules for choosing words.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoding {
    /// Hypotheses kept by [`beam`](super::beam); 0 counts as 1.
    pub beams: usize,
    /// Most tokens said, the end token included.
    pub max_tokens: usize,
    /// A hypothesis scores its log-probability divided by its length to this power, the end token included: 0 favours
    /// short sentences, 1 compares averages.
    pub length_penalty: f32,
    /// The token that ends a sentence.
    pub end: u32,
    /// Tokens never said.
    pub banned: Vec<u32>,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spoken {
    /// The tokens said, without prompt and end token.
    pub tokens: Vec<u32>,
    /// Sum of the natural log-probabilities of these tokens, and of the end token if it was reached. Probabilities are
    /// the speaker's own over its whole vocabulary: banned tokens are not redistributed.
    pub log_probability: f32,
}

/// A run of this many tokens that was already said in this sentence is not said again, so that a weak speaker cannot loop.
pub const REPEATED_RUN: usize = 3;

/// The most probable token each time; of equals the smallest id. The prompt must hold at least one token.
pub fn greedy<S: Speaker>(speaker: &S, prompt: &[u32], rules: &Decoding) -> Result<Spoken> {
    say(speaker, prompt, rules, |choices| {
        choices.iter().copied().reduce(|best, next| if next.1 > best.1 { next } else { best })
    })
}

/// A token drawn each time from the probabilities at `temperature`: below 1 sharper, above 1 flatter, 0 or less the same
/// as [`greedy`]. The same seed gives the same sentence.
pub fn sample<S: Speaker>(
    speaker: &S,
    prompt: &[u32],
    rules: &Decoding,
    temperature: f32,
    seed: u64,
) -> Result<Spoken> {
    if temperature.is_nan() || temperature <= 0.0 {
        return greedy(speaker, prompt, rules);
    }
    let mut random = SplitMix(seed);
    say(speaker, prompt, rules, |choices| {
        let best = choices.iter().map(|c| c.1).fold(f32::NEG_INFINITY, f32::max);
        let weight = |score: f32| f64::from((score - best) / temperature).exp();
        let mut left = random.fraction() * choices.iter().map(|c| weight(c.1)).sum::<f64>();
        // Rounding may leave a crumb after the last choice, which then takes it.
        choices
            .iter()
            .find(|c| {
                left -= weight(c.1);
                left < 0.0
            })
            .or(choices.last())
            .copied()
    })
}

/// Feeds the prompt; returns the state after it and the log-probabilities of the first word.
pub(super) fn listen<S: Speaker>(speaker: &S, prompt: &[u32]) -> Result<(S::State, Vec<f32>)> {
    let Some((&last, before)) = prompt.split_last() else {
        return Err(Error::new(Code::Engine, "a speaker needs a prompt of at least one token", "give its start token"));
    };
    let mut state = speaker.start()?;
    for &token in before {
        speaker.step(&mut state, token)?;
    }
    let logits = speaker.step(&mut state, last)?;
    Ok((state, log_softmax(logits)?))
}

/// The tokens that may follow `said`, with their log-probabilities, in order of their ids.
fn allowed<'a>(
    log_probabilities: &'a [f32],
    said: &'a [u32],
    rules: &'a Decoding,
) -> impl Iterator<Item = (u32, f32)> + 'a {
    let may_follow = may_follow(said, rules);
    let scored = (0u32..).zip(log_probabilities.iter().copied());
    scored.filter(move |(token, score)| *score > f32::NEG_INFINITY && may_follow(*token))
}

fn may_follow<'a>(said: &[u32], rules: &'a Decoding) -> impl Fn(u32) -> bool + use<'a> {
    let looping = closing_tokens(said);
    move |token| !rules.banned.contains(&token) && !looping.contains(&token)
}

/// The `count` most probable of those, at least one, best first; of equals the smaller id.
pub(super) fn most_probable(
    log_probabilities: &[f32],
    said: &[u32],
    rules: &Decoding,
    count: usize,
) -> Vec<(u32, f32)> {
    let may_follow = may_follow(said, rules);
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count.min(log_probabilities.len()));
    let mut least = f32::NEG_INFINITY;
    for (token, score) in (0u32..).zip(log_probabilities.iter().copied()) {
        // All but a few tokens end here.
        if score <= least || !may_follow(token) {
            continue;
        }
        if best.len() == count {
            best.pop();
        }
        best.insert(best.partition_point(|other| other.1 >= score), (token, score));
        if best.len() == count {
            least = best[count - 1].1;
        }
    }
    best
}

/// `logits - log(sum(exp(logits)))`; what is not a number counts as impossible.
pub(super) fn log_softmax(mut logits: Vec<f32>) -> Result<Vec<f32>> {
    let best = logits.iter().copied().filter(|l| !l.is_nan()).fold(f32::NEG_INFINITY, f32::max);
    if !best.is_finite() {
        return Err(Error::new(
            Code::Engine,
            "the speaker gave no finite score for any next token",
            "check the bundle with `lookout bundle check`",
        ));
    }
    let mut sum = 0.0;
    add_exp(Kernel::chosen(), &logits, best, &mut sum);
    let shift = best + sum.ln() as f32;
    for logit in &mut logits {
        *logit = if logit.is_nan() { f32::NEG_INFINITY } else { *logit - shift };
    }
    Ok(logits)
}

fn say<S: Speaker>(
    speaker: &S,
    prompt: &[u32],
    rules: &Decoding,
    mut choose: impl FnMut(&[(u32, f32)]) -> Option<(u32, f32)>,
) -> Result<Spoken> {
    let (mut state, mut scores) = listen(speaker, prompt)?;
    let mut spoken = Spoken::default();
    for step in 1..=rules.max_tokens {
        let choices: Vec<_> = allowed(&scores, &spoken.tokens, rules).collect();
        // Nothing left to say: every token is banned or would loop.
        let Some((token, score)) = choose(&choices) else { break };
        spoken.log_probability += score;
        if token == rules.end {
            break;
        }
        spoken.tokens.push(token);
        if step < rules.max_tokens {
            scores = log_softmax(speaker.step(&mut state, token)?)?;
        }
    }
    Ok(spoken)
}

/// The tokens that would complete a run of [`REPEATED_RUN`] tokens already said.
fn closing_tokens(said: &[u32]) -> Vec<u32> {
    let Some(open) = said.len().checked_sub(REPEATED_RUN - 1).map(|at| &said[at..]) else { return Vec::new() };
    said.windows(REPEATED_RUN).filter(|run| run.starts_with(open)).map(|run| run[REPEATED_RUN - 1]).collect()
}

/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
struct SplitMix(u64);

impl SplitMix {
    /// In 0..1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
