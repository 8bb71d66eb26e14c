//! Cameras: whatever gives pictures one after the other.

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::Result;
use crate::picture::Picture;

/// One picture of a camera. What came compressed is decoded when somebody looks at it.
pub struct Frame {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Counts the camera's frames from 1, those nobody looked at included.
    pub sequence: u64,
    /// When it arrived.
    pub taken: Instant,
    /// When it arrived, in milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
    content: Content,
    decoded: OnceLock<Result<Arc<Picture>>>,
}

enum Content {
    Pixels(Arc<Picture>),
    /// A compressed picture, most often JPEG.
    Encoded(Arc<[u8]>),
}

impl Frame {
    /// A frame that holds `picture`, arriving now.
    pub fn of(camera: &str, sequence: u64, picture: Arc<Picture>) -> Self {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let (taken, content, decoded) = (Instant::now(), Content::Pixels(picture), OnceLock::new());
        Self { camera: camera.into(), sequence, taken, unix_ms, content, decoded }
    }

    /// The bytes as they came, where they are a JPEG: nothing needs to be encoded again to show it.
    pub fn jpeg(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Encoded(bytes) if bytes.starts_with(&[0xFF, 0xD8]) => Some(bytes),
            _ => None,
        }
    }

    /// The picture, decoded once. The error says what is wrong with the bytes that the camera sent.
    pub fn picture(&self) -> Result<Arc<Picture>> {
        let decode = || match &self.content {
            Content::Pixels(picture) => Ok(picture.clone()),
            Content::Encoded(bytes) => {
                Picture::decode(bytes, &format!("a frame of camera {}", self.camera)).map(Arc::new)
            }
        };
        self.decoded.get_or_init(decode).clone()
    }
}

/// How a camera is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraStatus {
    /// Its name.
    pub name: String,
    /// Its address, passwords left out.
    pub source: String,
    /// What it is doing.
    pub state: CameraState,
    /// Why it gives no frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Frames so far.
    pub frames: u64,
    /// Frames a second, over the last seconds.
    pub fps: f32,
    /// Milliseconds since the last frame, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Width and height of the last frame that was decoded, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[u32; 2]>,
    /// How often it was opened anew after a failure.
    pub reopened: u64,
}

/// What a camera is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    /// Being opened for the first time.
    Opening,
    /// Giving frames.
    Running,
    /// Giving none; it is opened again now and then.
    Failing,
    /// It has no more frames (a folder or file that is not watched on).
    Ended,
}
