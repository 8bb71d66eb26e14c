//! Both ends of a serial line: pseudo-terminals, a person who types, and a wire that loses and bends bytes.

#[path = "../common/desk.rs"]
pub mod desk;

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lookout::link::Link;
use lookout::link::serial::{Client, SerialConfig, Split, Splitter, start};
use lookout::protocol::{Accumulator, Fed, MAX_FRAME, Message, encode};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use serial2::SerialPort;

use desk::ScriptedDesk;

/// Longer than anything takes on a machine that is busy with other things.
pub const LONG: Duration = Duration::from_secs(60);

/// A pseudo-terminal: `master` is this end, `path` the port for the other one.
pub struct Pty {
    pub master: Arc<SerialPort>,
    pub path: PathBuf,
    /// Held open, so that the master works while nobody has the port open.
    _port: OwnedFd,
}

impl Pty {
    pub fn open() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let fd = openpt(flags).expect("there are pseudo-terminals");
        grantpt(&fd).unwrap();
        unlockpt(&fd).unwrap();
        fcntl_setfl(&fd, fcntl_getfl(&fd).unwrap() | OFlags::NONBLOCK).unwrap();
        let path = PathBuf::from(OsStr::from_bytes(ptsname(&fd, Vec::new()).unwrap().to_bytes()));
        let held = open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut master = SerialPort::from(fd);
        let mut settings = master.get_configuration().unwrap();
        settings.set_raw();
        master.set_configuration(&settings).unwrap();
        master.set_read_timeout(Duration::from_millis(20)).unwrap();
        master.set_write_timeout(Duration::from_millis(20)).unwrap();
        Self { master: Arc::new(master), path, _port: held }
    }
}

impl Pty {
    /// From now on the port is open as long as the other end has it open.
    pub fn release(self) -> Arc<SerialPort> {
        self.master
    }
}

/// A lookout's serial link.
pub struct Served {
    pub desk: Arc<ScriptedDesk>,
    pub link: Box<dyn Link>,
}

pub fn serve(path: &Path, desk: Arc<ScriptedDesk>) -> Served {
    serve_with(SerialConfig { patience: LONG, ..SerialConfig::new(path) }, desk)
}

pub fn serve_with(config: SerialConfig, desk: Arc<ScriptedDesk>) -> Served {
    let link = start(config, "testling", desk.clone()).expect("the configuration makes sense");
    Served { desk, link }
}

impl Served {
    pub fn wait_until_up(&self) {
        wait("the port is open", || self.link.status().up);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.desk.hold(false);
        self.link.stop(Instant::now() + LONG);
    }
}

