//! Commands as cameras, by a real shell.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{LONG, failing, frame_after, grey, jpeg, options, stop, until};
use lookout::camera::{Camera, CameraState};

fn camera(line: &str, stall_ms: u64) -> Camera {
    Camera::start("pi", &format!("cmd:{line}"), &options(100.0, stall_ms)).unwrap()
}

fn gone(pid_file: &Path) {
    let pid = std::fs::read_to_string(pid_file).unwrap().trim().to_owned();
    let until = Instant::now() + LONG;
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < until, "process {pid} lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_output_of_a_command_is_split_into_frames() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.jpg"), jpeg(64, 48, 10)).unwrap();
    std::fs::write(folder.path().join("b.jpg"), jpeg(32, 24, 200)).unwrap();
    let line =
        format!("cd {}; while :; do cat a.jpg; sleep 0.05; cat b.jpg; sleep 0.05; done", folder.path().display());
    let camera = camera(&line, 5000);
    for (width, wanted) in [(64, 10), (32, 200), (64, 10)] {
        let frame = frame_after(&camera, 0, |frame| frame.picture().unwrap().width() == width);
        assert!(grey(&frame).abs_diff(wanted) <= 1);
    }
    stop(camera);
}

#[test]
fn a_command_that_ends_says_its_last_words() {
    for (line, cause) in [
        ("echo starting >&2; echo no cameras available >&2; exit 3", "ended with status 3: no cameras available"),
        ("echo pass=1 >&2; exit 0", "ended with status 0: pass=1"),
        ("no-such-command-at-all", "the command was not found"),
        ("kill -9 $$", "ended by signal 9"),
        ("echo reading http://me:secret@cam/ failed >&2; exit 1", "reading http://cam/ failed"),
    ] {
        let status = failing(&camera(line, 5000), cause);
        assert_eq!(status.state, CameraState::Failing);
    }
}

#[test]
fn a_command_that_writes_something_else_is_refused() {
    failing(&camera("cat /dev/zero", 20_000), "what comes is not JPEG");
}

#[test]
fn a_command_that_ended_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.jpg"), jpeg(8, 8, 10)).unwrap();
    let camera = camera(&format!("cat {}/a.jpg", folder.path().display()), 5000);
    until(&camera, |status| status.reopened >= 2 && status.frames >= 2);
}

#[test]
fn a_silent_command_is_ended_with_all_its_processes() {
    let folder = tempfile::tempdir().unwrap();
    let (shell, below) = (folder.path().join("shell"), folder.path().join("below"));
    let line = format!("echo $$ > {}; sleep 1000 & echo $! > {}; wait", shell.display(), below.display());
    let silent = camera(&line, 400);
    failing(&silent, "no frame came");
    gone(&shell);
    gone(&below);
    stop(silent);
}

#[test]
fn stopping_ends_also_a_command_that_does_not_want_to() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let camera = camera(&format!("trap '' TERM; echo $$ > {}; while :; do sleep 1; done", pid.display()), 60_000);
    until(&camera, |_| std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')));
    stop(camera);
    gone(&pid);
}
