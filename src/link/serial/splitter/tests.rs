use super::*;
use crate::protocol::{Ask, Question, VERSION, encode, text};

fn all(splitter: &mut Splitter, bytes: &[u8]) -> Vec<Split> {
    let mut rest = bytes;
    std::iter::from_fn(|| splitter.feed(&mut rest)).collect()
}

fn said(bytes: &[u8]) -> Vec<Split> {
    all(&mut Splitter::new(), bytes)
}

fn line(text: &str) -> Split {
    Split::Line(text.to_owned())
}

fn frame(message: &Message) -> Vec<u8> {
    encode(message, &mut [0; MAX_FRAME]).unwrap().to_vec()
}

fn ask(id: u32, words: &str) -> Message {
    Message::Ask(Ask { id, question: Question::Ask, text: text(words) })
}

#[test]
fn lines_end_at_a_return_a_newline_or_both() {
    assert_eq!(said(b"a\rb\nc\r\nd\n\r"), [line("a"), line("b"), line("c"), line("d"), line("")]);
    assert_eq!(said(b"\r\r\n\n"), [line(""), line(""), line("")]);
    assert_eq!(said(b"\tstatus \r"), [line("status")]);
}

#[test]
fn a_frame_may_hold_any_byte_and_its_first_may_be_an_end_of_line() {
    // The first byte of the body is the distance to its first zero: every length makes another one.
    for length in 0..=200 {
        for filler in ["\r", "\n", "x", "\0"] {
            let message = ask(1, &filler.repeat(length));
            let bytes = [frame(&message), b"AT\r".to_vec(), frame(&message)].concat();
            let expected = [Split::Frame(message.clone()), line("AT"), Split::Frame(message)];
            assert_eq!(said(&bytes), expected, "{length} times {filler:?}");
        }
    }
}

#[test]
fn enter_right_behind_a_frame_is_told_by_what_follows() {
    let message = ask(1, "who?");
    let behind = |bytes: &[u8]| said(&[&frame(&message), bytes].concat())[1..].to_vec();
    assert_eq!(behind(b"\r"), [], "nothing yet");
    assert_eq!(behind(b"\rx\r"), [line(""), line("x")]);
    assert_eq!(behind(b"\r\nx\r"), [line(""), line("x")]);
    assert_eq!(behind(b"\r\r"), [line(""), line("")]);
    assert_eq!(behind(&[b"\r", &frame(&message)[..]].concat()), [line(""), Split::Frame(message.clone())]);
    let mut splitter = Splitter::new();
    all(&mut splitter, &[&frame(&message)[..], b"\n"].concat());
    assert_eq!(splitter.silence(), Some(line("")));
    assert_eq!(splitter.silence(), None);
}

#[test]
fn silence_drops_half_a_frame_and_keeps_half_a_line() {
    let whole = frame(&ask(1, "who?"));
    let mut splitter = Splitter::new();
    assert_eq!(all(&mut splitter, &whole[..7]), []);
    assert_eq!(splitter.silence(), Some(Split::Bad(Damage::Half)));
    assert_eq!(all(&mut splitter, b"stat"), []);
    assert_eq!(splitter.silence(), None);
    assert_eq!(all(&mut splitter, b"us\r"), [line("status")]);
    // Typed right behind a frame, slowly.
    assert_eq!(all(&mut splitter, &whole), [Split::Frame(ask(1, "who?"))]);
    for typed in ["s", "t", "atus"] {
        assert_eq!(all(&mut splitter, typed.as_bytes()), []);
        assert_eq!(splitter.silence(), None);
    }
    assert_eq!(all(&mut splitter, b"\r"), [line("status")]);
}

#[test]
fn what_is_too_long_is_said_once_and_ends_where_it_ends() {
    let longest = "x".repeat(MAX_LINE);
    assert_eq!(said(format!("{longest}\rAT\r").as_bytes()), [line(&longest), line("AT")]);
    let longer = format!("{longest}y");
    assert_eq!(said(format!("{longer}\rAT\r").as_bytes()), [Split::Bad(Damage::LongLine), line("AT")]);
    let body = [&[0, 7, VERSION][..], &[0xA5; MAX_FRAME], &[b'\r', 7, 0], b"AT\r"].concat();
    let mut splitter = Splitter::new();
    assert_eq!(all(&mut splitter, &body)[0], Split::Bad(Damage::LongFrame));
    assert_eq!(all(&mut splitter, b"AT\r"), [line("AT")]);
}

#[test]
fn noise_is_named_and_forgotten() {
    let noise = Split::Bad(Damage::Noise);
    assert_eq!(said(b"\xFF\xFEx\rAT\r"), [noise.clone(), line("AT")], "no UTF-8");
    assert_eq!(said(b"a\x01b\rAT\r"), [noise, line("AT")], "no key makes a 1");
    let message = ask(1, "who?");
    let cut = [&b"ask half"[..], &frame(&message)].concat();
    assert!(matches!(said(&cut)[..], [Split::Bad(Damage::Frame(_)), Split::Frame(_)]));
    let without_its_zero = &frame(&message)[1..];
    assert_eq!(said(without_its_zero), [Split::Frame(message)]);
}

#[test]
fn keys_edit_the_line() {
    for (typed, read) in [
        ("statsu\x08\x08us\r", "status"),
        ("hünd\x7F\x7F\x7Fund\r", "hund"),
        ("\x08\x08ok\r", "ok"),
        ("rubbish\x15ok\r", "ok"),
        ("rubbish\x03ok\r", "ok"),
        ("o\x1B[A\x1B[1;5Dk\x1BOP\r", "ok"),
    ] {
        assert_eq!(said(typed.as_bytes()), [line(read)], "{typed:?}");
    }
}

#[test]
fn what_is_typed_is_shown_and_frames_are_not() {
    let mut splitter = Splitter::new();
    all(&mut splitter, b"quiet\r");
    assert_eq!(splitter.echoed(), None);
    splitter.echo(true);
    all(&mut splitter, "hü\x08i\r".as_bytes());
    assert_eq!(splitter.echoed().unwrap(), "hü\x08 \x08i\r\n".as_bytes());
    all(&mut splitter, &frame(&ask(1, "not shown\r")));
    let shown = splitter.echoed().unwrap_or_default();
    assert!(!shown.ends_with(b"\r\n") && !shown.windows(3).any(|part| part == b"not"), "{shown:?}");
}
