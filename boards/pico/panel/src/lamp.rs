//! A lamp of three colours.

use embedded_hal::digital::OutputPin;

/// What a lamp of three colours can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(missing_docs, reason = "they are colours")]
pub enum Colour {
    Off,
    Red,
    Green,
    Blue,
    Yellow,
    Magenta,
    Cyan,
    White,
}

impl Colour {
    /// Whether red, green and blue are on.
    pub const fn rgb(self) -> [bool; 3] {
        match self {
            Colour::Off => [false, false, false],
            Colour::Red => [true, false, false],
            Colour::Green => [false, true, false],
            Colour::Blue => [false, false, true],
            Colour::Yellow => [true, true, false],
            Colour::Magenta => [true, false, true],
            Colour::Cyan => [false, true, true],
            Colour::White => [true, true, true],
        }
    }
}

/// Three pins, high for on.
pub struct Lamp<R, G, B> {
    red: R,
    green: G,
    blue: B,
}

impl<R: OutputPin, G: OutputPin, B: OutputPin> Lamp<R, G, B> {
    /// A lamp with these pins.
    pub const fn new(red: R, green: G, blue: B) -> Self {
        Self { red, green, blue }
    }

    /// Shows a colour. A pin that fails is left as it is.
    pub fn show(&mut self, colour: Colour) {
        let [red, green, blue] = colour.rgb();
        let _ = self.red.set_state(red.into());
        let _ = self.green.set_state(green.into());
        let _ = self.blue.set_state(blue.into());
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    use super::*;

    #[test]
    fn every_pin_is_set_for_every_colour() {
        let pin = |on: bool| {
            let state = |on| if on { State::High } else { State::Low };
            Mock::new(&[Transaction::set(state(on)), Transaction::set(State::Low)])
        };
        let mut lamp = Lamp::new(pin(true), pin(true), pin(false));
        lamp.show(Colour::Yellow);
        lamp.show(Colour::Off);
        lamp.red.done();
        lamp.green.done();
        lamp.blue.done();
    }
}
