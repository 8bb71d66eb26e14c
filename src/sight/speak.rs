//! Captions and answers: what the speaker says about a picture.

use crate::bundle::{Bundle, Role};
use crate::engine::{Decoder, Options, Patches};
use crate::text::{Decoding, MAX_TEXT_BYTES, Spoken, Tokenizer, beam, candidates, fill_template, greedy, sample};
use crate::{Code, Error, Result};

use super::answer::{Answer, Caption, Label};
use super::check::SUPPORTED;
use super::looker::{Looker, cosine, lazily, sigmoid};
use super::view::View;

/// Most sampled captions in one question.
pub const MAX_SAMPLES: usize = 32;

/// Most tokens of a question that the speaker reads, and of an answer that it gives.
const MAX_QUESTION_TOKENS: usize = 32;
const MAX_ANSWER_TOKENS: usize = 12;

/// Temperature of sampled captions.
const SAMPLE_TEMPERATURE: f32 = 1.0;

/// How to speak. The default follows the bundle's manifest and takes no samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpeakOptions {
    /// Width of the beam search; 1 is greedy. `None`: as the manifest says.
    pub beams: Option<usize>,
    /// Captions sampled for [`Caption::agreement`], at most [`MAX_SAMPLES`].
    pub samples: usize,
    /// Seed of the first sample; each further one takes the next number.
    pub seed: u64,
}

impl Looker {
    /// Says what is in the picture in one sentence. Where the bundle says so, the sentences of the beam search are embedded,
    /// and the cosine of each with the picture counts beside the speaker's own score. Where the picture does not support what
    /// is said, it is called by the one of the bundle's names that is surely there, if one is.
    pub fn caption(&self, view: &View, options: &SpeakOptions) -> Result<Caption> {
        if options.samples > MAX_SAMPLES {
            let message = format!("{} samples are too many (at most {MAX_SAMPLES})", options.samples);
            return Err(Error::new(Code::Usage, message, "ask for fewer: --samples 5"));
        }
        let voice = self.voice("caption")?;
        let decoding = self.decoding(voice, options.beams, usize::MAX)?;
        let weight = self.bundle.manifest().speaker().map_or(0.0, |speaker| speaker.cosine_weight);
        let Sentence { spoken, text: caption, words } = if weight > 0.0 && decoding.beams > 1 {
            self.fitting(view, voice, &decoding, weight)?
        } else {
            self.sentence(voice, voice.speak(view, &[voice.start], &decoding)?)?
        };
        let log_probability = mean_log_probability(&spoken, decoding.max_tokens);
        let mut answer = Caption { score: log_probability.exp(), log_probability, caption, ..Caption::default() };
        let Some(words) = words else { return Ok(answer) };
        let things = self.things(view, &answer.caption)?;
        answer.score = self.support(cosine(&view.embedding, &words))?.score * things;
        if options.samples > 0 {
            answer.samples = self.samples(view, options)?;
            let mut sum = 0.0;
            for said in &answer.samples {
                // A sample that says nothing agrees with nothing.
                sum += if said.trim().is_empty() { 0.0 } else { cosine(&words, &self.embed_text(said)?) };
            }
            answer.agreement = Some(sum / answer.samples.len() as f32);
        }
        if answer.score < SUPPORTED
            && let Some(name) = self.name(view)?
        {
            answer.instead_of = Some(std::mem::replace(&mut answer.caption, name.label));
            answer.score = name.score;
        }
        Ok(answer)
    }

    /// The one of the bundle's names that is surely there.
    fn name(&self, view: &View) -> Result<Option<Label>> {
        let Some(speaker) = self.bundle.manifest().speaker().filter(|speaker| !speaker.names.is_empty()) else {
            return Ok(None);
        };
        let prompts: Vec<String> = speaker.names.iter().map(|name| fill_template(&speaker.name_prompt, name)).collect();
        let embeddings = self.embed_labels_unchecked(&prompts, true, &mut |_, _| {})?;
        let cosines: Vec<f32> = embeddings.iter().map(|row| cosine(&view.embedding, row)).collect();
        let (scores, _) = self.contest()?.before(&view.embedding).shares(&cosines);
        let best = speaker.names.iter().zip(scores).max_by(|a, b| a.1.total_cmp(&b.1));
        let named = best.map(|(name, score)| Label { label: name.clone(), score });
        Ok(named.filter(|name| name.score >= SUPPORTED))
    }

