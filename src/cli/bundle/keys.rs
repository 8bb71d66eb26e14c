//! `lookout bundle keygen` and `lookout bundle sign`

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::bundle::{Bundle, KeyPair, MANIFEST_NAME, SIGNATURE_NAME, SigningKey};
use crate::{Code, Error, Result};

use super::super::console::{Console, Outcome};

#[derive(Args)]
#[command(after_help = "Examples:
  lookout bundle keygen vendor
  lookout bundle sign my-bundle --key vendor.key
  lookout bundle check my-bundle --trusted-key vendor.pub

NAME.pub goes to every board, NAME.key stays with you. Both are minisign's own files.")]
pub(in crate::cli) struct Keygen {
    /// The files NAME.pub and NAME.key are written
    name: PathBuf,
    #[command(flatten)]
    password: Password,
    /// Leave the secret key without a password, as for a build machine
    #[arg(long, conflicts_with = "password_file")]
    no_password: bool,
}

#[derive(Args)]
#[command(after_help = "Example:
  lookout bundle sign my-bundle --key vendor.key

The manifest holds the hash of every file, so that its signature covers all of them. A .tar is signed by signing its
folder and packing that again; `lookout bundle make` does both.")]
pub(in crate::cli) struct Sign {
    /// Folder of the bundle
    folder: PathBuf,
    /// Secret key of `lookout bundle keygen`, or of minisign
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    password: Password,
}

#[derive(Args)]
pub(in crate::cli) struct Password {
    /// File whose first line is the secret key's password [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Made {
    task: &'static str,
    public: PathBuf,
    secret: PathBuf,
}

#[derive(Serialize)]
struct Signed {
    task: &'static str,
    bundle: String,
    signature: PathBuf,
}

impl Keygen {
    pub fn run(self, console: &Console) -> Outcome {
        let with = |extension: &str| {
            let mut path = self.name.clone().into_os_string();
            path.push(extension);
            PathBuf::from(path)
        };
        let (public, secret) = (with(".pub"), with(".key"));
        if let Some(there) = [&public, &secret].into_iter().find(|path| path.symlink_metadata().is_ok()) {
            let message = format!("{} is there already, and keys are not overwritten", there.display());
            return Err(Error::new(Code::Output, message, "choose another name").into());
        }
        let password = if self.no_password { None } else { Some(self.password.new_one()?) };
        let pair = KeyPair::new(password)?;
        write(&secret, pair.secret.as_bytes(), 0o600)?;
        write(&public, pair.public.as_bytes(), 0o644)?;
        let made = Made { task: "bundle keygen", public, secret };
        console.answer(&made, || {
            let (public, secret) = (made.public.display(), made.secret.display());
            format!("{public}  for every board: trusted_keys = [\"{public}\"] and require_signature = true\n{secret}  for you alone\n")
        })
    }
}

impl Sign {
    pub fn run(self, console: &Console) -> Outcome {
        if self.folder.is_file() {
            let message = format!("{} is a file: a folder is signed, and packed afterwards", self.folder.display());
            let help = "unpack it, sign the folder, and pack that: tar -cf NAME.tar -C FOLDER .";
            return Err(Error::new(Code::Input, message, help).into());
        }
        // Nobody should sign what is not whole.
        let bundle = Bundle::open(&self.folder)?;
        bundle.verify()?;
        let signature = sign(&self.folder, &bundle, &self.key, &self.password)?;
        let signed = Signed { task: "bundle sign", bundle: bundle.identity(), signature };
        console.answer(&signed, || format!("{}\n{}\n", signed.bundle, signed.signature.display()))
    }
}

/// Signs the manifest of the bundle in `folder`, and returns the signature's path. The password is asked for where the key
/// has one.
pub(super) fn sign(folder: &Path, bundle: &Bundle, key: &Path, password: &Password) -> Result<PathBuf> {
    let key = SigningKey::read(key, || password.get())?;
    let manifest =
        bundle.contents().find(|(path, _)| *path == MANIFEST_NAME).map(|(_, bytes)| bytes).unwrap_or_default();
    let path = folder.join(SIGNATURE_NAME);
    write(&path, key.sign(manifest, &folder.display().to_string())?.as_bytes(), 0o644)?;
    Ok(path)
}

impl Password {
    /// The first line of the file, or what is typed.
    pub(in crate::cli) fn get(&self) -> Result<String> {
        match &self.password_file {
            Some(path) => first_line(path),
            None => ask("password of the secret key: "),
        }
    }

    fn new_one(&self) -> Result<String> {
        if self.password_file.is_some() {
            return self.get();
        }
        let password = ask("password for the secret key: ")?;
        if ask("the same again: ")? != password {
            return Err(Error::new(Code::Usage, "the two passwords differ", "try again"));
        }
        Ok(password)
    }
}

fn first_line(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("the password file {} cannot be read: {error}", path.display());
        Error::new(Code::Input, message, "name a file whose first line is the password")
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn ask(prompt: &str) -> Result<String> {
    let unasked = |cause: String| {
        let message = format!("the password cannot be asked for: {cause}");
        Error::new(Code::Usage, message, "give --password-file FILE; for a new key, or --no-password")
    };
    if !std::io::stderr().is_terminal() && !Path::new("/dev/tty").exists() {
        return Err(unasked("there is no terminal".to_owned()));
    }
    rpassword::prompt_password(prompt).map_err(|error| unasked(error.to_string()))
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".new");
    let mut options = OpenOptions::new();
    let written = options.write(true).create(true).truncate(true).mode(mode).open(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        let message = format!("{} cannot be written: {error}", path.display());
        Error::new(Code::Output, message, "choose a folder that you can write to")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Trust;

    #[test]
    fn a_key_and_the_name_of_a_file_are_told_apart() {
        let pair = KeyPair::new(None).unwrap();
        let key = pair.public.lines().nth(1).unwrap();
        assert!(Trust::is_key(key) && !Trust::is_key("vendor.pub") && !Trust::is_key(&key[1..]));
        assert!(Trust::read([key]).is_ok());
    }
}
