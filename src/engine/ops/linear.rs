//! `LookoutLinear(x[..., K], weight int8 [K, N], scale [N], bias [N], residual? [..., N])`: the attribute `activation` is
//! applied to `x W + b`, then the residual is added. `precision`: `int8` or `weights`.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::Operator;
use super::dense::{Dense, Precision};
use crate::kernels::Activation;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    activation: Activation,
    precision: Precision,
}

impl Operator for Linear {
    type Constants = Dense;
    const NAME: &'static str = "LookoutLinear";
    const CONSTANTS: &'static [&'static str] = &["weight", "scale", "bias"];
    const RESIDUAL: bool = true;

    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(Linear { activation: super::activation(node)?, precision: Precision::read(node)? })
    }

    fn shape(&self, x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(weight.len() == 2, "weight is {weight:?}; it must be [K, N]");
        let Some((channels, front)) = x.split_last() else { bail!("x is a scalar") };
        super::expect("channels of x", channels, &weight[0])?;
        let mut shape: TVec<TDim> = front.into();
        shape.push(weight[1].clone());
        Ok(shape)
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Dense> {
        Dense::load(constants, self.precision, self.activation)
    }

    fn run(&self, dense: &Dense, x: &[f32], _: &[usize], residual: Option<&[f32]>, out: &mut [f32]) -> TractResult<()> {
        dense.apply(x, residual.unwrap_or_default(), out);
        Ok(())
    }
}
