//! AArch64 without the dot product (Cortex-A53, A72): `smull` and `smlal`, then `sadalp`. Activations stay within 127 and
//! weights within 128, so two products fit 16 bits.
//!
//! For a few rows the panel is read as it is. For more, see `neon_tile`.

use std::arch::aarch64::*;

use super::neon_tile::{DEEP, Turned};
use super::{PANEL, Tile, pack::GROUP};

/// Rows from which on it pays to turn a panel.
const MANY: usize = 6;

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
/// `tile` must describe valid arrays for `rows` and `panels`.
pub(super) unsafe fn multiply(tile: Tile, rows: usize, panels: usize) {
    let many = rows >= MANY && tile.depth <= DEEP;
    let mut turned = Turned::new();
    // SAFETY: the caller's promise.
    let look = many.then(|| unsafe { turned.look(tile, rows) });
    for panel in 0..panels {
        // SAFETY: `panel < panels`, and no block has more rows than there are.
        unsafe {
            let tile = tile.at_panel(panel);
            if let Some(look) = &look {
                // Half of the last panel may be padding.
                if tile.ending.columns > PANEL / 2 {
                    turned.run::<4>(tile, look, rows);
                } else {
                    turned.run::<2>(tile, look, rows);
                }
            } else {
                for row in (0..rows).step_by(2) {
                    let at = tile.at_row(row);
                    if rows - row >= 2 { few::<2>(at) } else { few::<1>(at) }
                }
            }
        }
    }
}

/// 1 or 2 rows of a panel as it is.
#[inline]
unsafe fn few<const ROWS: usize>(tile: Tile) {
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
                q[0] = vreinterpretq_s8_s32(vdupq_n_s32(row.read_unaligned()));
                if two {
                    q[1] = vreinterpretq_s8_s32(vdupq_n_s32(row.add(1).read_unaligned()));
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
                *column = vaddq_s32(vpaddq_s32(sums[2 * v], sums[2 * v + 1]), vld1q_s32(tile.start().add(4 * v)));
            }
            let at = tile.ending.at_row(m);
            at.write::<float32x4_t, true>(columns.as_ptr().cast(), 1, PANEL);
        }
    }
}
