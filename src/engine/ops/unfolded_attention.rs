//! Static keys that stay apart from the projection before them: where folding both into one matrix costs more than it saves.
//!
//! `LookoutStaticKeyAttentionUnfolded(x[B, T, 2 D], keys int8 [heads, dh, keys], scale [heads, keys])`: `x` is the query and
//! the value side by side, and `scale` includes `1 / sqrt(dh)`. Output `[B, T, D]`, `T <= keys`.
//!
//! `LookoutStaticKeyAttentionUnprojected(x[B, T, D], keys, scale, query[B, T, D])`: `x` is the value, and the tokens
//! themselves are the query, as in the ImageNet models of the authors' code (zizhao-hu/SKA). Output `[B, T, D]`, `T <= keys`.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::sequence::{Reach, Sequence};
use super::{Companion, Operator};
use crate::kernels::{Kernel, PANEL, Packed};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unfolded(Keys);

impl Operator for Unfolded {
    type Constants = Vec<Packed>;
    const NAME: &'static str = "LookoutStaticKeyAttentionUnfolded";
    const CONSTANTS: &'static [&'static str] = &["keys", "scale"];

    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(Unfolded(Keys::read(node)?))
    }

    fn shape(&self, x: &[TDim], keys: &[TDim]) -> TractResult<TVec<TDim>> {
        self.0.shape(x, keys, 2)
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Vec<Packed>> {
        self.0.load(constants)
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
        let width = stride / 2;
        for (x, out) in x.chunks_exact(tokens * stride).zip(out.chunks_exact_mut(tokens * width)) {
            self.0.attend(keys, Sequence { x, stride, values: width, queries: None, ..self.0.sequence() }, tokens, out);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unprojected(Keys);

impl Operator for Unprojected {
    type Constants = Vec<Packed>;
    const NAME: &'static str = "LookoutStaticKeyAttentionUnprojected";
    const CONSTANTS: &'static [&'static str] = &["keys", "scale"];
    const COMPANION: Companion = Companion::Required;

    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(Unprojected(Keys::read(node)?))
    }

    fn shape(&self, x: &[TDim], keys: &[TDim]) -> TractResult<TVec<TDim>> {
        self.0.shape(x, keys, 1)
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Vec<Packed>> {
        self.0.load(constants)
    }

    fn run(
        &self,
        keys: &Vec<Packed>,
        x: &[f32],
        shape: &[usize],
        query: Option<&[f32]>,
        out: &mut [f32],
    ) -> TractResult<()> {
        let (tokens, width) = (shape[1], shape[2]);
        if x.is_empty() {
            return Ok(());
        }
        let query = query.context("the query is missing")?;
        let whole = tokens * width;
        for ((x, query), out) in x.chunks_exact(whole).zip(query.chunks_exact(whole)).zip(out.chunks_exact_mut(whole)) {
            let queries = Some((query, width));
            self.0.attend(keys, Sequence { x, stride: width, values: 0, queries, ..self.0.sequence() }, tokens, out);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Keys {
    heads: usize,
    keys: usize,
}

impl Keys {
    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(Keys { heads: super::count(node, "heads", 1024)?, keys: super::count(node, "keys", 1 << 16)? })
    }

    /// For an `x` of `parts` times the width.
    fn shape(&self, x: &[TDim], keys: &[TDim], parts: usize) -> TractResult<TVec<TDim>> {
        ensure!(x.len() == 3, "x is {x:?}; it must be [batch, tokens, channels]");
        ensure!(keys.len() == 3, "keys is {keys:?}; it must be [heads, head width, keys]");
        if let Ok(tokens) = x[1].to_usize() {
            ensure!(tokens <= self.keys, "{tokens} tokens for {} keys", self.keys);
        }
        let width = keys[1].clone() * self.heads;
        super::expect("channels of x", &x[2], &(width.clone() * parts))?;
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

    /// Where nothing else is said.
    fn sequence(&self) -> Sequence<'static> {
        Sequence { x: &[], stride: 0, values: 0, queries: None, heads: self.heads, reach: Reach::All }
    }

    fn attend(&self, keys: &[Packed], sequence: Sequence, tokens: usize, out: &mut [f32]) {
        let kernel = Kernel::chosen();
        let panels = tokens.div_ceil(PANEL);
        sequence.attend(out, self.keys, |scratch, head, first, rows| {
            Some(sequence.multiply_queries(scratch, kernel, &keys[head], head, first, rows, panels))
        });
    }
}
