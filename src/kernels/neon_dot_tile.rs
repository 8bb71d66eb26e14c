//! The dot product on blocks of 6 rows and a whole panel, in `asm`: with 24 sums, 3 registers of activations and 4 of weights
//! there is none to spare, and the order of loads is what counts.
//!
//! The rows of a block are laid side by side first, once for all panels, so that one instruction loads what two groups need
//! of all of them.

use std::arch::aarch64::*;
use std::arch::asm;
use std::mem::MaybeUninit;

use super::ending::{Ending, Spare};
use super::neon_floats::*;
use super::neon_levels::*;
use super::{PANEL, Tile, pack::GROUP};

/// Rows of a block.
pub(super) const ROWS: usize = 6;
/// Bytes of rows that are laid at a time.
const ROOM: usize = 1 << 15;

/// Blocks of rows: of each two groups, those of row 0, of row 1, and so on, 48 bytes; of an odd group the second half is 0.
#[repr(align(64))]
pub(super) struct Laid(MaybeUninit<[u8; ROOM]>);

impl Laid {
    pub(super) fn new() -> Self {
        Laid(MaybeUninit::uninit())
    }

    /// Bytes of a block of rows of `depth`.
    fn block(depth: usize) -> usize {
        depth.next_multiple_of(2 * GROUP) * ROWS
    }

    /// Blocks that there is room for.
    pub(super) fn blocks(depth: usize) -> usize {
        ROOM / Laid::block(depth)
    }

    /// Lays the first `blocks` blocks of rows of `tile`.
    ///
    /// # Safety
    /// There must be as many rows, and room for them.
    pub(super) unsafe fn fill(&mut self, tile: Tile, blocks: usize) {
        let mut to = self.0.as_mut_ptr().cast::<u8>();
        for block in 0..blocks {
            // SAFETY: rows are `depth` bytes, of which no more are read; a block of so many is written.
            unsafe {
                let mut from = tile.rows.add(block * ROWS * tile.depth);
                for _ in 0..tile.depth / 16 {
                    let row = |m: usize| vreinterpretq_u64_u8(vld1q_u8(from.add(m * tile.depth)));
                    let [a, b, c, d, e, f] = [row(0), row(1), row(2), row(3), row(4), row(5)];
                    let half = |low: uint64x2_t, high: uint64x2_t| vreinterpretq_u8_u64(vzip1q_u64(low, high));
                    vst1q_u8_x3(to, uint8x16x3_t(half(a, b), half(c, d), half(e, f)));
                    let half = |low: uint64x2_t, high: uint64x2_t| vreinterpretq_u8_u64(vzip2q_u64(low, high));
                    vst1q_u8_x3(to.add(48), uint8x16x3_t(half(a, b), half(c, d), half(e, f)));
                    (from, to) = (from.add(16), to.add(96));
                }
                let store = |to: *mut u8, row: &dyn Fn(usize) -> uint8x8_t| {
                    let two = |m: usize| vcombine_u8(row(m), row(m + 1));
                    vst1q_u8_x3(to, uint8x16x3_t(two(0), two(2), two(4)));
                };
                if tile.depth & 8 != 0 {
                    store(to, &|m| vld1_u8(from.add(m * tile.depth)));
                    (from, to) = (from.add(8), to.add(48));
                }
                if tile.depth & 4 != 0 {
                    let four = |m: usize| from.add(m * tile.depth).cast::<u32>().read_unaligned();
                    store(to, &|m| vcreate_u8(four(m).into()));
                    to = to.add(48);
                }
            }
        }
    }
}

/// 4 products of 16 columns and a row to its 4 sums; the row's bytes are in a lane of `$q`.
macro_rules! row {
    ($q:literal, $lane:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "sdot v",
            $a,
            ".4s, v0.16b, v",
            $q,
            ".4b[",
            $lane,
            "]\n",
            "sdot v",
            $b,
            ".4s, v1.16b, v",
            $q,
            ".4b[",
            $lane,
            "]\n",
            "sdot v",
            $c,
            ".4s, v2.16b, v",
            $q,
            ".4b[",
            $lane,
            "]\n",
            "sdot v",
            $d,
            ".4s, v3.16b, v",
            $q,
            ".4b[",
            $lane,
            "]\n",
        )
    };
}

