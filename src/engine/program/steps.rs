//! What a step can do. All arrays are row-major float32; strides are in floats, 0 where an axis is repeated.

use tract_onnx::tract_hir::internal::*;

use super::Operands;
use crate::engine::ops::{Native, attend::Attend};
use crate::kernels::{Activation, Axis, Kernel, Product, activate, product, softmax};

/// Most axes of a [`Work::Copy`] or [`Work::Binary`].
pub(super) const RANK: usize = 8;

#[derive(Debug)]
pub(super) enum Work {
    /// An operator of `ops` on an `x` of this shape.
    Ours { operator: Box<dyn Native>, shape: Vec<usize> },
    /// Attention over tensors of these shapes.
    Attend { operator: Attend, shapes: Vec<Vec<usize>>, out: Vec<usize> },
    /// A slice, a transposition or a repetition.
    Copy { from: View, dims: Vec<usize> },
    /// Element by element, with axes of size 1 repeated.
    Binary { kind: Binary, views: [View; 2], dims: Vec<usize> },
    /// Element by element.
    Unary(Unary),
    /// `[n, length, inner]` to `[n, inner]`.
    Sum { length: usize, inner: usize },
    /// Runs of these lengths, one of each input in turn.
    Concat(Vec<usize>),
    /// Over the last axis, of this many floats.
    Softmax(usize),
    /// A product for each step of the outer axes; `swapped` takes the second input as `a`.
    Products { outer: Vec<Axis>, shape: Product, swapped: bool },
    /// Rows of a table `[rows, width]` of int8 or float32 by ids.
    Rows { table: Arc<Tensor>, rows: usize, width: usize },
}

/// How an array is walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) strides: Vec<usize>,
    pub(super) offset: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Sigmoid,
    Reciprocal,
    /// `x (1 + erf(x / sqrt 2)) / 2`
    Gelu,
}

impl Work {
    pub(super) fn run(&self, operands: &Operands, out: &mut [f32]) -> TractResult<()> {
        match self {
            Work::Ours { operator, shape } => {
                let companion = (operands.count() > 1).then(|| operands.floats(1)).transpose()?;
                operator.run_into(operands.floats(0)?, shape, companion, out)?;
            }
            Work::Attend { operator, shapes, out: shape } => {
                let data = (0..shapes.len()).map(|ix| operands.floats(ix)).collect::<TractResult<TVec<_>>>()?;
                operator.run(&data, &shapes.iter().map(Vec::as_slice).collect::<TVec<_>>(), out, shape)?;
            }
            Work::Copy { from, dims } => copy(operands.floats(0)?, from, dims, out),
            Work::Binary { kind, views, dims } => {
                let (a, b) = (operands.floats(0)?, operands.floats(1)?);
                match kind {
                    Binary::Add => combine(a, b, views, dims, out, |a, b| a + b),
                    Binary::Subtract => combine(a, b, views, dims, out, |a, b| a - b),
                    Binary::Multiply => combine(a, b, views, dims, out, |a, b| a * b),
                }
            }
            Work::Unary(kind) => {
                out.copy_from_slice(operands.floats(0)?);
                match kind {
                    Unary::Sigmoid => out.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
                    Unary::Reciprocal => out.iter_mut().for_each(|x| *x = 1.0 / *x),
                    Unary::Gelu => activate(Kernel::chosen(), out, Activation::Gelu),
                }
            }
            Work::Sum { length, inner } => {
                let x = operands.floats(0)?;
                for (x, out) in x.chunks_exact(length * inner).zip(out.chunks_exact_mut(*inner)) {
                    out.fill(0.0);
                    for row in x.chunks_exact(*inner) {
                        out.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                    }
                }
            }
            Work::Concat(lengths) => {
                let whole: usize = lengths.iter().sum();
                let mut first = 0;
                for (ix, length) in lengths.iter().enumerate() {
                    let runs = operands.floats(ix)?.chunks_exact(*length);
                    for (out, run) in out.chunks_exact_mut(whole).zip(runs) {
                        out[first..first + length].copy_from_slice(run);
                    }
                    first += length;
                }
            }
            Work::Softmax(width) => {
                out.copy_from_slice(operands.floats(0)?);
                softmax(Kernel::chosen(), out, *width);
            }
            Work::Products { outer, shape, swapped } => {
                let (mut a, mut b) = (operands.floats(0)?, operands.floats(1)?);
                if *swapped {
                    (a, b) = (b, a);
                }
                products(Kernel::chosen(), a, b, outer, shape, out);
            }
            Work::Rows { table, rows, width } => {
                let ids = operands.ids(0)?;
                for (id, out) in ids.iter().zip(out.chunks_exact_mut(*width)) {
                    let row = usize::try_from(*id).ok().filter(|row| row < rows);
                    let Some(row) = row else { bail!("id {id} is outside a table of {rows} rows") };
                    let place = row * width..(row + 1) * width;
                    let plain = table.try_as_plain_ram()?;
                    if table.datum_type() == i8::datum_type() {
                        let bytes = &plain.as_slice::<i8>()?[place];
                        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = f32::from(*byte));
                    } else {
                        out.copy_from_slice(&plain.as_slice::<f32>()?[place]);
                    }
                }
            }
        }
        Ok(())
    }
}

