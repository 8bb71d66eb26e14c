//! What a program on the serial line gets, in frames and while the forms take turns.

use std::collections::BTreeSet;
use std::time::Duration;

use lookout::Code;
use lookout::link::serial::Split;
use lookout::protocol::*;
use lookout::watch::Desk;

use crate::common::desk::{BUNDLE, ScriptedDesk, describe, picture};
use crate::common::{self, Faults, LONG, Wire, framed, hand, serve, wait};

fn ask(id: u32, question: Question, words: &str) -> Message {
    Message::Ask(Ask { id, question, text: text(words) })
}

fn caption(id: u32) -> Message {
    ask(id, Question::Caption, "")
}

fn is_caption(message: Message, of: u32) {
    let Message::Answer(Answer { id, findings: Findings::Caption { text, .. }, .. }) = message else {
        panic!("{message:?}")
    };
    assert_eq!((id, text.as_str()), (of, "the view of door"));
}

fn is_frame_failure(message: Message, words: &str) {
    let Message::Failure(Failure { id: None, code: FailureCode::Frame, text }) = message else { panic!("{message:?}") };
    assert!(text.contains(words), "{text}");
}

#[test]
fn the_client_has_every_question_answered() {
    let wire = Wire::new(Faults::default());
    let file = picture(20_000, 5);
    let served = serve(&wire.lookout, ScriptedDesk::showing(file.clone()));
    let mut client = wire.client();
    let mut findings = |question, words| client.ask(question, words).unwrap().findings;

    let Findings::Labels(labels) = findings(Question::Label, "a dog, a cat") else { panic!("labels") };
    let all: Vec<_> = labels.iter().map(|label| (&label.label, u16::from(label.score))).collect();
    let is = |name| Label::Is(text(name));
    assert_eq!(all, [(&is("a dog"), 3750), (&is("a cat"), 3750), (&Label::None, 2500)]);
    let words = text("the view of door");
    assert_eq!(findings(Question::Caption, ""), Findings::Caption { text: words, score: Score::new(0.5) });
    let rect = [11, 2, 30, 40];
    let boxes = heapless::Vec::from_iter([ScoredBox { rect, score: Score::new(0.5) }]);
    assert_eq!(findings(Question::Ground, "the red car"), Findings::Boxes(boxes));
    let answer = Findings::Words { text: text("about who?"), score: Score::new(0.25) };
    assert_eq!(findings(Question::Ask, "who?"), answer);
    let verdict = Findings::Verdict { supported: true, score: Score::new(0.75) };
    assert_eq!(findings(Question::Check, "a cat on a couch"), verdict);
    let event = served.desk.begin("postman");
    let Findings::Events(found) = findings(Question::Find, "a dog since 2d") else { panic!("events") };
    assert_eq!((found[0].event, found[0].unix_ms), (event.id.0, event.began_ms));

    let status = client.status().unwrap();
    assert_eq!((status.watch, status.bundle.as_str(), status.decidegrees), (Watch::Watching, BUNDLE, Some(485)));
    let snapshot = client.snapshot(None).unwrap();
    assert_eq!((snapshot.width, snapshot.height, snapshot.jpeg), (640, 480, file));
    let sent = picture(9_999, 6);
    let id = client.send(&sent).unwrap();
    let Findings::Caption { text: seen, .. } =
        client.ask_about(Some(About::Picture(id)), Question::Caption, "").unwrap().findings
    else {
        panic!("a caption")
    };
    assert_eq!(seen.as_str(), describe(&sent), "the desk looked at the picture that was sent");

    let yard = Some(About::Camera(text("yard")));
    let Findings::Caption { text: seen, .. } = client.ask_about(yard, Question::Caption, "").unwrap().findings else {
        panic!("a caption")
    };
    assert_eq!(seen.as_str(), "the view of yard");
    let roof = Some(About::Camera(text("roof")));
    assert_eq!(client.ask_about(roof, Question::Caption, "").unwrap_err().code(), Code::Camera);

    let refused = client.ask(Question::Label, " , ").unwrap_err();
    assert_eq!(refused.code(), Code::Usage);
    assert!(refused.help().contains("at least one label"), "{refused:?}");
    assert_eq!(
        client.ask_about(Some(About::Picture(id + 1_000)), Question::Caption, "").unwrap_err().code(),
        Code::Usage
    );
    assert!(client.ask(Question::Ask, &"x".repeat(300)).unwrap_err().message().contains("300 bytes"));
}