/// The next group of all 6 rows: the even ones are in lane `$even` of 3 registers, the odd ones in lane `$odd`.
macro_rules! group {
    ($even:literal, $odd:literal) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{weights}], #64\n",
            row!("4", $even, "8" "9" "10" "11"),
            row!("4", $odd, "12" "13" "14" "15"),
            row!("5", $even, "16" "17" "18" "19"),
            row!("5", $odd, "20" "21" "22" "23"),
            row!("6", $even, "24" "25" "26" "27"),
            row!("6", $odd, "28" "29" "30" "31"),
        )
    };
}

/// The next two groups.
macro_rules! groups {
    () => {
        concat!("ld1 {{v4.16b-v6.16b}}, [{rows}], #48\n", group!("0", "2"), group!("1", "3"))
    };
}

/// The sums of a block, in registers 8 to 31.
#[inline(always)]
unsafe fn sums(tile: Tile, rows: *const u8) -> [[int32x4_t; 4]; ROWS] {
    // SAFETY: `rows` holds a block of `depth` bytes a row, and `tile` as many of a panel; only these are read.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 4]; ROWS];
        let groups = tile.depth / GROUP;
        asm!(
            ".arch_extension dotprod",
            "ld1 {{v8.4s-v11.4s}}, [{start}]",
            "ld1 {{v12.4s-v15.4s}}, [{start}]",
            "ld1 {{v16.4s-v19.4s}}, [{start}]",
            "ld1 {{v20.4s-v23.4s}}, [{start}]",
            "ld1 {{v24.4s-v27.4s}}, [{start}]",
            "ld1 {{v28.4s-v31.4s}}, [{start}]",
            "cbz {eights}, 3f",
            "2:",
            "sub {eights}, {eights}, #1",
            groups!(),
            groups!(),
            groups!(),
            groups!(),
            "cbnz {eights}, 2b",
            "3:",
            "tbz {groups}, #2, 7f",
            groups!(),
            groups!(),
            "7:",
            "tbz {groups}, #1, 4f",
            groups!(),
            "4:",
            "tbz {groups}, #0, 5f",
            "ld1 {{v4.16b-v6.16b}}, [{rows}], #48",
            group!("0", "2"),
            "5:",
            start = in(reg) tile.start(),
            eights = inout(reg) groups / 8 => _,
            groups = in(reg) groups,
            rows = inout(reg) rows => _,
            weights = inout(reg) tile.weights => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
            out("v8") sums[0][0], out("v9") sums[0][1], out("v10") sums[0][2], out("v11") sums[0][3],
            out("v12") sums[1][0], out("v13") sums[1][1], out("v14") sums[1][2], out("v15") sums[1][3],
            out("v16") sums[2][0], out("v17") sums[2][1], out("v18") sums[2][2], out("v19") sums[2][3],
            out("v20") sums[3][0], out("v21") sums[3][1], out("v22") sums[3][2], out("v23") sums[3][3],
            out("v24") sums[4][0], out("v25") sums[4][1], out("v26") sums[4][2], out("v27") sums[4][3],
            out("v28") sums[5][0], out("v29") sums[5][1], out("v30") sums[5][2], out("v31") sums[5][3],
            options(readonly, nostack),
        );
        sums
    }
}

/// `blocks` blocks of rows, which are laid, times the panel of `tile`.
///
/// # Safety
/// There must be so many rows.
pub(super) unsafe fn run(tile: Tile, laid: &Laid, blocks: usize) {
    let rows = laid.0.as_ptr().cast::<u8>();
    // SAFETY: the caller's promise.
    unsafe {
        match (tile.ending.levels.is_null(), tile.ending.columns >= PANEL) {
            (false, _) if tile.known.fitting() => to_levels::<true>(tile, rows, blocks),
            (false, _) => to_levels::<false>(tile, rows, blocks),
            (true, true) => to_floats(tile, rows, blocks),
            (true, false) => to_some_floats(tile, rows, blocks),
        }
    }
}

