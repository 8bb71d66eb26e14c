//! What gives pictures, one after the other.

use std::sync::Arc;
use std::time::Instant;

use super::frame::Content;
use super::{CameraOptions, Frame, Rotate, Stop, Uri};
use crate::Result;

/// Gives pictures one after the other. It may block; the [`Stop`] that it was opened with makes it return soon.
pub trait Source: Send {
    /// The next picture, or `None` when there are no more or it was told to stop. What arrives before `not_before` is
    /// dropped unread, so that a slow reader never sees old pictures; a source that sets its own pace waits until then.
    fn next(&mut self, not_before: Instant) -> Result<Option<Shot>>;

    /// Whether it is a failure when no picture comes for a while.
    fn can_stall(&self) -> bool {
        true
    }
}

/// A picture as it came from a source, not decoded yet.
pub struct Shot {
    pub(super) content: Content,
    /// The file it was in, if any.
    pub(super) file: Option<Arc<str>>,
}

impl Shot {
    /// A compressed picture.
    pub fn encoded(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { content: Content::Encoded(bytes.into()), file: None }
    }

    /// As a frame of the camera of that name, arriving now.
    pub fn into_frame(self, camera: &str, sequence: u64) -> Frame {
        Frame::new(camera.into(), sequence, self.content, Rotate::None).in_file(self.file)
    }
}

/// Opens the camera at `uri`. Errors say what is wrong with the address, or why the camera does not open.
pub fn open(uri: &str, options: &CameraOptions, stop: &Stop) -> Result<Box<dyn Source>> {
    open_parsed(&Uri::parse(uri)?, options, stop)
}

pub(super) fn open_parsed(uri: &Uri, options: &CameraOptions, stop: &Stop) -> Result<Box<dyn Source>> {
    Ok(match uri {
        #[cfg(feature = "v4l2")]
        Uri::V4l2(device) => Box::new(super::v4l2::Capture::open(device, stop.clone())?),
        #[cfg(not(feature = "v4l2"))]
        Uri::V4l2(_) => return Err(super::list::no_v4l2()),
        Uri::File { path, again } => Box::new(super::file::PictureFile::open(path, *again, stop.clone())?),
        Uri::Folder(folder) => Box::new(super::folder::Folder::open(folder, stop.clone())?),
        Uri::Http(url) => super::http::open(url, options.stall, stop.clone())?,
        Uri::Command(line) => Box::new(super::command::Command::open(line, stop.clone())?),
    })
}
