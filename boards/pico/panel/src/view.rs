//! What is to be seen.

use core::fmt::Write;

use heapless::String;
use lookout::protocol::{
    Answer, Event, Failure, FailureCode, Findings, Label, LabelScore, Score, Status, VERSION, Watch, text,
};

use crate::{Colour, Settings};

/// Most bytes of the words below a title: a caption and its score.
const MOST: usize = 320;

/// What is to be seen: on the display, and on the lamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// At most 21 characters are seen.
    pub title: String<48>,
    /// Lines are broken between words.
    pub body: String<MOST>,
    /// The lamp.
    pub colour: Colour,
}

impl View {
    fn new(title: &str, body: &str, colour: Colour) -> Self {
        Self { title: text(title), body: text(body), colour }
    }

    pub(crate) fn started(by_watchdog: bool) -> Self {
        let body = if by_watchdog { "Restarted by the watchdog: the board was stuck." } else { "Looking for lookout." };
        Self::new("lookout", body, Colour::Off)
    }

    pub(crate) fn silent(baud: u32) -> Self {
        let mut view = Self::new("No lookout", "", Colour::Yellow);
        view.say(format_args!("Nobody answers. Does it run, with [serial] at {baud} bits/s? Are TX and RX crossed?"));
        view
    }

    pub(crate) fn unreadable(baud: u32) -> Self {
        let mut view = Self::new("Wrong speed?", "", Colour::Yellow);
        view.say(format_args!("Bytes come, but make no sense. Set both ends to {baud} bits/s."));
        view
    }

    pub(crate) fn other_version(theirs: u8) -> Self {
        let newer = theirs > VERSION;
        let mut view = Self::new(if newer { "Update this board" } else { "Update lookout" }, "", Colour::Yellow);
        let remedy = if newer { "Flash newer firmware." } else { "Or flash older firmware." };
        view.say(format_args!("lookout speaks protocol {theirs}, this board {VERSION}. {remedy}"));
        view
    }

    pub(crate) fn idle(status: &Status) -> Self {
        let (word, colour) = match status.watch {
            Watch::Starting => ("Starting.", Colour::Off),
            Watch::Watching => ("Watching.", Colour::Off),
            Watch::Paused => ("Paused.", Colour::Off),
            Watch::Blind => ("The camera gives no pictures.", Colour::Yellow),
        };
        let mut view = Self::new("lookout", word, colour);
        view.say(format_args!("\n{} event{}", status.events, if status.events == 1 { "" } else { "s" }));
        if let Some(decidegrees) = status.decidegrees {
            view.say(format_args!("\n{} C", decidegrees / 10));
        }
        if status.throttled {
            view.say(format_args!(", slowed"));
        }
        view
    }

    pub(crate) fn asking() -> Self {
        Self::new("Looking...", "", Colour::Blue)
    }

    pub(crate) fn unanswered() -> Self {
        Self::new("No answer", "The question was not answered in time.", Colour::Red)
    }

    pub(crate) fn refused(failure: &Failure) -> Self {
        let title = match failure.code {
            FailureCode::Busy => "Busy",
            FailureCode::Unsupported => "Not possible",
            FailureCode::Question => "Bad question",
            FailureCode::Camera => "No picture",
            FailureCode::Frame => "Not understood",
            FailureCode::Internal => "It failed",
        };
        Self::new(title, &failure.text, Colour::Red)
    }

    pub(crate) fn answered(answer: &Answer, settings: &Settings) -> Self {
        match &answer.findings {
            Findings::Labels(labels) => Self::labels(labels, settings),
            Findings::Caption { text, score } => Self::scored("It sees", text, *score),
            Findings::Words { text, score } => Self::scored("It says", text, *score),
            Findings::Verdict { supported, score } => {
                let word = if *supported { "Yes" } else { "No" };
                let mut view = Self::new(word, "", if *supported { Colour::Green } else { Colour::Red });
                view.say(format_args!("{} %", percent(*score)));
                view
            }
            Findings::Boxes(boxes) => Self::count(boxes.len(), "found"),
            Findings::Events(events) => Self::count(events.len(), "events"),
            Findings::Snapshot { width, height, .. } => {
                let mut view = Self::new("A picture", "", Colour::White);
                view.say(format_args!("{width} x {height}"));
                view
            }
        }
    }

    pub(crate) fn event(event: &Event) -> Self {
        let mut view = Self::new(&event.trigger, &event.caption, Colour::Magenta);
        view.say(format_args!("\n{} %", percent(event.score)));
        view
    }

    fn labels(labels: &[LabelScore], settings: &Settings) -> Self {
        let name = |label: &Label| match label {
            Label::Is(name) => name.clone(),
            Label::None => text("none of these"),
        };
        let best = labels.first().map(|best| name(&best.label)).unwrap_or_default();
        let known = settings.labels.iter().find(|(label, _)| *label == best);
        let mut view = Self::new(&best, "", known.map_or(Colour::White, |(_, colour)| *colour));
        for LabelScore { label, score } in labels {
            view.say(format_args!("{:>3} % {}\n", percent(*score), name(label)));
        }
        view
    }

    fn scored(title: &str, words: &str, score: Score) -> Self {
        let mut view = Self::new(title, words, Colour::White);
        view.say(format_args!("\n{} %", percent(score)));
        view
    }

    fn count(count: usize, what: &str) -> Self {
        let mut view = Self::new("", "", if count == 0 { Colour::Off } else { Colour::White });
        // A number of at most eight, and a word.
        let _ = write!(view.title, "{count} {what}");
        view
    }

    /// Adds words, as far as there is room.
    fn say(&mut self, words: core::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(words);
    }
}

fn percent(score: Score) -> u16 {
    (u16::from(score) + 50) / 100
}
