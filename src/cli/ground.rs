//! `lookout ground`

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use crate::picture::{Mark, draw_marks};
use crate::sight::{Boxes, GroundOptions};

use super::args::{Global, PictureArg, text};
use super::console::{Console, Outcome};
use super::session::Session;

#[derive(Args)]
#[command(after_help = "Examples:
  lookout ground street.jpg \"the red car\"
  lookout ground street.jpg \"a person\" --threshold 0.2 --top 20 --out boxes.png

Boxes are x, y, width, height in pixels of the picture, best first.")]
pub(super) struct Ground {
    /// Picture file, file:// URI, or - for standard input
    picture: PictureArg,
    /// What to look for
    #[arg(value_parser = text())]
    phrase: String,
    /// Draw the boxes into this picture file (.png, .jpg, .webp ...)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Least score, 0 to 1
    #[arg(long, value_name = "SCORE", default_value_t = GroundOptions::default().threshold, value_parser = score)]
    threshold: f32,
    /// Most boxes
    #[arg(long, value_name = "N", default_value_t = GroundOptions::default().top,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    top: usize,
}

#[derive(Serialize)]
struct Drawn<'a> {
    #[serde(flatten)]
    boxes: &'a Boxes,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
}

impl Ground {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let session = Session::open(global, &self.picture)?;
        let options = GroundOptions { threshold: self.threshold, top: self.top };
        let boxes = session.looker.ground(&session.view, &self.phrase, &options)?;
        if let Some(path) = &self.out {
            let mark = |found: &crate::sight::Found| Mark {
                rect: found.rect,
                text: format!("{} {:.2}", self.phrase, found.score),
            };
            draw_marks(&session.picture, &boxes.boxes.iter().map(mark).collect::<Vec<_>>()).save(path)?;
        }
        let out = self.out.as_ref().map(|path| path.display().to_string());
        let drawn = Drawn { boxes: &boxes, out };
        session.reply(console, "ground", &drawn, || {
            let mut text = if boxes.boxes.is_empty() {
                format!("nothing reaches a score of {}\n", self.threshold)
            } else {
                format!("{:>7} {:>7} {:>7} {:>7}   score\n", "x", "y", "width", "height")
            };
            for found in &boxes.boxes {
                let [x, y, w, h] = found.rect;
                text += &format!("{x:7.0} {y:7.0} {w:7.0} {h:7.0}   {:5.2}\n", found.score);
            }
            if let Some(path) = &drawn.out {
                text += &format!("drawn into {path}\n");
            }
            text
        })
    }
}

fn score(typed: &str) -> Result<f32, String> {
    match typed.parse() {
        Ok(score) if (0.0..=1.0).contains(&score) => Ok(score),
        _ => Err("a score is a number from 0 to 1".to_owned()),
    }
}
