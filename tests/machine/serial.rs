//! A serial line of a real kernel, on which XOFF comes before lookout has opened it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use lookout::link::serial::Client;

use super::{Check, LONG};

pub const CHECKS: [Check; 1] = [("serial", a_line_that_was_stopped_opens)];

/// The line of `run.sh`: the last one that there is, and the bytes that came on it.
fn line() -> (PathBuf, usize) {
    let lines = fs::read_to_string("/proc/tty/driver/serial").unwrap();
    let line = lines.lines().rfind(|line| line.contains("uart:16550A")).expect("a second serial line");
    let came = line.split("rx:").nth(1).map_or(0, |rest| rest.split(' ').next().unwrap().parse().unwrap());
    (format!("/dev/ttyS{}", line.split(':').next().unwrap()).into(), came)
}

fn a_line_that_was_stopped_opens() {
    let (path, _) = line();
    // As the kernel opens it; what comes on it is XOFF.
    let mut other = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let end = Instant::now() + LONG;
    while line().1 == 0 {
        assert!(Instant::now() < end, "nothing comes on {}", path.display());
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(100));
    other.write_all(b"held back").unwrap();
    let (opened, is_open) = channel();
    thread::spawn(move || opened.send(Client::open(&path, 115_200, Duration::from_secs(1)).map(|_| ())));
    is_open.recv_timeout(LONG).expect("it waits for what cannot be sent").unwrap();
}
