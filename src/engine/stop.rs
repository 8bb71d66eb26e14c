//! A way to end work early.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Ends the runs of networks that were begun inside [`Stop::during`]: by hand, from any thread, or at a time. A run
/// looks at it before every operator, and a caption before every word; it then fails with
/// [`Code::Stopped`](crate::Code::Stopped).
///
/// ```
/// use std::time::Duration;
/// use lookout::engine::Stop;
///
/// let stop = Stop::after(Duration::from_millis(200));
/// let five = stop.during(|| 2 + 3); // or `looker.caption(&view)`
/// # assert_eq!(five, 5);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stop {
    flag: Option<Arc<AtomicBool>>,
    at: Option<Instant>,
}

thread_local! {
    static CURRENT: RefCell<Stop> = RefCell::default();
}

impl Stop {
    /// One that [`Stop::now`] sets off.
    pub fn by_hand() -> Self {
        Stop { flag: Some(Arc::default()), at: None }
    }

    /// One that also goes off by itself.
    pub fn after(time: Duration) -> Self {
        Stop { at: Instant::now().checked_add(time), ..Stop::by_hand() }
    }

    /// One that goes off with this one, and by itself as well.
    pub fn or_after(&self, time: Duration) -> Self {
        let at = Instant::now().checked_add(time);
        Stop { at: self.at.into_iter().chain(at).min(), ..self.clone() }
    }

    /// Sets it off. All clones share this.
    pub fn now(&self) {
        if let Some(flag) = &self.flag {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it went off.
    pub fn is_due(&self) -> bool {
        self.flag.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
            || self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// Runs `work`; networks that it runs on this thread stop when this goes off. Nested calls replace the outer one.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Restore(Stop);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.replace(std::mem::take(&mut self.0));
            }
        }
        let _restore = Restore(CURRENT.replace(self.clone()));
        work()
    }

    /// The one that the calling work is inside of; one that never goes off elsewhere.
    pub(super) fn current() -> Stop {
        CURRENT.with_borrow(Stop::clone)
    }
}
