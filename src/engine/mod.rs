//! Running a bundle's networks: tract, with int8 operators of our own (their loops are in [`kernels`](crate::kernels)).
//!
//! A graph is plain ONNX whose heavy layers are operators of the domain `lookout` (`ops`), so that the rest of a model
//! can be anything that tract runs. Stock float or quantised ONNX files load through the same towers.
//!
//! | file | what it holds |
//! |---|---|
//! | `ops` | one file per operator |
//! | `recognise` | other people's quantised layers, put into these operators |
//! | `report` | which part of a network runs on what |
//! | `program` | a network as steps over planned buffers, run without allocating; else tract's own plan runs it |
//! | `load` | from a file to tract's simplified graph |
//! | `session` | one role's network, ready to run; errors in words |
//! | `guard` | tract's panics and errors as sentences |
//! | `stop` | ending a run early |
//! | `stored` | a bundle's stored pairs, run through its towers |
//! | `threads` | work over a private pool; results do not depend on the number of threads |
//! | `image`, `text`, `decoder`, `ground` | the networks by role |
//!
//! Limits: a graph can ask for more memory than there is, and the process then ends; open bundles that you trust, or
//! under a memory limit. Everything else that a file can do wrong is an [`Error`](crate::Error).

mod decoder;
mod ground;
mod guard;
mod image;
mod load;
mod ops;
mod program;
mod recognise;
mod report;
mod session;
mod stop;
mod stored;
mod text;
mod threads;

pub use decoder::{Attending, Cache, Decoder};
pub use ground::Grounder;
pub use image::{Features, ImageTower, Patches};
pub use report::Report;
pub use stop::Stop;
pub use stored::{Agreement, compare_stored};
pub use text::TextTower;

/// Name of the int8 kernel that this machine uses, for `bench` and bug reports.
pub fn kernel_name() -> &'static str {
    crate::kernels::Kernel::chosen().name()
}

/// How networks run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Threads for one network; 0 means the default, all cores but at most 4. At most 64 are used.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { threads: std::thread::available_parallelism().map_or(1, |n| n.get()).min(4) }
    }
}

impl Options {
    fn thread_count(&self) -> usize {
        if self.threads == 0 { Options::default().threads } else { self.threads.min(64) }
    }
}

/// Scales to length 1. `false` when a value is not finite or all are 0.
fn normalise(values: &mut [f32]) -> bool {
    let length = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return false;
    }
    values.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    true
}
