//! Whose signature is believed. Signatures are minisign's (Ed25519 over BLAKE2b), so that its own tools make and check
//! them too: `minisign -Sm lookout.toml`.

use std::path::Path;

use minisign_verify::{Error as Minisign, PublicKey, Signature};

use crate::{Code, Error, Result};

use super::{MANIFEST_NAME, Signer};

/// The signature's name in its bundle, beside the manifest that it signs.
pub const SIGNATURE_NAME: &str = "lookout.toml.minisig";

/// Largest signature that is read, in bytes.
pub(super) const MAX_SIGNATURE_BYTES: usize = 16 << 10;

/// Largest file of a public key, in bytes.
const MAX_KEY_BYTES: u64 = 16 << 10;

/// Letters of a public key.
const KEY_LETTERS: usize = 56;

/// Public keys, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Trust {
    keys: Vec<(String, PublicKey)>,
}

impl Trust {
    /// Reads keys: each source is a public key as text (56 letters that begin with `RW`), a file with one, or a folder
    /// whose files `*.pub` are read. Errors ([`Code::Input`]) name the source.
    pub fn read<S: AsRef<str>>(sources: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut keys = Vec::new();
        for source in sources {
            let source = source.as_ref();
            if Self::is_key(source) {
                keys.push((source.to_owned(), PublicKey::from_base64(source).map_err(|e| unusable(source, &e))?));
                continue;
            }
            let path = Path::new(source);
            if path.is_dir() {
                keys.extend(folder(path)?);
            } else {
                keys.push(file(path)?);
            }
        }
        if keys.is_empty() {
            let help = "make a pair of keys with: lookout bundle keygen NAME, and put NAME.pub there";
            return Err(Error::new(Code::Input, "there is no trusted key, so no bundle could be opened", help));
        }
        Ok(Self { keys })
    }

    /// Whether `text` is a key rather than the name of a file.
    pub fn is_key(text: &str) -> bool {
        text.len() == KEY_LETTERS && text.starts_with("RW") && !text.contains('.')
    }

    /// Refuses a manifest that none of the keys signed.
    pub(super) fn check(&self, manifest: &[u8], signature: Option<&[u8]>, bundle: &str) -> Result<Signer> {
        let sign = "lookout bundle sign FOLDER --key NAME.key";
        let signed = Signed { kind: "bundle", name: bundle, file: MANIFEST_NAME, signature_file: SIGNATURE_NAME, sign };
        self.check_file(&signed, manifest, signature)
    }

    /// Refuses a file that none of the keys signed.
    pub(crate) fn check_file(&self, signed: &Signed, bytes: &[u8], signature: Option<&[u8]>) -> Result<Signer> {
        let Signed { kind, file, signature_file, sign, .. } = signed;
        let refuse = |cause: &str, help: &str| Err(signed.refused(cause, help));
        let Some(signature) = signature else {
            return refuse(
                &format!("it is not signed: it has no {signature_file}"),
                &format!("get it from somebody whose key is trusted here, or sign it: {sign}"),
            );
        };
        let text = std::str::from_utf8(signature).unwrap_or_default();
        // Older minisign signed the file itself, without BLAKE2b; that form is not taken.
        let decoded = (signature.len() <= MAX_SIGNATURE_BYTES).then(|| Signature::decode(text).ok()).flatten();
        let Some(decoded) = decoded else {
            return refuse(
                &format!("its signature is damaged: {signature_file} is cut short or is no minisign signature"),
                &format!("copy the {kind} again, or sign it anew"),
            );
        };
        let mut known = false;
        for (name, key) in &self.keys {
            match key.verify(bytes, &decoded, false) {
                Ok(()) => {
                    let comment = decoded.trusted_comment().to_owned();
                    return Ok(Signer { key: name.clone(), comment });
                }
                Err(Minisign::UnexpectedKeyId) => {}
                Err(_) => known = true,
            }
        }
        if known {
            return refuse(
                &format!("{file} is not what was signed: it or its signature was changed or is damaged"),
                &format!("copy the {kind} again from where it was signed; do not use this one"),
            );
        }
        let names: Vec<&str> = self.keys.iter().map(|(name, _)| name.as_str()).collect();
        refuse(
            &format!("it is signed by a key that is not trusted here (trusted: {})", names.join(", ")),
            &format!(
                "get the {kind} from somebody whose key is trusted here; if you believe this signer, add their public key"
            ),
        )
    }
}

/// What a signature stands for, in the words of an error.
pub(crate) struct Signed<'a> {
    /// `bundle`
    pub kind: &'static str,
    /// Which one.
    pub name: &'a str,
    /// The file that is signed.
    pub file: &'static str,
    /// The file that the signature is in.
    pub signature_file: &'static str,
    /// The command that signs it.
    pub sign: &'static str,
}

impl Signed<'_> {
    /// An error about something that is not believed.
    pub(crate) fn refused(&self, cause: &str, help: &str) -> Error {
        Error::new(Code::Untrusted, format!("{} {} is refused: {cause}", self.kind, self.name), help)
    }
}

/// An error about a bundle that is not believed.
pub(super) fn untrusted(bundle: &str, cause: &str, help: &str) -> Error {
    Error::new(Code::Untrusted, format!("bundle {bundle} is refused: {cause}"), help)
}

fn folder(path: &Path) -> Result<Vec<(String, PublicKey)>> {
    let entries = path.read_dir().map_err(|error| unreadable(path, &error))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
    paths.sort();
    paths.iter().map(|path| file(path)).collect()
}

fn file(path: &Path) -> Result<(String, PublicKey)> {
    let size = path.metadata().map_err(|error| unreadable(path, &error))?.len();
    let shown = path.display().to_string();
    if size > MAX_KEY_BYTES {
        return Err(unusable(&shown, &"it is larger than 16 KiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    // With its comment as minisign writes it, or the key alone.
    let key = PublicKey::decode(&text).or_else(|_| PublicKey::from_base64(text.trim()));
    key.map(|key| (shown.clone(), key)).map_err(|error| unusable(&shown, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("the trusted key {} cannot be read: {error}", path.display());
    Error::new(Code::Input, message, "name the file NAME.pub of `lookout bundle keygen NAME`, or a folder of such")
}

fn unusable(source: &str, cause: &impl std::fmt::Display) -> Error {
    let message = format!("{source} is no public key of minisign: {cause}");
    Error::new(Code::Input, message, "name the file NAME.pub of `lookout bundle keygen NAME`, not NAME.key")
}
