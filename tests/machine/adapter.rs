//! A GPIO adapter that is plugged into the kernel: Microchip's MCP2221, four lines over USB.
//!
//! Debian's kernel has no driver that pretends to be GPIO. It has a real one for this adapter, and `uhid`, by which a
//! program can be the adapter: the driver's reports come here, and what the outside does to a line is said from here.
//! Source: MCP2221A data sheet, 3.1.11 and 3.1.12; Linux, `include/uapi/linux/uhid.h`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::LONG;

const DESTROY: u32 = 1;
const OUTPUT: u32 = 6;
const CREATE: u32 = 11;
const INPUT: u32 = 12;

/// Bytes of a report, and of the largest event of `uhid`.
const REPORT: usize = 64;
const EVENT: usize = 4 + 128 + 64 + 64 + 2 + 2 + 4 * 4 + 4096;

const SET_GPIO: u8 = 0x50;
const GET_GPIO: u8 = 0x51;

/// Reports of 64 bytes without numbers, in and out.
const DESCRIPTOR: [u8; 34] = [
    0x06, 0x00, 0xFF, 0x09, 0x01, 0xA1, 0x01, 0x09, 0x02, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81,
    0x02, 0x09, 0x03, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xC0,
];

/// A plugged-in adapter. It is unplugged when it is dropped.
pub struct Adapter {
    uhid: File,
    chip: PathBuf,
    lines: Arc<Mutex<[Line; 4]>>,
}

#[derive(Clone, Copy, Default)]
struct Line {
    high: bool,
    is_output: bool,
    /// Readings that are still to be disturbed: every second one is wrong.
    bounces: u32,
    readings: u32,
}

impl Adapter {
    /// Plugs one in and waits for its chip.
    pub fn plug_in() -> Self {
        let before = chips();
        let mut uhid = File::options().read(true).write(true).open("/dev/uhid").expect("/dev/uhid");
        let lines = Arc::new(Mutex::new([Line::default(); 4]));
        uhid.write_all(&creation()).unwrap();
        let (mut hears, answers) = (uhid.try_clone().unwrap(), lines.clone());
        std::thread::spawn(move || {
            let mut event = [0; EVENT];
            while let Ok(read) = hears.read(&mut event) {
                if event[..4] == OUTPUT.to_ne_bytes() && read > REPORT {
                    let report = answer(&mut answers.lock().unwrap(), &event[4..4 + REPORT]);
                    let head = [&INPUT.to_ne_bytes()[..], &(REPORT as u16).to_ne_bytes()].concat();
                    if hears.write_all(&[head, report].concat()).is_err() {
                        return;
                    }
                }
            }
        });
        let until = Instant::now() + LONG;
        loop {
            if let Some(chip) = chips().difference(&before).next() {
                return Self { uhid, chip: chip.clone(), lines };
            }
            assert!(Instant::now() < until, "the kernel makes no chip of the adapter");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Its device file.
    pub fn chip(&self) -> &Path {
        &self.chip
    }

    /// Whether a line has high voltage, whoever gives it.
    pub fn is_high(&self, line: usize) -> bool {
        self.lines.lock().unwrap()[line].high
    }

    pub fn is_output(&self, line: usize) -> bool {
        self.lines.lock().unwrap()[line].is_output
    }

    /// Puts a voltage on an input, after it has bounced for so many readings.
    pub fn put(&self, line: usize, high: bool, bounces: u32) {
        let line = &mut self.lines.lock().unwrap()[line];
        (line.high, line.bounces) = (high, bounces);
    }

    /// How often the line was read.
    pub fn readings(&self, line: usize) -> u32 {
        self.lines.lock().unwrap()[line].readings
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let _ = self.uhid.write_all(&DESTROY.to_ne_bytes());
    }
}

fn chips() -> BTreeSet<PathBuf> {
    gpiocdev::chip::chips().unwrap_or_default().into_iter().collect()
}

/// What the adapter says to a report of the driver.
fn answer(lines: &mut [Line; 4], report: &[u8]) -> Vec<u8> {
    let mut said = report.to_vec();
    // It worked.
    said[1] = 0;
    for (at, line) in lines.iter_mut().enumerate() {
        match report[0] {
            SET_GPIO => {
                let wanted = &report[2 + 4 * at..6 + 4 * at];
                if wanted[2] != 0 {
                    line.is_output = wanted[3] == 0;
                }
                if wanted[0] != 0 {
                    line.high = wanted[1] != 0;
                }
            }
            GET_GPIO => {
                line.readings += 1;
                let wrong = line.bounces % 2 == 1;
                line.bounces = line.bounces.saturating_sub(1);
                said[2 + 2 * at..4 + 2 * at]
                    .copy_from_slice(&[u8::from(line.high != wrong), u8::from(!line.is_output)]);
            }
            _ => {}
        }
    }
    said
}

fn creation() -> Vec<u8> {
    let mut event = CREATE.to_ne_bytes().to_vec();
    event.extend(b"MCP2221");
    event.resize(4 + 128 + 64 + 64, 0);
    event.extend((DESCRIPTOR.len() as u16).to_ne_bytes());
    // USB, Microchip, MCP2221.
    event.extend(3_u16.to_ne_bytes());
    for number in [0x04D8_u32, 0x00DD, 0x0100, 0] {
        event.extend(number.to_ne_bytes());
    }
    event.extend(DESCRIPTOR);
    event.resize(EVENT, 0);
    event
}
