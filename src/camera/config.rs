//! What a configuration file says about a camera.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CameraOptions, Uri};
use crate::{Code, Error, Result};

/// One camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// Its name, in events, topics and logs.
    pub name: String,
    /// Its address: `v4l2:///dev/video0`, `folder:PATH`, `http://...`, `cmd:...`.
    pub source: String,
    /// Most frames a second that are looked at, `0.001..=120`.
    #[serde(default = "default_fps")]
    pub fps: f32,
    /// How long no frame may come before the camera is opened again, 100 ms to one hour.
    #[serde(default = "default_stall", with = "crate::seconds")]
    pub stall: Duration,
    /// Degrees by which its pictures are turned clockwise: 0, 90, 180 or 270.
    #[serde(default)]
    pub rotate: Rotate,
}

/// By how many degrees pictures are turned clockwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Rotate {
    /// Not at all.
    #[default]
    None,
    /// 90 degrees: what was at the left is on top.
    Right,
    /// 180 degrees.
    Over,
    /// 270 degrees: what was at the right is on top.
    Left,
}

impl CameraConfig {
    /// A camera with the usual settings.
    pub fn new(name: &str, source: &str) -> Self {
        let (fps, stall) = (default_fps(), default_stall());
        Self { name: name.to_owned(), source: source.to_owned(), fps, stall, rotate: Rotate::None }
    }

    /// The address, or what is wrong with these settings.
    pub fn check(&self) -> Result<Uri> {
        let wrong = |cause: String, help: &str| {
            Err(Error::new(Code::Config, format!("camera {:?}: {cause}", self.name), help.to_owned()))
        };
        if self.name.is_empty()
            || self.name.len() > 60
            || self.name.chars().any(|c| c.is_control() || "/+#".contains(c))
        {
            return wrong("its name is not usable".into(), "use 1 to 60 bytes without / + # and control characters");
        }
        if !(0.001..=120.0).contains(&self.fps) {
            return wrong(
                format!("fps = {} is out of range", self.fps),
                "use 0.001 to 120 frames a second; 5 is usual",
            );
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&self.stall) {
            return wrong(format!("stall = {:?} is out of range", self.stall), "use 100ms to 1h; 5s is usual");
        }
        Uri::parse(&self.source)
            .map_err(|error| Error::new(Code::Config, format!("camera {:?}: {error}", self.name), error.help()))
    }

    /// How to run it.
    pub fn options(&self) -> CameraOptions {
        CameraOptions { fps: self.fps, stall: self.stall, rotate: self.rotate, bell: None, quiet: false }
    }
}

impl TryFrom<u16> for Rotate {
    type Error = String;

    fn try_from(degrees: u16) -> Result<Self, String> {
        match degrees {
            0 => Ok(Self::None),
            90 => Ok(Self::Right),
            180 => Ok(Self::Over),
            270 => Ok(Self::Left),
            _ => Err(format!("pictures cannot be turned by {degrees} degrees: write 0, 90, 180 or 270")),
        }
    }
}

impl From<Rotate> for u16 {
    fn from(rotate: Rotate) -> u16 {
        match rotate {
            Rotate::None => 0,
            Rotate::Right => 90,
            Rotate::Over => 180,
            Rotate::Left => 270,
        }
    }
}

fn default_fps() -> f32 {
    5.0
}

fn default_stall() -> Duration {
    Duration::from_secs(5)
}
