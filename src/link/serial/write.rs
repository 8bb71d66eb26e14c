//! The way out.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select_biased};
use serial2::SerialPort;

use crate::protocol::{Fetch, MAX_PIECE, Message, Piece};
use crate::said::Said;
use crate::watch::Report;

use super::session::{Session, framed};

/// Messages that wait to be written.
pub(super) const WAITING: usize = 64;

/// How long the other end may take nothing before what waits is dropped.
const STALLED: Duration = Duration::from_secs(2);

/// How often a writer with nothing to do looks whether its connection has ended.
const LOOK: Duration = Duration::from_millis(500);

/// Something to write.
pub(super) enum Out {
    /// A line or a frame.
    Bytes(Vec<u8>),
    /// Pieces of a picture, made one by one as there is room.
    Pieces(Fetch, Arc<[u8]>),
    /// Nothing more.
    End,
}

/// Writes until the session ends: what waits first, then events.
pub(super) fn run(
    port: &SerialPort,
    session: &Session,
    waiting: &Receiver<Out>,
    events: &Receiver<Arc<Report>>,
    said: &mut Said,
) {
    let mut line = Line { port, session, said, stalled: false };
    let silent = never();
    let mut events = events;
    loop {
        select_biased! {
            recv(waiting) -> out => match out {
                Ok(Out::Bytes(bytes)) => line.write(&bytes, waiting),
                Ok(Out::Pieces(fetch, jpeg)) => line.pieces(fetch, &jpeg, waiting),
                Ok(Out::End) | Err(_) => return,
            },
            recv(events) -> report => match report {
                Ok(report) => {
                    if let Some(bytes) = session.event(&report) {
                        line.write(&bytes, waiting);
                    }
                }
                Err(_) => events = &silent,
            },
            default(LOOK) => if session.has_ended() {
                return;
            },
        }
    }
}

struct Line<'a> {
    port: &'a SerialPort,
    session: &'a Session,
    said: &'a mut Said,
    /// The last message was not taken; the next one is given less time.
    stalled: bool,
}

impl Line<'_> {
    /// Writes all of `bytes`; where the other end takes nothing for [`STALLED`], drops them and all that waits.
    fn write(&mut self, bytes: &[u8], waiting: &Receiver<Out>) {
        self.stalled = !self.all(bytes);
        if self.stalled {
            if !self.session.has_ended() {
                self.said.trouble("serial: the other end does not read; what was to be told is dropped");
            }
            while let Ok(out) = waiting.try_recv() {
                if matches!(out, Out::End) {
                    // Says so once more, to the loop that this is part of.
                    self.session.end();
                    break;
                }
            }
        }
    }

    fn pieces(&mut self, fetch: Fetch, jpeg: &[u8], waiting: &Receiver<Out>) {
        let size = usize::from(fetch.size).clamp(1, MAX_PIECE);
        let from = (fetch.offset as usize).min(jpeg.len());
        for (place, part) in jpeg[from..].chunks(size).take(fetch.pieces.into()).enumerate() {
            let offset = (from + place * size) as u32;
            // Of at most MAX_PIECE bytes.
            let data = heapless::Vec::from_slice(part).unwrap_or_default();
            let piece = Piece { id: fetch.id, offset, total: jpeg.len() as u32, data };
            if let Some(bytes) = framed(&Message::Piece(piece)) {
                self.write(&bytes, waiting);
            }
            if self.session.has_ended() {
                return;
            }
        }
    }

    fn all(&mut self, mut bytes: &[u8]) -> bool {
        let mut last = Instant::now();
        while !bytes.is_empty() {
            match self.port.write(bytes) {
                Ok(0) => return false,
                Ok(written) => {
                    bytes = &bytes[written..];
                    last = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                    if self.stalled || last.elapsed() >= STALLED || self.session.has_ended() {
                        return false;
                    }
                    if error.kind() == ErrorKind::WouldBlock {
                        // A driver that says there is room and takes nothing.
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                // The reader meets it too, and ends the connection.
                Err(_) => return false,
            }
        }
        self.session.counters.sent.fetch_add(1, Ordering::Relaxed);
        self.said.over("serial: the other end reads again");
        true
    }
}
