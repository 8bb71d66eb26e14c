//! Attention over logits that are given or made: each token weighs the values of the tokens that it sees by a softmax over
//! its logits. With static keys the logits come from a learnt key for each position instead of one computed from the token.
//! Source: Hu et al., "Static Key Attention in Vision", arXiv 2412.07049.

use super::scratch::{self, Scratch};
use crate::engine::threads;
use crate::kernels::{Finish, Kernel, PANEL, Packed, softmax_to_bytes};

/// Which tokens a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    All,
    /// Itself and those before it.
    Causal,
}

impl Reach {
    /// How many of `tokens` token `at` sees.
    pub(super) fn seen(self, at: usize, tokens: usize) -> usize {
        match self {
            Reach::All => tokens,
            Reach::Causal => at + 1,
        }
    }
}

/// Tokens of one sequence, and where each row of `x` holds what.
pub(super) struct Sequence<'a> {
    /// `[tokens, stride]`
    pub(super) x: &'a [f32],
    pub(super) stride: usize,
    /// Where the values begin in a row; they end it.
    pub(super) values: usize,
    /// Where the queries begin rows, and how far apart these lie; `None`: in `x`.
    pub(super) queries: Option<(&'a [f32], usize)>,
    pub(super) heads: usize,
    pub(super) reach: Reach,
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
        let mut values = scratch::with(|scratch| std::mem::take(&mut scratch.values));
        values.resize_with(self.heads.max(values.len()), Default::default);
        threads::each(&mut values[..self.heads], tokens * width * 16, |head, packed| {
            packed.repack(kernel, &self.x[self.values + head * head_width..], self.stride, tokens, head_width);
        });
        threads::split(out, width, 8, cost * 2, |first, out| {
            scratch::with(|scratch| {
                for (i, out) in out.chunks_mut(BLOCK * width).enumerate() {
                    let (first, rows) = (first + i * BLOCK, out.len() / width);
                    for (head, values) in values[..self.heads].iter().enumerate() {
                        let made = logits(scratch, head, first, rows);
                        let Scratch { rows: weights, logits, .. } = scratch;
                        weights.fill(rows, tokens, |row, bytes| {
                            let seen = self.reach.seen(first + row, tokens);
                            let logits = match made {
                                Some(stride) => &logits[row * stride..][..seen],
                                None => &self.x[(first + row) * self.stride + head * keys..][..seen],
                            };
                            bytes[seen..].fill(0);
                            softmax_to_bytes(kernel, logits, kernel.positive_max(), &mut bytes[..seen])
                        });
                        let out = &mut out[head * head_width..];
                        kernel.multiply(weights.view(), values, 0..values.panels(), Finish::NONE, out, width);
                    }
                }
            });
        });
        scratch::with(|scratch| scratch.values = values);
    }

    /// Leaves the products of the queries of `rows` tokens from `first` on with the first `panels` panels of a head's keys
    /// in `scratch.logits`; returns how far apart rows lie there.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn multiply_queries(
        &self,
        scratch: &mut Scratch,
        kernel: Kernel,
        keys: &Packed,
        head: usize,
        first: usize,
        rows: usize,
        panels: usize,
    ) -> usize {
        let head_width = keys.depth();
        let (queries, stride) = self.queries.unwrap_or((self.x, self.stride));
        scratch.queries.clear();
        for token in first..first + rows {
            scratch.queries.extend_from_slice(&queries[token * stride + head * head_width..][..head_width]);
        }
        scratch.rows.quantise(kernel, &scratch.queries, head_width);
        let stride = panels * PANEL;
        scratch.logits.resize(scratch.logits.len().max(rows * stride), 0.0);
        kernel.multiply(scratch.rows.view(), keys, 0..panels, Finish::NONE, &mut scratch.logits, stride);
        stride
    }
}

/// Tokens that are worked on at a time, so that logits and weights stay in cache.
const BLOCK: usize = 48;
