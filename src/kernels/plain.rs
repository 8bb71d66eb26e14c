//! The reference product, for any machine.

use std::ops::Range;

use super::lanes::Array;
use super::levels::LIFT;
use super::{Form, PANEL, Packed, Tile, quantise::View};

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
/// `tile` must describe `rows` times `panels` of `weights`.
pub(super) unsafe fn multiply(rows: View, weights: &Packed, panels: Range<usize>, tile: Tile) {
    for (i, row) in rows.bytes.chunks_exact(rows.depth).take(rows.count()).enumerate() {
        for j in 0..tile.ending.columns {
            let n = panels.start * PANEL + j;
            let mut sum = 0i32;
            for (k, q) in row.iter().enumerate() {
                let q = match rows.form {
                    Form::Signed => i32::from(*q as i8),
                    Form::Offset => i32::from(*q) - 128,
                    Form::Positive => i32::from(*q),
                    Form::Levels => i32::from(*q as i8) + LIFT,
                };
                sum += q * i32::from(weights.get(k, n));
            }
            // SAFETY: row `i` and column `j` are of the tile. `true`: other kernels fuse here whatever the machine.
            unsafe { tile.ending.at_row(i).at_column(j).write::<Array<1, true>, true>((&raw const sum).cast(), 1, 1) };
        }
    }
}
