//! Layers with bytes between them: where a ReLU6 ends the first and the second, what they make lies in `0..=6` and is kept
//! as levels of `6 / 254`. The second layer then sums whole numbers, and the last one takes its rows as they are, where it
//! would else have rounded each to int8 by its largest value. A file asks for that by the precision `int8` of the second and
//! the last layer; with `weights` floats lie before it.

use super::super::Wired;
use super::super::dense::{Dense, Precision};
use super::super::depthwise::Depthwise;
use super::super::scratch::Scratch;
use super::{Between, Front, Layers};
use crate::kernels::{Activation, Kernel, LevelLines, LevelTaps, TOP_LEVEL, padded};

/// Of both tensors between the layers.
pub(super) const STEP: f32 = 6.0 / TOP_LEVEL;

#[derive(Debug)]
pub(super) struct Levels {
    pub(super) front: Front,
    /// In steps.
    dense: Dense,
    taps: LevelTaps,
    back: Dense,
}

impl Levels {
    /// `None` where one of the layers must have floats beside it.
    pub(super) fn new(
        front: &Front,
        dense: &Dense,
        activation: Activation,
        depthwise: &Wired<Depthwise>,
        back: &Dense,
    ) -> Option<Self> {
        let bounded = [activation, depthwise.operator.activation] == [Activation::Relu6; 2];
        if !bounded || depthwise.operator.precision == Precision::Weights {
            return None;
        }
        let back = back.for_levels(STEP)?;
        let taps = depthwise.operator.level_taps(&depthwise.constants, [STEP; 2])?;
        Some(Levels { front: front.clone(), dense: dense.in_steps(STEP), taps, back })
    }
}

impl Layers for Levels {
    type Wide = u8;
    type Middle = u8;

    fn channels(&self) -> [usize; 2] {
        [padded(self.taps.channels()); 2]
    }

    fn together(&self) -> usize {
        self.taps.together()
    }

    fn first(&self) -> (&Front, &Dense) {
        (&self.front, &self.dense)
    }

    fn middle(&self, kernel: Kernel, x: Between<u8>, first: usize, out: &mut [u8], scratch: &mut Scratch) {
        let lines = LevelLines { x: x.x, kept: x.kept, size: x.size };
        self.taps.slide(kernel, lines, first, out, &mut scratch.laid);
    }

    fn back(&self, kernel: Kernel, x: &[u8], residual: &[f32], out: &mut [f32], _: &mut Scratch) {
        self.back.levels(kernel, x, residual, out);
    }
}
