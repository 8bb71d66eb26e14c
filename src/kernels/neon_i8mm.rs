//! AArch64 with matrix products of bytes (Cortex-A710, X2 and newer): `smmla` multiplies 2 rows of 8 by 8 rows of 2. Two
//! groups of the shared layout, interleaved, are the 8 rows: in registers for a few rows, else once for all of them.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;
use std::mem::MaybeUninit;

use super::{PANEL, Tile, ending::Spare, lanes::apart, pack::GROUP};

/// Rows from which on it pays to interleave a panel.
const MANY: usize = 8;
/// The most bytes of a column that are interleaved.
const DEEP: usize = 2048;

/// A panel in pairs of columns, 8 bytes of each.
type Pairs = MaybeUninit<[i8; DEEP * PANEL]>;

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
    let many = rows >= MANY && tile.depth <= DEEP;
    let mut pairs = Pairs::uninit();
    for panel in 0..panels {
        // SAFETY: `panel < panels`, and no block has more rows than are left.
        unsafe {
            let tile = tile.at_panel(panel);
            if many {
                interleave(tile, &mut pairs);
                // Half of the last panel may be padding.
                let tile = Tile { weights: pairs.as_ptr().cast(), ..tile };
                if tile.ending.columns > PANEL / 2 { strip::<8>(tile, rows) } else { strip::<4>(tile, rows) }
            } else {
                for row in (0..rows).step_by(2) {
                    let at = tile.at_row(row);
                    if rows - row >= 2 { few::<2>(at) } else { few::<1>(at) }
                }
            }
        }
    }
}

/// Two registers of 4 bytes of 4 columns as 8 bytes of 2 columns each.
#[inline(always)]
fn pair(first: int8x16_t, second: int8x16_t) -> [int8x16_t; 2] {
    // SAFETY: AArch64 always has these instructions.
    unsafe {
        let (first, second) = (vreinterpretq_s32_s8(first), vreinterpretq_s32_s8(second));
        [vreinterpretq_s8_s32(vzip1q_s32(first, second)), vreinterpretq_s8_s32(vzip2q_s32(first, second))]
    }
}

/// The panel to `pairs`, an odd group with zeros.
unsafe fn interleave(tile: Tile, pairs: &mut Pairs) {
    let groups = tile.depth / GROUP;
    // SAFETY: only groups of the panel are read; `pairs` has room for DEEP bytes of each column.
    unsafe {
        let (mut from, mut to) = (tile.weights.cast::<i32>(), pairs.as_mut_ptr().cast::<i32>());
        for _ in 0..groups / 2 {
            for v in 0..4 {
                vst2q_s32(to, int32x4x2_t(vld1q_s32(from.add(v * 4)), vld1q_s32(from.add(PANEL + v * 4))));
                to = to.add(8);
            }
            from = from.add(2 * PANEL);
        }
        if !groups.is_multiple_of(2) {
            for v in 0..4 {
                vst2q_s32(to.add(8 * v), int32x4x2_t(vld1q_s32(from.add(v * 4)), vdupq_n_s32(0)));
            }
        }
    }
}

/// All rows of the first `WIDTH` pairs of columns; the last block overlaps the one before it and writes the same values.
#[inline(never)]
unsafe fn strip<const WIDTH: usize>(tile: Tile, rows: usize) {
    let mut spare = Spare::NEW;
    let whole = tile.ending.columns >= 2 * WIDTH;
    for row in (0..rows).step_by(6) {
        // SAFETY: there are at least MANY rows, and WIDTH pairs of columns or `spare`, which has as many.
        unsafe {
            let tile = tile.at_row(row.min(rows - 6));
            if whole {
                block::<WIDTH>(tile);
            } else {
                block::<WIDTH>(Tile { ending: tile.ending.spared(6, &mut spare), ..tile });
                tile.ending.take(6, &spare);
            }
        }
    }
}

