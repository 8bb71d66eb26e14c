//! One question about one picture: open both, look, and reply.

use std::io::Read;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::camera::snap;
use crate::picture::Picture;
use crate::sight::{Looker, View};
use crate::{Code, Error, Result};

use super::args::{Global, PictureArg, Source};
use super::console::{Console, Outcome};

/// Most bytes that are read from standard input: 256 MiB.
const MAX_STDIN: u64 = 256 << 20;
/// How long a camera may take to give a picture.
const CAMERA_WITHIN: Duration = Duration::from_secs(10);

/// A loaded bundle and a picture it has looked at.
pub(super) struct Session {
    pub looker: Looker,
    pub picture: Picture,
    pub view: View,
    shown: String,
    decode_ms: f64,
    looked: Instant,
}

/// Milliseconds of the stages of one answer. Loading the networks is not among them.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Ms {
    /// Reading and decoding the picture.
    pub decode: f64,
    /// Resizing, normalising, and the image tower.
    pub encode: f64,
    /// Everything after that.
    pub decide: f64,
    /// All of them.
    pub total: f64,
}

/// The object that `--json` prints.
#[derive(Serialize)]
struct Reply<'a, A> {
    task: &'static str,
    bundle: &'a str,
    picture: &'a str,
    #[serde(flatten)]
    answer: &'a A,
    ms: Ms,
}

impl Session {
    /// Decodes the picture while the networks load, then looks.
    pub fn open(global: &Global, picture: &PictureArg) -> Result<Self> {
        let source = picture.source()?;
        let bundle = global.open_bundle()?;
        let (looker, decoded) = std::thread::scope(|scope| {
            let loading = scope.spawn(|| Looker::open(bundle, global.options()));
            let begin = Instant::now();
            let decoded = open(&source).map(|picture| (picture, ms_since(begin)));
            (loading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), decoded)
        });
        let (decoded, decode_ms) = decoded?;
        let looker = looker?;
        let view = looker.look(&decoded)?;
        Ok(Self { looker, picture: decoded, view, shown: picture.shown(), decode_ms, looked: Instant::now() })
    }

    /// Prints the answer to the question that was asked since [`Session::open`].
    pub fn reply<A: Serialize>(
        &self,
        console: &Console,
        task: &'static str,
        answer: &A,
        human: impl FnOnce() -> String,
    ) -> Outcome {
        let encode = self.view.preprocess_ms + self.view.tower_ms;
        let ms = Ms::new(self.decode_ms, encode, ms_since(self.looked));
        let reply = Reply { task, bundle: self.looker.identity(), picture: &self.shown, answer, ms };
        console.answer(&reply, human)
    }
}

impl Ms {
    pub fn new(decode: f64, encode: f64, decide: f64) -> Self {
        let short = |ms: f64| (ms * 1e3).round() / 1e3;
        Self {
            decode: short(decode),
            encode: short(encode),
            decide: short(decide),
            total: short(decode + encode + decide),
        }
    }
}

/// Reads and decodes a picture.
pub(super) fn open(source: &Source) -> Result<Picture> {
    match source {
        Source::File(path) => Picture::open(path),
        Source::Stdin => Picture::decode(&read_stdin(std::io::stdin().lock(), MAX_STDIN)?, "standard input"),
        Source::Camera { uri, .. } => snap(uri, CAMERA_WITHIN)?.picture().map(|picture| Picture::clone(&picture)),
    }
}

pub(super) fn ms_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

fn read_stdin(input: impl Read, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(most + 1).read_to_end(&mut bytes).map_err(|error| {
        let message = format!("standard input cannot be read: {error}");
        Error::new(Code::Input, message, "pipe a picture in: lookout caption - < picture.jpg")
    })?;
    if bytes.len() as u64 > most {
        let message = format!("standard input is larger than {} MiB", most >> 20);
        return Err(Error::new(Code::Input, message, "pipe in one picture, not a video or an archive"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_standard_input_is_refused_after_the_limit() {
        assert_eq!(read_stdin(&[7; 10][..], 10).unwrap().len(), 10);
        let error = read_stdin(std::io::repeat(0), 1 << 20).unwrap_err();
        assert!(error.message().contains("larger than 1 MiB"), "{error}");
    }
}