fn products(kernel: Kernel, a: &[f32], b: &[f32], outer: &[Axis], shape: &Product, out: &mut [f32]) {
    let Some((axis, inner)) = outer.split_first() else { return product(kernel, a, b, shape, out) };
    for i in 0..axis.size {
        let [at_a, at_b, at] = axis.strides.map(|stride| i * stride);
        products(kernel, &a[at_a.min(a.len())..], &b[at_b.min(b.len())..], inner, shape, &mut out[at..]);
    }
}

/// Calls `line` with the offsets of each innermost line, in order.
fn lines<const N: usize>(dims: &[usize], views: [&View; N], mut line: impl FnMut([usize; N])) {
    let Some((_, outer)) = dims.split_last() else { return line(views.map(|v| v.offset)) };
    let mut at = [0usize; RANK];
    let mut offsets = views.map(|v| v.offset);
    loop {
        line(offsets);
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            at[axis] += 1;
            if at[axis] < outer[axis] {
                std::iter::zip(&mut offsets, views).for_each(|(offset, v)| *offset += v.strides[axis]);
                break;
            }
            at[axis] = 0;
            let back = outer[axis] - 1;
            std::iter::zip(&mut offsets, views).for_each(|(offset, v)| *offset -= v.strides[axis] * back);
        }
    }
}

fn copy(x: &[f32], from: &View, dims: &[usize], out: &mut [f32]) {
    let Some(length) = dims.last().copied() else { return out.copy_from_slice(&x[from.offset..=from.offset]) };
    let step = from.strides[dims.len() - 1];
    let mut outs = out.chunks_exact_mut(length);
    lines(dims, [from], |[at]| {
        let Some(out) = outs.next() else { return };
        match step {
            1 => out.copy_from_slice(&x[at..at + length]),
            0 => out.fill(x[at]),
            _ => out.iter_mut().zip(x[at..].iter().step_by(step)).for_each(|(out, x)| *out = *x),
        }
    });
}

fn combine(a: &[f32], b: &[f32], views: &[View; 2], dims: &[usize], out: &mut [f32], with: impl Fn(f32, f32) -> f32) {
    let length = dims.last().copied().unwrap_or(1);
    let [p, q] = [0, 1].map(|side| views[side].strides.last().copied().unwrap_or(1));
    let mut outs = out.chunks_exact_mut(length);
    lines(dims, [&views[0], &views[1]], |[i, j]| {
        let Some(out) = outs.next() else { return };
        match (p, q) {
            (1, 1) => {
                let both = a[i..i + length].iter().zip(&b[j..j + length]);
                out.iter_mut().zip(both).for_each(|(out, (a, b))| *out = with(*a, *b));
            }
            (1, 0) => out.iter_mut().zip(&a[i..i + length]).for_each(|(out, a)| *out = with(*a, b[j])),
            (0, 1) => out.iter_mut().zip(&b[j..j + length]).for_each(|(out, b)| *out = with(a[i], *b)),
            _ => out.iter_mut().enumerate().for_each(|(n, out)| *out = with(a[i + n * p], b[j + n * q])),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_visit_every_offset_in_order() {
        let view = View { strides: vec![1, 6, 2], offset: 5 };
        let mut seen = Vec::new();
        lines(&[2, 3, 4], [&view], |[at]| seen.push(at));
        assert_eq!(seen, [5, 11, 17, 6, 12, 18]);
        let mut once = 0;
        lines(&[], [&View { strides: vec![], offset: 0 }], |_: [usize; 1]| once += 1);
        assert_eq!(once, 1);
    }

    #[test]
    fn copies_transpose_slice_and_repeat() {
        let x: Vec<f32> = (0..6).map(|v| v as f32).collect();
        let run = |strides: &[usize], offset, dims: &[usize]| {
            let mut out = vec![f32::NAN; dims.iter().product()];
            copy(&x, &View { strides: strides.into(), offset }, dims, &mut out);
            out
        };
        assert_eq!(run(&[1, 3], 0, &[3, 2]), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(run(&[3, 1], 1, &[2, 2]), [1., 2., 4., 5.]);
        assert_eq!(run(&[3, 0, 1], 0, &[2, 2, 3]), [0., 1., 2., 0., 1., 2., 3., 4., 5., 3., 4., 5.]);
        assert_eq!(run(&[3, 0], 0, &[2, 2]), [0., 0., 3., 3.]);
    }

    #[test]
    fn binaries_repeat_axes_of_size_one() {
        let (a, b) = ([1f32, 2., 3., 4., 5., 6.], [10f32, 20.]);
        let views = [View { strides: vec![3, 1], offset: 0 }, View { strides: vec![1, 0], offset: 0 }];
        let mut out = [0f32; 6];
        combine(&a, &b, &views, &[2, 3], &mut out, |a, b| b - a);
        assert_eq!(out, [9., 8., 7., 16., 15., 14.]);
    }
}
