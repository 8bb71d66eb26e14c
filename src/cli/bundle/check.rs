//! `lookout bundle check`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::bundle::{Bundle, Role};
use crate::engine::{Agreement, Decoder, Grounder, ImageTower, Options, Report, TextTower, compare_stored};
use crate::text::Tokenizer;
use crate::{Code, Error, Result};

use super::super::args::Global;
use super::super::console::{Console, Outcome};

#[derive(Args)]
#[command(after_help = "Examples:
  lookout bundle check
  lookout bundle check my-bundle.tar --json")]
pub(in crate::cli) struct Check {
    /// Folder or .tar [default: the one that --bundle names, else the default bundle]
    path: Option<PathBuf>,
}

#[derive(Serialize)]
struct Reply {
    task: &'static str,
    bundle: String,
    ok: bool,
    /// The trusted key that signed it; absent where none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
    files: Vec<File>,
    pairs: Vec<Agreement>,
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

/// The towers, kept for the stored pairs.
#[derive(Default)]
pub(super) struct Towers {
    pub image: Option<ImageTower>,
    pub text: Option<TextTower>,
}

impl Check {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let bundle = match &self.path {
            Some(path) => global.open_bundle_at(path)?,
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
        let pairs = compare_stored(&bundle, towers.image.as_ref(), towers.text.as_ref())?;
        let ok = files.iter().all(|file| file.ok) && pairs.iter().all(|pair| pair.ok);
        let signed_by = bundle.signer().map(|signer| signer.key.clone());
        let reply = Reply { task: "bundle check", bundle: bundle.identity(), ok, signed_by, files, pairs };
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
pub(super) fn load(bundle: &Bundle, role: Role, options: &Options, towers: &mut Towers) -> Result<Option<Report>> {
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
    if let Some(key) = &reply.signed_by {
        text += &format!("signed by {key}\n");
    }
    if !reply.pairs.is_empty() {
        let agree = reply.pairs.iter().filter(|pair| pair.ok).count();
        let least = reply.pairs.iter().map(|pair| pair.cosine).fold(1.0, f32::min);
        text += &format!("stored outputs: {agree} of {} agree (least cosine {least:.4})\n", reply.pairs.len());
    }
    text
}
