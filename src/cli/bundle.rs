//! `lookout bundle check`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::bundle::{Bundle, Role, agreement};
use crate::engine::{Decoder, Grounder, ImageTower, Options, Report, TextTower};
use crate::text::Tokenizer;
use crate::{Code, Error, Result};

use super::args::Global;
use super::console::{Console, Outcome};

/// Least cosine between a stored embedding and ours.
const AGREES: f32 = 0.99;

#[derive(Subcommand)]
pub(super) enum BundleCommand {
    /// Check a bundle: manifest, hashes, every network, stored outputs
    Check(Check),
}

#[derive(Args)]
#[command(after_help = "Examples:
  lookout bundle check
  lookout bundle check my-bundle.tar --json")]
pub(super) struct Check {
    /// Folder or .tar [default: the one that --bundle names, else the default bundle]
    path: Option<PathBuf>,
}

#[derive(Serialize)]
struct Reply {
    task: &'static str,
    bundle: String,
    ok: bool,
    files: Vec<File>,
    pairs: Vec<Pair>,
}

#[derive(Serialize)]
struct File {
    role: &'static str,
    path: String,
    bytes: u64,
    quantisation: Option<String>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// Of a network: which operators run on what.
    #[serde(skip_serializing_if = "Option::is_none")]
    operators: Option<Report>,
}

#[derive(Serialize)]
struct Pair {
    tower: &'static str,
    input: String,
    cosine: f32,
    ok: bool,
}

/// The towers, kept for the stored pairs.
#[derive(Default)]
struct Towers {
    image: Option<ImageTower>,
    text: Option<TextTower>,
}

impl BundleCommand {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let Self::Check(check) = self;
        let bundle = match &check.path {
            Some(path) => Bundle::open(path)?,
            None => global.open_bundle()?,
        };
        bundle.verify()?;
        let options = global.options();
        let mut towers = Towers::default();
        let entries: Vec<_> = bundle.manifest().files().collect();
        let bar = console.bar("loading");
        let mut files = Vec::new();
        for (at, (role, entry)) in entries.iter().enumerate() {
            let loaded = load(&bundle, *role, &options, &mut towers);
            let (operators, cause) = match loaded {
                Ok(operators) => (operators, None),
                Err(error) => (None, Some(error.to_string())),
            };
            files.push(File {
                role: role.as_str(),
                path: entry.path.to_string(),
                bytes: entry.bytes,
                quantisation: entry.quantisation.clone(),
                ok: cause.is_none(),
                cause,
                operators,
            });
            bar.at(at + 1, entries.len());
        }
        drop(bar);
        let pairs = compare(&bundle, &towers)?;
        let ok = files.iter().all(|file| file.ok) && pairs.iter().all(|pair| pair.ok);
        let reply = Reply { task: "bundle check", bundle: bundle.identity(), ok, files, pairs };
        if ok {
            return console.answer(&reply, || table(&reply));
        }
        if !console.json {
            console.bytes(table(&reply).as_bytes())?;
        }
        Err(failure(&reply).into())
    }
}

/// Loads the file of `role`; a network tells what runs it.
fn load(bundle: &Bundle, role: Role, options: &Options, towers: &mut Towers) -> Result<Option<Report>> {
    Ok(match role {
        Role::Image => Some(towers.image.insert(ImageTower::load(bundle, options)?).report()),
        Role::Text => Some(towers.text.insert(TextTower::load(bundle, options)?).report()),
        Role::Decoder => Some(Decoder::load(bundle, options)?.report()),
        Role::Ground => Some(Grounder::load(bundle, options)?.report()),
        Role::Tokenizer | Role::SpeakerTokenizer => {
            Tokenizer::from_bytes(bundle.bytes(role).unwrap_or_default(), role.as_str())?;
            None
        }
    })
}

/// Runs the stored pairs through the towers that loaded.
fn compare(bundle: &Bundle, towers: &Towers) -> Result<Vec<Pair>> {
    let Some(stored) = bundle.pairs()? else { return Ok(Vec::new()) };
    let pair = |tower, input, expected: &[f32], found: &[f32]| {
        let cosine = agreement(expected, found);
        Pair { tower, input, cosine, ok: cosine >= AGREES }
    };
    let mut pairs = Vec::new();
    if let Some(tower) = &towers.image {
        let input = bundle.manifest().picture();
        let count = 3 * input.width as usize * input.height as usize;
        for image in &stored.image {
            let found = tower.encode(&image.input(count))?.embedding;
            pairs.push(pair("image", format!("seed {}", image.seed), &image.embedding, &found));
        }
    }
    if let Some(tower) = &towers.text {
        for text in &stored.text {
            pairs.push(pair("text", format!("{:?}", text.text), &text.embedding, &tower.encode(&text.text)?));
        }
    }
    Ok(pairs)
}

fn failure(reply: &Reply) -> Error {
    let broken = reply.files.iter().find_map(|file| Some(format!("{}: {}", file.role, file.cause.as_ref()?)));
    let differs = reply.pairs.iter().find(|pair| !pair.ok).map(|pair| {
        format!(
            "the {} tower's output for {} has cosine {:.4} with the stored one",
            pair.tower, pair.input, pair.cosine
        )
    });
    let cause = broken.or(differs).unwrap_or_default();
    Error::new(Code::Bundle, format!("bundle {}: {cause}", reply.bundle), "fetch or make the bundle again")
}

fn table(reply: &Reply) -> String {
    let mut text = format!("{}\n{:18} {:>10}  {:12} ok\n", reply.bundle, "role", "bytes", "quantisation");
    for file in &reply.files {
        let verdict = file.cause.as_deref().map_or("yes".to_owned(), |cause| format!("no: {cause}"));
        let quantisation = file.quantisation.as_deref().unwrap_or("-");
        text += &format!("{:18} {:>10}  {quantisation:12} {verdict}\n", file.role, file.bytes);
    }
    for file in &reply.files {
        if let Some(operators) = &file.operators {
            text += &format!("{} runs on {operators}\n", file.role);
        }
    }
    if !reply.pairs.is_empty() {
        let agree = reply.pairs.iter().filter(|pair| pair.ok).count();
        let least = reply.pairs.iter().map(|pair| pair.cosine).fold(1.0, f32::min);
        text += &format!("stored outputs: {agree} of {} agree (least cosine {least:.4})\n", reply.pairs.len());
    }
    text
}
