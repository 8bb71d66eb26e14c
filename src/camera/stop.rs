//! Telling a thread to end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared between a source and whoever may end it.
#[derive(Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Default)]
struct Inner {
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Default)]
struct Told {
    stop: bool,
    hooks: Vec<Box<dyn FnOnce() + Send>>,
}

impl Stop {
    /// Ends it: wakes who waits, and runs the hooks.
    pub fn tell(&self) {
        let hooks = {
            let mut told = self.lock();
            told.stop = true;
            std::mem::take(&mut told.hooks)
        };
        self.0.changed.notify_all();
        hooks.into_iter().for_each(|hook| hook());
    }

    /// Whether it should end.
    pub fn told(&self) -> bool {
        self.lock().stop
    }

    /// Waits; `true` as soon as it should end.
    pub fn wait(&self, time: Duration) -> bool {
        self.wait_until(Instant::now() + time)
    }

    /// Waits until then; `true` as soon as it should end.
    pub fn wait_until(&self, then: Instant) -> bool {
        let mut told = self.lock();
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if told.stop || left.is_zero() {
                return told.stop;
            }
            told = self.0.changed.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Runs `hook` when it should end, now if that is so already: what interrupts a blocked read.
    pub fn on_tell(&self, hook: impl FnOnce() + Send + 'static) {
        let mut told = self.lock();
        if told.stop {
            drop(told);
            hook();
        } else {
            told.hooks.push(Box::new(hook));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