    /// Answers a question about the picture. Of a question only the first 32 tokens are read; the rest is cut off with a
    /// warning.
    pub fn ask(&self, view: &View, question: &str, options: &SpeakOptions) -> Result<Answer> {
        if question.trim().is_empty() {
            return Err(Error::new(Code::Text, "the question is empty", "ask something: \"how many chairs?\""));
        }
        if question.len() > MAX_TEXT_BYTES {
            let message = format!("the question has {} bytes, more than {MAX_TEXT_BYTES}", question.len());
            return Err(Error::new(Code::Text, message, "ask in one sentence"));
        }
        let voice = self.voice("answer questions")?;
        let (Some(opens), Some(answers)) = (voice.question, voice.answer) else {
            return Err(self.lacks("question token", "answer questions"));
        };
        let mut words = voice.tokenizer.encode_plain(question)?;
        if words.len() > MAX_QUESTION_TOKENS {
            log::warn!("the question has {} tokens; only the first {MAX_QUESTION_TOKENS} count", words.len());
            words.truncate(MAX_QUESTION_TOKENS);
        }
        let prompt: Vec<u32> = [voice.start, opens].into_iter().chain(words).chain([answers]).collect();
        // The most probable answer as a whole: one of two words is not better for its second, which follows from the first.
        let decoding = Decoding { length_penalty: 0.0, ..self.decoding(voice, options.beams, MAX_ANSWER_TOKENS)? };
        let spoken = voice.speak(view, &prompt, &decoding)?;
        let (scale, bias) =
            self.bundle.manifest().calibration().map_or((1.0, 0.0), |known| (known.answer_scale, known.answer_bias));
        let score = sigmoid(scale * log_odds(spoken.log_probability) + bias);
        Ok(Answer { answer: voice.tokenizer.decode(&spoken.tokens)?, score })
    }

    /// Of the sentences of a beam search the one with the best score, the speaker's plus `weight` times the cosine with the
    /// picture.
    fn fitting(&self, view: &View, voice: &Voice, decoding: &Decoding, weight: f32) -> Result<Sentence> {
        let speaker = voice.decoder.attend(voice.patches(view)?);
        let mut best: Option<(f32, Sentence)> = None;
        for candidate in candidates(&speaker, &[voice.start], decoding)? {
            let sentence = self.sentence(voice, candidate.spoken)?;
            // What says nothing fits nothing.
            let fit = sentence.words.as_ref().map_or(0.0, |words| cosine(&view.embedding, words));
            let score = candidate.score + weight * fit;
            if best.as_ref().is_none_or(|(least, _)| score > *least) {
                best = Some((score, sentence));
            }
        }
        best.map_or_else(|| self.sentence(voice, Spoken::default()), |(_, sentence)| Ok(sentence))
    }

    fn sentence(&self, voice: &Voice, spoken: Spoken) -> Result<Sentence> {
        let text = voice.tokenizer.decode(&spoken.tokens)?;
        let mute = text.trim().is_empty() || !self.bundle.has(Role::Text);
        let words = if mute { None } else { Some(self.embed_text(&text)?) };
        Ok(Sentence { spoken, text, words })
    }

    fn samples(&self, view: &View, options: &SpeakOptions) -> Result<Vec<String>> {
        let voice = self.voice("caption")?;
        let decoding = self.decoding(voice, Some(1), usize::MAX)?;
        let speaker = voice.decoder.attend(voice.patches(view)?);
        (0..options.samples as u64)
            .map(|turn| {
                let seed = options.seed.wrapping_add(turn);
                let spoken = sample(&speaker, &[voice.start], &decoding, SAMPLE_TEMPERATURE, seed)?;
                voice.tokenizer.decode(&spoken.tokens)
            })
            .collect()
    }

    fn decoding(&self, voice: &Voice, beams: Option<usize>, most: usize) -> Result<Decoding> {
        let speaker = self.bundle.manifest().speaker().ok_or_else(|| self.lacks("speaker", "caption"))?;
        Ok(Decoding {
            beams: beams.unwrap_or(speaker.beams).max(1),
            max_tokens: speaker.max_tokens.min(most),
            length_penalty: speaker.length_penalty,
            end: voice.end,
            banned: voice.banned.clone(),
        })
    }

