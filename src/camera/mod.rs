//! Cameras: whatever gives pictures one after the other.
//!
//! | address | what it is |
//! |---|---|
//! | `v4l2:///dev/video0?size=1280x720&fps=15&format=MJPG` | a camera of the kernel (feature `v4l2`) |
//! | `file:///x.jpg`, `x.jpg`; `?loop=0` | one picture, read again whenever it changes |
//! | `folder:PATH?loop=1&existing=0&watch=0` | the pictures of a folder, then new ones as they come |
//! | `http://`, `https://` | an MJPEG stream, or a snapshot that is asked for again and again |
//! | `cmd:rpicam-vid -t 0 --codec mjpeg -o -` | the standard output of a command: JPEGs, one after the other |
//!
//! A [`Source`] gives pictures and may block; a [`Camera`] runs one in a thread of its own with a deadline, opens it anew
//! when it fails or stalls, and keeps the newest frame only. A frame is decoded when somebody looks at it.
//!
//! Limits: a compressed picture is at most [`MAX_FRAME_BYTES`]; a source that blocks in the kernel for ever costs one
//! thread, and at most [`MAX_ABANDONED`] a camera.

mod backoff;
mod command;
mod config;
mod feed;
mod file;
mod folder;
mod frame;
mod http;
mod jpeg;
mod list;
mod multipart;
mod pixels;
mod running;
mod session;
mod source;
mod status;
mod stop;
mod uri;
#[cfg(feature = "v4l2")]
mod v4l2;

pub use config::{CameraConfig, Rotate};
pub use frame::Frame;
pub use list::{Found, FoundFormat, list};
pub use pixels::PixelFormat;
pub use running::{Camera, CameraOptions, MAX_ABANDONED, snap};
pub use source::{Shot, Source, open};
pub use status::{CameraState, CameraStatus};
pub use stop::Stop;
#[cfg(feature = "cli")]
pub(crate) use uri::percent_decoded;
pub use uri::{Device, Uri};

/// Most bytes of one compressed picture: 32 MiB.
pub const MAX_FRAME_BYTES: usize = 32 << 20;
