//! A command whose standard output is JPEGs one after the other.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::Stop;
use super::feed::Feed;
use super::jpeg::{Jpegs, with_tables};
use super::source::{Shot, Source};
use super::uri::redacted;
use crate::{Code, Error, Result};

/// How long a command may take to end after its output has ended, or after it was asked to.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Most bytes of a line of standard error that are kept.
const MAX_LINE: u64 = 500;

/// The command runs in a process group of its own, which is ended with it.
pub(super) struct Command {
    shown: String,
    jpegs: Jpegs<ChildStdout>,
    child: Arc<Running>,
    complaints: Complaints,
    stop: Stop,
}

/// The child until it is reaped.
struct Running(Mutex<Option<Child>>);

/// The last line that the command wrote on standard error.
struct Complaints {
    last: Arc<Mutex<String>>,
    ended: Receiver<()>,
}

impl Command {
    pub fn open(line: &str, stop: Stop) -> Result<Self> {
        let shown = format!("cmd:{}", redacted(line));
        let failed = |error: std::io::Error| {
            let message = format!("{shown}: the shell cannot be started: {error}");
            Error::new(Code::Camera, message, "look whether /bin/sh is there, and whether memory is left")
        };
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", line]).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let child = Arc::new(Running(Mutex::new(Some(child))));
        let on_stop = child.clone();
        stop.on_tell(move || {
            on_stop.end(Some(Signal::TERM));
        });
        let (Some(output), Some(errors)) = (output, errors) else {
            return Err(failed(std::io::Error::other("no pipes")));
        };
        let complaints = Complaints::read(errors, &shown).map_err(failed)?;
        let jpegs = Jpegs::new(Feed::new(output, stop.clone()));
        Ok(Self { shown, jpegs, child, complaints, stop })
    }

    fn over(&self, cause: Option<String>) -> Error {
        let signal = cause.is_some().then_some(Signal::TERM);
        let ended = match (cause, self.child.end(signal)) {
            (Some(cause), _) => cause,
            (None, Some(status)) => match (status.code(), status.signal()) {
                (Some(127), _) => "the command was not found".to_owned(),
                (Some(code), _) => format!("the command ended with status {code}"),
                (None, Some(signal)) => format!("the command was ended by signal {signal}"),
                _ => "the command ended".to_owned(),
            },
            (None, None) => "the command closed its output".to_owned(),
        };
        let said = self.complaints.last().map_or(String::new(), |line| format!(": {line}"));
        let help =
            "run it in a terminal: it must write JPEGs to its standard output and not end (`--codec mjpeg -o -`)";
        Error::new(Code::Camera, format!("{}: {ended}{said}", self.shown), help)
    }
}

impl Source for Command {
    fn next(&mut self, not_before: Instant) -> Result<Option<Shot>> {
        match self.jpegs.next(not_before) {
            Ok(Some(bytes)) => Ok(Some(Shot::encoded(with_tables(bytes)))),
            _ if self.stop.told() => Ok(None),
            Ok(None) => Err(self.over(None)),
            Err(error) => Err(self.over(Some(error.to_string()))),
        }
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.child.end(Some(Signal::TERM));
    }
}

impl Running {
    /// Sends `signal` to the group, waits a little, kills the group and reaps the child. `None` where it was reaped
    /// before.
    fn end(&self, signal: Option<Signal>) -> Option<ExitStatus> {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let group = Pid::from_child(&child);
        if let Some(signal) = signal {
            let _ = kill_process_group(group, signal);
        }
        // Not reaped yet, so that the number of its group stays its own.
        let gone = || waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
        let ended = || {
            let until = Instant::now() + LAST_WORDS;
            while matches!(gone(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            !matches!(gone(), Ok(None))
        };
        ended();
        let _ = kill_process_group(group, Signal::KILL);
        if ended() {
            return child.wait().ok();
        }
        // It hangs in the kernel, and must not take us with it.
        let _ = std::thread::Builder::new().name("camera reaper".into()).spawn(move || child.wait());
        None
    }
}

impl Complaints {
    fn read(errors: impl Read + Send + 'static, shown: &str) -> std::io::Result<Self> {
        let (last, shown) = (Arc::new(Mutex::new(String::new())), shown.to_owned());
        let (ending, ended) = crossbeam_channel::bounded(0);
        let kept = last.clone();
        std::thread::Builder::new().name("camera stderr".into()).spawn(move || {
            let _ending = ending;
            let mut errors = BufReader::new(errors);
            let mut line = Vec::new();
            while matches!((&mut errors).take(MAX_LINE).read_until(b'\n', &mut line), Ok(count) if count > 0) {
                let text = redacted(String::from_utf8_lossy(&line).trim());
                if !text.is_empty() {
                    log::debug!("{shown}: {text}");
                    *kept.lock().unwrap_or_else(PoisonError::into_inner) = text;
                }
                line.clear();
            }
        })?;
        Ok(Self { last, ended })
    }

    /// The last line, once all was read or a moment has passed.
    fn last(&self) -> Option<String> {
        let _ = self.ended.recv_timeout(LAST_WORDS);
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (!last.is_empty()).then_some(last)
    }
}
