//! `LookoutConv(x[B, H, W, C], weight int8 [kh kw C, N], scale [N], bias [N])`: weight row `(ky kw + kx) C + c`. Each window
//! is a row of a matrix product: where it lies, if activations stay float and it is wholly in the picture, else copied out.

use std::ops::Range;

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::Operator;
use super::dense::{Dense, Precision};
use super::scratch::{self, Scratch};
use crate::engine::threads;
use crate::kernels::{Activation, Kernel, Strides, Window};

/// Windows that are multiplied at a time by weights that do not stay in cache.
const HEAVY_ROWS: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conv {
    window: Window,
    activation: Activation,
    precision: Precision,
}

impl Operator for Conv {
    type Constants = Dense;
    const NAME: &'static str = "LookoutConv";
    const CONSTANTS: &'static [&'static str] = &["weight", "scale", "bias"];

    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(Conv {
            window: super::window(node)?,
            activation: super::activation(node)?,
            precision: Precision::read(node)?,
        })
    }

    fn shape(&self, x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(weight.len() == 2, "weight is {weight:?}; it must be [kh kw C, N]");
        let shape = super::slide(&self.window, x, weight[1].clone())?;
        let depth = x[3].clone() * (self.window.kernel[0] * self.window.kernel[1]);
        super::expect("values in a window of x", &depth, &weight[0])?;
        Ok(shape)
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Dense> {
        Dense::load(constants, self.precision, self.activation)
    }

    fn run(&self, dense: &Dense, x: &[f32], shape: &[usize], _: Option<&[f32]>, out: &mut [f32]) -> TractResult<()> {
        let window = self.window;
        if window == (Window { kernel: [1, 1], strides: [1, 1], pads: [0; 4] }) {
            dense.apply(x, &[], out);
            return Ok(());
        }
        let size = [shape[1], shape[2], shape[3]];
        let kernel = Kernel::chosen();
        let Some([rows, columns]) = window.output(size[0], size[1]) else { bail!("the kernel does not fit") };
        let picture = size.iter().product::<usize>();
        let line = columns * dense.columns();
        let cost = out.len() * dense.depth();
        // A line of the output at a time keeps the windows in cache; weights that do not stay there serve more of them.
        let together = if dense.is_heavy() { (HEAVY_ROWS / columns.max(1)).max(1) } else { 1 };
        threads::split(out, line, 1, cost, |first, out| {
            scratch::with(|scratch| {
                if together > 1 {
                    for (i, out) in out.chunks_mut(together * line).enumerate() {
                        let mut patches = std::mem::take(&mut scratch.patches);
                        patches.clear();
                        for at in (0..out.len() / line).map(|j| first + i * together + j) {
                            let x = &x[at / rows * picture..][..picture];
                            unfold(window, x, size, at % rows, 0..columns, &mut patches);
                        }
                        dense.rows(kernel, &patches, &[], out, scratch);
                        scratch.patches = patches;
                    }
                    return;
                }
                for (i, out) in out.chunks_exact_mut(line).enumerate() {
                    let (batch, row) = ((first + i) / rows, (first + i) % rows);
                    self.line(dense, kernel, &x[batch * picture..][..picture], size, row, out, scratch);
                }
            });
        });
        Ok(())
    }
}

impl Conv {
    /// Row `row` of the output for one picture `x`, `[height, width, channels]`, on this thread.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn line(
        &self,
        dense: &Dense,
        kernel: Kernel,
        x: &[f32],
        size: [usize; 3],
        row: usize,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (window, wide) = (self.window, dense.columns());
        let columns = out.len() / wide;
        let inside = inside(window, size, row, columns);
        let done = &mut out[inside.start * wide..inside.end * wide];
        let read = match within(window, x, size, row, &inside) {
            Some((x, strides)) => dense.strided(kernel, x, strides, done).map(|()| inside),
            None => None,
        }
        .unwrap_or(0..0);
        let mut patches = std::mem::take(&mut scratch.patches);
        for part in [0..read.start, read.end..columns] {
            if !part.is_empty() {
                patches.clear();
                unfold(window, x, size, row, part.clone(), &mut patches);
                dense.rows(kernel, &patches, &[], &mut out[part.start * wide..part.end * wide], scratch);
            }
        }
        scratch.patches = patches;
    }
}

/// The columns of output row `row` whose windows lie wholly in the picture.
fn inside(window: Window, [height, width, _]: [usize; 3], row: usize, columns: usize) -> Range<usize> {
    let (y0, y1, _) = window.taps(0, row, height);
    if y1 - y0 < window.kernel[0] || width < window.kernel[1] {
        return 0..0;
    }
    let first = window.pads[1].div_ceil(window.strides[1]);
    let last = (width + window.pads[1] - window.kernel[1]) / window.strides[1] + 1;
    first.min(columns)..last.clamp(first.min(columns), columns)
}

/// The windows of these columns where they lie in the picture, each in as many pieces as the kernel has rows.
fn within<'a>(
    window: Window,
    x: &'a [f32],
    [height, width, channels]: [usize; 3],
    row: usize,
    inside: &Range<usize>,
) -> Option<(&'a [f32], Strides)> {
    let (_, _, top) = window.taps(0, row, height);
    let left = (inside.start * window.strides[1]).checked_sub(window.pads[1])?;
    let strides = Strides {
        rows: inside.len(),
        row: window.strides[1] * channels,
        pieces: window.kernel[0],
        piece: width * channels,
        length: window.kernel[1] * channels,
    };
    (!inside.is_empty()).then(|| (&x[(top * width + left) * channels..], strides))
}

/// Adds the windows of some columns of output row `row` to `patches`, one after another, zeros outside the picture.
fn unfold(window: Window, x: &[f32], size: [usize; 3], row: usize, part: Range<usize>, patches: &mut Vec<f32>) {
    let [height, width, channels] = size;
    let [kernel_height, kernel_width] = window.kernel;
    let depth = kernel_height * kernel_width * channels;
    let start = patches.len();
    patches.resize(start + part.len() * depth, 0.0);
    let (y0, y1, top) = window.taps(0, row, height);
    for (column, patch) in part.zip(patches[start..].chunks_exact_mut(depth)) {
        let (x0, x1, left) = window.taps(1, column, width);
        let run = (x1 - x0) * channels;
        for ky in y0..y1 {
            let from = ((top + ky - y0) * width + left) * channels;
            if run > 0 {
                patch[(ky * kernel_width + x0) * channels..][..run].copy_from_slice(&x[from..][..run]);
            }
        }
    }
}