#[test]
fn events_come_to_who_speaks_in_frames() {
    let wire = Wire::new(Faults::default());
    let served = serve(&wire.lookout, ScriptedDesk::new());
    let mut client = wire.client();
    client.status().unwrap();
    let began = served.desk.begin("postman");
    let told = client.next_event(LONG).unwrap().expect("an event came");
    assert_eq!((told.id, told.trigger.as_str(), told.phase), (began.id.0, "postman", Phase::Began));
    assert_eq!(told.caption.as_str(), "what postman saw");
    for _ in 0..20 {
        served.desk.begin("many");
    }
    assert_eq!(client.ask(Question::Ask, "while events come").unwrap().ms, 12);
    let ids: BTreeSet<u64> = (0..20).map(|_| client.next_event(LONG).unwrap().unwrap().id).collect();
    assert_eq!(ids.len(), 20);
    assert_eq!(client.next_event(Duration::ZERO).unwrap(), None);
}

#[test]
fn the_forms_take_turns_on_one_line() {
    let (mut hand, served) = hand();
    for round in 0..20 {
        assert_eq!(hand.ask("ask a line")["answer"], "about a line");
        hand.tell(&caption(round));
        is_caption(hand.message(), round);
        // A line glued to a frame, a frame glued to a line, and an unfinished line before a frame.
        hand.send([&framed(&caption(100 + round))[..], b"ask glued\r"].concat());
        let mut both = [hand.either(), hand.either()];
        both.sort_by_key(|split| matches!(split, Split::Line(_)));
        let [Split::Frame(frame), Split::Line(line)] = both else { panic!("{both:?}") };
        is_caption(frame, 100 + round);
        assert!(line.contains("about glued"), "{line}");
        // What was being typed is lost, the frame is not.
        hand.send([b"ask unfini", &framed(&caption(200 + round))[..]].concat());
        let complaint = |message: &Message| matches!(message, Message::Failure(Failure { id: None, .. }));
        let answer = std::iter::repeat_with(|| hand.message()).find(|message| !complaint(message));
        is_caption(answer.expect("it goes on until one is found"), 200 + round);
    }
    assert_eq!(served.desk.status().questions, 100);
    hand.tell(&caption(7));
    is_caption(hand.message(), 7);
    served.desk.begin("told in a frame");
    let Message::Event(event) = hand.message() else { panic!("an event") };
    assert_eq!(event.trigger.as_str(), "told in a frame");
}

#[test]
fn enter_behind_a_frame_is_not_taken_for_the_next_frame() {
    let (mut hand, _served) = hand();
    hand.send([&framed(&caption(1))[..], b"\r"].concat());
    is_caption(hand.message(), 1);
    hand.expect(b"Type: help\r\n");
    hand.tell(&caption(2));
    is_caption(hand.message(), 2);
    hand.send("\r\rAT\r");
    hand.expect(b"OK\r\n");
}

#[test]
fn several_questions_are_under_way_and_too_many_are_refused() {
    let (mut hand, served) = hand();
    served.desk.hold(true);
    let flood: Vec<u8> = (0..10_000).flat_map(|id| framed(&caption(id))).collect();
    let port = hand.port.clone();
    let (mut busy, mut answered) = (BTreeSet::new(), BTreeSet::new());
    std::thread::scope(|scope| {
        scope.spawn(move || common::Hand::new(port).send(flood));
        while busy.len() + 10 < 10_000 {
            match hand.message() {
                Message::Failure(Failure { id: Some(id), code: FailureCode::Busy, .. }) => assert!(busy.insert(id)),
                other => panic!("{other:?}"),
            }
        }
    });
    served.desk.hold(false);
    while answered.len() < 10 {
        match hand.message() {
            Message::Answer(answer) => assert!(answered.insert(answer.id)),
            other => panic!("{other:?}"),
        }
    }
    assert!(busy.is_disjoint(&answered));
    assert_eq!(busy.union(&answered).count(), 10_000);
    hand.tell(&caption(5));
    is_caption(hand.message(), 5);
}

#[test]
fn a_question_that_is_repeated_while_it_waits_is_asked_once() {
    let (mut hand, served) = hand();
    served.desk.hold(true);
    for _ in 0..50 {
        hand.tell(&caption(1));
    }
    hand.tell(&caption(2));
    hand.tell(&Message::Ping { nonce: 3 });
    assert_eq!(hand.message(), Message::Pong { nonce: 3 });
    assert!(matches!(hand.message(), Message::Status(_)));
    served.desk.hold(false);
    let mut ids = [hand.message(), hand.message()].map(|message| match message {
        Message::Answer(answer) => answer.id,
        other => panic!("{other:?}"),
    });
    ids.sort_unstable();
    assert_eq!((ids, served.desk.status().questions), ([1, 2], 2));
}

