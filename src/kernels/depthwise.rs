//! Depthwise convolution, channels last, in float: one small kernel per channel.
//!
//! A sum runs over the taps row by row from the left, starting at 0. Outside the picture lie zeros; rows of taps that
//! are wholly outside are left out. Each channel is summed alone, so every instruction set gives the same bits, but for the
//! plain build on x86-64, which does not fuse multiply and add.

use super::lanes::{Lanes, multilanes, unroll};
use super::levels::{TOP_LEVEL, padded};
use super::{Activation, Kernel, activate};

/// How a kernel slides over a picture `[height, width, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Steps down and right.
    pub strides: [usize; 2],
    /// Zeros above, left, below, right.
    pub pads: [usize; 4],
}

impl Window {
    /// Height and width of the result for a picture of `height` by `width`; `None` when the kernel does not fit.
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let along = |axis: usize, size: usize| {
            let padded = size + self.pads[axis] + self.pads[axis + 2];
            (padded >= self.kernel[axis]).then(|| (padded - self.kernel[axis]) / self.strides[axis] + 1)
        };
        Some([along(0, height)?, along(1, width)?])
    }

    /// The taps along `axis` that fall inside a picture of `size` at output position `at`: the first and one past the
    /// last, and where in the picture the first lies.
    #[inline(always)]
    pub fn taps(&self, axis: usize, at: usize, size: usize) -> (usize, usize, usize) {
        let start = at * self.strides[axis];
        let pad = self.pads[axis];
        let first = pad.saturating_sub(start).min(self.kernel[axis]);
        let last = (size + pad).saturating_sub(start).min(self.kernel[axis]).max(first);
        (first, last, (start + first).saturating_sub(pad))
    }
}

/// The weights of a depthwise layer.
#[derive(Debug, Clone, Copy)]
pub struct Taps<'a> {
    /// `[kernel height * kernel width, channels]`
    pub weight: &'a [i8],
    /// Per channel.
    pub scale: &'a [f32],
    /// Per channel.
    pub bias: &'a [f32],
    /// Applied to each result.
    pub activation: Activation,
}

/// A picture `[size[0], size[1], channels]` of which some rows are in memory.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    /// Whole rows. Row `r` of the picture is row `r % kept` here.
    pub x: &'a [f32],
    /// Rows that `x` has room for; the picture's height when all are there.
    pub kept: usize,
    /// Height and width of the picture.
    pub size: [usize; 2],
}

/// Depthwise convolution of one picture: the output rows from `first` on that `out` has room for.
///
/// # Panics
/// When the shapes do not fit together.
pub fn depthwise(kernel: Kernel, lines: Lines, window: Window, taps: Taps, first: usize, out: &mut [f32]) {
    let Some(all) = Channels::new(kernel, lines, window, taps, taps.scale.len(), first, out.len()) else { return };
    // SAFETY: the sizes were checked above, and `kernel` proves that the machine has the instructions.
    unsafe { any_window(kernel, all, first, out) };
    if taps.activation.is_curve() {
        activate(kernel, out, taps.activation);
    }
}

/// The same as levels, with scales and biases in steps of these; the activation does not count. Pixels of `out` are padded.
///
/// # Panics
/// When the shapes do not fit together.
pub fn depthwise_to_levels(kernel: Kernel, lines: Lines, window: Window, taps: Taps, first: usize, out: &mut [u8]) {
    let pixel = padded(taps.scale.len());
    let Some(all) = Channels::new(kernel, lines, window, taps, pixel, first, out.len()) else { return };
    // SAFETY: the sizes were checked above, and `kernel` proves that the machine has the instructions.
    unsafe { any_window_to_levels(kernel, all, first, out) };
}

/// Output columns that are summed in registers at a time.
const COLUMNS: usize = 8;

/// What results become.
trait Outcome: Copy {
    /// Whether these are levels.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    const LEVELS: bool;
    /// The first `count` of these results at `to` and so on, `pitch` values apart.
    ///
    /// # Safety
    /// There must be room for them, and the machine must have the instructions of `V`.
    unsafe fn put<V: Lanes, const COUNT: usize>(
        results: [V; COUNT],
        high: Option<f32>,
        blank: u8,
        count: usize,
        to: *mut Self,
        pitch: usize,
    );
}

