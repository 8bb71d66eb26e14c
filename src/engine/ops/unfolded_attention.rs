//! `LookoutStaticKeyAttentionUnfolded(x[B, T, 2 D], keys int8 [heads, dh, keys], scale [heads, keys])`: `x` is the query and
//! the value side by side, and `scale` includes `1 / sqrt(dh)`. Output `[B, T, D]`, `T <= keys`.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::Operator;
use super::sequence::{Reach, Sequence};
use crate::kernels::{Kernel, PANEL, Packed};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unfolded {
    heads: usize,
    keys: usize,
}

impl Operator for Unfolded {
    type Constants = Vec<Packed>;
    const NAME: &'static str = "LookoutStaticKeyAttentionUnfolded";
    const CONSTANTS: &'static [&'static str] = &["keys", "scale"];

    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(Unfolded { heads: super::count(node, "heads", 1024)?, keys: super::count(node, "keys", 1 << 16)? })
    }

    fn shape(&self, x: &[TDim], keys: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(x.len() == 3, "x is {x:?}; it must be [batch, tokens, channels]");
        ensure!(keys.len() == 3, "keys is {keys:?}; it must be [heads, head width, keys]");
        if let Ok(tokens) = x[1].to_usize() {
            ensure!(tokens <= self.keys, "{tokens} tokens for {} keys", self.keys);
        }
        let width = keys[1].clone() * self.heads;
        super::expect("channels of x", &x[2], &(width.clone() * 2))?;
        Ok(tvec!(x[0].clone(), x[1].clone(), width))
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Vec<Packed>> {
        let keys = super::values::<i8>("keys", &constants[0], 3)?;
        let scale = super::values::<f32>("scale", &constants[1], 2)?;
        let shape = constants[0].shape();
        let wanted = [self.heads, self.keys];
        ensure!([shape[0], shape[2]] == wanted, "keys is {shape:?}; the attributes say {wanted:?}");
        ensure!(constants[1].shape() == wanted, "scale is {:?}, not {wanted:?}", constants[1].shape());
        ensure!(shape[1] > 0, "keys is {shape:?}");
        let heads = keys.chunks_exact(shape[1] * shape[2]).zip(scale.chunks_exact(self.keys));
        heads.map(|(keys, scale)| Packed::new(keys, shape[1], self.keys, scale, &[]).map_err(TractError::msg)).collect()
    }

    fn run(
        &self,
        keys: &Vec<Packed>,
        x: &[f32],
        shape: &[usize],
        _: Option<&[f32]>,
        out: &mut [f32],
    ) -> TractResult<()> {
        let (tokens, stride) = (shape[1], shape[2]);
        if x.is_empty() {
            return Ok(());
        }
        let kernel = Kernel::chosen();
        let width = stride / 2;
        let panels = tokens.div_ceil(PANEL);
        for (x, out) in x.chunks_exact(tokens * stride).zip(out.chunks_exact_mut(tokens * width)) {
            let sequence = Sequence { x, stride, values: width, heads: self.heads, reach: Reach::All };
            sequence.attend(out, self.keys, |scratch, head, first, rows| {
                Some(sequence.multiply_queries(scratch, kernel, &keys[head], head, first, rows, panels))
            });
        }
        Ok(())
    }
}
