//! What holds on every board.
#![allow(dead_code, reason = "not every board can show all of it")]

use std::time::Instant;

use lookout::protocol::VERSION;
use lookout_panel::{Colour, SETTINGS};

use crate::common::{Board, Daemon, Kind, Trouble, lookout, picture, wait_for};

const BAUD: u32 = SETTINGS.baud;

/// The daemon's own answer about the picture, from its command line.
fn expected(arguments: &[&str]) -> String {
    let picture = picture();
    let (task, rest) = arguments.split_first().unwrap();
    let output = lookout(&[&[task, picture.to_str().unwrap()], rest].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The best of the labels that motion asks about.
fn best_label() -> (&'static str, Colour) {
    let labels: Vec<&str> = SETTINGS.labels.iter().map(|(label, _)| *label).collect();
    let printed = expected(&["label", "--labels", &labels.join(", ")]);
    let best = printed.lines().next().unwrap();
    *SETTINGS.labels.iter().find(|(label, _)| best.starts_with(label)).unwrap_or_else(|| panic!("{printed}"))
}

/// A board that shows that it knows a daemon, before whose camera there is nothing yet.
fn beside(board: Board) -> (Board, Daemon) {
    let daemon = Daemon::start(board.wire.port(), BAUD);
    board.shows_where("a lookout", |title, body| title == "lookout" && body.contains("0 events"));
    (board, daemon)
}

/// Motion, and what becomes of it.
fn sees_the_dog(board: &mut Board) {
    let (label, colour) = best_label();
    let begin = board.motion();
    let body = board.shows_where(&format!("the answer {label:?}"), |title, body| title == label && body.contains('%'));
    println!("motion to answer on the display: {} ms", board.written().duration_since(begin).as_millis());
    board.lights(colour);
    for (label, _) in SETTINGS.labels {
        assert!(body.contains(&format!("% {label}")), "{label} is not in {body}");
    }
}

pub fn an_event_motion_and_the_button_are_shown(kind: Kind) {
    let (mut board, daemon) = beside(Board::start(kind));
    // Nothing is before the camera yet.
    board.shows_where("a lookout without pictures", |title, body| {
        title == "lookout" && !body.starts_with("Looking for")
    });
    board.motion();
    let body = board.shows("No picture");
    assert!(body.contains("camera"), "{body}");
    board.lights(Colour::Red);

    daemon.show();
    let caption = expected(&["caption"]).lines().next().unwrap().to_owned();
    let body = board.shows("dog");
    assert!(body.starts_with(&caption) && body.ends_with('%'), "{body}, expected {caption}");
    board.lights(Colour::Magenta);
    println!("{}", board.dump());

    sees_the_dog(&mut board);
    println!("{}", board.dump());
    board.press();
    let body = board.shows("It sees");
    assert!(body.starts_with(&caption), "{body}, expected {caption}");
    if kind == Kind::Pico {
        println!("stack that was never used: {} bytes", board.unused_stack());
    }
}

pub fn a_stuck_firmware_is_restarted_by_the_watchdog(kind: Kind) {
    let (mut board, daemon) = beside(Board::start(kind));
    daemon.show();
    board.shows_where("the event", |title, body| title == "dog" && body.contains('%'));
    board.order("H");
    let begin = Instant::now();
    board.shows_where("a word about the restart", |_, body| body.contains("Restarted by the watchdog"));
    println!("stuck to restarted: {} ms", begin.elapsed().as_millis());
    if kind == Kind::Pico {
        assert_eq!(board.resets(), 1);
    }
    sees_the_dog(&mut board);
}

pub fn noise_on_the_line_is_survived(kind: Kind) {
    let (mut board, daemon) = beside(Board::start(kind));
    daemon.show();
    board.shows("dog");
    board.wire.has(Trouble::Noise(10));
    for _ in 0..4 {
        sees_the_dog(&mut board);
        board.press();
        board.shows("It sees");
    }
    assert!(daemon.log().contains("have both ends the same speed?"), "there was no noise: {}", daemon.log());
}

pub fn a_daemon_that_is_killed_is_missed_and_found_again(kind: Kind) {
    let (mut board, mut daemon) = beside(Board::start(kind));
    daemon.show();
    board.shows("dog");
    daemon.kill();
    let body = board.shows("No lookout");
    assert!(body.contains("Nobody answers"), "{body}");
    board.lights(Colour::Yellow);
    // A question to nobody is answered by whoever comes.
    board.motion();
    daemon.restart();
    let (label, colour) = best_label();
    board.shows_where("the answer of the new daemon", |title, _| title == label);
    board.lights(colour);
    // The wire is cut, and mended.
    board.wire.has(Trouble::Cut);
    board.shows("No lookout");
    board.wire.has(Trouble::None);
    sees_the_dog(&mut board);
}

pub fn another_version_of_the_protocol_is_told(kind: Kind) {
    let (mut board, daemon) = beside(Board::start(kind));
    daemon.show();
    board.shows("dog");
    board.wire.has(Trouble::Version(VERSION + 1));
    let body = board.shows("Update this board");
    assert!(body.contains("lookout speaks protocol 2, this board 1."), "{body}");
    board.lights(Colour::Yellow);
    board.wire.has(Trouble::Version(VERSION - 1));
    board.shows("Update lookout");
    board.wire.has(Trouble::None);
    sees_the_dog(&mut board);
}

pub fn a_display_may_come_and_go(kind: Kind) {
    let (mut board, daemon) = beside(Board::start(kind));
    board.order("X");
    daemon.show();
    // The lamp works without a display.
    board.lights(Colour::Magenta);
    board.motion();
    let (label, colour) = best_label();
    board.lights(colour);
    board.order("x");
    board.shows(label);
}

pub fn another_speed_is_told(kind: Kind) {
    let board = Board::start(kind);
    // The daemon sets its port to another speed than the board's UART has, and the wire carries bits.
    for speed in [BAUD * 2, BAUD * 8] {
        let daemon = Daemon::start(board.wire.port(), speed);
        println!("the daemon at {speed} bits/s");
        let body = board.shows("Wrong speed?");
        assert!(body.contains("115200 bits/s"), "{body}");
        board.lights(Colour::Yellow);
        drop(daemon);
        board.shows("No lookout");
    }
    // A slow one takes all that a board says for a single byte now and then, and says nothing.
    let daemon = Daemon::start(board.wire.port(), BAUD / 12);
    wait_for(|| daemon.log(), || daemon.log().contains("watching").then_some(()));
    let body = board.shows("No lookout");
    assert!(body.contains("115200 bits/s"), "{body}");
    drop(daemon);
    let (mut board, daemon) = beside(board);
    daemon.show();
    board.shows("dog");
    sees_the_dog(&mut board);
}
