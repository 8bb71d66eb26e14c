//! Depthwise convolution, channels last, from levels to levels, in whole numbers.
//!
//! Four rows of the picture at a time are laid so that the four bytes of a channel lie side by side; one instruction then
//! does four taps of one column of a kernel. Where the kernel is less high than the rows so laid, the taps move down in them
//! and several rows of the result come from the same ones. Outside the picture lies level 0.

use super::aligned::Floats;
use super::dots::{Dots, multidots};
use super::lanes::{Lanes, unroll};
use super::levels::{LIFT, Shift, TOP_LEVEL, padded};
use super::quantise::ROUNDER;
use super::{Kernel, PANEL, Window};

/// Rows that lie side by side.
const GROUP: usize = 4;
/// Results side by side that are summed at a time.
pub(super) const COLUMNS: usize = 8;

/// The taps of a depthwise layer whose input and output are levels, with a ReLU at its end whose bound is the last level.
#[derive(Clone)]
pub struct LevelTaps {
    pub(super) window: Window,
    channels: usize,
    /// `[block of 16 channels, row of the result, group, kernel width, channel, row of the group]`
    pub(super) bytes: Vec<i8>,
    /// What sums start from, where levels are as they are and where they are signed.
    pub(super) start: [Vec<i32>; 2],
    /// From sums to levels: see [`Shift`].
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    /// Groups of rows, and rows of the result that they give.
    pub(super) groups: usize,
    pub(super) rows: usize,
    /// Whether all results are sure to fit 16 bits: see `neon_levels`.
    #[cfg(target_arch = "aarch64")]
    pub(super) fitting: bool,
}

/// A picture `[size[0], size[1], padded channels]` in levels, of which some rows are in memory.
#[derive(Debug, Clone, Copy)]
pub struct LevelLines<'a> {
    /// Whole rows. Row `r` of the picture is row `r % kept` here.
    pub x: &'a [u8],
    /// Rows that `x` has room for; the picture's height when all are there.
    pub kept: usize,
    /// Height and width of the picture.
    pub size: [usize; 2],
}

impl LevelTaps {
    /// `weight` is `[kernel height * kernel width, channels]`, scale and bias are per channel; `steps` of the input and of the
    /// output. `None` where a sum or a result could be too large.
    ///
    /// # Panics
    /// When the shapes do not fit together or a step is not above 0.
    pub fn new(window: Window, weight: &[i8], scale: &[f32], bias: &[f32], steps: [f32; 2]) -> Option<Self> {
        let [height, width] = window.kernel;
        let channels = scale.len();
        assert!(weight.len() == height * width * channels && bias.len() == channels, "shapes");
        assert!(steps.iter().all(|step| *step > 0.0), "steps");
        let groups = height.div_ceil(GROUP);
        let rows = (groups * GROUP - height) / window.strides[0] + 1;
        let whole = padded(channels);
        let mut bytes = vec![0; whole * rows * groups * width * GROUP];
        let mut shifts = vec![Shift::NONE; whole];
        let mut start = [vec![ROUNDER.to_bits() as i32; whole], vec![ROUNDER.to_bits() as i32; whole]];
        for channel in 0..channels {
            let tap = |ky: usize, kx: usize| weight[(ky * width + kx) * channels + channel];
            for (row, ky) in (0..rows).flat_map(|row| (0..height).map(move |ky| (row, ky))) {
                let at = row * window.strides[0] + ky;
                let block = ((channel / PANEL * rows + row) * groups + at / GROUP) * width;
                for kx in 0..width {
                    bytes[((block + kx) * PANEL + channel % PANEL) * GROUP + at % GROUP] = tap(ky, kx);
                }
            }
            let taps = || weight[channel..].iter().step_by(channels).map(|w| f64::from(*w));
            let shift = Shift::new(
                scale[channel] * steps[0] / steps[1],
                bias[channel] / steps[1],
                f64::from(TOP_LEVEL) * taps().map(f64::abs).sum::<f64>(),
            )?;
            shifts[channel] = shift;
            start[0][channel] += shift.start;
            start[1][channel] += shift.start + LIFT * taps().sum::<f64>() as i32;
        }
        Some(LevelTaps {
            window,
            channels,
            bytes,
            start,
            scale: shifts.iter().map(|shift| shift.scale).collect(),
            shift: shifts.iter().map(|shift| shift.shift).collect(),
            groups,
            rows,
            #[cfg(target_arch = "aarch64")]
            fitting: shifts.iter().all(|shift| shift.most <= super::neon_levels::FITS),
        })
    }

