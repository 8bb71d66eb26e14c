//! Layers with floats before the depthwise convolution, whose precision is `weights`, and levels of `6 / 254` after it: for
//! first layers, whose differences between neighbours count for more than steps as coarse would leave of them.

use std::sync::Arc;

use super::super::Wired;
use super::super::dense::{Dense, Precision};
use super::super::depthwise::{Constants, Depthwise};
use super::super::scratch::Scratch;
use super::levels::STEP;
use super::{Between, Front, Layers};
use crate::kernels::{self, Activation, Kernel, Lines, padded};

#[derive(Debug)]
pub(super) struct Mixed {
    pub(super) front: Front,
    dense: Arc<Dense>,
    depthwise: Depthwise,
    /// In steps.
    taps: Constants,
    back: Dense,
}

impl Mixed {
    /// `None` where the layers are not of this kind.
    pub(super) fn new(front: &Front, dense: &Arc<Dense>, depthwise: &Wired<Depthwise>, back: &Dense) -> Option<Self> {
        let Depthwise { activation, precision, .. } = depthwise.operator;
        if activation != Activation::Relu6 || precision != Precision::Weights {
            return None;
        }
        let back = back.for_levels(STEP)?;
        let taps = depthwise.constants.in_steps(STEP);
        Some(Mixed { front: front.clone(), dense: dense.clone(), depthwise: depthwise.operator.clone(), taps, back })
    }
}

impl Layers for Mixed {
    type Wide = f32;
    type Middle = u8;

    fn channels(&self) -> [usize; 2] {
        let channels = self.dense.columns();
        [channels, padded(channels)]
    }

    fn together(&self) -> usize {
        1
    }

    fn first(&self) -> (&Front, &Dense) {
        (&self.front, &self.dense)
    }

    fn middle(&self, kernel: Kernel, x: Between<f32>, first: usize, out: &mut [u8], _: &mut Scratch) {
        let lines = Lines { x: x.x, kept: x.kept, size: x.size };
        kernels::depthwise_to_levels(kernel, lines, self.depthwise.window, self.depthwise.taps(&self.taps), first, out);
    }

    fn back(&self, kernel: Kernel, x: &[u8], residual: &[f32], out: &mut [f32], _: &mut Scratch) {
        self.back.levels(kernel, x, residual, out);
    }
}
