//! The client of `examples/client` on this machine, with a pseudo-terminal as its UART, beside the real daemon.

mod common;

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use common::{Daemon, LONG, Pty, wait_for};
use embedded_hal::delay::DelayNs;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use lookout::protocol::{FailureCode, Findings, Label, Message, Phase, Question};
use lookout_client::{Client, Heard, NoAnswer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A UART that is one end of a pseudo-terminal.
struct Uart(Arc<OwnedFd>);

struct Sleep;

const PATIENCE_MS: u32 = LONG.as_millis() as u32;

#[test]
fn a_microcontroller_asks_and_is_told_events() {
    let pty = Pty::open();
    let daemon = Daemon::start(&pty.path, 115_200);
    let mut client = Client::new(Uart(pty.master.clone()));
    client.number_from(4_000_000_000);
    // Nothing is before the camera yet.
    let labels = "a teapot, a dog";
    match client.answer(Question::Label, labels, &mut Sleep, PATIENCE_MS) {
        Err(NoAnswer::Refused(failure)) => assert_eq!(failure.code, FailureCode::Camera),
        other => panic!("{other:?}"),
    }
    daemon.show();
    let event = wait_for(
        || format!("an event; {}", daemon.log()),
        || match client.poll() {
            Some(Heard::Message(Message::Event(event))) => Some(event),
            _ => None,
        },
    );
    assert_eq!((&event.trigger[..], event.phase), ("dog", Phase::Began));
    let answer = client.answer(Question::Label, labels, &mut Sleep, PATIENCE_MS).unwrap();
    let Findings::Labels(labels) = answer.findings else { panic!("{answer:?}") };
    assert_eq!(labels[0].label, Label::Is("a dog".try_into().unwrap()));
    match client.answer(Question::Label, " ", &mut Sleep, PATIENCE_MS) {
        Err(NoAnswer::Refused(failure)) => assert_eq!(failure.code, FailureCode::Question),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_at_the_other_end_is_told() {
    let pty = Pty::open();
    let mut client = Client::new(Uart(pty.master.clone()));
    let answer = client.answer(Question::Caption, "", &mut Sleep, 50);
    assert!(matches!(answer, Err(NoAnswer::Silent)), "{answer:?}");
    assert_eq!(client.received(), 0);
}

impl DelayNs for Sleep {
    fn delay_ns(&mut self, ns: u32) {
        std::thread::sleep(std::time::Duration::from_nanos(ns.into()));
    }
}

impl ErrorType for Uart {
    type Error = io::Error;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, io::Error> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&now))? > 0)
    }
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, io::Error> {
        self.file()?.read(buffer)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, io::Error> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> Result<(), io::Error> {
        Ok(())
    }
}

impl Uart {
    fn file(&self) -> Result<std::fs::File, io::Error> {
        Ok(rustix::io::dup(&*self.0)?.into())
    }
}
