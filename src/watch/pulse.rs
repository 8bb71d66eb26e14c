//! What the watch lets others see while it works.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::event::Phase;
use super::status::TriggerStatus;

/// Counters and the newest scores. Written by the watch, read by anybody.
pub struct Pulse {
    begin: Instant,
    /// Milliseconds after `begin`.
    beat: AtomicU64,
    armed: AtomicBool,
    /// By how much frames are thinned out, in percent.
    slowdown: AtomicU32,
    looks: AtomicU64,
    look_us: AtomicU64,
    events: AtomicU64,
    triggers: Mutex<Vec<TriggerStatus>>,
    motion: Mutex<BTreeMap<Arc<str>, f32>>,
}

impl Pulse {
    pub(super) fn new(armed: bool) -> Self {
        Self {
            begin: Instant::now(),
            beat: AtomicU64::new(0),
            armed: AtomicBool::new(armed),
            slowdown: AtomicU32::new(1),
            looks: AtomicU64::new(0),
            look_us: AtomicU64::new(0),
            events: AtomicU64::new(0),
            triggers: Mutex::default(),
            motion: Mutex::default(),
        }
    }

    pub(super) fn beat(&self) {
        self.beat.store(self.begin.elapsed().as_millis() as u64, Relaxed);
    }

    pub(super) fn looked(&self, time: Duration) {
        self.looks.fetch_add(1, Relaxed);
        self.look_us.store(time.as_micros() as u64, Relaxed);
    }

    pub(super) fn judged(&self, camera: &Arc<str>, changed: f32) {
        self.motion.lock().unwrap_or_else(PoisonError::into_inner).insert(camera.clone(), changed);
    }

    pub(super) fn told(&self, phase: Phase) {
        if phase == Phase::Begin {
            self.events.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn set_triggers(&self, triggers: Vec<TriggerStatus>) {
        *self.triggers.lock().unwrap_or_else(PoisonError::into_inner) = triggers;
    }

    pub(super) fn slowdown(&self) -> u32 {
        self.slowdown.load(Relaxed)
    }

    /// Time since the watch last began a round. It begins one at least every second, unless a look or an answer takes
    /// longer.
    pub fn since_beat(&self) -> Duration {
        self.begin.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Relaxed)))
    }

    /// Whether triggers may begin events.
    pub fn is_armed(&self) -> bool {
        self.armed.load(Relaxed)
    }

    /// Says whether triggers may begin events.
    pub fn arm(&self, armed: bool) {
        self.armed.store(armed, Relaxed);
    }

    /// Looks only at every `factor`th frame, to cool down; 1 is all of them.
    pub fn slow_down(&self, factor: u32) {
        self.slowdown.store(factor.max(1), Relaxed);
    }

    /// Frames that were looked at.
    pub fn looks(&self) -> u64 {
        self.looks.load(Relaxed)
    }

    /// Milliseconds of the last look.
    pub fn look_ms(&self) -> f64 {
        self.look_us.load(Relaxed) as f64 / 1e3
    }

    /// Events that began.
    pub fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }

    /// Where the triggers stand.
    pub fn triggers(&self) -> Vec<TriggerStatus> {
        self.triggers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Share of a camera's picture that moved in its newest frame, `0..=1`.
    pub fn motion(&self, camera: &str) -> Option<f32> {
        self.motion.lock().unwrap_or_else(PoisonError::into_inner).get(camera).copied()
    }
}
