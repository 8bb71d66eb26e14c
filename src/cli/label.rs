//! `lookout label`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::sight::Labels;
use crate::text::parse_labels;
use crate::{Code, Error, Result};

use super::args::{Global, PictureArg, text};
use super::console::{Console, Outcome, column, share};
use super::session::Session;

/// From this many new labels on a progress bar is shown.
const MANY: usize = 100;

/// Largest file of labels, in bytes.
const MAX_LABELS_FILE: u64 = 64 << 20;

#[derive(Args)]
#[command(after_help = "Examples:
  lookout label cat.jpg --labels \"a dog, a cat, an empty sofa\"
  lookout label - --labels-file words.txt --top 3 --json < cat.jpg

Scores are probabilities; what is missing to 100 % is \"none of these\".")]
pub(super) struct Label {
    /// Picture file, file:// URI, or - for standard input
    picture: PictureArg,
    /// Labels, separated by commas
    #[arg(long, value_name = "LABELS", value_parser = text(), required_unless_present = "labels_file")]
    labels: Option<String>,
    /// File of labels, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    labels_file: Option<PathBuf>,
    /// Print only the best N [default: 10 for people, all under --json]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    top: Option<usize>,
}

#[derive(Serialize)]
struct Shown<'a> {
    labels: &'a [crate::sight::Label],
    none: f32,
}

impl Label {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let labels = self.words()?;
        let session = Session::open(global, &self.picture)?;
        if labels.len() >= MANY {
            let bar = console.bar("labels");
            session.looker.embed_labels(&labels, &mut |done, total| bar.at(done, total))?;
        }
        let answer = session.looker.label(&session.view, &labels)?;
        let most = self.top.unwrap_or(if console.json { usize::MAX } else { 10 });
        let shown = Shown { labels: &answer.labels[..answer.labels.len().min(most)], none: answer.none };
        session.reply(console, "label", &shown, || table(&answer, most))
    }

    fn words(&self) -> Result<Vec<String>> {
        let Some(file) = &self.labels_file else { return parse_labels(self.labels.as_deref().unwrap_or_default()) };
        let unusable = |cause: String| {
            let message = format!("the labels file {} {cause}", file.display());
            Error::new(Code::Input, message, "give a UTF-8 text file with one label a line")
        };
        let size = std::fs::metadata(file).map_err(|error| unusable(format!("cannot be read: {error}")))?.len();
        if size > MAX_LABELS_FILE {
            return Err(unusable(format!("has {size} bytes, more than {MAX_LABELS_FILE}")));
        }
        let bytes = std::fs::read(file).map_err(|error| unusable(format!("cannot be read: {error}")))?;
        let words = String::from_utf8(bytes)
            .map_err(|error| unusable(format!("is not UTF-8 text (byte {})", error.utf8_error().valid_up_to())))?;
        let mut seen = std::collections::HashSet::new();
        let labels: Vec<String> = words
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && seen.insert(*line))
            .map(str::to_owned)
            .collect();
        if labels.is_empty() { Err(unusable("has no labels in it".to_owned())) } else { Ok(labels) }
    }
}

/// The best labels and "none of these" with bars.
fn table(answer: &Labels, most: usize) -> String {
    let none = "none of these";
    let shown = &answer.labels[..answer.labels.len().min(most)];
    let longest = shown.iter().map(|label| label.label.chars().count()).chain([none.len()]).max().unwrap_or(0);
    let width = longest.min(48);
    let mut text: String =
        shown.iter().map(|label| format!("{}  {}\n", column(&label.label, width), share(label.score))).collect();
    let left = answer.labels.len() - shown.len();
    if left > 0 {
        let rest = answer.labels[shown.len()..].iter().map(|label| label.score).sum();
        text += &format!("{}  {}\n", column(&format!("({left} more)"), width), share(rest));
    }
    text + &format!("{}  {}\n", column(none, width), share(answer.none))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_says_what_it_leaves_out() {
        let label = |label: &str, score| crate::sight::Label { label: label.to_owned(), score };
        let answer = Labels {
            labels: vec![label("a cat", 0.7), label("ein hübscher Hund", 0.2), label("x", 0.05)],
            none: 0.05,
        };
        let text = table(&answer, 2);
        let starts: Vec<_> = text.lines().map(|line| line.chars().position(|c| "█░".contains(c))).collect();
        assert_eq!(starts, vec![Some(19); 4], "{text}");
        assert!(text.contains("(1 more)") && text.contains("70.0 %") && text.contains("none of these"));
    }
}
