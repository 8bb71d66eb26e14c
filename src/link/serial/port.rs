//! Opening the port, reading it, and opening it again.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, bounded};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use serial2::{CharSize, FlowControl, Parity, SerialPort, Settings, StopBits};

use crate::said::Said;
use crate::watch::{Desk, Report};
use crate::{Code, Error, Result};

use super::config::SerialConfig;
use super::session::Session;
use super::splitter::Splitter;
use super::work::Desks;
use super::{Shared, write};

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// A port that works for so long is well: if it vanishes then, it is looked for at once.
const WELL: Duration = Duration::from_secs(5);

/// Longest silence within a frame.
const SILENCE: Duration = Duration::from_millis(500);

/// After this long a line that was left half typed is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

const TICK: Duration = Duration::from_millis(250);

/// The port and whom it serves.
pub(super) struct Port {
    pub config: SerialConfig,
    pub device: String,
    pub desk: Arc<dyn Desk>,
    pub desks: Desks,
    pub shared: Arc<Shared>,
    /// Closed to stop.
    pub stop: Receiver<()>,
}

impl Port {
    pub fn run(self) {
        let events = self.desk.listen();
        let (mut said, mut stalled) = (Said::default(), Said::default());
        let mut delay = SHORTEST;
        loop {
            let opened = Instant::now();
            let gone = match open(&self.config.port, self.config.baud, self.config.rtscts) {
                Ok(port) => {
                    said.over(&format!("serial: port {} is open again", self.config.port.display()));
                    self.shared.is(true, None);
                    self.serve(port, &events, &mut stalled)
                }
                Err(error) => error,
            };
            if self.stopped() {
                return;
            }
            said.trouble(&format!("serial: {} ({}); trying again and again", gone.message(), gone.help()));
            self.shared.is(false, Some(gone.message().to_owned()));
            if opened.elapsed() >= WELL {
                delay = SHORTEST;
            }
            if self.stop.recv_timeout(delay) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            delay = (delay * 2).min(LONGEST);
            while events.try_recv().is_ok() {}
        }
    }

    /// Serves until the port is gone, whose cause it returns, or it is to stop.
    fn serve(&self, mut port: SerialPort, events: &Receiver<Arc<Report>>, stalled: &mut Said) -> Error {
        let (sender, waiting) = bounded(write::WAITING);
        let counters = self.shared.counters.clone();
        let session =
            Session::new(self.desk.clone(), counters, &self.device, self.desks.clone(), sender, self.config.events);
        // Both only set numbers in the port's own structure.
        let timed = port.set_read_timeout(TICK).and_then(|()| port.set_write_timeout(TICK));
        if let Err(error) = timed {
            return lost(&self.config.port, &error);
        }
        std::thread::scope(|scope| {
            let writer = {
                let (port, session) = (&port, &session);
                std::thread::Builder::new()
                    .name("serial-out".to_owned())
                    .spawn_scoped(scope, move || write::run(port, session, &waiting, events, stalled))
            };
            let gone = match writer {
                Ok(_) => self.read(&port, &session),
                Err(error) => lost(&self.config.port, &error),
            };
            session.end();
            gone
        })
    }

    fn read(&self, port: &SerialPort, session: &Arc<Session>) -> Error {
        let mut splitter = Splitter::new();
        splitter.echo(self.config.echo);
        let mut buffer = [0; 4_096];
        let mut last = Instant::now();
        loop {
            if self.stopped() {
                return Error::new(Code::Stopped, "the lookout shuts down", "");
            }
            match port.read(&mut buffer) {
                Ok(0) => return lost(&self.config.port, &ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    last = Instant::now();
                    let mut bytes = &buffer[..length];
                    while let Some(split) = splitter.feed(&mut bytes) {
                        show(&mut splitter, session);
                        if let Some(wanted) = session.take(split) {
                            splitter.echo(wanted);
                        }
                    }
                    show(&mut splitter, session);
                }
                Err(error) if is_nothing(error.kind()) => {
                    if last.elapsed() >= FORGOTTEN {
                        splitter.reset();
                    } else if last.elapsed() >= SILENCE
                        && let Some(split) = splitter.silence()
                    {
                        session.take(split);
                    }
                }
                Err(error) => return lost(&self.config.port, &error),
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.try_recv() == Err(TryRecvError::Disconnected)
    }
}

fn show(splitter: &mut Splitter, session: &Session) {
    if let Some(echoed) = splitter.echoed() {
        session.say(echoed, Duration::ZERO);
    }
}

/// Opens a port with 8 data bits, no parity and one stop bit.
pub(super) fn open(path: &Path, baud: u32, rtscts: bool) -> Result<SerialPort> {
    let set = |mut settings: Settings| {
        settings.set_raw();
        settings.set_baud_rate(baud)?;
        settings.set_char_size(CharSize::Bits8);
        settings.set_parity(Parity::None);
        settings.set_stop_bits(StopBits::One);
        settings.set_flow_control(if rtscts { FlowControl::RtsCts } else { FlowControl::None });
        Ok(settings)
    };
    freed(path).and_then(|_held| SerialPort::open(path, set)).map_err(|error| {
        let help = match error.kind() {
            ErrorKind::NotFound => "is it plugged in? `ls /dev/serial/by-id` shows the ports there are",
            ErrorKind::PermissionDenied => "add the user to the group `dialout`",
            _ => "is it a serial port, is the speed one that it knows, and does nothing else use it?",
        };
        Error::new(Code::Link, format!("port {} cannot be opened: {error}", path.display()), help)
    })
}

/// Frees a port of what holds back its output. As the kernel opens it, it sends back what comes, and stops sending at a byte
/// that is XOFF, as a frame may well have; its settings change when all has been sent, which then is never.
fn freed(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let port = OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path)?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    tcflush(&port, QueueSelector::OFlush)?;
    Ok(port)
}

/// Whether reading or writing only has to be tried again.
pub(super) fn is_nothing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Why a port that was open is of no use any more.
pub(super) fn lost(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::Link, format!("port {} is gone: {error}", path.display()), "is it plugged in?")
}