/// `FITTING`: see `neon_levels`.
#[inline(never)]
unsafe fn to_levels<const FITTING: bool>(tile: Tile, mut rows: *const u8, blocks: usize) {
    let mut ending = tile.ending;
    let block = Laid::block(tile.depth);
    for _ in 0..blocks {
        // SAFETY: there are so many rows of levels and scales, and whole panels of each.
        unsafe {
            let sums = sums(tile, rows);
            if FITTING {
                six_rows!(fitting, sums, ending);
            } else {
                six_rows!(any, sums, ending);
            }
            ending.row_scale = ending.row_scale.add(ROWS);
            ending.levels = ending.levels.wrapping_add(ROWS * ending.stride);
            rows = rows.add(block);
        }
    }
}

#[inline(always)]
unsafe fn to_floats(tile: Tile, rows: *const u8, blocks: usize) {
    let Ending { scaled, high, residual, .. } = tile.ending;
    // SAFETY: there are so many rows and a whole panel.
    unsafe {
        match (scaled, high.is_some(), residual.is_null()) {
            (true, false, true) => scaled_alone(tile, rows, blocks),
            (true, true, true) => scaled_held(tile, rows, blocks),
            (true, false, false) => scaled_added(tile, rows, blocks),
            (false, false, true) => alone(tile, rows, blocks),
            (false, true, true) => held(tile, rows, blocks),
            (false, false, false) => added(tile, rows, blocks),
            (_, true, false) => {
                for i in 0..blocks {
                    let sums = sums(tile, rows.add(i * Laid::block(tile.depth)));
                    let sums = sums.map(|row| row.map(|sum| vcvtq_f32_s32(sum)));
                    tile.at_row(i * ROWS).ending.finish::<float32x4_t, true, ROWS, 4>(sums);
                }
            }
        }
    }
}

/// A function for each ending, as no register is left over for another.
macro_rules! floats {
    ($name:ident, $scaled:ident, $then:ident) => {
        #[inline(never)]
        unsafe fn $name(tile: Tile, mut rows: *const u8, blocks: usize) {
            let mut ending = tile.ending;
            let high = ending.high.unwrap_or_default();
            let step = ROWS * ending.stride;
            for _ in 0..blocks {
                // SAFETY: there are so many rows and a whole panel.
                unsafe {
                    let sums = sums(tile, rows);
                    six_float_rows!($scaled, $then, sums, ending, high);
                    ending.row_scale = ending.row_scale.add(ROWS);
                    ending.residual = ending.residual.wrapping_add(step);
                    ending.out = ending.out.wrapping_add(step);
                    rows = rows.add(Laid::block(tile.depth));
                }
            }
        }
    };
}
floats!(scaled_alone, scaled, alone);
floats!(scaled_held, scaled, held);
floats!(scaled_added, scaled, added);
floats!(alone, unscaled, alone);
floats!(held, unscaled, held);
floats!(added, unscaled, added);

/// The same for the last panel, where fewer columns are left.
#[inline(never)]
unsafe fn to_some_floats(tile: Tile, rows: *const u8, blocks: usize) {
    let mut spare = Spare::NEW;
    for i in 0..blocks {
        // SAFETY: there are so many rows, and `spare` has a whole panel.
        unsafe {
            let ending = tile.at_row(i * ROWS).ending;
            let at = Tile { ending: ending.spared(ROWS, &mut spare), ..tile };
            to_floats(at, rows.add(i * Laid::block(tile.depth)), 1);
            ending.take(ROWS, &spare);
        }
    }
}

/// Two registers of columns, in 0 and 1, times the groups of 12 rows, two in each register: the even ones' in lane `$even`.
macro_rules! half_group {
    ($even:literal, $odd:literal) => {
        concat!(
            "ld1 {{v0.16b-v1.16b}}, [{weights}], {pitch}\n",
            half_group!(@ "2", $even "8" "9", $odd "10" "11"),
            half_group!(@ "3", $even "12" "13", $odd "14" "15"),
            half_group!(@ "4", $even "16" "17", $odd "18" "19"),
            half_group!(@ "5", $even "20" "21", $odd "22" "23"),
            half_group!(@ "6", $even "24" "25", $odd "26" "27"),
            half_group!(@ "7", $even "28" "29", $odd "30" "31"),
        )
    };
    (@ $q:literal, $($lane:literal $low:literal $high:literal),*) => {
        concat!($(
            "sdot v", $low, ".4s, v0.16b, v", $q, ".4b[", $lane, "]\n",
            "sdot v", $high, ".4s, v1.16b, v", $q, ".4b[", $lane, "]\n",
        )*)
    };
}

