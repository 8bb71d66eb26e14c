//! Attention as others write it, `softmax(scale q k^T + mask) v` with any number of heads: queries, keys and values are
//! rounded to int8, one scale for each token and head (for the values, one for each channel of a head), weights to the
//! kernel's largest byte. The axes may lie in any order, as the products around the softmax had them.

use tract_onnx::tract_hir::internal::*;

use super::scratch;
use crate::engine::threads;
use crate::kernels::{Finish, Kernel, add, softmax_to_bytes};

/// Where an axis lies in each tensor that has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::engine) struct Batch {
    pub(in crate::engine) q: usize,
    pub(in crate::engine) k: usize,
    pub(in crate::engine) v: usize,
    pub(in crate::engine) mask: usize,
    pub(in crate::engine) out: usize,
}

/// The operator; its inputs are q, k, v and, if there is one, the mask. Axes that are not named here are 1.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine) struct Attend {
    pub(in crate::engine) scale: f32,
    pub(in crate::engine) masked: bool,
    /// Rank of the output.
    pub(in crate::engine) rank: usize,
    /// Axes that all tensors share: batch and heads.
    pub(in crate::engine) batch: Vec<Batch>,
    /// The tokens that ask: axis in q, mask, out.
    pub(in crate::engine) queries: [usize; 3],
    /// The tokens that are asked: axis in k, v, mask.
    pub(in crate::engine) keys: [usize; 3],
    /// What is multiplied: axis in q, k.
    pub(in crate::engine) depth: [usize; 2],
    /// Channels of a head: axis in v, out.
    pub(in crate::engine) width: [usize; 2],
}

impl Eq for Attend {}

impl Op for Attend {
    fn name(&self) -> StaticName {
        "LookoutAttention".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Attend {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shapes: TVec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
        let plain = inputs.iter().map(|input| input.try_as_plain_ram()).collect::<TractResult<TVec<_>>>()?;
        let data = plain.iter().map(|input| input.as_slice::<f32>()).collect::<TractResult<TVec<_>>>()?;
        let mut out = Tensor::zero::<f32>(&self.output(&shapes))?;
        let shape: TVec<usize> = out.shape().into();
        self.run(&data, &shapes, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?, &shape)?;
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for Attend {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == 3 + usize::from(self.masked), "attention with {} inputs", inputs.len());
        ensure!(inputs.iter().all(|fact| fact.datum_type == f32::datum_type()), "attention takes float32");
        let shapes: TVec<TVec<TDim>> = inputs.iter().map(|fact| fact.shape.to_tvec()).collect();
        Ok(tvec!(f32::fact(self.output(&shapes.iter().map(|s| s.as_slice()).collect::<TVec<_>>()))))
    }
    as_op!();
}

impl Attend {
    fn output<D: Clone + From<usize>>(&self, shapes: &[&[D]]) -> TVec<D> {
        let mut out: TVec<D> = std::iter::repeat_n(D::from(1), self.rank).collect();
        for axis in &self.batch {
            out[axis.out] = shapes[0][axis.q].clone();
        }
        out[self.queries[2]] = shapes[0][self.queries[0]].clone();
        out[self.width[1]] = shapes[2][self.width[0]].clone();
        out
    }

