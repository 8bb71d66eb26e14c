//! Greedy, beam and sampled decoding on speakers small enough to check by hand or by trying every sentence.

use lookout::text::{Decoding, REPEATED_RUN, Speaker, Spoken, beam, candidates, greedy, sample};

const END: u32 = 0;

/// Logits that depend on everything said so far, the same for the same seed.
struct Toy {
    vocabulary: u32,
    seed: u64,
}

impl Speaker for Toy {
    type State = Vec<u32>;

    fn start(&self) -> lookout::Result<Vec<u32>> {
        Ok(Vec::new())
    }

    fn step(&self, state: &mut Vec<u32>, token: u32) -> lookout::Result<Vec<f32>> {
        state.push(token);
        let mut hash = self.seed;
        let mut mix = |value: u64| {
            hash = (hash ^ value.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            hash ^= hash >> 29;
            hash
        };
        for &mut t in state {
            mix(u64::from(t) + 1);
        }
        Ok((0..self.vocabulary).map(|_| (mix(7) >> 40) as f32 / (1 << 24) as f32 * 4.0).collect())
    }
}

/// Always the same logits.
struct Fixed(Vec<f32>);

impl Speaker for Fixed {
    type State = ();

    fn start(&self) -> lookout::Result<()> {
        Ok(())
    }

