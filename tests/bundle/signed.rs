//! Nothing that a trusted key did not sign is read: not one changed byte of a file, of the manifest or of the signature
//! passes, and each refusal says what is wrong and what to do. And minisign's own tool agrees.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::{self, changed_bundle, folder, lookout};
use lookout::bundle::{Bundle, Role, Trust};
use tempfile::TempDir;

/// A signed copy of the default bundle, and the folder of the keys that signed it.
struct Signed {
    bundle: TempDir,
    keys: TempDir,
}

impl Signed {
    fn new() -> Self {
        let signed = Self { bundle: changed_bundle(|_, _| {}), keys: folder() };
        keygen(&signed.key("vendor"));
        sign(signed.bundle.path(), &signed.key("vendor.key")).good();
        signed
    }

    fn key(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    fn check(&self) -> cli::Run {
        check(self.bundle.path(), &self.key("vendor.pub"))
    }

    /// Replaces a file, which may be a hard link to the repository's.
    fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.bundle.path().join(file);
        fs::remove_file(&path).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.bundle.path().join(file)).unwrap()
    }

    fn trust(&self) -> Trust {
        Trust::read([self.key("vendor.pub").to_str().unwrap()]).unwrap()
    }
}

fn keygen(name: &Path) {
    lookout(["bundle".as_ref(), "keygen".as_ref(), name.as_os_str(), "--no-password".as_ref()]).good();
}

fn sign(bundle: &Path, key: &Path) -> cli::Run {
    lookout(["bundle".as_ref(), "sign".as_ref(), bundle.as_os_str(), "--key".as_ref(), key.as_os_str()])
}

fn check(bundle: &Path, key: &Path) -> cli::Run {
    lookout(["bundle".as_ref(), "check".as_ref(), bundle.as_os_str(), "--trusted-key".as_ref(), key.as_os_str()])
}

#[test]
fn a_bundle_signed_by_a_trusted_key_is_taken_as_folder_and_as_archive() {
    let signed = Signed::new();
    let answer = lookout([
        "bundle",
        "check",
        signed.bundle.path().to_str().unwrap(),
        "--json",
        // A folder of keys.
        "--trusted-key",
        signed.keys.path().to_str().unwrap(),
    ]);
    let answer = answer.good().json();
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["signed_by"], signed.key("vendor.pub").to_str().unwrap());

    let archive = signed.key("bundle.tar");
    let packed = Command::new("tar").arg("-chf").arg(&archive).arg("-C").arg(signed.bundle.path()).arg(".").status();
    assert!(packed.unwrap().success());
    check(&archive, &signed.key("vendor.pub")).good();
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    check(&archive, &signed.key("vendor.pub")).bad(1, &["SHA-256"]);
}

#[test]
fn one_changed_byte_of_any_file_is_refused_by_the_files_name() {
    let signed = Signed::new();
    let bundle = Bundle::open(signed.bundle.path()).unwrap();
    let files: Vec<String> = bundle.contents().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(files.len(), 9, "manifest, signature, check file, six roles");
    drop(bundle);
    for file in files.iter().filter(|file| !file.starts_with("lookout.toml")) {
        let sound = signed.read(file);
        for at in [0, sound.len() / 2, sound.len() - 1] {
            let mut changed = sound.clone();
            changed[at] ^= 1;
            signed.write(file, &changed);
            signed.check().bad(1, &[file, "SHA-256"]);
        }
        signed.write(file, &sound[..sound.len() - 1]);
        signed.check().bad(1, &[file, "bytes"]);
        signed.write(file, &sound);
    }
    signed.check().good();
}

#[test]
fn one_changed_byte_of_the_manifest_or_the_signature_is_refused() {
    let signed = Signed::new();
    for file in ["lookout.toml", "lookout.toml.minisig"] {
        let sound = signed.read(file);
        // All that counts: a signature's first line is a comment that nobody signs.
        let first = if file.ends_with("minisig") { sound.iter().position(|b| *b == b'\n').unwrap() + 1 } else { 0 };
        for at in (first..sound.len() - 1).step_by(7) {
            let mut changed = sound.clone();
            changed[at] ^= 1;
            signed.write(file, &changed);
            let error = Bundle::open_trusting(signed.bundle.path(), Some(&signed.trust())).unwrap_err();
            assert_eq!(error.code().as_str(), "untrusted", "byte {at} of {file}: {error}");
        }
        for end in [0, 1, first, sound.len() / 2, sound.len() - 9] {
            signed.write(file, &sound[..end]);
            let error = Bundle::open_trusting(signed.bundle.path(), Some(&signed.trust())).unwrap_err();
            assert_eq!(error.code().as_str(), "untrusted", "{file} cut at {end}: {error}");
        }
        signed.write(file, &sound);
    }
    signed.check().good();
}

