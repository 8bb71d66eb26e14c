//! Float activations times int8 weights: a quarter of the memory of float32 at its precision of activations. The weights
//! become floats in registers. NaN and infinities travel on as in any float product.

use std::mem::MaybeUninit;

use super::ending::Ending;
use super::lanes::{Lanes, multilanes};
#[cfg(target_arch = "aarch64")]
use super::neon_float;
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
        let rows = strides.rows;
        if rows == 0 {
            return;
        }
        self.check(x, strides);
        assert!(first.is_multiple_of(PANEL) && columns > 0 && first + columns <= self.columns, "columns");
        finish.check(rows, columns, out, stride);
        let ending = finish.ending(&self.scale[first..], &self.bias[first..], out, stride, columns);
        // SAFETY: the sizes were checked above, and `kernel` proves that the machine has the instructions.
        unsafe { self.multiply_into(kernel, x, strides, first, columns, ending) };
        finish.rest(kernel, rows, columns, out, stride);
    }

    /// The rows of `x` that `strides` describes times all columns, as levels; row `m` of the result begins at
    /// `out[m * stride]` and has whole panels.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub fn multiply_to_levels(&self, kernel: Kernel, x: &[f32], strides: Strides, out: &mut [u8], stride: usize) {
        if strides.rows == 0 {
            return;
        }
        self.check(x, strides);
        let padded = self.scale.len();
        assert!(stride >= padded && out.len() >= (strides.rows - 1) * stride + padded, "room for the result");
        let ending = Ending::to_levels(&self.scale, &self.bias, out, stride, padded, kernel.blank());
        // SAFETY: the sizes were checked above, and `kernel` proves that the machine has the instructions.
        unsafe { self.multiply_into(kernel, x, strides, 0, padded, ending) };
    }

    fn check(&self, x: &[f32], Strides { rows, row, planes, plane, pieces, piece, length }: Strides) {
        assert_eq!(planes * pieces * length, self.depth, "depth of the activations and of the weights");
        let last = (rows - 1) * row + (planes - 1) * plane + (pieces - 1) * piece;
        assert!(x.len() >= last + length, "values of the rows");
    }

    /// The same matrix with row `order(k)` as row `k`.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn reordered(&self, order: impl Fn(usize) -> usize) -> Self {
        let mut bytes = vec![0; self.bytes.len()];
        for (to, from) in bytes.chunks_exact_mut(self.depth * PANEL).zip(self.bytes.chunks_exact(self.depth * PANEL)) {
            for (k, to) in to.chunks_exact_mut(PANEL).enumerate() {
                to.copy_from_slice(&from[order(k) * PANEL..][..PANEL]);
            }
        }
        Columns { bytes, ..self.clone() }
    }

    /// The same matrix whose results are in units of `step`.
    ///
    /// # Panics
    /// When the step is not above 0.
    #[must_use]
    pub fn in_steps(&self, step: f32) -> Self {
        assert!(step > 0.0, "a step of {step}");
        let [scale, bias] = [&self.scale, &self.bias].map(|values| values.iter().map(|v| v / step).collect());
        Columns { scale, bias, ..self.clone() }
    }
}

impl Columns {
    /// # Safety
    /// The sizes must have been checked, and `ending` must describe a result of so many rows and columns.
    unsafe fn multiply_into(
        &self,
        kernel: Kernel,
        x: &[f32],
        strides: Strides,
        first: usize,
        columns: usize,
        ending: Ending,
    ) {
        // SAFETY: the caller's promise; panels are padded to 16 columns.
        unsafe {
            #[cfg(target_arch = "aarch64")]
            if kernel.0 != super::Set::Plain && strides.rows >= neon_float::ROWS && self.depth <= neon_float::DEEP {
                let mut panel = neon_float::Panel::uninit();
                for column in (0..columns).step_by(PANEL) {
                    let weights = self.bytes[(first + column) * self.depth..].as_ptr();
                    let ending = ending.at_column(column);
                    neon_float::Product { x: x.as_ptr(), strides, weights, ending }.run(&mut panel);
                }
                return;
            }
            multiply(kernel, self, x, strides, first, columns, ending);
        }
    }
}

/// Where rows of activations lie: row `m` is, in each of `planes` planes, `pieces` runs of `length` floats, `piece` apart,
/// the first at `m * row`. The windows of a convolution are such rows, without being copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    /// Number of rows.
    pub rows: usize,
    /// Floats from the start of a row to the start of the next.
    pub row: usize,
    /// Parts of a row that lie apart, with the same runs in each.
    pub planes: usize,
    /// Floats from the start of a plane to the start of the next.
    pub plane: usize,
    /// Runs in a row and a plane.
    pub pieces: usize,
    /// Floats from the start of a run to the start of the next.
    pub piece: usize,
    /// Floats in a run.
    pub length: usize,
}

impl Strides {
    /// `rows` rows of `depth` floats, one after another.
    pub fn dense(rows: usize, depth: usize) -> Self {
        Strides { rows, row: depth, planes: 1, plane: 0, pieces: 1, piece: 0, length: depth }
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
        let Strides { row, planes, plane, pieces, piece, length, .. } = self.strides;
        let depth = self.weights.depth;
        // SAFETY: the caller checked the rows of `x`, and panels are padded to 16 columns.
        unsafe {
            let mut sums = [[V::splat(0.0); WIDTH]; ROWS];
            let panels = self.weights.bytes.as_ptr().add(self.column * depth);
            for (i, (p, j)) in (0..planes).flat_map(|p| (0..pieces).map(move |j| (p, j))).enumerate() {
                let x = self.x.add(m * row + p * plane + j * piece);
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
unsafe fn multiply_body<V: Lanes>(
    weights: &Columns,
    x: &[f32],
    strides: Strides,
    first: usize,
    columns: usize,
    ending: Ending,
) {
    let mut at = 0;
    while at < columns {
        let left = (columns - at).div_ceil(PANEL);
        // SAFETY: a strip stays inside the whole panels of `columns`, and writes no more than `columns - at`.
        unsafe {
            let strip = Strip { weights, strides, x: x.as_ptr(), column: first + at, ending: ending.at_column(at) };
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
        ending: Ending,
    ) = multiply_body
}
