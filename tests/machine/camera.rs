//! A camera of a real kernel, with faults on order.
//!
//! The driver `vivid` makes pictures of a known colour, drops every frame when told to, fails, and can be unbound, which
//! is what unplugging is to a driver.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookout::camera::{Camera, CameraOptions, CameraState, CameraStatus, Frame, PixelFormat, list, snap};
use v4l::control::{Control, Value};

use super::{Check, LONG};

pub const DEVICE: &str = "/dev/video0";

pub const CHECKS: [Check; 8] = [
    ("list", lists_the_camera),
    ("colours", every_format_gives_the_right_colours),
    ("sizes", sizes_and_formats_it_lacks_are_explained),
    ("busy", a_camera_in_use_says_so),
    ("stall", a_stall_is_noticed_and_ends),
    ("fault", a_failing_driver_is_opened_again),
    ("unplug", unplugging_and_plugging_in_again_is_survived),
    ("leak", nothing_leaks),
];

/// Fills the picture with a colour: `100% Red`.
pub fn fill(colour: &str) {
    set("OSD Text Mode", 2);
    set("Test Pattern", number_of("Test Pattern", colour));
}

fn lists_the_camera() {
    let found = list().unwrap();
    println!("{}", serde_json::to_string(&found).unwrap());
    let camera = found.iter().find(|found| found.path == Path::new(DEVICE)).expect("the camera is listed");
    assert_eq!((&camera.name[..], &camera.driver[..]), ("vivid", "vivid"));
    for format in ["YUYV", "NV12", "GREY", "RGB3", "BGR3"] {
        let listed = camera.formats.iter().find(|listed| listed.name == format).expect(format);
        assert!(listed.known && listed.sizes.contains(&[640, 360]), "{listed:?}");
    }
}

fn every_format_gives_the_right_colours() {
    let formats = [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey, PixelFormat::Rgb3, PixelFormat::Bgr3];
    for (pattern, colour) in [("100% Red", [255, 0, 0]), ("100% Green", [0, 255, 0]), ("100% Blue", [0, 0, 255])] {
        fill(pattern);
        for format in formats {
            let camera = start(&format!("?size=640x360&format={}", format.name()), 20_000);
            let frame = frame_after(&camera, 2);
            let picture = frame.picture().unwrap();
            assert_eq!((picture.width(), picture.height()), (640, 360));
            // Luma after BT.709 from 0 to 255, which is what this driver gives as grey.
            let luma = (0..3).map(|i| [0.2126, 0.7152, 0.0722][i] * f64::from(colour[i])).sum::<f64>();
            let wanted = if format == PixelFormat::Grey { [luma.round() as u8; 3] } else { colour };
            for (x, y) in [(10, 10), (320, 180), (629, 349)] {
                let at = (y * 640 + x) * 3;
                let got = &picture.as_rgb8()[at..at + 3];
                let right = (0..3).all(|i| got[i].abs_diff(wanted[i]) <= 4);
                assert!(right, "{pattern} as {} gives {got:?} at {x}, {y}", format.name());
            }
            camera.stop();
        }
    }
    set("Test Pattern", 0);
}

fn sizes_and_formats_it_lacks_are_explained() {
    let frame = snap(&format!("v4l2://{DEVICE}?size=1280x720&fps=15"), LONG).unwrap();
    assert_eq!((frame.picture().unwrap().width(), frame.picture().unwrap().height()), (1280, 720));
    let camera = start("?format=MJPG", 20_000);
    let error = failing(&camera, "gives not MJPG, but ").error.unwrap();
    assert!(error.contains("YUYV"), "{error}");
    let error = snap("v4l2:///dev/video9", Duration::from_secs(2)).err().expect("there is none");
    assert!(error.message().contains("there is no camera /dev/video9"), "{error}");
}

fn a_camera_in_use_says_so() {
    let first = start("", 20_000);
    frame_after(&first, 0);
    let second = start("", 20_000);
    failing(&second, "is used by another program");
    first.stop();
    frame_after(&second, 0);
}

