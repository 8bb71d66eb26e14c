//! A single-board computer in an emulator, which runs the image of `boards/qemu-virt`: Debian for arm64, with the daemon as a
//! service of systemd.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::root;

/// A machine that is switched on. Its power is cut when the test is over.
pub struct Sbc {
    folder: TempDir,
    child: Child,
    ssh: u16,
}

impl Sbc {
    /// Puts the image of `IMAGE` onto a card with this configuration, and switches the machine on. Its serial line is wired to
    /// the pseudo-terminal at `line`, whose speed is what the machine sets its port to.
    pub fn start(line: &Path, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        done(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at("id")));
        let key = fs::read_to_string(at("id.pub")).unwrap();
        fs::write(at("settings.toml"), format!("[ssh]\nkeys = [\"{}\"]\n", key.trim())).unwrap();
        fs::write(at("lookout.toml"), config).unwrap();
        done(Command::new("cp").arg("--sparse=always").arg(image()).arg(at("card")));
        File::options().write(true).open(at("card")).unwrap().set_len(2 << 30).unwrap();
        for file in ["settings.toml", "lookout.toml"] {
            let boot = format!("{}@@8M", at("card").display());
            done(Command::new("mcopy").args(["-n", "-o", "-i", &boot]).arg(at(file)).arg(format!("::{file}")));
        }
        let ssh = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(root().join("boards/qemu-virt/run.sh"));
        command
            .args([image(), at("card")])
            .args(["-monitor", "none", "-nic", &format!("user,restrict=on,hostfwd=tcp:127.0.0.1:{ssh}-:22")])
            .env("LINE", format!("serial,path={}", line.display()))
            .env("CONSOLE", format!("file:{}", at("console").display()))
            .stdin(Stdio::null())
            .stderr(File::create(at("errors")).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { folder, child, ssh }
    }

    /// What a command prints that is run inside; `None` where it cannot be run yet, or fails.
    pub fn inside(&self, command: &str) -> Option<Vec<u8>> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-qi").arg(self.folder.path().join("id")).args(["-p", &self.ssh.to_string()]);
        for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=20", "BatchMode=yes"]
        {
            ssh.args(["-o", option]);
        }
        let output = ssh.args(["root@127.0.0.1", command]).stdin(Stdio::null()).output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    /// What it says on its console, and what its emulator complains of.
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read(self.folder.path().join(name)).unwrap_or_default();
        ["console", "errors"].map(|name| String::from_utf8_lossy(&read(name)).into_owned()).concat()
    }
}

impl Drop for Sbc {
    fn drop(&mut self) {
        // The emulator; the script that runs it then removes what it made, and ends.
        let _ = Command::new("pkill").args(["-TERM", "-P", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn image() -> PathBuf {
    let given = std::env::var_os("IMAGE").map(PathBuf::from);
    let image = given.unwrap_or_else(|| root().join("target/image/lookout-qemu-virt.img"));
    assert!(image.is_file(), "there is no {}: `make image` makes it, or name another in IMAGE", image.display());
    image
}

fn done(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
