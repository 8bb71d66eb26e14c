//! Buffers that a thread keeps from call to call.

use std::cell::RefCell;

use crate::kernels::{Floats, Packed, Rows};

#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) rows: Rows,
    pub(super) patches: Vec<f32>,
    /// Rows of a picture as bytes, and windows of them.
    pub(super) pixels: Vec<u8>,
    pub(super) windows: Vec<u8>,
    pub(super) wide: Floats,
    pub(super) middle: Floats,
    /// Rows of a picture in levels, side by side.
    pub(super) laid: Floats,
    pub(super) queries: Vec<f32>,
    pub(super) logits: Vec<f32>,
    /// Per head, of the thread that runs the operator.
    pub(super) keys: Vec<Packed>,
    pub(super) values: Vec<Packed>,
    pub(super) packed: Packed,
}

/// Calls `work` with this thread's buffers. They are taken out for the time of the call, so a nested call gets new ones.
pub(super) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    let mut scratch = SCRATCH.take();
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}
