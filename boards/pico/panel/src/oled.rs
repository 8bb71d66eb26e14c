//! An SSD1306 that may come and go.

use display_interface::DisplayError;
use embedded_hal::i2c::I2c;
use ssd1306::mode::{BufferedGraphicsMode, DisplayConfig};
use ssd1306::prelude::{DisplayRotation, I2CInterface};
use ssd1306::size::DisplaySize128x64;
use ssd1306::{I2CDisplayInterface, Ssd1306};

use crate::{Millis, View, screen};

/// How often a display that is not there is looked for.
const AGAIN_MS: Millis = 2_000;

/// How often what is shown is written once more, so that a display that was unplugged is missed.
const REFRESH_MS: Millis = 5_000;

/// A display of 128 x 64 pixels at address 0x3C.
pub struct Oled<I> {
    display: Ssd1306<I2CInterface<I>, DisplaySize128x64, BufferedGraphicsMode<DisplaySize128x64>>,
    state: State,
}

enum State {
    /// Not there, and when to look next.
    Gone(Millis),
    /// There, and when what it shows is written next.
    There(Millis),
}

impl<I: I2c> Oled<I> {
    /// A display on this bus. It is set up when something is shown, and may be plugged in later.
    pub fn new(bus: I) -> Self {
        let display = Ssd1306::new(I2CDisplayInterface::new(bus), DisplaySize128x64, DisplayRotation::Rotate0);
        Self { display: display.into_buffered_graphics_mode(), state: State::Gone(0) }
    }

    /// Shows the view where it is new, and now and then again. Takes 25 ms at 400 kHz where it writes.
    pub fn show(&mut self, view: &View, is_new: bool, now: Millis) {
        let done = match self.state {
            State::Gone(next) if now < next => return,
            State::There(next) if now < next && !is_new => return,
            State::Gone(_) => self.display.init().and_then(|()| self.write(view)),
            State::There(_) => self.write(view),
        };
        self.state = match done {
            Ok(()) => State::There(now + REFRESH_MS),
            Err(_) => State::Gone(now + AGAIN_MS),
        };
    }

    fn write(&mut self, view: &View) -> Result<(), DisplayError> {
        self.display.clear_buffer();
        screen::draw(view, &mut self.display)?;
        self.display.flush()
    }
}