/// `pairs` pairs of blocks of rows, which are laid, times the first half of the panel of `tile`, which has no more columns.
///
/// # Safety
/// There must be so many rows, and the results are floats.
#[inline(never)]
pub(super) unsafe fn run_half(tile: Tile, laid: &Laid, pairs: usize) {
    let block = Laid::block(tile.depth);
    let groups = tile.depth / GROUP;
    for pair in 0..pairs {
        // SAFETY: so many rows are laid; `tile` has as many groups of a panel; the results are two registers wide.
        unsafe {
            let rows = laid.0.as_ptr().cast::<u8>().add(pair * 2 * block);
            let mut sums = [[[vdupq_n_s32(0); 2]; ROWS]; 2];
            let [one, two] = &mut sums;
            asm!(
                ".arch_extension dotprod",
                "ld1 {{v8.4s-v9.4s}}, [{start}]",
                "ld1 {{v10.4s-v11.4s}}, [{start}]",
                "ld1 {{v12.4s-v13.4s}}, [{start}]",
                "ld1 {{v14.4s-v15.4s}}, [{start}]",
                "ld1 {{v16.4s-v17.4s}}, [{start}]",
                "ld1 {{v18.4s-v19.4s}}, [{start}]",
                "ld1 {{v20.4s-v21.4s}}, [{start}]",
                "ld1 {{v22.4s-v23.4s}}, [{start}]",
                "ld1 {{v24.4s-v25.4s}}, [{start}]",
                "ld1 {{v26.4s-v27.4s}}, [{start}]",
                "ld1 {{v28.4s-v29.4s}}, [{start}]",
                "ld1 {{v30.4s-v31.4s}}, [{start}]",
                "cbz {twos}, 3f",
                "2:",
                "ld1 {{v2.16b-v4.16b}}, [{one}], #48",
                "ld1 {{v5.16b-v7.16b}}, [{two}], #48",
                half_group!("0", "2"),
                half_group!("1", "3"),
                "subs {twos}, {twos}, #1",
                "b.ne 2b",
                "3:",
                "tbz {groups}, #0, 4f",
                "ld1 {{v2.16b-v4.16b}}, [{one}]",
                "ld1 {{v5.16b-v7.16b}}, [{two}]",
                half_group!("0", "2"),
                "4:",
                start = in(reg) tile.start(),
                twos = inout(reg) groups / 2 => _,
                groups = in(reg) groups,
                pitch = in(reg) PANEL * GROUP,
                one = inout(reg) rows => _,
                two = inout(reg) rows.add(block) => _,
                weights = inout(reg) tile.weights => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                out("v8") one[0][0], out("v9") one[0][1], out("v10") one[1][0], out("v11") one[1][1],
                out("v12") one[2][0], out("v13") one[2][1], out("v14") one[3][0], out("v15") one[3][1],
                out("v16") one[4][0], out("v17") one[4][1], out("v18") one[5][0], out("v19") one[5][1],
                out("v20") two[0][0], out("v21") two[0][1], out("v22") two[1][0], out("v23") two[1][1],
                out("v24") two[2][0], out("v25") two[2][1], out("v26") two[3][0], out("v27") two[3][1],
                out("v28") two[4][0], out("v29") two[4][1], out("v30") two[5][0], out("v31") two[5][1],
                options(readonly, nostack),
            );
            for (i, sums) in sums.into_iter().enumerate() {
                let sums = sums.map(|row| row.map(|sum| vcvtq_f32_s32(sum)));
                tile.at_row((2 * pair + i) * ROWS).ending.finish_sums::<float32x4_t, ROWS, 2>(sums);
            }
        }
    }
}
