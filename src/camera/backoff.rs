//! How long to wait before a camera is opened again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles from 0.5 s to 30 s; each delay is cut by up to a half at random, so that cameras of one house do not knock
/// together.
pub(super) struct Backoff {
    next: Duration,
    noise: u64,
}

impl Backoff {
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { next: SHORTEST, noise: now.as_nanos() as u64 | 1 }
    }

    /// The camera was well: begin anew.
    pub fn reset(&mut self) {
        self.next = SHORTEST;
    }

    pub fn delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        let share = (self.noise >> 40) as f64 / (1u64 << 24) as f64;
        whole.mul_f64(1.0 - share / 2.0).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_from_half_a_second_to_thirty_and_is_not_always_the_same() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.delay(), SHORTEST);
        let delays: Vec<Duration> = (0..100).map(|_| backoff.delay()).collect();
        assert!(delays.iter().all(|delay| (SHORTEST..=LONGEST).contains(delay)));
        assert!(delays[20..].iter().all(|delay| *delay >= LONGEST / 2));
        assert!(delays[20..].iter().any(|delay| *delay != delays[20]));
        backoff.reset();
        assert_eq!(backoff.delay(), SHORTEST);
    }
}
