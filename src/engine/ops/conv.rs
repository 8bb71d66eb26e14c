//! `LookoutConv(x[B, H, W, C], weight int8 [kh kw C, N], scale [N], bias [N])`: weight row `(ky kw + kx) C + c`. Each window
//! becomes a row of a matrix product, a few output rows at a time.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::dense::{Dense, Precision};
use super::{Operator, scratch};
use crate::engine::threads;
use crate::kernels::{Activation, Kernel, Window};

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
            dense.apply(x, None, out);
            return Ok(());
        }
        let (height, width, channels) = (shape[1], shape[2], shape[3]);
        let kernel = Kernel::chosen();
        let depth = dense.depth();
        let Some([rows, columns]) = window.output(height, width) else { bail!("the kernel does not fit") };
        let picture = height * width * channels;
        let line = columns * dense.columns();
        let cost = out.len() * depth;
        // A line of the output at a time keeps the windows in cache.
        threads::split(out, line, 1, cost, |first, out| {
            scratch::with(|scratch| {
                for (i, out) in out.chunks_exact_mut(line).enumerate() {
                    let (batch, row) = ((first + i) / rows, (first + i) % rows);
                    let mut patches = std::mem::take(&mut scratch.patches);
                    let picture = &x[batch * picture..][..picture];
                    unfold(window, picture, [height, width, channels], row, columns, &mut patches);
                    dense.rows(kernel, &patches, None, out, scratch);
                    scratch.patches = patches;
                }
            });
        });
        Ok(())
    }
}

/// The windows of output row `row`, one after another, zeros outside the picture.
fn unfold(window: Window, x: &[f32], size: [usize; 3], row: usize, columns: usize, patches: &mut Vec<f32>) {
    let [height, width, channels] = size;
    let [kernel_height, kernel_width] = window.kernel;
    let depth = kernel_height * kernel_width * channels;
    patches.clear();
    patches.resize(columns * depth, 0.0);
    let (y0, y1, top) = window.taps(0, row, height);
    for (column, patch) in patches.chunks_exact_mut(depth).enumerate() {
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
