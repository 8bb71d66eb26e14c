//! Float activations times int8 weights: a quarter of the memory of float32 at its precision of activations. The weights
//! become floats in registers. NaN and infinities travel on as in any float product.

use std::mem::MaybeUninit;

use super::ending::Ending;
use super::lanes::{Lanes, multilanes};
use super::pack::{PANEL, check};
use super::{Finish, Kernel};

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

    /// The rows of `x` that `strides` describes times the columns from `first` (a multiple of 16) to `first + columns`,
    /// with what `finish` says; row `m` of the result begins at `out[m * stride]`.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    #[allow(clippy::too_many_arguments)]
    pub fn multiply(
        &self,
        kernel: Kernel,
        x: &[f32],
        strides: Strides,
        first: usize,
        columns: usize,
        finish: Finish,
        out: &mut [f32],
        stride: usize,
    ) {
        let Strides { rows, row, pieces, piece, length } = strides;
        if rows == 0 {
            return;
        }
        assert_eq!(pieces * length, self.depth, "depth of the activations and of the weights");
        assert!(x.len() >= (rows - 1) * row + (pieces - 1) * piece + length, "values of the rows");
        assert!(first.is_multiple_of(PANEL) && columns > 0 && first + columns <= self.columns, "columns");
        finish.check(rows, columns, out, stride);
        // SAFETY: the sizes were checked above, and `kernel` proves that the machine has the instructions.
        unsafe {
            #[cfg(target_arch = "aarch64")]
            if kernel.0 != super::Set::Plain && rows >= super::neon_float::ROWS && self.depth <= super::neon_float::DEEP
            {
                self.multiply_many(x, strides, first, columns, finish, out, stride);
                return finish.rest(kernel, rows, columns, out, stride);
            }
            multiply(kernel, self, x, strides, first, columns, finish, out, stride);
        }
        finish.rest(kernel, rows, columns, out, stride);
    }
}

#[cfg(target_arch = "aarch64")]
impl Columns {
    /// The same for rows of which there are enough to turn weights into floats first.
    #[allow(clippy::too_many_arguments)]
    unsafe fn multiply_many(
        &self,
        x: &[f32],
        strides: Strides,
        first: usize,
        columns: usize,
        finish: Finish,
        out: &mut [f32],
        stride: usize,
    ) {
        let ending = finish.ending(&self.scale[first..], &self.bias[first..], out, stride, columns);
        let mut panel = super::neon_float::Panel::uninit();
        for column in (0..columns).step_by(PANEL) {
            let weights = self.bytes[(first + column) * self.depth..].as_ptr();
            // SAFETY: the caller checked the sizes, and panels are padded to 16 columns.
            unsafe {
                let ending = ending.at_column(column);
                super::neon_float::Product { x: x.as_ptr(), strides, weights, ending }.run(&mut panel);
            }
        }
    }
}

/// Where rows of activations lie: row `m` is `pieces` runs of `length` floats, `piece` apart, the first at `m * row`. The
/// windows of a convolution are such rows, without being copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    /// Number of rows.
    pub rows: usize,
    /// Floats from the start of a row to the start of the next.
    pub row: usize,
    /// Runs in a row.
    pub pieces: usize,
    /// Floats from the start of a run to the start of the next.
    pub piece: usize,
    /// Floats in a run.
    pub length: usize,
}

impl Strides {
    /// `rows` rows of `depth` floats, one after another.
    pub fn dense(rows: usize, depth: usize) -> Self {
        Strides { rows, row: depth, pieces: 1, piece: 0, length: depth }
    }
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Columns[{}, {}]", self.depth, self.columns)
    }
}

/// One strip of columns, as registers of `V`.
struct Strip<'a> {
    weights: &'a Columns,
    strides: Strides,
    x: *const f32,
    /// The first column, of the matrix.
    column: usize,
    ending: Ending,
}

impl Strip<'_> {
    /// All rows of `WIDTH` registers of columns, `ROWS` at a time; the last block overlaps the one before it and writes the
    /// same values.
    #[inline(always)]
    unsafe fn rows<V: Lanes, const ROWS: usize, const WIDTH: usize>(&self) {
        let count = self.strides.rows;
        // SAFETY: a block stays below `count`.
        unsafe {
            if count >= ROWS {
                for m in (0..count).step_by(ROWS) {
                    self.block::<V, ROWS, WIDTH>(m.min(count - ROWS));
                }
            } else {
                for m in 0..count {
                    self.block::<V, 1, WIDTH>(m);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn block<V: Lanes, const ROWS: usize, const WIDTH: usize>(&self, m: usize) {
        let Strides { row, pieces, piece, length, .. } = self.strides;
        let depth = self.weights.depth;
        // SAFETY: the caller checked the rows of `x`, and panels are padded to 16 columns.
        unsafe {
            let mut sums = [[V::splat(0.0); WIDTH]; ROWS];
            let panels = self.weights.bytes.as_ptr().add(self.column * depth);
            for i in 0..pieces {
                let x = self.x.add(m * row + i * piece);
                let panels = panels.add(i * length * PANEL);
                for k in 0..length {
                    let w: [V; WIDTH] = std::array::from_fn(|v| {
                        let column = v * V::COUNT;
                        V::widen(panels.add(column / PANEL * depth * PANEL + k * PANEL + column % PANEL))
                    });
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = V::splat(*x.add(r * row + k));
                        for (sum, w) in sums.iter_mut().zip(&w) {
                            *sum = x.fused(*w, *sum);
                        }
                    }
                }
            }
            // A copy, so that the sums themselves can stay in registers until here.
            let mut done = MaybeUninit::<[[V; WIDTH]; ROWS]>::uninit();
            for (r, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    sum.store(done.as_mut_ptr().cast::<f32>().add((r * WIDTH + v) * V::COUNT));
                }
            }
            self.ending.at_row(m).write::<V, false>(done.as_ptr().cast(), ROWS, WIDTH * V::COUNT);
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn multiply_body<V: Lanes>(
    weights: &Columns,
    x: &[f32],
    strides: Strides,
    first: usize,
    columns: usize,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    let mut at = 0;
    while at < columns {
        let left = (columns - at).div_ceil(PANEL);
        let (scale, bias) = (&weights.scale[first..], &weights.bias[first..]);
        // SAFETY: a strip stays inside the whole panels of `columns`, and writes no more than `columns - at`.
        unsafe {
            let strip = Strip {
                weights,
                strides,
                x: x.as_ptr(),
                column: first + at,
                ending: finish.ending(scale, bias, out, stride, columns).at_column(at),
            };
            // As many sums as there are registers for.
            at += PANEL
                * match (V::COUNT, left) {
                    (16, 2 | 4 | 5) => {
                        strip.rows::<V, 12, 2>();
                        2
                    }
                    (16, 3..) => {
                        strip.rows::<V, 8, 3>();
                        3
                    }
                    (16, _) => {
                        strip.rows::<V, 12, 1>();
                        1
                    }
                    (8, _) => {
                        strip.rows::<V, 6, 2>();
                        1
                    }
                    _ => {
                        strip.rows::<V, 4, 4>();
                        1
                    }
                };
        }
    }
}

multilanes! {
    unsafe fn multiply(
        weights: &Columns,
        x: &[f32],
        strides: Strides,
        first: usize,
        columns: usize,
        finish: Finish,
        out: &mut [f32],
        stride: usize,
    ) = multiply_body
}
