//! One picture of a camera.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Rotate;
use super::pixels::Raw;
use crate::picture::Picture;
use crate::{Code, Result};

/// One picture of a camera. What came compressed or in a camera's pixel format is decoded when somebody looks at it.
pub struct Frame {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Counts the camera's frames from 1, those nobody looked at included.
    pub sequence: u64,
    /// When it arrived.
    pub taken: Instant,
    /// When it arrived, in milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
    /// Name of the file it was in, where the camera is a file or a folder.
    pub file: Option<Arc<str>>,
    content: Content,
    rotate: Rotate,
    decoded: OnceLock<Result<Arc<Picture>>>,
    seen: Option<Arc<Seen>>,
}

pub(super) enum Content {
    Pixels(Arc<Picture>),
    /// As the camera's driver gave it.
    #[cfg_attr(not(feature = "v4l2"), allow(dead_code))]
    Raw(Raw),
    /// A compressed picture, most often JPEG.
    Encoded(Arc<[u8]>),
}

/// What a camera learns from those who look at its frames.
#[derive(Default)]
pub(super) struct Seen {
    size: AtomicU64,
    sequence: AtomicU64,
}

impl Frame {
    /// A frame that holds `picture`, arriving now.
    pub fn of(camera: &str, sequence: u64, picture: Arc<Picture>) -> Self {
        Self::new(camera.into(), sequence, Content::Pixels(picture), Rotate::None)
    }

    pub(super) fn new(camera: Arc<str>, sequence: u64, content: Content, rotate: Rotate) -> Self {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let (taken, decoded) = (Instant::now(), OnceLock::new());
        Self { camera, sequence, taken, unix_ms, file: None, content, rotate, decoded, seen: None }
    }

    pub(super) fn in_file(mut self, file: Option<Arc<str>>) -> Self {
        self.file = file;
        self
    }

    pub(super) fn seen_by(mut self, seen: Arc<Seen>) -> Self {
        self.seen = Some(seen);
        self
    }

    /// The picture, decoded once. The error says what is wrong with the bytes that the camera sent.
    pub fn picture(&self) -> Result<Arc<Picture>> {
        let picture = self.decoded.get_or_init(|| self.decode()).clone();
        if let (Ok(picture), Some(seen)) = (&picture, &self.seen) {
            seen.note(self.sequence, picture);
        }
        picture
    }

    /// The bytes as they came, where they are an upright JPEG: nothing needs to be encoded again to show it.
    pub fn jpeg(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Encoded(bytes) if self.rotate == Rotate::None && bytes.starts_with(&[0xFF, 0xD8]) => Some(bytes),
            _ => None,
        }
    }

    fn decode(&self) -> Result<Arc<Picture>> {
        let picture = match &self.content {
            Content::Pixels(picture) => picture.clone(),
            Content::Raw(raw) => raw
                .picture()
                .map(Arc::new)
                .map_err(|cause| crate::Error::new(Code::Picture, format!("{self} {cause}"), TRY_ANOTHER))?,
            Content::Encoded(bytes) => Picture::decode(bytes, &self.to_string()).map(Arc::new)?,
        };
        Ok(match self.rotate {
            Rotate::None => picture,
            rotate => Arc::new(turned(&picture, rotate)?),
        })
    }
}

const TRY_ANOTHER: &str = "ask the camera for another format=, or a smaller size=; check its cable";

/// `frame 12 of camera door`, with the file where there is one.
impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file} of camera {}", self.camera),
            None => write!(f, "a frame of camera {}", self.camera),
        }
    }
}

impl Seen {
    fn note(&self, sequence: u64, picture: &Picture) {
        self.size.store(u64::from(picture.width()) << 32 | u64::from(picture.height()), Ordering::Relaxed);
        self.sequence.fetch_max(sequence, Ordering::Relaxed);
    }

    /// Width and height of the last frame that was decoded.
    pub fn size(&self) -> Option<[u32; 2]> {
        let size = self.size.load(Ordering::Relaxed);
        (size != 0).then_some([(size >> 32) as u32, size as u32])
    }

    /// The newest frame that was decoded.
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }
}

fn turned(picture: &Picture, rotate: Rotate) -> Result<Picture> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (wide, high) = if rotate == Rotate::Over { (width, height) } else { (height, width) };
    let from = picture.as_rgb8();
    let mut rgb = Vec::with_capacity(from.len());
    for y in 0..high {
        for x in 0..wide {
            let (column, row) = match rotate {
                Rotate::None => (x, y),
                Rotate::Right => (y, height - 1 - x),
                Rotate::Over => (width - 1 - x, height - 1 - y),
                Rotate::Left => (width - 1 - y, x),
            };
            let at = (row * width + column) * 3;
            rgb.extend_from_slice(&from[at..at + 3]);
        }
    }
    Picture::from_rgb8(wide as u32, high as u32, rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(rotate: Rotate) -> (u32, u32, Vec<u8>) {
        let two_by_three = Picture::from_rgb8(2, 3, (0..6).flat_map(|v| [v; 3]).collect()).unwrap();
        let picture = turned(&two_by_three, rotate).unwrap();
        (picture.width(), picture.height(), picture.as_rgb8().iter().step_by(3).copied().collect())
    }

    #[test]
    fn pictures_turn_clockwise() {
        assert_eq!(pixels(Rotate::Right), (3, 2, vec![4, 2, 0, 5, 3, 1]));
        assert_eq!(pixels(Rotate::Over), (2, 3, vec![5, 4, 3, 2, 1, 0]));
        assert_eq!(pixels(Rotate::Left), (3, 2, vec![1, 3, 5, 0, 2, 4]));
    }
}