#[test]
fn each_refusal_says_what_is_wrong_and_what_to_do() {
    let signed = Signed::new();
    let signature = signed.read("lookout.toml.minisig");
    signed.write("lookout.toml.minisig", b"");
    signed.check().bad(1, &["damaged", "sign it anew"]);
    fs::remove_file(signed.bundle.path().join("lookout.toml.minisig")).unwrap();
    signed.check().bad(1, &["is not signed", "lookout bundle sign"]);
    fs::write(signed.bundle.path().join("lookout.toml.minisig"), signature).unwrap();

    keygen(&signed.key("stranger"));
    check(signed.bundle.path(), &signed.key("stranger.pub"))
        .bad(1, &["a key that is not trusted here", "stranger.pub"]);
    check(signed.bundle.path(), &signed.key("vendor.key")).bad(1, &["no public key", "NAME.pub"]);
    check(signed.bundle.path(), &signed.key("nobody.pub")).bad(1, &["nobody.pub", "cannot be read"]);
    sign(signed.bundle.path(), &signed.key("vendor.pub")).bad(1, &["no secret key", "NAME.key"]);

    // A true signature, of another bundle by the same key.
    let other = changed_bundle(|_, manifest| {
        manifest.insert("version".into(), "99".into());
    });
    sign(other.path(), &signed.key("vendor.key")).good();
    signed.write("lookout.toml.minisig", &fs::read(other.path().join("lookout.toml.minisig")).unwrap());
    signed.check().bad(1, &["not what was signed"]);
    let keys =
        lookout(["bundle".as_ref(), "keygen".as_ref(), signed.key("vendor").as_os_str(), "--no-password".as_ref()]);
    keys.bad(1, &["there already"]);
}

#[test]
fn what_is_written_into_a_file_after_it_was_checked_is_not_read() {
    let signed = Signed::new();
    let sound = signed.read("image.onnx");
    signed.write("image.onnx", &sound);
    let bundle = Bundle::open_trusting(signed.bundle.path(), Some(&signed.trust())).unwrap();
    // In place, as no honest program would.
    fs::write(signed.bundle.path().join("image.onnx"), vec![7; sound.len()]).unwrap();
    assert!(bundle.bytes(Role::Image) == Some(&sound[..]));
    bundle.verify().unwrap();
}

#[test]
fn minisign_takes_our_signatures_and_we_take_its_own() {
    let signed = Signed::new();
    let minisign = |arguments: &[&str], key: &str, input: &str| {
        let mut command = Command::new("minisign");
        command.args(arguments).arg(if key.ends_with("pub") { "-p" } else { "-s" }).arg(signed.key(key));
        command.arg("-m").arg(signed.bundle.path().join("lookout.toml"));
        let ran = cli::run(command, input.as_bytes());
        assert_eq!(ran.code, 0, "{}{}\nminisign comes with: make tools-bundle", ran.out, ran.err);
    };
    minisign(&["-V"], "vendor.pub", "");
    // Its tool signs with our key, and with its own.
    minisign(&["-S"], "vendor.key", "");
    signed.check().good();
    let made = Command::new("minisign")
        .args(["-G", "-W", "-p"])
        .arg(signed.key("tool.pub"))
        .arg("-s")
        .arg(signed.key("tool.key"))
        .output();
    assert!(made.expect("minisign comes with: make tools-bundle").status.success());
    minisign(&["-S"], "tool.key", "");
    check(signed.bundle.path(), &signed.key("tool.pub")).good();
    sign(signed.bundle.path(), &signed.key("tool.key")).good();
    check(signed.bundle.path(), &signed.key("tool.pub")).good();
    minisign(&["-V"], "tool.pub", "");
}

#[test]
fn a_secret_key_with_a_password_needs_it() {
    let signed = Signed::new();
    let (right, wrong) = (signed.key("right"), signed.key("wrong"));
    fs::write(&right, "a long sentence\n").unwrap();
    fs::write(&wrong, "another\n").unwrap();
    let with = |command: &str, arguments: &[&Path], password: &Path| {
        let mut all: Vec<&std::ffi::OsStr> = vec!["bundle".as_ref(), command.as_ref()];
        all.extend(arguments.iter().map(|argument| argument.as_os_str()));
        all.extend(["--password-file".as_ref(), password.as_os_str()]);
        lookout(all)
    };
    let (key, bundle) = (signed.key("locked.key"), signed.bundle.path());
    with("keygen", &[&signed.key("locked")], &right).good();
    with("sign", &[bundle, Path::new("--key"), &key], &wrong).bad(1, &["cannot be unlocked"]);
    signed.check().good();
    with("sign", &[bundle, Path::new("--key"), &key], &right).good();
    check(bundle, &signed.key("locked.pub")).good();
}

#[test]
fn a_bundle_is_made_from_a_draft_without_hashes_signed_and_packed() {
    let signed = Signed::new();
    let draft = changed_bundle(|_, manifest| {
        manifest.remove("check");
        for (_, file) in manifest["files"].as_table_mut().unwrap() {
            file.as_table_mut().unwrap().retain(|key, _| key != "sha256" && key != "bytes");
        }
    });
    let (text, out) = (draft.path().join("lookout.toml"), signed.key("made.tar"));
    let made = lookout(
        [
            Path::new("bundle"),
            Path::new("make"),
            &text,
            "--out".as_ref(),
            &out,
            "--key".as_ref(),
            &signed.key("vendor.key"),
        ]
        .map(Path::as_os_str),
    );
    assert!(made.good().out.ends_with(", signed\n"));
    check(&out, &signed.key("vendor.pub")).good();
    let bundle = Bundle::open_trusting(&out, Some(&signed.trust())).unwrap();
    let pairs = bundle.pairs().unwrap().expect("outputs are stored");
    assert!(pairs.image.len() == 2 && pairs.text.len() == 2);

    // A draft that names a file that is not there leaves nothing behind.
    fs::remove_file(draft.path().join("text.onnx")).unwrap();
    let again = signed.key("again");
    lookout([Path::new("bundle"), Path::new("make"), &text, "--out".as_ref(), &again].map(Path::as_os_str))
        .bad(1, &["text.onnx"]);
    assert!(
        !signed.keys.path().read_dir().unwrap().flatten().any(|e| e.file_name().to_string_lossy().starts_with("again"))
    );
}
