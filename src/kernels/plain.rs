//! The reference product, for any machine.

use std::ops::Range;

use super::{Form, PANEL, Packed, Rows};

/// See [`Kernel::multiply`](super::Kernel::multiply), which has checked the shapes.
pub(super) fn multiply(rows: &Rows, weights: &Packed, panels: Range<usize>, out: &mut [f32], stride: usize) {
    let first = panels.start * PANEL;
    let columns = weights.columns().min(panels.end * PANEL) - first;
    for (i, row) in rows.bytes().chunks_exact(rows.depth()).enumerate() {
        for j in 0..columns {
            let n = first + j;
            let mut sum = 0i32;
            for (k, q) in row.iter().enumerate() {
                let q = match rows.form() {
                    Form::Signed => i32::from(*q as i8),
                    Form::Offset => i32::from(*q) - 128,
                    Form::Positive => i32::from(*q),
                };
                sum += q * i32::from(weights.get(k, n));
            }
            let scale = rows.scale()[i] * weights.scale()[n];
            out[i * stride + j] = (sum as f32).mul_add(scale, weights.bias()[n]);
        }
    }
}
