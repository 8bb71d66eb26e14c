//! A checked manifest, and the rules that span its sections.

use crate::Result;

use super::complaint::{refuse, unparsed};
use super::{Calibration, Digest, Document, FileEntry, PatchGrid, PictureInput, Role, Speaker, TextInput};

/// The newest form of manifest that is understood.
pub const FORMAT: u32 = 1;

/// The manifest's name in its bundle.
pub const MANIFEST_NAME: &str = "lookout.toml";

/// Largest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 256 << 10;

/// A manifest in which every value is in range and every section that a role needs is there.
#[derive(Debug, Clone)]
pub struct Manifest {
    document: Document,
    digest: Digest,
}

impl Manifest {
    /// Checks a document, as if it had been written and read back.
    pub fn new(document: &Document) -> Result<Self> {
        Self::from_bytes(render(document)?.as_bytes(), &document.name)
    }

    /// Parses and checks the bytes of a `lookout.toml`. `bundle` appears in errors, all of which have [`Code::Bundle`](crate::Code::Bundle).
    pub fn from_bytes(bytes: &[u8], bundle: &str) -> Result<Self> {
        let refused = |cause: &str, help: &str| refuse(bundle, format_args!("{MANIFEST_NAME} {cause}"), help);
        if bytes.is_empty() {
            return Err(refused("is empty", super::complaint::FETCH_AGAIN));
        }
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(refused("is larger than 256 KiB", "this is not a manifest; give the folder that holds one"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            refused(&format!("is not UTF-8 text (byte {})", error.valid_up_to()), "save the manifest as UTF-8 text")
        })?;
        let format = toml::from_str::<Preface>(text).map_err(|error| unparsed(bundle, text, &error))?.format;
        if let Some(format) = format.filter(|format| *format > i64::from(FORMAT)) {
            return Err(refuse(
                bundle,
                format_args!("its format {format} is newer than this lookout understands ({FORMAT})"),
                "update lookout, or take the version of the bundle made for this one",
            ));
        }
        let document: Document = toml::from_str(text).map_err(|error| unparsed(bundle, text, &error))?;
        let manifest = Self { document, digest: Digest::of(bytes) };
        match manifest.contradiction() {
            Some((cause, help)) => Err(refused(&cause, help)),
            None => Ok(manifest),
        }
    }

    /// The manifest as TOML. Parses to an equal document, though its bytes, and so its identity, may differ from those
    /// that were read.
    pub fn to_toml(&self) -> Result<String> {
        render(&self.document)
    }

    /// The sections as they are written.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Name of the bundle.
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// Version of the bundle.
    pub fn version(&self) -> &str {
        &self.document.version
    }

    /// `name@version+digits`: the digits are the first 12 of the SHA-256 of the manifest's bytes. The manifest holds the
    /// hash of every file, so two bundles of one identity give the same numbers.
    pub fn identity(&self) -> String {
        let digits = self.digest.to_string();
        format!("{}@{}+{}", self.name(), self.version(), &digits[..12])
    }

    /// What the image tower takes in.
    pub fn picture(&self) -> &PictureInput {
        &self.document.picture
    }

    /// Floats in an embedding.
    pub fn embedding_width(&self) -> usize {
        self.document.embedding.width
    }

    /// The image tower's patch tokens. There whenever the roles `decoder` or `ground` are.
    pub fn patches(&self) -> Option<&PatchGrid> {
        self.document.patches.as_ref()
    }

    /// What the text tower takes in. There whenever the role `text` is.
    pub fn text(&self) -> Option<&TextInput> {
        self.document.text.as_ref()
    }

