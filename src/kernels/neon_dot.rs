//! AArch64 with the dot product (Cortex-A76, A78 and newer): `sdot` sums 4 products into each of 4 columns.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::neon_dot_tile::{self, Laid};
use super::{PANEL, Tile, ending::Spare, lanes::apart, pack::GROUP};

/// `$sums += dot4($weights, $activations[$lane])`, through `asm` because the intrinsic is not stable.
macro_rules! sdot {
    ($sums:expr, $weights:expr, $activations:expr, $lane:literal) => {
        asm!(
            concat!(".arch_extension dotprod\nsdot {0:v}.4s, {1:v}.16b, {2:v}.4b[", $lane, "]"),
            inout(vreg) $sums,
            in(vreg) $weights,
            in(vreg) $activations,
            options(pure, nomem, nostack, preserves_flags)
        )
    };
}

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
/// `tile` must describe valid arrays for `rows` and `panels`, and the machine must have the dot product.
pub(super) unsafe fn multiply(tile: Tile, rows: usize, panels: usize) {
    // Half of the last panel may be padding.
    let last = (tile.ending.columns - (panels - 1) * PANEL).min(PANEL);
    let whole = if last > PANEL / 2 { panels } else { panels - 1 };
    let room = Laid::blocks(tile.depth);
    // Half a panel takes two blocks at a time.
    let half = whole < panels && last == PANEL / 2 && room > 1;
    let blocks = if (whole > 0 || half) && room > 0 { rows / neon_dot_tile::ROWS } else { 0 };
    let room = if half { room / 2 * 2 } else { room };
    let mut laid = Laid::new();
    let mut done = 0;
    while done < blocks {
        let some = (blocks - done).min(room);
        // SAFETY: so many blocks of rows are left, and there is room for them.
        unsafe {
            let tile = tile.at_row(done * neon_dot_tile::ROWS);
            laid.fill(tile, some);
            for panel in 0..whole {
                neon_dot_tile::run(tile.at_panel(panel), &laid, some);
            }
            if half {
                neon_dot_tile::run_half(tile.at_panel(whole), &laid, some / 2);
            }
        }
        done += some;
    }
    for panel in 0..panels {
        let done = match panel < whole {
            true => blocks * neon_dot_tile::ROWS,
            false if half => blocks / 2 * 2 * neon_dot_tile::ROWS,
            false => 0,
        };
        let left = rows - done;
        if left > 0 {
            // SAFETY: `panel < panels`, and rows are left.
            unsafe {
                let tile = tile.at_panel(panel).at_row(done);
                if panel < whole { strip::<4>(tile, left) } else { strip::<2>(tile, left) }
            }
        }
    }
}

/// All rows of the first `WIDTH` registers of 4 columns.
unsafe fn strip<const WIDTH: usize>(tile: Tile, rows: usize) {
    let (blocks, left) = (rows / 6, rows % 6);
    // SAFETY: no block has more rows than are left.
    unsafe {
        run::<6, WIDTH>(tile, blocks);
        if left == 0 {
            return;
        }
        let rest = tile.at_row(rows - left);
        match left {
            1 => run::<1, WIDTH>(rest, 1),
            2 => run::<2, WIDTH>(rest, 1),
            3 => run::<3, WIDTH>(rest, 1),
            4 => run::<4, WIDTH>(rest, 1),
            _ => run::<5, WIDTH>(rest, 1),
        }
    }
}

/// Each number of rows is a function of its own, so that none saves registers for another.
#[inline(never)]
unsafe fn run<const ROWS: usize, const WIDTH: usize>(tile: Tile, blocks: usize) {
    let mut spare = Spare::NEW;
    for i in 0..blocks {
        // SAFETY: there are `blocks * ROWS` rows, and WIDTH registers of columns or `spare`, which has as many.
        unsafe {
            let mut tile = tile.at_row(i * ROWS);
            let ending = tile.ending;
            let whole = ending.columns >= WIDTH * 4;
            if !whole {
                tile.ending = ending.spared(ROWS, &mut spare);
            }
            block::<ROWS, WIDTH>(tile);
            if !whole {
                ending.take(ROWS, &spare);
            }
        }
    }
}

/// With 6 rows and 4 registers of columns, 24 sums, 6 registers of activations and 2 of weights fill all 32.
#[inline(always)]
unsafe fn block<const ROWS: usize, const WIDTH: usize>(tile: Tile) {
    let groups = tile.depth / GROUP;
    // SAFETY: `tile` holds ROWS rows of `depth` bytes and one panel of `depth * PANEL` bytes; as many activations are loaded
    // as there are groups left.
    unsafe {
        let mut sums: [[_; WIDTH]; ROWS] = [from_fn(|v| vld1q_s32(tile.start().add(v * 4))); ROWS];
        let mut rows: [*const i8; ROWS] = from_fn(|m| apart(tile.rows.cast::<i8>().add(m * tile.depth)));
        let mut weights = tile.weights;
        macro_rules! step {
            ($q:ident, $lane:literal) => {
                for v in 0..WIDTH {
                    let w = vld1q_s8(weights.add($lane * PANEL * GROUP + v * 16));
                    for m in 0..ROWS {
                        sdot!(sums[m][v], w, $q[m], $lane);
                    }
                }
            };
        }
        for _ in 0..groups / 4 {
            let q: [_; ROWS] = from_fn(|m| vld1q_s8(rows[m]));
            step!(q, 0);
            step!(q, 1);
            step!(q, 2);
            step!(q, 3);
            weights = weights.add(4 * PANEL * GROUP);
            rows = rows.map(|row| row.add(4 * GROUP));
        }
        if groups & 2 != 0 {
            let q: [_; ROWS] = from_fn(|m| vreinterpretq_s8_s64(vdupq_n_s64(rows[m].cast::<i64>().read_unaligned())));
            step!(q, 0);
            step!(q, 1);
            weights = weights.add(2 * PANEL * GROUP);
            rows = rows.map(|row| row.add(2 * GROUP));
        }
        if groups & 1 != 0 {
            let q: [_; ROWS] = from_fn(|m| vreinterpretq_s8_s32(vdupq_n_s32(rows[m].cast::<i32>().read_unaligned())));
            step!(q, 0);
        }
        let sums: [[_; WIDTH]; ROWS] = from_fn(|m| from_fn(|v| vcvtq_f32_s32(sums[m][v])));
        tile.ending.finish::<float32x4_t, true, ROWS, WIDTH>(sums);
    }
}
