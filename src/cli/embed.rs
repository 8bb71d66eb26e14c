//! `lookout embed`

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::sight::Looker;

use super::args::{Global, PictureArg, text};
use super::console::{Console, Outcome};
use super::session::{Ms, Session, ms_since};

#[derive(Args)]
#[command(override_usage = "lookout embed [OPTIONS] <PICTURE>\n       lookout embed [OPTIONS] --text <TEXT>")]
#[command(after_help = "Examples:
  lookout embed cat.jpg --json
  lookout embed --text \"a cat on a sofa\" --json

The embedding has length 1: the cosine of two is the sum of their products. Compare only embeddings
with the same \"bundle\".")]
pub(super) struct Embed {
    /// Picture file, file:// URI, or - for standard input
    #[arg(required_unless_present = "text")]
    picture: Option<PictureArg>,
    /// Embed this sentence instead of a picture
    #[arg(long, value_name = "TEXT", value_parser = text(), conflicts_with = "picture")]
    text: Option<String>,
}

#[derive(Serialize)]
struct Embedding<'a> {
    embedding: &'a [f32],
}

#[derive(Serialize)]
struct TextReply<'a> {
    task: &'static str,
    bundle: &'a str,
    text: &'a str,
    embedding: &'a [f32],
    ms: Ms,
}

impl Embed {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        match (&self.picture, &self.text) {
            (Some(picture), _) => {
                let session = Session::open(global, picture)?;
                let embedding = &session.view.embedding;
                session
                    .reply(console, "embed", &Embedding { embedding }, || listing(session.looker.identity(), embedding))
            }
            (None, text) => {
                let text = text.as_deref().unwrap_or_default();
                let looker = Looker::open(global.open_bundle()?, global.options())?;
                let begin = Instant::now();
                let embedding = &looker.embed_text(text)?;
                let ms = Ms::new(0.0, ms_since(begin), 0.0);
                let reply = TextReply { task: "embed", bundle: looker.identity(), text, embedding, ms };
                console.answer(&reply, || listing(looker.identity(), embedding))
            }
        }
    }
}

/// All numbers, eight a line.
fn listing(identity: &str, embedding: &[f32]) -> String {
    let mut text = format!("{} floats of {identity}\n", embedding.len());
    for row in embedding.chunks(8) {
        text += &row.iter().map(|value| format!("{value:9.5}")).collect::<Vec<_>>().join(" ");
        text.push('\n');
    }
    text
}
