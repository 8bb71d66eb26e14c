//! The real daemon, with a folder as its camera.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use tempfile::TempDir;

/// A running daemon. It is killed when the test is over.
pub struct Daemon {
    folder: TempDir,
    child: Option<Child>,
}

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn binary() -> PathBuf {
    let given = std::env::var_os("LOOKOUT").map(PathBuf::from);
    let binary = given.unwrap_or_else(|| root().join("target/release/lookout"));
    assert!(
        binary.is_file(),
        "there is no {}: `make test-firmware` builds it, or give another in LOOKOUT",
        binary.display()
    );
    binary
}

/// The binary's output, run from the root of the project.
pub fn lookout(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).current_dir(root()).output().unwrap()
}

/// A picture with a dog.
pub fn picture() -> PathBuf {
    root().join("models/demo.jpg")
}

impl Daemon {
    /// Starts one on this port, with nothing before its camera.
    pub fn start(port: &Path, baud: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pictures")).unwrap();
        let config = format!(
            "device = \"test\"\nthreads = 1\n[memory]\nfolder = \"memory\"\n\
             [[camera]]\nname = \"demo\"\nsource = \"folder:pictures?loop=1\"\nfps = 2\n\
             [[trigger]]\nname = \"dog\"\nwhen = \"a dog\"\nthreshold = 0.3\n\
             [serial]\nport = \"{}\"\nbaud = {baud}\n",
            port.display()
        );
        fs::write(folder.path().join("lookout.toml"), config).unwrap();
        let mut daemon = Self { folder, child: None };
        daemon.restart();
        daemon
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(binary());
        command.args(["-v", "run", "-c"]).arg(self.folder.path().join("lookout.toml")).current_dir(root());
        self.child = Some(command.stderr(log).spawn().unwrap());
    }

    /// Puts the picture with the dog before the camera.
    pub fn show(&self) {
        let beside = self.folder.path().join("arriving");
        fs::copy(picture(), &beside).unwrap();
        fs::rename(&beside, self.folder.path().join("pictures/dog.jpg")).unwrap();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
