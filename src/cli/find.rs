//! `lookout find`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use crate::memory::{Hit, INDEX_NAME, Index, Place, Refreshed, refresh};
use crate::picture::Picture;
use crate::sight::Looker;
use crate::{Code, Error, Result};

use super::args::{Global, PictureArg};
use super::console::{Console, Outcome};
use super::find_events::Past;
use super::rerank::{Again, Rerank};
use super::session::{self, Ms, ms_since};

#[derive(Args)]
#[command(
    override_usage = "lookout find [OPTIONS] <WORDS> <DIR>\n       lookout find [OPTIONS] --like <PICTURE> <DIR>\n       \
        lookout find [OPTIONS] --events [WORDS]\n       lookout find [OPTIONS] --events --like <PICTURE>"
)]
#[command(after_help = "Examples:
  lookout find \"a dog on the beach\" ~/Pictures
  lookout find \"a man on a red bicycle\" ~/Pictures --rerank 20
  lookout find --like cat.jpg ~/Pictures --top 20 --json
  lookout find --events \"a dog on the sofa\" --since 2d --snapshots found

Embeddings are kept in DIR/.lookout-index, so that only new or changed pictures are looked at. Where DIR
cannot be written the index lies in the user's cache. An interrupted search keeps what it has seen.")]
pub(super) struct Find {
    /// What to look for (left out with --like), and the folder (left out with --events)
    #[arg(required_unless_present = "events", num_args = 1..=2, value_names = ["WORDS", "DIR"])]
    what_and_where: Vec<std::ffi::OsString>,
    /// Look for pictures like this one
    #[arg(long, value_name = "PICTURE")]
    like: Option<PictureArg>,
    /// Most pictures to print
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    top: usize,
    /// Where the index lies [default: DIR/.lookout-index]
    #[arg(long, value_name = "FILE", conflicts_with = "events")]
    index: Option<PathBuf>,
    #[command(flatten)]
    rerank: Rerank,
    #[command(flatten)]
    past: Past,
}

#[derive(Serialize)]
struct Reply<'a> {
    task: &'static str,
    bundle: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
    folder: String,
    found: Vec<Found>,
    index: IndexReport,
    ms: Ms,
}

#[derive(Serialize)]
struct Found {
    picture: String,
    /// Words: probability that the picture supports them. A picture: the cosine.
    score: f32,
    cosine: f32,
    /// With --rerank, where it was looked at again.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_probability: Option<f32>,
}

#[derive(Serialize)]
struct IndexReport {
    file: String,
    pictures: usize,
    embedded: usize,
    dropped: usize,
    unreadable: usize,
}

impl Find {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        if self.past.events {
            let words = self.words_alone()?;
            return self.past.run(words.as_deref(), self.like.as_ref(), self.top, &self.rerank, global, console);
        }
        let (words, folder) = self.split()?;
        let source = self.like.as_ref().map(PictureArg::source).transpose()?;
        let meta = std::fs::metadata(&folder).map_err(|error| not_a_folder(&folder, &error.to_string()))?;
        if !meta.is_dir() {
            return Err(not_a_folder(&folder, "it is a file").into());
        }
        let place = Place::find(&folder, self.index.as_deref())?;
        if place.in_cache {
            log::warn!("{} cannot be written; the index lies in {}", folder.display(), place.path.display());
        }
        let looker = Looker::open(global.open_bundle()?, global.options())?;
        self.rerank.weight(&looker)?;

