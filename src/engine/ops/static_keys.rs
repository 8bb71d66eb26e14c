//! Static key attention, over logits that are given or made: each token weighs the values of all tokens by a softmax over
//! its logits, with a learnt key for each position instead of one computed from the token. Source: Hu et al., "Static Key
//! Attention in Vision", arXiv 2412.07049.

use super::scratch::{self, Scratch};
use crate::engine::threads;
use crate::kernels::{Finish, Kernel, Packed, softmax_to_bytes};

/// Tokens of one sequence, and where each row of `x` holds its values.
pub(super) struct Sequence<'a> {
    /// `[tokens, stride]`
    pub(super) x: &'a [f32],
    pub(super) stride: usize,
    /// Where the values begin in a row; they end it.
    pub(super) values: usize,
    pub(super) heads: usize,
}

impl Sequence<'_> {
    fn tokens(&self) -> usize {
        self.x.len() / self.stride
    }

    fn width(&self) -> usize {
        self.stride - self.values
    }

    /// Fills `out`, `[tokens, width]`. `logits(scratch, head, first, rows)` leaves the logits of `rows` tokens from
    /// `first` on in `scratch.logits` and returns how far apart rows lie there; or returns `None` and they are read from
    /// `x` at `head * keys`.
    pub(super) fn attend(
        &self,
        out: &mut [f32],
        keys: usize,
        logits: impl Fn(&mut Scratch, usize, usize, usize) -> Option<usize> + Sync,
    ) {
        let kernel = Kernel::chosen();
        let tokens = self.tokens();
        if tokens == 0 {
            return;
        }
        let (width, head_width) = (self.width(), self.width() / self.heads);
        let cost = tokens * tokens * width;
        let mut values: Vec<Packed> = vec![Packed::default(); self.heads];
        threads::each(&mut values, cost, |head, packed| {
            packed.repack(&self.x[self.values + head * head_width..], self.stride, tokens, head_width);
        });
        threads::split(out, width, 8, cost * 2, |first, out| {
            let rows = out.len() / width;
            scratch::with(|scratch| {
                for (head, values) in values.iter().enumerate() {
                    let made = logits(scratch, head, first, rows);
                    let Scratch { rows: weights, logits, exps, .. } = scratch;
                    weights.fill(rows, tokens, |row, bytes| {
                        let logits = match made {
                            Some(stride) => &logits[row * stride..][..tokens],
                            None => &self.x[(first + row) * self.stride + head * keys..][..tokens],
                        };
                        let mut scale = 0.0;
                        softmax_to_bytes(kernel, logits, kernel.positive_max(), exps, bytes, &mut scale);
                        scale
                    });
                    let out = &mut out[head * head_width..];
                    kernel.multiply(weights, values, 0..values.panels(), Finish::NONE, out, width);
                }
            });
        });
    }
}
