//! Making keys and signatures, in minisign's own forms.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minisign::{PublicKey, SecretKeyBox};

use crate::{Code, Error, Result};

use super::{MANIFEST_NAME, Manifest};

/// A new pair of keys, as their files' text.
pub struct KeyPair {
    /// For everybody: `NAME.pub`.
    pub public: String,
    /// For the signer alone: `NAME.key`.
    pub secret: String,
}

/// A secret key that is ready to sign.
pub struct SigningKey {
    secret: minisign::SecretKey,
}

impl KeyPair {
    /// Makes a pair. The secret key is encrypted by `password`; without one it is not encrypted at all.
    pub fn new(password: Option<String>) -> Result<Self> {
        let pair = match password {
            Some(password) => minisign::KeyPair::generate_encrypted_keypair(Some(password)),
            None => minisign::KeyPair::generate_unencrypted_keypair(),
        };
        let text = |pair: minisign::KeyPair| -> minisign::Result<Self> {
            let secret = pair.sk.to_box(Some("lookout bundle signing key: keep it to yourself"))?.into_string();
            Ok(Self { public: pair.pk.to_box()?.into_string(), secret })
        };
        pair.and_then(text).map_err(|error| {
            Error::new(Code::Output, format!("no keys can be made: {error}"), "free some memory (1 GiB is needed)")
        })
    }
}

impl SigningKey {
    /// Reads the file of a secret key. `password` is called where it is encrypted.
    pub fn read(path: &Path, password: impl FnOnce() -> Result<String>) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let help = "name the file NAME.key of: lookout bundle keygen NAME";
            Error::new(Code::Input, format!("the secret key {shown} cannot be read: {error}"), help)
        })?;
        let bytes = text.lines().nth(1).and_then(|line| STANDARD.decode(line.trim()).ok()).unwrap_or_default();
        let secret = minisign::SecretKey::from_bytes(&bytes).map_err(|_| {
            let help = "name the file NAME.key of: lookout bundle keygen NAME, not NAME.pub";
            Error::new(Code::Input, format!("{shown} is no secret key of minisign"), help)
        })?;
        if !secret.is_encrypted() {
            return Ok(Self { secret });
        }
        let password = password()?;
        let unlocked = SecretKeyBox::from_string(&text).and_then(|locked| locked.into_secret_key(Some(password)));
        let secret = unlocked.map_err(|error| {
            Error::new(
                Code::Input,
                format!("the secret key {shown} cannot be unlocked: {error}"),
                "is the password right?",
            )
        })?;
        Ok(Self { secret })
    }

    /// The signature of a manifest, as the text of `lookout.toml.minisig`. Its trusted comment tells when it was made, and
    /// the bundle's name and version.
    pub fn sign(&self, manifest: &[u8], bundle: &str) -> Result<String> {
        let parsed = Manifest::from_bytes(manifest, bundle)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let comment =
            format!("timestamp:{now}\tfile:{MANIFEST_NAME}\tbundle:{}\tversion:{}", parsed.name(), parsed.version());
        self.sign_file(manifest, &comment, "signature of a lookout bundle").map_err(|error| {
            Error::new(Code::Bundle, format!("bundle {bundle} cannot be signed: {error}"), "is the key whole?")
        })
    }

    /// The signature of `bytes` with a trusted `comment`, under a line that says what it is.
    pub(crate) fn sign_file(&self, bytes: &[u8], comment: &str, title: &str) -> minisign::Result<String> {
        let public = PublicKey::from_secret_key(&self.secret)?;
        minisign::sign(Some(&public), &self.secret, bytes, Some(comment), Some(title))
            .map(|signature| signature.into_string())
    }
}
