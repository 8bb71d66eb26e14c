//! A matrix with scales, bias and activation: what a linear and a convolutional layer share.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::scratch::{self, Scratch};
use crate::engine::threads;
use crate::kernels::{Activation, Columns, Kernel, PANEL, Packed, activate, add};

/// Panels after which a block of the result is finished, while it is still in cache.
const BLOCK: usize = 8;
/// Rows that a piece of work should be a multiple of.
pub(super) const ROW_QUANTUM: usize = 6;

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

    /// All rows of `x`, over the threads.
    pub(super) fn apply(&self, x: &[f32], residual: Option<&[f32]>, out: &mut [f32]) {
        let kernel = Kernel::chosen();
        let (depth, columns) = (self.depth(), self.columns());
        let rows = x.len() / depth;
        let cost = x.len() * columns;
        if rows == 1 {
            return self.one_row(kernel, x, residual, out, cost);
        }
        threads::split(out, columns, ROW_QUANTUM.min(rows.div_ceil(4)), cost, |first, out| {
            let rows = out.len() / columns;
            let x = &x[first * depth..][..rows * depth];
            let residual = residual.map(|r| &r[first * columns..][..out.len()]);
            scratch::with(|scratch| self.rows(kernel, x, residual, out, scratch));
        });
    }

    /// The rows of `x`, on this thread.
    pub(super) fn rows(
        &self,
        kernel: Kernel,
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let columns = self.columns();
        if let Matrix::Int8(packed) = &self.matrix {
            scratch.rows.quantise(kernel, x, packed.depth());
        }
        let panels = columns.div_ceil(PANEL);
        for panel in (0..panels).step_by(BLOCK) {
            let last = (panel + BLOCK).min(panels);
            let first = panel * PANEL;
            let width = columns.min(last * PANEL) - first;
            match &self.matrix {
                Matrix::Int8(packed) => kernel.multiply(&scratch.rows, packed, panel..last, &mut out[first..], columns),
                Matrix::Weights(matrix) => matrix.multiply(kernel, x, first, width, &mut out[first..], columns),
            }
            for (i, row) in out.chunks_exact_mut(columns).enumerate() {
                let residual = residual.map(|r| &r[i * columns + first..][..width]);
                self.finish(kernel, &mut row[first..first + width], residual);
            }
        }
    }

    /// A single row: its columns are spread over the threads.
    fn one_row(&self, kernel: Kernel, x: &[f32], residual: Option<&[f32]>, out: &mut [f32], cost: usize) {
        scratch::with(|scratch| {
            if let Matrix::Int8(packed) = &self.matrix {
                scratch.rows.quantise(kernel, x, packed.depth());
            }
            let rows = &scratch.rows;
            threads::split(out, PANEL, 4, cost, |panel, out| {
                let first = panel * PANEL;
                let width = out.len();
                match &self.matrix {
                    Matrix::Int8(packed) => {
                        kernel.multiply(rows, packed, panel..panel + width.div_ceil(PANEL), out, width);
                    }
                    Matrix::Weights(matrix) => matrix.multiply(kernel, x, first, width, out, width),
                }
                self.finish(kernel, out, residual.map(|r| &r[first..][..width]));
            });
        });
    }

    fn finish(&self, kernel: Kernel, values: &mut [f32], residual: Option<&[f32]>) {
        if self.activation != Activation::None {
            activate(kernel, values, self.activation);
        }
        if let Some(residual) = residual {
            add(kernel, values, residual);
        }
    }
}