#[test]
fn what_is_no_frame_is_answered_once_and_the_next_one_arrives() {
    let (mut hand, _served) = hand();
    let mut frame = framed(&Message::Ping { nonce: 1 });
    frame[3] ^= 0x40;
    hand.send(&frame);
    is_frame_failure(hand.message(), "");

    let data = heapless::Vec::from_iter(std::iter::repeat_n(0xA5, 494));
    let largest = framed(&Message::Piece(Piece { id: u32::MAX, offset: u32::MAX, total: u32::MAX, data }));
    assert_eq!(largest.len(), MAX_FRAME);
    hand.send(&largest);
    let Message::Failure(Failure { id: Some(u32::MAX), .. }) = hand.message() else { panic!("it was read") };
    let mut longer = largest;
    longer.insert(MAX_FRAME / 2, 0x5A);
    hand.send(&longer);
    is_frame_failure(hand.message(), "longer than");

    hand.send(other_version(2));
    is_frame_failure(hand.message(), "protocol version 2");
    hand.tell(&caption(9));
    is_caption(hand.message(), 9);
}

#[test]
fn half_a_frame_and_then_silence_is_dropped() {
    let (mut hand, _served) = hand();
    hand.tell(&caption(1));
    is_caption(hand.message(), 1);
    let frame = framed(&ask(2, Question::Ask, "what is cut off here?"));
    hand.send(&frame[..9]);
    is_frame_failure(hand.message(), "broke off");
    // Had the half been kept, this line would be part of it.
    hand.send("AT\r");
    hand.expect(b"OK\r\n");
}

#[test]
fn a_flood_of_garbage_is_complained_about_now_and_then_only() {
    let (mut hand, served) = hand();
    hand.tell(&caption(1));
    is_caption(hand.message(), 1);
    let before = served.link.status().sent;
    let mut garbage = framed(&caption(0));
    garbage[4] ^= 0x55;
    hand.send(garbage.repeat(3_000));
    let mut complaints = 0;
    hand.tell(&Message::Ping { nonce: 77 });
    loop {
        match hand.message() {
            Message::Pong { nonce: 77 } => break,
            Message::Failure(_) => complaints += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..1_000).contains(&complaints), "{complaints} complaints");
    wait("all is counted", || served.link.status().sent > before + complaints);
}

#[test]
fn answers_of_another_lookout_on_the_line_are_not_answered() {
    let (mut hand, _served) = hand();
    for message in [
        Message::Pong { nonce: 1 },
        Message::Failure(Failure { id: None, code: FailureCode::Frame, text: Text::new() }),
        Message::Have(Have { id: 1, bytes: 1 }),
    ] {
        hand.tell(&message);
    }
    hand.tell(&Message::Ping { nonce: 2 });
    assert_eq!(hand.message(), Message::Pong { nonce: 2 });
}

#[test]
fn a_snapshot_asked_again_under_its_id_is_the_same_one() {
    let (mut hand, served) = hand();
    hand.tell(&ask(4, Question::Snapshot, ""));
    let first = (hand.message(), hand.message());
    *served.desk.jpeg.lock().unwrap() = picture(70, 4).into();
    hand.tell(&ask(4, Question::Snapshot, ""));
    assert_eq!((hand.message(), hand.message()), first);
    hand.tell(&Message::Fetch(Fetch { id: 4, offset: 2_900, size: 60, pieces: 8 }));
    let pieces = [hand.message(), hand.message()].map(|message| match message {
        Message::Piece(piece) => (piece.offset, piece.data.len(), piece.total),
        other => panic!("{other:?}"),
    });
    assert_eq!(pieces, [(2_900, 60, 3_000), (2_960, 40, 3_000)]);
    hand.tell(&Message::Fetch(Fetch { id: 5, offset: 0, size: 60, pieces: 1 }));
    assert!(matches!(hand.message(), Message::Failure(Failure { id: Some(5), .. })));
    hand.tell(&ask(5, Question::Snapshot, ""));
    let Message::Answer(Answer { findings: Findings::Snapshot { bytes: 70, .. }, .. }) = hand.message() else {
        panic!("the new one")
    };
}

/// An undamaged frame of another version of the protocol.
fn other_version(version: u8) -> Vec<u8> {
    let mut frame = framed(&Message::Ping { nonce: 1 });
    let length = frame.len() - 1;
    let body = &mut frame[1..length];
    let plain = cobs::decode_in_place(body).unwrap();
    let mut plain = body[..plain].to_vec();
    plain[0] = version;
    let end = plain.len() - 4;
    let sum = checksum(&plain[..end]).to_le_bytes();
    plain[end..].copy_from_slice(&sum);
    let mut stuffed = vec![0; plain.len() + 2];
    let length = cobs::encode(&plain, &mut stuffed);
    [&[0], &stuffed[..length], &[0]].concat()
}