        let begin = Instant::now();
        let query = match (&source, &words) {
            (Some(source), _) => looker.look(&session::open(source)?)?.embedding,
            (None, words) => looker.embed_text(words.as_deref().unwrap_or_default())?,
        };
        let query_ms = ms_since(begin);
        let (index, refreshed, decode_ms, encode_ms) = self.up_to_date(&looker, &folder, &place, console)?;
        let begin = Instant::now();
        let hits = index.search(&query, self.rerank.wanted(self.top));
        let again = |hit: &Hit| Picture::open(&folder.join(&hit.path));
        let hits = self.rerank.order(&looker, words.as_deref(), hits, console, |hit| hit.cosine, again)?;
        let found: Vec<Found> = hits
            .into_iter()
            .take(self.top)
            .map(|Again { hit, log_probability }| {
                let score = if source.is_some() { hit.cosine } else { looker.support(hit.cosine)?.score };
                let picture = folder.join(hit.path).to_string_lossy().into_owned();
                Ok(Found { picture, score, cosine: hit.cosine, log_probability })
            })
            .collect::<Result<_>>()?;
        let reply = Reply {
            task: "find",
            bundle: looker.identity(),
            words: words.as_deref(),
            picture: self.like.as_ref().map(PictureArg::shown),
            folder: folder.display().to_string(),
            found,
            index: IndexReport {
                file: place.path.display().to_string(),
                pictures: index.pictures(),
                embedded: refreshed.embedded,
                dropped: refreshed.dropped,
                unreadable: refreshed.unreadable,
            },
            ms: Ms::new(decode_ms, query_ms + encode_ms, ms_since(begin)),
        };
        console.answer(&reply, || listing(&reply))
    }

    /// The words that go with `--events`, if there are any.
    fn words_alone(&self) -> Result<Option<String>> {
        let help = "write: lookout find --events \"a dog on the sofa\", or: lookout find --events --like PICTURE";
        match (&self.what_and_where[..], &self.like) {
            ([], _) => Ok(None),
            ([words], None) => utf8(words).map(Some),
            ([_], Some(_)) => Err(Error::new(Code::Usage, "--like PICTURE takes the place of the words", help)),
            _ => Err(Error::new(Code::Usage, "--events takes the place of the folder", help)),
        }
    }

    /// The words (none with `--like`) and the folder.
    fn split(&self) -> Result<(Option<String>, PathBuf)> {
        let help = "write: lookout find \"a dog on the beach\" DIR, or: lookout find --like PICTURE DIR";
        match (&self.what_and_where[..], &self.like) {
            ([folder], Some(_)) => Ok((None, folder.into())),
            ([words, folder], None) => Ok((Some(utf8(words)?), folder.into())),
            ([only], None) => {
                Err(Error::new(Code::Usage, format!("{only:?} alone does not say what to look for where"), help))
            }
            _ => Err(Error::new(Code::Usage, "--like PICTURE takes the place of the words", help)),
        }
    }

    /// The index after a refresh, what the refresh did, and its milliseconds of decoding and encoding.
    fn up_to_date(
        &self,
        looker: &Looker,
        folder: &Path,
        place: &Place,
        console: &Console,
    ) -> Result<(Index, Refreshed, f64, f64)> {
        let width = looker.bundle().manifest().embedding_width();
        let mut index = Index::load(&place.path, looker.identity(), width).unwrap_or_else(|cause| {
            if let Some(cause) = cause {
                log::warn!("the index {} is rebuilt: {cause}", place.path.display());
            }
            Index::new(looker.identity(), width)
        });
        let bar = console.bar("looking");
        let (mut decode_ms, mut encode_ms) = (0.0, 0.0);
        let refreshed = refresh(
            &mut index,
            folder,
            &mut |path| {
                let begin = Instant::now();
                let picture = Picture::open(path)?;
                decode_ms += ms_since(begin);
                let view = looker.look(&picture)?;
                encode_ms += view.preprocess_ms + view.tower_ms;
                Ok(view.embedding)
            },
            &mut |index| {
                index.save(&place.path).map_err(|error| {
                    let message = format!("the index {} cannot be written: {error}", place.path.display());
                    Error::new(Code::Output, message, "name another place for it: --index FILE")
                })
            },
            &mut |done, total| bar.at(done, total),
        )?;
        Ok((index, refreshed, decode_ms, encode_ms))
    }
}

fn utf8(words: &std::ffi::OsStr) -> Result<String> {
    words.to_owned().into_string().map_err(|words| {
        let message = format!("the words {words:?} are not valid UTF-8 text");
        Error::new(Code::Usage, message, "is the terminal's encoding UTF-8?")
    })
}

fn not_a_folder(folder: &Path, cause: &str) -> Error {
    let message = format!("the folder {} cannot be searched: {cause}", folder.display());
    Error::new(Code::Input, message, format!("give a folder of pictures; its index is kept in {INDEX_NAME}"))
}

fn listing(reply: &Reply) -> String {
    let mut text: String =
        reply.found.iter().map(|found| format!("{:6.3}  {}\n", found.score, found.picture)).collect();
    if reply.found.is_empty() {
        text += &format!("there are no pictures in {}\n", reply.folder);
    }
    let IndexReport { pictures, embedded, dropped, .. } = &reply.index;
    text + &format!("{pictures} pictures searched, {embedded} of them new, {dropped} gone\n")
}
