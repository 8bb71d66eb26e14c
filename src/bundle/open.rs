//! Opening, verifying and finding a bundle.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Code, Error, Result};

use super::complaint::{FETCH_AGAIN, refuse};
use super::store::Store;
use super::{Digest, FileEntry, Manifest, Pairs, Role};

/// An open bundle: a checked manifest and the bytes of every file that it lists, mapped and not copied.
///
/// The files must not be cut short while the bundle is open; replace a bundle by renaming a new one into place.
pub struct Bundle {
    shown: String,
    manifest: Manifest,
    store: Store,
}

impl Bundle {
    /// Opens a folder or a `.tar` of it. Checks the manifest, and that every file is there with the stated size; hashes
    /// are left to [`Bundle::verify`]. Errors: [`Code::Input`] when there is nothing at `path`, else [`Code::Bundle`].
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let mut store = Store::open(path, &shown)?;
        let manifest = Manifest::from_bytes(&store.manifest(&shown)?, &shown)?;
        for entry in manifest.files().map(|(_, entry)| entry).chain(manifest.check()) {
            store.admit(entry, &shown)?;
        }
        Ok(Self { shown, manifest, store })
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

    /// Whether the bundle has a role.
    pub fn has(&self, role: Role) -> bool {
        self.manifest.file(role).is_some()
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
