//! A wire that loses, bends and invents bytes: whatever is accepted is right, and the other end always gets through.

use std::time::Duration;

use lookout::protocol::{About, Findings, Question, text};
use lookout::watch::Desk;

use crate::common::desk::{ScriptedDesk, describe, picture};
use crate::common::{self, Chance, Faults, Hand, Pty, Wire, framed, hand, serve, wait};

const CLEAN: Faults = Faults { lost: 0.0, flipped: 0.0, burst: 0.0, seed: 1 };

/// Asks until `questions` were answered, and compares each answer.
fn every_answer_is_right(faults: Faults, questions: usize) {
    let wire = Wire::new(faults);
    let served = serve(&wire.lookout, ScriptedDesk::new());
    let mut client = wire.client();
    for turn in 0..questions {
        let asked = format!("question {turn} of many");
        let answer = client.ask(Question::Ask, &asked).unwrap_or_else(|error| panic!("{asked}: {error}"));
        let Findings::Words { text, .. } = answer.findings else { panic!("{answer:?}") };
        assert_eq!(text.as_str(), format!("about {asked}"));
    }
    assert!(served.desk.status().questions >= questions as u64);
}

#[test]
fn with_one_byte_in_a_thousand_lost_every_answer_is_right() {
    every_answer_is_right(Faults { lost: 0.001, ..CLEAN }, 200);
}

#[test]
fn with_one_byte_in_a_hundred_lost_every_answer_is_right() {
    every_answer_is_right(Faults { lost: 0.01, seed: 2, ..CLEAN }, 40);
}

#[test]
fn with_bits_flipped_every_answer_is_right() {
    every_answer_is_right(Faults { flipped: 0.005, seed: 3, ..CLEAN }, 40);
}

#[test]
fn with_bursts_of_garbage_every_answer_is_right() {
    every_answer_is_right(Faults { burst: 0.005, seed: 4, ..CLEAN }, 40);
}

#[test]
fn with_all_of_it_every_answer_is_right() {
    every_answer_is_right(Faults { lost: 0.003, flipped: 0.003, burst: 0.002, seed: 5 }, 40);
}

#[test]
fn a_snapshot_arrives_whole_though_bytes_are_lost() {
    for (lost, bytes) in [(0.001, 30_000), (0.01, 5_000)] {
        let wire = Wire::new(Faults { lost, seed: 6, ..CLEAN });
        let file = picture(bytes, 7);
        let _served = serve(&wire.lookout, ScriptedDesk::showing(file.clone()));
        assert_eq!(wire.client().snapshot(None).unwrap().jpeg, file, "{lost} lost");
    }
}

#[test]
fn a_picture_is_sent_whole_though_bytes_are_lost_and_bent() {
    let wire = Wire::new(Faults { lost: 0.003, flipped: 0.002, seed: 8, ..CLEAN });
    let _served = serve(&wire.lookout, ScriptedDesk::new());
    let mut client = wire.client();
    let sent = picture(8_000, 9);
    let id = client.send(&sent).unwrap();
    let Findings::Caption { text: caption, .. } =
        client.ask_about(Some(About::Picture(id)), Question::Caption, "").unwrap().findings
    else {
        panic!("a caption")
    };
    assert_eq!(caption, text::<256>(&describe(&sent)));
}

/// Answers to lines that came through noise; what was damaged is asked again, as a person would.
#[test]
fn lines_get_through_garbage_with_a_retry() {
    let (mut hand, _served) = hand();
    let mut chance = Chance(77);
    let mut asked = 0;
    for turn in 0..30 {
        let noise: Vec<u8> = (0..chance.below(300)).map(|_| chance.below(256) as u8).collect();
        hand.send(noise);
        let wanted = format!("about number {turn}");
        loop {
            asked += 1;
            // Enter first: it ends what the noise began.
            hand.send(format!("\rask number {turn}\r"));
            if hand.find(&wanted, Duration::from_millis(700)) {
                break;
            }
            assert!(asked < 300, "{wanted} never came");
        }
    }
}

#[test]
fn a_frame_right_behind_garbage_is_answered() {
    let (mut hand, _served) = hand();
    let mut chance = Chance(99);
    for nonce in 0..200 {
        let mut noise: Vec<u8> = (0..chance.below(1_200)).map(|_| chance.below(256) as u8).collect();
        noise.extend(framed(&lookout::protocol::Message::Ping { nonce }));
        hand.send(noise);
        hand.wait_for(&lookout::protocol::Message::Pong { nonce });
    }
}

#[test]
fn an_end_that_does_not_read_costs_its_answers_only() {
    let pty = Pty::open();
    let served = serve(&pty.path, ScriptedDesk::showing(picture(100_000, 1)));
    served.wait_until_up();
    let mut hand = Hand::new(pty.master.clone());
    // Far more answers than the terminal's buffer and our queue hold, and nobody reads them.
    for id in 0..150 {
        hand.send(format!("{{\"task\":\"status\",\"id\":{id}}}\rhelp\r"));
    }
    wait("the lookout has read them all", || served.link.status().received >= 150);
    hand.find("never", Duration::from_millis(100));
    hand.send("\rask still there?\r");
    assert!(hand.find("about still there?", common::LONG));
}