    /// Fills `out` from inputs of these shapes.
    pub(in crate::engine) fn run(
        &self,
        data: &[&[f32]],
        shapes: &[&[usize]],
        out: &mut [f32],
        out_shape: &[usize],
    ) -> TractResult<()> {
        let [q, k, v] = [shapes[0], shapes[1], shapes[2]];
        let queries = q[self.queries[0]];
        let keys = k[self.keys[0]];
        let depth = q[self.depth[0]];
        let width = v[self.width[0]];
        let alike = v[self.keys[1]] == keys
            && k[self.depth[1]] == depth
            && self.batch.iter().all(|axis| q[axis.q] == k[axis.k] && q[axis.q] == v[axis.v]);
        ensure!(alike, "attention over q {q:?}, k {k:?} and v {v:?}");
        ensure!(keys.max(depth) <= 1 << 16, "attention over {keys} tokens of {depth}; at most 65536 can be summed");
        let strides: TVec<TVec<usize>> = shapes.iter().map(|shape| strides(shape)).collect();
        let out_strides = self::strides(out_shape);
        let mask = match shapes.get(3) {
            None => None,
            Some(shape) => {
                let wanted = (self.batch.iter().map(|axis| (axis.mask, q[axis.q])))
                    .chain([(self.queries[1], queries), (self.keys[2], keys)]);
                for (axis, size) in wanted {
                    ensure!(shape[axis] == 1 || shape[axis] == size, "a mask {shape:?} for q {q:?} and k {k:?}");
                }
                // An axis of 1 stands still.
                let still: TVec<usize> = strides[3].iter().zip(*shape).map(|(s, d)| s * usize::from(*d > 1)).collect();
                Some((data[3], still))
            }
        };
        let heads: usize = self.batch.iter().map(|axis| q[axis.q]).product();
        if heads * queries * keys * depth * width == 0 {
            return Ok(());
        }
        let head = |number: usize| -> Head {
            let mut left = number;
            let mut at = [0; 5];
            for axis in self.batch.iter().rev() {
                let ix = left % q[axis.q];
                left /= q[axis.q];
                at[0] += ix * strides[0][axis.q];
                at[1] += ix * strides[1][axis.k];
                at[2] += ix * strides[2][axis.v];
                at[3] += mask.as_ref().map_or(0, |(_, strides)| ix * strides[axis.mask]);
                at[4] += ix * out_strides[axis.out];
            }
            let grid = |of: usize, rows: usize, columns: usize| Grid {
                x: &data[of][at[of]..],
                strides: [strides[of][rows], strides[of][columns]],
            };
            Head {
                q: grid(0, self.queries[0], self.depth[0]),
                k: grid(1, self.keys[0], self.depth[1]),
                v: grid(2, self.keys[1], self.width[0]),
                mask: mask
                    .as_ref()
                    .map(|(x, s)| Grid { x: &x[at[3]..], strides: [s[self.queries[1]], s[self.keys[2]]] }),
                out: at[4],
            }
        };
        let sizes = Sizes { queries, keys, depth, width, scale: self.scale };
        let mut whole = scratch::with(|scratch| std::mem::take(&mut scratch.patches));
        whole.resize(heads * queries * width, 0.0);
        threads::split(&mut whole, queries * width, 1, heads * queries * keys * (depth + width), |first, out| {
            scratch::with(|scratch| {
                for (i, out) in out.chunks_exact_mut(queries * width).enumerate() {
                    head(first + i).attend(sizes, scratch, out);
                }
            });
        });
        let [down, across] = [out_strides[self.queries[2]], out_strides[self.width[1]]];
        for (number, values) in whole.chunks_exact(queries * width).enumerate() {
            let start = head(number).out;
            for (token, row) in values.chunks_exact(width).enumerate() {
                let at = start + token * down;
                if across == 1 {
                    out[at..at + width].copy_from_slice(row);
                } else {
                    row.iter().enumerate().for_each(|(i, value)| out[at + i * across] = *value);
                }
            }
        }
        scratch::with(|scratch| scratch.patches = whole);
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    queries: usize,
    keys: usize,
    depth: usize,
    width: usize,
    scale: f32,
}

/// A matrix inside a tensor.
#[derive(Clone, Copy)]
struct Grid<'a> {
    x: &'a [f32],
    strides: [usize; 2],
}

impl Grid<'_> {
    fn at(&self, row: usize, column: usize) -> f32 {
        self.x[row * self.strides[0] + column * self.strides[1]]
    }

    /// Row after row, tightly.
    fn copy(&self, rows: usize, columns: usize, out: &mut Vec<f32>) {
        out.clear();
        for row in 0..rows {
            if self.strides[1] == 1 {
                out.extend_from_slice(&self.x[row * self.strides[0]..][..columns]);
            } else {
                out.extend((0..columns).map(|column| self.at(row, column)));
            }
        }
    }

    /// The rows where they lie, or copied where their values lie apart; and how far apart rows are.
    fn rows<'a>(&'a self, rows: usize, columns: usize, copy: &'a mut Vec<f32>) -> (&'a [f32], usize) {
        if self.strides[1] == 1 && self.strides[0] >= columns {
            return (self.x, self.strides[0]);
        }
        self.copy(rows, columns, copy);
        (copy, columns)
    }
}

struct Head<'a> {
    q: Grid<'a>,
    k: Grid<'a>,
    v: Grid<'a>,
    mask: Option<Grid<'a>>,
    /// Where the head begins in the output.
    out: usize,
}

impl Head<'_> {
    /// Fills `out`, `[queries, width]`.
    fn attend(&self, sizes: Sizes, scratch: &mut scratch::Scratch, out: &mut [f32]) {
        let Sizes { queries, keys, depth, width, scale } = sizes;
        let kernel = Kernel::chosen();
        let scratch::Scratch { rows, queries: copy, logits, packed, .. } = scratch;
        let (x, stride) = self.k.rows(keys, depth, copy);
        packed.repack_transposed(kernel, x, stride, depth, keys, scale, rows);
        self.q.copy(queries, depth, copy);
        rows.quantise(kernel, copy, depth);
        logits.resize(queries * keys, 0.0);
        kernel.multiply(rows.view(), packed, 0..packed.panels(), Finish::NONE, logits, keys);
        if let Some(mask) = self.mask {
            for (token, logits) in logits.chunks_exact_mut(keys).enumerate() {
                if mask.strides[1] == 1 {
                    add(kernel, logits, &mask.x[token * mask.strides[0]..][..keys]);
                } else {
                    logits.iter_mut().enumerate().for_each(|(i, logit)| *logit += mask.at(token, i));
                }
            }
        }
        let (x, stride) = self.v.rows(keys, width, copy);
        packed.repack(kernel, x, stride, keys, width);
        rows.fill(queries, keys, |row, bytes| {
            softmax_to_bytes(kernel, &logits[row * keys..][..keys], kernel.positive_max(), bytes)
        });
        kernel.multiply(rows.view(), packed, 0..packed.panels(), Finish::NONE, out, width);
    }
}

/// Row-major.
fn strides(shape: &[usize]) -> TVec<usize> {
    let mut strides: TVec<usize> = tvec!(1; shape.len());
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}
