//! A matrix with scales, bias and activation: what a linear and a convolutional layer share.

use std::ops::Range;

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::scratch::{self, Scratch};
use crate::engine::threads;
use crate::kernels::{
    Activation, Columns, Finish, Kernel, MOST_ROWS, PANEL, Packed, Strides, View, padded, rows_of_bytes, rows_of_levels,
};

/// The least rows that are quantised and multiplied at a time, where the weights stay in cache from one block to the next, and
/// the bytes up to which more are.
const BLOCK: usize = 48;
const BLOCK_STAYS: usize = 1 << 14;
/// So few rows are one block, if their bytes stay.
const FEW: usize = 64;
/// Bytes of weights that stay.
const WEIGHTS_STAY: usize = 1 << 19;
/// Bytes of quantised activations in a block, and of what comes out before it is finished, where they do not.
const ACTIVATIONS_STAY: usize = 3 << 17;
/// Rows that a piece of work should be a multiple of.
pub(super) const ROW_QUANTUM: usize = 6;

/// Rows of so many bytes, with what comes out of them, that are worked on at a time.
fn block(row: usize) -> usize {
    (BLOCK_STAYS / row.max(1) / BLOCK * BLOCK).clamp(BLOCK, MOST_ROWS)
}

/// Attribute `precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// Activations are quantised to int8.
    Int8,
    /// Only weights are int8.
    Weights,
}

impl Precision {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(match node.get_attr_opt::<&str>("precision")?.unwrap_or("int8") {
            "int8" => Precision::Int8,
            "weights" => Precision::Weights,
            other => bail!("precision {other:?} is unknown: int8 or weights"),
        })
    }
}

/// Where rows of a result go.
pub(super) enum Sink<'a> {
    /// The residual is empty or as long as the result.
    Floats { out: &'a mut [f32], residual: &'a [f32] },
    /// As levels, of a layer in steps; rows are padded.
    Levels(&'a mut [u8]),
}

impl Sink<'_> {
    /// These rows, of a layer with so many columns.
    pub(super) fn rows(&mut self, rows: Range<usize>, columns: usize) -> Sink<'_> {
        match self {
            Sink::Floats { out, residual } => {
                let range = rows.start * columns..rows.end * columns;
                let residual = if residual.is_empty() { residual } else { &residual[range.clone()] };
                Sink::Floats { out: &mut out[range], residual }
            }
            Sink::Levels(out) => Sink::Levels(&mut out[rows.start * padded(columns)..rows.end * padded(columns)]),
        }
    }
}

