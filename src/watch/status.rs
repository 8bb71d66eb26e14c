//! How a lookout is doing.

use serde::Serialize;

use crate::camera::CameraStatus;

/// How the whole lookout is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Name of the device.
    pub device: String,
    /// Version of the program.
    pub version: String,
    /// Identity of the bundle.
    pub bundle: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// Whether triggers may begin events.
    pub armed: bool,
    /// Why capture or inference makes no progress; nothing while both do. A still scene that needs no look is progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
    /// Frames that were looked at.
    pub looks: u64,
    /// Events that began.
    pub events: u64,
    /// Questions that were answered.
    pub questions: u64,
    /// Questions that were refused as there were too many.
    pub refused: u64,
    /// Milliseconds of the last look: preprocessing, image tower and triggers.
    pub look_ms: f64,
    /// Temperature of the processor in degrees Celsius, where it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub celsius: Option<f32>,
    /// Whether frames are dropped to cool down, or the board slows itself.
    pub throttled: bool,
    /// Each camera.
    pub cameras: Vec<CameraStatus>,
    /// Each trigger.
    pub triggers: Vec<TriggerStatus>,
    /// Each way out: MQTT, serial, web.
    pub links: Vec<LinkStatus>,
    /// The memory of events.
    pub memory: MemoryStatus,
}

/// How one trigger stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriggerStatus {
    /// Its name.
    pub name: String,
    /// Whether it may begin events.
    pub enabled: bool,
    /// Its newest calibrated score on each of its cameras.
    pub scores: Vec<CameraScore>,
    /// Score at which it begins.
    pub threshold: f32,
    /// Whether it holds anywhere now.
    pub active: bool,
    /// Events that it began.
    pub events: u64,
}

/// A trigger's score on one camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CameraScore {
    /// Name of the camera.
    pub camera: String,
    /// Calibrated probability, `0..=1`.
    pub score: f32,
}

/// How one way out is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkStatus {
    /// `mqtt`, `serial` or `web`.
    pub name: String,
    /// Whether it works now.
    pub up: bool,
    /// Why it does not, or a word about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Messages sent.
    pub sent: u64,
    /// Questions received.
    pub received: u64,
}

/// How the memory of events is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryStatus {
    /// Whether it can be written.
    pub writable: bool,
    /// Why it cannot, or what was set aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Events that it holds.
    pub events: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Messages that wait for the broker.
    pub outbox: u64,
}
