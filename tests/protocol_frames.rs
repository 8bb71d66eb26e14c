//! What the framing promises about damaged lines: a message arrives as it was sent or not at all, and the next one
//! arrives whatever happened to the one before.

use lookout::protocol::*;

fn name(s: &str) -> Name {
    Name::try_from(s).expect("short enough")
}

/// Every message and every variant of what is in one, with ordinary, least and greatest values.
fn every_message() -> Vec<Message> {
    let long: Text = text(&"ü".repeat(128));
    let short: Text = text("a dog on the beach");
    let label = name(&"l".repeat(48));
    let mut all = vec![
        Message::Ping { nonce: 0 },
        Message::Ping { nonce: u32::MAX },
        Message::Pong { nonce: 0x0102_0304 },
        Message::Piece(Piece { id: 3, offset: 0, total: 0, data: heapless::Vec::new() }),
        largest(),
    ];
    let questions = [
        Question::Label,
        Question::Caption,
        Question::Ground,
        Question::Ask,
        Question::Check,
        Question::Find,
        Question::Snapshot,
    ];
    all.extend(questions.map(|question| Message::Ask(Ask { id: 9, question, text: short.clone() })));
    let one_label = LabelScore { label: Label::Is(label), score: Score::ONE };
    let none = LabelScore { label: Label::None, score: Score::new(0.25) };
    let found = Found { event: u64::MAX, unix_ms: u64::MAX, score: Score::ONE };
    let findings = [
        Findings::Labels(heapless::Vec::from_iter([none])),
        Findings::Labels((0..8).map(|_| one_label.clone()).collect()),
        Findings::Caption { text: long.clone(), score: Score::ONE },
        Findings::Boxes((0..8).map(|_| ScoredBox { rect: [u16::MAX; 4], score: Score::ONE }).collect()),
        Findings::Boxes(heapless::Vec::new()),
        Findings::Words { text: short.clone(), score: Score::new(0.5) },
        Findings::Verdict { supported: true, score: Score::new(0.9) },
        Findings::Events((0..8).map(|_| found).collect()),
        Findings::Snapshot { bytes: u32::MAX, width: u16::MAX, height: 1 },
    ];
    all.extend(findings.map(|findings| Message::Answer(Answer { id: u32::MAX, ms: u32::MAX, findings })));
    for phase in [Phase::Began, Phase::Ended, Phase::Updated] {
        let (trigger, caption) = (name(&"t".repeat(48)), long.clone());
        let score = Score::ONE;
        all.push(Message::Event(Event { id: u64::MAX, trigger, phase, unix_ms: u64::MAX, score, caption }));
    }
    for (watch, decidegrees) in [
        (Watch::Starting, None),
        (Watch::Watching, Some(i16::MIN)),
        (Watch::Paused, Some(612)),
        (Watch::Blind, Some(i16::MAX)),
    ] {
        all.push(Message::Status(Status {
            watch,
            uptime_s: u32::MAX,
            frames: u32::MAX,
            events: u32::MAX,
            look_ms: u32::MAX,
            decidegrees,
            throttled: true,
            bundle: long.clone(),
        }));
    }
    for code in [
        FailureCode::Busy,
        FailureCode::Unsupported,
        FailureCode::Question,
        FailureCode::Camera,
        FailureCode::Frame,
        FailureCode::Internal,
    ] {
        all.push(Message::Failure(Failure { id: Some(u32::MAX), code, text: long.clone() }));
        all.push(Message::Failure(Failure { id: None, code, text: Text::new() }));
    }
    all.push(Message::Fetch(Fetch { id: u32::MAX, offset: u32::MAX, size: u16::MAX, pieces: u8::MAX }));
    all.push(Message::Picture(Picture { id: u32::MAX, bytes: u32::MAX, crc: u32::MAX }));
    all.push(Message::Have(Have { id: u32::MAX, bytes: 0 }));
    let ask = Ask { id: u32::MAX, question: Question::Snapshot, text: long };
    all.push(Message::AskAbout(AskAbout { about: About::Picture(u32::MAX), ask: ask.clone() }));
    all.push(Message::AskAbout(AskAbout { about: About::Camera(name(&"c".repeat(48))), ask }));
    all
}