/// Shape of a linear layer's output for an `x` `[..., K]` and a weight `[K, N]`.
pub(super) fn shape(x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>> {
    ensure!(weight.len() == 2, "weight is {weight:?}; it must be [K, N]");
    let Some((channels, front)) = x.split_last() else { bail!("x is a scalar") };
    super::expect("channels of x", channels, &weight[0])?;
    let mut shape: TVec<TDim> = front.into();
    shape.push(weight[1].clone());
    Ok(shape)
}

#[derive(Debug)]
enum Matrix {
    Int8(Packed),
    Weights(Columns),
}

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Dense {
    matrix: Matrix,
    activation: Activation,
}

impl Dense {
    /// `constants`: weight `[depth, columns]` int8, scale `[columns]`, bias `[columns]`.
    pub(super) fn load(constants: &[Arc<Tensor>], precision: Precision, activation: Activation) -> TractResult<Self> {
        let weight = super::values::<i8>("weight", &constants[0], 2)?;
        let scale = super::values::<f32>("scale", &constants[1], 1)?;
        let bias = super::values::<f32>("bias", &constants[2], 1)?;
        let [depth, columns] = [constants[0].shape()[0], constants[0].shape()[1]];
        let matrix = match precision {
            Precision::Int8 => Packed::new(weight, depth, columns, scale, bias).map(Matrix::Int8),
            Precision::Weights => Columns::new(weight, depth, columns, scale, bias).map(Matrix::Weights),
        };
        Ok(Dense { matrix: matrix.map_err(TractError::msg)?, activation })
    }

    /// The same layer with its results in units of `step`, for [`Sink::Levels`].
    pub(super) fn in_steps(&self, step: f32) -> Self {
        let matrix = match &self.matrix {
            Matrix::Int8(packed) => Matrix::Int8(packed.in_steps(step)),
            Matrix::Weights(columns) => Matrix::Weights(columns.in_steps(step)),
        };
        Dense { matrix, activation: self.activation }
    }

    /// The same layer for inputs whose value `k` is what was value `order(k)`.
    pub(super) fn reordered(&self, order: impl Fn(usize) -> usize) -> Self {
        let matrix = match &self.matrix {
            Matrix::Int8(packed) => Matrix::Int8(packed.reordered(order)),
            Matrix::Weights(columns) => Matrix::Weights(columns.reordered(order)),
        };
        Dense { matrix, activation: self.activation }
    }

    /// The same layer for [`Dense::levels`] of this step; `None` where activations must stay float.
    pub(super) fn for_levels(&self, step: f32) -> Option<Self> {
        let Matrix::Int8(packed) = &self.matrix else { return None };
        let matrix = Matrix::Int8(packed.deepened(padded(packed.depth())).of_steps(step));
        Some(Dense { matrix, activation: self.activation })
    }

    /// The same layer for [`Dense::bytes`] in units of `scale`; `None` where activations must stay float.
    pub(super) fn for_bytes(&self, scale: f32) -> Option<Self> {
        let Matrix::Int8(packed) = &self.matrix else { return None };
        Some(Dense { matrix: Matrix::Int8(packed.of_steps(scale)), activation: self.activation })
    }

    pub(super) fn depth(&self) -> usize {
        match &self.matrix {
            Matrix::Int8(packed) => packed.depth(),
            Matrix::Weights(columns) => columns.depth(),
        }
    }

    pub(super) fn columns(&self) -> usize {
        match &self.matrix {
            Matrix::Int8(packed) => packed.columns(),
            Matrix::Weights(columns) => columns.columns(),
        }
    }

    /// Whether int8 weights come from memory each time that they are read.
    pub(super) fn is_heavy(&self) -> bool {
        matches!(self.matrix, Matrix::Int8(_)) && self.depth() * self.columns() > WEIGHTS_STAY
    }

    /// All rows of `x`, over the threads. `residual` is empty or as long as `out`.
    pub(super) fn apply(&self, x: &[f32], residual: &[f32], out: &mut [f32]) {
        let kernel = Kernel::chosen();
        let (depth, columns) = (self.depth(), self.columns());
        let rows = x.len() / depth;
        let cost = x.len() * columns;
        if rows == 1 {
            return self.one_row(kernel, x, residual, out, cost);
        }
        threads::split(out, columns, ROW_QUANTUM.min(rows.div_ceil(4)), cost, |first, out| {
            let x = &x[first * depth..][..out.len() / columns * depth];
            let residual = if residual.is_empty() { residual } else { &residual[first * columns..][..out.len()] };
            scratch::with(|scratch| self.rows(kernel, x, Sink::Floats { out, residual }, scratch));
        });
    }

    /// The rows of `x`, on this thread, a few at a time so that what is quantised and what comes out stay in cache.
    pub(super) fn rows(&self, kernel: Kernel, x: &[f32], mut sink: Sink, scratch: &mut Scratch) {
        let (depth, columns) = (self.depth(), self.columns());
        let rows = x.len() / depth;
        if rows == 0 {
            return;
        }
        let (most, panels) = if depth * columns <= WEIGHTS_STAY {
            (block(depth + columns).max(FEW.min(BLOCK_STAYS / depth)), usize::MAX)
        } else {
            // Weights come from memory: as few times as can be.
            let most = (ACTIVATIONS_STAY / depth).clamp(BLOCK, 512);
            (most, (ACTIVATIONS_STAY / (4 * PANEL * rows.min(most))).max(4) / 4 * 4)
        };
        // No block of a few rows is left over.
        let block = rows.div_ceil(rows.div_ceil(most)).next_multiple_of(ROW_QUANTUM);
        for (i, x) in x.chunks(block * depth).enumerate() {
            let sink = sink.rows(i * block..i * block + x.len() / depth, columns);
            match &self.matrix {
                Matrix::Int8(packed) => {
                    scratch.rows.quantise(kernel, x, depth);
                    self.product(kernel, scratch.rows.view(), packed, panels, sink);
                }
                Matrix::Weights(matrix) => {
                    let strides = Strides::dense(x.len() / depth, depth);
                    self.float_product(kernel, x, matrix, strides, sink);
                }
            }
        }
    }

    /// `panels` panels of columns at a time.
    fn product(&self, kernel: Kernel, rows: View, packed: &Packed, panels: usize, mut sink: Sink) {
        for first in (0..packed.panels()).step_by(panels) {
            let column = first * PANEL;
            let range = first..packed.panels().min(first.saturating_add(panels));
            match &mut sink {
                Sink::Floats { out, residual } => {
                    let residual = if residual.is_empty() { residual } else { &residual[column..] };
                    let finish = Finish { activation: self.activation, residual };
                    kernel.multiply(rows, packed, range, finish, &mut out[column..], packed.columns());
                }
                Sink::Levels(out) => {
                    kernel.multiply_to_levels(rows, packed, range, &mut out[column..], padded(packed.columns()));
                }
            }
        }
    }

    fn float_product(&self, kernel: Kernel, x: &[f32], matrix: &Columns, strides: Strides, sink: Sink) {
        let columns = matrix.columns();
        match sink {
            Sink::Floats { out, residual } => {
                let finish = Finish { activation: self.activation, residual };
                matrix.multiply(kernel, x, strides, 0, columns, finish, out, columns);
            }
            Sink::Levels(out) => matrix.multiply_to_levels(kernel, x, strides, out, padded(columns)),
        }
    }

    /// The padded rows of `levels`, on this thread; of a layer from [`Dense::for_levels`].
    pub(super) fn levels(&self, kernel: Kernel, levels: &[u8], residual: &[f32], out: &mut [f32]) {
        let (depth, columns) = (self.depth(), self.columns());
        let mut sink = Sink::Floats { out, residual };
        let block = block(depth);
        for (i, levels) in levels.chunks(block * depth).enumerate() {
            let rows = levels.len() / depth;
            if let Matrix::Int8(packed) = &self.matrix {
                let sink = sink.rows(i * block..i * block + rows, columns);
                self.product(kernel, rows_of_levels(levels, depth), packed, usize::MAX, sink);
            }
        }
    }

    /// `count` rows of `bytes`, on this thread; of a layer from [`Dense::for_bytes`].
    pub(super) fn bytes(&self, kernel: Kernel, bytes: &[u8], count: usize, sink: Sink) {
        if let Matrix::Int8(packed) = &self.matrix {
            let rows = rows_of_bytes(kernel, bytes, count, packed.padded_depth());
            self.product(kernel, rows, packed, usize::MAX, sink);
        }
    }

    /// The rows of `x` that `strides` describes, on this thread; `None` when activations must be quantised, which needs rows
    /// in one piece.
    pub(super) fn strided(&self, kernel: Kernel, x: &[f32], strides: Strides, sink: Sink) -> Option<()> {
        let Matrix::Weights(matrix) = &self.matrix else { return None };
        self.float_product(kernel, x, matrix, strides, sink);
        Some(())
    }

    /// A single row: its columns are spread over the threads.
    fn one_row(&self, kernel: Kernel, x: &[f32], residual: &[f32], out: &mut [f32], cost: usize) {
        scratch::with(|scratch| {
            if let Matrix::Int8(packed) = &self.matrix {
                scratch.rows.quantise(kernel, x, packed.depth());
            }
            let rows = &scratch.rows;
            threads::split(out, PANEL, 4, cost, |panel, out| {
                let first = panel * PANEL;
                let width = out.len();
                let residual = if residual.is_empty() { residual } else { &residual[first..][..width] };
                let finish = Finish { activation: self.activation, residual };
                match &self.matrix {
                    Matrix::Int8(packed) => {
                        kernel.multiply(rows.view(), packed, panel..panel + width.div_ceil(PANEL), finish, out, width);
                    }
                    Matrix::Weights(matrix) => {
                        matrix.multiply(kernel, x, Strides::dense(1, x.len()), first, width, finish, out, width);
                    }
                }
            });
        });
    }
}
