//! `lookout ask`

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::sight::SpeakOptions;

use super::args::{Global, PictureArg, text};
use super::console::{Console, Outcome};
use super::session::Session;

#[derive(Args)]
#[command(after_help = "Examples:
  lookout ask room.jpg \"how many chairs are there?\"
  lookout ask room.jpg \"what is on the table?\" --json

The score is the model's own confidence in its words.")]
pub(super) struct Ask {
    /// Picture file, file:// URI, or - for standard input
    picture: PictureArg,
    /// The question
    #[arg(value_parser = text())]
    question: String,
    /// Width of the beam search, 1 is greedy [default: the bundle's]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=32))]
    beams: Option<usize>,
}

impl Ask {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let session = Session::open(global, &self.picture)?;
        let options = SpeakOptions { beams: self.beams, ..SpeakOptions::default() };
        let answer = session.looker.ask(&session.view, &self.question, &options)?;
        session.reply(console, "ask", &answer, || format!("{}\n  score {:.2}\n", answer.answer, answer.score))
    }
}
