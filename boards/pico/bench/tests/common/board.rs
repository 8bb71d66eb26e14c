//! A board in an emulator: its pins, and what its display shows.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use embedded_graphics::geometry::Size;
use embedded_graphics::primitives::Rectangle;
use lookout_bench_pico::reading::read;
use lookout_bench_pico::ssd1306::Ssd1306;
use lookout_panel::Colour;
use lookout_panel::screen::{BELOW, BODY, SIZE, TITLE};
use tempfile::TempDir;

use super::{LONG, Pty, Wire, wait_for};

/// A display that was not written to for so long shows all that it will.
const SETTLED: Duration = Duration::from_millis(150);

/// Which board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The UF2 file of the Pico, in rp2040js.
    Pico,
    /// The ELF file for a Cortex-M4, in QEMU.
    Mps2,
}

/// A board that runs its firmware, wired to a pseudo-terminal.
pub struct Board {
    pub wire: Wire,
    bench: UnixStream,
    seen: Arc<Mutex<Seen>>,
    child: Child,
    _folder: TempDir,
}

/// What there is to be seen.
#[derive(Default)]
struct Seen {
    display: Ssd1306,
    /// When it was last written to.
    written: Option<Instant>,
    lamp: [bool; 3],
    resets: u32,
    unused_stack: Option<u32>,
    wrong: Option<String>,
}

impl Board {
    /// Switches one on, wired to a pseudo-terminal of its own.
    pub fn start(kind: Kind) -> Self {
        Self::wired(kind, Pty::open())
    }

    /// Switches one on, wired to this pseudo-terminal.
    pub fn wired(kind: Kind, pty: Pty) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [line, bench] = ["line", "bench"].map(|name| folder.path().join(name));
        let mut command = match kind {
            Kind::Pico => pico(&line, &bench),
            Kind::Mps2 => mps2(&line, &bench),
        };
        let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // QEMU waits for the one before it opens the other.
        let [line, bench] = [line, bench].map(|path| connect(&path));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let speed = Arc::new(AtomicU32::new(0));
        let (lines, noted, set) = (BufReader::new(bench.try_clone().unwrap()).lines(), seen.clone(), speed.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                noted.lock().unwrap().note(&line, &set);
            }
        });
        let wire = Wire::new(pty, line, bench.try_clone().unwrap(), speed);
        Self { wire, bench, seen, child, _folder: folder }
    }

    /// Gives the test bench its letters: see `boards/pico/emulator/pico.mjs`.
    pub fn order(&mut self, letters: &str) {
        self.bench.write_all(letters.as_bytes()).unwrap();
    }

    /// Something moves before the sensor, and goes on to. Returns when it began.
    pub fn motion(&mut self) -> Instant {
        self.rise("m", "M")
    }

    /// The button is pressed, and held. Returns when.
    pub fn press(&mut self) -> Instant {
        self.rise("b", "B")
    }

    /// The pause is longer than an emulator stands still on a busy machine.
    fn rise(&mut self, off: &str, on: &str) -> Instant {
        self.order(off);
        std::thread::sleep(Duration::from_secs(1));
        self.order(on);
        Instant::now()
    }

    /// Title and body of the display as they are read from its pixels; `None` while it shows no text or is written to.
    pub fn text(&self) -> Option<(String, Vec<String>)> {
        let seen = self.seen.lock().unwrap();
        if seen.written.is_none_or(|written| written.elapsed() < SETTLED) {
            return None;
        }
        if let Some(wrong) = &seen.wrong {
            panic!("{wrong}");
        }
        let lit = |x: i32, y: i32| seen.display.is_lit(x as usize, y as usize);
        let bar = Rectangle::new(TITLE.1, Size::new(SIZE.width - TITLE.1.x as u32, 10));
        let title = read(TITLE.0, bar, |x, y| !lit(x, y))?.swap_remove(0);
        let body = BODY.iter().find_map(|font| read(font, BELOW, lit))?;
        Some((title, body.into_iter().filter(|line| !line.is_empty()).collect()))
    }

    /// When the display was last written to.
    pub fn written(&self) -> Instant {
        self.seen.lock().unwrap().written.unwrap()
    }

    /// Waits until the display shows this title; returns the body, its lines joined.
    pub fn shows(&self, title: &str) -> String {
        self.shows_where(&format!("the title {title:?}"), |shown, _| shown == title)
    }

    /// Waits until title and body of the display are right; returns the body, its lines joined.
    pub fn shows_where(&self, what: &str, mut is: impl FnMut(&str, &str) -> bool) -> String {
        wait_for(
            || format!("{what}; the display shows {:?}\n{}", self.text(), self.dump()),
            || {
                let (title, body) = self.text()?;
                let body = body.join(" ");
                is(&title, &body).then_some(body)
            },
        )
    }

    /// Waits until the lamp has this colour.
    pub fn lights(&self, colour: Colour) {
        let lamp = || self.seen.lock().unwrap().lamp;
        wait_for(|| format!("{colour:?}; the lamp is {:?}", lamp()), || (lamp() == colour.rgb()).then_some(()));
    }

    /// What the display shows, as a picture of characters.
    pub fn dump(&self) -> String {
        self.seen.lock().unwrap().display.dump()
    }

    /// How often the chip was reset.
    pub fn resets(&self) -> u32 {
        self.seen.lock().unwrap().resets
    }

    /// Bytes of the stack that were never used.
    pub fn unused_stack(&mut self) -> u32 {
        self.order("S");
        wait_for(|| "the size of the stack".to_owned(), || self.seen.lock().unwrap().unused_stack)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    fn note(&mut self, line: &str, speed: &AtomicU32) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [pin @ ("r" | "g" | "b"), level] => {
                self.lamp["rgb".find(pin).unwrap_or_default()] = level == "1";
            }
            ["i", "3c", bytes] => {
                let byte = |at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap();
                let bytes: Vec<u8> = (0..bytes.len()).step_by(2).map(byte).collect();
                self.written = Some(Instant::now());
                self.wrong = self.display.write(&bytes).err().or(self.wrong.take());
            }
            ["speed", set] => speed.store(set.parse().unwrap(), Ordering::Relaxed),
            ["reset"] => {
                self.resets += 1;
                self.lamp = [false; 3];
            }
            ["stack", unused] => self.unused_stack = unused.parse().ok(),
            // Half a line, where the board was reset within it.
            _ => {}
        }
    }
}

fn firmware(name: &str) -> PathBuf {
    let folder = std::env::var_os("FIRMWARE").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/firmware"));
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "there is no {}: `make firmware` builds it, or give its folder in FIRMWARE",
        path.display()
    );
    path
}

fn pico(line: &Path, bench: &Path) -> Command {
    let emulator = Path::new(env!("CARGO_MANIFEST_DIR")).join("../emulator/pico.mjs");
    let mut command = Command::new("node");
    command.arg(emulator).arg(firmware("lookout-pico.uf2")).args([line, bench]);
    command
}

fn mps2(line: &Path, bench: &Path) -> Command {
    let mut command = Command::new("qemu-system-arm");
    command
        .args(["-M", "mps2-an386", "-display", "none", "-monitor", "none", "-kernel"])
        .arg(firmware("lookout-mps2.elf"));
    for (id, path) in [("line", line), ("bench", bench)] {
        command.arg("-chardev").arg(format!("socket,id={id},path={},server=on,wait=on", path.display()));
        command.arg("-serial").arg(format!("chardev:{id}"));
    }
    command
}

fn connect(path: &Path) -> UnixStream {
    wait_for(|| format!("the emulator at {}, for {LONG:?}", path.display()), || UnixStream::connect(path).ok())
}
