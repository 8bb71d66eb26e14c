//! `lookout bench`

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use crate::bundle::{Bundle, Role};
use crate::picture::Picture;
use crate::sight::{GroundOptions, Looker, SpeakOptions};
use crate::{Code, Error, Result};

use super::args::Global;
use super::console::{Bar, Console, Outcome};
use super::session::ms_since;

const LABELS: [&str; 3] = ["a dog", "a cat", "an empty sofa"];

#[derive(Args)]
#[command(after_help = "Examples:
  lookout bench
  lookout bench street.jpg --runs 50 --json

Cold start is the time from starting the program to the first byte of its answer to `label`. Peak memory
is that of a program that did label, caption and ground on the picture. Other work on the machine shows.")]
pub(super) struct Bench {
    /// Picture file [default: a made-up one of 640 x 480]
    picture: Option<PathBuf>,
    /// Runs of each stage
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    runs: usize,
    /// Cold starts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    starts: usize,
}

#[derive(Serialize)]
struct Reply<'a> {
    task: &'static str,
    bundle: &'a str,
    picture: String,
    machine: Machine,
    threads: usize,
    runs: usize,
    /// Milliseconds from starting the program to its first label.
    cold_start: Spread,
    load_ms: f64,
    stages: Vec<Stage>,
    peak_rss_mb: Option<f64>,
    seconds: f64,
}

#[derive(Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    system: String,
    /// Name of the int8 kernels in use.
    kernels: &'static str,
}

#[derive(Serialize)]
struct Stage {
    stage: &'static str,
    #[serde(flatten)]
    ms: Spread,
}

#[derive(Clone, Copy, Serialize)]
struct Spread {
    median: f64,
    p95: f64,
}

/// Removes the made-up picture in the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Bench {
    pub fn run(self, global: &Global, console: &Console) -> Outcome {
        let begin = Instant::now();
        let scratch = match &self.picture {
            Some(_) => None,
            None => Some(made_up()?),
        };
        let path =
            self.picture.as_deref().or(scratch.as_ref().map(|scratch| scratch.0.as_path())).unwrap_or(Path::new(""));
        Picture::open(path)?;
        let bundle = global.open_bundle()?;
        let bar = console.bar("bench");
        let total = self.starts + 7;

        let mut starts = Vec::new();
        for at in 0..self.starts {
            starts.push(cold_start(global, path)?);
            bar.at(at + 1, total);
        }
        let loading = Instant::now();
        let looker = Looker::open(bundle, global.options())?;
        let load_ms = ms_since(loading);
        let stages = self.stages(&looker, path, &mut Steps { bar: &bar, done: self.starts, total })?;
        drop(bar);
        let reply = Reply {
            task: "bench",
            bundle: looker.identity(),
            picture: self
                .picture
                .as_ref()
                .map_or("made-up 640 x 480 JPEG".to_owned(), |path| path.display().to_string()),
            machine: Machine::here(),
            threads: global.options().threads,
            runs: self.runs,
            cold_start: Spread::of(starts),
            load_ms: tenths(load_ms),
            stages,
            peak_rss_mb: peak_rss_mb(),
            seconds: tenths(begin.elapsed().as_secs_f64()),
        };
        console.answer(&reply, || table(&reply))
    }

    fn stages(&self, looker: &Looker, path: &Path, steps: &mut Steps) -> Result<Vec<Stage>> {
        let picture = Picture::open(path)?;
        let mut stages = vec![self.stage("decode", steps, || Picture::open(path).map(drop))?];
        // The first look pays for what is set up once.
        let first = looker.look(&picture)?;
        let (mut before, mut tower) = (Vec::with_capacity(self.runs), Vec::with_capacity(self.runs));
        for _ in 0..self.runs {
            let view = looker.look(&picture)?;
            before.push(view.preprocess_ms);
            tower.push(view.tower_ms);
        }
        stages.push(Stage { stage: "preprocess", ms: Spread::of(before) });
        stages.push(Stage { stage: "image tower", ms: Spread::of(tower) });
        steps.step(2);
        let bundle = looker.bundle();
        if bundle.has(Role::Text) {
            let labels = LABELS.map(str::to_owned);
            stages.push(self.stage("text tower", steps, || looker.embed_text(LABELS[2]).map(drop))?);
            stages.push(self.stage("label decide", steps, || looker.label(&first, &labels).map(drop))?);
        }
        if bundle.has(Role::Decoder) {
            let options = SpeakOptions::default();
            stages.push(self.stage("caption", steps, || looker.caption(&first, &options).map(drop))?);
        }
        if bundle.has(Role::Ground) {
            let options = GroundOptions::default();
            stages.push(self.stage("ground", steps, || looker.ground(&first, LABELS[0], &options).map(drop))?);
        }
        Ok(stages)
    }

    /// Times `work` after one run that is not counted.
    fn stage(&self, stage: &'static str, steps: &mut Steps, mut work: impl FnMut() -> Result<()>) -> Result<Stage> {
        work()?;
        let mut times = Vec::with_capacity(self.runs);
        for _ in 0..self.runs {
            let begin = Instant::now();
            work()?;
            times.push(ms_since(begin));
        }
        steps.step(1);
        Ok(Stage { stage, ms: Spread::of(times) })
    }
}

