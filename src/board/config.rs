//! What the configuration says about the board.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Code, Error, Result};

/// The table `[board]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoardConfig {
    /// GPIO outputs by the names that triggers use.
    pub outputs: BTreeMap<String, Pin>,
    /// GPIO inputs by names of their own.
    pub inputs: BTreeMap<String, InputConfig>,
    /// Degrees Celsius of the processor from which frames are thinned out.
    pub hot: f32,
}

impl Default for BoardConfig {
    fn default() -> Self {
        Self { outputs: BTreeMap::new(), inputs: BTreeMap::new(), hot: 75.0 }
    }
}

/// One line of a GPIO chip: by its name (`line = "GPIO17"`), or by chip and number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The chip, such as `/dev/gpiochip0`. Not needed where the line has a name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chip: Option<PathBuf>,
    /// Name or number of the line.
    pub line: Line,
    /// Whether it is on at low voltage.
    #[serde(default)]
    pub active_low: bool,
}

/// Name or number of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Its place on the chip.
    Number(u32),
    /// Its name, as `gpioinfo` shows it.
    Name(String),
}

/// An input, and what it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// The chip, such as `/dev/gpiochip0`. Not needed where the line has a name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chip: Option<PathBuf>,
    /// Name or number of the line.
    pub line: Line,
    /// Whether it is on at low voltage.
    #[serde(default)]
    pub active_low: bool,
    /// What happens.
    #[serde(rename = "do")]
    pub deed: Deed,
}

/// What an input does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// As it goes on all cameras are looked at, moving or not: a motion sensor.
    Look,
    /// Armed as long as it is on: a key switch.
    Arm,
    /// Arms or disarms each time it goes on: a button.
    Toggle,
}

impl InputConfig {
    /// Its line.
    pub fn pin(&self) -> Pin {
        Pin { chip: self.chip.clone(), line: self.line.clone(), active_low: self.active_low }
    }
}

impl BoardConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String, help: &str| Err(Error::new(Code::Config, message, help));
        if !(40.0..=110.0).contains(&self.hot) {
            return refuse(
                format!("board: `hot` is {}, not between 40 and 110 degrees Celsius", self.hot),
                "75 suits a Raspberry Pi, which slows itself from 80",
            );
        }
        let inputs = self.inputs.iter().map(|(name, input)| (name, input.pin()));
        for (name, pin) in self.outputs.iter().map(|(name, pin)| (name, pin.clone())).chain(inputs) {
            if matches!(pin.line, Line::Number(_)) && pin.chip.is_none() {
                return refuse(
                    format!("board: {name} has a line's number but no chip"),
                    "write: chip = \"/dev/gpiochip0\", or give the line's name: line = \"GPIO17\" (gpioinfo lists them)",
                );
            }
        }
        Ok(())
    }
}
