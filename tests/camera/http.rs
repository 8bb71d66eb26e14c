//! Cameras on the network, by a real server on a real socket.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{
    LONG, Server, begin_stream, endless, failing, frame_after, grey, hang, jpeg, options, part, stop, until,
};
use lookout::camera::{Camera, CameraState, snap};

const TICK: Duration = Duration::from_millis(5);

fn camera(server: &Server, path: &str, fps: f32, stall_ms: u64) -> Camera {
    Camera::start("door", &server.url(path), &options(fps, stall_ms)).unwrap()
}

#[test]
fn a_stream_gives_frames_and_says_how_it_is_doing() {
    let server = Server::start(|_, _, socket| endless(socket, TICK, |_| jpeg(64, 48, 90)));
    let camera = camera(&server, "/stream", 100.0, 5000);
    let first = frame_after(&camera, 0, |_| true);
    let later = frame_after(&camera, first.sequence + 3, |_| true);
    assert!(later.sequence > first.sequence && later.taken > first.taken);
    assert_eq!((grey(&first), &first.camera[..]), (90, "door"));
    assert!(first.jpeg().is_some_and(|bytes| bytes == jpeg(64, 48, 90)));
    let status = until(&camera, |status| status.fps > 0.0);
    assert_eq!(
        (status.state, status.size, status.error, status.broken),
        (CameraState::Running, Some([64, 48]), None, 0)
    );
    stop(camera);
}

#[test]
fn no_more_frames_than_asked_for() {
    let server = Server::start(|_, _, socket| endless(socket, TICK, |_| jpeg(8, 8, 90)));
    let camera = camera(&server, "/", 10.0, 5000);
    let first = frame_after(&camera, 0, |_| true);
    let last = frame_after(&camera, first.sequence + 10, |_| true);
    let most = last.taken.duration_since(first.taken).as_secs_f64() * 10.0 + 2.0;
    let frames = last.sequence - first.sequence;
    assert!(frames as f64 <= most, "{frames} frames where at most {most:.1} are allowed");
}

#[test]
fn a_slow_reader_is_given_the_newest_frame() {
    let server = Server::start(|_, _, socket| endless(socket, TICK, |number| jpeg(8, 8, (number % 250) as u8)));
    let camera = camera(&server, "/", 1000.0, 5000);
    let first = frame_after(&camera, 0, |_| true);
    let before = until(&camera, |status| status.frames > first.sequence + 10).frames;
    let second = frame_after(&camera, first.sequence, |_| true);
    assert!(second.sequence >= before, "frame {} after {before} had come", second.sequence);
}