    /// How scores become probabilities. There whenever the roles `text` or `ground` are.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.document.calibration.as_ref()
    }

    /// How the decoder speaks. There whenever the role `decoder` is.
    pub fn speaker(&self) -> Option<&Speaker> {
        self.document.speaker.as_ref()
    }

    /// The file of a role.
    pub fn file(&self, role: Role) -> Option<&FileEntry> {
        self.document.files.get(&role)
    }

    /// Every file with its role, in the order of [`Role::ALL`].
    pub fn files(&self) -> impl Iterator<Item = (Role, &FileEntry)> {
        self.document.files.iter().map(|(role, entry)| (*role, entry))
    }

    /// The file of stored inputs and outputs.
    pub fn check(&self) -> Option<&FileEntry> {
        self.document.check.as_ref()
    }

    /// The first rule between sections that does not hold: cause and remedy.
    fn contradiction(&self) -> Option<(String, &'static str)> {
        let document = &self.document;
        let has = |role: Role| document.files.contains_key(&role);
        if !has(Role::Image) {
            return Some(("lists no image tower".into(), "add [files.image]: every bundle needs one"));
        }
        let needs = [
            (Role::Text, "section [text]", document.text.is_some()),
            (Role::Text, "file of the role tokenizer", has(Role::Tokenizer)),
            (Role::Text, "section [calibration]", document.calibration.is_some()),
            (Role::Decoder, "section [speaker]", document.speaker.is_some()),
            (Role::Decoder, "section [patches]", document.patches.is_some()),
            (Role::Decoder, "file of the role speaker_tokenizer", has(Role::SpeakerTokenizer)),
            (Role::Ground, "section [patches]", document.patches.is_some()),
            (Role::Ground, "section [calibration]", document.calibration.is_some()),
            (Role::Ground, "file of the role text", has(Role::Text)),
        ];
        if let Some((role, thing, _)) = needs.iter().find(|(role, _, there)| has(*role) && !there) {
            return Some((format!("lists the role {role} but has no {thing}"), "add it, or leave the role out"));
        }
        if let Some(patches) = document.patches.as_ref().filter(|p| p.grid[0] * p.grid[1] != p.count) {
            let [rows, columns] = patches.grid;
            let cause = format!("has a patch grid of {rows} x {columns}, which is not {} patches", patches.count);
            return Some((cause, "set [patches] count to the product of grid"));
        }
        let calibration = document.calibration.as_ref();
        if let Some(things) = calibration.and_then(|calibration| calibration.things.as_ref()) {
            if things.kinds.len() != things.least.len() {
                let (kinds, least) = (things.kinds.len(), things.least.len());
                let cause =
                    format!("gives least {least} numbers in [calibration.things], where there are {kinds} kinds");
                return Some((cause, "give one number for each kind"));
            }
            if calibration.is_some_and(|calibration| calibration.presence.is_none()) {
                let cause = "has [calibration.things] but no [calibration.presence]".into();
                return Some((cause, "add it, or leave the things out: presence says when a word is there"));
            }
        }
        if let (Some(check), Some(patches)) =
            (calibration.and_then(|calibration| calibration.check.as_ref()), &document.patches)
            && check.blank.len() != patches.width
        {
            let cause =
                format!("has {} numbers in blank, where a patch token has {}", check.blank.len(), patches.width);
            return Some((cause, "set [calibration.check] blank to the mean patch token"));
        }
        if document.speaker.as_ref().is_some_and(|speaker| speaker.question.is_some() != speaker.answer.is_some()) {
            let cause = "has only one of question and answer in [speaker]".into();
            return Some((cause, "give both tokens, or neither where the decoder cannot answer"));
        }
        let comparing = document
            .speaker
            .as_ref()
            .map_or([false; 3], |s| [s.cosine_weight > 0.0, s.rerank_weight > 0.0, !s.names.is_empty()]);
        let needing = std::iter::zip(["a cosine_weight", "a rerank_weight", "names"], comparing).find(|(_, is)| *is);
        if let (Some((what, _)), false) = (needing, has(Role::Text)) {
            return Some((
                format!("has {what} in [speaker] but no file of the role text"),
                "leave it out: words cannot be compared with pictures without a text tower",
            ));
        }
        let entries: Vec<&FileEntry> = document.files.values().chain(&document.check).collect();
        let clash =
            |a: &&FileEntry| entries.iter().any(|b| a.path == b.path && (a.sha256, a.bytes) != (b.sha256, b.bytes));
        if let Some(entry) = entries.iter().find(|entry| clash(entry)) {
            let cause = format!("lists {} twice, with different hashes or sizes", entry.path);
            return Some((cause, "give each role its own file, or the same entry where they share one"));
        }
        None
    }
}

/// The one key that is read before all others may be judged.
#[derive(serde::Deserialize)]
struct Preface {
    format: Option<i64>,
}

fn render(document: &Document) -> Result<String> {
    toml::to_string(document).map_err(|error| {
        refuse(&document.name, format_args!("its manifest cannot be written: {error}"), "correct the value named")
    })
}

#[cfg(feature = "picture")]
impl PictureInput {
    /// The same, as the picture room does it.
    pub fn preprocess(&self) -> crate::picture::Preprocess {
        use super::{TowerFilter, TowerRule};
        use crate::picture::{Filter, Preprocess, ResizeRule};
        Preprocess {
            width: self.width,
            height: self.height,
            rule: match self.rule {
                TowerRule::Stretch => ResizeRule::Stretch,
                TowerRule::Crop => ResizeRule::Crop,
            },
            filter: match self.filter {
                TowerFilter::Bilinear => Filter::Bilinear,
                TowerFilter::Bicubic => Filter::Bicubic,
                TowerFilter::Lanczos => Filter::Lanczos,
            },
            mean: self.mean,
            std: self.std,
        }
    }
}
