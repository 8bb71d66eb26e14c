//! AArch64 with matrix products of bytes (Cortex-A710, X2 and newer): `smmla` multiplies 2 rows of 8 by 8 rows of 2. Two
//! groups of the shared layout, interleaved in registers, are the 8 rows.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{PANEL, Tile, pack::GROUP};

/// `$sums += $activations * $weights`, through `asm` because the intrinsic is not stable.
macro_rules! smmla {
    ($sums:expr, $activations:expr, $weights:expr) => {
        asm!(
            ".arch_extension i8mm",
            "smmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) $sums,
            in(vreg) $activations,
            in(vreg) $weights,
            options(pure, nomem, nostack, preserves_flags)
        )
    };
}

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
/// `tile` must describe valid arrays for `rows` and `panels`, and the machine must have the instructions.
pub(super) unsafe fn multiply(tile: Tile, rows: usize, panels: usize) {
    for panel in 0..panels {
        let mut row = 0;
        while row < rows {
            // SAFETY: `panel < panels`, `row < rows`, and a block has no more rows than are left.
            row += unsafe {
                let at = tile.at_panel(panel).at_row(row);
                match rows - row {
                    6.. => block::<3, 6>(at),
                    5 => block::<3, 5>(at),
                    4 => block::<2, 4>(at),
                    3 => block::<2, 3>(at),
                    2 => block::<1, 2>(at),
                    _ => block::<1, 1>(at),
                }
            };
        }
    }
}

/// `ROWS` rows in `PAIRS` pairs; the second half of an odd one repeats its first and is not written.
#[inline]
unsafe fn block<const PAIRS: usize, const ROWS: usize>(tile: Tile) -> usize {
    let groups = tile.depth / GROUP;
    // SAFETY: `tile` holds ROWS rows of `depth` bytes and one panel of `depth * PANEL` bytes; the second group of a pair is
    // read only where it exists.
    unsafe {
        // Register c of a pair holds columns 2c and 2c + 1 of its first row, then of its second.
        let mut sums = [[vdupq_n_s32(0); 8]; PAIRS];
        let mut group = 0;
        while group < groups {
            let two = group + 1 < groups;
            let mut q = [vdupq_n_s8(0); PAIRS];
            for (pair, q) in q.iter_mut().enumerate() {
                let row = |m: usize| {
                    let from = tile.rows.add(m.min(ROWS - 1) * tile.depth + group * GROUP).cast::<i8>();
                    if two { vld1_s8(from) } else { vcreate_s8(u64::from(from.cast::<u32>().read_unaligned())) }
                };
                *q = vcombine_s8(row(2 * pair), row(2 * pair + 1));
            }
            let weights = tile.weights.add(group * PANEL * GROUP);
            for v in 0..4 {
                let first = vreinterpretq_s32_s8(vld1q_s8(weights.add(v * 16)));
                let second = if two {
                    vreinterpretq_s32_s8(vld1q_s8(weights.add(PANEL * GROUP + v * 16)))
                } else {
                    vdupq_n_s32(0)
                };
                let low = vzip1q_s32(first, second);
                let high = vzip2q_s32(first, second);
                for (sums, q) in sums.iter_mut().zip(&q) {
                    smmla!(sums[2 * v], *q, low);
                    smmla!(sums[2 * v + 1], *q, high);
                }
            }
            group += 2;
        }
        let mut rows = [[vdupq_n_s32(0); 4]; ROWS];
        for (m, row) in rows.iter_mut().enumerate() {
            for (v, four) in row.iter_mut().enumerate() {
                let left = vreinterpretq_s64_s32(sums[m / 2][2 * v]);
                let right = vreinterpretq_s64_s32(sums[m / 2][2 * v + 1]);
                let both = if m % 2 == 0 { vzip1q_s64(left, right) } else { vzip2q_s64(left, right) };
                *four = vreinterpretq_s32_s64(both);
            }
        }
        tile.ending.write::<float32x4_t, true>(rows.as_ptr().cast(), ROWS, PANEL);
    }
    ROWS
}
