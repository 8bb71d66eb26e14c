//! AArch64 without the dot product (Cortex-A53, A72): `smull` and `smlal2`, then `sadalp`. Activations stay within 127 and
//! weights within 128, so two products fit 16 bits.
//!
//! For a few rows the panel is read as it is. For more, it is turned first: each column's bytes in one piece, as they lie in
//! the rows, so that nothing has to be repeated in a register.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;
use std::mem::MaybeUninit;

use super::{PANEL, Tile, ending::Spare, lanes::apart, pack::GROUP};

/// Rows from which on it pays to turn a panel.
const MANY: usize = 8;
/// The most bytes of a column that are turned.
const DEEP: usize = 2048;
/// Bytes of a column in one piece.
const PIECE: usize = 16;

/// A panel, turned.
struct Turned {
    /// 4 columns at a time: piece, column, byte.
    bytes: MaybeUninit<[i8; DEEP * PANEL]>,
    /// Of 4 columns at a time, from the lowest bit on: whether two pieces are so small that 4 products of any activations fit
    /// 16 bits. Most are, as few weights come near the largest of their column.
    calm: [u64; 4],
}

/// The most that the magnitudes of 4 weights can sum up to, for 4 products to fit 16 bits.
const CALM: u8 = 254;
const _: () = assert!(CALM < u8::MAX && CALM as i32 * 127 <= i16::MAX as i32 && DEEP <= 2 * PIECE * 64);

/// Adds a row's 16 bytes times those of 4 columns to 4 sums. In `asm` because the compiler, left to order the products of 4
/// rows, holds more of them at a time than there are registers for.
macro_rules! piece {
    ($sums:expr, $row:expr, $columns:expr) => {{
        let ([a, b, c, d], [e, f, g, h]) = (&mut $sums, $columns);
        asm!(
            "smull {i:v}.8h, {e:v}.8b, {row:v}.8b",
            "smull {j:v}.8h, {f:v}.8b, {row:v}.8b",
            "smull {k:v}.8h, {g:v}.8b, {row:v}.8b",
            "smull {l:v}.8h, {h:v}.8b, {row:v}.8b",
            "smlal2 {i:v}.8h, {e:v}.16b, {row:v}.16b",
            "smlal2 {j:v}.8h, {f:v}.16b, {row:v}.16b",
            "smlal2 {k:v}.8h, {g:v}.16b, {row:v}.16b",
            "smlal2 {l:v}.8h, {h:v}.16b, {row:v}.16b",
            "sadalp {a:v}.4s, {i:v}.8h",
            "sadalp {b:v}.4s, {j:v}.8h",
            "sadalp {c:v}.4s, {k:v}.8h",
            "sadalp {d:v}.4s, {l:v}.8h",
            a = inout(vreg) *a, b = inout(vreg) *b, c = inout(vreg) *c, d = inout(vreg) *d,
            e = in(vreg) e, f = in(vreg) f, g = in(vreg) g, h = in(vreg) h, row = in(vreg) $row,
            i = out(vreg) _, j = out(vreg) _, k = out(vreg) _, l = out(vreg) _,
            options(pure, nomem, nostack, preserves_flags)
        )
    }};
}

