//! `LookoutAttention(x[B, T, 3 D])`: `x` is query, key and value side by side. Attributes: `heads`; `scale` of the logits
//! (`1 / sqrt(D / heads)`); `causal` (0), where 1 hides later tokens. Output `[B, T, D]`. Source: Vaswani et al., "Attention
//! Is All You Need", arXiv 1706.03762.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::sequence::{Reach, Sequence};
use super::{Operator, scratch};
use crate::engine::threads;
use crate::kernels::{Kernel, PANEL};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attention {
    heads: usize,
    scale: Option<f32>,
    reach: Reach,
}

impl Operator for Attention {
    type Constants = ();
    const NAME: &'static str = "LookoutAttention";
    const CONSTANTS: &'static [&'static str] = &[];

    fn read(node: &NodeProto) -> TractResult<Self> {
        let scale = node.get_attr_opt::<f32>("scale")?;
        if let Some(scale) = scale {
            ensure!(scale.is_finite() && scale > 0.0, "attribute scale is {scale}; it must be finite and above 0");
        }
        let reach = match node.get_attr_opt::<i64>("causal")?.unwrap_or(0) {
            0 => Reach::All,
            1 => Reach::Causal,
            other => bail!("attribute causal is {other}; it must be 0 or 1"),
        };
        Ok(Attention { heads: super::count(node, "heads", 1024)?, scale, reach })
    }

    fn shape(&self, x: &[TDim], _: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(x.len() == 3, "x is {x:?}; it must be [batch, tokens, channels]");
        if let Ok(channels) = x[2].to_usize() {
            let sound = channels > 0 && channels.is_multiple_of(3 * self.heads);
            ensure!(sound, "{channels} channels are not query, key and value for {} heads", self.heads);
        }
        Ok(tvec!(x[0].clone(), x[1].clone(), x[2].clone() / 3))
    }

    fn load(&self, _: &[Arc<Tensor>]) -> TractResult<()> {
        Ok(())
    }

    fn run(&self, _: &(), x: &[f32], shape: &[usize], _: Option<&[f32]>, out: &mut [f32]) -> TractResult<()> {
        let (tokens, stride) = (shape[1], shape[2]);
        if x.is_empty() {
            return Ok(());
        }
        let kernel = Kernel::chosen();
        let width = stride / 3;
        let head_width = width / self.heads;
        let scale = self.scale.unwrap_or_else(|| 1.0 / (head_width as f32).sqrt());
        let mut keys = scratch::with(|scratch| std::mem::take(&mut scratch.keys));
        keys.resize_with(self.heads.max(keys.len()), Default::default);
        for (x, out) in x.chunks_exact(tokens * stride).zip(out.chunks_exact_mut(tokens * width)) {
            threads::each(&mut keys[..self.heads], tokens * width * 16, |head, packed| {
                let x = &x[width + head * head_width..];
                scratch::with(|scratch| {
                    packed.repack_transposed(kernel, x, stride, head_width, tokens, scale, &mut scratch.rows);
                });
            });
            let sequence =
                Sequence { x, stride, values: 2 * width, queries: None, heads: self.heads, reach: self.reach };
            sequence.attend(out, 0, |scratch, head, first, rows| {
                let seen = self.reach.seen(first + rows - 1, tokens);
                Some(sequence.multiply_queries(scratch, kernel, &keys[head], head, first, rows, seen.div_ceil(PANEL)))
            });
        }
        scratch::with(|scratch| scratch.keys = keys);
        Ok(())
    }
}