impl Outcome for f32 {
    const LEVELS: bool = false;
    #[inline(always)]
    unsafe fn put<V: Lanes, const COUNT: usize>(
        mut results: [V; COUNT],
        high: Option<f32>,
        _: u8,
        count: usize,
        to: *mut f32,
        pitch: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(high) = high {
                let high = V::splat(high);
                for y in &mut results {
                    *y = y.hold(high);
                }
            }
            unroll! { J in 0 1 2 3 4 5 6 7 => {
                if J < count.min(COUNT) {
                    results[J % COUNT].store(to.add(J * pitch));
                }
            }}
        }
    }
}

impl Outcome for u8 {
    const LEVELS: bool = true;
    #[inline(always)]
    unsafe fn put<V: Lanes, const COUNT: usize>(
        results: [V; COUNT],
        _: Option<f32>,
        blank: u8,
        count: usize,
        to: *mut u8,
        pitch: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            unroll! { J in 0 4 => {
                if J + 4 <= count.min(COUNT) {
                    let four = [results[J % COUNT], results[(J + 1) % COUNT], results[(J + 2) % COUNT], results[(J + 3) % COUNT]];
                    V::levels(four, blank, to.add(J * pitch), pitch);
                } else {
                    for (j, result) in results.iter().enumerate().take(count).skip(J) {
                        let level = result.hold(V::splat(TOP_LEVEL));
                        level.bytes(V::splat(1.0), blank, to.add(j * pitch));
                    }
                }
            }}
        }
    }
}

/// One block of channels of the convolution.
#[derive(Clone, Copy)]
struct Channels<'a> {
    lines: Lines<'a>,
    window: Window,
    taps: Taps<'a>,
    channels: usize,
    /// The first channel of the block.
    start: usize,
    /// Values of a pixel of the result.
    pixel: usize,
    /// The byte of level 0.
    blank: u8,
}

