//! `LookoutConv(x[B, H, W, C], weight int8 [kh kw C, N], scale [N], bias [N])`: weight row `(ky kw + kx) C + c`. Each window
//! is a row of a matrix product: where it lies, if activations stay float and it is wholly in the picture, else copied out.
//!
//! With the attribute `x_scale`, a scale for all of `x` as in ONNX's `QLinearConv` with zero point 0, each value is rounded to
//! int8 once, before it is copied; without it each window is, by its largest value. For pictures, whose values are whole
//! multiples of one scale, that loses nothing.
//!
//! A transposition from `[B, C, H, W]` right before it is left out: windows are then read from planes, one channel after
//! another.

use std::ops::Range;

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::dense::{Dense, Precision, Sink};
use super::scratch::{self, Scratch};
use super::{Operator, Wired};
use crate::engine::threads;
use crate::kernels::{self, Activation, Kernel, MOST_ROWS, Strides, Window, Windows};

/// Windows that are multiplied at a time by weights that do not stay in cache.
const HEAVY_ROWS: usize = 64;
/// Lines of the output whose windows are bytes that are copied out together.
const SOME_LINES: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conv {
    window: Window,
    pub(super) activation: Activation,
    precision: Precision,
    /// Of all activations.
    x_scale: Option<f32>,
    /// `x` is `[B, C, H, W]`.
    planes: bool,
}

impl Operator for Conv {
    type Constants = Dense;
    const NAME: &'static str = "LookoutConv";
    const CONSTANTS: &'static [&'static str] = &["weight", "scale", "bias"];

    fn read(node: &NodeProto) -> TractResult<Self> {
        let (precision, x_scale) = (Precision::read(node)?, node.get_attr_opt::<f32>("x_scale")?);
        if let Some(scale) = x_scale {
            ensure!(scale.is_normal() && scale > 0.0, "x_scale is {scale}; it must be above 0");
        }
        let (window, activation) = (super::window(node)?, super::activation(node)?);
        Ok(Conv { window, activation, precision, x_scale, planes: false })
    }

    fn shape(&self, x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(weight.len() == 2, "weight is {weight:?}; it must be [kh kw C, N]");
        ensure!(x.len() == 4, "x is {x:?}; it must have 4 dimensions");
        let x = if self.planes { &[0, 2, 3, 1].map(|axis: usize| x[axis].clone()) } else { x };
        let shape = super::slide(&self.window, x, weight[1].clone())?;
        let depth = x[3].clone() * (self.window.kernel[0] * self.window.kernel[1]);
        super::expect("values in a window of x", &depth, &weight[0])?;
        Ok(shape)
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Dense> {
        let dense = Dense::load(constants, self.precision, self.activation)?;
        match self.x_scale {
            Some(scale) => dense.for_bytes(scale).context("x_scale needs the precision int8"),
            None => Ok(dense),
        }
    }

    fn run(&self, dense: &Dense, x: &[f32], shape: &[usize], _: Option<&[f32]>, out: &mut [f32]) -> TractResult<()> {
        let window = self.window;
        let point = Window { kernel: [1, 1], strides: [1, 1], pads: [0; 4] };
        if !self.planes && !self.is_uniform() && window == point {
            dense.apply(x, &[], out);
            return Ok(());
        }
        let size = self.size(shape);
        let kernel = Kernel::chosen();
        let Some([rows, columns]) = window.output(size[0], size[1]) else { bail!("the kernel does not fit") };
        let picture = size.iter().product::<usize>();
        let line = columns * dense.columns();
        let cost = out.len() * dense.depth();
        // A line of the output at a time keeps the windows in cache; weights that do not stay there serve more of them.
        let together = if dense.is_heavy() { (HEAVY_ROWS / columns.max(1)).max(1) } else { 1 };
        threads::split(out, line, 1, cost, |first, out| {
            scratch::with(|scratch| {
                if self.is_uniform() {
                    let mut done = 0;
                    while done < out.len() / line {
                        let (batch, row) = ((first + done) / rows, (first + done) % rows);
                        let count = (rows - row).min(out.len() / line - done);
                        let sink = Sink::Floats { out: &mut out[done * line..][..count * line], residual: &[] };
                        let x = &x[batch * picture..][..picture];
                        self.uniform_rows(dense, kernel, x, size, row..row + count, sink, scratch);
                        done += count;
                    }
                    return;
                }
                if together > 1 {
                    for (i, out) in out.chunks_mut(together * line).enumerate() {
                        let mut patches = std::mem::take(&mut scratch.patches);
                        patches.clear();
                        for at in (0..out.len() / line).map(|j| first + i * together + j) {
                            let x = &x[at / rows * picture..][..picture];
                            self.unfold(x, size, at % rows, 0..columns, &mut patches);
                        }
                        dense.rows(kernel, &patches, Sink::Floats { out, residual: &[] }, scratch);
                        scratch.patches = patches;
                    }
                    return;
                }
                for (i, out) in out.chunks_exact_mut(line).enumerate() {
                    let (batch, row) = ((first + i) / rows, (first + i) % rows);
                    self.line(
                        dense,
                        kernel,
                        &x[batch * picture..][..picture],
                        size,
                        row,
                        Sink::Floats { out, residual: &[] },
                        scratch,
                    );
                }
            });
        });
        Ok(())
    }
}

