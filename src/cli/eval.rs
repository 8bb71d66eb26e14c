//! `lookout eval`

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};

use crate::eval::{self, Task};
use crate::sight::Looker;
use crate::{Code, Error};

use super::args::Global;
use super::console::{Console, Outcome};

#[derive(Args)]
#[command(after_help = "Examples:
  lookout eval retrieve --images dev.tar --rows dev.jsonl
  lookout eval retrieve --images dev.tar --rows dev.jsonl --rerank 10
  lookout eval caption --images dev.tar --rows dev.jsonl --limit 100 --json

A row is one JSON object a line: \"image\" (a file of the .tar) and what the task needs: \"label\";
\"captions\"; \"phrases\" of \"phrase\" and \"boxes\" ([x, y, width, height] in fractions); \"question\"
and \"answer\"; or, for check, \"captions\" and \"swapped\", pairs of a true and a wrong sentence. Scores
are percentages.")]
pub(super) struct Eval {
    /// What to measure
    #[arg(value_parser = task())]
    task: Task,
    /// Pictures: a .tar
    #[arg(long, value_name = "TAR")]
    images: PathBuf,
    /// What is true of them: a .jsonl
    #[arg(long, value_name = "JSONL")]
    rows: PathBuf,
    /// Only the first N rows
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: Option<usize>,
    /// For retrieve: put the N nearest into order again by what the speaker would say, and print that recall too
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    rerank: usize,
}

impl Eval {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        if self.rerank > 0 && self.task != Task::Retrieve {
            let message = format!("--rerank goes with retrieve, not with {}", self.task.as_str());
            return Err(Error::new(Code::Usage, message, "leave it out").into());
        }
        let looker = Looker::open(global.open_bundle()?, global.options())?;
        let bar = console.bar(self.task.as_str());
        let options = eval::Options { limit: self.limit, rerank: self.rerank };
        let found = eval::run(self.task, &looker, &self.images, &self.rows, options, &mut |done, total| {
            bar.at(done, total);
        })?;
        drop(bar);
        console.answer(&found, || {
            let plain = |value: &serde_json::Value| match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Number(number) if number.is_f64() => {
                    format!("{:.2}", number.as_f64().unwrap_or(0.0))
                }
                other => other.to_string(),
            };
            found.iter().map(|(key, value)| format!("{key:16} {}\n", plain(value))).collect()
        })
    }
}

fn task() -> impl TypedValueParser<Value = Task> {
    PossibleValuesParser::new(Task::ALL.map(Task::as_str)).try_map(|name| name.parse::<Task>())
}
