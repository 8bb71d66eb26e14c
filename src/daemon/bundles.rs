//! The bundle in use, and its replacement while running.
//!
//! Where the configured bundle changes (its link, its manifest, or the configuration), the new one is opened on a thread of
//! its own, its signature is checked where one is required, and its self-test is run; only then the watch takes it over,
//! between two frames. Both are in memory meanwhile. A bundle that fails is named in the log, and the old one stays.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use crate::Result;
use crate::bundle::{Bundle, MANIFEST_NAME, previous};
use crate::engine::Options;
use crate::sight::Looker;

use super::config::Config;
use super::hub::Hub;

/// What would give another bundle if it changed.
#[derive(Clone, PartialEq)]
struct Mark {
    place: Option<PathBuf>,
    /// Device, inode, size and time of the manifest or the archive.
    file: Option<[i64; 5]>,
    signed_by: Option<Vec<String>>,
}

/// Minds which bundle should be in use.
pub(super) struct Bundles {
    options: Options,
    /// As it was when a bundle was opened last, or tried.
    mark: Mark,
    trying: Option<JoinHandle<()>>,
}

impl Bundles {
    /// To be made before the bundle is opened.
    pub fn new(config: &Config, options: &Options) -> Self {
        Self { options: options.clone(), mark: Mark::of(config), trying: None }
    }

    /// Begins to try another bundle if there is one. Never waits.
    pub fn tend(&mut self, hub: &Arc<Hub>) {
        if self.trying.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let config = hub.config();
        let mark = Mark::of(&config);
        if mark == self.mark {
            return;
        }
        self.mark = mark;
        let (options, hub) = (self.options.clone(), Arc::downgrade(hub));
        let work = move || swap(&config, options, &hub);
        match std::thread::Builder::new().name("bundle".to_owned()).spawn(work) {
            Ok(thread) => self.trying = Some(thread),
            Err(error) => log::error!("no thread can be started to try the new bundle: {error}"),
        }
    }
}

impl Mark {
    fn of(config: &Config) -> Self {
        let place = config.bundle_path().ok().and_then(|path| path.canonicalize().ok());
        let file = place.as_deref().and_then(|place| {
            let meta = fs::metadata(place.join(MANIFEST_NAME)).or_else(|_| fs::metadata(place)).ok()?;
            Some([meta.dev() as i64, meta.ino() as i64, meta.size() as i64, meta.mtime(), meta.mtime_nsec()])
        });
        Self { place, file, signed_by: config.require_signature.then(|| config.trusted_keys.clone()) }
    }
}

/// Opens the bundle at the daemon's start. Where the one in use does not open, and it was installed by
/// `lookout bundle install`, the one before takes its place, so that a board is not lost to a broken disk.
pub(super) fn open(config: &Config, options: &Options) -> Result<Arc<Looker>> {
    let load = |path: &Path| {
        let bundle = Bundle::open_trusting(path, config.trust()?.as_ref())?;
        Looker::open(bundle, options.clone()).map(Arc::new)
    };
    let path = config.bundle_path()?;
    load(&path).or_else(|error| {
        let Some(before) = previous(&path) else { return Err(error) };
        log::error!("{error}; {}; the one before is tried: {}", error.help(), before.display());
        load(&before).map_err(|_| error)
    })
}

fn swap(config: &Config, options: Options, hub: &Weak<Hub>) {
    let Some(in_use) = hub.upgrade().map(|hub| hub.looker()) else { return };
    let tried = || -> Result<Option<Looker>> {
        let bundle = config.open_bundle()?;
        if bundle.identity() == in_use.identity() {
            return Ok(None);
        }
        let looker = Looker::open(bundle, options)?;
        looker.self_test()?;
        Ok(Some(looker))
    };
    let outcome = tried().and_then(|new| match (new, hub.upgrade()) {
        (Some(new), Some(hub)) => {
            let name = new.identity().to_owned();
            hub.set_looker(Arc::new(new))
                .map(|()| log::info!("the bundle {name} is in use, in place of {}", in_use.identity()))
        }
        _ => Ok(()),
    });
    if let Err(error) = outcome {
        log::error!("the bundle {} stays in use: {error}; {}", in_use.identity(), error.help());
    }
}
