//! What the program prints, and where.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::{Code, Error};

/// Result of a subcommand.
pub(super) type Outcome = Result<(), Stop>;

/// Why a subcommand stopped early.
pub(super) enum Stop {
    /// Nobody reads the output any more: no error, nothing more to say.
    Closed,
    /// It failed.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Standard output and standard error.
pub(super) struct Console {
    /// Whether answers and errors are JSON.
    pub json: bool,
    quiet: bool,
}

impl Console {
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Prints an answer: `value` on one line under `--json`, else the text that `human` makes.
    pub fn answer<T: Serialize>(&self, value: &T, human: impl FnOnce() -> String) -> Outcome {
        if !self.json {
            return self.bytes(human().as_bytes());
        }
        let mut line = serde_json::to_vec(value).map_err(|error| {
            Error::new(Code::Output, format!("the answer cannot be written as JSON: {error}"), "leave out --json")
        })?;
        line.push(b'\n');
        self.bytes(&line)
    }

    /// Writes to standard output in one go.
    pub fn bytes(&self, bytes: &[u8]) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Closed,
            _ => Error::new(
                Code::Output,
                format!("standard output cannot be written: {error}"),
                "is the disk full, or the output closed?",
            )
            .into(),
        })
    }

    /// Reports a failure: to standard error, or under `--json` to standard output.
    pub fn error(&self, error: &Error) -> Outcome {
        if self.json {
            let body = ErrorBody { code: error.code().as_str(), message: error.message(), help: error.help() };
            return self.answer(&ErrorLine { error: body }, String::new);
        }
        let mut text = format!("error: {}\n", error.message());
        if !error.help().is_empty() {
            text += &format!("  help: {}\n", error.help());
        }
        let _ = io::stderr().write_all(text.as_bytes());
        Ok(())
    }

    /// A line on standard error about long work.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// A progress bar on standard error, shown only on a terminal.
    pub fn bar(&self, what: &str) -> Bar {
        self.bar_like(what, "{msg} {bar:30} {pos}/{len} {elapsed} (left {eta})")
    }

    /// A progress bar of bytes, likewise.
    pub fn bytes_bar(&self, what: &str) -> Bar {
        self.bar_like(what, "{msg:12} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} (left {eta})")
    }

    fn bar_like(&self, what: &str, template: &str) -> Bar {
        let target = if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Bar(bar)
    }
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'static str,
    message: &'a str,
    help: &'a str,
}

/// A progress bar that clears itself when it goes.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// `done` of `total` steps are done.
    pub fn at(&self, done: usize, total: usize) {
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A share of 1 as 20 cells and a percentage.
pub(super) fn share(score: f32) -> String {
    let full = (score.clamp(0.0, 1.0) * 20.0).round() as usize;
    format!("{}{} {:5.1} %", "█".repeat(full), "░".repeat(20 - full), score * 100.0)
}

/// `text` in a column of `width` characters: padded, or cut with an ellipsis.
pub(super) fn column(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return format!("{text}{}", " ".repeat(width - length));
    }
    format!("{}…", text.chars().take(width.saturating_sub(1)).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_one_width() {
        for text in ["", "a", "exactly10!", "longer than ten", "ünïcödé ✓ and more"] {
            assert_eq!(column(text, 10).chars().count(), 10, "{text}");
        }
    }

    #[test]
    fn a_share_out_of_range_does_not_break_the_bar() {
        assert!(share(1.5).starts_with(&"█".repeat(20)));
        assert!(share(f32::NAN).contains("NaN"));
    }
}
