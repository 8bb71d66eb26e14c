//! `LookoutLayerNorm(x[..., D], gamma [D], beta [D])`, attribute `epsilon` (1e-5).

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::Operator;
use crate::engine::threads;
use crate::kernels::{self, Kernel};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct LayerNorm {
    epsilon: f32,
}

impl Operator for LayerNorm {
    type Constants = [Vec<f32>; 2];
    const NAME: &'static str = "LookoutLayerNorm";
    const CONSTANTS: &'static [&'static str] = &["gamma", "beta"];

    fn read(node: &NodeProto) -> TractResult<Self> {
        let epsilon = node.get_attr_opt::<f32>("epsilon")?.unwrap_or(1e-5);
        ensure!(
            epsilon.is_finite() && epsilon >= 0.0,
            "attribute epsilon is {epsilon}; it must be finite, not negative"
        );
        Ok(LayerNorm { epsilon })
    }

    fn shape(&self, x: &[TDim], gamma: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(gamma.len() == 1, "gamma is {gamma:?}; it must be [D]");
        let Some(channels) = x.last() else { bail!("x is a scalar") };
        super::expect("channels of x", channels, &gamma[0])?;
        Ok(x.into())
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<[Vec<f32>; 2]> {
        let gamma = super::values::<f32>("gamma", &constants[0], 1)?;
        let beta = super::values::<f32>("beta", &constants[1], 1)?;
        ensure!(!gamma.is_empty(), "gamma is empty");
        ensure!(gamma.len() == beta.len(), "gamma has {} values, beta {}", gamma.len(), beta.len());
        ensure!(gamma.iter().chain(beta).all(|v| v.is_finite()), "gamma or beta is not finite");
        Ok([gamma.to_vec(), beta.to_vec()])
    }

    fn run(
        &self,
        [gamma, beta]: &[Vec<f32>; 2],
        x: &[f32],
        _: &[usize],
        _: Option<&[f32]>,
        out: &mut [f32],
    ) -> TractResult<()> {
        let width = gamma.len();
        let kernel = Kernel::chosen();
        threads::split(out, width, 8, x.len() * 4, |first, out| {
            kernels::layer_norm(kernel, &x[first * width..][..out.len()], gamma, beta, self.epsilon, out);
        });
        Ok(())
    }
}
