//! The daemon from its start to its end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::board::{Deed, Inputs, Outputs, Thermal, service};
use crate::camera::{Camera, CameraOptions};
use crate::engine::Options;
use crate::link::{Link, mqtt, serial, web};
use crate::memory::EventStore;
use crate::watch::{Desk, Eye, Setup, Watch};
use crate::{Code, Error, Result};

use super::acts;
use super::bundles::{self, Bundles};
use super::config::{CameraSection, Config};
use super::hub::{Hub, Kept, held};
use super::keeper;

/// How long ending may take, and how much of it the links have.
const ENDING: Duration = Duration::from_millis(1_800);
const GOODBYE: Duration = Duration::from_millis(900);

/// How often the watchdog is fed and the temperature read, at least.
const TICK: Duration = Duration::from_secs(1);

/// How long no camera may give frames before the watchdog is no longer fed. Cameras are opened again all the while; a
/// driver that has lost its mind needs a restart.
const BLIND: Duration = Duration::from_secs(600);

/// A running daemon.
pub struct Daemon {
    hub: Arc<Hub>,
    bell: (Sender<()>, Receiver<()>),
    keeper: Option<JoinHandle<()>>,
    acts: Option<(Sender<()>, JoinHandle<()>)>,
    thermal: Thermal,
    bundles: Bundles,
    /// Held until the end: the thread that reads them ends with it.
    _inputs: Option<Inputs>,
}

/// How to start, besides the configuration.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Of the engine; the configuration's threads go first.
    pub options: Options,
    /// Takes the place of the configuration's bundle.
    pub bundle: Option<PathBuf>,
    /// Whether to forget how triggers were set while running.
    pub forget_edits: bool,
}

/// Runs the daemon of the configuration at `path` until it is told to end by SIGTERM or SIGINT. SIGHUP reads the
/// configuration anew. Errors where it cannot start, or ends by a fault of its own.
pub fn run(path: &Path, start: Start) -> Result<()> {
    let read =
        || Config::read(path).map(|config| Config { bundle: start.bundle.clone().or(config.bundle.clone()), ..config });
    let config = read()?;
    if start.forget_edits {
        let store = EventStore::open(&memory_folder(&config)?, &config.memory)?;
        Kept::forget_edits(&store)?;
        store.close()?;
        log::info!("triggers are as the configuration file says");
    }
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]);
    let mut signals = signals.map_err(|error| {
        Error::new(Code::Engine, format!("signals cannot be received: {error}"), "is this a usual Linux?")
    })?;
    let handle = signals.handle();
    let (told, telling) = bounded(8);
    let listener = std::thread::spawn(move || {
        for signal in signals.forever() {
            let _ = told.try_send(signal);
        }
    });
    let mut daemon = Daemon::start(config, start.options)?;
    service::ready();
    let outcome = daemon.attend(&read, &telling);
    service::stopping();
    daemon.end();
    handle.close();
    let _ = listener.join();
    outcome
}

impl Daemon {
    /// Loads the bundle, opens the memory, and starts all threads.
    pub fn start(config: Config, mut options: Options) -> Result<Self> {
        if let Some(threads) = config.threads {
            options.threads = threads;
        }
        // Before the slow parts, so that a mistake there is told at once.
        let outputs = Outputs::open(&config.board)?;
        let store = Arc::new(EventStore::open(&memory_folder(&config)?, &config.memory)?);
        let ended = keeper::end_unfinished(&store, config.mqtt.is_some())?;
        if ended > 0 {
            log::info!("{ended} events of the last run had no end, and have one now");
        }
        let bundles = Bundles::new(&config, &options);
        let looker = bundles::open(&config, &options)?;
        let kept = Kept::read(&store)?;
        let mut triggers = kept.edits.apply(&config.triggers);
        triggers.retain(|trigger| match config.check_trigger(trigger) {
            Ok(()) => true,
            Err(error) => {
                log::warn!("a trigger that was set while running is left out: {error}; {}", error.help());
                false
            }
        });

        let bell = bounded(1);
        let cameras = config.cameras.iter().map(|section| open_camera(section, &bell.0)).collect::<Result<Vec<_>>>()?;
        let eyes = config.cameras.iter().zip(&cameras).map(|(section, camera)| eye(section, camera)).collect();
        let (reports, reported) = unbounded();
        let setup = Setup { eyes, bell: bell.1.clone(), triggers, armed: kept.armed, last_id: store.last_id() };
        let watch = Watch::start(looker.clone(), setup, reports)?;
        let hub = Arc::new(Hub::new(config.clone(), looker, watch, store, cameras, kept.edits));
        let keeper = keeper::start(hub.clone(), reported)?;
        let (end, ending) = bounded(0);
        let acts = acts::start(&hub, outputs, ending)?;
        let daemon = Self {
            keeper: Some(keeper),
            acts: Some((end, acts)),
            thermal: Thermal::new(&config.board),
            bundles,
            _inputs: Inputs::open(&config.board, press(&hub))?,
            hub,
            bell,
        };
        for link in ["mqtt", "serial", "web"] {
            daemon.start_link(link, &config)?;
        }
        log::info!("watching: {} cameras, {} triggers", config.cameras.len(), daemon.hub.triggers().len());
        Ok(daemon)
    }

