//! The line protocol that every engine of the bench speaks, the Python one too. One request a line, one reply a line:
//!
//! | request | reply |
//! |---|---|
//! | `load ROLE MODEL INPUT...` | milliseconds it took, the first run included |
//! | `time N` | milliseconds of each of N runs |
//! | `answer` | what the last run gave: floats, or token ids |
//! | `memory` | `VmHWM`, `VmRSS`, and `VmRSS` before anything was loaded, in KiB |
//!
//! `ROLE` and its `INPUT`: `image` and a file of `[1,3,H,W]` float32; `text` and token ids as `101,2023,102`; `decoder`,
//! a file of patches `[1,N,C]` float32, the start token and the number of words. What fails is answered with `error`
//! and the cause.

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

pub type Fallible<T> = Result<T, Box<dyn Error>>;

/// A model that was loaded with its input.
pub trait Loaded {
    /// One run, from the input as numbers to the answer as numbers.
    fn run(&mut self) -> Fallible<Vec<f32>>;
}

/// What to load.
pub struct Order<'a> {
    pub role: &'a str,
    pub model: &'a str,
    pub input: &'a [&'a str],
    pub threads: usize,
}

impl Order<'_> {
    /// Input `at`.
    pub fn input(&self, at: usize) -> Fallible<&str> {
        self.input.get(at).copied().ok_or_else(|| format!("{} needs one more input", self.role).into())
    }

    /// Input 0 as a file of float32.
    pub fn floats(&self) -> Fallible<Vec<f32>> {
        let path = self.input(0)?;
        let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// Input 0 as token ids.
    pub fn ids(&self) -> Fallible<Vec<i64>> {
        self.input(0)?.split(',').map(|id| Ok(id.parse()?)).collect()
    }
}

/// Serves standard input until it ends.
pub fn serve(threads: usize, load: impl Fn(&Order) -> Fallible<Box<dyn Loaded>>) -> Fallible<()> {
    let mut loaded: Option<(Box<dyn Loaded>, Vec<f32>)> = None;
    let before = status("VmRSS:")?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match reply(&line, threads, before, &load, &mut loaded) {
            Ok(text) => writeln!(out, "{text}")?,
            Err(error) => writeln!(out, "error {}", error.to_string().replace('\n', " "))?,
        }
        out.flush()?;
    }
    Ok(())
}

fn reply(
    line: &str,
    threads: usize,
    before: u64,
    load: &impl Fn(&Order) -> Fallible<Box<dyn Loaded>>,
    loaded: &mut Option<(Box<dyn Loaded>, Vec<f32>)>,
) -> Fallible<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["load", role, model, input @ ..] = &words[..] {
        let begin = Instant::now();
        let mut model = load(&Order { role, model, input, threads })?;
        let answer = model.run()?;
        *loaded = Some((model, answer));
        return Ok(ms_since(begin));
    }
    if words == ["memory"] {
        return Ok(format!("{} {} {before}", status("VmHWM:")?, status("VmRSS:")?));
    }
    let (model, answer) = loaded.as_mut().ok_or("nothing is loaded")?;
    match &words[..] {
        ["answer"] => Ok(answer.iter().map(f32::to_string).collect::<Vec<_>>().join(" ")),
        ["time", runs] => {
            let mut times = Vec::new();
            for _ in 0..runs.parse()? {
                let begin = Instant::now();
                *answer = model.run()?;
                times.push(ms_since(begin));
            }
            Ok(times.join(" "))
        }
        _ => Err(format!("not a request: {line}").into()),
    }
}

fn ms_since(begin: Instant) -> String {
    format!("{:.4}", begin.elapsed().as_secs_f64() * 1e3)
}

/// A number of KiB in this process's status.
fn status(key: &str) -> Fallible<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or("the system does not tell")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
