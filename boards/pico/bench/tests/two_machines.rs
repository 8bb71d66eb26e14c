//! A microcontroller beside a single-board computer, both in emulators, and the serial line between them: the firmware, and the
//! image of `boards/qemu-virt`, whose camera is the kernel's own.

mod common;

use std::time::{Duration, Instant};

use common::{Board, Kind, Pty, Sbc, lookout, wait_for, wait_within};
use lookout_panel::{Colour, SETTINGS};

/// As `boards/qemu-virt`, with a trigger for what the kernel's camera shows. It holds for so long that the board has been heard
/// before the event begins.
const CONFIG: &str = r#"
device = "virt"
bundle = "/var/lib/lookout-bundle/current"
threads = 1

[[camera]]
name = "camera"
source = "v4l2:///dev/video0"
fps = 1

[camera.motion]
refresh = "5s"

[[trigger]]
name = "bars"
when = "colour bars on a television screen"
unless = ["a person", "a dog", "an empty room"]
threshold = 0.2
hold = "10s"

[serial]
port = "/dev/ttyS0"

[web]
listen = "127.0.0.1:8040"
"#;

/// Where no label fits.
const NONE: &str = "none of these";

/// A boot on a machine that is busy with other things.
const BOOT: Duration = Duration::from_secs(900);

/// Questions that are timed.
const ROUNDS: usize = 5;

/// Points by which scores of two pictures of the same scene may differ: the kernel's camera writes the time into its picture, and
/// JPEG and another processor do the rest.
const POINTS: i32 = 5;

#[test]
#[ignore = "long: make test-two-machines"]
fn two_machines_wired_to_each_other_answer_motion_and_tell_events() {
    let line = Pty::open();
    let power = Instant::now();
    let mut board = Board::wired(Kind::Mps2, line.clone());
    let sbc = Sbc::start(&line.path, CONFIG);
    // A question is asked for half a minute. Motion meanwhile asks nothing new.
    let end = power + BOOT;
    let (mut motion, mut first) = (board.motion(), None);
    while first.is_none() {
        assert!(Instant::now() < end, "no answer; the display shows {:?}\n{}", board.text(), sbc.log());
        if motion.elapsed() > Duration::from_secs(5) {
            motion = board.motion();
        }
        std::thread::sleep(Duration::from_millis(20));
        first = answer(&board, power);
    }
    println!("power-on to the first answer on the display: {:.1} s", (board.written() - power).as_secs_f32());

    // The picture that it answered about, and what this machine's own program sees in it.
    let picture = tempfile::Builder::new().suffix(".jpg").tempfile().unwrap();
    let fetch = "lookout query --http http://127.0.0.1:8040 snapshot --out /tmp/seen.jpg >&2 && cat /tmp/seen.jpg";
    let jpeg = wait_within(BOOT, || format!("a snapshot\n{}", sbc.log()), || sbc.inside(fetch));
    std::fs::write(picture.path(), jpeg).unwrap();
    let expected = labels(picture.path().to_str().unwrap());

    sees(&mut board, &expected);
    println!("{}", board.dump());
    let (_, caption) = until_answered(&mut board, Board::press, |board, begin| {
        let (title, body) = board.text().filter(|_| board.written() > begin)?;
        (title == "It sees").then(|| body.join(" "))
    });
    assert!(caption.len() > 10 && caption.ends_with('%'), "{caption}");
    println!("the button: {caption}");

    let told = sbc.inside("lookout query --http http://127.0.0.1:8040 status --json").unwrap_or_default();
    let told = String::from_utf8(told).unwrap();
    let look = told.split_once("\"look_ms\":").and_then(|(_, rest)| rest.split([',', '}']).next()).unwrap_or("?");
    println!("a look at a picture takes the emulated computer {look} ms");

    // Nobody asked for this.
    let event = board.shows("bars");
    assert!(event.ends_with('%'), "{event}");
    board.lights(Colour::Magenta);
    println!("an event: {event}\n{}", board.dump());

    // The Pico's own UF2 file in its place.
    drop(board);
    let mut board = Board::wired(Kind::Pico, line);
    board.shows_where("a lookout", |title, _| ["lookout", "bars"].contains(&title));
    sees(&mut board, &expected);
    drop(sbc);
    let body = board.shows("No lookout");
    assert!(body.contains("Nobody answers"), "{body}");
}

/// Motion, again and again: the display has this machine's answer about the picture, and the lamp the best label's colour.
fn sees(board: &mut Board, expected: &[(String, i32)]) {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (begin, (title, body)) = until_answered(board, Board::motion, answer);
        times.push(board.written().duration_since(begin).as_millis());
        let best = expected.iter().max_by_key(|(_, points)| *points).unwrap();
        assert_eq!(title, best.0, "{body}");
        board.lights(SETTINGS.labels.iter().find(|(label, _)| *label == title).map_or(Colour::White, |known| known.1));
        for (label, points) in expected {
            let shown = body.split_once(&format!(" % {label}")).unwrap_or_else(|| panic!("{label} is not in {body}")).0;
            let shown: i32 = shown.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(shown.abs_diff(*points) <= POINTS as u32, "{label} has {points} % here, and {body} there");
        }
    }
    times.sort_unstable();
    println!("motion to answer on the display: {times:?} ms, the middle one {} ms", times[ROUNDS / 2]);
}

/// Asks until there is an answer, and returns when it was asked for: the board gives up after half a minute, within which a
/// machine that is busy with other things need not have it.
fn until_answered<T>(
    board: &mut Board,
    ask: impl Fn(&mut Board) -> Instant,
    answer: impl Fn(&Board, Instant) -> Option<T>,
) -> (Instant, T) {
    let end = Instant::now() + BOOT;
    while Instant::now() < end {
        let begin = ask(board);
        let gave_up = || board.text().is_some_and(|(title, _)| title == "No answer" && board.written() > begin);
        let outcome = wait_for(
            || format!("an answer; the display shows {:?}\n{}", board.text(), board.dump()),
            || answer(board, begin).map(Some).or_else(|| gave_up().then_some(None)),
        );
        if let Some(found) = outcome {
            return (begin, found);
        }
    }
    panic!("no answer in time, again and again");
}

/// Title and body, if the display shows an answer to the motion that began then.
fn answer(board: &Board, begin: Instant) -> Option<(String, String)> {
    let (title, body) = board.text().filter(|_| board.written() > begin)?;
    let is_label = title == NONE || SETTINGS.labels.iter().any(|(label, _)| *label == title);
    let body = body.join(" ");
    (is_label && body.contains(NONE)).then_some((title, body))
}

/// The labels that motion asks about, and their scores in points, as this machine's program gives them.
fn labels(picture: &str) -> Vec<(String, i32)> {
    let asked: Vec<&str> = SETTINGS.labels.iter().map(|(label, _)| *label).collect();
    let output = lookout(&["label", picture, "--labels", &asked.join(", ")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    println!("what this machine's program sees in the picture:\n{printed}");
    let score = |label: &&str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(*label)).unwrap_or_else(|| panic!("{printed}"));
        // A bar, and percent.
        let percent =
            line.trim_end_matches([' ', '%']).rsplit(' ').next().and_then(|number| number.parse::<f32>().ok());
        ((*label).to_owned(), percent.unwrap_or_else(|| panic!("{printed}")).round() as i32)
    };
    asked.iter().chain([&NONE]).map(score).collect()
}
