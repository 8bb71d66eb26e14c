//! Activations to int8 with one scale for a whole tensor, as ONNX's `QLinearConv` has it with zero point 0:
//! `q = round(x / scale)`, ties to even, held in `-127..=127`; NaN becomes 0. Nothing is looked at twice, and where values are
//! whole multiples of the scale, as a picture's are, nothing is lost.

use super::lanes::{Lanes, multilanes};
use super::quantise::{Form, SLACK, View, byte};
use super::{Kernel, pack::GROUP};

/// Bytes that are made and copied together.
const WIDE: usize = 16;
/// Scales of rows whose own is in the weights.
pub(super) const ONES: [f32; MOST_ROWS] = [1.0; MOST_ROWS];

/// Rows that [`rows_of_bytes`] takes at most.
pub const MOST_ROWS: usize = 480;

impl Kernel {
    /// The byte of 0 of signed activations.
    pub fn zero(self) -> u8 {
        if self.form() == Form::Offset { 128 } else { 0 }
    }
}

/// Pixels of a row of a picture as bytes, the channels of each together. Channel `c` of pixel `i` is
/// `x[i * strides[0] + c * strides[1]]`, in units of `1 / inverse`.
///
/// # Panics
/// When `x` is too short.
pub fn pixels(kernel: Kernel, x: &[f32], strides: [usize; 2], channels: usize, inverse: f32, out: &mut [u8]) {
    assert!(channels > 0 && out.len().is_multiple_of(channels), "whole pixels");
    let Some(last) = (out.len() / channels).checked_sub(1) else { return };
    assert!(x.len() > last * strides[0] + (channels - 1) * strides[1], "values of the row");
    // SAFETY: the sizes were checked above, and `kernel` proves that the machine has the instructions.
    unsafe { any_pixels(kernel, x, strides, channels, inverse, kernel.zero(), out) };
}

#[inline(always)]
unsafe fn body<V: Lanes>(x: &[f32], strides: [usize; 2], channels: usize, inverse: f32, zero: u8, out: &mut [u8]) {
    let mut done = 0;
    if strides[0] == 1 && channels == 3 {
        for out in out.as_chunks_mut::<{ 3 * WIDE }>().0 {
            // SAFETY: so many pixels are left of each channel in `x`.
            unsafe {
                let (factor, mut planes) = (V::splat(inverse), [[0; WIDE]; 3]);
                // Not in a closure, which would not have the instructions.
                for (c, plane) in planes.iter_mut().enumerate() {
                    *plane = V::signed_bytes(x.as_ptr().add(c * strides[1] + done), factor, zero);
                }
                *out = V::three_together(planes);
            }
            done += WIDE;
        }
    }
    for (i, pixel) in out.chunks_exact_mut(channels).enumerate().skip(done) {
        for (c, to) in pixel.iter_mut().enumerate() {
            *to = (byte(x[i * strides[0] + c * strides[1]] * inverse) as u8).wrapping_add(zero);
        }
    }
}

multilanes! {
    unsafe fn any_pixels(x: &[f32], strides: [usize; 2], channels: usize, inverse: f32, zero: u8, out: &mut [u8]) = body
}

/// Windows over rows of pixels.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    /// Bytes from one window to the next.
    pub step: usize,
    /// Runs of bytes in a window.
    pub pieces: usize,
    /// Bytes in a run.
    pub piece: usize,
    /// Bytes from one run to the next.
    pub pitch: usize,
}

impl Windows {
    /// Bytes that [`Windows::copy`] may read and write beyond the last window.
    pub const SLACK: usize = WIDE;

    /// Bytes of a window as a row of a product: padded to whole groups.
    pub fn depth(self) -> usize {
        (self.pieces * self.piece).next_multiple_of(GROUP)
    }

    /// The first `count` windows over `from`, one after another in `out`. What pads them is any bytes.
    ///
    /// # Panics
    /// When `from` or `out` is too short; both need [`Windows::SLACK`] bytes more.
    pub fn copy(self, from: &[u8], count: usize, out: &mut [u8]) {
        let Windows { step, pieces, piece, pitch } = self;
        let Some(last) = count.checked_sub(1) else { return };
        let (read, depth) = (last * step + pieces.saturating_sub(1) * pitch + piece, self.depth());
        assert!(from.len() >= read + Self::SLACK && out.len() >= count * depth + Self::SLACK, "bytes of the windows");
        let (from, to) = (from.as_ptr(), out.as_mut_ptr());
        // SAFETY: the sizes were checked above. What is copied beyond a piece is written over by the next one, or is of the
        // bytes more.
        unsafe {
            match (pieces, piece) {
                (3, ..=WIDE) => self.copy_short::<3>(from, count, to),
                (5, ..=WIDE) => self.copy_short::<5>(from, count, to),
                _ => {
                    for (i, p) in (0..count).flat_map(|i| (0..pieces).map(move |p| (i, p))) {
                        from.add(i * step + p * pitch).copy_to_nonoverlapping(to.add(i * depth + p * piece), piece);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn copy_short<const PIECES: usize>(self, mut from: *const u8, count: usize, mut to: *mut u8) {
        let depth = self.depth();
        for _ in 0..count {
            for p in 0..PIECES {
                // SAFETY: the caller's promise.
                unsafe {
                    let bytes = from.add(p * self.pitch).cast::<[u8; WIDE]>().read_unaligned();
                    to.add(p * self.piece).cast::<[u8; WIDE]>().write_unaligned(bytes);
                }
            }
            (from, to) = (from.wrapping_add(self.step), to.wrapping_add(depth));
        }
    }
}

/// `count` rows of `depth` signed bytes as a product takes them, whose scale is in the weights; [`Windows::SLACK`] bytes more
/// follow them.
///
/// # Panics
/// When there are fewer bytes, or more rows than [`MOST_ROWS`].
pub fn rows_of_bytes(kernel: Kernel, bytes: &[u8], count: usize, depth: usize) -> View<'_> {
    assert!(depth > 0 && depth.is_multiple_of(GROUP), "rows of {depth} bytes");
    assert!(bytes.len() >= count * depth + SLACK, "bytes of the rows");
    View { bytes, scale: &ONES[..count], scaled: false, depth, form: kernel.form() }
}

const _: () = assert!(SLACK <= Windows::SLACK);
