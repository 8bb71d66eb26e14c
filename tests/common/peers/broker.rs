//! A real mosquitto on a free port, which can be killed and started again.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A broker; killed when dropped.
pub struct Broker {
    pub port: u16,
    pub folder: TempDir,
    child: Option<Child>,
}

impl Broker {
    /// Lets everybody in, remembers nothing over its end.
    pub fn open() -> Self {
        Self::with(|_, port| format!("listener {port} 127.0.0.1\nallow_anonymous true\n"))
    }

    /// Remembers sessions and retained messages when it is ended with `end`.
    pub fn persistent() -> Self {
        Self::with(|folder, port| {
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\npersistence true\n\
                 persistence_location {}/\n",
                folder.display()
            )
        })
    }

    /// `configure` is given the broker's folder and its port, and may write files there.
    pub fn with(configure: impl Fn(&Path, u16) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        // As root it would change to a user that cannot read the folder.
        let text =
            format!("user root\nlog_dest file {0}/log\n{1}", folder.path().display(), configure(folder.path(), port));
        fs::write(folder.path().join("mosquitto.conf"), text).unwrap();
        let mut broker = Self { port, folder, child: None };
        broker.start();
        broker
    }

    /// Starts it and waits until it listens.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let child = Command::new(tool("mosquitto"))
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let end = Instant::now() + super::PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "mosquitto does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it at once, as a power cut does: it forgets everything that is not on its disk.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in good order.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }

    /// The number of its process; 0 while there is none.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a tool of the broker is.
pub fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing, which these tests talk to: run `make tools-daemon`"))
}

/// A port of loopback on which nobody listens.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
