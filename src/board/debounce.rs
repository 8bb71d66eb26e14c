//! An input that settles before it counts.

use std::time::{Duration, Instant};

use embedded_hal::digital::InputPin;

/// How long an input must stay as it is.
const SETTLE: Duration = Duration::from_millis(30);

/// A pin whose bouncing is not heard.
pub struct Debounced<P> {
    pin: P,
    settled: Option<bool>,
    raw: bool,
    since: Option<Instant>,
}

impl<P: InputPin> Debounced<P> {
    /// Has not been read yet.
    pub fn new(pin: P) -> Self {
        Self { pin, settled: None, raw: false, since: None }
    }

    /// Reads the pin. Says the new state once it has settled on another one than before; the first state is also said.
    /// The error is a cause in words.
    pub fn poll(&mut self, now: Instant) -> Result<Option<bool>, String> {
        let raw = self.pin.is_high().map_err(|error| format!("{error:?}"))?;
        let since = match self.since {
            Some(since) if raw == self.raw => since,
            _ => now,
        };
        (self.raw, self.since) = (raw, Some(since));
        if self.settled == Some(raw) || now.duration_since(since) < SETTLE {
            return Ok(None);
        }
        self.settled = Some(raw);
        Ok(Some(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    #[test]
    fn bouncing_is_not_heard_and_every_settled_change_is() {
        // Ten milliseconds between readings.
        let raw = [0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0];
        let state = |level: &i32| Transaction::get(if *level == 1 { State::High } else { State::Low });
        let mut mock = Mock::new(&raw.iter().map(state).collect::<Vec<_>>());
        let mut pin = Debounced::new(mock.clone());
        let begin = Instant::now();
        let heard: Vec<(usize, bool)> = (0..raw.len())
            .filter_map(|i| Some((i, pin.poll(begin + Duration::from_millis(10 * i as u64)).unwrap()?)))
            .collect();
        assert_eq!(heard, [(3, false), (10, true), (18, false)]);
        mock.done();
    }
}
