//! `LookoutLinear(x[..., K], weight int8 [K, N], scale [N], bias [N], residual? [..., N])`: the attribute `activation` is
//! applied to `x W + b`, then the residual is added. `precision`: `int8` or `weights`.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::dense::{self, Dense, Precision};
use super::{Companion, Operator};
use crate::kernels::Activation;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    pub(super) activation: Activation,
    precision: Precision,
}

impl Operator for Linear {
    type Constants = Dense;
    const NAME: &'static str = "LookoutLinear";
    const CONSTANTS: &'static [&'static str] = &["weight", "scale", "bias"];
    const COMPANION: Companion = Companion::Optional;

    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(Linear { activation: super::activation(node)?, precision: Precision::read(node)? })
    }

    fn shape(&self, x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>> {
        dense::shape(x, weight)
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Dense> {
        Dense::load(constants, self.precision, self.activation)
    }

    fn run(&self, dense: &Dense, x: &[f32], _: &[usize], residual: Option<&[f32]>, out: &mut [f32]) -> TractResult<()> {
        dense.apply(x, residual.unwrap_or_default(), out);
        Ok(())
    }
}