    /// Channels, without padding.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Rows of the result that are best made together.
    pub fn together(&self) -> usize {
        self.rows
    }

    /// The output rows from `first` on that `out` has room for. `room` is used meanwhile.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub fn slide(&self, kernel: Kernel, lines: LevelLines, first: usize, out: &mut [u8], room: &mut Floats) {
        let ([height, width], whole) = (lines.size, padded(self.channels));
        let Some([rows, columns]) = self.window.output(height, width) else { panic!("the kernel does not fit") };
        let line = columns * whole;
        if line == 0 || out.is_empty() {
            return;
        }
        assert_eq!(lines.x.len(), lines.kept.min(height) * width * whole, "levels of the picture");
        assert!(lines.kept >= height.min(self.window.kernel[0]), "rows in memory");
        assert!(out.len().is_multiple_of(line) && first + out.len() / line <= rows, "rows of the result");
        // SAFETY: the sizes were checked above, and `kernel` proves that the machine has the instructions.
        #[cfg(target_arch = "aarch64")]
        if kernel.0 == super::Set::Neon
            && unsafe { super::neon_depthwise::slide(self, lines, columns, first, out, room) }
        {
            return;
        }
        // SAFETY: as above.
        unsafe { slide(kernel, self, lines, columns, first, out, room) };
    }
}

impl std::fmt::Debug for LevelTaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LevelTaps[{:?}, {}]", self.window.kernel, self.channels)
    }
}

/// Rows of the picture as they lie side by side: `[group, column, CHANNELS, GROUP]`, with the columns outside the picture.
struct Laid {
    bytes: *mut u8,
    columns: usize,
    /// Bytes from one column to the next.
    step: usize,
}

