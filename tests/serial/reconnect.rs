//! Ports that are not there, vanish and come back.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use lookout::Code;
use lookout::link::serial::{Client, SerialConfig, start};
use lookout::protocol::{Findings, Message, Question};

use crate::common::desk::ScriptedDesk;
use crate::common::{Faults, Hand, LONG, Pty, Wire, is_nothing, serve, wait};

#[test]
fn a_port_that_is_cut_and_comes_back_under_its_name_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("ttyACM0");
    let served = serve(&name, ScriptedDesk::new());
    wait("it says that the port is missing", || served.link.status().note.is_some());
    let note = served.link.status().note.unwrap();
    assert!(note.contains("ttyACM0") && !served.link.status().up, "{note}");

    for turn in 0..3 {
        let pty = Pty::open();
        symlink(&pty.path, &name).unwrap();
        served.wait_until_up();
        let mut hand = Hand::new(pty.master.clone());
        assert_eq!(hand.ask(&format!("ask {turn}"))["answer"], format!("about {turn}"));
        hand.tell(&Message::Ping { nonce: turn });
        assert_eq!(hand.message(), Message::Pong { nonce: turn });
        // In the middle of a frame and of a question.
        hand.send(b"\0\x17\x01\x02half a frame");
        std::fs::remove_file(&name).unwrap();
        drop((hand, pty));
        wait("it notices", || !served.link.status().up);
    }
}

#[test]
fn a_question_that_is_asked_while_the_port_is_away_is_answered_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("ttyACM0");
    let desk = ScriptedDesk::new();
    let first = Wire::new(Faults::default());
    symlink(&first.client, &name).unwrap();
    let served = serve(&first.lookout, desk.clone());
    let mut client = Client::open(&name, 115_200, LONG).unwrap();
    client.status().unwrap();
    drop(served);
    std::fs::remove_file(&name).unwrap();
    drop(first);
    let asked = std::thread::spawn(move || client.ask(Question::Ask, "are you back?").unwrap());
    let second = Wire::new(Faults::default());
    let _served = serve(&second.lookout, desk);
    symlink(&second.client, &name).unwrap();
    let Findings::Words { text, .. } = asked.join().unwrap().findings else { panic!("words") };
    assert_eq!(text.as_str(), "about are you back?");
}

#[test]
fn nobody_at_the_other_end_is_said_with_a_remedy() {
    let pty = Pty::open();
    let mut client = Client::open(&pty.path, 115_200, Duration::from_millis(300)).unwrap();
    let error = client.ask(Question::Caption, "").unwrap_err();
    assert_eq!(error.code(), Code::Link);
    assert!(error.message().contains("nobody answers on /dev/pts/") && error.help().contains("same speed"), "{error}");
    let missing = Client::open(&pty.path.join("x"), 115_200, LONG).err().expect("there is no such port");
    assert!(missing.message().contains("cannot be opened"), "{missing}");
}

#[test]
fn what_is_no_port_is_waited_for_and_a_configuration_without_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no terminal").unwrap();
    let served = serve(&file, ScriptedDesk::new());
    wait("it says what is wrong", || served.link.status().note.is_some());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "no terminal");
    let config = SerialConfig { baud: 1, ..SerialConfig::new("/dev/ttyS0") };
    assert_eq!(start(config, "testling", ScriptedDesk::new()).err().expect("1 baud").code(), Code::Config);
}

#[test]
fn it_stops_while_a_question_waits_and_while_nobody_reads() {
    let pty = Pty::open();
    let mut served = serve(&pty.path, ScriptedDesk::new());
    served.wait_until_up();
    let master = pty.release();
    let mut hand = Hand::new(master.clone());
    for _ in 0..100 {
        hand.send("help\r");
    }
    served.desk.hold(true);
    hand.send("caption\r");
    wait("the question waits", || served.link.status().received == 1);
    // The thread that the desk holds is left behind; the others close the port.
    served.link.stop(Instant::now() + Duration::from_millis(500));
    wait("the port is closed", || {
        !master.read(&mut [0; 4_096]).is_err_and(|error| is_nothing(error.kind())) && {
            // Nobody has it open: an error that does not go away.
            master.read(&mut [0; 1]).is_err_and(|error| !is_nothing(error.kind()))
        }
    });
}
