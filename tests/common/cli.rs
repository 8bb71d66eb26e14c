//! What the tests of the command line share: running the program, and making bundles with something wrong in them.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a run of the program left.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// The one line of JSON on standard output.
    pub fn json(&self) -> Value {
        assert_eq!(self.out.matches('\n').count(), 1, "one line: {:?}", self.out);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {:?}", self.out))
    }

    /// The run ended well.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, 0, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// The run failed with `code`: a human error with help that has every one of `words`, nothing on standard output.
    #[track_caller]
    pub fn bad(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        assert!(!self.err.contains("panicked") && !self.err.contains("RUST_BACKTRACE"), "{}", self.err);
        assert!(self.err.contains("error: ") && self.err.contains("\n  help: "), "{}", self.err);
        assert_eq!(self.out, "", "nothing is half printed");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in: {}", self.err);
        }
        self
    }
}

/// Runs the program.
pub fn lookout<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    run(program(args), b"")
}

/// Runs the program with something on standard input.
pub fn lookout_reading<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &[u8]) -> Run {
    run(program(args), input)
}

/// The program, to be run from the project's folder with its default bundle.
pub fn program<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env("LOOKOUT_BUNDLE", default_bundle());
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command, input: &[u8]) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("no panic in the writer");
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8 output"),
        err: String::from_utf8(output.stderr).expect("UTF-8 errors"),
    }
}

/// The bundle in the repository.
pub fn default_bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default")
}

/// A stored picture, by its name in `tests/fixtures/picture`.
pub fn picture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/picture").join(name);
    assert!(path.is_file(), "{} is stored", path.display());
    path.to_str().expect("UTF-8 checkout").to_owned()
}

/// An empty folder that goes away with the value, on the disk that the bundle is on.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder")
}

/// A copy of the default bundle whose manifest `change` has changed.
pub fn changed_bundle(change: impl FnOnce(&Path, &mut toml::Table)) -> tempfile::TempDir {
    let copy = folder();
    for item in std::fs::read_dir(default_bundle()).expect("the default bundle").flatten() {
        let to = copy.path().join(item.file_name());
        if item.path().is_file() && std::fs::hard_link(item.path(), &to).is_err() {
            std::fs::copy(item.path(), &to).expect("a copy");
        }
    }
    let manifest = copy.path().join("lookout.toml");
    let mut table: toml::Table = std::fs::read_to_string(&manifest).expect("a manifest").parse().expect("TOML");
    change(copy.path(), &mut table);
    // The old one may be a hard link to the repository's.
    std::fs::remove_file(&manifest).expect("removed");
    std::fs::write(&manifest, table.to_string()).expect("written");
    copy
}

/// Replaces a file of a bundle and keeps its manifest true.
pub fn replace(folder: &Path, manifest: &mut toml::Table, role: &str, bytes: &[u8]) {
    use sha2::Digest;
    let entry = manifest["files"][role].as_table_mut().expect("a file entry");
    let path = folder.join(entry["path"].as_str().expect("a path"));
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, bytes).expect("written");
    let digest = sha2::Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    entry.insert("sha256".into(), hex.into());
    entry.insert("bytes".into(), (bytes.len() as i64).into());
}