impl Conv {
    /// Height, width and channels of an `x` of this shape.
    pub(super) fn size(&self, shape: &[usize]) -> [usize; 3] {
        if self.planes { [shape[2], shape[3], shape[1]] } else { [shape[1], shape[2], shape[3]] }
    }

    /// Whether all activations have one scale.
    pub(super) fn is_uniform(&self) -> bool {
        self.x_scale.is_some()
    }

    /// These rows of the output for one picture `x` of `size`, on this thread, where all activations have one scale.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn uniform_rows(
        &self,
        dense: &Dense,
        kernel: Kernel,
        x: &[f32],
        size: [usize; 3],
        rows: Range<usize>,
        mut sink: Sink,
        scratch: &mut Scratch,
    ) {
        let (window, [height, width, channels]) = (self.window, size);
        let ([high, wide], [down, right]) = (window.kernel, window.strides);
        let columns = window.output(height, width).map_or(0, |size| size[1]);
        let Some(last) = columns.checked_sub(1) else { return };
        let inverse = 1.0 / self.x_scale.unwrap_or(1.0);
        // The columns that windows see, some of them outside the picture.
        let seen = last * right + wide;
        let left = window.pads[1].min(seen);
        let inside = width.min(seen - left);
        let (strides, plane) =
            if self.planes { ([1, height * width], width) } else { ([channels, 1], width * channels) };
        let pitch = seen * channels;
        let shape = Windows { step: right * channels, pieces: high, piece: wide * channels, pitch };
        let depth = shape.depth();
        let (mut pixels, mut windows) = (std::mem::take(&mut scratch.pixels), std::mem::take(&mut scratch.windows));
        let some = (MOST_ROWS / columns).clamp(1, SOME_LINES);
        for first in rows.clone().step_by(some) {
            let count = some.min(rows.end - first);
            let top = first * down;
            pixels.clear();
            pixels.resize(((count - 1) * down + high) * pitch + Windows::SLACK, kernel.zero());
            for (i, line) in pixels.chunks_exact_mut(pitch).enumerate() {
                if let Some(row) = (top + i).checked_sub(window.pads[0]).filter(|row| *row < height) {
                    let out = &mut line[left * channels..][..inside * channels];
                    kernels::pixels(kernel, &x[row * plane..], strides, channels, inverse, out);
                }
            }
            windows.resize(count * columns * depth + Windows::SLACK, 0);
            for line in 0..count {
                shape.copy(&pixels[line * down * pitch..], columns, &mut windows[line * columns * depth..]);
            }
            for from in (0..count * columns).step_by(MOST_ROWS) {
                let to = (from + MOST_ROWS).min(count * columns);
                let place = (first - rows.start) * columns;
                let sink = sink.rows(place + from..place + to, dense.columns());
                dense.bytes(kernel, &windows[from * depth..], to - from, sink);
            }
        }
        (scratch.pixels, scratch.windows) = (pixels, windows);
    }

    /// Row `row` of the output for one picture `x` of `size`, on this thread.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn line(
        &self,
        dense: &Dense,
        kernel: Kernel,
        x: &[f32],
        size: [usize; 3],
        row: usize,
        mut sink: Sink,
        scratch: &mut Scratch,
    ) {
        let (window, wide) = (self.window, dense.columns());
        let columns = window.output(size[0], size[1]).map_or(0, |size| size[1]);
        let inside = inside(window, size, row, columns);
        let done = sink.rows(inside.clone(), wide);
        let read = match self.within(x, size, row, &inside) {
            Some((x, strides)) => dense.strided(kernel, x, strides, done).map(|()| inside),
            None => None,
        }
        .unwrap_or(0..0);
        let mut patches = std::mem::take(&mut scratch.patches);
        for part in [0..read.start, read.end..columns] {
            if !part.is_empty() {
                patches.clear();
                self.unfold(x, size, row, part.clone(), &mut patches);
                dense.rows(kernel, &patches, sink.rows(part, wide), scratch);
            }
        }
        scratch.patches = patches;
    }

    /// The windows of these columns where they lie in the picture, each in as many pieces as the kernel has rows.
    fn within<'a>(
        &self,
        x: &'a [f32],
        [height, width, channels]: [usize; 3],
        row: usize,
        inside: &Range<usize>,
    ) -> Option<(&'a [f32], Strides)> {
        let window = self.window;
        let (_, _, top) = window.taps(0, row, height);
        let left = (inside.start * window.strides[1]).checked_sub(window.pads[1])?;
        let (planes, together) = if self.planes { (channels, 1) } else { (1, channels) };
        let strides = Strides {
            rows: inside.len(),
            row: window.strides[1] * together,
            planes,
            plane: height * width,
            pieces: window.kernel[0],
            piece: width * together,
            length: window.kernel[1] * together,
        };
        (!inside.is_empty()).then(|| (&x[(top * width + left) * together..], strides))
    }

    /// Adds the windows of some columns of output row `row` to `patches`, one after another, zeros outside the picture.
    fn unfold(&self, x: &[f32], size: [usize; 3], row: usize, part: Range<usize>, patches: &mut Vec<f32>) {
        let ([height, width, channels], window) = (size, self.window);
        let [kernel_height, kernel_width] = window.kernel;
        let (planes, together) = if self.planes { (channels, 1) } else { (1, channels) };
        let depth = kernel_height * kernel_width * channels;
        let start = patches.len();
        patches.resize(start + part.len() * depth, 0.0);
        let (y0, y1, top) = window.taps(0, row, height);
        for (column, patch) in part.zip(patches[start..].chunks_exact_mut(depth)) {
            let (x0, x1, left) = window.taps(1, column, width);
            let run = (x1 - x0) * together;
            if run == 0 {
                continue;
            }
            for (plane, patch) in patch.chunks_exact_mut(depth / planes).enumerate() {
                for ky in y0..y1 {
                    let from = ((plane * height + top + ky - y0) * width + left) * together;
                    patch[(ky * kernel_width + x0) * together..][..run].copy_from_slice(&x[from..][..run]);
                }
            }
        }
    }
}

/// Leaves out a transposition to channels last whose only reader is a convolution.
pub(in crate::engine) fn read_planes(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let Some(conv) = node.op_as::<Wired<Conv>>().filter(|conv| !conv.operator.planes) else { continue };
        let turn = model.node(node.inputs[0].node);
        let turned = turn.op_as::<AxisOp>() == Some(&AxisOp::Move(1, 3)) && turn.outputs[0].fact.rank() == 4;
        if !turned || turn.outputs[0].successors.len() != 1 || model.outputs.contains(&turn.id.into()) {
            continue;
        }
        let [height, width] = conv.operator.window.kernel;
        let channels = conv.constants.depth() / (height * width);
        let order = |k: usize| k % (height * width) * channels + k / (height * width);
        // Pixels of bytes have their channels together whatever they are read from.
        let constants = match conv.operator.is_uniform() {
            true => conv.constants.clone(),
            false => Arc::new(conv.constants.reordered(order)),
        };
        let operator = Conv { planes: true, ..conv.operator.clone() };
        let planes = Wired { operator, constants, weight: conv.weight.clone() };
        TypedModelPatch::replace_single_op(model, node, &turn.inputs, planes)?.apply(model)?;
    }
    model.compact()
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
