//! AArch64 without the dot product (Cortex-A53, A72): `smull` and `smlal` over two groups, then `sadalp`. Activations stay
//! within 127 and weights within 128, so two products fit 16 bits.

use std::arch::aarch64::*;

use super::{PANEL, Tile, pack::GROUP};

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
/// `tile` must describe valid arrays for `rows` and `panels`.
pub(super) unsafe fn multiply(tile: Tile, rows: usize, panels: usize) {
    for panel in 0..panels {
        let mut row = 0;
        while row < rows {
            let height = (rows - row).min(2);
            // SAFETY: `panel < panels`, `row < rows`, and `height` rows are left.
            unsafe {
                let at = tile.at_panel(panel).at_row(row);
                if height == 2 { block::<2>(at) } else { block::<1>(at) }
            }
            row += height;
        }
    }
}

#[inline]
unsafe fn block<const ROWS: usize>(tile: Tile) {
    let groups = tile.depth / GROUP;
    // SAFETY: `tile` holds ROWS rows of `depth` bytes and one panel of `depth * PANEL` bytes; the second group of a pair is
    // read only where it exists.
    unsafe {
        // Registers 2v and 2v + 1 hold columns 4v, 4v + 1 and 4v + 2, 4v + 3, two lanes each.
        let mut sums = [[vdupq_n_s32(0); 8]; ROWS];
        let mut group = 0;
        while group < groups {
            let two = group + 1 < groups;
            let weights = tile.weights.add(group * PANEL * GROUP);
            let mut q = [[vdupq_n_s8(0); 2]; ROWS];
            for (m, q) in q.iter_mut().enumerate() {
                let row = tile.rows.add(m * tile.depth + group * GROUP).cast::<i32>();
                q[0] = vreinterpretq_s8_s32(vld1q_dup_s32(row));
                if two {
                    q[1] = vreinterpretq_s8_s32(vld1q_dup_s32(row.add(1)));
                }
            }
            for v in 0..4 {
                let w0 = vld1q_s8(weights.add(v * 16));
                let w1 = if two { vld1q_s8(weights.add(PANEL * GROUP + v * 16)) } else { vdupq_n_s8(0) };
                for (sums, q) in sums.iter_mut().zip(&q) {
                    let low = vmull_s8(vget_low_s8(w0), vget_low_s8(q[0]));
                    let low = vmlal_s8(low, vget_low_s8(w1), vget_low_s8(q[1]));
                    let high = vmlal_high_s8(vmull_high_s8(w0, q[0]), w1, q[1]);
                    sums[2 * v] = vpadalq_s16(sums[2 * v], low);
                    sums[2 * v + 1] = vpadalq_s16(sums[2 * v + 1], high);
                }
            }
            group += 2;
        }
        for (m, sums) in sums.iter().enumerate() {
            let mut columns = [vdupq_n_s32(0); 4];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = vpaddq_s32(sums[2 * v], sums[2 * v + 1]);
            }
            let at = tile.ending.at_row(m);
            at.write::<float32x4_t, true>(columns.as_ptr().cast(), 1, PANEL);
        }
    }
}