impl<'a> Channels<'a> {
    /// The first block of a convolution with results of `pixel` values a pixel, `results` values of them from row `first` on;
    /// `None` where there is nothing to do.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    fn new(
        kernel: Kernel,
        lines: Lines<'a>,
        window: Window,
        taps: Taps<'a>,
        pixel: usize,
        first: usize,
        results: usize,
    ) -> Option<Self> {
        let [height, width] = lines.size;
        let channels = taps.scale.len();
        let Some([rows, columns]) = window.output(height, width) else { panic!("the kernel does not fit") };
        let line = columns * pixel;
        if line == 0 || results == 0 {
            return None;
        }
        assert_eq!(lines.x.len(), lines.kept.min(height) * width * channels, "values of the picture");
        assert!(lines.kept >= height.min(window.kernel[0]), "rows in memory");
        assert_eq!(taps.weight.len(), window.kernel[0] * window.kernel[1] * channels, "weights");
        assert_eq!(taps.bias.len(), channels, "biases");
        assert!(results.is_multiple_of(line) && first + results / line <= rows, "rows of the result");
        Some(Channels { lines, window, taps, channels, start: 0, pixel, blank: kernel.blank() })
    }

    /// Where row `row` of the picture begins, at this block's first channel.
    #[inline(always)]
    unsafe fn row(&self, row: usize) -> *const f32 {
        // SAFETY: the row is one of those in memory.
        unsafe { self.lines.x.as_ptr().add(row % self.lines.kept * self.lines.size[1] * self.channels + self.start) }
    }

    /// Output rows from `first` on with a square kernel.
    #[inline(always)]
    unsafe fn square<V: Lanes, T: Outcome, const K: usize, const S: usize>(
        &self,
        first: usize,
        columns: usize,
        out: &mut [T],
    ) {
        let [height, width] = self.lines.size;
        // SAFETY: `at + COLUMNS <= columns` unless the picture is narrower, and then only `count` columns are stored; a tile
        // reads inside the picture by itself or because `inside` says so.
        unsafe {
            let weights: [[V; K]; K] = std::array::from_fn(|ky| {
                std::array::from_fn(|kx| {
                    V::widen(self.taps.weight.as_ptr().add((ky * K + kx) * self.channels + self.start))
                })
            });
            for (row, out) in out.chunks_exact_mut(columns * self.pixel).enumerate() {
                let (y0, y1, top) = self.window.taps(0, first + row, height);
                let mut lines = [std::ptr::null(); K];
                for (ky, line) in lines[y0..y1].iter_mut().enumerate() {
                    *line = self.row(top + ky);
                }
                let (lines, weights) = (&lines[y0..y1], &weights[y0..y1]);
                for column in (0..columns).step_by(COLUMNS) {
                    let at = column.min(columns.saturating_sub(COLUMNS));
                    let left = (at * S) as isize - self.window.pads[1] as isize;
                    let out = out.as_mut_ptr().add(at * self.pixel);
                    let wanted = (COLUMNS - 1) * S + K;
                    if left >= 0 && left as usize + wanted <= width {
                        self.tile::<V, T, K, S, false>(lines, left, u32::MAX, weights, COLUMNS, out);
                    } else {
                        let low = (-left).clamp(0, wanted as isize);
                        let high = (width as isize - left).clamp(low, wanted as isize);
                        let inside = (1u32 << high) - (1 << low);
                        if columns >= COLUMNS {
                            self.tile::<V, T, K, S, true>(lines, left, inside, weights, COLUMNS, out);
                        } else {
                            self.tile::<V, T, K, S, true>(lines, left, inside, weights, columns, out);
                        }
                    }
                }
            }
        }
    }

    /// The first `count` of COLUMNS results side by side. Bit `i` of `inside` says whether column `left + i` is in the
    /// picture, which all are unless it is an EDGE.
    #[inline(always)]
    unsafe fn tile<V: Lanes, T: Outcome, const K: usize, const S: usize, const EDGE: bool>(
        &self,
        lines: &[*const f32],
        left: isize,
        inside: u32,
        weights: &[[V; K]],
        count: usize,
        out: *mut T,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            // There, registers of 8 channels are those of NEON.
            #[cfg(target_arch = "aarch64")]
            if let (true, 8, 3, 1, false, [a, b, c]) = (T::LEVELS, V::COUNT, K, S, EDGE, lines) {
                let at = |line: &*const f32| line.offset(left * self.channels as isize);
                let place = super::neon_mixed::Place {
                    taps: weights.as_ptr().cast(),
                    scale: self.taps.scale.as_ptr().add(self.start),
                    bias: self.taps.bias.as_ptr().add(self.start),
                    pitch: self.channels,
                    to: out.add(self.start).cast(),
                    pixel: self.pixel,
                };
                return super::neon_mixed::three([at(a), at(b), at(c)], place);
            }
            let mut sums = [V::splat(0.0); COLUMNS];
            for (line, weights) in lines.iter().zip(weights) {
                self.add::<V, K, S, EDGE>(*line, left, inside, weights, &mut sums);
            }
            let scale = V::load(self.taps.scale.as_ptr().add(self.start));
            let bias = V::load(self.taps.bias.as_ptr().add(self.start));
            for sum in &mut sums {
                *sum = sum.fused(scale, bias);
            }
            T::put(sums, self.taps.activation.high(), self.blank, count, out.add(self.start), self.pixel);
        }
    }

    /// Adds one row of taps to COLUMNS sums. Each value is loaded once.
    #[inline(always)]
    unsafe fn add<V: Lanes, const K: usize, const S: usize, const EDGE: bool>(
        &self,
        line: *const f32,
        left: isize,
        inside: u32,
        weights: &[V; K],
        sums: &mut [V; COLUMNS],
    ) {
        let weights: [V; K] = std::array::from_fn(|kx| weights[kx].kept());
        // Adding what is outside, zeros, would change nothing.
        unroll! { I in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 => {
            if I < (COLUMNS - 1) * S + K && (!EDGE || inside >> I & 1 != 0) {
                // SAFETY: the column lies in the picture, by the test here or by the caller's.
                let x = unsafe { V::load(line.offset((left + I as isize) * self.channels as isize)) };
                unroll! { KX in 0 1 2 3 4 => {
                    let steps = I.wrapping_sub(KX);
                    if KX < K && steps.is_multiple_of(S) && steps / S < COLUMNS {
                        // SAFETY: the caller has the instruction set.
                        unsafe { sums[steps / S] = x.fused(weights[KX], sums[steps / S]) };
                    }
                }}
            }
        }}
    }

    /// Output rows from `first` on with any kernel.
    #[inline(always)]
    unsafe fn any<V: Lanes, T: Outcome>(&self, first: usize, columns: usize, out: &mut [T]) {
        let [height, width] = self.lines.size;
        let [_, kernel_width] = self.window.kernel;
        for (row, out) in out.chunks_exact_mut(columns * self.pixel).enumerate() {
            let (y0, y1, top) = self.window.taps(0, first + row, height);
            for (column, out) in out.chunks_exact_mut(self.pixel).enumerate() {
                let (x0, x1, left) = self.window.taps(1, column, width);
                // SAFETY: `taps` gives rows and columns inside the picture, and a register of channels is left from `start` on.
                unsafe {
                    let mut sum = V::splat(0.0);
                    for ky in y0..y1 {
                        let line = self.row(top + ky - y0);
                        for kx in x0..x1 {
                            let x = V::load(line.add((left + kx - x0) * self.channels));
                            let tap = (ky * kernel_width + kx) * self.channels + self.start;
                            sum = x.fused(V::widen(self.taps.weight.as_ptr().add(tap)), sum);
                        }
                    }
                    let scale = V::load(self.taps.scale.as_ptr().add(self.start));
                    let bias = V::load(self.taps.bias.as_ptr().add(self.start));
                    let high = self.taps.activation.high();
                    T::put([sum.fused(scale, bias)], high, self.blank, 1, out.as_mut_ptr().add(self.start), self.pixel);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn block<V: Lanes, T: Outcome>(&self, first: usize, columns: usize, out: &mut [T]) {
        // SAFETY: the caller's promise.
        unsafe {
            match (self.window.kernel, self.window.strides) {
                ([3, 3], [_, 1]) => self.square::<V, T, 3, 1>(first, columns, out),
                ([3, 3], [_, 2]) => self.square::<V, T, 3, 2>(first, columns, out),
                ([5, 5], [_, 1]) => self.square::<V, T, 5, 1>(first, columns, out),
                ([5, 5], [_, 2]) => self.square::<V, T, 5, 2>(first, columns, out),
                _ => self.any::<V, T>(first, columns, out),
            }
        }
    }
}

/// Floats of the picture that are worked on at a time, so that they stay in a cache of the second level.
const CACHED: usize = 64 * 1024;

/// All channels, of which `all` has the first.
#[inline(always)]
unsafe fn body<V: Lanes, T: Outcome>(all: Channels, first: usize, out: &mut [T]) {
    let Channels { lines, window, channels, pixel, .. } = all;
    let columns = window.output(lines.size[0], lines.size[1]).map_or(0, |size| size[1]);
    let line = columns * pixel;
    let rows = (CACHED / (lines.size[1] * channels * window.strides[0])).max(4);
    for (i, out) in out.chunks_mut(rows * line).enumerate() {
        let first = first + i * rows;
        let at = |start| Channels { start, ..all };
        // SAFETY: the caller checked the sizes; the last block overlaps the one before it, and writes the same values.
        unsafe {
            if channels < V::COUNT {
                for start in 0..channels {
                    at(start).any::<V::One, T>(first, columns, out);
                }
            } else if channels >= V::Two::COUNT {
                for start in (0..channels).step_by(V::Two::COUNT) {
                    at(start.min(channels - V::Two::COUNT)).block::<V::Two, T>(first, columns, out);
                }
            } else {
                for start in (0..channels).step_by(V::COUNT) {
                    at(start.min(channels - V::COUNT)).block::<V, T>(first, columns, out);
                }
            }
        }
    }
}

multilanes! {
    unsafe fn any_window(all: Channels, first: usize, out: &mut [f32]) = body, f32
}

multilanes! {
    unsafe fn any_window_to_levels(all: Channels, first: usize, out: &mut [u8]) = body, u8
}