/// Exactly [`MAX_MESSAGE`] bytes of message in exactly [`MAX_FRAME`] bytes of frame.
fn largest() -> Message {
    let data = heapless::Vec::from_iter(std::iter::repeat_n(0xA5, 494));
    Message::Piece(Piece { id: u32::MAX, offset: u32::MAX, total: u32::MAX, data })
}

fn framed(message: &Message) -> Vec<u8> {
    encode(message, &mut [0; MAX_FRAME]).expect("every message fits").to_vec()
}

/// A frame around `plain`, which begins with the version.
fn framed_plain(plain: &[u8]) -> Vec<u8> {
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(plain).to_le_bytes();
    let mut stuffed = vec![0; 2 * plain.len() + 16];
    let length = cobs::encode(&[plain, &sum].concat(), &mut stuffed);
    [&[0], &stuffed[..length], &[0]].concat()
}

fn drain(accumulator: &mut Accumulator, mut bytes: &[u8]) -> Vec<Fed> {
    let mut all = Vec::new();
    while let Some(fed) = accumulator.feed(&mut bytes) {
        all.push(fed);
    }
    all
}

fn said(bytes: &[u8]) -> Vec<Fed> {
    let mut all = drain(&mut Accumulator::new(), bytes);
    all.retain(|fed| *fed != Fed::Consumed);
    all
}

#[test]
fn every_message_comes_back_byte_by_byte() {
    for message in every_message() {
        let frame = framed(&message);
        let mut accumulator = Accumulator::new();
        for (at, byte) in frame.iter().enumerate() {
            let last = at + 1 == frame.len();
            let expected = if last { Fed::Done(message.clone()) } else { Fed::Consumed };
            assert_eq!(drain(&mut accumulator, &[*byte]), [expected], "byte {at} of {message:?}");
        }
    }
}

#[test]
fn a_frame_has_no_zero_within_and_stays_within_its_bound() {
    for message in every_message() {
        let frame = framed(&message);
        let zeros: Vec<_> = frame.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at).collect();
        assert_eq!(zeros, [0, frame.len() - 1], "{message:?}");
        assert!(frame.len() <= MAX_FRAME, "{message:?}");
    }
}

#[test]
fn any_flipped_bit_is_noticed_and_the_next_message_arrives() {
    let next = Message::Pong { nonce: 77 };
    for message in every_message() {
        let frame = framed(&message);
        for bit in 0..frame.len() * 8 {
            let mut line = frame.clone();
            line[bit / 8] ^= 1 << (bit % 8);
            line.extend(framed(&next));
            let all = said(&line);
            let (last, before) = all.split_last().expect("something is said");
            assert_eq!(*last, Fed::Done(next.clone()), "bit {bit} of {message:?}");
            assert!(!before.is_empty(), "bit {bit} of {message:?} went unnoticed");
            let arrived = before.iter().any(|fed| matches!(fed, Fed::Done(_)));
            assert!(!arrived, "bit {bit} of {message:?}: {before:?}");
        }
    }
}

#[test]
fn any_lost_byte_is_noticed_or_harmless_and_the_next_message_arrives() {
    let next = Message::Ask(Ask { id: 1, question: Question::Caption, text: Text::new() });
    for message in every_message() {
        let frame = framed(&message);
        for at in 0..frame.len() {
            let mut line = frame.clone();
            line.remove(at);
            line.extend(framed(&next));
            let all = said(&line);
            let (last, before) = all.split_last().expect("something is said");
            assert_eq!(*last, Fed::Done(next.clone()), "byte {at} of {message:?}");
            let harmless = at == 0 || at == frame.len() - 1;
            match before {
                [Fed::Done(arrived)] => assert!(harmless && *arrived == message, "byte {at} of {message:?}"),
                [Fed::Bad(_)] => assert!(!harmless, "byte {at} of {message:?}"),
                _ => panic!("byte {at} of {message:?}: {before:?}"),
            }
        }
    }
}