    /// The desk, where questions are asked.
    pub fn desk(&self) -> Arc<dyn Desk> {
        self.hub.clone()
    }

    /// Works off signals, feeds the watchdog and minds the temperature, until told to end.
    fn attend(&mut self, read: &dyn Fn() -> Result<Config>, signals: &Receiver<i32>) -> Result<()> {
        let tick = service::watchdog_interval().map_or(TICK, |interval| TICK.min(interval / 3));
        let mut seen = Instant::now();
        loop {
            match signals.recv_timeout(tick) {
                Ok(SIGHUP) => {
                    service::reloading();
                    self.reload(read);
                    service::ready();
                }
                Ok(_) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if !self.hub.watch.is_running() {
                let message = "the watch has ended by a fault of its own";
                return Err(Error::new(Code::Engine, message, "the log above says more; it is restarted by systemd"));
            }
            self.bundles.tend(&self.hub);
            let heat = self.thermal.read();
            self.hub.watch.pulse().slow_down(self.thermal.slowdown());
            *held(&self.hub.heat) = heat;
            let stalled = self.hub.stalled();
            if stalled.is_none() {
                seen = Instant::now();
            }
            let progress = self.hub.watch_moves() && seen.elapsed() < BLIND;
            service::alive(progress, stalled.as_deref().unwrap_or("watching"));
        }
    }

    /// Reads the configuration anew. What did not change goes on undisturbed; where the new one makes no sense all of
    /// the old one does.
    fn reload(&mut self, read: &dyn Fn() -> Result<Config>) {
        let old = self.hub.config();
        let outcome = read().and_then(|new| self.change(&old, new));
        match outcome {
            Ok(()) => log::info!("the configuration is in force"),
            Err(error) => log::error!("the old configuration stays in force: {error}; {}", error.help()),
        }
    }

    fn change(&mut self, old: &Config, new: Config) -> Result<()> {
        // First what may be refused, such as an example picture that is missing: then nothing has changed yet.
        self.hub.set_config(new.clone())?;
        if old.cameras != new.cameras {
            self.change_cameras(old, &new)?;
        }
        let renamed = old.device != new.device;
        for (link, changed) in [
            ("mqtt", renamed || old.mqtt != new.mqtt),
            ("serial", renamed || old.serial != new.serial),
            ("web", renamed || old.web != new.web),
        ] {
            if changed {
                self.stop_links(|name| name == link, Instant::now() + GOODBYE);
                self.start_link(link, &new)?;
            }
        }
        if (old.threads, &old.memory, &old.board) != (new.threads, &new.memory, &new.board) {
            log::warn!("`threads`, [memory] and [board] change with the next start only");
        }
        Ok(())
    }

    fn change_cameras(&mut self, old: &Config, new: &Config) -> Result<()> {
        let mut cameras = self.hub.cameras.write().unwrap_or_else(PoisonError::into_inner);
        let kept = |section: &CameraSection| {
            old.cameras
                .iter()
                .any(|before| before.camera() == section.camera())
                .then(|| cameras.iter().find(|camera| camera.name() == section.name).cloned())
                .flatten()
        };
        let mut next = Vec::with_capacity(new.cameras.len());
        for section in &new.cameras {
            next.push(match kept(section) {
                Some(camera) => camera,
                None => open_camera(section, &self.bell.0)?,
            });
        }
        self.hub.watch.set_eyes(new.cameras.iter().zip(&next).map(|(section, camera)| eye(section, camera)).collect());
        let gone = std::mem::replace(&mut *cameras, next.clone());
        drop(cameras);
        for camera in gone {
            if !next.iter().any(|kept| Arc::ptr_eq(kept, &camera)) {
                camera.stop();
            }
        }
        Ok(())
    }

    fn start_link(&self, name: &str, config: &Config) -> Result<()> {
        let desk = self.desk();
        let link: Option<Box<dyn Link>> = match name {
            "mqtt" => match &config.mqtt {
                Some(mqtt) => {
                    let device = mqtt::Device {
                        id: config.device.clone(),
                        name: config.device.clone(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        bundle: self.hub.looker().identity().to_owned(),
                    };
                    Some(mqtt::start(mqtt.clone(), &device, desk, self.hub.store.clone())?)
                }
                None => None,
            },
            "serial" => match &config.serial {
                Some(serial) => Some(serial::start(serial.clone(), &config.device, desk)?),
                None => None,
            },
            _ => match &config.web {
                Some(web) => Some(web::start(web, desk)?),
                None => None,
            },
        };
        self.hub.links.write().unwrap_or_else(PoisonError::into_inner).extend(link);
        Ok(())
    }

    fn stop_links(&self, which: impl Fn(&str) -> bool, until: Instant) {
        let mut links = self.hub.links.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = links.extract_if(.., |link| which(&link.status().name)).collect();
        // A link may ask for the status while it ends.
        drop(links);
        std::thread::scope(|scope| {
            for mut link in gone {
                scope.spawn(move || link.stop(until));
            }
        });
    }

    /// Ends the events under way, keeps and tells what is left, and stops all threads: within two seconds.
    pub fn end(mut self) {
        let until = Instant::now() + ENDING;
        self.hub.watch.stop();
        log::debug!("the watch has ended");
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        log::debug!("the memory has everything");
        self.stop_links(|_| true, until.min(Instant::now() + GOODBYE));
        if let Some((end, acts)) = self.acts.take() {
            drop(end);
            let _ = acts.join();
        }
        log::debug!("links and actions have ended");
        let cameras = std::mem::take(&mut *self.hub.cameras.write().unwrap_or_else(PoisonError::into_inner));
        std::thread::scope(|scope| {
            for camera in &cameras {
                scope.spawn(|| camera.stop());
            }
        });
        if let Err(error) = self.hub.store.close() {
            log::error!("{error}; {}", error.help());
        }
        log::info!("ended");
    }
}

fn open_camera(section: &CameraSection, bell: &Sender<()>) -> Result<Arc<Camera>> {
    let config = section.camera();
    let options = CameraOptions { bell: Some(bell.clone()), ..config.options() };
    Camera::start(&config.name, &config.source, &options).map(Arc::new)
}

fn eye(section: &CameraSection, camera: &Arc<Camera>) -> Eye {
    Eye {
        camera: camera.clone(),
        fps: section.fps,
        motion: section.motion.clone(),
        masks: section.masks.clone(),
        zones: section.zones.clone(),
    }
}

/// What the inputs of the board do.
fn press(hub: &Arc<Hub>) -> Box<dyn Fn(Deed, bool) + Send> {
    // The hub must end before the inputs do.
    let hub = Arc::downgrade(hub);
    Box::new(move |deed, on| {
        let Some(hub) = hub.upgrade() else { return };
        match (deed, on) {
            (Deed::Look, true) => hub.watch.look_now(),
            (Deed::Arm, armed) => hub.arm(armed),
            (Deed::Toggle, true) => hub.arm(!hub.watch.pulse().is_armed()),
            (Deed::Look | Deed::Toggle, false) => {}
        }
    })
}

/// Where the memory of this configuration lies.
pub fn memory_folder(config: &Config) -> Result<PathBuf> {
    config.memory.folder.clone().map_or_else(crate::memory::default_folder, Ok)
}