fn a_stall_is_noticed_and_ends() {
    let camera = start("", 2_000);
    let frame = frame_after(&camera, 2);
    set("Percentage of Dropped Buffers", 100);
    let status = failing(&camera, "no frame came for");
    assert_eq!(status.state, CameraState::Failing);
    // It is stopped while it hangs, too.
    let hanging = start("", 60_000);
    until(&camera, |status| status.reopened >= 2);
    hanging.stop();
    set("Percentage of Dropped Buffers", 0);
    frame_after(&camera, frame.sequence + 3);
    assert_eq!(camera.status().error, None);
}

fn a_failing_driver_is_opened_again() {
    let camera = start("", 5_000);
    let frame = frame_after(&camera, 2);
    press("Inject Fatal Streaming Error");
    let status = until(&camera, |status| status.reopened >= 1);
    println!("{:?}", status.error);
    frame_after(&camera, frame.sequence + 20);
}

fn unplugging_and_plugging_in_again_is_survived() {
    let camera = start("", 5_000);
    for _ in 0..3 {
        let frame = frame_after(&camera, camera.status().frames + 2);
        bind("unbind");
        failing(&camera, "camera /dev/video0");
        assert!(!Path::new(DEVICE).exists());
        bind("bind");
        frame_after(&camera, frame.sequence + 2);
    }
    let status = camera.status();
    assert!(status.reopened >= 3 && status.state == CameraState::Running, "{status:?}");
}

fn nothing_leaks() {
    let counted = || ["fd", "task"].map(|what| fs::read_dir(format!("/proc/self/{what}")).unwrap().count());
    let before = counted();
    for _ in 0..3 {
        let camera = start("", 5_000);
        let frame = frame_after(&camera, 0);
        bind("unbind");
        failing(&camera, "camera /dev/video0");
        bind("bind");
        frame_after(&camera, frame.sequence);
        camera.stop();
    }
    // A thread that was joined may be listed for a moment longer.
    let until = Instant::now() + LONG;
    while counted() != before {
        assert!(Instant::now() < until, "open files and threads: {:?}, before {before:?}", counted());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(options: &str, stall_ms: u64) -> Camera {
    let stall = Duration::from_millis(stall_ms);
    let options_of = CameraOptions { fps: 60.0, stall, ..CameraOptions::default() };
    Camera::start("vivid", &format!("v4l2://{DEVICE}{options}"), &options_of).unwrap()
}

fn frame_after(camera: &Camera, sequence: u64) -> Arc<Frame> {
    camera.wait(sequence, LONG).unwrap_or_else(|| panic!("no frame after {sequence}: {:?}", camera.status()))
}

fn failing(camera: &Camera, cause: &str) -> CameraStatus {
    until(camera, |status| status.error.as_ref().is_some_and(|error| error.contains(cause)))
}

fn until(camera: &Camera, wanted: impl Fn(&CameraStatus) -> bool) -> CameraStatus {
    let until = Instant::now() + LONG;
    loop {
        let status = camera.status();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < until, "it never came to that: {status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Plugs the camera in (`bind`) or out (`unbind`).
fn bind(what: &str) {
    fs::write(format!("/sys/bus/platform/drivers/vivid/{what}"), "vivid.0").unwrap();
}

fn controls() -> (v4l::Device, Vec<v4l::control::Description>) {
    let device = v4l::Device::with_path(DEVICE).unwrap();
    let controls = device.query_controls().unwrap();
    (device, controls)
}

fn set(control: &str, value: i64) {
    let (device, controls) = controls();
    let id = controls.iter().find(|known| known.name == control).expect(control).id;
    device.set_control(Control { id, value: Value::Integer(value) }).unwrap();
}

fn press(control: &str) {
    set(control, 1);
}

fn number_of(control: &str, item: &str) -> i64 {
    let (_, controls) = controls();
    let items = controls.into_iter().find(|known| known.name == control).and_then(|known| known.items).expect(control);
    let named = |known: &v4l::control::MenuItem| matches!(known, v4l::control::MenuItem::Name(name) if name == item);
    i64::from(items.iter().find(|(_, known)| named(known)).expect(item).0)
}
