//! Files and folders as cameras, by real files.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::common::{LONG, failing, frame_after, grey, jpeg, options, stop, until};
use lookout::camera::{Camera, CameraOptions, CameraState, Frame, Source, Stop, open};

fn folder(path: &Path, query: &str) -> String {
    format!("folder:{}{query}", path.display())
}

fn write(path: &Path, name: &str, grey: u8) {
    fs::write(path.join(name), jpeg(8, 8, grey)).unwrap();
}

/// Every picture that a source gives, none left out.
struct Each(Box<dyn Source>);

impl Each {
    fn of(uri: &str) -> Self {
        Self(open(uri, &CameraOptions::default(), &Stop::default()).unwrap())
    }

    fn next(&mut self) -> Option<Frame> {
        self.0.next(Instant::now()).unwrap().map(|shot| shot.into_frame("in", 1))
    }

    fn name(&mut self) -> String {
        self.next().expect("there are more").file.unwrap().to_string()
    }
}

#[test]
fn pictures_that_are_there_come_in_the_order_of_their_names() {
    let there = tempfile::tempdir().unwrap();
    for (name, grey) in
        [("b.jpg", 20), ("a.JPG", 10), ("c.jpeg", 30), (".hidden.jpg", 1), ("notes.txt", 1), ("d.jpg.part", 1)]
    {
        write(there.path(), name, grey);
    }
    fs::create_dir(there.path().join("e.jpg")).unwrap();
    let mut each = Each::of(&folder(there.path(), "?watch=0"));
    assert_eq!([each.name(), each.name(), each.name()], ["a.JPG", "b.jpg", "c.jpeg"]);
    assert!(each.next().is_none());
    let mut round = Each::of(&folder(there.path(), "?loop=1"));
    let names: Vec<String> = (0..5).map(|_| round.name()).collect();
    assert_eq!(names, ["a.JPG", "b.jpg", "c.jpeg", "a.JPG", "b.jpg"]);
}

#[test]
fn a_new_picture_is_given_when_its_writer_is_done() {
    let there = tempfile::tempdir().unwrap();
    write(there.path(), "old.jpg", 1);
    let mut each = Each::of(&folder(there.path(), "?existing=0"));
    let bytes = jpeg(64, 48, 90);
    let mut slow = fs::File::create(there.path().join("1-slow.jpg")).unwrap();
    slow.write_all(&bytes[..bytes.len() / 2]).unwrap();
    slow.sync_all().unwrap();
    // While that one is half written, others come.
    write(there.path(), "2-quick.jpg", 50);
    assert_eq!(each.name(), "2-quick.jpg");
    write(there.path(), "3-moved.tmp", 60);
    fs::rename(there.path().join("3-moved.tmp"), there.path().join("3-moved.jpg")).unwrap();
    assert_eq!(each.name(), "3-moved.jpg");
    slow.write_all(&bytes[bytes.len() / 2..]).unwrap();
    drop(slow);
    let frame = each.next().unwrap();
    assert_eq!((frame.file.as_deref(), grey(&frame)), (Some("1-slow.jpg"), 90));
}

#[test]
fn pictures_between_reading_and_watching_are_neither_lost_nor_given_half() {
    let there = tempfile::tempdir().unwrap();
    let bytes = jpeg(64, 48, 90);
    let mut slow = fs::File::create(there.path().join("slow.jpg")).unwrap();
    slow.write_all(&bytes[..100]).unwrap();
    let mut each = Each::of(&folder(there.path(), ""));
    slow.write_all(&bytes[100..]).unwrap();
    drop(slow);
    assert_eq!(grey(&each.next().unwrap()), 90);
}

#[test]
fn more_new_pictures_than_can_wait_are_all_given() {
    let there = tempfile::tempdir().unwrap();
    let mut each = Each::of(&folder(there.path(), ""));
    let bytes = jpeg(8, 8, 9);
    for number in 0..6000 {
        fs::write(there.path().join(format!("{number:05}.jpg")), &bytes).unwrap();
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 6000 {
        seen.insert(each.name());
    }
    assert!(seen.contains("05999.jpg"));
}

#[test]
fn a_folder_that_goes_away_is_watched_again_when_it_is_back() {
    let above = tempfile::tempdir().unwrap();
    let there = above.path().join("in");
    let camera = Camera::start("in", &folder(&there, ""), &options(100.0, 5000)).unwrap();
    failing(&camera, "cannot be read");
    fs::create_dir(&there).unwrap();
    until(&camera, |status| status.state == CameraState::Running);
    write(&there, "a.jpg", 100);
    assert_eq!(grey(&frame_after(&camera, 0, |_| true)), 100);
    fs::remove_dir_all(&there).unwrap();
    failing(&camera, "cannot be read");
    fs::create_dir(&there).unwrap();
    write(&there, "b.jpg", 200);
    frame_after(&camera, 0, |frame| frame.file.as_deref() == Some("b.jpg"));
    stop(camera);
}

#[test]
fn a_still_folder_is_no_failure_and_several_cameras_ring_one_bell() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (bell, rung) = crossbeam_channel::bounded(1);
    let options = CameraOptions { bell: Some(bell), ..options(100.0, 100) };
    let start = |path: &Path| Camera::start("in", &folder(path, ""), &options).unwrap();
    let cameras = [(start(one.path()), one.path()), (start(two.path()), two.path())];
    for (camera, path) in &cameras {
        until(camera, |status| status.state == CameraState::Running);
        write(path, "a.jpg", 7);
        while camera.newest().is_none() {
            rung.recv_timeout(LONG).unwrap();
        }
        assert_eq!(camera.status().reopened, 0);
    }
}

#[test]
fn one_picture_is_given_again_and_anew_when_it_changes() {
    let there = tempfile::tempdir().unwrap();
    write(there.path(), "a.jpg", 10);
    let path = there.path().join("a.jpg");
    let camera = Camera::start("file", path.to_str().unwrap(), &options(100.0, 5000)).unwrap();
    assert_eq!(grey(&frame_after(&camera, 3, |_| true)), 10);
    write(there.path(), "new", 200);
    fs::rename(there.path().join("new"), &path).unwrap();
    frame_after(&camera, 0, |frame| grey(frame) > 150);
    fs::remove_file(&path).unwrap();
    failing(&camera, "a.jpg cannot be read");
}

#[test]
fn one_picture_once_and_then_the_end() {
    let there = tempfile::tempdir().unwrap();
    write(there.path(), "a b.jpg", 10);
    let uri = format!("file://{}/a%20b.jpg?loop=0", there.path().display());
    let camera = Camera::start("file", &uri, &options(5.0, 5000)).unwrap();
    let status = until(&camera, |status| status.state == CameraState::Ended);
    assert_eq!((status.frames, status.error), (1, None));
    assert_eq!(grey(&camera.newest().unwrap()), 10);
    assert!(camera.wait(1, LONG).is_none(), "waiting for more returns at once");
}
