//! The reference product, for any machine.

use std::ops::Range;

use super::lanes::Array;
use super::levels::LIFT;
use super::pack::{GROUP, Line};
use super::{Form, PANEL, Packed, Tile, quantise::View};

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
/// `tile` must describe `rows` times `panels` of `weights`.
pub(super) unsafe fn multiply(rows: View, weights: &Packed, panels: Range<usize>, tile: Tile) {
    for (j, panel) in panels.enumerate() {
        let lines = weights.lines(panel);
        for (i, row) in rows.bytes.chunks_exact(rows.depth).take(rows.count()).enumerate() {
            let sums = match rows.form {
                Form::Signed => sums(row, lines, |q| i16::from(q as i8)),
                Form::Offset => sums(row, lines, |q| i16::from(q) - 128),
                Form::Positive => sums(row, lines, i16::from),
                Form::Levels => sums(row, lines, |q| i16::from(q as i8) + LIFT as i16),
            };
            // SAFETY: row `i` and panel `j` are of the tile. `true`: other kernels fuse here whatever the machine.
            unsafe {
                let ending = tile.ending.at_row(i).at_column(j * PANEL);
                ending.write::<Array<4, true>, true>(sums.as_ptr().cast(), 1, PANEL);
            }
        }
    }
}

/// A row times a panel. `value` is what a byte of the row stands for.
fn sums(row: &[u8], lines: &[Line], value: impl Fn(u8) -> i16) -> [i32; PANEL] {
    let mut sums = [0; PANEL];
    for (four, line) in row.as_chunks::<GROUP>().0.iter().zip(lines) {
        let four = four.map(&value);
        for (sum, weights) in sums.iter_mut().zip(line.0.as_chunks::<GROUP>().0) {
            *sum += four.iter().zip(weights).map(|(q, w)| i32::from(*q) * i32::from(*w)).sum::<i32>();
        }
    }
    sums
}
