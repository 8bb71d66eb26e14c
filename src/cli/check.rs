//! `lookout check`

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use crate::sight::{Caption, MAX_SAMPLES, SpeakOptions, Support};

use super::args::{Global, PictureArg, text};
use super::console::{Console, Outcome};
use super::session::Session;

#[derive(Args)]
#[command(after_help = "Examples:
  lookout check cat.jpg \"a cat sitting on a couch\"
  lookout check cat.jpg                    checks the bundle's own caption, with the agreement of samples

The score is the probability that the picture supports the sentence; from 0.5 on it counts as supported.")]
pub(super) struct Check {
    /// Picture file, file:// URI, or - for standard input
    picture: PictureArg,
    /// The sentence [default: the caption that the bundle gives the picture]
    #[arg(value_parser = text())]
    sentence: Option<String>,
    /// Captions sampled for the agreement, where the sentence is the bundle's own
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with = "sentence",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_SAMPLES as u64))]
    samples: usize,
}

#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    support: Support,
    #[serde(flatten)]
    own: Option<Own>,
}

/// A sentence of the bundle's own. Its `score` is the support's.
#[derive(Serialize)]
struct Own {
    caption: String,
    agreement: Option<f32>,
    samples: Vec<String>,
}

impl Check {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let session = Session::open(global, &self.picture)?;
        let (looker, view) = (&session.looker, &session.view);
        let own = match &self.sentence {
            Some(_) => None,
            None => {
                let options = SpeakOptions { samples: self.samples, ..SpeakOptions::default() };
                let Caption { caption, instead_of, agreement, samples, .. } = looker.caption(view, &options)?;
                let caption = instead_of.unwrap_or(caption);
                Some(Own { caption, agreement, samples })
            }
        };
        let sentence = self.sentence.as_deref().or(own.as_ref().map(|own| own.caption.as_str())).unwrap_or_default();
        let checked = Checked { support: looker.check(view, sentence)?, own };
        session.reply(console, "check", &checked, || {
            let verdict = if checked.support.supported { "supported" } else { "not supported" };
            let mut text = String::new();
            if let Some(own) = &checked.own {
                text += &format!("{}\n  ", own.caption);
            }
            text += &format!("{verdict}, score {:.2}", checked.support.score);
            if let Some(agreement) = checked.own.as_ref().and_then(|own| own.agreement) {
                text += &format!(", agreement {agreement:.2} with {} samples", self.samples);
            }
            text + "\n"
        })
    }
}
