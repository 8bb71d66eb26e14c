//! The pictures of a folder: those that are there, then new ones as they come.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{EventKind, RecursiveMode, Watcher};

use super::Stop;
use super::file::{name, read};
use super::source::{Shot, Source};
use super::uri::Folder as Options;
use crate::{Code, Error, Result};

const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff"];
/// Most new names that wait; beyond them the folder is read again.
const MAX_WAITING: usize = 4096;
/// A file that nobody closed in our sight counts as whole when it was not written to for this long.
const SETTLED: Duration = Duration::from_secs(1);
/// How often it is looked whether the folder is still there, and whether we should stop.
const LOOK: Duration = Duration::from_millis(200);

/// A file is given when its writer has closed it or it was moved in, so never half-written.
pub(super) struct Folder {
    path: PathBuf,
    inode: (u64, u64),
    again: bool,
    arrivals: Option<Arrivals>,
    waiting: VecDeque<PathBuf>,
    /// Of the file that was given last, by its time of change: what is newer after a lost event is new.
    newest: SystemTime,
    stop: Stop,
}

struct Arrivals {
    names: Receiver<PathBuf>,
    lost: Arc<AtomicBool>,
    _watcher: notify::RecommendedWatcher,
}

impl Folder {
    pub fn open(options: &Options, stop: Stop) -> Result<Self> {
        let path = options.path.clone();
        let inode = inode(&path)?;
        // Watched before it is read, so that nothing comes in between.
        let arrivals = if options.watch && !options.again { Some(Arrivals::watch(&path)?) } else { None };
        let mut folder = Self {
            path,
            inode,
            again: options.again,
            arrivals,
            waiting: VecDeque::new(),
            newest: SystemTime::now(),
            stop,
        };
        if options.existing {
            folder.waiting = folder.names(SystemTime::UNIX_EPOCH)?;
        }
        Ok(folder)
    }

    /// Pictures that changed after `after`, in the order of their names.
    fn names(&self, after: SystemTime) -> Result<VecDeque<PathBuf>> {
        let failed = |error| unreadable(&self.path, &error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if is_picture(&path) && (after == SystemTime::UNIX_EPOCH || changed(&path).is_some_and(|then| then > after))
            {
                names.push(path);
            }
        }
        names.sort();
        Ok(names.into())
    }

    /// The next name, or `None` when there are no more or it should stop.
    fn next_name(&mut self) -> Result<Option<PathBuf>> {
        loop {
            if let Some(name) = self.waiting.pop_front() {
                return Ok(Some(name));
            }
            if self.stop.told() {
                return Ok(None);
            }
            if self.again {
                self.waiting = self.names(SystemTime::UNIX_EPOCH)?;
                if self.waiting.is_empty() && self.stop.wait(LOOK) {
                    return Ok(None);
                }
                continue;
            }
            let Some(arrivals) = &self.arrivals else { return Ok(None) };
            if arrivals.lost.swap(false, Ordering::Relaxed) {
                log::warn!("{}: so many files came that it is read again", self.path.display());
                self.waiting = self.names(self.newest)?;
                continue;
            }
            match arrivals.names.recv_timeout(LOOK) {
                Ok(name) => return Ok(Some(name)),
                Err(RecvTimeoutError::Timeout) if inode(&self.path)? == self.inode => {}
                Err(_) => {
                    let message = format!("{} was replaced by another folder", self.path.display());
                    return Err(Error::new(Code::Camera, message, "nothing needs to be done: it is opened again"));
                }
            }
        }
    }

    /// Waits for a file that may still be written to, unless its closing was seen; `false` when it should stop.
    fn settle(&self, path: &Path) -> bool {
        loop {
            let age = changed(path).and_then(|then| then.elapsed().ok());
            match age {
                Some(age) if age < SETTLED => {
                    if self.stop.wait(SETTLED - age) {
                        return false;
                    }
                }
                _ => return true,
            }
        }
    }
}

impl Source for Folder {
    fn next(&mut self, not_before: Instant) -> Result<Option<Shot>> {
        if self.stop.wait_until(not_before) {
            return Ok(None);
        }
        loop {
            let from_event = self.waiting.is_empty() && !self.again;
            let Some(path) = self.next_name()? else { return Ok(None) };
            if !from_event && !self.settle(&path) {
                return Ok(None);
            }
            let then = changed(&path);
            match read(&path) {
                Ok(bytes) => {
                    self.newest = then.unwrap_or(self.newest).max(self.newest);
                    return Ok(Some(Shot { file: Some(name(&path)), ..Shot::encoded(bytes) }));
                }
                Err(_) if !path.exists() => {}
                Err(error) => log::warn!("{error}: it is left out"),
            }
        }
    }

    fn can_stall(&self) -> bool {
        false
    }
}

impl Arrivals {
    fn watch(path: &Path) -> Result<Self> {
        let (sender, names) = crossbeam_channel::bounded(MAX_WAITING);
        let lost = Arc::new(AtomicBool::new(false));
        let overflow = lost.clone();
        let failed = |error: notify::Error| {
            let message = format!("{} cannot be watched: {error}", path.display());
            Error::new(
                Code::Camera,
                message,
                "raise fs.inotify.max_user_watches and max_user_instances, or use ?loop=1",
            )
        };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => overflow.store(true, Ordering::Relaxed),
            Ok(event) if is_whole(&event.kind) => {
                for path in event.paths.into_iter().filter(|path| is_picture(path)) {
                    if sender.try_send(path).is_err() {
                        overflow.store(true, Ordering::Relaxed);
                    }
                }
            }
            _ => {}
        })
        .map_err(failed)?;
        watcher.watch(path, RecursiveMode::NonRecursive).map_err(failed)?;
        Ok(Self { names, lost, _watcher: watcher })
    }
}

/// Closed by a writer, or moved here. A move inside the folder is told by its halves and again as a whole, which
/// is not counted.
fn is_whole(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Name(RenameMode::To))
    )
}

fn is_picture(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    !hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&&extension[..]))
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

fn inode(path: &Path) -> Result<(u64, u64)> {
    let meta = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !meta.is_dir() {
        let message = format!("{} is not a folder", path.display());
        return Err(Error::new(Code::Camera, message, "name a folder, or write file:///PATH for one picture"));
    }
    Ok((meta.dev(), meta.ino()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("folder {} cannot be read: {error}", path.display());
    Error::new(Code::Camera, message, "make the folder (mkdir -p), or check the path and its permissions")
}
