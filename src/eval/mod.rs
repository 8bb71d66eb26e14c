//! The published metrics, over a `.tar` of pictures and a `.jsonl` of rows, so that anyone can measure a bundle on
//! their own pictures.
//!
//! | task | a row | keys of the result, in percent |
//! |---|---|---|
//! | `label` | `image`, `label` | `top1 top5 ece` over the distinct labels of all rows; `none_auroc` |
//! | `caption` | `image`, `captions` | `bleu1 bleu4 rouge_l cider`, the numbers of pycocoevalcap |
//! | `ground` | `image`, `phrases` of `phrase` and `boxes` (`[x, y, width, height]` in fractions) | `acc_iou50 pointing` over phrases with one box |
//! | `retrieve` | `image`, `captions` | `i2t_r1 i2t_r5 i2t_r10 t2i_r1 t2i_r5 t2i_r10`; the same behind `reranked_` with [`Options::rerank`] |
//! | `ask` | `image`, `question`, `answer` | `exact ece` |
//! | `check` | `image`, `captions`, optional `swapped` (pairs of a true and a wrong sentence) | `auroc_other auroc_swapped ece` |
//!
//! `none_auroc` is how well the score of "none of these" tells pictures whose own label was left out from those where it
//! was there (AUROC); it needs two labels. `auroc_other` tells captions from those of another picture, `auroc_swapped`
//! from the wrong sentences of the rows that have some. The `ece` of `check` gives true captions and wrong sentences the
//! same weight, and so the two kinds of wrong ones.
//!
//! Each also gives `task`, `n` (what was counted: pictures, phrases, questions or sentences), `bundle` and `seconds`. Other fields
//! of a row are ignored. One picture is in memory at a time; `retrieve` holds every embedding, `caption` and `check` every caption.

pub mod metrics;
mod set;
mod tasks;

use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::sight::Looker;
use crate::{Code, Error, Result};

pub use set::{Row, Set};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Zero-shot labelling.
    Label,
    /// Captions against what people wrote.
    Caption,
    /// Boxes of phrases.
    Ground,
    /// Pictures by captions and captions by pictures.
    Retrieve,
    /// Answers to questions.
    Ask,
    /// Sentences that the picture supports, and such that it does not.
    Check,
}

impl Task {
    /// Every task, in the order of the documentation.
    pub const ALL: [Task; 6] = [Task::Label, Task::Caption, Task::Ground, Task::Retrieve, Task::Ask, Task::Check];

    /// The name on the command line and in the result.
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Label => "label",
            Task::Caption => "caption",
            Task::Ground => "ground",
            Task::Retrieve => "retrieve",
            Task::Ask => "ask",
            Task::Check => "check",
        }
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Task::ALL.into_iter().find(|task| task.as_str() == name).ok_or_else(|| {
            let message = format!("there is no eval task {name:?}");
            Error::new(Code::Usage, message, "the tasks are label, caption, ground, retrieve, ask and check")
        })
    }
}

/// How to measure. The default is all rows, by the cosine alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Only so many rows.
    pub limit: Option<usize>,
    /// Of [`Task::Retrieve`]: how many of the nearest are put into order again by what the speaker would say; 0 is none.
    pub rerank: usize,
}

/// Measures `looker` on the pictures in `images` (a `.tar`) by the rows of `rows` (a `.jsonl`).
/// `progress` hears how many steps of how many are done.
///
/// Errors: an unreadable file, a row without the fields of the task, a picture missing from the archive, a bundle that
/// lacks the part the task needs.
pub fn run(
    task: Task,
    looker: &Looker,
    images: &Path,
    rows: &Path,
    options: Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Map<String, Value>> {
    let begin = Instant::now();
    let set = Set::open(images, rows, options.limit)?;
    let measured = match task {
        Task::Label => tasks::label(looker, &set, progress),
        Task::Caption => tasks::caption(looker, &set, progress),
        Task::Ground => tasks::ground(looker, &set, progress),
        Task::Retrieve => tasks::retrieve(looker, &set, options.rerank, progress),
        Task::Ask => tasks::ask(looker, &set, progress),
        Task::Check => tasks::check(looker, &set, progress),
    }?;
    let mut result = Map::new();
    result.insert("task".to_owned(), task.as_str().into());
    result.extend(measured.scores.into_iter().map(|(key, score)| (key.to_owned(), metrics::percent(score).into())));
    result.insert("n".to_owned(), measured.counted.into());
    result.insert("bundle".to_owned(), looker.identity().into());
    result.insert("seconds".to_owned(), ((begin.elapsed().as_secs_f64() * 10.0).round() / 10.0).into());
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_known_by_its_name_and_a_wrong_name_lists_the_right_ones() {
        for task in Task::ALL {
            assert_eq!(task.as_str().parse::<Task>().unwrap(), task);
        }
        let error = "labels".parse::<Task>().unwrap_err();
        assert_eq!(error.code(), Code::Usage);
        assert!(error.message().contains("labels") && error.help().contains("retrieve"), "{error:?}");
    }
}
