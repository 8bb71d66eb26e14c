//! AArch64, float activations: a panel of weights becomes floats once for many rows.

use std::arch::aarch64::*;
use std::array::from_fn;
use std::mem::MaybeUninit;

use super::{
    PANEL, Strides,
    ending::{Ending, Spare},
    lanes::apart,
    neon_windows,
};

/// Rows of a block.
pub(super) const ROWS: usize = 6;
/// The most rows of weights that become floats.
pub(super) const DEEP: usize = 256;

/// One panel of at most DEEP rows of weights.
pub(super) type Panel = MaybeUninit<[f32; DEEP * PANEL]>;

/// Rows of float activations times one panel of bytes.
#[derive(Clone, Copy)]
pub(super) struct Product {
    /// The first row.
    pub(super) x: *const f32,
    pub(super) strides: Strides,
    /// Rows of 16 bytes.
    pub(super) weights: *const i8,
    pub(super) ending: Ending,
}

impl Product {
    /// All rows; the last block overlaps the one before it and writes the same values.
    ///
    /// # Safety
    /// Every array must be as large as the strides say: at least ROWS rows of at most DEEP floats.
    pub(super) unsafe fn run(self, panel: &mut Panel) {
        let depth = self.strides.planes * self.strides.pieces * self.strides.length;
        // SAFETY: `depth <= DEEP`.
        unsafe {
            let to = panel.as_mut_ptr().cast::<f32>();
            for k in 0..depth {
                let bytes = vld1q_s8(self.weights.add(k * PANEL));
                for (half, eight) in [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)].into_iter().enumerate() {
                    let at = to.add(k * PANEL + half * 8);
                    vst1q_f32(at, vcvtq_f32_s32(vmovl_s16(vget_low_s16(eight))));
                    vst1q_f32(at.add(4), vcvtq_f32_s32(vmovl_high_s16(eight)));
                }
            }
            if neon_windows::takes(self.strides, &self.ending) {
                return neon_windows::run(self, to);
            }
            // Half of the last panel may be padding.
            if self.ending.columns > PANEL / 2 { self.rows::<4>(to) } else { self.rows::<2>(to) }
        }
    }

    #[inline(never)]
    unsafe fn rows<const WIDTH: usize>(self, panel: *const f32) {
        let mut spare = Spare::NEW;
        let whole = self.ending.columns >= WIDTH * 4;
        for row in (0..self.strides.rows).step_by(ROWS) {
            let row = row.min(self.strides.rows - ROWS);
            // SAFETY: there are ROWS rows from `row` on, and WIDTH registers of columns or `spare`, which has as many.
            unsafe {
                let ending = self.ending.at_row(row);
                let x = self.x.add(row * self.strides.row);
                if whole {
                    self.block::<WIDTH>(x, panel, ending);
                } else {
                    self.block::<WIDTH>(x, panel, ending.spared(ROWS, &mut spare));
                    ending.take(ROWS, &spare);
                }
            }
        }
    }

    /// With 4 registers of columns, 24 sums, 6 registers of activations and 2 of weights fill all 32.
    #[inline(always)]
    unsafe fn block<const WIDTH: usize>(self, x: *const f32, panel: *const f32, ending: Ending) {
        let Strides { row, planes, plane, pieces, piece, length, .. } = self.strides;
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[vdupq_n_f32(0.0); WIDTH]; ROWS];
            let mut panel = panel;
            macro_rules! step {
                ($x:ident, $lane:literal) => {
                    for v in 0..WIDTH {
                        let w = vld1q_f32(panel.add($lane * PANEL + v * 4));
                        for m in 0..ROWS {
                            sums[m][v] = vfmaq_laneq_f32::<$lane>(sums[m][v], w, $x[m]);
                        }
                    }
                };
            }
            for (p, i) in (0..planes).flat_map(|p| (0..pieces).map(move |i| (p, i))) {
                let mut rows: [*const f32; ROWS] = from_fn(|m| apart(x.add(p * plane + i * piece + m * row)));
                for _ in 0..length / 4 {
                    let x = rows.map(|row| vld1q_f32(row));
                    step!(x, 0);
                    step!(x, 1);
                    step!(x, 2);
                    step!(x, 3);
                    panel = panel.add(4 * PANEL);
                    rows = rows.map(|row| row.add(4));
                }
                if length & 2 != 0 {
                    let x = rows.map(|row| vreinterpretq_f32_f64(vdupq_n_f64(row.cast::<f64>().read_unaligned())));
                    step!(x, 0);
                    step!(x, 1);
                    panel = panel.add(2 * PANEL);
                    rows = rows.map(|row| row.add(2));
                }
                if length & 1 != 0 {
                    let x = rows.map(|row| vld1q_dup_f32(row));
                    step!(x, 0);
                    panel = panel.add(PANEL);
                }
            }
            ending.finish::<float32x4_t, false, ROWS, WIDTH>(sums);
        }
    }
}