    /// The speaker, loaded on first use; `deed` is what it is wanted for.
    pub(super) fn voice(&self, deed: &str) -> Result<&Voice> {
        if !self.bundle.has(Role::Decoder) {
            return Err(self.lacks("decoder", deed));
        }
        lazily(&self.voice, || Voice::load(&self.bundle, &self.options))
    }
}

/// What was said.
struct Sentence {
    spoken: Spoken,
    text: String,
    /// Its embedding; `None` where it says nothing or the bundle has no text tower.
    words: Option<Vec<f32>>,
}

/// The decoder, its tokenizer, and the tokens that steer it.
pub(super) struct Voice {
    pub(super) decoder: Decoder,
    pub(super) tokenizer: Tokenizer,
    pub(super) start: u32,
    pub(super) end: u32,
    question: Option<u32>,
    answer: Option<u32>,
    /// Tokens that are never said.
    banned: Vec<u32>,
}

impl Voice {
    fn load(bundle: &Bundle, options: &Options) -> Result<Self> {
        let damaged = |cause: String| {
            Error::new(Code::Bundle, format!("bundle {}: {cause}", bundle.name()), "fetch or make the bundle again")
        };
        let (Some(speaker), Some(json)) = (bundle.manifest().speaker(), bundle.bytes(Role::SpeakerTokenizer)) else {
            return Err(damaged("it has a decoder but no [speaker] or speaker_tokenizer".to_owned()));
        };
        let tokenizer = Tokenizer::from_bytes(json, "speaker_tokenizer")?;
        let id = |token: &String| {
            let cause = || damaged(format!("[speaker] names the token {token:?}, which its tokenizer does not know"));
            tokenizer.id(token).ok_or_else(cause)
        };
        let (start, end) = (id(&speaker.start)?, id(&speaker.end)?);
        let question = speaker.question.as_ref().map(id).transpose()?;
        let answer = speaker.answer.as_ref().map(id).transpose()?;
        let never = ["[PAD]", "[UNK]", "[MASK]", "<pad>", "<unk>", "<mask>"];
        let banned = never.iter().filter_map(|token| tokenizer.id(token));
        let banned = banned.chain([start]).chain(question).chain(answer).filter(|token| *token != end).collect();
        Ok(Self { decoder: Decoder::load(bundle, options)?, start, end, question, answer, banned, tokenizer })
    }

    pub(super) fn patches<'a>(&self, view: &'a View) -> Result<&'a Patches> {
        view.patches.as_ref().ok_or_else(|| {
            let help = "fetch or make the bundle again";
            Error::new(Code::Bundle, "the image tower gives no patch tokens for the decoder to read", help)
        })
    }

    fn speak(&self, view: &View, prompt: &[u32], decoding: &Decoding) -> Result<Spoken> {
        let speaker = self.decoder.attend(self.patches(view)?);
        if decoding.beams == 1 { greedy(&speaker, prompt, decoding) } else { beam(&speaker, prompt, decoding) }
    }
}

/// Of a log-probability; finite for all of them.
fn log_odds(log_probability: f32) -> f32 {
    let p = log_probability.exp().clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

/// Over the tokens said and, where the sentence ended by itself, the end token.
fn mean_log_probability(spoken: &Spoken, max_tokens: usize) -> f32 {
    let counted = (spoken.tokens.len() + 1).min(max_tokens.max(1));
    spoken.log_probability / counted as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_odds_are_those_of_the_probability_and_finite_at_both_ends() {
        for p in [0.01f32, 0.3, 0.5, 0.99] {
            assert!((sigmoid(log_odds(p.ln())) - p).abs() < 1e-5, "{p}");
        }
        assert!(log_odds(f32::NEG_INFINITY) < -13.0 && log_odds(0.0) > 13.0);
        assert!(log_odds(f32::NEG_INFINITY).is_finite() && log_odds(0.0).is_finite());
    }

    #[test]
    fn the_mean_counts_the_end_token_unless_the_sentence_was_cut() {
        let spoken = Spoken { tokens: vec![5, 6, 7], log_probability: -4.0 };
        assert_eq!(mean_log_probability(&spoken, 24), -1.0);
        assert_eq!(mean_log_probability(&spoken, 3), -4.0 / 3.0);
        assert_eq!(mean_log_probability(&Spoken { tokens: vec![], log_probability: -2.0 }, 24), -2.0);
    }
}
