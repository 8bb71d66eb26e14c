//! How the serial line is set.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Code, Error, Result, seconds};

/// Speeds that a port may be set to, in bits a second.
const SPEEDS: std::ops::RangeInclusive<u32> = 1_200..=3_000_000;

/// A serial line: 8 data bits, no parity, one stop bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialConfig {
    /// The port: `/dev/ttyUSB0`, `/dev/ttyGS0`, `/dev/serial0`. It need not be there yet.
    pub port: PathBuf,
    /// Bits a second, 1,200 to 3,000,000. A USB port ignores it.
    #[serde(default = "common_speed")]
    pub baud: u32,
    /// Whether the port has RTS and CTS wires that tell when to wait.
    #[serde(default)]
    pub rtscts: bool,
    /// Whether events are told as lines before anybody asked for them by `events on`. Whoever speaks in frames has them
    /// anyway.
    #[serde(default)]
    pub events: bool,
    /// Whether what is typed is shown, until `echo off`. Most terminals have a setting for it of their own.
    #[serde(default)]
    pub echo: bool,
    /// How long a question may wait for its answer.
    #[serde(default = "half_a_minute", with = "seconds")]
    pub patience: Duration,
}

impl SerialConfig {
    /// This port with everything else as it is by default.
    pub fn new(port: impl Into<PathBuf>) -> Self {
        Self {
            port: port.into(),
            baud: common_speed(),
            rtscts: false,
            events: false,
            echo: false,
            patience: half_a_minute(),
        }
    }

    /// Refuses what makes no sense. Whether the port is there is not asked: it may come later.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String, help: &str| Err(Error::new(Code::Config, message, help));
        if !self.port.is_absolute() {
            return refuse(
                format!("serial: `port` is {:?}, which is no device", self.port),
                "give its whole path: port = \"/dev/ttyUSB0\"; `ls /dev/serial/by-id` shows those there are",
            );
        }
        if self.port.is_dir() {
            return refuse(format!("serial: `port` {} is a folder", self.port.display()), "give a port in it");
        }
        if !SPEEDS.contains(&self.baud) {
            return refuse(
                format!("serial: `baud` is {}, not {} to {}", self.baud, SPEEDS.start(), SPEEDS.end()),
                "115200 is the most common; both ends must have the same",
            );
        }
        if self.patience.is_zero() {
            return refuse("serial: `patience` is 0".to_owned(), "leave it out for 30s");
        }
        Ok(())
    }
}

fn common_speed() -> u32 {
    115_200
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_enough() {
        let config: SerialConfig = toml::from_str("port = \"/dev/ttyUSB0\"").unwrap();
        assert_eq!(config, SerialConfig::new("/dev/ttyUSB0"));
        assert_eq!(config.baud, 115_200);
        config.check().unwrap();
        let again: SerialConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_remedy() {
        for (text, cause) in [
            ("port = \"ttyUSB0\"", "no device"),
            ("port = \"/dev\"", "folder"),
            ("port = \"/dev/ttyS0\"\nbaud = 300", "`baud` is 300"),
            ("port = \"/dev/ttyS0\"\nbaud = 3000001", "`baud` is 3000001"),
            ("port = \"/dev/ttyS0\"\npatience = \"0s\"", "`patience`"),
        ] {
            let error = toml::from_str::<SerialConfig>(text).unwrap().check().unwrap_err();
            assert!(error.message().contains(cause) && !error.help().is_empty(), "{text}: {error}");
        }
        let unknown = toml::from_str::<SerialConfig>("port = \"/dev/ttyS0\"\nbauds = 9600").unwrap_err();
        assert!(unknown.message().contains("unknown field `bauds`"), "{unknown}");
    }
}
