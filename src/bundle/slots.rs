//! Two places for bundles, `a` and `b`, and a link `current` to the one in use.
//!
//! A new bundle is copied beside both, checked, moved to the place that is not in use, and only then named by the link,
//! which is replaced in one step. Every step is on the disk before the next one begins, so a power cut at any moment
//! leaves `current` with the old bundle or with the new one, never with half of one. The link `previous` names the one
//! before, for [`Slots::back`] and for a start at which the current one does not open.

use std::cmp::Ordering;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::{Code, Error, Result};

use super::trust::untrusted;
use super::{Bundle, Trust, compare_versions};

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const INCOMING: &str = "incoming";
const LOCK: &str = "lock";
const PLACES: [&str; 2] = ["a", "b"];

/// A folder of bundles, locked against other updates as long as this value lives.
pub struct Slots {
    folder: PathBuf,
    _lock: File,
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Identity of the bundle that is in use now.
    pub now: String,
    /// Identity of the one before, if there was one that opens.
    pub before: Option<String>,
    /// False where the bundle was in use already and nothing was changed.
    pub changed: bool,
}

impl Slots {
    /// Opens the folder, and makes it where there is none. Errors: [`Code::Busy`] while another update runs there,
    /// [`Code::Output`] where nothing can be written.
    pub fn open(folder: &Path) -> Result<Self> {
        let failed = |error: io::Error| unwritable(folder, &error);
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::options().create(true).append(true).open(folder.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let message = format!("another update is under way in {}", folder.display());
                Err(Error::new(Code::Busy, message, "wait until it has ended, then try again"))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The path that always names the bundle in use.
    pub fn current(&self) -> PathBuf {
        self.folder.join(CURRENT)
    }

    /// Puts the bundle at `source`, a folder or a `.tar`, into use. `accept` is called with the copy, opened and checked,
    /// before anything changes: what it refuses is removed again. A bundle of the same name whose version is older than
    /// the current one's is refused ([`Code::Untrusted`]) unless `older` is set.
    pub fn install(
        &self,
        source: &Path,
        trust: Option<&Trust>,
        older: bool,
        accept: impl FnOnce(Bundle) -> Result<()>,
    ) -> Result<Installed> {
        let new = Bundle::open_trusting(source, trust)?;
        new.verify()?;
        let old = Bundle::open(&self.current()).ok();
        if let Some(old) = &old {
            if old.identity() == new.identity() && old.contents().eq(new.contents()) {
                return Ok(Installed { now: new.identity(), before: Some(old.identity()), changed: false });
            }
            if !older {
                refuse_older(&new, old, source)?;
            }
        }
        let incoming = self.folder.join(INCOMING);
        let copied = self.copy(&new, &incoming).and_then(|()| {
            let copy = Bundle::open_trusting(&incoming, trust)?;
            copy.verify()?;
            accept(copy)
        });
        if let Err(error) = copied {
            let _ = fs::remove_dir_all(&incoming);
            return Err(error);
        }
        let used = self.target(CURRENT);
        let free = PLACES.into_iter().find(|place| used.as_deref() != Some(Path::new(place))).unwrap_or(PLACES[0]);
        self.steps(|| {
            if let Some(used) = &used {
                self.link(PREVIOUS, used)?;
            }
            remove(&self.folder.join(free))?;
            fs::rename(&incoming, self.folder.join(free))?;
            self.sync()?;
            self.link(CURRENT, Path::new(free))
        })?;
        Ok(Installed { now: new.identity(), before: old.map(|old| old.identity()), changed: true })
    }

    /// Puts the previous bundle into use again, and the current one in its place. Errors where there is none, or it does
    /// not open.
    pub fn back(&self, trust: Option<&Trust>) -> Result<Installed> {
        let none = || {
            let message = format!("there is no previous bundle in {}", self.folder.display());
            Error::new(Code::Input, message, "install the one that you want: lookout bundle install PATH")
        };
        let (used, before) = (self.target(CURRENT), self.target(PREVIOUS).ok_or_else(none)?);
        if used.as_ref() == Some(&before) {
            return Err(none());
        }
        let bundle = Bundle::open_trusting(&self.folder.join(&before), trust)?;
        bundle.verify()?;
        let left = Bundle::open(&self.current()).ok().map(|bundle| bundle.identity());
        self.steps(|| {
            self.link(CURRENT, &before)?;
            used.as_ref().map_or(Ok(()), |used| self.link(PREVIOUS, used))
        })?;
        Ok(Installed { now: bundle.identity(), before: left, changed: true })
    }

    fn target(&self, link: &str) -> Option<PathBuf> {
        fs::read_link(self.folder.join(link)).ok()
    }

    fn copy(&self, bundle: &Bundle, to: &Path) -> Result<()> {
        self.steps(|| {
            remove(to)?;
            fs::create_dir(to)?;
            for (path, bytes) in bundle.contents() {
                let path = to.join(path);
                let folder = path.parent().unwrap_or(to);
                fs::create_dir_all(folder)?;
                let mut file = File::create_new(&path)?;
                file.write_all(bytes)?;
                file.sync_all()?;
                for folder in folder.ancestors().take_while(|folder| folder.starts_with(to)) {
                    sync(folder)?;
                }
            }
            self.sync()
        })
    }

    /// Makes `name` a link to `target`, in one step that outlives a power cut.
    fn link(&self, name: &str, target: &Path) -> io::Result<()> {
        let beside = self.folder.join(format!("{name}.new"));
        remove(&beside)?;
        symlink(target, &beside)?;
        fs::rename(&beside, self.folder.join(name))?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.folder)
    }

    fn steps(&self, steps: impl FnOnce() -> io::Result<()>) -> Result<()> {
        steps().map_err(|error| unwritable(&self.folder, &error))
    }
}

/// The bundle before the one that `current` names, where `current` is the link of a folder of bundles.
pub fn previous(current: &Path) -> Option<PathBuf> {
    if current.file_name()? != CURRENT {
        return None;
    }
    let folder = current.parent()?;
    let (now, before) = (fs::read_link(current).ok()?, fs::read_link(folder.join(PREVIOUS)).ok()?);
    (now != before).then(|| folder.join(before))
}

fn refuse_older(new: &Bundle, old: &Bundle, source: &Path) -> Result<()> {
    let (version, current) = (new.manifest().version(), old.manifest().version());
    if new.name() != old.name() || compare_versions(version, current) != Ordering::Less {
        return Ok(());
    }
    let cause = format!("its version {version} is older than {current}, which is in use");
    let help = "take a newer one; --allow-older takes it all the same, `lookout bundle back` returns to the one before";
    Err(untrusted(&source.display().to_string(), &cause, help))
}

fn unwritable(folder: &Path, error: &io::Error) -> Error {
    let help = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space: the bundle is stored twice. The one in use was not touched"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "run it as root, or name a folder of yours"
        }
        _ => "check the disk. The bundle in use was not touched",
    };
    Error::new(Code::Output, format!("the bundles in {} cannot be changed: {error}", folder.display()), help)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a link, or a folder with what is in it, if there is one.
fn remove(path: &Path) -> io::Result<()> {
    let kind = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        kind => kind?,
    };
    if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
