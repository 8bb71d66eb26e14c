//! A signed update: a `.tar` of `update.toml`, its signature, and the file system of a slot.
//!
//! The manifest is signed, and holds the hash of the file system; so the signature covers all of it. Signatures are
//! minisign's, as those of bundles are.

use std::cmp::Ordering;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::Archive;

use crate::bundle::{Digest, Signed, Trust, compare_versions};
use crate::{Code, Error, Result};

use super::record::check_name;

const MANIFEST: &str = "update.toml";
const ROOT: &str = "root.img";
const FORMAT: u32 = 1;

/// The signature's name in an update.
pub const SIGNATURE: &str = "update.toml.minisig";

/// Most bytes of the manifest and of its signature.
const MOST_BYTES: u64 = 16 << 10;

/// Bytes that are read in one go.
pub(super) const CHUNK: usize = 1 << 20;

const FETCH_AGAIN: &str = "copy the update again from where it was made";

/// What the maker of an update says of it, and signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The board that it is for.
    pub board: String,
    /// Its version, which must not be older than the one that runs.
    pub version: String,
    /// Bytes of the file system.
    pub bytes: u64,
    /// SHA-256 of the file system.
    pub sha256: Digest,
}

/// An update whose signature was checked.
#[derive(Debug)]
pub struct Package {
    /// What is signed.
    pub manifest: Manifest,
    /// The key that signed it.
    pub key: String,
    file: File,
    begin: u64,
    shown: String,
}

impl Package {
    /// Opens an update and checks its signature; the file system in it is not read yet. Errors ([`Code::Untrusted`]) where
    /// it is not signed by one of the keys, or is no update, is changed or is cut short.
    pub fn open(path: &Path, trust: &Trust) -> Result<Self> {
        let shown = path.display().to_string();
        let no_update = |cause: String| refused(&shown, &format!("it is no whole update: {cause}"), FETCH_AGAIN);
        let file = File::open(path).map_err(|error| {
            let message = format!("update {shown} cannot be opened: {error}");
            Error::new(Code::Input, message, "name a file that `lookout update make` made")
        })?;
        let length = file.metadata().map_or(0, |meta| meta.len());
        let (mut manifest, mut signature, mut root) = (None, None, None);
        let mut archive = Archive::new(&file);
        for entry in archive.entries_with_seek().map_err(|error| no_update(error.to_string()))? {
            let mut entry = entry.map_err(|error| no_update(error.to_string()))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let held = match name.as_str() {
                ROOT => {
                    root = Some((entry.raw_file_position(), entry.size()));
                    break;
                }
                MANIFEST => &mut manifest,
                SIGNATURE => &mut signature,
                _ => return Err(no_update(format!("it holds {:?}", name.chars().take(40).collect::<String>()))),
            };
            let mut bytes = Vec::new();
            let read = entry.by_ref().take(MOST_BYTES + 1).read_to_end(&mut bytes);
            read.map_err(|error| no_update(error.to_string()))?;
            if bytes.len() as u64 > MOST_BYTES {
                return Err(no_update(format!("{name} has more than {MOST_BYTES} bytes")));
            }
            *held = Some(bytes);
        }
        let manifest = manifest.ok_or_else(|| no_update(format!("it has no {MANIFEST}")))?;
        let signer = trust.check_file(&signed(&shown), &manifest, signature.as_deref())?;
        // Only what is signed is read from here on.
        let text = String::from_utf8_lossy(&manifest);
        let manifest: Manifest =
            toml::from_str(&text).map_err(|error| no_update(format!("{MANIFEST}: {}", error.message())))?;
        if manifest.format != FORMAT {
            let cause = format!("its format is {}, this lookout reads {FORMAT}", manifest.format);
            return Err(refused(&shown, &cause, "update lookout in smaller steps, or write the card anew"));
        }
        check_name("board", &manifest.board)?;
        check_name("version", &manifest.version)?;
        let Some((begin, size)) = root else {
            return Err(no_update(format!("it is cut short: it has no {ROOT}")));
        };
        let there = length.saturating_sub(begin).min(size);
        if there != manifest.bytes || size != manifest.bytes {
            let cause = format!("it is cut short: {there} bytes of {ROOT}, of {}", manifest.bytes);
            return Err(refused(&shown, &cause, FETCH_AGAIN));
        }
        Ok(Self { manifest, key: signer.key, file, begin, shown })
    }