pub fn wait(what: &str, mut met: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !met() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A person or a program that has the bare line in its hands.
pub struct Hand {
    pub port: Arc<SerialPort>,
    came: Vec<u8>,
}

/// A lookout on one end, a hand on the other.
pub fn hand() -> (Hand, Served) {
    hand_with(ScriptedDesk::new(), |_| {})
}

pub fn hand_with(desk: Arc<ScriptedDesk>, change: impl FnOnce(&mut SerialConfig)) -> (Hand, Served) {
    let pty = Pty::open();
    let mut config = SerialConfig { patience: LONG, ..SerialConfig::new(&pty.path) };
    change(&mut config);
    let served = serve_with(config, desk);
    served.wait_until_up();
    (Hand::new(pty.master.clone()), served)
}

impl Hand {
    pub fn new(port: Arc<SerialPort>) -> Self {
        Self { port, came: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        put(&self.port, bytes.as_ref(), &AtomicBool::new(false));
    }

    pub fn tell(&mut self, message: &Message) {
        self.send(framed(message));
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> String {
        let end = self.until(|came| came.iter().position(|byte| *byte == b'\n').map(|at| at + 1));
        let line: Vec<u8> = self.came.drain(..end).collect();
        String::from_utf8(line).expect("a line is text").trim_end_matches(['\r', '\n']).to_owned()
    }

    pub fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Types a line and reads the JSON that answers.
    pub fn ask(&mut self, line: &str) -> Value {
        self.send(format!("{line}\r"));
        self.json()
    }

    /// The next message in a frame.
    pub fn message(&mut self) -> Message {
        let mut accumulator = Box::new(Accumulator::new());
        let end = Instant::now() + LONG;
        loop {
            let mut rest = &self.came[..];
            let fed = accumulator.feed(&mut rest);
            let taken = self.came.len() - rest.len();
            self.came.drain(..taken);
            match fed {
                Some(Fed::Done(message)) => return message,
                Some(Fed::Consumed) => {}
                Some(other) => panic!("{other:?}"),
                None => {
                    assert!(Instant::now() < end, "waited in vain for a frame");
                    self.read();
                }
            }
        }
    }

    /// The next line or frame.
    pub fn either(&mut self) -> Split {
        let mut splitter = Splitter::new();
        let end = Instant::now() + LONG;
        loop {
            let mut rest = &self.came[..];
            let split = splitter.feed(&mut rest);
            let taken = self.came.len() - rest.len();
            self.came.drain(..taken);
            match split {
                Some(split) => {
                    if matches!(split, Split::Line(_)) {
                        // The newline behind the return.
                        let end = self.until(|came| (!came.is_empty()).then_some(1));
                        self.came.drain(..end);
                    }
                    return split;
                }
                None => {
                    assert!(Instant::now() < end, "waited in vain for a line or a frame");
                    self.read();
                }
            }
        }
    }

    /// Waits until these bytes come, whatever comes before them.
    pub fn expect(&mut self, bytes: &[u8]) -> Vec<u8> {
        let end =
            self.until(|came| came.windows(bytes.len()).position(|part| part == bytes).map(|at| at + bytes.len()));
        self.came.drain(..end).collect()
    }

    /// Reads until `words` come, or nothing more does for `patience`. Returns whether they came.
    pub fn find(&mut self, words: &str, patience: Duration) -> bool {
        let mut last = Instant::now();
        loop {
            if let Some(at) = self.came.windows(words.len()).position(|part| part == words.as_bytes()) {
                self.came.drain(..at + words.len());
                return true;
            }
            let before = self.came.len();
            self.read();
            if self.came.len() > before {
                last = Instant::now();
            } else if last.elapsed() >= patience {
                return false;
            }
        }
    }

    /// Reads until this message comes, whatever comes before it.
    pub fn wait_for(&mut self, message: &Message) {
        let frame = framed(message);
        self.expect(&frame);
    }

    fn until(&mut self, found: impl Fn(&[u8]) -> Option<usize>) -> usize {
        let end = Instant::now() + LONG;
        loop {
            if let Some(at) = found(&self.came) {
                return at;
            }
            assert!(Instant::now() < end, "waited in vain; so far: {:?}", String::from_utf8_lossy(&self.came));
            self.read();
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 4_096];
        match self.port.read(&mut buffer) {
            Ok(length) => self.came.extend(&buffer[..length]),
            Err(error) if is_nothing(error.kind()) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn framed(message: &Message) -> Vec<u8> {
    encode(message, &mut [0; MAX_FRAME]).unwrap().to_vec()
}

pub fn is_nothing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Writes all of `bytes`; returns whether it could before `stop`.
fn put(port: &SerialPort, mut bytes: &[u8], stop: &AtomicBool) -> bool {
    let end = Instant::now() + LONG;
    while !bytes.is_empty() {
        match port.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_nothing(error.kind()) => {
                assert!(Instant::now() < end, "the other end does not read");
                std::thread::yield_now();
            }
            Err(_) => return false,
        }
        if stop.load(Ordering::Relaxed) {
            return false;
        }
    }
    true
}

/// What a wire does to bytes, each as a share of all bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub lost: f64,
    pub flipped: f64,
    /// Behind these bytes 1 to 40 others come that nobody sent.
    pub burst: f64,
    pub seed: u64,
}

/// A wire between two pseudo-terminals, with faults both ways.
pub struct Wire {
    pub lookout: PathBuf,
    pub client: PathBuf,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _ends: [Pty; 2],
}

impl Wire {
    pub fn new(faults: Faults) -> Self {
        let ends = [Pty::open(), Pty::open()];
        let stop = Arc::new(AtomicBool::new(false));
        let way = |from: &Pty, to: &Pty, seed| {
            let (from, to, stop) = (from.master.clone(), to.master.clone(), stop.clone());
            std::thread::spawn(move || carry(&from, &to, Faults { seed, ..faults }, &stop))
        };
        let seed = faults.seed.wrapping_mul(2).wrapping_add(1);
        let threads = vec![way(&ends[0], &ends[1], seed), way(&ends[1], &ends[0], seed ^ 0xABCD_EF01_2345)];
        Self { lookout: ends[0].path.clone(), client: ends[1].path.clone(), stop, threads, _ends: ends }
    }

    pub fn client(&self) -> Client {
        Client::open(&self.client, 3_000_000, LONG).expect("the port is there")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn carry(from: &SerialPort, to: &SerialPort, faults: Faults, stop: &AtomicBool) {
    let mut chance = Chance(faults.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut buffer = [0; 1_024];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = from.read(&mut buffer) else { continue };
        let mut out = Vec::with_capacity(length);
        for byte in &buffer[..length] {
            if !chance.happens(faults.lost) {
                let flip = if chance.happens(faults.flipped) { 1 << chance.below(8) } else { 0 };
                out.push(byte ^ flip);
            }
            if chance.happens(faults.burst) {
                let length = 1 + chance.below(40);
                out.extend(std::iter::repeat_with(|| chance.below(256) as u8).take(length));
            }
        }
        put(to, &out, stop);
    }
}

/// Numbers by chance, the same for the same seed.
pub struct Chance(pub u64);

impl Chance {
    pub fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && (self.next() >> 11) as f64 / ((1u64 << 53) as f64) < share
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    /// Source: Marsaglia, "Xorshift RNGs", 2003.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
