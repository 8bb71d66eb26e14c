//! A trigger as it is written in the configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Code, Error, Result};

use crate::seconds;

/// Most bytes in a trigger's or camera's name.
pub const MAX_NAME: usize = 48;

/// When to begin and end events, and what to do about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Letters, digits, `-` and `_`, at most [`MAX_NAME`]. It is part of topics and file names.
    pub name: String,
    /// What must be seen, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What must not be seen instead: words that compete with `when` for the score.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unless: Vec<String>,
    /// A picture of what must be seen, in place of `when`. Its score is the cosine of the two embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<PathBuf>,
    /// Names of the cameras it watches; all of them where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cameras: Vec<String>,
    /// Name of the camera's zone that is looked at; the whole picture where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Hours of the day, in local time, in which events may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// Calibrated score from which an event begins, `0..=1`.
    #[serde(default = "half")]
    pub threshold: f32,
    /// Score below which it ends; four fifths of the threshold where nothing is said. What wobbles between the two
    /// neither begins nor ends an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<f32>,
    /// How long the score must stay at the threshold before the event begins.
    #[serde(default, with = "seconds", skip_serializing_if = "Duration::is_zero")]
    pub hold: Duration,
    /// How long the score must stay below `release` before the event ends.
    #[serde(default = "two_seconds", with = "seconds")]
    pub linger: Duration,
    /// How long after an event none begins.
    #[serde(default, with = "seconds", skip_serializing_if = "Duration::is_zero")]
    pub cooldown: Duration,
    /// Whether events may begin.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether an event has a caption.
    #[serde(default = "yes")]
    pub caption: bool,
    /// A phrase whose boxes an event has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground: Option<String>,
    /// Whether the picture is kept.
    #[serde(default = "yes")]
    pub snapshot: bool,
    /// Whether events go out by MQTT.
    #[serde(default = "yes")]
    pub mqtt: bool,
    /// Whether events go out on the serial line.
    #[serde(default = "yes")]
    pub serial: bool,
    /// Name of a GPIO output that is on as long as the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpio: Option<String>,
    /// A program and its arguments, run when an event begins and when it ends. The event is its standard input, as JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

/// A difference between the triggers of the configuration file and those in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Name of the trigger.
    pub name: String,
    /// What was done while running.
    pub edit: EditKind,
}

/// What was done to a trigger while running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EditKind {
    /// The file has it otherwise.
    Changed,
    /// The file does not have it.
    Added,
    /// The file has it.
    Removed,
}

impl Trigger {
    /// Score below which an event ends.
    pub fn release(&self) -> f32 {
        self.release.unwrap_or(self.threshold * 0.8)
    }

    /// Refuses what makes no sense by itself. Names of cameras, zones and outputs are checked by who knows them.
    pub fn check(&self) -> Result<()> {
        let name = &self.name;
        check_name("trigger", name)?;
        let refuse = |cause: &str, help: &str| Err(Error::new(Code::Config, format!("trigger {name}: {cause}"), help));
        let blank = |words: &String| words.trim().is_empty();
        match (&self.when, &self.like) {
            (None, None) => {
                return refuse("it says neither `when` nor `like`", "write: when = \"a person at the door\"");
            }
            (Some(_), Some(_)) => return refuse("it says both `when` and `like`", "leave one of them out"),
            (Some(words), None) if blank(words) => return refuse("`when` is empty", "say what must be seen"),
            (None, Some(_)) if !self.unless.is_empty() => {
                return refuse("`unless` goes with `when`, not with `like`", "leave `unless` out");
            }
            _ => {}
        }
        if self.unless.iter().any(blank) {
            return refuse("`unless` has an empty entry", "leave it out, or give it words");
        }
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            return refuse(
                "`threshold` is not above 0 and at most 1",
                "0.5 is a sound start; the web page shows live scores",
            );
        }
        if let Some(release) = self.release
            && !(0.0..=self.threshold).contains(&release)
        {
            return refuse(
                "`release` is not between 0 and `threshold`",
                "leave it out for four fifths of the threshold",
            );
        }
        if self.ground.as_ref().is_some_and(blank) {
            return refuse("`ground` is empty", "give the phrase whose boxes are wanted, or leave it out");
        }
        if self.command.first().is_some_and(blank) {
            return refuse("`command` has no program", "write: command = [\"/usr/local/bin/ring\", \"once\"]");
        }
        Ok(())
    }
}