    /// Refuses an update for another board, and one that is older than the version that runs unless `older` is set.
    pub fn fits(&self, board: &str, running: Option<&str>, older: bool) -> Result<()> {
        let version = &self.manifest.version;
        if self.manifest.board != board {
            let cause = format!("it is for the board {}, and this is {board}", self.manifest.board);
            return Err(refused(&self.shown, &cause, "take the one for this board"));
        }
        match running {
            Some(running) if !older && compare_versions(version, running) == Ordering::Less => {
                let cause = format!("its version {version} is older than {running}, which runs");
                let help = "take a newer one; --allow-older takes it all the same, and `lookout update back` returns to \
                            the system before";
                Err(refused(&self.shown, &cause, help))
            }
            _ => Ok(()),
        }
    }

    /// Hands over the file system piece by piece, and checks it against the hash that is signed. The error comes after
    /// the last piece.
    pub fn read(&self, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while at < self.manifest.bytes {
            let piece = &mut buffer[..CHUNK.min((self.manifest.bytes - at) as usize)];
            self.file.read_exact_at(piece, self.begin + at).map_err(|error| {
                Error::new(Code::Input, format!("update {} cannot be read: {error}", self.shown), FETCH_AGAIN)
            })?;
            hash.update(&*piece);
            take(at, piece)?;
            at += piece.len() as u64;
        }
        if !same(hash, &self.manifest.sha256) {
            let cause = format!("{ROOT} is not what was signed: it was changed or is damaged");
            return Err(refused(&self.shown, &cause, FETCH_AGAIN));
        }
        Ok(())
    }
}

/// Whether what was hashed has this hash.
pub(super) fn same(hash: Sha256, wanted: &Digest) -> bool {
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    found == wanted.to_string()
}

fn signed(name: &str) -> Signed<'_> {
    let sign = "lookout update make ROOT --key NAME.key";
    Signed { kind: "update", name, file: MANIFEST, signature_file: SIGNATURE, sign }
}

fn refused(name: &str, cause: &str, help: &str) -> Error {
    signed(name).refused(cause, help)
}

/// Makes an update of the file system at `root`, signed with `key`, at `out`, which must not be there yet.
#[cfg(feature = "sign")]
pub fn make(root: &Path, board: &str, version: &str, key: &crate::bundle::SigningKey, out: &Path) -> Result<Manifest> {
    use std::time::{SystemTime, UNIX_EPOCH};
    check_name("board", board)?;
    check_name("version", version)?;
    let unreadable = |error: std::io::Error| {
        let message = format!("the file system {} cannot be read: {error}", root.display());
        Error::new(Code::Input, message, "name the root.img that `lookout flash image --root` wrote")
    };
    let mut file = File::open(root).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(unreadable)?;
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let sha256 = hex.parse().map_err(|cause: String| Error::new(Code::Output, cause, ""))?;
    let manifest = Manifest { format: FORMAT, board: board.to_owned(), version: version.to_owned(), bytes, sha256 };
    let text = toml::to_string(&manifest).map_err(|error| {
        Error::new(Code::Output, format!("the manifest cannot be written: {error}"), "report this as a bug")
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let comment = format!("timestamp:{now}\tfile:{MANIFEST}\tboard:{board}\tversion:{version}");
    let signature = key.sign_file(text.as_bytes(), &comment, "signature of a lookout update").map_err(|error| {
        Error::new(Code::Input, format!("the update cannot be signed: {error}"), "is the key whole?")
    })?;
    let beside = beside(out);
    let mut write = || -> std::io::Result<()> {
        use std::io::Seek;
        let mut archive = tar::Builder::new(File::create(&beside)?);
        let mut append = |name: &str, size: u64, bytes: &mut dyn Read| {
            let mut header = tar::Header::new_ustar();
            header.set_size(size);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, bytes)
        };
        append(MANIFEST, text.len() as u64, &mut text.as_bytes())?;
        append(SIGNATURE, signature.len() as u64, &mut signature.as_bytes())?;
        file.rewind()?;
        append(ROOT, bytes, &mut file)?;
        archive.into_inner()?.sync_all()?;
        std::fs::rename(&beside, out)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        let message = format!("{} cannot be written: {error}", out.display());
        Error::new(Code::Output, message, "choose a folder that you can write to, with room for the update")
    })?;
    Ok(manifest)
}

#[cfg(feature = "sign")]
struct HashWriter<'a>(&'a mut Sha256);

#[cfg(feature = "sign")]
impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "sign")]
fn beside(out: &Path) -> std::path::PathBuf {
    let mut name = out.to_owned().into_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}
