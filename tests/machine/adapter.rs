//! A GPIO adapter that is plugged into the kernel: Silicon Labs' CP2112, eight lines over USB.
//!
//! Debian's kernel has no driver that pretends to be GPIO. It has a real one for this adapter, and `uhid`, by which a
//! program can be the adapter: what the driver asks for comes here, and what the outside does to a line is said from here.
//! Source: AN495, CP2112 interface specification; Linux, `include/uapi/linux/uhid.h`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::LONG;

/// Lines of the adapter.
pub const LINES: usize = 8;

/// Events of `uhid`: to the kernel, and from it.
const DESTROY: u32 = 1;
const GET_REPORT: u32 = 9;
const GET_REPORT_REPLY: u32 = 10;
const CREATE: u32 = 11;
const SET_REPORT: u32 = 13;
const SET_REPORT_REPLY: u32 = 14;

/// Bytes of the largest event.
const EVENT: usize = 4 + 128 + 64 + 64 + 2 + 2 + 4 * 4 + 4096;

/// Reports of the adapter.
const DIRECTIONS: u8 = 2;
const LEVELS: u8 = 3;
const SET_LEVELS: u8 = 4;
const VERSION: u8 = 5;

/// One vendor's report; the driver knows the rest by heart.
const DESCRIPTOR: [u8; 21] = [
    0x06, 0x00, 0xFF, 0x09, 0x01, 0xA1, 0x01, 0x09, 0x02, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x3F, 0x81,
    0x02, 0xC0,
];

/// A plugged-in adapter. It is unplugged when it is dropped.
pub struct Adapter {
    uhid: File,
    chip: PathBuf,
    pins: Arc<Mutex<Pins>>,
}

#[derive(Default)]
struct Pins {
    high: [bool; LINES],
    is_output: [bool; LINES],
    /// Readings in which the line is still to bounce: every second one is wrong.
    bounces: [u32; LINES],
    readings: u32,
}

impl Adapter {
    /// Plugs one in and waits for its chip.
    pub fn plug_in() -> Self {
        let before = chips();
        let mut uhid = File::options().read(true).write(true).open("/dev/uhid").expect("/dev/uhid");
        let pins = Arc::new(Mutex::new(Pins::default()));
        uhid.write_all(&creation()).unwrap();
        let (mut hears, answers) = (uhid.try_clone().unwrap(), pins.clone());
        std::thread::spawn(move || {
            let mut event = [0; EVENT];
            while hears.read(&mut event).is_ok() {
                let reply = answers.lock().unwrap().reply(&event);
                if reply.is_some_and(|reply| hears.write_all(&reply).is_err()) {
                    return;
                }
            }
        });
        let until = Instant::now() + LONG;
        loop {
            if let Some(chip) = chips().difference(&before).next() {
                return Self { uhid, chip: chip.clone(), pins };
            }
            assert!(Instant::now() < until, "the kernel makes no chip of the adapter");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its device file.
    pub fn chip(&self) -> &Path {
        &self.chip
    }

    /// Whether a line has high voltage, whoever gives it.
    pub fn is_high(&self, line: usize) -> bool {
        self.pins.lock().unwrap().high[line]
    }

    pub fn is_output(&self, line: usize) -> bool {
        self.pins.lock().unwrap().is_output[line]
    }

    /// Puts a voltage on an input, after it has bounced for so many readings.
    pub fn put(&self, line: usize, high: bool, bounces: u32) {
        let mut pins = self.pins.lock().unwrap();
        (pins.high[line], pins.bounces[line]) = (high, bounces);
    }

    /// How often the lines were read.
    pub fn readings(&self) -> u32 {
        self.pins.lock().unwrap().readings
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let _ = self.uhid.write_all(&DESTROY.to_ne_bytes());
    }
}

impl Pins {
    /// What the adapter says to an event of the kernel.
    fn reply(&mut self, event: &[u8]) -> Option<Vec<u8>> {
        let (kind, id, report) = (u32::from_ne_bytes(event[..4].try_into().unwrap()), &event[4..8], event[8]);
        match kind {
            GET_REPORT => {
                let data = self.report(report);
                let size = (data.len() as u16).to_ne_bytes();
                Some([&GET_REPORT_REPLY.to_ne_bytes()[..], id, &[0, 0], &size, &data].concat())
            }
            SET_REPORT => {
                // The report's number, its kind and its size go before it.
                let data = &event[12..];
                let wanted = |line: usize, byte: usize| data[byte] >> line & 1 == 1;
                for line in 0..LINES {
                    match report {
                        DIRECTIONS => self.is_output[line] = wanted(line, 1),
                        SET_LEVELS if wanted(line, 2) => self.high[line] = wanted(line, 1),
                        _ => {}
                    }
                }
                Some([&SET_REPORT_REPLY.to_ne_bytes()[..], id, &[0, 0]].concat())
            }
            _ => None,
        }
    }

    fn report(&mut self, number: u8) -> Vec<u8> {
        let bits = |of: [bool; LINES]| (0..LINES).map(|line| u8::from(of[line]) << line).sum();
        match number {
            DIRECTIONS => vec![number, bits(self.is_output), 0, 0, 0],
            LEVELS => {
                self.readings += 1;
                let mut levels = self.high;
                for (level, bounces) in levels.iter_mut().zip(&mut self.bounces) {
                    *level ^= *bounces % 2 == 1;
                    *bounces = bounces.saturating_sub(1);
                }
                vec![number, bits(levels)]
            }
            VERSION => vec![number, 0x0C, 3],
            // The settings of its other half, which nobody uses here.
            _ => [&[number][..], &[0; 13]].concat(),
        }
    }
}

fn chips() -> BTreeSet<PathBuf> {
    gpiocdev::chip::chips().unwrap_or_default().into_iter().collect()
}

fn creation() -> Vec<u8> {
    let mut event = CREATE.to_ne_bytes().to_vec();
    event.extend(b"CP2112");
    event.resize(4 + 128 + 64 + 64, 0);
    event.extend((DESCRIPTOR.len() as u16).to_ne_bytes());
    // USB, Silicon Labs, CP2112.
    event.extend(3_u16.to_ne_bytes());
    for number in [0x10C4_u32, 0xEA90, 0x0100, 0] {
        event.extend(number.to_ne_bytes());
    }
    event.extend(DESCRIPTOR);
    event.resize(EVENT, 0);
    event
}
