//! AArch64 with the dot product (Cortex-A76, A78 and newer): `sdot` sums 4 products into each of 4 columns.

use std::arch::aarch64::*;
use std::arch::asm;
use std::mem::MaybeUninit;

use super::{PANEL, Tile, pack::GROUP};

/// `$sums += dot4($weights, $activations[$lane])`, through `asm` because the intrinsic is not stable.
macro_rules! sdot {
    ($sums:expr, $weights:expr, $activations:expr, $lane:literal) => {
        asm!(
            concat!(".arch_extension dotprod\nsdot {0:v}.4s, {1:v}.16b, {2:v}.4b[", $lane, "]"),
            inout(vreg) $sums,
            in(vreg) $weights,
            in(vreg_low16) $activations,
            options(pure, nomem, nostack, preserves_flags)
        )
    };
}

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
/// `tile` must describe valid arrays for `rows` and `panels`, and the machine must have the dot product.
pub(super) unsafe fn multiply(tile: Tile, rows: usize, panels: usize) {
    for panel in 0..panels {
        let mut row = 0;
        while row < rows {
            let height = (rows - row).min(4);
            // SAFETY: `panel < panels`, `row < rows`, and `height` rows are left.
            unsafe {
                let at = tile.at_panel(panel).at_row(row);
                match height {
                    4 => block::<4>(at),
                    3 => block::<3>(at),
                    2 => block::<2>(at),
                    _ => block::<1>(at),
                }
            }
            row += height;
        }
    }
}

#[inline]
unsafe fn block<const ROWS: usize>(tile: Tile) {
    let groups = tile.depth / GROUP;
    // SAFETY: `tile` holds ROWS rows of `depth` bytes and one panel of `depth * PANEL` bytes; a load of 16 activations is
    // made only where 4 whole groups are left.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 4]; ROWS];
        let mut group = 0;
        while group + 4 <= groups {
            let mut q = [vdupq_n_s8(0); ROWS];
            for (m, q) in q.iter_mut().enumerate() {
                *q = vld1q_s8(tile.rows.cast::<i8>().add(m * tile.depth + group * GROUP));
            }
            macro_rules! step {
                ($lane:literal) => {
                    let weights = tile.weights.add((group + $lane) * PANEL * GROUP);
                    for v in 0..4 {
                        let w = vld1q_s8(weights.add(v * 16));
                        for m in 0..ROWS {
                            sdot!(sums[m][v], w, q[m], $lane);
                        }
                    }
                };
            }
            step!(0);
            step!(1);
            step!(2);
            step!(3);
            group += 4;
        }
        while group < groups {
            let weights = tile.weights.add(group * PANEL * GROUP);
            for (m, sums) in sums.iter_mut().enumerate() {
                let q = tile.rows.add(m * tile.depth + group * GROUP).cast::<i32>().read_unaligned();
                let q = vreinterpretq_s8_s32(vdupq_n_s32(q));
                for (v, sum) in sums.iter_mut().enumerate() {
                    sdot!(*sum, vld1q_s8(weights.add(v * 16)), q, 0);
                }
            }
            group += 1;
        }
        // A copy, so that the sums themselves can stay in registers until here.
        let mut done = MaybeUninit::<[[int32x4_t; 4]; ROWS]>::uninit();
        let to = done.as_mut_ptr().cast::<int32x4_t>();
        for (m, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                to.add(4 * m + v).write(*sum);
            }
        }
        tile.ending.write::<float32x4_t, true>(to.cast(), ROWS, PANEL);
    }
}
