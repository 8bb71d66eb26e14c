//! `lookout flash write`

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::flash::{Device, Stage, check, write};
use crate::{Code, Error, Result};

use super::super::console::{Console, Outcome};

#[derive(Args)]
#[command(after_help = "Examples:
  lookout flash list
  sudo lookout flash write card.img /dev/sdb

What is mounted, what this machine runs from, partitions, and cards that are too small are refused.")]
pub(in crate::cli) struct WriteImage {
    /// The image of a whole card
    image: PathBuf,
    /// The device
    device: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Written {
    task: &'static str,
    image: PathBuf,
    device: PathBuf,
    model: String,
    bytes: u64,
    verified: bool,
    seconds: f64,
}

impl WriteImage {
    pub fn run(self, console: &Console) -> Outcome {
        let device = Device::at(&self.device)?;
        check(&self.image, &device)?;
        if !self.yes {
            confirm(&device)?;
        }
        let begin = Instant::now();
        let bars = [console.bytes_bar("writing"), console.bytes_bar("reading back")];
        let bytes = write(&self.image, &device, |stage, done, all| {
            bars[usize::from(stage == Stage::Reading)].at(done as usize, all as usize);
        })?;
        drop(bars);
        let seconds = begin.elapsed().as_secs_f64();
        let (image, model) = (self.image, device.model.clone());
        let written =
            Written { task: "flash write", image, device: device.path, model, bytes, verified: true, seconds };
        console.answer(&written, || {
            format!(
                "{}: {bytes} bytes written and read back in {seconds:.1} s; it can be taken out\n",
                written.device.display()
            )
        })
    }
}

/// Asks for the device's name, which nobody types by mistake.
fn confirm(device: &Device) -> Result<()> {
    let name = device.path.file_name().unwrap_or_default().to_string_lossy();
    let mut err = std::io::stderr().lock();
    let question = format!(
        "all that is on {} ({}) will be lost; type {name} to go on: ",
        device.path.display(),
        device.describe()
    );
    let mut line = String::new();
    let asked = err.write_all(question.as_bytes()).and_then(|()| err.flush());
    match asked.and_then(|()| std::io::stdin().lock().read_line(&mut line)) {
        Ok(_) if line.trim() == name => Ok(()),
        _ => Err(Error::new(Code::Stopped, "nothing was written", format!("type {name}, or give --yes"))),
    }
}