#[inline(always)]
unsafe fn slide_body<D: Dots>(
    taps: &LevelTaps,
    lines: LevelLines,
    columns: usize,
    first: usize,
    out: &mut [u8],
    room: &mut Floats,
) {
    let ([height, width], whole) = (lines.size, padded(taps.channels));
    let LevelTaps { window, groups, rows: together, .. } = taps;
    let line = columns * whole;
    let step = D::CHANNELS * GROUP;
    // Tiles read whole, so the last one may reach beyond the picture.
    let wide = (columns.next_multiple_of(COLUMNS) - 1) * window.strides[1] + window.kernel[1];
    let laid = room.bytes(groups * wide * step);
    laid.fill(D::BLANK);
    let laid = Laid { bytes: laid.as_mut_ptr(), columns: wide, step };
    let inside = width.min(wide.saturating_sub(window.pads[1]));
    let nothing = [D::BLANK; 64];
    // Channels first, so that their taps stay in a cache of the first level.
    for channel in (0..whole).step_by(D::CHANNELS) {
        let blocks = (whole - channel).min(D::CHANNELS) / PANEL;
        for (i, out) in out.chunks_mut(together * line).enumerate() {
            let (first, count) = (first + i * together, out.len() / line);
            let top = (first * window.strides[0]) as isize - window.pads[0] as isize;
            // Rows below are not needed, and need not be in memory.
            let bottom = (top + ((count - 1) * window.strides[0] + window.kernel[0]) as isize).min(height as isize);
            // SAFETY: rows inside the picture that are needed lie in memory, with `whole` bytes a column; `laid` has room for
            // `wide` columns of each group; `out` holds `count` rows, and blocks of 16 channels are whole.
            unsafe {
                for group in 0..*groups {
                    let rows: [(*const u8, usize); GROUP] = std::array::from_fn(|k| {
                        let row = top + (group * GROUP + k) as isize;
                        if (0..bottom).contains(&row) {
                            let at = row as usize % lines.kept * width * whole + channel;
                            (lines.x.as_ptr().add(at), whole)
                        } else {
                            (nothing.as_ptr(), 0)
                        }
                    });
                    let to = laid.bytes.add((group * wide + window.pads[1].min(wide)) * step);
                    if blocks * PANEL == D::CHANNELS {
                        D::lay(rows, to, inside);
                        continue;
                    }
                    for column in 0..inside {
                        let at = rows.map(|(from, pitch)| from.add(column * pitch));
                        let to = to.add(column * step);
                        for block in 0..blocks {
                            let at = at.map(|from| from.add(block * PANEL));
                            D::interleave_16(at, to.add(block * PANEL * GROUP));
                        }
                    }
                }
                for part in (0..blocks * PANEL).step_by(D::V::COUNT) {
                    let lanes = LanesOf { taps, laid: &laid, part, channel: channel + part, columns };
                    for row in 0..count {
                        let out = out.as_mut_ptr().add(row * line + channel + part);
                        match (window.kernel, window.strides[1]) {
                            ([3, 3], 1) => lanes.row::<D, 3, 1, 1>(row, whole, out),
                            ([3, 3], 2) => lanes.row::<D, 3, 2, 1>(row, whole, out),
                            ([5, 5], 1) => lanes.row::<D, 5, 1, 2>(row, whole, out),
                            ([5, 5], 2) => lanes.row::<D, 5, 2, 2>(row, whole, out),
                            _ => lanes.any::<D>(row, whole, out),
                        }
                    }
                }
            }
        }
    }
}

multidots! {
    unsafe fn slide(
        taps: &LevelTaps,
        lines: LevelLines,
        columns: usize,
        first: usize,
        out: &mut [u8],
        room: &mut Floats,
    ) = slide_body
}

/// A register's channels of the rows that are laid side by side.
struct LanesOf<'a> {
    taps: &'a LevelTaps,
    laid: &'a Laid,
    /// The first channel, of those that are laid.
    part: usize,
    /// The first channel, of all.
    channel: usize,
    /// Of the result.
    columns: usize,
}