/// The same for the next 32 bytes of a row, which it loads; `$between` is what follows the first 16.
macro_rules! pieces {
    ($sums:expr, $row:expr, $columns:expr, $rest:expr, $($between:literal),*) => {{
        let ([a, b, c, d], row, [e, f, g, h], [m, n, o, p]) = (&mut $sums, $row, $columns, $rest);
        asm!(
            "ldp {q:q}, {r:q}, [{row}], #32",
            "smull {i:v}.8h, {e:v}.8b, {q:v}.8b",
            "smull {j:v}.8h, {f:v}.8b, {q:v}.8b",
            "smull {k:v}.8h, {g:v}.8b, {q:v}.8b",
            "smull {l:v}.8h, {h:v}.8b, {q:v}.8b",
            "smlal2 {i:v}.8h, {e:v}.16b, {q:v}.16b",
            "smlal2 {j:v}.8h, {f:v}.16b, {q:v}.16b",
            "smlal2 {k:v}.8h, {g:v}.16b, {q:v}.16b",
            "smlal2 {l:v}.8h, {h:v}.16b, {q:v}.16b",
            $($between,)*
            "smlal2 {i:v}.8h, {m:v}.16b, {r:v}.16b",
            "smlal2 {j:v}.8h, {n:v}.16b, {r:v}.16b",
            "smlal2 {k:v}.8h, {o:v}.16b, {r:v}.16b",
            "smlal2 {l:v}.8h, {p:v}.16b, {r:v}.16b",
            "sadalp {a:v}.4s, {i:v}.8h",
            "sadalp {b:v}.4s, {j:v}.8h",
            "sadalp {c:v}.4s, {k:v}.8h",
            "sadalp {d:v}.4s, {l:v}.8h",
            a = inout(vreg) *a, b = inout(vreg) *b, c = inout(vreg) *c, d = inout(vreg) *d,
            e = in(vreg) e, f = in(vreg) f, g = in(vreg) g, h = in(vreg) h,
            m = in(vreg) m, n = in(vreg) n, o = in(vreg) o, p = in(vreg) p,
            i = out(vreg) _, j = out(vreg) _, k = out(vreg) _, l = out(vreg) _,
            q = out(vreg) _, r = out(vreg) _, row = inout(reg) *row,
            options(readonly, nostack, preserves_flags)
        )
    }};
}

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
/// `tile` must describe valid arrays for `rows` and `panels`.
pub(super) unsafe fn multiply(tile: Tile, rows: usize, panels: usize) {
    let many = rows >= MANY && tile.depth <= DEEP;
    let mut turned = Turned { bytes: MaybeUninit::uninit(), calm: [0; 4] };
    for panel in 0..panels {
        // SAFETY: `panel < panels`, and no block has more rows than there are.
        unsafe {
            let tile = tile.at_panel(panel);
            if many {
                turn(tile, &mut turned);
                for v in 0..tile.ending.columns.div_ceil(4).min(4) {
                    let weights = turned.bytes.as_ptr().cast::<i8>().add(v * tile.depth.div_ceil(PIECE) * PIECE * 4);
                    let start = tile.start().add(4 * v);
                    let tile = Tile { weights, start, ending: tile.ending.at_column(4 * v), ..tile };
                    four_columns(tile, turned.calm[v], rows);
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

/// Groups of 4 bytes of 4 columns to pieces of 16, the last one padded with zeros.
unsafe fn turn(tile: Tile, turned: &mut Turned) {
    let groups = tile.depth / GROUP;
    let mut to = turned.bytes.as_mut_ptr().cast::<i32>();
    for v in 0..tile.ending.columns.div_ceil(4).min(4) {
        // SAFETY: only groups of the panel are read; `turned` has room for DEEP bytes of each column.
        unsafe {
            let mut from = tile.weights.add(v * 16).cast::<i32>();
            let group = |from: *const i32, i: usize| vld1q_s32(from.add(i * PANEL));
            let mut calm = 0;
            for pair in 0..groups / 8 {
                let eight: [_; 8] = from_fn(|i| group(from, i));
                vst4q_s32(to, int32x4x4_t(eight[0], eight[1], eight[2], eight[3]));
                vst4q_s32(to.add(PIECE), int32x4x4_t(eight[4], eight[5], eight[6], eight[7]));
                let magnitude = |i: usize| vreinterpretq_u8_s8(vabsq_s8(vreinterpretq_s8_s32(eight[i])));
                // Bytes that meet in a lane of the products, 4 columns at a time.
                let sum = |i| {
                    let sums = vqaddq_u8(magnitude(i), magnitude(i + 2));
                    vqaddq_u8(sums, vqaddq_u8(magnitude(i + 4), magnitude(i + 6)))
                };
                calm |= u64::from(vmaxvq_u8(vmaxq_u8(sum(0), sum(1))) <= CALM) << pair;
                from = from.add(8 * PANEL);
                to = to.add(2 * PIECE);
            }
            turned.calm[v] = calm;
            let left = groups % 8;
            for first in (0..left).step_by(4) {
                let some = |i: usize| if first + i < left { group(from, first + i) } else { vdupq_n_s32(0) };
                vst4q_s32(to, int32x4x4_t(some(0), some(1), some(2), some(3)));
                to = to.add(PIECE);
            }
        }
    }
}

/// All rows of 4 turned columns; the last block overlaps the one before it and writes the same values.
#[inline(never)]
unsafe fn four_columns(tile: Tile, calm: u64, rows: usize) {
    let mut spare = Spare::NEW;
    let whole = tile.ending.columns >= 4;
    let (mut at, mut left) = (tile, rows);
    loop {
        // SAFETY: there are at least MANY rows, and 4 columns or `spare`, which has as many.
        unsafe {
            if whole {
                block(at, calm);
            } else {
                block(Tile { ending: at.ending.spared(4, &mut spare), ..at }, calm);
                at.ending.take(4, &spare);
            }
            left -= 4;
            match left {
                0 => return,
                1..4 => (at, left) = (tile.at_row(rows - 4), 4),
                _ => at = at.at_row(4),
            }
        }
    }
}

/// 4 rows of 4 turned columns: 16 sums, the 4 lanes of each to be added.
#[inline(always)]
unsafe fn block(tile: Tile, mut calm: u64) {
    // SAFETY: `tile` holds 4 rows of `depth` bytes, with room after them to read a whole piece, and 4 columns of whole pieces.
    // What is read after a row meets weights of 0.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 4]; 4];
        let mut rows: [*const i8; 4] = from_fn(|m| apart(tile.rows.cast::<i8>().add(m * tile.depth)));
        let mut weights = tile.weights;
        let pieces = tile.depth / PIECE;
        for _ in 0..pieces / 2 {
            let [one, two] = [0, 1].map(|i| {
                let w = vld1q_s8_x4(weights.add(i * 4 * PIECE));
                [w.0, w.1, w.2, w.3]
            });
            if calm & 1 != 0 {
                for (sums, row) in sums.iter_mut().zip(&mut rows) {
                    pieces!(
                        *sums,
                        row,
                        one,
                        two,
                        "smlal {i:v}.8h, {m:v}.8b, {r:v}.8b",
                        "smlal {j:v}.8h, {n:v}.8b, {r:v}.8b",
                        "smlal {k:v}.8h, {o:v}.8b, {r:v}.8b",
                        "smlal {l:v}.8h, {p:v}.8b, {r:v}.8b"
                    );
                }
            } else {
                for (sums, row) in sums.iter_mut().zip(&mut rows) {
                    pieces!(
                        *sums,
                        row,
                        one,
                        two,
                        "sadalp {a:v}.4s, {i:v}.8h",
                        "sadalp {b:v}.4s, {j:v}.8h",
                        "sadalp {c:v}.4s, {k:v}.8h",
                        "sadalp {d:v}.4s, {l:v}.8h",
                        "smull {i:v}.8h, {m:v}.8b, {r:v}.8b",
                        "smull {j:v}.8h, {n:v}.8b, {r:v}.8b",
                        "smull {k:v}.8h, {o:v}.8b, {r:v}.8b",
                        "smull {l:v}.8h, {p:v}.8b, {r:v}.8b"
                    );
                }
            }
            calm >>= 1;
            weights = weights.add(8 * PIECE);
        }
        if !pieces.is_multiple_of(2) {
            let w = vld1q_s8_x4(weights);
            for (sums, row) in sums.iter_mut().zip(&mut rows) {
                piece!(*sums, vld1q_s8(*row), [w.0, w.1, w.2, w.3]);
                *row = row.add(PIECE);
            }
            weights = weights.add(4 * PIECE);
        }
        match tile.depth % PIECE {
            0 => {}
            1..=8 => {
                let w: [_; 4] = from_fn(|column| vld1_s8(weights.add(column * PIECE)));
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let q = vld1_s8(row);
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = vpadalq_s16(*sum, vmull_s8(q, w));
                    }
                }
            }
            _ => {
                let w = vld1q_s8_x4(weights);
                for (sums, row) in sums.iter_mut().zip(rows) {
                    piece!(*sums, vld1q_s8(row), [w.0, w.1, w.2, w.3]);
                }
            }
        }
        let start = vld1q_s32(tile.start);
        let whole = |[a, b, c, d]: [_; 4]| vaddq_s32(vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)), start);
        let sums = sums.map(|sums| [vcvtq_f32_s32(whole(sums))]);
        tile.ending.finish::<float32x4_t, true, 4, 1>(sums);
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
