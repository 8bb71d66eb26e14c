//! How a camera is doing.

use serde::Serialize;

/// How a camera is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraStatus {
    /// Its name.
    pub name: String,
    /// Its address, passwords left out.
    pub source: String,
    /// What it is doing.
    pub state: CameraState,
    /// Why it gives no frames, or what is wrong with those it gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Frames so far.
    pub frames: u64,
    /// Frames that could not be decoded.
    pub broken: u64,
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
