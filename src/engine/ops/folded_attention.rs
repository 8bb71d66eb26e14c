//! `LookoutStaticKeyAttention(x[B, T, heads keys + D])`: the keys are folded into the projection before it, so the first
//! `heads keys` channels are the logits and the last `D` the values. Output `[B, T, D]`, `T <= keys`.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::Operator;
use super::sequence::{Reach, Sequence};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Folded {
    heads: usize,
    keys: usize,
}

impl Operator for Folded {
    type Constants = ();
    const NAME: &'static str = "LookoutStaticKeyAttention";
    const CONSTANTS: &'static [&'static str] = &[];

    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(Folded { heads: super::count(node, "heads", 1024)?, keys: super::count(node, "keys", 1 << 16)? })
    }

    fn shape(&self, x: &[TDim], _: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(x.len() == 3, "x is {x:?}; it must be [batch, tokens, channels]");
        if let Ok(tokens) = x[1].to_usize() {
            ensure!(tokens <= self.keys, "{tokens} tokens for {} keys", self.keys);
        }
        let logits = self.heads * self.keys;
        let width = x[2].clone() - logits;
        if let Ok(width) = width.to_i64() {
            let sound = width > 0 && width % self.heads as i64 == 0;
            ensure!(sound, "{} channels do not hold {logits} logits and values for {} heads", x[2], self.heads);
        }
        Ok(tvec!(x[0].clone(), x[1].clone(), width))
    }

    fn load(&self, _: &[Arc<Tensor>]) -> TractResult<()> {
        Ok(())
    }

    fn run(&self, _: &(), x: &[f32], shape: &[usize], _: Option<&[f32]>, out: &mut [f32]) -> TractResult<()> {
        let (tokens, stride) = (shape[1], shape[2]);
        if x.is_empty() {
            return Ok(());
        }
        let values = self.heads * self.keys;
        for (x, out) in x.chunks_exact(tokens * stride).zip(out.chunks_exact_mut(tokens * (stride - values))) {
            let sequence = Sequence { x, stride, values, queries: None, heads: self.heads, reach: Reach::All };
            sequence.attend(out, self.keys, |_, _, _, _| None);
        }
        Ok(())
    }
}
