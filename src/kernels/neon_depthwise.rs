//! Depthwise convolution of levels on AArch64 without the dot product: 16 channels at a time, two products summed in 16 bits.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::PANEL;
use super::aligned::Floats;
use super::depthwise_levels::{LevelLines, LevelTaps};
use super::lanes::unroll;
use super::levels::{LIFT, padded};
use super::neon_depthwise_tile::{self, Place};
use super::neon_levels::*;
use super::pack::GROUP;
use super::quantise::ROUNDER;

/// Results side by side that are summed at a time.
const COLUMNS: usize = 4;
/// Level 0.
const BLANK: i8 = -(LIFT as i8);

/// Adds `$x0 * $w0 + $x1 * $w1` of 16 channels to 4 sums. In `asm` because the compiler, left to order the products, holds
/// more of them at a time than there are registers for.
macro_rules! two_taps {
    ($sums:expr, $x0:expr, $w0:expr, $x1:expr, $w1:expr) => {{
        let [a, b, c, d] = &mut $sums;
        asm!(
            "smull {t:v}.8h, {x:v}.8b, {v:v}.8b",
            "smull2 {u:v}.8h, {x:v}.16b, {v:v}.16b",
            "smlal {t:v}.8h, {y:v}.8b, {w:v}.8b",
            "smlal2 {u:v}.8h, {y:v}.16b, {w:v}.16b",
            "saddw {a:v}.4s, {a:v}.4s, {t:v}.4h",
            "saddw2 {b:v}.4s, {b:v}.4s, {t:v}.8h",
            "saddw {c:v}.4s, {c:v}.4s, {u:v}.4h",
            "saddw2 {d:v}.4s, {d:v}.4s, {u:v}.8h",
            a = inout(vreg) *a, b = inout(vreg) *b, c = inout(vreg) *c, d = inout(vreg) *d,
            x = in(vreg) $x0, v = in(vreg) $w0, y = in(vreg) $x1, w = in(vreg) $w1,
            t = out(vreg) _, u = out(vreg) _,
            options(pure, nomem, nostack, preserves_flags)
        )
    }};
}

/// The output rows from `first` on that `out` has room for, `columns` wide; `false` where this kernel or picture is not for
/// this function. `room` is used meanwhile.
///
/// # Safety
/// The sizes must have been checked.
pub(super) unsafe fn slide(
    taps: &LevelTaps,
    lines: LevelLines,
    columns: usize,
    first: usize,
    out: &mut [u8],
    room: &mut Floats,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        match (taps.window.kernel, taps.window.strides[1]) {
            _ if columns < COLUMNS => return false,
            ([3, 3], 1) => blocks::<3, 1>(taps, lines, columns, first, out, room),
            ([3, 3], 2) => blocks::<3, 2>(taps, lines, columns, first, out, room),
            ([5, 5], 1) => blocks::<5, 1>(taps, lines, columns, first, out, room),
            ([5, 5], 2) => blocks::<5, 2>(taps, lines, columns, first, out, room),
            _ => return false,
        }
    }
    true
}

unsafe fn blocks<const K: usize, const S: usize>(
    taps: &LevelTaps,
    lines: LevelLines,
    columns: usize,
    first: usize,
    out: &mut [u8],
    room: &mut Floats,
) {
    let width = (columns - 1) * S + K;
    let room = room.bytes(K * width * PANEL);
    room.fill(BLANK as u8);
    let laid = Laid { rows: room.as_mut_ptr().cast(), width };
    for channel in (0..padded(taps.channels())).step_by(PANEL) {
        // SAFETY: the caller's promise; blocks of 16 channels are whole, and `laid` has room for K rows of `width`.
        unsafe { Block::<K, S>::new(taps, channel).rows(taps, lines, columns, first, out, &laid) };
    }
}

/// The K rows that a row of the result needs, 16 channels of them, with the columns outside the picture: row `r` is row
/// `r % K` here.
struct Laid {
    rows: *mut i8,
    width: usize,
}

/// 16 channels of a layer.
struct Block<const K: usize, const S: usize> {
    weights: [[int8x16_t; K]; K],
    /// The same as `neon_depthwise_tile` reads them.
    ordered: [[int8x16_t; K]; K],
    /// The first channel.
    channel: usize,
}

