//! Pins and a bus that are a test bench on UART1. In: `M`, `m` motion on and off, `B`, `b` button pressed and released, `H` hang,
//! `X`, `x` display unplugged and plugged in. Out, a line each: `r 1` the red pin is high, `i 3c 00ae` two bytes to the device
//! 3c on the bus.

use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, Ordering};

use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::i2c::{self, ErrorKind, I2c, NoAcknowledgeSource, Operation};

use crate::registers::Uart;

static MOTION: AtomicBool = AtomicBool::new(false);
static BUTTON: AtomicBool = AtomicBool::new(false);
static UNPLUGGED: AtomicBool = AtomicBool::new(false);

/// Takes what the bench has to say.
pub fn look() {
    while let Some(letter) = Uart::BENCH.get() {
        match letter {
            b'M' | b'm' => MOTION.store(letter == b'M', Ordering::Relaxed),
            b'B' | b'b' => BUTTON.store(letter == b'B', Ordering::Relaxed),
            b'X' | b'x' => UNPLUGGED.store(letter == b'X', Ordering::Relaxed),
            b'H' => loop {
                cortex_m::asm::nop();
            },
            _ => {}
        }
    }
}

/// An input pin.
pub struct Input {
    state: &'static AtomicBool,
    /// High while the state is this.
    high: bool,
}

impl Input {
    pub fn motion() -> Self {
        Self { state: &MOTION, high: true }
    }

    /// To ground.
    pub fn button() -> Self {
        Self { state: &BUTTON, high: false }
    }
}

impl digital::ErrorType for Input {
    type Error = Infallible;
}

impl InputPin for Input {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.state.load(Ordering::Relaxed) == self.high)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

/// An output pin of the lamp.
pub struct Colour(u8);

impl Colour {
    pub fn new(letter: char) -> Self {
        Self(letter as u8)
    }

    fn tell(&self, level: u8) {
        [self.0, b' ', level, b'\n'].iter().for_each(|byte| Uart::BENCH.put(*byte));
    }
}

impl digital::ErrorType for Colour {
    type Error = Infallible;
}

impl OutputPin for Colour {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.tell(b'0');
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.tell(b'1');
        Ok(())
    }
}

/// A bus with a display on it.
pub struct Bus;

impl i2c::ErrorType for Bus {
    type Error = ErrorKind;
}

impl I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        if UNPLUGGED.load(Ordering::Relaxed) {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        let bench = Uart::BENCH;
        let hex = |byte: u8| {
            let digit = |half: u8| char::from_digit(half.into(), 16).map_or(b'?', |digit| digit as u8);
            bench.put(digit(byte >> 4));
            bench.put(digit(byte & 15));
        };
        b"i ".iter().for_each(|byte| bench.put(*byte));
        hex(address);
        bench.put(b' ');
        for operation in operations {
            match operation {
                Operation::Write(bytes) => bytes.iter().for_each(|byte| hex(*byte)),
                Operation::Read(_) => return Err(ErrorKind::Other),
            }
        }
        bench.put(b'\n');
        Ok(())
    }
}
