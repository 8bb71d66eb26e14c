//! A daemon that starts on a full disk: it watches, says so, and stores what happened when there is room. On a small disk of its
//! own, which only root can make.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::daemon::{Daemon, demo_picture, wait_for};

const LONG: Duration = Duration::from_secs(60);

/// A disk of 4 MB, gone with the value.
struct Disk(PathBuf);

impl Disk {
    /// In the place of this folder, with what is in it.
    fn over(folder: &Path) -> Option<Self> {
        let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let held: Vec<_> = files.iter().map(|path| (path, fs::read(path).unwrap())).collect();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder).output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            eprintln!("only root can make a small disk: a daemon on a full one was not tested");
            return None;
        }
        let disk = Self(folder.to_owned());
        held.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        Some(disk)
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[7; 4_096]).is_ok() {}
        filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_daemon_that_starts_on_a_full_disk_watches_and_stores_when_there_is_room() {
    let mut daemon = Daemon::start("");
    daemon.show(&demo_picture(), "one.jpg");
    let first = wait_for("an event", LONG, || daemon.events().into_iter().next());
    daemon.put("/api/triggers/cat", r#"{"name":"cat","when":"a cat","threshold":0.9}"#);
    assert!(daemon.terminate().success());
    let Some(disk) = Disk::over(&daemon.path("memory")) else { return };
    let filler = disk.fill();

    daemon.restart();
    let status = daemon.status();
    assert_eq!(status["memory"]["writable"], false, "{status}");
    assert!(status["memory"]["note"].as_str().unwrap().contains("the disk is full"), "{status}");
    let log = daemon.log();
    assert!(log.contains("the disk is full") && log.contains("events are kept in memory"), "{log}");
    assert_eq!(daemon.trigger_names(), ["dog", "cat"], "what was set before is in force");
    assert_eq!(daemon.events()[0]["id"], first["id"], "what was kept before can be had");
    // The dog is still before the camera: an event of this run.
    wait_for("an event in memory", LONG, || {
        daemon.status()["memory"]["note"].as_str().unwrap_or_default().contains("reports wait in memory").then_some(())
    });

    fs::remove_file(filler).unwrap();
    wait_for("the memory to be written", LONG, || (daemon.status()["memory"]["writable"] == true).then_some(()));
    let events = wait_for("both events", LONG, || Some(daemon.events()).filter(|events| events.len() == 2));
    assert!(events[0]["id"].as_u64() > first["id"].as_u64(), "{events:?}");
    assert!(daemon.terminate().success());
    drop(daemon);
    drop(disk);
}
