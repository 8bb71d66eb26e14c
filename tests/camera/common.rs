//! Pictures, a server and waiting, for the tests of cameras.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lookout::camera::{Camera, CameraOptions, CameraStatus, Frame};

/// Long enough for a loaded machine; nothing waits this long unless it fails.
pub const LONG: Duration = Duration::from_secs(30);

/// A picture of one grey, as JPEG.
pub fn jpeg(width: u32, height: u32, grey: u8) -> Vec<u8> {
    let pixels = vec![grey; (width * height) as usize];
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
    image::ImageEncoder::write_image(encoder, &pixels, width, height, image::ExtendedColorType::L8).unwrap();
    bytes
}

/// The grey of a frame made of [`jpeg`].
pub fn grey(frame: &Frame) -> u8 {
    frame.picture().unwrap().as_rgb8()[0]
}

pub fn options(fps: f32, stall_ms: u64) -> CameraOptions {
    CameraOptions { fps, stall: Duration::from_millis(stall_ms), ..CameraOptions::default() }
}

/// The first frame after `after` for which `wanted` holds.
pub fn frame_after(camera: &Camera, mut after: u64, wanted: impl Fn(&Frame) -> bool) -> Arc<Frame> {
    let until = Instant::now() + LONG;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Some(frame) = camera.wait(after, left) else { panic!("no such frame came: {:?}", camera.status()) };
        if wanted(&frame) {
            return frame;
        }
        after = frame.sequence;
    }
}

/// Waits for a status for which `wanted` holds.
pub fn until(camera: &Camera, wanted: impl Fn(&CameraStatus) -> bool) -> CameraStatus {
    let until = Instant::now() + LONG;
    loop {
        let status = camera.status();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < until, "it never came to that: {status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn failing(camera: &Camera, cause: &str) -> CameraStatus {
    until(camera, |status| status.error.as_ref().is_some_and(|error| error.contains(cause)))
}

/// Stops the camera, which must not take for ever.
pub fn stop(camera: Camera) {
    let (done, ended) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        camera.stop();
        let _ = done.send(());
    });
    ended.recv_timeout(LONG).expect("the camera does not stop");
}

/// An HTTP server whose answers are written by the test.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `answer` is given the number of the connection from 0, the head of the request, and the socket.
    pub fn start(answer: impl Fn(usize, &str, TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, ending) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end, answer) = (asked.clone(), ending.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (number, answer) = (count.fetch_add(1, Ordering::Relaxed), answer.clone());
                std::thread::spawn(move || {
                    let mut socket = socket;
                    let head = head(&mut socket);
                    answer(number, &head, socket);
                });
            }
        });
        Self { address, asked, ending, thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn head(socket: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// The head of an MJPEG stream.
pub fn begin_stream(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
}

/// A part of an MJPEG stream.
pub fn part(socket: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let head = format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", bytes.len());
    socket.write_all(&[head.as_bytes(), bytes, b"\r\n"].concat())
}

/// Parts one after the other until the other side goes away.
pub fn endless(mut socket: TcpStream, every: Duration, mut next: impl FnMut(u64) -> Vec<u8>) {
    let _ = begin_stream(&mut socket);
    for number in 0.. {
        if part(&mut socket, &next(number)).is_err() {
            return;
        }
        std::thread::sleep(every);
    }
}

/// Waits until the other side goes away.
pub fn hang(mut socket: TcpStream) {
    let _ = socket.read(&mut [0]);
}
