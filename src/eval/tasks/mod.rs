//! One file a task: rows in, scores out.

mod ask;
mod caption;
mod check;
mod ground;
mod label;
mod retrieve;

pub(super) use ask::ask;
pub(super) use caption::caption;
pub(super) use check::check;
pub(super) use ground::ground;
pub(super) use label::label;
pub(super) use retrieve::retrieve;

/// Hears how many steps of how many are done.
type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// What a task found: scores as fractions under their published keys, and how many things were counted.
pub(super) struct Measured {
    pub(super) scores: Vec<(&'static str, f64)>,
    pub(super) counted: usize,
}
