//! Depthwise convolution of levels on AArch64 without the dot product: 16 channels at a time, as many products summed in 16
//! bits as fit.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::PANEL;
use super::aligned::Floats;
use super::depthwise_levels::{LevelLines, LevelTaps};
use super::levels::{LIFT, padded};
use super::neon_depthwise_tile::{self, LIGHT, Place};
use super::pack::GROUP;

/// Results side by side that are summed at a time.
const COLUMNS: usize = 4;
/// Level 0.
const BLANK: i8 = -(LIFT as i8);

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
    /// See [`Place`].
    light: bool,
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
            // Magnitudes are unsigned: that of -128 is 128.
            let heaviest = weights.iter().map(|row| {
                let sum = |of: fn(uint8x16_t) -> uint8x8_t| {
                    let add = |sum, w: &int8x16_t| vaddw_u8(sum, of(vreinterpretq_u8_s8(vabsq_s8(*w))));
                    u32::from(vmaxvq_u16(row.iter().fold(vdupq_n_u16(0), add)))
                };
                sum(|w| vget_low_u8(w)).max(sum(|w| vget_high_u8(w)))
            });
            let light = heaviest.max() <= Some(LIGHT);
            Block { weights, light, channel }
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
                        taps: self.weights.as_ptr().cast(),
                        light: self.light,
                        start: taps.start[1].as_ptr().add(self.channel),
                        scale: taps.scale.as_ptr().add(self.channel),
                        shift: taps.shift.as_ptr().add(self.channel),
                        fitting: taps.fitting,
                        to,
                        pitch: whole,
                    };
                    if K == 3 {
                        neon_depthwise_tile::three::<S>(from_fn(|i| rows[i % K]), place);
                    } else {
                        neon_depthwise_tile::five::<S>(from_fn(|i| rows[i % K]), place);
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
}