impl LanesOf<'_> {
    /// The taps of this register's channels for one row of the result.
    #[inline(always)]
    unsafe fn weights(&self, row: usize) -> *const u8 {
        let LevelTaps { window, groups, rows, bytes, .. } = self.taps;
        let block = (self.channel / PANEL * rows + row) * groups * window.kernel[1];
        // SAFETY: there are so many blocks of 16 channels and rows.
        unsafe { bytes.as_ptr().cast::<u8>().add((block * PANEL + self.channel % PANEL) * GROUP) }
    }

    #[inline(always)]
    unsafe fn start<D: Dots>(&self) -> D::Sums {
        // SAFETY: a register of channels is left.
        unsafe { D::start(self.taps.start[usize::from(D::BLANK != 0)].as_ptr().add(self.channel)) }
    }

    #[inline(always)]
    unsafe fn ends<D: Dots>(&self) -> [D::V; 2] {
        // SAFETY: both are padded to whole blocks of 16 channels.
        unsafe { [&self.taps.scale, &self.taps.shift].map(|values| D::V::load(values.as_ptr().add(self.channel))) }
    }

    /// Row `row` of those that come from the laid ones, with a kernel of K by K, strides of S and G groups.
    #[inline(always)]
    unsafe fn row<D: Dots, const K: usize, const S: usize, const G: usize>(
        &self,
        row: usize,
        pitch: usize,
        out: *mut u8,
    ) {
        let step = self.laid.step;
        // SAFETY: tiles lie inside the laid columns; no more than `columns` results are written.
        unsafe {
            let from = self.weights(row);
            let tap = |g: usize, kx: usize| D::bytes(from.add((g * K + kx) * PANEL * GROUP));
            let held: [[D::Bytes; K]; G] = std::array::from_fn(|g| std::array::from_fn(|kx| tap(g, kx)));
            let (start, ends) = ([self.start::<D>(); 2], self.ends::<D>());
            let twice = [ends[0], ends[1], ends[1]];
            #[cfg(target_arch = "aarch64")]
            let fitting = self.taps.fitting;
            #[cfg(not(target_arch = "aarch64"))]
            let fitting = false;
            let laid = self.laid.bytes.add(self.part * GROUP);
            for column in (0..self.columns).step_by(COLUMNS) {
                let (x, to) = (laid.add(column * S * step), out.add(column * pitch));
                if column + COLUMNS <= self.columns {
                    let sums = self.tile::<D, K, S, G>(x, &held, from, &start);
                    D::tile(sums, &twice, fitting, to, pitch);
                } else {
                    let sums = self.tile::<D, K, S, G>(x, &held, from, &start);
                    unroll! { J in 0 1 2 3 4 5 6 => {
                        if column + J < self.columns {
                            D::levels([sums[J]], ends, to.add(J * pitch), pitch);
                        }
                    }}
                }
            }
        }
    }

    /// COLUMNS sums side by side, from laid columns at `x` on. Each value is loaded once.
    #[inline(always)]
    unsafe fn tile<D: Dots, const K: usize, const S: usize, const G: usize>(
        &self,
        x: *const u8,
        held: &[[D::Bytes; K]; G],
        weights: *const u8,
        start: &[D::Sums; 2],
    ) -> [D::Sums; COLUMNS] {
        // SAFETY: the caller has the instruction set.
        let mut sums = unsafe { D::starts(start) };
        for (g, held) in held.iter().enumerate() {
            unroll! { I in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 => {
                if I < (COLUMNS - 1) * S + K {
                    // SAFETY: so many columns are laid from `x` on.
                    let x = unsafe { D::bytes(x.add((g * self.laid.columns + I) * self.laid.step)) };
                    unroll! { KX in 0 1 2 3 4 => {
                        let steps = I.wrapping_sub(KX);
                        if KX < K && steps.is_multiple_of(S) && steps / S < COLUMNS {
                            // SAFETY: the caller has the instruction set, and there are so many taps.
                            unsafe {
                                let from = weights.add((g * K + KX) * PANEL * GROUP);
                                let tap = if D::HELD { held[KX] } else { D::bytes(from) };
                                sums[steps / S] = D::dot(sums[steps / S], x, tap);
                            }
                        }
                    }}
                }
            }}
        }
        sums
    }

    /// The same with any kernel.
    #[inline(always)]
    unsafe fn any<D: Dots>(&self, row: usize, pitch: usize, out: *mut u8) {
        let (step, width) = (self.laid.step, self.taps.window.kernel[1]);
        // SAFETY: as in `row`.
        unsafe {
            let weights = self.weights(row);
            let (start, ends) = (self.start::<D>(), self.ends::<D>());
            for column in 0..self.columns {
                let mut sum = start;
                for group in 0..self.taps.groups {
                    let from = group * self.laid.columns + column * self.taps.window.strides[1];
                    for kx in 0..width {
                        let x = D::bytes(self.laid.bytes.add((from + kx) * step + self.part * GROUP));
                        sum = D::dot(sum, x, D::bytes(weights.add((group * width + kx) * PANEL * GROUP)));
                    }
                }
                D::levels([sum], ends, out.add(column * pitch), pitch);
            }
        }
    }
}
