//! Activations to int8, symmetric per row: `q = round(x * 127 / max|x|)`, ties to even.
//!
//! What cannot be quantised is defined, so that one bad value spoils its own row at most: NaN becomes 0, and an infinity
//! becomes the largest finite magnitude of its row with its sign. A row whose magnitudes all lie below [`SMALLEST`]
//! becomes zeros.

use super::lanes::{Lanes, multilanes};
use super::{Kernel, pack::GROUP};

/// Below this magnitude `127 / x` is no longer a float.
pub(super) const SMALLEST: f32 = 1e-36;
/// `1.5 * 2^23`: adding it rounds a small float to an integer, ties to even, in the low bits.
pub(super) const ROUNDER: f32 = 12_582_912.0;

/// Bytes after the last row, so that whole registers can be stored and loaded.
pub(super) const SLACK: usize = 16;

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
    /// See `levels`.
    Levels,
}

/// Quantised rows, padded to whole groups. The storage is reused from call to call.
#[derive(Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    scale: Vec<f32>,
    depth: usize,
    form: Form,
}

/// Rows as a product takes them.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Of the rows, after which there may be up to [`SLACK`] bytes more.
    pub(super) bytes: &'a [u8],
    /// Of each row.
    pub(super) scale: &'a [f32],
    /// Whether a scale is not 1.
    pub(super) scaled: bool,
    /// Bytes in a row, a whole number of groups.
    pub(super) depth: usize,
    pub(super) form: Form,
}

impl View<'_> {
    /// Number of rows.
    pub fn count(&self) -> usize {
        self.scale.len()
    }
}

impl Rows {
    /// All rows.
    pub fn view(&self) -> View<'_> {
        View { bytes: &self.bytes, scale: &self.scale, scaled: true, depth: self.depth, form: self.form }
    }

    /// Quantises rows of `depth` floats for `kernel`. `x.len()` must be a multiple of `depth`.
    pub fn quantise(&mut self, kernel: Kernel, x: &[f32], depth: usize) {
        assert!(depth > 0 && x.len().is_multiple_of(depth), "{} floats in rows of {depth}", x.len());
        self.reset(x.len() / depth, depth, kernel.form());
        let offset = if self.form == Form::Offset { 128 } else { 0 };
        #[cfg(target_arch = "aarch64")]
        if kernel.0 != super::Set::Plain && super::neon_quantise::takes(depth) {
            let mut row = 0;
            loop {
                row = super::neon_quantise::rows(x, depth, &mut self.bytes, &mut self.scale, row);
                let Some(x) = x[row * depth..].get(..depth) else { return };
                let bytes = &mut self.bytes[row * depth..];
                // SAFETY: there are as many bytes and a scale for this row, and SLACK bytes more; every kernel here has NEON.
                unsafe { quantise_rows(kernel, x, depth, depth, bytes, &mut self.scale[row..=row], offset) };
                row += 1;
            }
        }
        // SAFETY: `reset` made as many rows of bytes and scales as `x` has; `kernel` proves the instruction set.
        unsafe { quantise_rows(kernel, x, depth, self.depth, &mut self.bytes, &mut self.scale, offset) };
    }

    /// One row in the form [`Form::Signed`], whatever the kernel: its bytes, padded with zeros, and its scale.
    pub(super) fn quantise_one(&mut self, kernel: Kernel, x: &[f32]) -> (&[u8], f32) {
        self.reset(1, x.len(), Form::Signed);
        // SAFETY: `reset` made room for one row; `kernel` proves the instruction set.
        unsafe { quantise_rows(kernel, x, x.len(), self.depth, &mut self.bytes, &mut self.scale, 0) };
        (&self.bytes[..self.depth], self.scale[0])
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

    fn reset(&mut self, count: usize, depth: usize, form: Form) {
        self.depth = depth.div_ceil(GROUP) * GROUP;
        self.form = form;
        self.bytes.resize(count * self.depth + SLACK, 0);
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

/// Rows of `depth` floats to rows of `padded` bytes, each written with up to [`SLACK`] bytes more, which the next one
/// covers.
#[inline(always)]
unsafe fn quantise_body<V: Lanes>(
    x: &[f32],
    depth: usize,
    padded: usize,
    bytes: &mut [u8],
    scale: &mut [f32],
    offset: u8,
) {
    let whole = depth - depth % V::COUNT;
    let rest = depth - whole;
    for (i, (row, scale)) in x.chunks_exact(depth).zip(scale).enumerate() {
        // SAFETY: loads lie inside `row`; stores begin inside row `i` of `bytes`, which has SLACK bytes after the last row;
        // the caller has the instruction set.
        unsafe {
            let (from, to) = (row.as_ptr(), bytes.as_mut_ptr().add(i * padded));
            let mut most = [V::Two::splat(0.0); 4];
            let mut last = V::splat(0.0);
            let mut at = 0;
            while at + 4 * V::Two::COUNT <= whole {
                for (i, most) in most.iter_mut().enumerate() {
                    *most = V::Two::load(from.add(at + i * V::Two::COUNT)).magnitude(*most);
                }
                at += 4 * V::Two::COUNT;
            }
            while at + V::Two::COUNT <= whole {
                most[0] = V::Two::load(from.add(at)).magnitude(most[0]);
                at += V::Two::COUNT;
            }
            if at < whole {
                last = V::load(from.add(at)).magnitude(last);
            }
            if rest > 0 {
                last = V::load_some(from.add(whole), rest).magnitude(last);
            }
            // Bit patterns of magnitudes are in their order, with NaN above infinity.
            let bits = most[0].magnitude(most[1].magnitude(most[2].magnitude(most[3]))).most().max(last.most());
            let strange = bits >= f32::INFINITY.to_bits();
            let largest = if strange { largest_finite(row) } else { f32::from_bits(bits) };
            let (inverse, unit) = if largest >= SMALLEST { (127.0 / largest, largest / 127.0) } else { (0.0, 0.0) };
            *scale = unit;
            if strange {
                for (k, v) in row.iter().enumerate() {
                    to.add(k).write((byte(v * inverse) as u8).wrapping_add(offset));
                }
                // The weights are 0 there.
                to.add(depth).write_bytes(offset, padded - depth);
            } else {
                let (wide, factor) = (V::Four::splat(inverse), V::splat(inverse));
                let mut at = 0;
                while at + V::Four::COUNT <= whole {
                    V::Four::load(from.add(at)).bytes(wide, offset, to.add(at));
                    at += V::Four::COUNT;
                }
                while at < whole {
                    V::load(from.add(at)).bytes(factor, offset, to.add(at));
                    at += V::COUNT;
                }
                if rest > 0 {
                    V::load_some(from.add(whole), rest).bytes(factor, offset, to.add(whole));
                }
                if rest > 0 && whole + V::COUNT < padded {
                    to.add(whole + V::COUNT).write_bytes(offset, padded - whole - V::COUNT);
                }
            }
        }
    }
}

/// The largest finite magnitude of a row that holds NaN or an infinity.
#[cold]
fn largest_finite(row: &[f32]) -> f32 {
    row.iter().filter(|v| v.is_finite()).fold(0f32, |a, v| a.max(v.abs()))
}

multilanes! {
    unsafe fn quantise_rows(x: &[f32], depth: usize, padded: usize, bytes: &mut [u8], scale: &mut [f32], offset: u8)
        = quantise_body
}
