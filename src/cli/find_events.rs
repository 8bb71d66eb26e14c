//! `lookout find --events`

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::daemon::{Config, memory_folder};
use crate::memory::{EventFilter, EventReader, default_folder};
use crate::picture::Picture;
use crate::sight::Looker;
use crate::watch::{Event, FoundEvent, unix_ms};
use crate::{Code, Error, Result, seconds};

use super::args::{Global, PictureArg, text};
use super::console::{Console, Outcome, column};
use super::rerank::{Again, Rerank};
use super::session::{self, Ms, ms_since};

#[derive(Args)]
#[command(next_help_heading = "Past events")]
pub(super) struct Past {
    /// Search the events that a daemon keeps, instead of a folder; without words the newest are printed
    #[arg(long)]
    pub events: bool,
    /// How long ago at most: 90s, 2h, 3d
    #[arg(long, value_name = "TIME", requires = "events", value_parser = seconds::parse)]
    since: Option<std::time::Duration>,
    /// Only events of this trigger
    #[arg(long, value_name = "NAME", requires = "events", value_parser = text())]
    trigger: Option<String>,
    /// Only events of this camera
    #[arg(long, value_name = "NAME", requires = "events", value_parser = text())]
    camera: Option<String>,
    /// The daemon's configuration, which says where it keeps them
    #[arg(short, long, value_name = "FILE", requires = "events", conflicts_with = "memory")]
    config: Option<PathBuf>,
    /// Where the daemon keeps them [default: $STATE_DIRECTORY, /var/lib/lookout, or the user's state folder]
    #[arg(long, value_name = "DIR", requires = "events")]
    memory: Option<PathBuf>,
    /// Write the pictures of what was found into this folder
    #[arg(long, value_name = "DIR", requires = "events")]
    snapshots: Option<PathBuf>,
}

#[derive(Serialize)]
struct Reply<'a> {
    task: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
    memory: String,
    events: Vec<Found>,
    ms: Ms,
}

#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    event: FoundEvent,
    /// With --rerank, where its picture was looked at again.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_probability: Option<f32>,
    /// Where its picture was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Past {
    /// Searches by `words`, or by the picture `like`, or lists the newest events.
    pub fn run(
        &self,
        words: Option<&str>,
        like: Option<&PictureArg>,
        top: usize,
        rerank: &Rerank,
        global: &Global,
        console: &Console,
    ) -> Outcome {
        let source = like.map(PictureArg::source).transpose()?;
        rerank.needs(words)?;
        let folder = match (&self.memory, &self.config) {
            (Some(folder), _) => folder.clone(),
            (None, Some(config)) => memory_folder(&Config::read(config)?)?,
            (None, None) => default_folder()?,
        };
        let reader = EventReader::open(&folder)?;
        let filter = EventFilter {
            since_ms: self.since.map(|ago| unix_ms().saturating_sub(ago.as_millis() as u64)),
            before: None,
            trigger: self.trigger.clone(),
            camera: self.camera.clone(),
        };
        let looker = match (words, &source) {
            (None, None) => None,
            _ => Some(Looker::open(global.open_bundle()?, global.options())?),
        };
        let begin = Instant::now();
        let query = match (&looker, &source, words) {
            (Some(looker), Some(source), _) => Some(looker.look(&session::open(source)?)?.embedding),
            (Some(looker), None, Some(words)) => Some(looker.embed_text(words)?),
            _ => None,
        };
        let encode_ms = ms_since(begin);
        let begin = Instant::now();
        let found = match (&looker, query) {
            (Some(looker), Some(query)) => {
                let hits = reader.find(&query, looker.identity(), &filter, rerank.wanted(top))?;
                let again = |(event, _): &(Event, f32)| snapshot(&reader, event);
                rerank
                    .order(looker, words, hits, console, |(_, cosine)| *cosine, again)?
                    .into_iter()
                    .take(top)
                    .map(|Again { hit: (event, cosine), log_probability }| {
                        let matching = if source.is_some() { cosine } else { looker.support(cosine)?.score };
                        Ok((FoundEvent { matching: Some(matching), event }, log_probability))
                    })
                    .collect::<Result<Vec<_>>>()?
            }
            _ => {
                let plain = |event| (FoundEvent { matching: None, event }, None);
                reader.list(&filter, top)?.into_iter().map(plain).collect()
            }
        };
        let decide_ms = ms_since(begin);
        let events = self.with_pictures(&reader, found)?;
        let reply = Reply {
            task: "find",
            bundle: looker.as_ref().map(Looker::identity),
            words,
            picture: like.map(PictureArg::shown),
            memory: folder.display().to_string(),
            events,
            ms: Ms::new(0.0, encode_ms, decide_ms),
        };
        console.answer(&reply, || listing(&reply))
    }

    /// Writes the pictures, if that was asked for.
    fn with_pictures(&self, reader: &EventReader, found: Vec<(FoundEvent, Option<f32>)>) -> Result<Vec<Found>> {
        let found = found.into_iter().map(|(event, log_probability)| Found { event, log_probability, file: None });
        let Some(folder) = &self.snapshots else {
            return Ok(found.collect());
        };
        let refused = |path: &std::path::Path, error: std::io::Error| {
            let message = format!("{} cannot be written: {error}", path.display());
            Error::new(Code::Output, message, "name another folder: --snapshots DIR")
        };
        fs::create_dir_all(folder).map_err(|error| refused(folder, error))?;
        let write = |mut found: Found| {
            let id = found.event.event.id;
            let Some(jpeg) = reader.snapshot(id)? else { return Ok(found) };
            let path = folder.join(format!("{id}.jpg"));
            fs::write(&path, jpeg).map_err(|error| refused(&path, error))?;
            found.file = Some(path.display().to_string());
            Ok(found)
        };
        found.map(write).collect()
    }
}

/// The picture that is kept of an event.
fn snapshot(reader: &EventReader, event: &Event) -> Result<Picture> {
    let name = format!("event {}", event.id);
    let jpeg = reader
        .snapshot(event.id)?
        .ok_or_else(|| Error::new(Code::Input, format!("{name} has no picture"), "look for it without --rerank"))?;
    Picture::decode(&jpeg, &name)
}

fn listing(reply: &Reply) -> String {
    if reply.events.is_empty() {
        return format!("no such events in {}\n", reply.memory);
    }
    let line = |found: &Found| {
        let FoundEvent { matching, event } = &found.event;
        let score = matching.map_or(String::new(), |score| format!("{score:6.3}  "));
        let file = found.file.as_ref().map_or(String::new(), |file| format!("  {file}"));
        let Event { trigger, camera, caption, .. } = event;
        let caption = caption.as_deref().unwrap_or_default();
        let (trigger, camera) = (column(trigger, 12), column(camera, 12));
        format!("{score}{}  {trigger}  {camera}  {caption}{file}\n", local_time(event.began_ms))
    };
    reply.events.iter().map(line).collect()
}

/// `2026-11-23 17:25:01` where this machine is.
fn local_time(unix_ms: u64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(i64::try_from(unix_ms).unwrap_or(i64::MAX)) else {
        return unix_ms.to_string();
    };
    time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
