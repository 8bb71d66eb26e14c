//! One picture file as a camera.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::source::{Shot, Source};
use super::{MAX_FRAME_BYTES, Stop};
use crate::{Code, Error, Result};

/// Gives the picture once, or again and again, then anew whenever the file has changed.
pub(super) struct PictureFile {
    path: PathBuf,
    again: bool,
    given: Option<(Stamp, Arc<[u8]>)>,
    stop: Stop,
}

/// Tells one content of a file from the next.
#[derive(PartialEq, Clone, Copy)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl PictureFile {
    pub fn open(path: &Path, again: bool, stop: Stop) -> Result<Self> {
        let mut file = Self { path: path.to_owned(), again, given: None, stop };
        file.refresh()?;
        file.given = file.given.filter(|_| again);
        Ok(file)
    }

    fn refresh(&mut self) -> Result<Arc<[u8]>> {
        let stamp = stamp(&self.path)?;
        if let Some((_, bytes)) = self.given.as_ref().filter(|(known, _)| *known == stamp) {
            return Ok(bytes.clone());
        }
        let bytes: Arc<[u8]> = read(&self.path)?.into();
        self.given = Some((stamp, bytes.clone()));
        Ok(bytes)
    }
}

impl Source for PictureFile {
    fn next(&mut self, not_before: Instant) -> Result<Option<Shot>> {
        if self.stop.wait_until(not_before) || (!self.again && self.given.is_some()) {
            return Ok(None);
        }
        let bytes = self.refresh()?;
        Ok(Some(Shot { file: Some(name(&self.path)), ..Shot::encoded(bytes) }))
    }
}

/// The bytes of a picture file. Errors name it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(MAX_FRAME_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() > MAX_FRAME_BYTES {
        let message = format!("{} is larger than {} MiB", path.display(), MAX_FRAME_BYTES >> 20);
        return Err(Error::new(Code::Camera, message, "shrink the picture, or check that it is one"));
    }
    Ok(bytes)
}

pub(super) fn name(path: &Path) -> Arc<str> {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into()
}

fn stamp(path: &Path) -> Result<Stamp> {
    let meta = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !meta.is_file() {
        let message = format!("{} is not a file", path.display());
        return Err(Error::new(Code::Camera, message, "name a picture, or write folder:PATH for a folder"));
    }
    Ok(Stamp { inode: meta.ino(), size: meta.size(), changed: (meta.mtime(), meta.mtime_nsec()) })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("{} cannot be read: {error}", path.display());
    Error::new(Code::Camera, message, "check the path and its permissions")
}
