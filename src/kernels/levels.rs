//! Activations between layers as bytes. A tensor whose values lie in `0..=high` is kept as levels: whole numbers of steps of
//! `high / 254`, ties to even, so 0 is exact and NaN counts as 0. One step serves the whole tensor, so what reads it needs
//! no largest value of a row first.
//!
//! 255 levels and not 256, so that kernels that multiply signed bytes hold them as `-127..=127`: the level less 127. Every
//! kernel gives the same levels.

use super::{Form, Kernel, quantise::View};

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

/// Rows of `depth` levels, a multiple of 16 bytes, as a product takes them; `step` holds the step once for each row.
///
/// # Panics
/// When there are not as many steps as rows.
pub fn rows_of_levels<'a>(levels: &'a [u8], depth: usize, step: &'a [f32]) -> View<'a> {
    assert!(depth > 0 && depth.is_multiple_of(WHOLE), "rows of {depth} levels");
    assert_eq!(levels.len(), step.len() * depth, "a step for each row");
    View { bytes: levels, scale: step, depth, form: Form::Levels }
}
