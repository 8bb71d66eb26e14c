//! Beam search.
use super::speak::{listen, log_softmax, most_probable};
use super::{Decoding, Speaker, Spoken};
use crate::Result;

/// The best sentence that a search with `rules.beams` hypotheses finds, scored as [`Decoding::length_penalty`] says.
///
/// Each step keeps the `beams` most probable continuations; a sentence that ends among the best `beams` of a step is set
/// aside. The search stops when `beams` sentences are set aside, when no open one can still win, or at
/// `rules.max_tokens`, where open ones compete as they are. Equals are decided by the older hypothesis, then by the
/// smaller token id. With one beam it says what [`greedy`](super::greedy) says.
pub fn beam<S: Speaker>(speaker: &S, prompt: &[u32], rules: &Decoding) -> Result<Spoken> {
    let found =
        search(speaker, prompt, rules, |found, top, length| !found.can_be_beaten(top, length, rules.max_tokens))?;
    Ok(found.aside.into_iter().next().map_or_else(Spoken::default, |candidate| candidate.spoken))
}

/// All sentences that the search of [`beam`] sets aside, best first, with their scores. It does not stop because none of the
/// open ones can win.
pub fn candidates<S: Speaker>(speaker: &S, prompt: &[u32], rules: &Decoding) -> Result<Vec<Candidate>> {
    Ok(search(speaker, prompt, rules, |_, _, _| false)?.aside)
}

/// A sentence of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its tokens.
    pub spoken: Spoken,
    /// The log-probability, divided as [`Decoding::length_penalty`] says.
    pub score: f32,
}

fn search<S: Speaker>(
    speaker: &S,
    prompt: &[u32],
    rules: &Decoding,
    settled: impl Fn(&Found, f32, usize) -> bool,
) -> Result<Found> {
    let width = rules.beams.max(1);
    let mut found = Found { aside: Vec::new(), ended: 0, penalty: rules.length_penalty };
    let (state, scores) = listen(speaker, prompt)?;
    let mut open = vec![Hypothesis { spoken: Spoken::default(), state, scores }];
    for length in 1..=rules.max_tokens {
        let steps = continuations(&open, width, rules);
        if steps.is_empty() {
            // Nothing left to say: every token is banned or would loop.
            open.iter().for_each(|hypothesis| found.offer(&hypothesis.spoken, length));
            break;
        }
        for step in steps.iter().take(width).filter(|step| step.token == rules.end) {
            let tokens = open[step.parent].spoken.tokens.clone();
            found.offer(&Spoken { tokens, log_probability: step.log_probability }, length);
            found.ended += 1;
        }
        let onward: Vec<Step> = steps.into_iter().filter(|step| step.token != rules.end).take(width).collect();
        let top = onward.first().map_or(f32::NEG_INFINITY, |step| step.log_probability);
        if found.ended >= width || settled(&found, top, length) {
            break;
        }
        open = follow(open, &onward);
        if length == rules.max_tokens {
            open.iter().for_each(|hypothesis| found.offer(&hypothesis.spoken, length));
            break;
        }
        let tokens: Vec<u32> = onward.iter().map(|step| step.token).collect();
        let logits = speaker.steps(open.iter_mut().map(|hypothesis| &mut hypothesis.state).collect(), &tokens)?;
        for (hypothesis, logits) in open.iter_mut().zip(logits) {
            hypothesis.scores = log_softmax(logits)?;
        }
    }
    Ok(found)
}

struct Hypothesis<T> {
    spoken: Spoken,
    state: T,
    /// Log-probabilities of the next token.
    scores: Vec<f32>,
}

/// One hypothesis continued by one token.
struct Step {
    parent: usize,
    token: u32,
    log_probability: f32,
}

/// The sentences set aside so far, best first.
struct Found {
    aside: Vec<Candidate>,
    ended: usize,
    penalty: f32,
}

impl Found {
    /// `length` counts the end token.
    fn offer(&mut self, spoken: &Spoken, length: usize) {
        let score = self.normalised(spoken.log_probability, length);
        let at = self.aside.partition_point(|other| other.score >= score);
        self.aside.insert(at, Candidate { spoken: spoken.clone(), score });
    }

    /// Whether an open sentence of this log-probability may end with a better score. More tokens only lower the
    /// log-probability, so the divisor at one of the two ends bounds every later score.
    fn can_be_beaten(&self, log_probability: f32, length: usize, max_tokens: usize) -> bool {
        let kindest = if self.penalty > 0.0 { max_tokens } else { length };
        self.aside.first().is_none_or(|best| self.normalised(log_probability, kindest) > best.score)
    }

    fn normalised(&self, log_probability: f32, length: usize) -> f32 {
        log_probability / (length as f32).powf(self.penalty)
    }
}

/// The most probable steps from all hypotheses, best first: enough for `width` that go on, whatever ends among them.
fn continuations<T>(open: &[Hypothesis<T>], width: usize, rules: &Decoding) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (parent, hypothesis) in open.iter().enumerate() {
        let said = &hypothesis.spoken;
        // One token at most ends the sentence.
        let own = most_probable(&hypothesis.scores, &said.tokens, rules, width.saturating_add(1));
        steps.extend(own.into_iter().map(|(token, score)| Step {
            parent,
            token,
            log_probability: said.log_probability + score,
        }));
    }
    steps.sort_unstable_by(|a, b| {
        let ids = (a.parent, a.token).cmp(&(b.parent, b.token));
        b.log_probability.total_cmp(&a.log_probability).then(ids)
    });
    steps
}

/// The hypotheses after these steps. The last child of a parent takes its state, the others copy it.
fn follow<T: Clone>(parents: Vec<Hypothesis<T>>, steps: &[Step]) -> Vec<Hypothesis<T>> {
    let mut children = vec![0usize; parents.len()];
    steps.iter().for_each(|step| children[step.parent] += 1);
    let mut states: Vec<_> = parents.into_iter().map(|parent| (parent.spoken.tokens, Some(parent.state))).collect();
    let mut next = Vec::with_capacity(steps.len());
    for step in steps {
        let (tokens, state) = &mut states[step.parent];
        children[step.parent] -= 1;
        let state = if children[step.parent] == 0 { state.take() } else { state.clone() };
        let mut tokens = tokens.clone();
        tokens.push(step.token);
        let spoken = Spoken { tokens, log_probability: step.log_probability };
        // A state is taken only by the last child, so it is always there.
        next.extend(state.map(|state| Hypothesis { spoken, state, scores: Vec::new() }));
    }
    next
}
