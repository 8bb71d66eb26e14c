//! Products of float matrices that both change with every picture: attention over a cache, or over patch tokens.

use std::array::from_fn;

use super::vector::fused;

/// An axis: how many steps, and how far apart they lie in `a`, `b` and the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Steps.
    pub size: usize,
    /// Floats between steps in `a`, `b` and the result; 0 where the axis is not in it.
    pub strides: [usize; 3],
}

/// `out[rows, columns] = sum over depth of a[rows, depth] b[depth, columns]`, each with its own strides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Not in `b`.
    pub rows: Axis,
    /// Not in `a`.
    pub columns: Axis,
    /// Not in the result.
    pub depth: Axis,
}

const LANES: usize = 16;
/// Rows that share a pass over `b`.
const ROWS: usize = 4;
/// Sums that AVX2 and NEON can keep in registers.
const SUMS: usize = 64;

multiversion! {
    /// Fills `out`. A depth of 0 gives zeros.
    ///
    /// # Panics
    /// When an array is shorter than its strides ask for.
    pub fn product(a: &[f32], b: &[f32], shape: &Product, out: &mut [f32]) = product_body
}

#[inline(always)]
fn product_body<const FUSED: bool>(a: &[f32], b: &[f32], shape: &Product, out: &mut [f32]) {
    let [depth_a, depth_b, _] = shape.depth.strides;
    if shape.depth.size == 0 {
        for (m, n) in (0..shape.rows.size).flat_map(|m| (0..shape.columns.size).map(move |n| (m, n))) {
            out[m * shape.rows.strides[2] + n * shape.columns.strides[2]] = 0.0;
        }
        return;
    }
    let dots = depth_a == 1 && depth_b == 1;
    let sums = shape.columns.strides[1] == 1 && shape.columns.strides[2] == 1;
    let mut row = 0;
    while row < shape.rows.size {
        let height = (shape.rows.size - row).min(ROWS);
        let (a, out) = (&a[row * shape.rows.strides[0]..], &mut out[row * shape.rows.strides[2]..]);
        match (sums, dots, height) {
            (true, _, ROWS) => by_columns::<FUSED, ROWS, { SUMS / ROWS }>(a, b, shape, out),
            (false, true, ROWS) => by_dots::<FUSED, ROWS>(a, b, shape, out),
            (true, _, _) => each_row(height, a, shape, out, |a, out| by_columns::<FUSED, 1, SUMS>(a, b, shape, out)),
            (false, true, _) => each_row(height, a, shape, out, |a, out| by_dots::<FUSED, 1>(a, b, shape, out)),
            (false, false, _) => each_row(height, a, shape, out, |a, out| one_by_one::<FUSED>(a, b, shape, out)),
        }
        row += height;
    }
}

#[inline(always)]
fn each_row(height: usize, a: &[f32], shape: &Product, out: &mut [f32], mut row: impl FnMut(&[f32], &mut [f32])) {
    for m in 0..height {
        row(&a[m * shape.rows.strides[0]..], &mut out[m * shape.rows.strides[2]..]);
    }
}

