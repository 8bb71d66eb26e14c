//! Work split over a private pool of threads. Every row of a result is computed the same way wherever it is cut, so
//! results do not depend on the number of threads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::{Code, Error, Result};

/// Multiply-adds below which a split costs more than it saves.
const WORTH_A_SPLIT: usize = 1_000_000;
/// Pieces for each thread: more than one, because another process may take a core.
const PIECES: usize = 3;

/// The pool of `threads` threads that the process shares; none for one thread.
pub(super) fn pool(threads: usize) -> Result<Option<Arc<ThreadPool>>> {
    static POOLS: Mutex<Option<HashMap<usize, Arc<ThreadPool>>>> = Mutex::new(None);
    if threads <= 1 {
        return Ok(None);
    }
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let pools = pools.get_or_insert_default();
    if let Some(pool) = pools.get(&threads) {
        return Ok(Some(pool.clone()));
    }
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("lookout-{i}")).build().map_err(
            |e| {
                Error::new(
                    Code::Engine,
                    format!("{threads} threads cannot be started: {e}"),
                    "ask for fewer threads, or raise the limit on processes",
                )
            },
        )?;
    let pool = Arc::new(pool);
    pools.insert(threads, pool.clone());
    Ok(Some(pool))
}

/// Runs `work` on the pool, so that [`split`] and [`each`] inside it use its threads.
pub(super) fn inside<T: Send>(pool: Option<&ThreadPool>, work: impl FnOnce() -> T + Send) -> T {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// Threads that work can be split over here: 1 outside a pool.
fn threads() -> usize {
    if rayon::current_thread_index().is_some() { rayon::current_num_threads() } else { 1 }
}

/// Calls `work(first, piece)` for pieces of `out` that are whole rows of `row` values, a multiple of `quantum` rows where
/// possible; `first` is the piece's first row. `cost` is the whole work in multiply-adds.
pub(super) fn split<T: Send>(
    out: &mut [T],
    row: usize,
    quantum: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let threads = threads();
    let rows = out.len().div_ceil(row.max(1));
    if rows == 0 {
        return;
    }
    if threads == 1 || cost < WORTH_A_SPLIT || rows <= quantum {
        return work(0, out);
    }
    let piece = rows.div_ceil(threads * PIECES).div_ceil(quantum) * quantum;
    out.par_chunks_mut(piece * row).enumerate().for_each(|(i, out)| work(i * piece, out));
}

/// Calls `work(i, item)` for each item.
pub(super) fn each<T: Send>(items: &mut [T], cost: usize, work: impl Fn(usize, &mut T) + Sync) {
    if threads() == 1 || cost < WORTH_A_SPLIT {
        items.iter_mut().enumerate().for_each(|(i, item)| work(i, item));
    } else {
        items.par_iter_mut().enumerate().for_each(|(i, item)| work(i, item));
    }
}
