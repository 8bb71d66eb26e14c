//! Products without `sdot`, 2 rows by a panel at a time, in `asm`: with 16 sums, 8 registers of activations, 4 of weights and
//! 4 of products there is none to spare.
//!
//! A register holds 4 bytes of each of 4 columns, as a panel has them, and 4 bytes of a row are repeated to meet them. What
//! 4 such groups give is summed in 16 bits where it is sure to fit, for all rows or for the 2 at hand (*calm* pieces, see
//! `bounds`; others are *wild*), and in 32 bits from there on. Of rows of levels, pieces that are level 0 in both are left out.

use std::arch::aarch64::*;
use std::arch::asm;
use std::mem::MaybeUninit;

use super::bounds::{MOST_PIECES, PIECE, by_lanes, limits, programme};
use super::ending::{Ending, Spare};
use super::levels::LIFT;
use super::neon_levels::*;
use super::{PANEL, Tile};

/// The most bytes of a column that are turned.
pub(super) const DEEP: usize = MOST_PIECES * PIECE;
/// Bytes of what is seen of the activations of a product.
const SEEN: usize = 8192;

/// A panel, turned: of each [`PIECE`] rows 4 columns at a time, their 4 groups one after another; of the rest 2 groups at a time,
/// an odd one with zeros.
#[repr(align(64))]
pub(super) struct Turned {
    bytes: MaybeUninit<[i8; DEEP * PANEL]>,
    /// What the sums start from, which have two lanes a column.
    start: MaybeUninit<[i32; 2 * PANEL]>,
    /// What [`Turned::look`] saw.
    seen: MaybeUninit<[u16; SEEN / 2]>,
    /// A programme where nothing is known of the weights.
    unknown: MaybeUninit<[u8; 2 * MOST_PIECES + 2]>,
}

/// A look at the activations of a product.
#[derive(Clone, Copy)]
pub(super) struct Look {
    view: View,
    /// Bytes that are seen of 2 rows.
    each: usize,
    /// A programme of calm pieces.
    calm: [u8; 2],
}

/// What is seen of every 2 rows: one of these.
type View = u8;
const NOTHING: View = 0;
/// As [limits](super::bounds::Known::limits) are, half of the largest sum of squares of 4 activations of a row that are 4
/// apart, rounded up.
const ENERGIES: View = 1;
/// Of rows of levels, how many pieces are level 0 throughout, how many after them are not, and so on; none of these at the end.
const LIVE: View = 2;

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

/// All columns of a piece: 4 or 2 times 4.
macro_rules! columns {
    (4, calm) => {
        concat!(
            calm!("16" "17" "24" "25"),
            calm!("18" "19" "26" "27"),
            calm!("20" "21" "28" "29"),
            calm!("22" "23" "30" "31"),
        )
    };
    (2, calm) => {
        concat!(calm!("16" "17" "24" "25"), calm!("18" "19" "26" "27"))
    };
    (4, wild) => {
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
        )
    };
    (2, wild) => {
        concat!(
            wild!("0", "16" "17" "24" "25"),
            wild!("1", "18" "19" "26" "27"),
            "b 9b\n",
            between!("0", "16" "17" "24" "25"),
            between!("1", "18" "19" "26" "27"),
        )
    };
    (4, rest) => {
        concat!(
            rest!("16" "17" "24" "25"),
            rest!("18" "19" "26" "27"),
            rest!("20" "21" "28" "29"),
            rest!("22" "23" "30" "31"),
        )
    };
    (2, rest) => {
        concat!(rest!("16" "17" "24" "25"), rest!("18" "19" "26" "27"))
    };
}

/// The logarithm of the bytes of a piece.
macro_rules! piece_shift {
    (4) => {
        "8"
    };
    (2) => {
        "7"
    };
}

/// The activations of a piece.
macro_rules! activations {
    () => {
        "ld4r {{v8.4s-v11.4s}}, [{one}], #16\n ld4r {{v12.4s-v15.4s}}, [{two}], #16\n"
    };
}

/// `{run}` calm pieces, at least one. An odd number begins with the second of two.
macro_rules! calm_run {
    ($quads:tt) => {
        concat!(
            "tbnz {run}, #0, 22f\n",
            "2:\n",
            activations!(),
            columns!($quads, calm),
            "22:\n",
            activations!(),
            columns!($quads, calm),
            "subs {run}, {run}, #2\n",
            "b.gt 2b\n",
        )
    };
}

