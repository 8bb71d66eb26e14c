//! Opening, verifying and finding a bundle.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Code, Error, Result};

use super::complaint::{FETCH_AGAIN, refuse};
use super::store::{Keep, Store};
use super::trust::{MAX_SIGNATURE_BYTES, SIGNATURE_NAME, Trust};
use super::{Digest, FileEntry, MANIFEST_NAME, Manifest, Pairs, Role};

/// An open bundle: a checked manifest and the bytes of every file that it lists, mapped and not copied.
///
/// The files must not be cut short while the bundle is open; replace a bundle by renaming a new one into place.
pub struct Bundle {
    shown: String,
    manifest: Manifest,
    /// The very bytes of the manifest and of its signature.
    written: (Vec<u8>, Option<Vec<u8>>),
    signer: Option<Signer>,
    store: Store,
}

/// Whose signature a bundle was opened by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The trusted key, as its file or its text was named.
    pub key: String,
    /// What the signer signed beside the manifest.
    pub comment: String,
}

impl Bundle {
    /// Opens a folder or a `.tar` of it. Checks the manifest, and that every file is there with the stated size; hashes
    /// are left to [`Bundle::verify`]. Errors: [`Code::Input`] when there is nothing at `path`, else [`Code::Bundle`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_trusting(path, None)
    }

    /// Opens a bundle as [`Bundle::open`] does. With a trust, one of its keys must have signed the manifest, and every
    /// file must have the hash that the signed manifest states; the checked bytes are copied into memory (as much as the
    /// bundle is large), so that no byte that was not signed is ever read. Errors: [`Code::Untrusted`] where the signature
    /// is missing, damaged, of another key or of another manifest.
    pub fn open_trusting(path: &Path, trust: Option<&Trust>) -> Result<Self> {
        let shown = path.display().to_string();
        let mut store = Store::open(path, &shown)?;
        let text = store.manifest(&shown)?.into_owned();
        let signature = store.small_file(SIGNATURE_NAME, MAX_SIGNATURE_BYTES, &shown)?.map(Cow::into_owned);
        let signer = trust.map(|trust| trust.check(&text, signature.as_deref(), &shown)).transpose()?;
        let manifest = Manifest::from_bytes(&text, &shown)?;
        let keep = if trust.is_some() { Keep::Copy } else { Keep::Map };
        for entry in manifest.files().map(|(_, entry)| entry).chain(manifest.check()) {
            store.admit(entry, keep, &shown)?;
        }
        let bundle = Self { shown, manifest, written: (text, signature), signer, store };
        if trust.is_some() {
            bundle.verify()?;
        }
        Ok(bundle)
    }

    /// Where the default bundle lies: `$LOOKOUT_BUNDLE`, else the first of these that has a manifest: `models/default`
    /// beside the program, `../share/lookout/models/default`, `../../models/default` from there, `./models/default`.
    pub fn default_path() -> Result<PathBuf> {
        if let Some(path) = std::env::var_os("LOOKOUT_BUNDLE").filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.canonicalize().ok()?.parent()?.to_owned()));
        let from_exe = ["models/default", "../share/lookout/models/default", "../../models/default"];
        let mut places: Vec<PathBuf> = beside.iter().flat_map(|exe| from_exe.map(|place| exe.join(place))).collect();
        places.push(PathBuf::from("models/default"));
        let found = places.iter().find(|place| place.join(super::MANIFEST_NAME).is_file());
        found.cloned().ok_or_else(|| {
            let list: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            Error::new(
                Code::Input,
                format!("there is no default bundle: looked in {}", list.join(", ")),
                "give --bundle FOLDER, or set LOOKOUT_BUNDLE to the folder that holds lookout.toml",
            )
        })
    }

    /// The checked manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of a role's file.
    pub fn bytes(&self, role: Role) -> Option<&[u8]> {
        self.store.bytes(&self.manifest.file(role)?.path)
    }

    /// Gives back the memory that a role's file takes, once it was read; [`Bundle::bytes`] stays good, and reads the disk again.
    pub fn release(&self, role: Role) {
        if let Some(entry) = self.manifest.file(role) {
            self.store.release(&entry.path);
        }
    }

    /// Whether the bundle has a role.
    pub fn has(&self, role: Role) -> bool {
        self.manifest.file(role).is_some()
    }

    /// Who signed it; `None` where it was opened without asking.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// Whether there is a signature, good or not.
    pub fn has_signature(&self) -> bool {
        self.written.1.is_some()
    }

    /// Every file of the bundle with its bytes: the manifest, its signature if there is one, and what the manifest lists,
    /// each once.
    pub fn contents(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let (manifest, signature) = &self.written;
        let listed: BTreeMap<_, _> = self
            .manifest
            .files()
            .map(|(_, entry)| entry)
            .chain(self.manifest.check())
            .map(|entry| (entry.path.as_str(), self.store.bytes(&entry.path).unwrap_or_default()))
            .collect();
        std::iter::once((MANIFEST_NAME, manifest.as_slice()))
            .chain(signature.iter().map(|bytes| (SIGNATURE_NAME, bytes.as_slice())))
            .chain(listed)
    }

    /// Name of the bundle, as its manifest gives it.
    pub fn name(&self) -> &str {
        self.manifest.name()
    }

    /// `name@version+digits`; see [`Manifest::identity`]. Embeddings of two identities are never compared.
    pub fn identity(&self) -> String {
        self.manifest.identity()
    }

    /// Reads every byte of every listed file and compares its SHA-256. The error names the first file that differs.
    pub fn verify(&self) -> Result<()> {
        self.manifest
            .files()
            .map(|(_, entry)| entry)
            .chain(self.manifest.check())
            .try_for_each(|entry| self.verify_file(entry))
    }

    /// The stored inputs and outputs, if the bundle has any. The hash of their file is checked here.
    pub fn pairs(&self) -> Result<Option<Pairs>> {
        let Some(entry) = self.manifest.check() else { return Ok(None) };
        self.verify_file(entry)?;
        let bytes = self.store.bytes(&entry.path).unwrap_or_default();
        Pairs::from_bytes(bytes, self.manifest.embedding_width())
            .map(Some)
            .map_err(|cause| refuse(&self.shown, format_args!("{} {cause}", entry.path), FETCH_AGAIN))
    }

    fn verify_file(&self, entry: &FileEntry) -> Result<()> {
        let found = Digest::of(self.store.bytes(&entry.path).unwrap_or_default());
        if found == entry.sha256 {
            return Ok(());
        }
        let cause = format!("{} is damaged or was changed: its SHA-256 is {found}, not {}", entry.path, entry.sha256);
        Err(refuse(&self.shown, cause, FETCH_AGAIN))
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("path", &self.shown).field("identity", &self.identity()).finish_non_exhaustive()
    }
}