#[test]
fn garbage_between_frames_costs_no_frame() {
    let (first, second) = (Message::Ping { nonce: 1 }, largest());
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    for length in 0..2 * MAX_FRAME {
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        })
        .take(length)
        .collect();
        let line = [framed(&first), noise, framed(&second)].concat();
        let messages: Vec<_> = said(&line).into_iter().filter(|fed| matches!(fed, Fed::Done(_))).collect();
        assert_eq!(messages, [Fed::Done(first.clone()), Fed::Done(second.clone())], "{length} bytes of noise");
    }
}

#[test]
fn glued_frames_both_arrive_and_idle_zeros_say_nothing() {
    let (first, second) = (Message::Ping { nonce: 5 }, Message::Pong { nonce: 6 });
    let expected = [Fed::Done(first.clone()), Fed::Done(second.clone())];
    let glued = [framed(&first), framed(&second)].concat();
    assert_eq!(said(&glued), expected);
    let sharing_one_zero = [framed(&first), framed(&second)[1..].to_vec()].concat();
    assert_eq!(said(&sharing_one_zero), expected);
    let idle = [vec![0; 9], framed(&first), vec![0; 9], framed(&second), vec![0; 9]].concat();
    assert_eq!(said(&idle), expected);
}

#[test]
fn the_largest_frame_arrives_and_one_byte_more_is_overfull_once() {
    let frame = framed(&largest());
    assert_eq!(frame.len(), MAX_FRAME);
    assert_eq!(said(&frame), [Fed::Done(largest())]);

    let mut longer = frame.clone();
    longer.insert(MAX_FRAME / 2, 0x5A);
    let next = Message::Ping { nonce: 2 };
    assert_eq!(said(&[longer, framed(&next)].concat()), [Fed::Overfull, Fed::Done(next.clone())]);

    let mut endless = vec![0x5A; 100 * MAX_FRAME];
    endless.extend(framed(&next));
    assert_eq!(said(&endless), [Fed::Overfull, Fed::Done(next)]);
}

#[test]
fn a_buffer_one_byte_too_small_is_refused_and_an_exact_one_is_not() {
    for message in every_message() {
        let length = framed(&message).len();
        let mut buffer = [0; MAX_FRAME];
        assert!(encode(&message, &mut buffer[..length]).is_ok(), "{message:?}");
        for shorter in 0..length {
            assert_eq!(encode(&message, &mut buffer[..shorter]), Err(EncodeError::Overfull), "{shorter}, {message:?}");
        }
    }
}

#[test]
fn another_version_is_told_from_damage() {
    let body = bytes_of(&Message::Ping { nonce: 1 });
    for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
        let frame = framed_plain(&[&[version], &body[..]].concat());
        assert_eq!(said(&frame), [Fed::Bad(Bad::Version(version))]);
    }
}

#[test]
fn each_kind_of_bad_frame_is_named() {
    let body = bytes_of(&Message::Ping { nonce: 1 });
    let good = framed_plain(&[&[VERSION], &body[..]].concat());
    assert_eq!(said(&good), [Fed::Done(Message::Ping { nonce: 1 })], "the helper frames as the crate does");

    let trailing = framed_plain(&[&[VERSION], &body[..], &[0]].concat());
    assert_eq!(said(&trailing), [Fed::Bad(Bad::Malformed)], "a byte after the message");
    assert_eq!(said(&framed_plain(&[VERSION])), [Fed::Bad(Bad::Malformed)], "no message");
    assert_eq!(said(&framed_plain(&[VERSION, 99])), [Fed::Bad(Bad::Malformed)], "a message from the future");
    assert_eq!(said(&framed_plain(&[])), [Fed::Bad(Bad::Short)], "a checksum alone");
    assert_eq!(said(&[0, 2, 7, 0]), [Fed::Bad(Bad::Short)], "one byte");
    assert_eq!(said(&[0, 9, 1, 2, 0]), [Fed::Bad(Bad::Stuffing)], "a count beyond the end");
    let mut damaged = good.clone();
    damaged[4] ^= 0x40;
    assert_eq!(said(&damaged), [Fed::Bad(Bad::Checksum)]);

    let above_one = postcard_verdict(10_001);
    assert_eq!(said(&framed_plain(&above_one)), [Fed::Bad(Bad::Malformed)], "a score above 1");
    let one =
        Message::Answer(Answer { id: 1, ms: 1, findings: Findings::Verdict { supported: true, score: Score::ONE } });
    assert_eq!(said(&framed_plain(&postcard_verdict(10_000))), [Fed::Done(one)]);
}

