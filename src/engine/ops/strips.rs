//! Three layers as one: a linear layer or convolution that widens, a depthwise convolution, and a linear layer that narrows
//! again. What lies between them never exists whole: a few rows at a time stay in a cache of the second level. Each row is
//! computed as the separate layers would, so the result has the same bits.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::conv::Conv;
use super::dense::Dense;
use super::depthwise::{self, Depthwise};
use super::linear::Linear;
use super::scratch::{self, Scratch};
use super::{Operator, Wired};
use crate::engine::threads;
use crate::kernels::{self, Kernel, Lines};

/// Floats between the first two layers from which on it pays.
const WORTH_IT: usize = 1 << 18;
/// Floats that are kept between them.
const KEPT: usize = 1 << 16;

/// The layer that widens.
#[derive(Debug, Clone, PartialEq)]
enum Front {
    Linear,
    Conv(Conv),
}

/// The operator; no file names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Strips {
    front: Front,
    depthwise: Depthwise,
    /// Height and width of the picture between the first two layers.
    size: [usize; 2],
}

#[derive(Debug)]
pub(super) struct Constants {
    front: Arc<Dense>,
    depthwise: Arc<depthwise::Constants>,
    back: Arc<Dense>,
}

impl Operator for Strips {
    type Constants = Constants;
    const NAME: &'static str = "LookoutStrips";
    const CONSTANTS: &'static [&'static str] = &[];
    const RESIDUAL: bool = true;

    fn read(_: &NodeProto) -> TractResult<Self> {
        bail!("it is made of other operators, not read from a file")
    }

    fn shape(&self, x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(x.len() == 4 && weight.len() == 2, "x is {x:?}, the weight {weight:?}");
        let between = [x[0].clone(), self.size[0].to_dim(), self.size[1].to_dim(), weight[0].clone()];
        super::slide(&self.depthwise.window, &between, weight[1].clone())
    }

    fn load(&self, _: &[Arc<Tensor>]) -> TractResult<Constants> {
        bail!("it is made of other operators")
    }

    fn run(
        &self,
        constants: &Constants,
        x: &[f32],
        shape: &[usize],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> TractResult<()> {
        let window = self.depthwise.window;
        let Some([rows, columns]) = window.output(self.size[0], self.size[1]) else { bail!("the kernel does not fit") };
        let picture = shape[1] * shape[2] * shape[3];
        let line = columns * constants.back.columns();
        if picture == 0 || rows * line == 0 {
            return Ok(());
        }
        // The rows that two pieces both need are computed twice: pieces of at least four times as many.
        let shared = window.kernel[0].saturating_sub(window.strides[0]);
        let quantum = (4 * shared / window.strides[0]).max(1);
        let between = self.size[0] * self.size[1] * constants.back.depth();
        let cost = between * (constants.front.depth() + window.kernel[0] * window.kernel[1] + constants.back.columns());
        for (i, x) in x.chunks_exact(picture).enumerate() {
            let at = i * rows * line;
            let residual = residual.map_or(&[][..], |r| &r[at..at + rows * line]);
            threads::split(&mut out[at..at + rows * line], line, quantum, cost, |first, out| {
                let residual = if residual.is_empty() { residual } else { &residual[first * line..][..out.len()] };
                scratch::with(|scratch| self.rows(constants, x, shape, residual, first, out, scratch));
            });
        }
        Ok(())
    }
}