/// 6 rows in 3 pairs: with 8 pairs of columns, 24 sums, 3 registers of activations and some of weights.
#[inline(always)]
unsafe fn block<const WIDTH: usize>(tile: Tile) {
    // SAFETY: `tile` holds 6 rows of `depth` bytes, with room after them to read 8 bytes at a time, and interleaved columns.
    // What is read after a row meets weights of 0.
    unsafe {
        // Register c of a pair holds columns 2c and 2c + 1 of its first row, then of its second.
        let mut sums: [[_; WIDTH]; 3] = [from_fn(|c| start(tile, c)); 3];
        let mut rows: [*const i64; 6] = from_fn(|m| apart(tile.rows.add(m * tile.depth).cast()));
        let mut weights = tile.weights;
        for _ in 0..tile.depth.div_ceil(8) {
            let q: [_; 3] = from_fn(|pair| {
                let [first, second] = [rows[2 * pair], rows[2 * pair + 1]].map(|row| row.read_unaligned());
                vreinterpretq_s8_s64(vsetq_lane_s64::<1>(second, vdupq_n_s64(first)))
            });
            for c in 0..WIDTH {
                let w = vld1q_s8(weights.add(c * 16));
                for (sums, q) in sums.iter_mut().zip(q) {
                    smmla!(sums[c], q, w);
                }
            }
            rows = rows.map(|row| row.add(1));
            weights = weights.add(8 * PANEL);
        }
        if WIDTH == 8 {
            tile.ending.finish::<float32x4_t, true, 6, 4>(from_fn(|m| from_fn(|v| row_of(&sums[m / 2], m, v))));
        } else {
            tile.ending.finish::<float32x4_t, true, 6, 2>(from_fn(|m| from_fn(|v| row_of(&sums[m / 2], m, v))));
        }
    }
}

/// What the sums of columns `2 c` and `2 c + 1` of two rows start from.
#[inline(always)]
unsafe fn start(tile: Tile, c: usize) -> int32x4_t {
    // SAFETY: there is a start for each of 16 columns.
    unsafe { vreinterpretq_s32_s64(vdupq_n_s64(tile.start().add(2 * c).cast::<i64>().read_unaligned())) }
}

/// Columns `4 v` to `4 v + 3` of row `m` from the sums of its pair.
#[inline(always)]
fn row_of(sums: &[int32x4_t], m: usize, v: usize) -> float32x4_t {
    // SAFETY: AArch64 always has these instructions.
    unsafe {
        let left = vreinterpretq_s64_s32(sums[2 * v]);
        let right = vreinterpretq_s64_s32(sums[2 * v + 1]);
        let both = if m.is_multiple_of(2) { vzip1q_s64(left, right) } else { vzip2q_s64(left, right) };
        vcvtq_f32_s32(vreinterpretq_s32_s64(both))
    }
}

/// 1 or 2 rows of a panel as it is; the second half of one repeats its first and is not written.
#[inline]
unsafe fn few<const ROWS: usize>(tile: Tile) {
    let groups = tile.depth / GROUP;
    // SAFETY: `tile` holds ROWS rows of `depth` bytes and one panel of `depth * PANEL` bytes; the second group of a pair is
    // read only where it exists.
    unsafe {
        let mut sums: [_; 8] = from_fn(|c| start(tile, c));
        for group in (0..groups).step_by(2) {
            let two = group + 1 < groups;
            let row = |m: usize| {
                let from = tile.rows.add(m.min(ROWS - 1) * tile.depth + group * GROUP).cast::<i8>();
                if two { vld1_s8(from) } else { vcreate_s8(u64::from(from.cast::<u32>().read_unaligned())) }
            };
            let q = vcombine_s8(row(0), row(1));
            let weights = tile.weights.add(group * PANEL * GROUP);
            for v in 0..4 {
                let second = if two { vld1q_s8(weights.add(PANEL * GROUP + v * 16)) } else { vdupq_n_s8(0) };
                let [left, right] = pair(vld1q_s8(weights.add(v * 16)), second);
                smmla!(sums[2 * v], q, left);
                smmla!(sums[2 * v + 1], q, right);
            }
        }
        let mut rows = [[vdupq_n_s32(0); 4]; ROWS];
        for (m, row) in rows.iter_mut().enumerate() {
            for (v, four) in row.iter_mut().enumerate() {
                let left = vreinterpretq_s64_s32(sums[2 * v]);
                let right = vreinterpretq_s64_s32(sums[2 * v + 1]);
                let both = if m == 0 { vzip1q_s64(left, right) } else { vzip2q_s64(left, right) };
                *four = vreinterpretq_s32_s64(both);
            }
        }
        tile.ending.write::<float32x4_t, true>(rows.as_ptr().cast(), ROWS, PANEL);
    }
}
