//! Products without `sdot`, 2 rows by a panel at a time, in `asm`: with 16 sums, 8 registers of activations, 4 of weights and
//! 4 of products there is none to spare.
//!
//! A register holds 4 bytes of each of 4 columns, as a panel has them, and 4 bytes of a row are repeated to meet them. What
//! 4 such groups give is summed in 16 bits where it fits, and in 32 bits from there on.

use std::arch::aarch64::*;
use std::arch::asm;
use std::mem::MaybeUninit;

use super::bounds::PIECE;
use super::ending::{Ending, Spare};
use super::neon_levels::*;
use super::{PANEL, Tile};

/// The most bytes of a column that are turned.
pub(super) const DEEP: usize = 2048;

/// A panel, turned: of each [`PIECE`] rows 4 columns at a time, their 4 groups one after another; of the rest 2 groups at a time,
/// an odd one with zeros.
#[repr(align(64))]
pub(super) struct Turned {
    bytes: MaybeUninit<[i8; DEEP * PANEL]>,
    /// What the sums start from, which have two lanes a column.
    start: MaybeUninit<[i32; 2 * PANEL]>,
    /// For each piece, half of the largest sum of squares of 4 activations of a row that are 4 apart, rounded up.
    energy: [u16; DEEP / PIECE],
    /// How many pieces are calm, the bits of the wild one after them, and so on; no bits at the end.
    runs: [u8; 2 * (DEEP / PIECE) + 2],
}

/// The products of 4 columns and 4 bytes of both rows: the group's weights, and its activations of each row.
macro_rules! products {
    ($multiply:literal, $w:literal, $one:literal, $two:literal) => {
        concat!(
            $multiply,
            " v4.8h, v",
            $w,
            ".8b, v",
            $one,
            ".8b\n",
            $multiply,
            "2 v5.8h, v",
            $w,
            ".16b, v",
            $one,
            ".16b\n",
            $multiply,
            " v6.8h, v",
            $w,
            ".8b, v",
            $two,
            ".8b\n",
            $multiply,
            "2 v7.8h, v",
            $w,
            ".16b, v",
            $two,
            ".16b\n",
        )
    };
}

/// Products to the sums of 4 columns, two registers a row.
macro_rules! add {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "sadalp v",
            $a,
            ".4s, v4.8h\n",
            "sadalp v",
            $b,
            ".4s, v5.8h\n",
            "sadalp v",
            $c,
            ".4s, v6.8h\n",
            "sadalp v",
            $d,
            ".4s, v7.8h\n",
        )
    };
}

/// 4 columns of a piece.
macro_rules! calm {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{weights}], #64\n",
            products!("smull", "0", "8", "12"),
            products!("smlal", "1", "9", "13"),
            products!("smlal", "2", "10", "14"),
            products!("smlal", "3", "11", "15"),
            add!($a $b $c $d),
        )
    };
}

/// The same of a piece where `{wild}` says by bit `$bit` whether 4 products do not fit 16 bits: two are added first then.
macro_rules! wild {
    ($bit:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ld1 {{v0.16b-v3.16b}}, [{weights}], #64\n",
            products!("smull", "0", "8", "12"),
            products!("smlal", "1", "9", "13"),
            "tbnz {wild:w}, #", $bit, ", 5", $bit, "f\n",
            products!("smlal", "2", "10", "14"),
            "4", $bit, ":\n",
            products!("smlal", "3", "11", "15"),
            add!($a $b $c $d),
        )
    };
}

/// The addition in between, out of the way.
macro_rules! between {
    ($bit:literal, $a:literal $b:literal $c:literal $d:literal) => {
        concat!("5", $bit, ":\n", add!($a $b $c $d), products!("smull", "2", "10", "14"), "b 4", $bit, "b\n")
    };
}

/// 4 columns of the last two groups.
macro_rules! rest {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ld1 {{v0.16b-v1.16b}}, [{weights}], #32\n",
            products!("smull", "0", "8", "12"),
            products!("smlal", "1", "9", "13"),
            add!($a $b $c $d),
        )
    };
}

/// `$count` sums of a row, 4 columns each.
type Sums = [int32x4_t; 4];