#[test]
fn a_broken_frame_is_counted_and_those_after_it_are_seen() {
    let server = Server::start(|_, _, mut socket| {
        let whole = jpeg(64, 48, 90);
        let _ = begin_stream(&mut socket);
        for turn in 0u32.. {
            let broken = turn % 5 == 3;
            let bytes = if broken { &whole[..whole.len() / 2] } else { &whole };
            if part(&mut socket, bytes).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    let camera = camera(&server, "/", 100.0, 5000);
    let broken = frame_after(&camera, 0, |frame| frame.picture().is_err());
    let error = broken.picture().unwrap_err();
    camera.report(&broken, &error);
    camera.report(&broken, &error);
    let status = camera.status();
    assert_eq!(status.broken, 1);
    assert!(error.message().contains("camera door"), "{error}");
    let whole = frame_after(&camera, broken.sequence, |frame| frame.picture().is_ok());
    assert_eq!(grey(&whole), 90);
    assert_eq!(camera.status().error, None);
}

#[test]
fn a_stream_with_another_boundary_than_announced_is_read() {
    let server = Server::start(|_, _, mut socket| {
        let _ = socket.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=x\r\n\r\n");
        while part(&mut socket, &jpeg(8, 8, 70)).is_ok() {
            std::thread::sleep(TICK);
        }
    });
    assert_eq!(grey(&frame_after(&camera(&server, "/", 100.0, 5000), 3, |_| true)), 70);
}

#[test]
fn a_stalled_stream_is_noticed_and_opened_again() {
    let server = Server::start(|number, _, mut socket| match number {
        0 => {
            let _ = begin_stream(&mut socket);
            let _ = part(&mut socket, &jpeg(8, 8, 10));
            hang(socket);
        }
        _ => endless(socket, TICK, |_| jpeg(8, 8, 200)),
    });
    let camera = camera(&server, "/", 100.0, 300);
    let status = failing(&camera, "no frame came for 300");
    assert_eq!(status.state, CameraState::Failing);
    frame_after(&camera, 0, |frame| grey(frame) > 150);
    let status = camera.status();
    assert_eq!((status.state, status.error, status.reopened), (CameraState::Running, None, 1));
}

#[test]
fn a_trickle_that_never_makes_a_frame_is_a_stall() {
    let server = Server::start(|_, _, mut socket| {
        let _ = begin_stream(&mut socket);
        let _ = socket.write_all(b"--frame\r\nContent-Length: 100000\r\n\r\n");
        while socket.write_all(b"x").is_ok() {
            std::thread::sleep(TICK);
        }
    });
    let camera = camera(&server, "/", 100.0, 200);
    failing(&camera, "no frame came");
    stop(camera);
}

#[test]
fn a_cut_stream_comes_back() {
    let server = Server::start(|number, _, mut socket| match number {
        0 => {
            let _ = begin_stream(&mut socket);
            let _ = part(&mut socket, &jpeg(8, 8, 10));
        }
        1 => drop(socket),
        _ => endless(socket, TICK, |_| jpeg(8, 8, 200)),
    });
    let camera = camera(&server, "/", 100.0, 5000);
    failing(&camera, "the camera ended the stream");
    frame_after(&camera, 0, |frame| grey(frame) > 150);
    assert!(camera.status().reopened >= 2);
}

#[test]
fn a_changed_resolution_is_seen() {
    let sizes = [(64, 48), (32, 24)];
    let server = Server::start(move |_, _, socket| {
        endless(socket, TICK, |number| {
            let (width, height) = sizes[usize::from(number > 20)];
            jpeg(width, height, 90)
        });
    });
    let camera = camera(&server, "/", 100.0, 5000);
    for (width, height) in sizes {
        frame_after(&camera, 0, |frame| frame.picture().unwrap().width() == width);
        assert_eq!(camera.status().size, Some([width, height]));
    }
}

#[test]
fn an_endless_part_takes_no_endless_memory() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let server = Server::start(move |number, head, mut socket| {
        let _ = begin_stream(&mut socket);
        let length = if head.contains("/announced") { "Content-Length: 100000000000\r\n" } else { "" };
        let _ = socket.write_all(format!("--frame\r\n{length}\r\n").as_bytes());
        while number == 0 && socket.write_all(&[7; 1 << 16]).is_ok() {
            counted.fetch_add(1 << 16, Ordering::Relaxed);
        }
    });
    for path in ["/announced", "/not"] {
        let camera = camera(&server, path, 100.0, 20_000);
        failing(&camera, if path == "/not" { "ended" } else { "larger than 32 MiB" });
        stop(camera);
    }
    assert!(sent.load(Ordering::Relaxed) < 64 << 20);
}

#[test]
fn a_redirect_is_followed() {
    let server = Server::start(|_, head, mut socket| {
        if head.starts_with("GET /here ") {
            let _ = socket
                .write_all(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        } else {
            endless(socket, TICK, |_| jpeg(8, 8, 33));
        }
    });
    assert_eq!(grey(&frame_after(&camera(&server, "/here", 100.0, 5000), 0, |_| true)), 33);
}

#[test]
fn refusals_are_explained_and_show_no_password() {
    let server = Server::start(|_, head, mut socket| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let status = match path {
            "/basic" => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"",
            "/digest" => "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\"",
            "/page" => "200 OK\r\nContent-Type: text/html",
            _ => "404 Not Found",
        };
        let _ =
            socket.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
    });
    let host = server.address;
    for (address, cause) in [
        (format!("http://{host}/gone"), "there is nothing at this address"),
        (format!("http://{host}/basic"), "wants a user and a password"),
        (format!("http://me:secret@{host}/basic"), "refuses the user or the password"),
        (format!("http://me:secret@{host}/digest"), "another login than Basic"),
        (format!("http://me:secret@{host}/page"), "gives text/html, not pictures"),
    ] {
        let camera = Camera::start("door", &address, &options(5.0, 5000)).unwrap();
        let status = failing(&camera, cause);
        let said = format!("{status:?}");
        assert!(!said.contains("secret") && said.contains(&host.to_string()), "{said}");
    }
    drop(server);
    let camera = Camera::start("door", &format!("http://me:secret@{host}/"), &options(5.0, 5000)).unwrap();
    let status = failing(&camera, "refused");
    assert!(!format!("{status:?}").contains("secret"));
}

#[test]
fn a_snapshot_is_asked_for_again_and_again_with_its_password() {
    let server = Server::start(|number, head, mut socket| {
        // "me:p@ss" in base64.
        let known = head.to_lowercase().contains("authorization: basic bwu6cebzcw==");
        let bytes = jpeg(8, 8, (number * 40).min(200) as u8);
        let kind = if known { "200 OK\r\nContent-Type: image/jpeg" } else { "401 No" };
        let length = bytes.len();
        let _ = socket
            .write_all(format!("HTTP/1.1 {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes());
        let _ = socket.write_all(&bytes);
    });
    let camera =
        Camera::start("door", &format!("http://me:p%40ss@{}/x.jpg", server.address), &options(20.0, 5000)).unwrap();
    let (begin, first) = (Instant::now(), frame_after(&camera, 0, |_| true));
    let last = frame_after(&camera, first.sequence + 3, |_| true);
    assert!(grey(&last) > grey(&first));
    assert!(server.asked() as f64 <= begin.elapsed().as_secs_f64() * 20.0 + 3.0, "{} times", server.asked());
}

#[test]
fn a_snapshot_that_trickles_in_is_given_up() {
    let server = Server::start(|_, _, mut socket| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n");
        while socket.write_all(b"x").is_ok() {
            std::thread::sleep(TICK);
        }
    });
    let camera = camera(&server, "/", 5.0, 200);
    until(&camera, |status| status.state == CameraState::Failing);
    stop(camera);
}

#[test]
fn a_server_that_says_nothing_neither_hangs_a_snap_nor_a_stop() {
    let server = Server::start(|_, _, socket| hang(socket));
    let error = snap(&server.url("/"), Duration::from_millis(300)).err().expect("no picture can come");
    assert!(error.message().contains(&server.address.to_string()), "{error}");
    let camera = camera(&server, "/", 5.0, LONG.as_millis() as u64 * 10);
    until(&camera, |_| server.asked() >= 2);
    stop(camera);
}
