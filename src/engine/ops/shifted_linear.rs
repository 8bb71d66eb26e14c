//! `LookoutShiftedLinear(x[..., K], weight int8 [K, N], scale [N], bias [N], shift [N])`: `x (scale (weight + shift)) + bias`,
//! then the attribute `activation`. For other people's weights, which may have a zero point that int8 cannot take in; the
//! shift is added as the sum of each row of `x`, without what is not finite. `precision`: `int8` or `weights`.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::Operator;
use super::dense::{self, Dense, Precision};
use crate::engine::threads;
use crate::kernels::{Activation, Kernel, activate};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShiftedLinear {
    activation: Activation,
    precision: Precision,
}

#[derive(Debug)]
pub(super) struct Constants {
    dense: Dense,
    /// `scale * shift`
    shift: Vec<f32>,
}

impl Operator for ShiftedLinear {
    type Constants = Constants;
    const NAME: &'static str = "LookoutShiftedLinear";
    const CONSTANTS: &'static [&'static str] = &["weight", "scale", "bias", "shift"];

    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(ShiftedLinear { activation: super::activation(node)?, precision: Precision::read(node)? })
    }

    fn shape(&self, x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>> {
        dense::shape(x, weight)
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Constants> {
        let dense = Dense::load(constants, self.precision, Activation::None)?;
        let scale = super::values::<f32>("scale", &constants[1], 1)?;
        let shift = super::values::<f32>("shift", &constants[3], 1)?;
        ensure!(shift.len() == scale.len(), "there are {} shifts for {} columns", shift.len(), scale.len());
        let shift: Vec<f32> = shift.iter().zip(scale).map(|(shift, scale)| shift * scale).collect();
        ensure!(shift.iter().all(|v| v.is_finite()), "a shift is not finite");
        Ok(Constants { dense, shift })
    }

    fn run(
        &self,
        Constants { dense, shift }: &Constants,
        x: &[f32],
        _: &[usize],
        _: Option<&[f32]>,
        out: &mut [f32],
    ) -> TractResult<()> {
        dense.apply(x, &[], out);
        let kernel = Kernel::chosen();
        let depth = dense.depth();
        threads::split(out, shift.len(), 8, x.len() + out.len(), |first, out| {
            for (row, out) in x[first * depth..].chunks_exact(depth).zip(out.chunks_exact_mut(shift.len())) {
                let sum: f32 = row.iter().filter(|v| v.is_finite()).sum();
                out.iter_mut().zip(shift).for_each(|(o, s)| *o += s * sum);
                if self.activation != Activation::None {
                    activate(kernel, out, self.activation);
                }
            }
        });
        Ok(())
    }
}