/// Sums of a row, 4 columns each.
type Sums = [int32x4_t; 4];

/// The sums of 2 rows of a panel, from `$start` on, as `$code` makes them, which ends at label 6. `$operand`s are those of it
/// alone.
macro_rules! block {
    ($turned:expr, $start:expr, $rows:expr, $sums:expr, $code:expr, $($operand:tt)*) => {
        asm!(
            "ld1 {{v16.4s-v19.4s}}, [{start}]",
            "ld1 {{v20.4s-v23.4s}}, [{more}]",
            "ld1 {{v24.4s-v27.4s}}, [{start}]",
            "ld1 {{v28.4s-v31.4s}}, [{more}]",
            $code,
            "6:",
            "addp v16.4s, v16.4s, v17.4s",
            "addp v17.4s, v18.4s, v19.4s",
            "addp v18.4s, v20.4s, v21.4s",
            "addp v19.4s, v22.4s, v23.4s",
            "addp v20.4s, v24.4s, v25.4s",
            "addp v21.4s, v26.4s, v27.4s",
            "addp v22.4s, v28.4s, v29.4s",
            "addp v23.4s, v30.4s, v31.4s",
            start = in(reg) $start,
            more = in(reg) $start.add(PANEL),
            run = out(reg) _,
            weights = inout(reg) $turned.bytes.as_ptr() => _,
            one = inout(reg) $rows[0] => _,
            two = inout(reg) $rows[1] => _,
            $($operand)*
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") $sums[0][0], out("v17") $sums[0][1], out("v18") $sums[0][2], out("v19") $sums[0][3],
            out("v20") $sums[1][0], out("v21") $sums[1][1], out("v22") $sums[1][2], out("v23") $sums[1][3],
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        )
    };
}

/// As a programme at `$runs` says.
macro_rules! programmed {
    ($quads:tt, $tile:expr, $turned:expr, $runs:expr, $rows:expr, $sums:expr) => {
        block!(
            $turned,
            $turned.start.as_ptr().cast::<i32>(),
            $rows,
            $sums,
            concat!(
                "9:\n",
                "ldrb {run:w}, [{runs}], #1\n",
                "cbz {run}, 8f\n",
                calm_run!($quads),
                "8:\n",
                "ldrb {wild:w}, [{runs}], #1\n",
                "cbz {wild:w}, 3f\n",
                activations!(),
                columns!($quads, wild),
                "3:\n",
                "cbz {rest}, 6f\n",
                "7:\n",
                "ld2r {{v8.4s-v9.4s}}, [{one}], #8\n",
                "ld2r {{v12.4s-v13.4s}}, [{two}], #8\n",
                columns!($quads, rest),
                "subs {rest}, {rest}, #1\n",
                "b.ne 7b\n",
            ),
            runs = inout(reg) $runs => _,
            rest = inout(reg) ($tile.depth % PIECE).div_ceil(8) => _,
            wild = out(reg) _,
        )
    };
}

/// Of the pieces that are not level 0 throughout, as `$live` says, where all are calm.
macro_rules! living {
    ($quads:tt, $turned:expr, $start:expr, $live:expr, $rows:expr, $sums:expr) => {
        block!(
            $turned,
            $start,
            $rows,
            $sums,
            concat!(
                "9:\n",
                "ldrb {dead:w}, [{live}], #1\n",
                "ldrb {run:w}, [{live}], #1\n",
                "cbz {run}, 6f\n",
                "add {weights}, {weights}, {dead}, lsl #", piece_shift!($quads), "\n",
                "add {one}, {one}, {dead}, lsl #4\n",
                "add {two}, {two}, {dead}, lsl #4\n",
                calm_run!($quads),
                "b 9b\n",
            ),
            dead = out(reg) _,
            live = inout(reg) $live => _,
        )
    };
}

/// The first of the `index`th 2 rows. The last may be one of those before them as well.
fn pair(index: usize, rows: usize) -> usize {
    (2 * index).min(rows - 2)
}

