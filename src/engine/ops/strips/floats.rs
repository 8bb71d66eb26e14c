//! Layers as they are, with floats between them.

use std::sync::Arc;

use super::super::dense::{Dense, Sink};
use super::super::depthwise::{self, Depthwise};
use super::super::scratch::Scratch;
use super::{Between, Front, Layers};
use crate::kernels::{self, Kernel, Lines};

#[derive(Debug)]
pub(super) struct Floats {
    pub(super) front: Front,
    pub(super) dense: Arc<Dense>,
    pub(super) depthwise: Depthwise,
    pub(super) taps: Arc<depthwise::Constants>,
    pub(super) back: Arc<Dense>,
}

impl Layers for Floats {
    type Wide = f32;
    type Middle = f32;

    fn channels(&self) -> [usize; 2] {
        [self.back.depth(); 2]
    }

    fn together(&self) -> usize {
        1
    }

    fn first(&self) -> (&Front, &Dense) {
        (&self.front, &self.dense)
    }

    fn middle(&self, kernel: Kernel, x: Between<f32>, first: usize, out: &mut [f32], _: &mut Scratch) {
        let lines = Lines { x: x.x, kept: x.kept, size: x.size };
        kernels::depthwise(kernel, lines, self.depthwise.window, self.depthwise.taps(&self.taps), first, out);
    }

    fn back(&self, kernel: Kernel, x: &[f32], residual: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        self.back.rows(kernel, x, Sink::Floats { out, residual }, scratch);
    }
}