/// Sums of whole rows of `b`.
#[inline(always)]
fn by_columns<const FUSED: bool, const M: usize, const COLUMNS: usize>(
    a: &[f32],
    b: &[f32],
    shape: &Product,
    out: &mut [f32],
) {
    let Product { rows, columns, depth } = shape;
    let mut n = 0;
    while n < columns.size {
        let width = (columns.size - n).min(COLUMNS);
        let mut sums = [[0f32; COLUMNS]; M];
        if width == COLUMNS {
            for k in 0..depth.size {
                let b = &b[k * depth.strides[1] + n..][..COLUMNS];
                for (m, sums) in sums.iter_mut().enumerate() {
                    let factor = a[m * rows.strides[0] + k * depth.strides[0]];
                    for l in 0..COLUMNS {
                        sums[l] = fused::<FUSED>(factor, b[l], sums[l]);
                    }
                }
            }
        } else {
            for k in 0..depth.size {
                let b = &b[k * depth.strides[1] + n..][..width];
                for (m, sums) in sums.iter_mut().enumerate() {
                    let factor = a[m * rows.strides[0] + k * depth.strides[0]];
                    sums.iter_mut().zip(b).for_each(|(sum, b)| *sum = fused::<FUSED>(factor, *b, *sum));
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            out[m * rows.strides[2] + n..][..width].copy_from_slice(&sums[..width]);
        }
        n += width;
    }
}

/// Products of rows that lie in one piece in both.
#[inline(always)]
fn by_dots<const FUSED: bool, const M: usize>(a: &[f32], b: &[f32], shape: &Product, out: &mut [f32]) {
    let Product { rows, columns, depth } = shape;
    let whole = depth.size / LANES * LANES;
    for n in 0..columns.size {
        let b = &b[n * columns.strides[1]..][..depth.size];
        let mut lanes = [[0f32; LANES]; M];
        for k in (0..whole).step_by(LANES) {
            let b = &b[k..k + LANES];
            for (m, lanes) in lanes.iter_mut().enumerate() {
                let a = &a[m * rows.strides[0] + k..][..LANES];
                for l in 0..LANES {
                    lanes[l] = fused::<FUSED>(a[l], b[l], lanes[l]);
                }
            }
        }
        for (m, lanes) in lanes.iter().enumerate() {
            let a = &a[m * rows.strides[0]..][..depth.size];
            let rest = a[whole..].iter().zip(&b[whole..]).fold(0.0, |sum, (a, b)| fused::<FUSED>(*a, *b, sum));
            out[m * rows.strides[2] + n * columns.strides[2]] = total(lanes) + rest;
        }
    }
}

/// The sum, by halves.
#[inline(always)]
fn total(lanes: &[f32; LANES]) -> f32 {
    let eight: [f32; 8] = from_fn(|i| lanes[i] + lanes[i + 8]);
    let four: [f32; 4] = from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

#[inline(always)]
fn one_by_one<const FUSED: bool>(a: &[f32], b: &[f32], shape: &Product, out: &mut [f32]) {
    let Product { columns, depth, .. } = shape;
    for n in 0..columns.size {
        let terms =
            (0..depth.size).map(|k| (a[k * depth.strides[0]], b[n * columns.strides[1] + k * depth.strides[1]]));
        out[n * columns.strides[2]] = terms.fold(0.0, |sum, (a, b)| fused::<FUSED>(a, b, sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Kernel;

    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let word =
            |i: u32| i.wrapping_add(seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
        (0..count as u32).map(|i| word(i) as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
    }

    #[test]
    fn every_layout_agrees_with_sums_in_double_precision() {
        for (m, n, k) in [(1, 1, 1), (4, 256, 256), (5, 70, 33), (3, 7, 0), (9, 64, 16), (2, 3, 40), (1, 200, 5)] {
            let axis = |size, strides| Axis { size, strides };
            // Depth next to itself in `a`, or not; columns or depth next to themselves in `b`; the result either way round.
            for (across, columns_first, turned) in (0..8).map(|i| (i & 1 == 1, i & 2 == 2, i & 4 == 4)) {
                let (row, deep) = if across { (1, m) } else { (k, 1) };
                let (column, deep_b) = if columns_first { (1, n) } else { (k, 1) };
                let (row_out, column_out) = if turned { (1, m) } else { (n, 1) };
                let shape = Product {
                    rows: axis(m, [row, 0, row_out]),
                    columns: axis(n, [0, column, column_out]),
                    depth: axis(k, [deep, deep_b, 0]),
                };
                let (a, b) = (noise(m * k, 1), noise(k * n, 2));
                for kernel in Kernel::available() {
                    let mut out = vec![f32::NAN; m * n];
                    product(kernel, &a, &b, &shape, &mut out);
                    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                        let term = |d| f64::from(a[i * row + d * deep]) * f64::from(b[j * column + d * deep_b]);
                        let wanted: f64 = (0..k).map(term).sum();
                        let found = f64::from(out[i * row_out + j * column_out]);
                        let name = kernel.name();
                        assert!(
                            (found - wanted).abs() < 1e-5 * (k + 1) as f64,
                            "{name} {shape:?}: {found} not {wanted}"
                        );
                    }
                }
            }
        }
    }
}
