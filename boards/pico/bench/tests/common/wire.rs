//! A pseudo-terminal, and the wire between it and a board's UART.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lookout::protocol::checksum;
use lookout_bench_pico::speed::{Taken, taken};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A pseudo-terminal: `path` is the port for the daemon.
#[derive(Clone)]
pub struct Pty {
    pub master: Arc<OwnedFd>,
    pub path: PathBuf,
    /// Held open, so that the master works while nobody has the port open.
    port: Arc<OwnedFd>,
}

impl Pty {
    pub fn open() -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("there are pseudo-terminals");
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        fcntl_setfl(&master, fcntl_getfl(&master).unwrap() | OFlags::NONBLOCK).unwrap();
        let path = PathBuf::from(OsStr::from_bytes(ptsname(&master, Vec::new()).unwrap().to_bytes()));
        let port = open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut settings = tcgetattr(&port).unwrap();
        settings.make_raw();
        tcsetattr(&port, OptionalActions::Now, &settings).unwrap();
        Self { master: Arc::new(master), path, port: Arc::new(port) }
    }

    /// The speed that whoever has the port open has set.
    fn speed(&self) -> u32 {
        tcgetattr(&self.port).unwrap().output_speed()
    }
}

/// What goes wrong on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// So many bytes of 1,000 are lost, changed or made up.
    Noise(u32),
    /// The frames of the lookout are of this other version, and it hears its own.
    Version(u8),
    /// Nothing gets through.
    Cut,
}

/// The wire. Where the speed that the daemon has set on its port is not that of the board's UART, each takes the other's bytes
/// for what they are at its own speed.
pub struct Wire {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    pty: Pty,
    bench: UnixStream,
    trouble: Mutex<Trouble>,
    /// Of the board's UART; 0 where it is not known.
    speed: Arc<AtomicU32>,
    ended: AtomicBool,
    random: AtomicU64,
}

impl Wire {
    pub fn new(pty: Pty, board: UnixStream, bench: UnixStream, speed: Arc<AtomicU32>) -> Self {
        let shared = Arc::new(Shared {
            pty,
            bench,
            trouble: Mutex::new(Trouble::None),
            speed,
            ended: AtomicBool::new(false),
            random: AtomicU64::new(0x9E37_79B9_7F4A_7C15),
        });
        board.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let to_board = board.try_clone().unwrap();
        let master = || File::from(rustix::io::dup(&*shared.pty.master).unwrap());
        let (from_pty, to_pty) = (master(), master());
        let run = |from: Box<dyn Read + Send>, to: Box<dyn Write + Send>, to_board: bool| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.carry(from, to, to_board))
        };
        let threads =
            vec![run(Box::new(from_pty), Box::new(to_board), true), run(Box::new(board), Box::new(to_pty), false)];
        Self { shared, threads }
    }

    /// The daemon's port.
    pub fn port(&self) -> &Path {
        &self.shared.pty.path
    }

    pub fn has(&self, trouble: Trouble) {
        *self.shared.trouble.lock().unwrap() = trouble;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

impl Shared {
    fn carry(&self, mut from: Box<dyn Read + Send>, mut to: Box<dyn Write + Send>, to_board: bool) {
        let mut buffer = [0; 4_096];
        let mut frames = Frames::default();
        while !self.ended.load(Ordering::Acquire) {
            let came = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => &buffer[..length],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                Err(_) => return,
            };
            let (daemon, board) = (self.pty.speed(), self.speed.load(Ordering::Relaxed));
            let (came, broken) = match (to_board, board) {
                (_, 0) => (came.to_vec(), 0),
                (true, _) if is_other(daemon, board) => checked(&taken(came, daemon, board)),
                (false, _) if is_other(daemon, board) => (unchecked(&taken(came, board, daemon)), 0),
                _ => (came.to_vec(), 0),
            };
            // Nobody is there to be told when the board is gone.
            let _ = (&self.bench).write_all(&vec![b'F'; broken]);
            let trouble = *self.trouble.lock().unwrap();
            let goes = match trouble {
                Trouble::None => came,
                Trouble::Cut => Vec::new(),
                Trouble::Noise(share) => came.iter().flat_map(|byte| self.bend(*byte, share)).collect(),
                Trouble::Version(version) if to_board => frames.rewrite(&came, version),
                Trouble::Version(_) => came,
            };
            let mut rest = &goes[..];
            while !rest.is_empty() && !self.ended.load(Ordering::Acquire) {
                match to.write(rest) {
                    Ok(length) => rest = &rest[length..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
                    Err(_) => return,
                }
            }
        }
    }

    /// What becomes of a byte.
    fn bend(&self, byte: u8, share: u32) -> Vec<u8> {
        let mut random = self.random.load(Ordering::Relaxed);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.store(random, Ordering::Relaxed);
        let [fate, made, bit, ..] = random.to_le_bytes();
        if (random >> 32) % 1_000 >= share.into() {
            return vec![byte];
        }
        match fate % 3 {
            0 => vec![],
            1 => vec![byte ^ 1 << (bit % 8)],
            _ => vec![byte, made],
        }
    }
}

/// What a microcontroller takes, and how many framing errors it tells.
fn checked(taken: &[Taken]) -> (Vec<u8>, usize) {
    let whole = taken.iter().filter_map(|taken| match taken {
        Taken::Whole(byte) => Some(*byte),
        Taken::Broken(_) => None,
    });
    let whole: Vec<u8> = whole.collect();
    let broken = taken.len() - whole.len();
    (whole, broken)
}

/// What a port of Linux takes.
fn unchecked(taken: &[Taken]) -> Vec<u8> {
    taken.iter().map(|(Taken::Whole(byte) | Taken::Broken(byte))| *byte).collect()
}

/// Two UARTs understand each other up to a few percent.
fn is_other(daemon: u32, board: u32) -> bool {
    daemon.abs_diff(board) * 50 > board
}

#[derive(Default)]
struct Frames {
    held: Vec<u8>,
}

impl Frames {
    /// Whole frames of another version.
    fn rewrite(&mut self, came: &[u8], version: u8) -> Vec<u8> {
        let mut goes = Vec::new();
        for byte in came {
            if *byte != 0 {
                self.held.push(*byte);
                continue;
            }
            let mut held = std::mem::take(&mut self.held);
            goes.push(0);
            let Ok(length) = cobs::decode_in_place(&mut held) else { continue };
            if length < 5 {
                continue;
            }
            let mut plain = held[..length - 4].to_vec();
            plain[0] = version;
            plain.extend(checksum(&plain).to_le_bytes());
            let mut stuffed = vec![0; cobs::max_encoding_length(plain.len())];
            let length = cobs::encode(&plain, &mut stuffed);
            goes.extend(&stuffed[..length]);
            goes.push(0);
        }
        goes
    }
}