impl Look {
    /// Whether all pieces of 2 rows are calm, by what is seen of them.
    #[inline(always)]
    unsafe fn is_calm(&self, seen: *const u8, limits: *const u16) -> bool {
        // SAFETY: there is so much for every 2 rows and for the panel, at least one register.
        unsafe {
            let over = |i: usize| vcgtq_u16(vld1q_u16(seen.cast::<u16>().add(i)), vld1q_u16(limits.add(i)));
            let mut all = over(0);
            for i in (8..self.each / 2).step_by(8) {
                all = vorrq_u16(all, over(i));
            }
            vmaxvq_u16(all) == 0
        }
    }
}

impl Turned {
    pub(super) fn new() -> Self {
        Turned {
            bytes: MaybeUninit::uninit(),
            start: MaybeUninit::uninit(),
            seen: MaybeUninit::uninit(),
            unknown: MaybeUninit::uninit(),
        }
    }

    /// Looks at the activations of a product, before its panels are run.
    ///
    /// # Safety
    /// As for [`Turned::run`].
    pub(super) unsafe fn look(&mut self, tile: Tile, rows: usize) -> Look {
        let (pieces, pairs) = (tile.depth / PIECE, rows.div_ceil(2));
        if tile.known.runs.is_null() {
            programme((0..pieces).map(|_| 15), self.unknown.write([0; 2 * MOST_PIECES + 2]));
        }
        // 2 bytes for every 2 pieces, and for the end.
        let (energies, live) = (2 * limits(pieces), (pieces + 3) / 2 * 2);
        let mut look = Look { view: NOTHING, each: 0, calm: [pieces as u8, 0] };
        // SAFETY: `seen` has room for all pairs.
        unsafe {
            if !tile.known.limits.is_null() && pairs * energies <= SEEN {
                (look.view, look.each) = (ENERGIES, energies);
                self.energies(tile, rows);
            } else if !tile.known.lifts.is_null() && pairs * live <= SEEN {
                (look.view, look.each) = (LIVE, live);
                self.live(tile, rows, live);
            }
        }
        look
    }

    unsafe fn energies(&mut self, tile: Tile, rows: usize) {
        let pieces = tile.depth / PIECE;
        let (count, lanes) = (limits(pieces), by_lanes(pieces));
        let seen = self.seen.as_mut_ptr().cast::<u16>();
        for index in 0..rows.div_ceil(2) {
            // SAFETY: rows have so many whole pieces; `seen` has room for every 2 rows.
            unsafe {
                let (at, to) = (tile.rows.add(pair(index, rows) * tile.depth).cast::<i8>(), seen.add(index * count));
                // What is behind the last piece is above no limit.
                vst1q_u16(to.add(count - 8), vdupq_n_u16(0));
                for piece in 0..pieces {
                    let [one, two] = [0, tile.depth].map(|row| vld1q_s8(at.add(row + piece * PIECE)));
                    // Two squares fit, unsigned.
                    let [one, two] = [one, two]
                        .map(|x| vreinterpretq_u64_s16(vmlal_high_s8(vmull_s8(vget_low_s8(x), vget_low_s8(x)), x, x)));
                    let [low, high] = [vzip1q_u64(one, two), vzip2q_u64(one, two)].map(|x| vreinterpretq_u16_u64(x));
                    let halves = vrhaddq_u16(low, high);
                    let most = vmax_u16(vget_low_u16(halves), vget_high_u16(halves));
                    if lanes {
                        vst1_u16(to.add(4 * piece), most);
                    } else {
                        *to.add(piece) = vmaxv_u16(most);
                    }
                }
            }
        }
    }

    unsafe fn live(&mut self, tile: Tile, rows: usize, each: usize) {
        let pieces = tile.depth / PIECE;
        let seen = self.seen.as_mut_ptr().cast::<u8>();
        let mut live = [0u8; MOST_PIECES];
        for index in 0..rows.div_ceil(2) {
            // SAFETY: rows have so many whole pieces, at least 16; `seen` has room for every 2 rows.
            unsafe {
                let at = tile.rows.add(pair(index, rows) * tile.depth).cast::<i8>();
                for first in (0..pieces).step_by(16) {
                    let first = first.min(pieces - 16);
                    let most = |i: usize| {
                        let at = at.add((first + i) * PIECE);
                        vmaxq_s8(vld1q_s8(at), vld1q_s8(at.add(tile.depth)))
                    };
                    let two = |i: usize| vpmaxq_s8(most(2 * i), most(2 * i + 1));
                    let four = |i: usize| vpmaxq_s8(two(2 * i), two(2 * i + 1));
                    let eight = |i: usize| vpmaxq_s8(four(2 * i), four(2 * i + 1));
                    let above = vcgtq_s8(vpmaxq_s8(eight(0), eight(1)), vdupq_n_s8(-(LIFT as i8)));
                    vst1q_u8(live.as_mut_ptr().add(first), above);
                }
                let mut to = seen.add(index * each);
                let mut piece = 0;
                loop {
                    let count = |from: usize, kind: bool| {
                        live[from..pieces].iter().take_while(|live| (**live != 0) == kind).count()
                    };
                    let dead = count(piece, false);
                    let alive = count(piece + dead, true);
                    piece += dead + alive;
                    *to = dead as u8;
                    *to.add(1) = alive as u8;
                    to = to.add(2);
                    if alive == 0 {
                        break;
                    }
                }
            }
        }
    }