#[test]
fn reset_forgets_half_a_frame_and_an_overfull_one() {
    let message = Message::Pong { nonce: 3 };
    let frame = framed(&message);
    let mut accumulator = Accumulator::new();
    for before in [&frame[..4], &[0x5A; 2 * MAX_FRAME]] {
        drain(&mut accumulator, before);
        accumulator.reset();
        // Without its leading zero, so that only the reset can have made room for it.
        assert_eq!(drain(&mut accumulator, &frame[1..]), [Fed::Done(message.clone())]);
    }
}

#[test]
fn text_is_cut_between_characters() {
    assert_eq!(text::<5>("aüüü").as_str(), "aüü");
    assert_eq!(text::<4>("aüüü").as_str(), "aü");
    assert_eq!(text::<8>("aü").as_str(), "aü");
    assert_eq!(text::<1>("ü").as_str(), "");
}

#[test]
fn scores_are_rounded_into_their_range() {
    let pairs = [(0.0, 0), (1.0, 10_000), (0.50004, 5000), (0.50006, 5001), (-3.0, 0), (7.0, 10_000)];
    for (probability, steps) in pairs {
        assert_eq!(u16::from(Score::new(probability)), steps, "{probability}");
    }
    assert_eq!(u16::from(Score::new(f32::NAN)), 0);
    assert_eq!(u16::from(Score::new(f32::INFINITY)), 10_000);
}

/// The form of each kind of message is a promise to firmware in the field: these bytes were written by version 1.
#[test]
fn the_bytes_of_version_1_stay_the_same() {
    let ask = Message::Ask(Ask { id: 300, question: Question::Check, text: text("a cat") });
    assert_eq!(bytes_of(&ask), b"\x02\xac\x02\x04\x05a cat");
    let snapshot = Message::Ask(Ask { id: 1, question: Question::Snapshot, text: Text::new() });
    assert_eq!(bytes_of(&snapshot), b"\x02\x01\x06\x00");
    let failure = Message::Failure(Failure { id: None, code: FailureCode::Internal, text: Text::new() });
    assert_eq!(bytes_of(&failure), b"\x07\x00\x05\x00");
    let answer = Findings::Snapshot { bytes: 1, width: 2, height: 3 };
    let answer = Message::Answer(Answer { id: 1, ms: 2, findings: answer });
    assert_eq!(bytes_of(&answer), b"\x03\x01\x02\x06\x01\x02\x03");
    let fetch = Message::Fetch(Fetch { id: 1, offset: 2, size: 3, pieces: 4 });
    assert_eq!(bytes_of(&fetch), b"\x08\x01\x02\x03\x04");
    assert_eq!(bytes_of(&Message::Picture(Picture { id: 1, bytes: 2, crc: 3 })), b"\x09\x01\x02\x03");
    assert_eq!(bytes_of(&Message::Have(Have { id: 1, bytes: 2 })), b"\x0a\x01\x02");
    let ask = Ask { id: 1, question: Question::Caption, text: Text::new() };
    assert_eq!(bytes_of(&Message::AskAbout(AskAbout { about: About::Picture(5), ask })), b"\x0b\x00\x05\x01\x01\x00");
    let ping = framed(&Message::Ping { nonce: 7 });
    assert_eq!(ping[..4], [0, 2, 1, 6], "zero, run, version, run");
    assert_eq!(ping.len(), 10);
}

fn bytes_of(message: &Message) -> Vec<u8> {
    postcard::to_slice(message, &mut [0; MAX_MESSAGE]).expect("every message fits").to_vec()
}

fn postcard_verdict(steps: u16) -> Vec<u8> {
    let low = (steps & 0x7F) as u8 | 0x80;
    let high = (steps >> 7) as u8;
    vec![VERSION, 3, 1, 1, 4, 1, low, high]
}
