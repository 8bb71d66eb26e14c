//! A daemon of its own for a test: a configuration, a folder as the camera, a port, a memory.
#![allow(dead_code, reason = "not every test file needs all of it")]

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The trigger that every daemon has at first.
pub const DOG: &str = "[[trigger]]\nname = \"dog\"\nwhen = \"a dog\"\nthreshold = 0.3\n";

/// A running daemon. It is killed when the test is over.
pub struct Daemon {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    arguments: Vec<String>,
}

/// The binary's output, run from the root of the package.
pub fn lookout(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lookout")).args(arguments).current_dir(root()).output().unwrap()
}

/// Calls `probe` until it has something.
pub fn wait_for<T>(what: &str, time: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + time;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < until, "no {what} within {time:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A picture with a dog.
pub fn demo_picture() -> PathBuf {
    root().join("models/demo.jpg")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Daemon {
    /// Starts one; `more` is added to its configuration.
    pub fn start(more: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut daemon = Self { folder: tempfile::tempdir().unwrap(), port, child: None, arguments: Vec::new() };
        fs::create_dir(daemon.folder.path().join("pictures")).unwrap();
        daemon.write_config(more);
        daemon.restart();
        daemon
    }

    /// Starts it again, and waits until it answers.
    pub fn restart(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        self.child = Some(self.command().stderr(log).spawn().unwrap());
        wait_for(&format!("answer from the page; the log says: {}", self.log()), Duration::from_secs(60), || {
            let ended = self.child.as_mut()?.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", self.log());
            self.fetch("GET", "/api/status", None).ok()
        });
    }

    /// Replaces the configuration; `more` goes on after the trigger.
    pub fn write_config(&self, more: &str) {
        self.configure(&format!("{DOG}{more}"));
    }

    /// Replaces the configuration; `rest` is what comes after the camera.
    pub fn configure(&self, rest: &str) {
        let config = format!(
            "device = \"test\"\nthreads = 1\n[memory]\nfolder = \"memory\"\n[web]\nlisten = \"127.0.0.1:{}\"\n\
             [[camera]]\nname = \"demo\"\nsource = \"folder:pictures?loop=1\"\nfps = 10\n{rest}",
            self.port
        );
        fs::write(self.path("lookout.toml"), config).unwrap();
    }

    /// Puts lines at the top of its configuration, in place of those put there before.
    pub fn write_top(&self, lines: &str) {
        let path = self.path("lookout.toml");
        let text = fs::read_to_string(&path).unwrap();
        let rest = &text[text.find("device = ").unwrap()..];
        fs::write(path, format!("{lines}{rest}")).unwrap();
    }

    /// Puts a picture before the camera.
    pub fn show(&self, picture: &Path, name: &str) {
        let beside = self.path(".arriving");
        fs::copy(picture, &beside).unwrap();
        fs::rename(&beside, self.path("pictures").join(name)).unwrap();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn events(&self) -> Vec<Value> {
        let found: Value = serde_json::from_slice(&self.get("/api/events")).unwrap();
        found["events"].as_array().cloned().unwrap_or_default()
    }

    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.get("/api/status")).unwrap()
    }

    pub fn looks(&self) -> u64 {
        self.status()["looks"].as_u64().unwrap()
    }

    pub fn trigger_names(&self) -> Vec<String> {
        let triggers = self.status()["triggers"].as_array().cloned().unwrap_or_default();
        triggers.iter().map(|trigger| trigger["name"].as_str().unwrap().to_owned()).collect()
    }

    pub fn ask(&self, question: &str) -> Value {
        serde_json::from_slice(&self.post("/api/ask", question)).unwrap()
    }

    pub fn get(&self, path: &str) -> Vec<u8> {
        self.fetch("GET", path, None).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    pub fn post(&self, path: &str, body: &str) -> Vec<u8> {
        self.fetch("POST", path, Some(body)).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    pub fn put(&self, path: &str, body: &str) -> Vec<u8> {
        self.fetch("PUT", path, Some(body)).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    pub fn delete(&self, path: &str) -> Vec<u8> {
        self.fetch("DELETE", path, None).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    fn fetch(&self, method: &str, path: &str, body: Option<&str>) -> Result<Vec<u8>, ureq::Error> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).build().into();
        let answer = match (method, body) {
            ("POST", Some(body)) => agent.post(&url).content_type("application/json").send(body)?,
            ("PUT", Some(body)) => agent.put(&url).content_type("application/json").send(body)?,
            ("DELETE", _) => agent.delete(&url).call()?,
            _ => agent.get(&url).call()?,
        };
        let mut bytes = Vec::new();
        answer.into_body().into_reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Tells it to end, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.take().unwrap().wait().unwrap()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells it to read its configuration anew.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Another one with the same configuration, which must end by itself.
    pub fn second(&self) -> Output {
        self.command().stderr(Stdio::piped()).output().unwrap()
    }

    /// `lookout find` in its memory.
    pub fn find(&self, arguments: &[&str]) -> Value {
        let memory = self.path("memory");
        self.found(&[&["--memory", memory.to_str().unwrap()], arguments].concat())
    }

    /// The same, with the memory that the configuration names.
    pub fn find_by_config(&self, arguments: &[&str]) -> Value {
        let config = self.path("lookout.toml");
        self.found(&[&["-c", config.to_str().unwrap()], arguments].concat())
    }

    /// Starts it with one more argument.
    pub fn restart_with(&mut self, argument: &str) {
        self.arguments = vec![argument.to_owned()];
        self.restart();
    }

    fn found(&self, arguments: &[&str]) -> Value {
        let output = lookout(&[&["find", "--json"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
        command.args(["-v", "run", "-c"]).arg(self.path("lookout.toml")).args(&self.arguments).current_dir(root());
        command
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
