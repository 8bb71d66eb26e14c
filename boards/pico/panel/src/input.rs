//! A motion sensor or a button.

use embedded_hal::digital::InputPin;

use crate::Millis;

/// How long an input must stay as it is before that counts.
const STEADY_MS: Millis = 20;

/// An input that bounces.
pub struct Debounced<P> {
    pin: P,
    /// The level that counts as on.
    on_is_high: bool,
    on: bool,
    /// Since when the pin differs from `on`.
    differs: Option<Millis>,
}

impl<P: InputPin> Debounced<P> {
    /// An input that is on while the pin is high, as a motion sensor's.
    pub const fn high(pin: P) -> Self {
        Self { pin, on_is_high: true, on: false, differs: None }
    }

    /// An input that is on while the pin is low, as a button to ground.
    pub const fn low(pin: P) -> Self {
        Self { pin, on_is_high: false, on: false, differs: None }
    }

    /// Whether it went on since the last call. A pin that cannot be read is taken to be as before.
    pub fn went_on(&mut self, now: Millis) -> bool {
        let Ok(high) = self.pin.is_high() else { return false };
        if (high == self.on_is_high) == self.on {
            self.differs = None;
            return false;
        }
        let since = *self.differs.get_or_insert(now);
        if now - since < STEADY_MS {
            return false;
        }
        self.differs = None;
        self.on = !self.on;
        self.on
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    use super::*;

    #[test]
    fn a_bounce_is_one_press_and_a_spike_is_none() {
        use State::{High, Low};
        let levels =
            [(0, Low), (5, High), (10, Low), (15, High), (34, High), (35, High), (50, High), (60, Low), (99, Low)];
        let spike = [(100, High), (110, Low), (200, High), (220, High)];
        let all = [&levels[..], &spike].concat();
        let mut pin = Mock::new(&all.iter().map(|(_, level)| Transaction::get(*level)).collect::<std::vec::Vec<_>>());
        let mut input = Debounced::high(pin.clone());
        let on: std::vec::Vec<Millis> =
            all.iter().filter(|(now, _)| input.went_on(*now)).map(|(now, _)| *now).collect();
        assert_eq!(on, [35, 220]);
        pin.done();
    }

    #[test]
    fn a_button_to_ground_is_on_while_it_is_low() {
        let mut pin =
            Mock::new(&[Transaction::get(State::High), Transaction::get(State::Low), Transaction::get(State::Low)]);
        let mut input = Debounced::low(pin.clone());
        assert!(!input.went_on(0));
        assert!(!input.went_on(10));
        assert!(input.went_on(30));
        pin.done();
    }

    extern crate std;
}