macro_rules! block {
    ($tile:expr, $turned:expr, $one:expr, $two:expr, $sums:expr, $calm:expr, $wild:expr, $rest:expr) => {
        asm!(
            "ld1 {{v16.4s-v19.4s}}, [{start}]",
            "ld1 {{v20.4s-v23.4s}}, [{more}]",
            "ld1 {{v24.4s-v27.4s}}, [{start}]",
            "ld1 {{v28.4s-v31.4s}}, [{more}]",
            "9:",
            "ldrb {run:w}, [{runs}], #1",
            "cbz {run}, 8f",
            // An odd number begins with the second of two.
            "tbnz {run}, #0, 22f",
            "2:",
            "ld4r {{v8.4s-v11.4s}}, [{one}], #16",
            "ld4r {{v12.4s-v15.4s}}, [{two}], #16",
            $calm,
            "22:",
            "ld4r {{v8.4s-v11.4s}}, [{one}], #16",
            "ld4r {{v12.4s-v15.4s}}, [{two}], #16",
            $calm,
            "subs {run}, {run}, #2",
            "b.gt 2b",
            "8:",
            "ldrb {wild:w}, [{runs}], #1",
            "cbz {wild:w}, 3f",
            "ld4r {{v8.4s-v11.4s}}, [{one}], #16",
            "ld4r {{v12.4s-v15.4s}}, [{two}], #16",
            $wild,
            "3:",
            "cbz {rest}, 6f",
            "7:",
            "ld2r {{v8.4s-v9.4s}}, [{one}], #8",
            "ld2r {{v12.4s-v13.4s}}, [{two}], #8",
            $rest,
            "subs {rest}, {rest}, #1",
            "b.ne 7b",
            "6:",
            "addp v16.4s, v16.4s, v17.4s",
            "addp v17.4s, v18.4s, v19.4s",
            "addp v18.4s, v20.4s, v21.4s",
            "addp v19.4s, v22.4s, v23.4s",
            "addp v20.4s, v24.4s, v25.4s",
            "addp v21.4s, v26.4s, v27.4s",
            "addp v22.4s, v28.4s, v29.4s",
            "addp v23.4s, v30.4s, v31.4s",
            start = in(reg) $turned.start.as_ptr().cast::<i32>(),
            more = in(reg) $turned.start.as_ptr().cast::<i32>().add(PANEL),
            run = out(reg) _,
            runs = inout(reg) $turned.runs.as_ptr() => _,
            rest = inout(reg) ($tile.depth % PIECE).div_ceil(8) => _,
            wild = out(reg) _,
            weights = inout(reg) $turned.bytes.as_ptr() => _,
            one = inout(reg) $one => _,
            two = inout(reg) $two => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") $sums[0][0], out("v17") $sums[0][1], out("v18") $sums[0][2], out("v19") $sums[0][3],
            out("v20") $sums[1][0], out("v21") $sums[1][1], out("v22") $sums[1][2], out("v23") $sums[1][3],
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        )
    };
}

impl Turned {
    pub(super) fn new() -> Self {
        Turned {
            bytes: MaybeUninit::uninit(),
            start: MaybeUninit::uninit(),
            energy: [u16::MAX; DEEP / PIECE],
            runs: [0; 2 * (DEEP / PIECE) + 2],
        }
    }

    /// Looks at the activations of a product, before its panels are run.
    ///
    /// # Safety
    /// As for [`Turned::run`].
    pub(super) unsafe fn look(&mut self, tile: Tile, rows: usize) {
        if tile.known.energy.is_null() {
            return self.energy.fill(u16::MAX);
        }
        for (piece, energy) in self.energy[..tile.depth / PIECE].iter_mut().enumerate() {
            // SAFETY: rows have so many whole pieces.
            unsafe {
                let mut most = vdupq_n_u16(0);
                for row in 0..rows {
                    let x = vld1q_s8(tile.rows.add(row * tile.depth + piece * PIECE).cast());
                    // Two squares fit, unsigned.
                    let squares = vmlal_high_s8(vmull_s8(vget_low_s8(x), vget_low_s8(x)), x, x);
                    most = vmaxq_u16(most, vreinterpretq_u16_s16(squares));
                }
                *energy = vmaxv_u16(vrhadd_u16(vget_low_u16(most), vget_high_u16(most)));
            }
        }
    }