impl<const K: usize, const S: usize> Block<K, S> {
    unsafe fn new(taps: &LevelTaps, channel: usize) -> Self {
        // SAFETY: the taps of the first row of the result are there for each group of rows, column and channel.
        unsafe {
            let mut weights = [[vdupq_n_s8(0); K]; K];
            let from = taps.bytes.as_ptr().add(channel / PANEL * taps.rows * taps.groups * K * PANEL * GROUP);
            for group in 0..K.div_ceil(GROUP) {
                for kx in 0..K {
                    let four = vld4q_s8(from.add((group * K + kx) * PANEL * GROUP));
                    for (weights, row) in weights[group * GROUP..].iter_mut().zip([four.0, four.1, four.2, four.3]) {
                        weights[kx] = row;
                    }
                }
            }
            Block { weights, ordered: neon_depthwise_tile::ordered(&weights), channel }
        }
    }

    #[inline(never)]
    unsafe fn rows(
        &self,
        taps: &LevelTaps,
        lines: LevelLines,
        columns: usize,
        first: usize,
        out: &mut [u8],
        laid: &Laid,
    ) {
        let whole = padded(taps.channels());
        // Rows are counted from the first one above the picture.
        let [above, ..] = taps.window.pads;
        let mut next = 0;
        for (i, out) in out.chunks_exact_mut(columns * whole).enumerate() {
            let top = (first + i) * taps.window.strides[0];
            // SAFETY: `laid` has K rows; `out` has `columns` columns, of which those of the last tile may be made twice.
            unsafe {
                for row in next.max(top)..top + K {
                    self.lay(
                        taps,
                        lines,
                        row.checked_sub(above),
                        laid.rows.add(row % K * laid.width * PANEL),
                        laid.width,
                    );
                }
                next = top + K;
                let rows: [*const i8; K] =
                    from_fn(|ky| laid.rows.add((top + ky) % K * laid.width * PANEL).cast_const());
                for column in (0..columns).step_by(COLUMNS) {
                    let column = column.min(columns - COLUMNS);
                    let rows = rows.map(|row| row.add(column * S * PANEL));
                    let to = out.as_mut_ptr().add(column * whole + self.channel);
                    let place = Place {
                        taps: self.ordered.as_ptr().cast(),
                        start: taps.start[1].as_ptr().add(self.channel),
                        scale: taps.scale.as_ptr().add(self.channel),
                        shift: taps.shift.as_ptr().add(self.channel),
                        fitting: taps.fitting,
                        to,
                        pitch: whole,
                    };
                    match (K, S) {
                        (3, 1) => neon_depthwise_tile::three(from_fn(|i| rows[i % K]), place),
                        (5, 1) => neon_depthwise_tile::five(from_fn(|i| rows[i % K]), place),
                        _ => self.write(taps, self.tile(taps, rows), to, whole),
                    }
                }
            }
        }
    }

    /// Row `row` of the picture, where it has one, to `to`.
    #[inline(always)]
    unsafe fn lay(&self, taps: &LevelTaps, lines: LevelLines, row: Option<usize>, to: *mut i8, laid: usize) {
        let ([height, width], whole) = (lines.size, padded(taps.channels()));
        let left = taps.window.pads[1].min(laid);
        let inside = width.min(laid - left);
        // SAFETY: rows inside the picture that are needed lie in memory, with `whole` bytes a column; `to` has room for `laid`
        // columns, and those outside the picture stay as they are.
        unsafe {
            let mut to = to.add(left * PANEL);
            if let Some(row) = row.filter(|row| *row < height) {
                let mut from = lines.x.as_ptr().add(row % lines.kept * width * whole + self.channel);
                let fours = inside / 4;
                if fours > 0 {
                    // Loads advance the address, and 4 columns are stored together.
                    asm!(
                        "2:",
                        "ld1 {{v0.16b}}, [{from}], {whole}",
                        "ld1 {{v1.16b}}, [{from}], {whole}",
                        "ld1 {{v2.16b}}, [{from}], {whole}",
                        "ld1 {{v3.16b}}, [{from}], {whole}",
                        "subs {left}, {left}, #1",
                        "st1 {{v0.16b-v3.16b}}, [{to}], #64",
                        "b.ne 2b",
                        left = inout(reg) fours => _,
                        from = inout(reg) from,
                        to = inout(reg) to,
                        whole = in(reg) whole,
                        out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                        options(nostack),
                    );
                }
                for _ in 0..inside % 4 {
                    vst1q_s8(to, vld1q_s8(from.cast()));
                    (from, to) = (from.wrapping_add(whole), to.add(PANEL));
                }
            } else {
                to.write_bytes(BLANK as u8, inside * PANEL);
            }
        }
    }

