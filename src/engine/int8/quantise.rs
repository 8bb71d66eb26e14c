//! Activations to int8, symmetric per row: `q = round(x * 127 / max|x|)`, ties to even.
//!
//! What cannot be quantised is defined, so that one bad value spoils its own row at most: NaN becomes 0, and an infinity
//! becomes the largest finite magnitude of its row with its sign. A row whose magnitudes all lie below [`SMALLEST`]
//! becomes zeros.

use super::vector::multiversion;
use super::{Kernel, pack::GROUP};

/// Below this magnitude `127 / x` is no longer a float.
pub(super) const SMALLEST: f32 = 1e-36;
/// `1.5 * 2^23`: adding it rounds a small float to an integer, ties to even, in the low bits.
pub(super) const ROUNDER: f32 = 12_582_912.0;

/// How bytes of a row stand for values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Two's complement, `-127..=127`.
    #[default]
    Signed,
    /// The value plus 128.
    Offset,
    /// No negative values: `0..=255` for kernels of the form `Offset`, else `0..=127`.
    Positive,
}

/// Quantised rows, padded to whole groups. The storage is reused from call to call.
#[derive(Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    scale: Vec<f32>,
    depth: usize,
    form: Form,
}

impl Rows {
    /// Quantises rows of `depth` floats for `kernel`. `x.len()` must be a multiple of `depth`.
    pub fn quantise(&mut self, kernel: Kernel, x: &[f32], depth: usize) {
        assert!(depth > 0 && x.len().is_multiple_of(depth), "{} floats in rows of {depth}", x.len());
        self.reset(x.len() / depth, depth, kernel.form());
        let offset = if self.form == Form::Offset { 128 } else { 0 };
        quantise_rows(kernel, x, depth, self.depth, &mut self.bytes, &mut self.scale, offset);
    }

    /// Rows of [`Form::Positive`] that `fill` writes: it gets the row's number and its `depth` bytes, and returns the
    /// row's scale.
    pub fn fill(&mut self, count: usize, depth: usize, mut fill: impl FnMut(usize, &mut [u8]) -> f32) {
        self.reset(count, depth, Form::Positive);
        let padded = self.depth;
        for (i, (row, scale)) in self.bytes.chunks_exact_mut(padded).zip(&mut self.scale).enumerate() {
            *scale = fill(i, &mut row[..depth]);
            row[depth..].fill(0);
        }
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.scale.len()
    }

    /// Bytes in a row, a whole number of groups.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// How the bytes stand for values.
    pub fn form(&self) -> Form {
        self.form
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn scale(&self) -> &[f32] {
        &self.scale
    }

    fn reset(&mut self, count: usize, depth: usize, form: Form) {
        self.depth = depth.div_ceil(GROUP) * GROUP;
        self.form = form;
        self.bytes.resize(count * self.depth, 0);
        self.scale.resize(count, 0.0);
    }
}

/// A value in units of the scale, to a byte: rounded, held in `-127..=127`, NaN to 0.
#[inline(always)]
pub(super) fn byte(units: f32) -> i8 {
    // Comparisons with NaN are false, so NaN ends at 0.
    let units = if units >= -127.0 {
        units
    } else if units < -127.0 {
        -127.0
    } else {
        0.0
    };
    let units = if units <= 127.0 { units } else { 127.0 };
    (units + ROUNDER).to_bits() as i8
}

#[inline(always)]
fn quantise_rows_body<const FUSED: bool>(
    x: &[f32],
    depth: usize,
    padded: usize,
    bytes: &mut [u8],
    scale: &mut [f32],
    offset: u8,
) {
    const LANES: usize = 32;
    for ((row, out), scale) in x.chunks_exact(depth).zip(bytes.chunks_exact_mut(padded)).zip(scale) {
        // `max` passes over NaN; infinities are looked for only when there is one.
        let mut lanes = [0f32; LANES];
        let blocks = row.chunks_exact(LANES);
        let rest = blocks.remainder();
        for block in blocks {
            for l in 0..LANES {
                let magnitude = block[l].abs();
                lanes[l] = if magnitude > lanes[l] { magnitude } else { lanes[l] };
            }
        }
        let mut largest = lanes.iter().chain(rest).fold(0f32, |a, v| if v.abs() > a { v.abs() } else { a });
        if largest == f32::INFINITY {
            largest = row.iter().filter(|v| v.is_finite()).fold(0f32, |a, v| a.max(v.abs()));
        }
        let inverse = if largest >= SMALLEST { 127.0 / largest } else { 0.0 };
        *scale = if largest >= SMALLEST { largest / 127.0 } else { 0.0 };
        for (q, v) in out.iter_mut().zip(row) {
            *q = (byte(v * inverse) as u8).wrapping_add(offset);
        }
        // The weights are 0 there.
        out[depth..].fill(offset);
    }
}

multiversion! {
    fn quantise_rows(x: &[f32], depth: usize, padded: usize, bytes: &mut [u8], scale: &mut [f32], offset: u8)
        = quantise_rows_body
}