    /// Which pieces of a panel are calm.
    unsafe fn plan(&mut self, tile: Tile) {
        let (mut calm, mut at) = (0, 0);
        for (piece, energy) in self.energy[..tile.depth / PIECE].iter().enumerate() {
            // SAFETY: there are bits and 4 numbers for each piece, where they are known.
            let wild = unsafe {
                let mut wild = if tile.known.wild.is_null() { 15 } else { *tile.known.wild.add(piece) };
                if wild != 0 && !tile.known.energy.is_null() {
                    let over = vcgt_u16(vdup_n_u16(*energy), vld1_u16(tile.known.energy.add(piece).cast()));
                    wild &= vaddv_u16(vand_u16(over, vcreate_u16(0x0008_0004_0002_0001))) as u8;
                }
                wild
            };
            calm += 1;
            if wild != 0 {
                self.runs[at..at + 2].copy_from_slice(&[calm - 1, wild]);
                (calm, at) = (0, at + 2);
            }
        }
        self.runs[at..at + 2].copy_from_slice(&[calm, 0]);
    }

    /// All rows of the first `QUADS` (2 or 4) times 4 columns of a panel; the last block overlaps the one before it and
    /// writes the same values.
    ///
    /// # Safety
    /// `tile` must describe valid arrays for at least 2 rows of at most DEEP bytes, with room after them to read 8 bytes at a
    /// time, at which [`Turned::look`] has looked.
    pub(super) unsafe fn run<const QUADS: usize>(&mut self, tile: Tile, rows: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            self.plan(tile);
            self.turn::<QUADS>(tile);
            let ending = tile.ending;
            match (ending.levels.is_null(), ending.columns >= 4 * QUADS) {
                (false, _) if tile.known.fitting() => self.to_levels::<true>(tile, rows),
                (false, _) => self.to_levels::<false>(tile, rows),
                (true, true) => self.to_floats::<QUADS>(tile, rows),
                (true, false) => self.to_some_floats::<QUADS>(tile, rows),
            }
        }
    }

    unsafe fn turn<const QUADS: usize>(&mut self, tile: Tile) {
        // SAFETY: only groups of the panel are read; `bytes` has room for DEEP bytes of each column.
        unsafe {
            let (mut from, mut to) = (tile.weights, self.bytes.as_mut_ptr().cast::<i8>());
            for _ in 0..tile.depth / PIECE {
                if QUADS == 4 {
                    asm!(
                        "ldp q0, q4, [{from}]",
                        "ldp q16, q20, [{from}, #32]",
                        "ldp q1, q5, [{from}, #64]",
                        "ldp q17, q21, [{from}, #96]",
                        "ldp q2, q6, [{from}, #128]",
                        "ldp q18, q22, [{from}, #160]",
                        "ldp q3, q7, [{from}, #192]",
                        "ldp q19, q23, [{from}, #224]",
                        "st1 {{v0.16b-v3.16b}}, [{to}], #64",
                        "st1 {{v4.16b-v7.16b}}, [{to}], #64",
                        "st1 {{v16.16b-v19.16b}}, [{to}], #64",
                        "st1 {{v20.16b-v23.16b}}, [{to}], #64",
                        from = in(reg) from,
                        to = inout(reg) to,
                        out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
                        out("v7") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _,
                        out("v21") _, out("v22") _, out("v23") _,
                        options(nostack, preserves_flags),
                    );
                } else {
                    for quad in 0..QUADS {
                        let group = |i: usize| vld1q_s8(from.add(i * PANEL * 4 + quad * 16));
                        vst1q_s8_x4(to, int8x16x4_t(group(0), group(1), group(2), group(3)));
                        to = to.add(64);
                    }
                }
                from = from.add(PIECE * PANEL);
            }
            let left = tile.depth % PIECE / 4;
            for first in (0..left).step_by(2) {
                for quad in 0..QUADS {
                    let group = |i: usize| {
                        let inside = first + i < left;
                        if inside { vld1q_s8(from.add((first + i) * PANEL * 4 + quad * 16)) } else { vdupq_n_s8(0) }
                    };
                    vst1q_s8_x2(to, int8x16x2_t(group(0), group(1)));
                    to = to.add(32);
                }
            }
            let (start, zero) = (tile.start(), vdupq_n_s32(0));
            for i in (0..PANEL).step_by(4) {
                let to = self.start.as_mut_ptr().cast::<i32>().add(2 * i);
                vst2q_s32(to, int32x4x2_t(vld1q_s32(start.add(i)), zero));
            }
        }
    }

    /// The sums of 2 rows, in registers 16 to 23.
    #[inline(always)]
    unsafe fn sums<const QUADS: usize>(&self, tile: Tile, one: *const u8, two: *const u8) -> [Sums; 2] {
        // SAFETY: rows have room after them to read 8 bytes at a time, and what is read there meets weights of 0; the panel was
        // turned; there is a byte for each piece in `wild`.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 4]; 2];
            if QUADS == 4 {
                block!(
                    tile,
                    self,
                    one,
                    two,
                    sums,
                    concat!(
                        calm!("16" "17" "24" "25"),
                        calm!("18" "19" "26" "27"),
                        calm!("20" "21" "28" "29"),
                        calm!("22" "23" "30" "31"),
                    ),
                    concat!(
                        wild!("0", "16" "17" "24" "25"),
                        wild!("1", "18" "19" "26" "27"),
                        wild!("2", "20" "21" "28" "29"),
                        wild!("3", "22" "23" "30" "31"),
                        "b 9b\n",
                        between!("0", "16" "17" "24" "25"),
                        between!("1", "18" "19" "26" "27"),
                        between!("2", "20" "21" "28" "29"),
                        between!("3", "22" "23" "30" "31"),
                    ),
                    concat!(
                        rest!("16" "17" "24" "25"),
                        rest!("18" "19" "26" "27"),
                        rest!("20" "21" "28" "29"),
                        rest!("22" "23" "30" "31"),
                    )
                );
            } else {
                block!(
                    tile,
                    self,
                    one,
                    two,
                    sums,
                    concat!(calm!("16" "17" "24" "25"), calm!("18" "19" "26" "27")),
                    concat!(
                        wild!("0", "16" "17" "24" "25"),
                        wild!("1", "18" "19" "26" "27"),
                        "b 9b\n",
                        between!("0", "16" "17" "24" "25"),
                        between!("1", "18" "19" "26" "27"),
                    ),
                    concat!(rest!("16" "17" "24" "25"), rest!("18" "19" "26" "27"))
                );
            }
            sums
        }
    }

    /// `FITTING`: see `neon_levels`.
    #[inline(never)]
    unsafe fn to_levels<const FITTING: bool>(&self, tile: Tile, rows: usize) {
        let mut at = tile;
        for _ in 0..rows / 2 {
            // SAFETY: 2 rows are left, and whole panels of each.
            unsafe { at = self.two_to_levels::<FITTING>(at) };
        }
        if !rows.is_multiple_of(2) {
            // SAFETY: there are at least 2 rows.
            unsafe { self.two_to_levels::<FITTING>(tile.at_row(rows - 2)) };
        }
    }

    /// What follows the 2 rows.
    #[inline(always)]
    unsafe fn two_to_levels<const FITTING: bool>(&self, tile: Tile) -> Tile {
        let ending = tile.ending;
        // SAFETY: the caller's promise.
        unsafe {
            let two = tile.rows.add(tile.depth);
            let sums = self.sums::<4>(tile, tile.rows, two);
            if FITTING {
                two_rows!(fitting, sums, ending);
            } else {
                two_rows!(any, sums, ending);
            }
            let levels = ending.levels.wrapping_add(2 * ending.stride);
            let ending = Ending { row_scale: ending.row_scale.add(2), levels, ..ending };
            Tile { rows: two.wrapping_add(tile.depth), ending, ..tile }
        }
    }

    #[inline(never)]
    unsafe fn to_floats<const QUADS: usize>(&self, tile: Tile, rows: usize) {
        for row in (0..rows).step_by(2) {
            // SAFETY: there are at least 2 rows, and so many columns.
            unsafe {
                let at = tile.at_row(row.min(rows - 2));
                let [one, two] = self.sums::<QUADS>(at, at.rows, at.rows.add(at.depth));
                let floats = [one, two].map(|row| row.map(|sum| vcvtq_f32_s32(sum)));
                if QUADS == 4 {
                    at.ending.finish_sums::<float32x4_t, 2, 4>(floats);
                } else {
                    at.ending.finish_sums::<float32x4_t, 2, 2>(floats.map(|row| [row[0], row[1]]));
                }
            }
        }
    }

    /// The same for the last panel, where fewer columns are left.
    #[inline(never)]
    unsafe fn to_some_floats<const QUADS: usize>(&self, tile: Tile, rows: usize) {
        let mut spare = Spare::NEW;
        for row in (0..rows).step_by(2) {
            // SAFETY: there are at least 2 rows, and `spare` has a whole panel.
            unsafe {
                let at = tile.at_row(row.min(rows - 2));
                self.to_floats::<QUADS>(Tile { ending: at.ending.spared(2, &mut spare), ..at }, 2);
                at.ending.take(2, &spare);
            }
        }
    }
}