    /// Sums of COLUMNS results as levels, each `pitch` bytes after the one before.
    #[inline(always)]
    unsafe fn write(&self, taps: &LevelTaps, sums: [[int32x4_t; 4]; COLUMNS], to: *mut u8, pitch: usize) {
        // SAFETY: scales and shifts are padded to whole blocks of 16 channels.
        unsafe {
            let [scale, shift] = [&taps.scale, &taps.shift].map(|values| values.as_ptr().add(self.channel));
            if taps.fitting {
                four_results!(fitting, sums, scale, shift, to, pitch);
            } else {
                four_results!(any, sums, scale, shift, to, pitch);
            }
        }
    }

    /// The sums of COLUMNS results whose windows begin at `rows`.
    #[inline(always)]
    unsafe fn tile(&self, taps: &LevelTaps, rows: [*const i8; K]) -> [[int32x4_t; 4]; COLUMNS] {
        // SAFETY: the caller's promise; there is a start for each channel.
        unsafe {
            let start = taps.start[1].as_ptr().add(self.channel);
            let mut sums = [[vdupq_n_s32(0); 4]; COLUMNS];
            // In `asm` because 4 registers at a time are loaded where the compiler would copy each.
            asm!(
                "ld1 {{v16.4s-v19.4s}}, [{start}]",
                "ld1 {{v20.4s-v23.4s}}, [{start}]",
                "ld1 {{v24.4s-v27.4s}}, [{start}]",
                "ld1 {{v28.4s-v31.4s}}, [{start}]",
                start = in(reg) start,
                out("v16") sums[0][0], out("v17") sums[0][1], out("v18") sums[0][2], out("v19") sums[0][3],
                out("v20") sums[1][0], out("v21") sums[1][1], out("v22") sums[1][2], out("v23") sums[1][3],
                out("v24") sums[2][0], out("v25") sums[2][1], out("v26") sums[2][2], out("v27") sums[2][3],
                out("v28") sums[3][0], out("v29") sums[3][1], out("v30") sums[3][2], out("v31") sums[3][3],
                options(readonly, nostack, preserves_flags),
            );
            let x = |row: *const i8, i: usize| vld1q_s8(row.add(i * PANEL));
            unroll! { KY in 0 2 => {
                if KY + 1 < K {
                    // A column of both rows at a time, as the results need them.
                    let mut seen = [[vdupq_n_s8(0); 2]; 12];
                    unroll! { KX in 0 1 2 3 4 => {
                        if KX < K {
                            let (v, w) = (self.weights[KY][KX], self.weights[KY + 1][KX]);
                            unroll! { J in 0 1 2 3 => {
                                let i = J * S + KX;
                                if KX < S || J == COLUMNS - 1 {
                                    seen[i] = [x(rows[KY], i), x(rows[KY + 1], i)];
                                }
                                two_taps!(sums[J], seen[i][0], v, seen[i][1], w);
                            }}
                        }
                    }}
                }
            }}
            // The last row: its columns in pairs, and what is left.
            let (row, weights) = (rows[K - 1], &self.weights[K - 1]);
            let zero = vdupq_n_s8(0);
            let seen: [int8x16_t; 12] = from_fn(|i| if i < (COLUMNS - 1) * S + K { x(row, i) } else { zero });
            unroll! { KX in 0 2 => {
                if KX + 1 < K {
                    unroll! { J in 0 1 2 3 => {
                        two_taps!(sums[J], seen[J * S + KX], weights[KX], seen[J * S + KX + 1], weights[KX + 1]);
                    }}
                }
            }}
            unroll! { J in 0 1 2 3 => {
                let (x, w) = (seen[J * S + K - 1], weights[K - 1]);
                let (low, high) = (vmull_s8(vget_low_s8(x), vget_low_s8(w)), vmull_high_s8(x, w));
                sums[J][0] = vaddw_s16(sums[J][0], vget_low_s16(low));
                sums[J][1] = vaddw_high_s16(sums[J][1], low);
                sums[J][2] = vaddw_s16(sums[J][2], vget_low_s16(high));
                sums[J][3] = vaddw_high_s16(sums[J][3], high);
            }}
            sums
        }
    }
}
