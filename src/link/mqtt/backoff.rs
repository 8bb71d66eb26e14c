//! How long to wait before the next attempt.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const LEAST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(60);
/// Where trouble lasts until somebody does something about it.
const LASTING: Duration = Duration::from_secs(8);

/// Doubles from half a second to a minute, with half of it left to chance, so that the devices of a house do not all
/// come back in the same moment after a power cut.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The connection did something useful.
    pub fn worked(&mut self) {
        self.next = Duration::ZERO;
    }

    /// How long to wait now.
    pub fn wait(&mut self, lasting: bool) -> Duration {
        let full = self.next.max(if lasting { LASTING } else { LEAST }).min(MOST);
        self.next = (full * 2).min(MOST);
        full.mul_f64(0.5 + 0.5 * chance())
    }
}

/// At least 0 and below 1. The standard library seeds each of these hashers anew from the system's randomness.
pub(super) fn chance() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_begin_anew_when_it_worked() {
        let mut backoff = Backoff::default();
        for full in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let wait = backoff.wait(false).as_secs_f64();
            assert!((full * 0.5..=full).contains(&wait), "{wait} of {full}");
        }
        backoff.worked();
        assert!(backoff.wait(false) <= LEAST);
        backoff.worked();
        assert!(backoff.wait(true) >= LASTING / 2);
    }

    #[test]
    fn chance_is_spread() {
        let draws: Vec<f64> = (0..200).map(|_| chance()).collect();
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
        assert!(draws.iter().any(|x| *x < 0.2) && draws.iter().any(|x| *x > 0.8));
    }
}