    fn step(&self, _: &mut (), _: u32) -> lookout::Result<Vec<f32>> {
        Ok(self.0.clone())
    }
}

fn rules(beams: usize, max_tokens: usize, length_penalty: f32) -> Decoding {
    Decoding { beams, max_tokens, length_penalty, end: END, banned: vec![] }
}

#[test]
fn a_wide_beam_finds_what_trying_every_sentence_finds() {
    for seed in 0..40 {
        for penalty in [-0.5, 0.0, 0.7, 1.0, 2.0] {
            let toy = Toy { vocabulary: 4, seed };
            let rules = Decoding { banned: if seed % 3 == 0 { vec![2] } else { vec![] }, ..rules(5000, 5, penalty) };
            let found = beam(&toy, &[1], &rules).unwrap();
            let (_, expected) = every_sentence(&toy, &rules)
                .into_iter()
                .reduce(|best, next| if next.0 > best.0 { next } else { best })
                .unwrap();
            assert_eq!(found.tokens, expected.tokens, "seed {seed} penalty {penalty}");
            assert!((found.log_probability - expected.log_probability).abs() < 1e-4);
        }
    }
}

#[test]
fn one_beam_says_what_greedy_says() {
    for seed in 0..200 {
        let toy = Toy { vocabulary: 9, seed };
        for max_tokens in [0, 1, 2, 12] {
            let rules = rules(1, max_tokens, 0.7);
            assert_eq!(beam(&toy, &[1, 5], &rules).unwrap(), greedy(&toy, &[1, 5], &rules).unwrap(), "seed {seed}");
        }
    }
}

#[test]
fn more_beams_never_lose_to_greedy_by_probability_on_average() {
    let total = |beams| -> f32 {
        (0..200)
            .map(|seed| beam(&Toy { vocabulary: 9, seed }, &[1], &rules(beams, 8, 0.0)).unwrap().log_probability)
            .sum()
    };
    assert!(total(4) > total(1));
    assert!(total(32) >= total(4));
}

#[test]
fn log_probability_counts_every_token_and_the_end() {
    // Probabilities 1/2 for the end and 1/4 each for two words.
    let speaker = Fixed(vec![2f32.ln(), 0.0, 0.0]);
    let spoken = greedy(&speaker, &[1], &rules(1, 5, 1.0)).unwrap();
    assert!(spoken.tokens.is_empty());
    assert!((spoken.log_probability - 0.5f32.ln()).abs() < 1e-6);
    // Without the end, the words keep the probabilities that they have.
    let spoken = greedy(&speaker, &[1], &Decoding { end: 99, banned: vec![END], ..rules(1, 2, 1.0) }).unwrap();
    assert_eq!(spoken.tokens, [1, 1]);
    assert!((spoken.log_probability - 2.0 * 0.25f32.ln()).abs() < 1e-6);
}

#[test]
fn equals_go_to_the_smaller_token_every_time() {
    let speaker = Fixed(vec![-9.0, 1.0, 1.0, 1.0]);
    for beams in [1, 2, 3, 7] {
        assert_eq!(beam(&speaker, &[1], &rules(beams, 2, 1.0)).unwrap().tokens, [1, 1], "{beams} beams");
    }
}

#[test]
fn candidates_come_best_first_and_begin_with_what_the_beam_says() {
    for seed in 0..60 {
        for penalty in [0.0, 0.7, 1.0] {
            let (toy, rules) = (Toy { vocabulary: 7, seed }, rules(4, 8, penalty));
            let found = candidates(&toy, &[1], &rules).unwrap();
            assert_eq!(found[0].spoken, beam(&toy, &[1], &rules).unwrap(), "{seed} {penalty}");
            assert!(found.len() > 1 && found.windows(2).all(|pair| pair[0].score >= pair[1].score), "{seed} {penalty}");
            for (i, one) in found.iter().enumerate() {
                assert!(
                    found[..i].iter().all(|other| other.spoken.tokens != one.spoken.tokens),
                    "{seed}: {one:?} twice"
                );
                let length = one.spoken.tokens.len().saturating_add(1).min(8) as f32;
                assert!((one.score - one.spoken.log_probability / length.powf(penalty)).abs() < 1e-6, "{one:?}");
            }
        }
    }
}

#[test]
fn banned_tokens_are_never_said() {
    for seed in 0..50 {
        let toy = Toy { vocabulary: 9, seed };
        let rules = Decoding { banned: vec![3, 4, 5], ..rules(3, 10, 0.7) };
        for spoken in [
            greedy(&toy, &[1], &rules).unwrap(),
            beam(&toy, &[1], &rules).unwrap(),
            sample(&toy, &[1], &rules, 2.0, seed).unwrap(),
        ] {
            assert!(spoken.tokens.iter().all(|t| ![3, 4, 5, END].contains(t)), "{spoken:?}");
            assert!(spoken.tokens.len() <= 10);
        }
    }
}

#[test]
fn a_speaker_that_would_repeat_itself_for_ever_does_not() {
    let speaker = Fixed(vec![-20.0, 5.0, 4.0, 3.0]);
    let rules = rules(3, 40, 0.7);
    for spoken in [
        greedy(&speaker, &[1], &rules).unwrap(),
        beam(&speaker, &[1], &rules).unwrap(),
        sample(&speaker, &[1], &rules, 0.5, 3).unwrap(),
    ] {
        let mut runs: Vec<_> = spoken.tokens.windows(REPEATED_RUN).collect();
        let all = runs.len();
        runs.sort();
        runs.dedup();
        assert_eq!(runs.len(), all, "{spoken:?}");
    }
}

#[test]
fn the_same_seed_samples_the_same_sentence_and_others_differ() {
    let toy = Toy { vocabulary: 9, seed: 1 };
    let rules = rules(1, 8, 0.7);
    let said: Vec<Spoken> = (0..30).map(|seed| sample(&toy, &[1], &rules, 1.0, seed).unwrap()).collect();
    let again: Vec<Spoken> = (0..30).map(|seed| sample(&toy, &[1], &rules, 1.0, seed).unwrap()).collect();
    assert_eq!(said, again);
    assert!(said.iter().any(|s| s != &said[0]));
    assert_eq!(sample(&toy, &[1], &rules, 0.0, 5).unwrap(), greedy(&toy, &[1], &rules).unwrap());
    assert_eq!(sample(&toy, &[1], &rules, 1e-4, 5).unwrap(), greedy(&toy, &[1], &rules).unwrap());
}

#[test]
fn samples_follow_the_probabilities() {
    // 1/8, 1/8, 1/4, 1/2
    let speaker = Fixed(vec![0.0, 0.0, 2f32.ln(), 4f32.ln()]);
    let rules = Decoding { end: 99, ..rules(1, 1, 1.0) };
    let mut counts = [0u32; 4];
    for seed in 0..8000 {
        counts[sample(&speaker, &[1], &rules, 1.0, seed).unwrap().tokens[0] as usize] += 1;
    }
    for (count, expected) in counts.into_iter().zip([1000, 1000, 2000, 4000]) {
        assert!(count.abs_diff(expected) < 150, "{counts:?}");
    }
}

#[test]
fn useless_logits_and_an_empty_prompt_are_errors_and_a_mute_speaker_says_nothing() {
    let rules = rules(3, 5, 0.7);
    for logits in [vec![f32::NAN; 4], vec![f32::NEG_INFINITY; 4], vec![]] {
        assert!(greedy(&Fixed(logits.clone()), &[1], &rules).is_err());
        assert!(beam(&Fixed(logits), &[1], &rules).is_err());
    }
    assert!(beam(&Fixed(vec![0.0; 4]), &[], &rules).is_err());
    let mute = Decoding { banned: vec![0, 1, 2, 3], ..rules };
    for spoken in [greedy(&Fixed(vec![0.0; 4]), &[1], &mute), beam(&Fixed(vec![0.0; 4]), &[1], &mute)] {
        assert!(spoken.unwrap().tokens.is_empty());
    }
    let one_bad = Fixed(vec![-3.0, f32::NAN, 2.0, 1.0]);
    assert!(greedy(&one_bad, &[1], &Decoding { max_tokens: 1, ..mute.clone() }).unwrap().tokens.is_empty());
    assert_eq!(greedy(&one_bad, &[1], &Decoding { banned: vec![], max_tokens: 1, ..mute }).unwrap().tokens, [2]);
}

/// Every sentence within the rules, with its score, in the order of its tokens.
fn every_sentence(toy: &Toy, rules: &Decoding) -> Vec<(f32, Spoken)> {
    let mut all = Vec::new();
    let mut open = vec![(Vec::new(), 0.0f32)];
    for length in 1..=rules.max_tokens {
        let mut longer = Vec::new();
        for (tokens, sum) in open {
            let mut state = Vec::new();
            let mut logits = toy.step(&mut state, 1).unwrap();
            for &token in &tokens {
                logits = toy.step(&mut state, token).unwrap();
            }
            let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
            for token in (0..toy.vocabulary).filter(|t| !rules.banned.contains(t)) {
                let sum = sum + (f64::from(logits[token as usize]) - total.ln()) as f32;
                let mut next: Vec<u32> = tokens.clone();
                if token != END {
                    next.push(token);
                    let last = next.len().saturating_sub(REPEATED_RUN);
                    if next[..next.len() - 1].windows(REPEATED_RUN).any(|run| run == &next[last..]) {
                        continue;
                    }
                }
                if token == END || length == rules.max_tokens {
                    let score = sum / (length as f32).powf(rules.length_penalty);
                    all.push((score, Spoken { tokens: next, log_probability: sum }));
                } else {
                    longer.push((next, sum));
                }
            }
        }
        open = longer;
    }
    all
}