/// How far the bench is.
struct Steps<'a> {
    bar: &'a Bar,
    done: usize,
    total: usize,
}

impl Steps<'_> {
    fn step(&mut self, count: usize) {
        self.done += count;
        self.bar.at(self.done, self.total);
    }
}

impl Spread {
    /// `times` must not be empty.
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
        Self { median: thousandths(at(0.5)), p95: thousandths(at(0.95)) }
    }
}

impl Machine {
    fn here() -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let named = |key: &str| {
            let line = cpu.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        Self {
            processor: named("model name")
                .or_else(|| named("Model"))
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernels: crate::engine::kernel_name(),
        }
    }
}

/// Milliseconds from starting this very program to the first byte of its labels.
fn cold_start(global: &Global, picture: &Path) -> Result<f64> {
    let failed = |cause: &str| {
        Error::new(Code::Engine, format!("the cold start cannot be measured: {cause}"), "run `lookout label` by itself")
    };
    let exe = std::env::current_exe().map_err(|error| failed(&error.to_string()))?;
    let bundle = match &global.bundle {
        Some(path) => path.clone(),
        None => Bundle::default_path()?,
    };
    let mut command = Command::new(exe);
    command.args(["label", "--json", "--labels", &LABELS.join(",")]).arg("--bundle").arg(bundle);
    if let Some(threads) = global.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    command.arg("--").arg(picture).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
    let mut answer = Vec::new();
    let mut first = [0];
    let mut out = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
    let read = out.read_exact(&mut first).map(|()| ms_since(begin));
    let _ = out.read_to_end(&mut answer);
    let status = child.wait().map_err(|error| failed(&error.to_string()))?;
    match read {
        Ok(ms) if status.success() => Ok(ms),
        _ => Err(failed(&format!("it ended with {status}"))),
    }
}

/// A picture with smooth and rough parts, as a JPEG file.
fn made_up() -> Result<Scratch> {
    let (width, height) = (640u32, 480u32);
    let mut rgb = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let rough = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) >> 27;
            rgb.extend([(x * 255 / width) as u8, (y * 255 / height) as u8, (96 + rough) as u8]);
        }
    }
    let scratch = Scratch(std::env::temp_dir().join(format!("lookout-bench-{}.jpg", std::process::id())));
    Picture::from_rgb8(width, height, rgb)?.save(&scratch.0)?;
    Ok(scratch)
}

/// Most memory this process has had, in megabytes (10^6 bytes), where the system tells.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(tenths(kib * 1024.0 / 1e6))
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn table(reply: &Reply) -> String {
    let machine = &reply.machine;
    let mut text = format!(
        "{}\n{}, {} cores, {}, {} kernels, {} threads\n{}\n\n",
        reply.bundle, machine.processor, machine.cores, machine.system, machine.kernels, reply.threads, reply.picture
    );
    text += &format!("{:24} {:>10} {:>10}\n", "", "median ms", "p95 ms");
    let mut row = |name: &str, ms: Spread| text += &format!("{name:24} {:10.3} {:10.3}\n", ms.median, ms.p95);
    row("cold start to labels", reply.cold_start);
    for stage in &reply.stages {
        row(stage.stage, stage.ms);
    }
    if let Some(peak) = reply.peak_rss_mb {
        text += &format!("\npeak memory {peak} MB\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p95_are_times_that_were_measured() {
        let spread = Spread::of((1..=20).rev().map(f64::from).collect());
        assert_eq!((spread.median, spread.p95), (10.0, 19.0));
        let one = Spread::of(vec![3.0]);
        assert_eq!((one.median, one.p95), (3.0, 3.0));
    }
}