impl Strips {
    /// The output rows from `first` on that `out` has room for.
    #[allow(clippy::too_many_arguments)]
    fn rows(
        &self,
        constants: &Constants,
        x: &[f32],
        shape: &[usize],
        residual: &[f32],
        first: usize,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Constants { front, depthwise, back } = constants;
        let kernel = Kernel::chosen();
        let window = self.depthwise.window;
        let [height, width] = self.size;
        let wide = width * back.depth();
        let columns = window.output(height, width).map_or(0, |size| size[1]);
        let (line, between) = (columns * back.columns(), columns * back.depth());
        let strip = ((KEPT / wide).saturating_sub(window.kernel[0]) / window.strides[0] + 1).min(out.len() / line);
        let kept = ((strip - 1) * window.strides[0] + window.kernel[0]).min(height);
        let mut buffers = (std::mem::take(&mut scratch.wide), std::mem::take(&mut scratch.middle));
        let (ring, middle) = (buffers.0.first(kept * wide), buffers.1.first(strip * between));
        let mut next = window.taps(0, first, height).2;
        for (i, out) in out.chunks_mut(strip * line).enumerate() {
            let row = first + i * strip;
            let count = out.len() / line;
            let (y0, y1, top) = window.taps(0, row + count - 1, height);
            // Rows that only a gap between windows has are left out.
            next = next.max(window.taps(0, row, height).2);
            while next < top + y1 - y0 {
                let place = next % kept;
                let together = (top + y1 - y0 - next).min(kept - place);
                let ring = &mut ring[place * wide..][..together * wide];
                match &self.front {
                    Front::Linear => {
                        let narrow = width * front.depth();
                        front.rows(kernel, &x[next * narrow..][..together * narrow], &[], ring, scratch);
                    }
                    Front::Conv(conv) => {
                        for (i, ring) in ring.chunks_exact_mut(wide).enumerate() {
                            conv.line(front, kernel, x, [shape[1], shape[2], shape[3]], next + i, ring, scratch);
                        }
                    }
                }
                next += together;
            }
            let lines = Lines { x: ring, kept, size: self.size };
            let middle = &mut middle[..count * between];
            kernels::depthwise(kernel, lines, window, self.depthwise.taps(depthwise), row, middle);
            let residual = if residual.is_empty() { residual } else { &residual[i * strip * line..][..out.len()] };
            back.rows(kernel, middle, residual, out, scratch);
        }
        (scratch.wide, scratch.middle) = buffers;
    }
}

/// Puts three layers into one wherever what lies between them is large.
pub(in crate::engine) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let Some((patch, last)) = fused(model, id)? else { continue };
        let (mut patch, out) = patch;
        patch.shunt_outside(model, last.into(), out)?;
        patch.apply(model)?;
    }
    Ok(())
}

type Replacement = ((TypedModelPatch, OutletId), usize);

/// The replacement for the three layers that begin with node `id`, and the last of them.
fn fused(model: &TypedModel, id: usize) -> TractResult<Option<Replacement>> {
    let node = model.node(id);
    let (front, dense) = if let Some(conv) = node.op_as::<Wired<Conv>>() {
        (Front::Conv(conv.operator.clone()), conv.constants.clone())
    } else if let Some(linear) = node.op_as::<Wired<Linear>>() {
        (Front::Linear, linear.constants.clone())
    } else {
        return Ok(None);
    };
    let Some(shape) = node.outputs[0].fact.shape.as_concrete() else { return Ok(None) };
    if node.inputs.len() != 1 || shape.len() != 4 || shape[1] * shape[2] * shape[3] < WORTH_IT {
        return Ok(None);
    }
    let Some(middle) = only_user(model, id) else { return Ok(None) };
    let Some(depthwise) = model.node(middle).op_as::<Wired<Depthwise>>() else { return Ok(None) };
    let Some(last) = only_user(model, middle) else { return Ok(None) };
    let Some(back) = model.node(last).op_as::<Wired<Linear>>() else { return Ok(None) };
    if model.node(last).inputs[0].node != middle {
        return Ok(None);
    }
    let strips = Wired {
        operator: Strips { front, depthwise: depthwise.operator.clone(), size: [shape[1], shape[2]] },
        constants: Arc::new(Constants {
            front: dense,
            depthwise: depthwise.constants.clone(),
            back: back.constants.clone(),
        }),
        weight: back.weight.clone(),
    };
    let mut inputs = tvec!(node.inputs[0]);
    inputs.extend_from_slice(&model.node(last).inputs[1..]);
    let mut patch = TypedModelPatch::new("strips");
    let taps = patch.taps(model, &inputs)?;
    let out = patch.wire_node(&model.node(last).name, strips, &taps)?[0];
    Ok(Some(((patch, out), last)))
}

/// The node that alone uses this one's output.
fn only_user(model: &TypedModel, id: usize) -> Option<usize> {
    let [output] = model.node(id).outputs.as_slice() else { return None };
    match output.successors.as_slice() {
        [user] if !model.outputs.contains(&id.into()) => Some(user.node),
        _ => None,
    }
}
