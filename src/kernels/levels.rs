//! Activations between layers as bytes. A tensor whose values lie in `0..=high` is kept as levels: whole numbers of steps of
//! `high / 254`, ties to even, so 0 is exact and NaN counts as 0. One step serves the whole tensor, so what reads it needs
//! no largest value of a row first.
//!
//! 255 levels and not 256, so that kernels that multiply signed bytes hold them as `-127..=127`: the level less 127. Every
//! kernel gives the same levels.
//!
//! Where one step serves what is read as well, no sum has to become a float and no float a whole number ([`Shift`]): sums
//! start from the bits of `1.5 * 2^23`, so that, read as a float, they are that number plus the sum. One fused multiply-add
//! makes that number plus the level less 127 of it, rounded to a whole number as floats of this size are, and its low bits
//! are the byte.

use super::quantise::{ROUNDER, View};
use super::{Form, Kernel, uniform::ONES};

/// The largest level.
pub const TOP_LEVEL: f32 = 254.0;
/// What signed kernels take off a level.
pub(super) const LIFT: i32 = 127;
/// Channels of a tensor in levels are padded to a multiple of this.
const WHOLE: usize = super::PANEL;

impl Kernel {
    /// The byte of level 0.
    pub fn blank(self) -> u8 {
        if self.form() == Form::Offset { 0 } else { (-LIFT) as u8 }
    }
}

/// Bytes of `channels` channels of a tensor in levels; those of the padding mean nothing.
pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(WHOLE)
}

/// From sums to levels, of one channel: the bits `ROUNDER + start + sum`, read as a float, times `scale` plus `shift` are
/// `ROUNDER` plus the level less 127.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shift {
    pub(super) start: i32,
    pub(super) scale: f32,
    pub(super) shift: f32,
    /// The largest magnitude of a level less 127, before it is held.
    pub(super) most: f32,
}

impl Shift {
    /// Whole numbers that floats near [`ROUNDER`] can be away from it.
    const ROOM: f64 = (1 << 22) as f64 - 1.0;
    /// Levels that sums may be away from the ones that there are.
    const FAR: f64 = (1 << 21) as f64;

    /// Of the padding: level 0 whatever the sum.
    pub(super) const NONE: Shift = Shift { start: 0, scale: 0.0, shift: ROUNDER - LIFT as f32, most: 0.0 };

    /// For results `sum * scale + bias` in steps, of sums with magnitudes up to `largest`. `shift` is a whole number in most
    /// layers; what it lacks `start` makes up for, to half of `scale`. `None` where sums or results are too large.
    pub(super) fn new(scale: f32, bias: f32, largest: f64) -> Option<Self> {
        let (rounder, step) = (f64::from(ROUNDER), f64::from(scale));
        let wanted = f64::from(bias) - f64::from(LIFT);
        let exact = rounder + wanted - rounder * step;
        let shift = exact as f32;
        let room = Self::ROOM - largest;
        let lacking = (exact - f64::from(shift)) / step;
        let start = if lacking.is_finite() && room >= 0.0 { lacking.round().clamp(-room, room) } else { 0.0 };
        let most = (largest + start.abs()) * step + wanted.abs() + 1.0;
        let fits = room >= 0.0 && most <= Self::FAR && scale >= 0.0;
        fits.then_some(Shift { start: start as i32, scale, shift, most: most as f32 })
    }

    /// The level less 127 of a sum that includes [`Shift::start`] and the bits of [`ROUNDER`].
    #[inline(always)]
    pub(super) fn byte(sum: i32, scale: f32, shift: f32) -> i8 {
        let whole = f32::from_bits(sum as u32).mul_add(scale, shift).to_bits() as i32 - ROUNDER.to_bits() as i32;
        whole.clamp(-LIFT, LIFT) as i8
    }
}

/// Rows of `depth` levels, a multiple of 16 bytes, as a product takes them whose weights are in units of the step.
///
/// # Panics
/// When they are not whole, or more than [`MOST_ROWS`](super::MOST_ROWS).
pub fn rows_of_levels(levels: &[u8], depth: usize) -> View<'_> {
    assert!(depth > 0 && depth.is_multiple_of(WHOLE) && levels.len().is_multiple_of(depth), "rows of {depth} levels");
    View { bytes: levels, scale: &ONES[..levels.len() / depth], scaled: false, depth, form: Form::Levels }
}