/// Refuses a name that would not do in a topic or a file name. `kind` is what bears it.
pub fn check_name(kind: &str, name: &str) -> Result<()> {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(sound) {
        return Ok(());
    }
    let shown: String = name.chars().take(60).collect();
    Err(Error::new(
        Code::Config,
        format!("{shown:?} cannot be the name of a {kind}"),
        format!("use 1 to {MAX_NAME} letters, digits, - and _"),
    ))
}

/// A part of the day, which may go over midnight: `08:00-18:30`, `22:00-06:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    /// Minutes after midnight, the first that belongs.
    from: u16,
    /// Minutes after midnight, the first that does not.
    to: u16,
}

impl Hours {
    /// Whether a time of day, in minutes after midnight, belongs.
    pub fn contains(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no part of a day: write 08:00-18:30, or 22:00-06:00 over midnight");
        let minutes = |time: &str| -> Option<u16> {
            let (hour, minute) = time.trim().split_once(':')?;
            let digits = |part: &str| (part.len() <= 2).then(|| part.parse::<u16>().ok())?;
            let (hour, minute) = (digits(hour)?, digits(minute)?);
            (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
        };
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        match (minutes(from), minutes(to)) {
            (Some(from), Some(to)) if from != to => Ok(Self { from, to }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        hours.to_string()
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

fn half() -> f32 {
    0.5
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(toml: &str) -> Result<Trigger> {
        let trigger: Trigger = toml::from_str(toml).map_err(|e| Error::new(Code::Config, e.message(), ""))?;
        trigger.check().map(|()| trigger)
    }

    #[test]
    fn a_name_and_words_are_enough() {
        let trigger = trigger("name = \"door\"\nwhen = \"a person at the door\"").unwrap();
        assert_eq!(trigger.threshold, 0.5);
        assert!((trigger.release() - 0.4).abs() < 1e-6);
        assert!(trigger.snapshot && trigger.caption && trigger.mqtt && trigger.enabled);
    }

    #[test]
    fn a_trigger_survives_being_written_and_read() {
        let text = "name = \"a\"\nwhen = \"b\"\nunless = [\"c\"]\nhours = \"22:00-06:00\"\nhold = \"1s 500ms\"\nthreshold = 0.75";
        let read = trigger(text).unwrap();
        assert_eq!(read.hold, Duration::from_millis(1500));
        assert_eq!(trigger(&toml::to_string(&read).unwrap()).unwrap(), read);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        for (text, cause) in [
            ("name = \"x\"", "neither"),
            ("name = \"x\"\nwhen = \"a\"\nlike = \"b.jpg\"", "both"),
            ("name = \"x\"\nwhen = \" \"", "`when` is empty"),
            ("name = \"x\"\nlike = \"b.jpg\"\nunless = [\"c\"]", "`unless` goes with"),
            ("name = \"x\"\nwhen = \"a\"\nthreshold = 1.5", "`threshold`"),
            ("name = \"x\"\nwhen = \"a\"\nthreshold = nan", "`threshold`"),
            ("name = \"x\"\nwhen = \"a\"\nrelease = 0.9", "`release`"),
            ("name = \"a/b\"\nwhen = \"a\"", "cannot be the name"),
            ("name = \"x\"\nwhen = \"a\"\ntreshold = 0.9", "unknown field"),
            ("name = \"x\"\nwhen = \"a\"\nhold = \"soon\"", "soon"),
            ("name = \"x\"\nwhen = \"a\"\nhours = \"25:00-26:00\"", "no part of a day"),
        ] {
            let error = trigger(text).unwrap_err();
            assert!(error.message().contains(cause), "{text}: {error}");
        }
    }

    #[test]
    fn hours_go_over_midnight() {
        let night: Hours = "22:00-06:00".parse().unwrap();
        assert!(night.contains(23 * 60) && night.contains(0) && night.contains(5 * 60 + 59));
        assert!(!night.contains(6 * 60) && !night.contains(12 * 60));
        let day: Hours = "08:00-24:00".parse().unwrap();
        assert!(day.contains(8 * 60) && day.contains(23 * 60 + 59) && !day.contains(7 * 60));
        assert_eq!(night.to_string(), "22:00-06:00");
    }
}
