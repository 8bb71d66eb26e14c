//! GPIO outputs by name.

use std::collections::BTreeMap;
use std::path::Path;

use embedded_hal::digital::{OutputPin, PinState};
use gpiocdev::chip::Chip;
use gpiocdev::line::Value;
use gpiocdev::request::{Builder, Request};

use crate::{Code, Error, Result};

use super::config::{BoardConfig, Line, Pin};
use super::polarity::Polarity;

/// Something that is on or off.
pub trait Switch: Send {
    /// Switches it. The error is a cause in words.
    fn set(&mut self, on: bool) -> Result<(), String>;
}

impl<P: OutputPin + Send> Switch for P {
    fn set(&mut self, on: bool) -> Result<(), String> {
        self.set_state(PinState::from(on)).map_err(|error| format!("{error:?}"))
    }
}

/// The outputs of a configuration. All are off at first and at the end.
#[derive(Default)]
pub struct Outputs {
    switches: BTreeMap<String, Box<dyn Switch>>,
}

impl Outputs {
    /// Takes hold of the lines. Errors name the output: no such chip or line, used by another program, not allowed.
    pub fn open(config: &BoardConfig) -> Result<Self> {
        let mut outputs = Self::default();
        for (name, pin) in &config.outputs {
            let mut request = Request::builder();
            // As voltage: what is off at low is low.
            request.as_output(if pin.active_low { Value::Active } else { Value::Inactive });
            let line = gpiocdev_embedded_hal::OutputPin::try_from(hold(name, pin, request)?)
                .map_err(|error| refused(name, &error.to_string()))?;
            outputs.add(name, Box::new(Polarity::new(line, pin.active_low)));
        }
        Ok(outputs)
    }

    /// Adds an output of another kind.
    pub fn add(&mut self, name: &str, switch: Box<dyn Switch>) {
        self.switches.insert(name.to_owned(), switch);
    }

    /// Switches an output.
    pub fn set(&mut self, name: &str, on: bool) -> Result<()> {
        match self.switches.get_mut(name) {
            Some(switch) => switch.set(on).map_err(|cause| refused(name, &cause)),
            None => {
                let message = format!("there is no GPIO output {name:?}");
                Err(Error::new(Code::Config, message, "name it in [board.outputs], then restart"))
            }
        }
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        for switch in self.switches.values_mut() {
            let _ = switch.set(false);
        }
    }
}

/// Takes hold of the line of a pin, set up as `request` says. On and off are the business of [`Polarity`].
pub(super) fn hold(name: &str, pin: &Pin, mut request: Builder) -> Result<Request> {
    let open = |path: &Path| {
        Chip::from_path(path).map_err(|error| {
            let missing = !path.exists();
            let cause = format!("{} cannot be opened: {error}", path.display());
            refused(name, &if missing { format!("there is no GPIO chip {}", path.display()) } else { cause })
        })
    };
    let unknown = |line: &str| refused(name, &format!("no GPIO line is called {line:?}"));
    let (chip, offset) = match (&pin.line, &pin.chip) {
        (Line::Number(offset), Some(path)) => (open(path)?, *offset),
        (Line::Number(_), None) => return Err(refused(name, "it has a number but no chip")),
        (Line::Name(line), None) => {
            let found = gpiocdev::find_named_line(line).ok_or_else(|| unknown(line))?;
            (open(&found.chip)?, found.info.offset)
        }
        (Line::Name(line), Some(path)) => {
            let chip = open(path)?;
            let offset = chip.find_line_info(line).ok_or_else(|| unknown(line))?.offset;
            (chip, offset)
        }
    };
    request.on_chip(chip.path()).with_consumer("lookout");
    request.with_line(offset).request().map_err(|error| refused(name, &why_not(&chip, offset, &error)))
}

/// Why a line was not given, as far as the kernel tells.
fn why_not(chip: &Chip, offset: u32, error: &gpiocdev::Error) -> String {
    let path = chip.path().display();
    match (chip.line_info(offset), chip.info()) {
        (Ok(line), _) if line.used => format!("line {offset} of {path} is used by {:?}", line.consumer),
        (_, Ok(info)) if offset >= info.num_lines => {
            format!("{path} has {} lines, and none is {offset} (the first is 0)", info.num_lines)
        }
        _ => format!("line {offset} of {path}: {error}"),
    }
}

fn refused(name: &str, cause: &str) -> Error {
    Error::new(
        Code::Config,
        format!("GPIO {name}: {cause}"),
        "`gpioinfo` lists the lines; the user needs access to the chip: group gpio, or DeviceAllow= in the unit",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    #[test]
    fn an_output_follows_and_is_off_at_the_end() {
        let mut pin = Mock::new(&[
            Transaction::set(State::High),
            Transaction::set(State::Low),
            Transaction::set(State::High),
            Transaction::set(State::Low),
        ]);
        let mut outputs = Outputs::default();
        outputs.add("bell", Box::new(pin.clone()));
        outputs.set("bell", true).unwrap();
        outputs.set("bell", false).unwrap();
        outputs.set("bell", true).unwrap();
        drop(outputs);
        pin.done();
    }

    #[test]
    fn a_missing_output_chip_or_line_is_named() {
        let mut outputs = Outputs::default();
        assert!(outputs.set("bell", true).unwrap_err().message().contains("\"bell\""));
        let mut config = BoardConfig::default();
        let pin = Pin { chip: Some("/missing/gpiochip9".into()), line: Line::Number(4), active_low: false };
        config.outputs.insert("bell".to_owned(), pin);
        let error = Outputs::open(&config).err().unwrap();
        assert!(error.message().contains("bell") && error.message().contains("/missing/gpiochip9"), "{error}");
        assert!(error.help().contains("gpioinfo"));
    }
}
