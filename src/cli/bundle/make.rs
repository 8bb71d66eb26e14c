//! `lookout bundle make`

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::bundle::{Bundle, FileEntry, ImagePair, MANIFEST_NAME, Manifest, Pairs, STORED, TextPair, fill};
use crate::{Code, Error, Result};

use super::super::args::Global;
use super::super::console::{Console, Outcome};
use super::check::{Towers, load};
use super::keys::{Password, sign};

/// File of the stored outputs, where the draft names none.
const CHECK_NAME: &str = "check.json";

/// What the stored outputs are made from.
const SEEDS: [u32; 2] = [1, 2];
const SENTENCES: [&str; 2] = ["a dog", "two people on a beach"];

#[derive(Args)]
#[command(after_help = "Examples:
  lookout bundle make draft/lookout.toml --out my-bundle
  lookout bundle make draft/lookout.toml --out my-bundle.tar --key vendor.key

The draft is a lookout.toml whose files need no `sha256` and `bytes`; those are filled in. Its paths are taken from its own
folder. Every network is loaded; where the draft has no [check], outputs of both towers are stored, for `bundle check` and
for the self-test on the board.")]
pub(in crate::cli) struct Make {
    /// The draft of the manifest
    draft: PathBuf,
    /// Folder or .tar to make
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Sign it with this secret key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    password: Password,
}

#[derive(Serialize)]
struct Made {
    task: &'static str,
    bundle: String,
    path: PathBuf,
    bytes: u64,
    signed: bool,
}

impl Make {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let out = &self.out;
        if out.symlink_metadata().is_ok() {
            let message = format!("{} is there already", out.display());
            return Err(Error::new(Code::Output, message, "remove it, or choose another name").into());
        }
        let text = fs::read_to_string(&self.draft).map_err(|error| {
            let message = format!("the draft {} cannot be read: {error}", self.draft.display());
            Error::new(Code::Input, message, "name a lookout.toml; models/default has one to start from")
        })?;
        let from = self.draft.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let manifest = fill(&text, &self.draft.display().to_string(), from)?;
        let unfinished = Unfinished(beside(out));
        let folder = &unfinished.0;
        let bundle = assemble(&manifest, from, folder, global, console)?;
        if let Some(key) = &self.key {
            sign(folder, &bundle, key, &self.password)?;
        }
        let bundle = Bundle::open(folder)?;
        finish(&bundle, folder, out).map_err(|error| unwritable(out, &error))?;
        let made = Made {
            task: "bundle make",
            bundle: bundle.identity(),
            path: self.out.clone(),
            bytes: bundle.contents().map(|(_, bytes)| bytes.len() as u64).sum(),
            signed: bundle.has_signature(),
        };
        console.answer(&made, || {
            let signed = if made.signed { "signed" } else { "not signed" };
            format!("{}\n{}: {} bytes, {signed}\n", made.bundle, made.path.display(), made.bytes)
        })
    }
}

/// Puts everything into `folder`, and loads every network once.
fn assemble(manifest: &Manifest, from: &Path, folder: &Path, global: &Global, console: &Console) -> Result<Bundle> {
    let entries: Vec<_> = manifest.files().map(|(_, entry)| entry).chain(manifest.check()).collect();
    let failed = |error: io::Error| unwritable(folder, &error);
    fs::create_dir(folder).map_err(failed)?;
    for entry in entries {
        let to = folder.join(entry.path.as_str());
        fs::create_dir_all(to.parent().unwrap_or(folder)).map_err(failed)?;
        fs::copy(from.join(entry.path.as_str()), to).map_err(failed)?;
    }
    let write = |manifest: &Manifest| -> Result<Bundle> {
        fs::write(folder.join(MANIFEST_NAME), manifest.to_toml()?).map_err(failed)?;
        let bundle = Bundle::open(folder)?;
        bundle.verify()?;
        Ok(bundle)
    };
    let bundle = write(manifest)?;
    let roles: Vec<_> = bundle.manifest().files().map(|(role, _)| role).collect();
    let (mut towers, bar) = (Towers::default(), console.bar("loading"));
    for (at, role) in roles.iter().enumerate() {
        load(&bundle, *role, &global.options(), &mut towers)?;
        bar.at(at + 1, roles.len());
    }
    drop(bar);
    if manifest.check().is_some() {
        return Ok(bundle);
    }
    let pairs = serde_json::to_vec_pretty(&outputs(&bundle, &towers)?).unwrap_or_default();
    fs::write(folder.join(CHECK_NAME), &pairs).map_err(failed)?;
    let mut document = manifest.document().clone();
    document.check = Some(FileEntry::of(CHECK_NAME, &pairs)?);
    write(&Manifest::new(&document)?)
}

/// What the towers give here.
fn outputs(bundle: &Bundle, towers: &Towers) -> Result<Pairs> {
    let mut pairs = Pairs { image: Vec::new(), text: Vec::new() };
    let first = |embedding: Vec<f32>| embedding.into_iter().take(STORED).collect();
    if let Some(tower) = &towers.image {
        for seed in SEEDS {
            let mut pair = ImagePair { seed, embedding: Vec::new() };
            pair.embedding = first(tower.encode(&pair.input(bundle.manifest().picture().floats()))?.embedding);
            pairs.image.push(pair);
        }
    }
    if let Some(tower) = &towers.text {
        for text in SENTENCES {
            pairs.text.push(TextPair { text: text.to_owned(), embedding: first(tower.encode(text)?) });
        }
    }
    Ok(pairs)
}

fn finish(bundle: &Bundle, folder: &Path, out: &Path) -> io::Result<()> {
    if out.extension().is_none_or(|extension| extension != "tar") {
        return fs::rename(folder, out);
    }
    let packed = folder.join("packed.tar");
    let mut archive = tar::Builder::new(File::create_new(&packed)?);
    for (path, bytes) in bundle.contents() {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes)?;
    }
    archive.into_inner()?.sync_all()?;
    fs::rename(&packed, out)
}

/// A folder that goes away unless it is renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn beside(out: &Path) -> PathBuf {
    let mut name = out.to_owned().into_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let message = format!("{} cannot be written: {error}", path.display());
    Error::new(Code::Output, message, "choose a folder that you can write to, with room for the bundle")
}
