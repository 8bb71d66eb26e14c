//! Float activations times int8 weights: a quarter of the memory of float32 at its precision of activations. The weights
//! become floats in registers. NaN and infinities travel on as in any float product.

use super::Kernel;
use super::pack::{PANEL, check};
use super::vector::{fused, multiversion};

/// An int8 matrix in panels of 16 columns, row after row, with a scale and a bias per column.
#[derive(Clone, Default)]
pub struct Columns {
    depth: usize,
    columns: usize,
    bytes: Vec<i8>,
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl Columns {
    /// Packs `weight`, `[depth, columns]` row-major. `bias` empty means none.
    ///
    /// # Errors
    /// In words, when the shapes differ or a scale or bias cannot be right.
    pub fn new(weight: &[i8], depth: usize, columns: usize, scale: &[f32], bias: &[f32]) -> Result<Self, String> {
        check(weight, depth, columns, scale, bias)?;
        let padded = columns.div_ceil(PANEL) * PANEL;
        let mut bytes = vec![0; depth * padded];
        for (k, row) in weight.chunks_exact(columns).enumerate() {
            for (panel, values) in row.chunks(PANEL).enumerate() {
                bytes[(panel * depth + k) * PANEL..][..values.len()].copy_from_slice(values);
            }
        }
        let fill = |values: &[f32]| {
            let mut padding = vec![0f32; padded];
            padding[..values.len()].copy_from_slice(values);
            padding
        };
        Ok(Columns { depth, columns, bytes, scale: fill(scale), bias: fill(bias) })
    }

    /// Rows of the matrix.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows of `x`, `depth` floats each, times the columns from `first` (a multiple of 16) to `first + columns`; row `m`
    /// of the result begins at `out[m * stride]`.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub fn multiply(&self, kernel: Kernel, x: &[f32], first: usize, columns: usize, out: &mut [f32], stride: usize) {
        assert!(x.len().is_multiple_of(self.depth) && first.is_multiple_of(PANEL) && first + columns <= self.columns);
        assert!(stride >= columns && columns > 0);
        multiply(kernel, x, self, first, columns, out, stride);
    }
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Columns[{}, {}]", self.depth, self.columns)
    }
}

#[inline(always)]
fn block<const FUSED: bool, const ROWS: usize>(x: &[f32], depth: usize, panel: &[i8]) -> [[f32; PANEL]; ROWS] {
    let mut sums = [[0f32; PANEL]; ROWS];
    let rows: [&[f32]; ROWS] = std::array::from_fn(|m| &x[m * depth..][..depth]);
    for (k, w) in panel.chunks_exact(PANEL).take(depth).enumerate() {
        let mut column = [0f32; PANEL];
        for n in 0..PANEL {
            column[n] = f32::from(w[n]);
        }
        for m in 0..ROWS {
            let v = rows[m][k];
            for n in 0..PANEL {
                sums[m][n] = fused::<FUSED>(v, column[n], sums[m][n]);
            }
        }
    }
    sums
}

#[inline(always)]
fn multiply_body<const FUSED: bool>(
    x: &[f32],
    weights: &Columns,
    first: usize,
    columns: usize,
    out: &mut [f32],
    stride: usize,
) {
    const ROWS: usize = 4;
    let depth = weights.depth;
    let count = x.len() / depth;
    for at in (0..columns).step_by(PANEL) {
        let width = PANEL.min(columns - at);
        let column = first + at;
        let panel = &weights.bytes[column * depth..][..depth * PANEL];
        let mut write = |m: usize, sums: &[f32; PANEL]| {
            let out = &mut out[m * stride + at..][..width];
            let ends = weights.scale[column..].iter().zip(&weights.bias[column..]);
            for ((o, sum), (scale, bias)) in out.iter_mut().zip(sums).zip(ends) {
                *o = fused::<FUSED>(*sum, *scale, *bias);
            }
        };
        let mut m = 0;
        while m + ROWS <= count {
            let sums = block::<FUSED, ROWS>(&x[m * depth..], depth, panel);
            sums.iter().enumerate().for_each(|(i, sums)| write(m + i, sums));
            m += ROWS;
        }
        while m < count {
            write(m, &block::<FUSED, 1>(&x[m * depth..], depth, panel)[0]);
            m += 1;
        }
    }
}

multiversion! {
    fn multiply(x: &[f32], weights: &Columns, first: usize, columns: usize, out: &mut [f32], stride: usize)
        = multiply_body
}
