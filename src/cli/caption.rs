//! `lookout caption`

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::sight::{MAX_SAMPLES, SpeakOptions};

use super::args::{Global, PictureArg};
use super::console::{Console, Outcome};
use super::session::Session;

#[derive(Args)]
#[command(after_help = "Examples:
  lookout caption cat.jpg
  lookout caption cat.jpg --samples 5 --json

The score is the probability that the picture supports the caption. Where it does not support what the
model says, the picture is called by the name of a thing that is surely there, if there is one. With
--samples the agreement says whether the model would say much the same again: a low one hints at a
made-up caption.")]
pub(super) struct Caption {
    /// Picture file, file:// URI, or - for standard input
    picture: PictureArg,
    /// Width of the beam search, 1 is greedy [default: the bundle's]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=32))]
    beams: Option<usize>,
    /// Sample N more captions and report their agreement
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=MAX_SAMPLES as u64))]
    samples: usize,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl Caption {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let session = Session::open(global, &self.picture)?;
        let options = SpeakOptions { beams: self.beams, samples: self.samples, seed: self.seed };
        let answer = session.looker.caption(&session.view, &options)?;
        session.reply(console, "caption", &answer, || {
            let mut text = format!("{}\n  score {:.2}", answer.caption, answer.score);
            if let Some(said) = &answer.instead_of {
                text += &format!(", instead of \"{said}\"");
            }
            if let Some(agreement) = answer.agreement {
                text += &format!(", agreement {agreement:.2} with {} samples:\n", answer.samples.len());
                text += &answer.samples.iter().map(|said| format!("    {said}\n")).collect::<String>();
            } else {
                text.push('\n');
            }
            text
        })
    }
}