    /// What the sums of live pieces start from, as `start` is.
    #[inline(always)]
    unsafe fn lifted(tile: Tile, live: *const u8, start: &mut MaybeUninit<[i32; 2 * PANEL]>) {
        let lift = |piece: usize, column: usize| {
            // SAFETY: there are 16 columns for each piece and behind the last one.
            unsafe { vld1q_s32(tile.known.lifts.add(piece).cast::<i32>().add(column)) }
        };
        // SAFETY: runs end with none that are live; there is room for 2 lanes of 16 columns.
        unsafe {
            let (mut sums, mut at, mut live) = ([vdupq_n_s32(0); 4], 0, live);
            loop {
                let [dead, alive] = [*live, *live.add(1)].map(usize::from);
                if alive == 0 {
                    break;
                }
                let (from, to) = (at + dead, at + dead + alive);
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = vaddq_s32(*sum, vsubq_s32(lift(to, 4 * i), lift(from, 4 * i)));
                }
                (at, live) = (to, live.add(2));
            }
            for (i, sum) in sums.into_iter().enumerate() {
                vst2q_s32(start.as_mut_ptr().cast::<i32>().add(8 * i), int32x4x2_t(sum, vdupq_n_s32(0)));
            }
        }
    }

    /// All rows of the first `QUADS` (2 or 4) times 4 columns of a panel; the last block overlaps the one before it and
    /// writes the same values.
    ///
    /// # Safety
    /// `tile` must describe valid arrays for at least 2 rows of at most DEEP bytes, with room after them to read 8 bytes at a
    /// time, at which [`Turned::look`] has looked.
    pub(super) unsafe fn run<const QUADS: usize>(&mut self, tile: Tile, look: &Look, rows: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            self.turn::<QUADS>(tile);
            let known = tile.known;
            let runs = if known.runs.is_null() { self.unknown.as_ptr().cast() } else { known.runs };
            let ending = tile.ending;
            let view = if look.view == LIVE && !known.is_calm() { NOTHING } else { look.view };
            match (ending.levels.is_null(), view, ending.scaled) {
                (false, ENERGIES, _) if known.fitting() => self.to_levels::<true, ENERGIES>(tile, look, runs, rows),
                (false, ENERGIES, _) => self.to_levels::<false, ENERGIES>(tile, look, runs, rows),
                (false, _, _) => self.to_levels::<false, NOTHING>(tile, look, runs, rows),
                (true, ENERGIES, true) => self.to_floats::<QUADS, true, ENERGIES>(tile, look, runs, rows),
                (true, ENERGIES, false) => self.to_floats::<QUADS, false, ENERGIES>(tile, look, runs, rows),
                (true, LIVE, false) => self.to_floats::<QUADS, false, LIVE>(tile, look, runs, rows),
                (true, _, true) => self.to_floats::<QUADS, true, NOTHING>(tile, look, runs, rows),
                (true, _, false) => self.to_floats::<QUADS, false, NOTHING>(tile, look, runs, rows),
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

    /// The sums of 2 rows, in registers 16 to 23: those that `tile` is at, of which this was seen.
    #[inline(always)]
    unsafe fn sums<const QUADS: usize, const VIEW: View>(
        &self,
        tile: Tile,
        look: &Look,
        runs: *const u8,
        seen: *const u8,
    ) -> [Sums; 2] {
        // SAFETY: rows have room after them to read 8 bytes at a time, and what is read there meets weights of 0; the panel was
        // turned; programmes end where the pieces do.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 4]; 2];
            if VIEW == LIVE && usize::from(*seen.add(1)) < tile.depth / PIECE {
                self.live_sums::<QUADS>(tile, seen, &mut sums);
                return sums;
            }
            let calm = VIEW == ENERGIES && look.is_calm(seen, tile.known.limits);
            let runs = if calm { look.calm.as_ptr() } else { runs };
            let rows = [tile.rows, tile.rows.wrapping_add(tile.depth)];
            if QUADS == 4 {
                programmed!(4, tile, self, runs, rows, sums);
            } else {
                programmed!(2, tile, self, runs, rows, sums);
            }
            sums
        }
    }

    /// The same where some pieces are level 0.
    #[inline(always)]
    unsafe fn live_sums<const QUADS: usize>(&self, tile: Tile, live: *const u8, sums: &mut [Sums; 2]) {
        // SAFETY: as above.
        unsafe {
            let mut start = MaybeUninit::uninit();
            Self::lifted(tile, live, &mut start);
            let start = start.as_ptr().cast::<i32>();
            let rows = [tile.rows, tile.rows.wrapping_add(tile.depth)];
            if QUADS == 4 {
                living!(4, self, start, live, rows, sums);
            } else {
                living!(2, self, start, live, rows, sums);
            }
        }
    }

    /// `FITTING`: see `neon_levels`.
    #[inline(never)]
    unsafe fn to_levels<const FITTING: bool, const VIEW: View>(
        &self,
        tile: Tile,
        look: &Look,
        runs: *const u8,
        rows: usize,
    ) {
        let (mut at, mut seen) = (tile, self.seen.as_ptr().cast::<u8>());
        for _ in 0..rows / 2 {
            // SAFETY: 2 rows are left, and whole panels of each.
            unsafe { self.two_to_levels::<FITTING, VIEW>(at, look, runs, seen) };
            let levels = at.ending.levels.wrapping_add(2 * at.ending.stride);
            let ending = Ending { row_scale: at.ending.row_scale.wrapping_add(2), levels, ..at.ending };
            at = Tile { rows: at.rows.wrapping_add(2 * at.depth), ending, ..at };
            seen = seen.wrapping_add(look.each);
        }
        if !rows.is_multiple_of(2) {
            // SAFETY: there are at least 2 rows.
            unsafe { self.two_to_levels::<FITTING, VIEW>(tile.at_row(rows - 2), look, runs, seen) };
        }
    }

    #[inline(always)]
    unsafe fn two_to_levels<const FITTING: bool, const VIEW: View>(
        &self,
        tile: Tile,
        look: &Look,
        runs: *const u8,
        seen: *const u8,
    ) {
        let ending = tile.ending;
        // SAFETY: the caller's promise.
        unsafe {
            let sums = self.sums::<4, VIEW>(tile, look, runs, seen);
            if FITTING {
                two_rows!(fitting, sums, ending);
            } else {
                two_rows!(any, sums, ending);
            }
        }
    }

    #[inline(never)]
    unsafe fn to_floats<const QUADS: usize, const SCALED: bool, const VIEW: View>(
        &self,
        tile: Tile,
        look: &Look,
        runs: *const u8,
        rows: usize,
    ) {
        let (mut spare, seen) = (Spare::NEW, self.seen.as_ptr().cast::<u8>());
        let whole = tile.ending.columns >= 4 * QUADS;
        for index in 0..rows.div_ceil(2) {
            // SAFETY: there are at least 2 rows, and so many columns; `spare` has a whole panel.
            unsafe {
                let at = tile.at_row(pair(index, rows));
                let [one, two] = self.sums::<QUADS, VIEW>(at, look, runs, seen.wrapping_add(index * look.each));
                let ending = if whole { at.ending } else { at.ending.spared(2, &mut spare) };
                if QUADS == 4 {
                    let float = |row: Sums| {
                        [vcvtq_f32_s32(row[0]), vcvtq_f32_s32(row[1]), vcvtq_f32_s32(row[2]), vcvtq_f32_s32(row[3])]
                    };
                    ending.finish::<float32x4_t, SCALED, 2, 4>([float(one), float(two)]);
                } else {
                    let float = |row: Sums| [vcvtq_f32_s32(row[0]), vcvtq_f32_s32(row[1])];
                    ending.finish::<float32x4_t, SCALED, 2, 2>([float(one), float(two)]);
                }
                if !whole {
                    at.ending.take(2, &spare);
                }
            }
        }
    }
}
