//! The keeper thread: it writes what waits in memory, and drops what is due. It sleeps unless one of them is to be done.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::Result;

use super::keep::{Rule, step};
use super::shared::{Shared, unix_ms};

impl Shared {
    /// Drops what is due, a step at a time, so that reports come in between.
    pub(super) fn tidy(&self) -> Result<u64> {
        let (mut dropped, mut unsent) = (0, 0);
        loop {
            let mut hand = self.hand();
            if hand.closed || self.bell().closing {
                break;
            }
            let now_ms = hand.clock.believed(unix_ms(), self.born.elapsed());
            let stay = hand.under_way.clone();
            let mut lower = hand.lower;
            let events = self.events.load(Relaxed);
            let rule = Rule { now_ms, days: self.config.days, bytes: self.config.bytes.as_u64(), events, stay: &stay };
            let step = self
                .writing(&mut hand, "old events cannot be dropped", |writer| step(writer, &rule, &mut lower))
                .inspect_err(|error| self.in_trouble(&mut hand, error))?;
            hand.lower = lower;
            self.events.fetch_sub(step.dropped.len() as u64, Relaxed);
            self.less_waiting(step.unsent);
            drop(hand);
            self.reader.search.dropped(&step.dropped);
            dropped += step.dropped.len() as u64;
            unsent += step.unsent;
            if !step.more {
                break;
            }
            // A mutex is not fair: whoever waits for the writer gets it now.
            let bell = self.bell();
            let _ = self.rung.wait_timeout(bell, Duration::from_millis(2));
        }
        if unsent > 0 {
            log::warn!("{unsent} messages were never sent and were dropped: they took more than the memory may take");
        }
        Ok(dropped)
    }

    /// The keeper's life: writes what waits, drops what is due.
    pub(super) fn keep(&self, look_every: Duration) {
        let mut looked: Option<Instant> = None;
        loop {
            let waits = !self.pending().is_empty();
            let retry_at = waits.then(|| self.hand().retry_at);
            let look_at = looked.map_or_else(Instant::now, |looked| looked + look_every);
            let until = retry_at.map_or(look_at, |retry_at| retry_at.min(look_at));
            let mut bell = self.bell();
            while !bell.closing && !bell.rung && Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                bell = self.rung.wait_timeout(bell, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if bell.closing {
                return;
            }
            let rung = std::mem::take(&mut bell.rung);
            drop(bell);
            let mut hand = self.hand();
            if self.reader.take_damaged()
                && let Err(error) = self.replace(&mut hand, "it was met while reading")
            {
                self.in_trouble(&mut hand, &error);
            }
            let waits = !self.pending().is_empty();
            if waits
                && Instant::now() >= hand.retry_at
                && let Err(error) = self.flush(&mut hand)
            {
                self.in_trouble(&mut hand, &error);
            }
            let works = self.notes().trouble.is_none();
            drop(hand);
            if works && (rung || Instant::now() >= look_at) {
                looked = Some(Instant::now());
                // What fails was noted.
                let _ = self.tidy();
            } else if Instant::now() >= look_at {
                looked = Some(Instant::now());
            }
            self.reader.search.rest();
        }
    }
}
