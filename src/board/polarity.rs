//! On and off instead of high and low.

use embedded_hal::digital::{ErrorType, InputPin, OutputPin};

/// A pin whose high means on, though the line's high voltage may mean off. The traits of embedded-hal speak of voltage,
/// whatever the kernel was told of the line.
pub struct Polarity<P> {
    pin: P,
    active_low: bool,
}

impl<P> Polarity<P> {
    /// `active_low`: whether it is on at low voltage.
    pub fn new(pin: P, active_low: bool) -> Self {
        Self { pin, active_low }
    }
}

impl<P: ErrorType> ErrorType for Polarity<P> {
    type Error = P::Error;
}

impl<P: OutputPin> OutputPin for Polarity<P> {
    fn set_low(&mut self) -> Result<(), P::Error> {
        if self.active_low { self.pin.set_high() } else { self.pin.set_low() }
    }

    fn set_high(&mut self) -> Result<(), P::Error> {
        if self.active_low { self.pin.set_low() } else { self.pin.set_high() }
    }
}

impl<P: InputPin> InputPin for Polarity<P> {
    fn is_high(&mut self) -> Result<bool, P::Error> {
        Ok(self.pin.is_high()? != self.active_low)
    }

    fn is_low(&mut self) -> Result<bool, P::Error> {
        Ok(!self.is_high()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    #[test]
    fn what_is_on_at_low_voltage_is_switched_and_read_so() {
        let mut mock = Mock::new(&[
            Transaction::set(State::Low),
            Transaction::set(State::High),
            Transaction::get(State::Low),
            Transaction::get(State::High),
        ]);
        let mut pin = Polarity::new(mock.clone(), true);
        pin.set_high().unwrap();
        pin.set_low().unwrap();
        assert!(pin.is_high().unwrap());
        assert!(pin.is_low().unwrap());
        mock.done();
    }
}
