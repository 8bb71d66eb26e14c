//! Three layers as one: a linear layer or convolution that widens, a depthwise convolution, and a linear layer that narrows
//! again (the inverted residual of Sandler et al., "MobileNetV2", arXiv 1801.04381). What lies between them never exists
//! whole where it is large: a few rows at a time stay in a cache of the second level.
//!
//! | file | what lies between |
//! |---|---|
//! | `floats` | floats: the result has the bits of the separate layers |
//! | `levels` | bytes, where a ReLU6 bounds it and the last layer rounds it to int8 anyway |
//! | `mixed` | floats before the depthwise convolution, bytes after it |

mod floats;
mod levels;
mod mixed;

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use self::floats::Floats;
use self::levels::Levels;
use self::mixed::Mixed;
use super::conv::Conv;
use super::dense::{Dense, Sink};
use super::depthwise::Depthwise;
use super::linear::Linear;
use super::scratch::{self, Scratch};
use super::{Companion, Operator, Wired};
use crate::engine::threads;
use crate::kernels::{self, Kernel, Window};

/// Floats between the first two layers from which on it pays.
const WORTH_IT: usize = 1 << 18;
/// Bytes that are kept between them.
const KEPT: usize = 1 << 18;

/// What the first layer does with a row of windows.
#[derive(Debug, Clone, PartialEq)]
enum Front {
    Linear,
    Conv(Conv),
}

impl Front {
    /// These rows of its result for the picture `x`, `[height, width, channels]`.
    #[allow(clippy::too_many_arguments)]
    fn rows(
        &self,
        dense: &Dense,
        kernel: Kernel,
        x: &[f32],
        size: [usize; 3],
        rows: std::ops::Range<usize>,
        width: usize,
        mut sink: Sink,
        scratch: &mut Scratch,
    ) {
        match self {
            Front::Linear => {
                let line = width * dense.depth();
                dense.rows(kernel, &x[rows.start * line..rows.end * line], sink, scratch);
            }
            Front::Conv(conv) if conv.is_uniform() => conv.uniform_rows(dense, kernel, x, size, rows, sink, scratch),
            Front::Conv(conv) => {
                for (i, row) in rows.enumerate() {
                    let sink = sink.rows(i * width..(i + 1) * width, dense.columns());
                    conv.line(dense, kernel, x, size, row, sink, scratch);
                }
            }
        }
    }
}

/// A picture `[size[0], size[1], channels]` between the layers, of which row `r` is row `r % kept` of `x`.
struct Between<'a, T> {
    x: &'a [T],
    kept: usize,
    size: [usize; 2],
}

/// What lies between two layers.
trait Value: Copy + Send + Sync {
    /// Room for so many.
    fn room(buffer: &mut kernels::Floats, count: usize) -> &mut [Self];
    /// Where the first layer puts its result.
    fn sink(out: &mut [Self]) -> Sink<'_>;
}

impl Value for f32 {
    fn room(buffer: &mut kernels::Floats, count: usize) -> &mut [f32] {
        buffer.first(count)
    }
    fn sink(out: &mut [f32]) -> Sink<'_> {
        Sink::Floats { out, residual: &[] }
    }
}

impl Value for u8 {
    fn room(buffer: &mut kernels::Floats, count: usize) -> &mut [u8] {
        buffer.bytes(count)
    }
    fn sink(out: &mut [u8]) -> Sink<'_> {
        Sink::Levels(out)
    }
}

/// The layers.
trait Layers: Sync {
    /// What the first one makes.
    type Wide: Value;
    /// What the second one makes.
    type Middle: Value;
    /// Values of a pixel of each.
    fn channels(&self) -> [usize; 2];
    /// Rows of the result that are best made together.
    fn together(&self) -> usize;
    /// The first one, whose results are values of `Wide`.
    fn first(&self) -> (&Front, &Dense);
    /// The second layer's rows from `first` on.
    fn middle(
        &self,
        kernel: Kernel,
        x: Between<Self::Wide>,
        first: usize,
        out: &mut [Self::Middle],
        scratch: &mut Scratch,
    );
    /// The last layer.
    fn back(&self, kernel: Kernel, x: &[Self::Middle], residual: &[f32], out: &mut [f32], scratch: &mut Scratch);
}

#[derive(Debug)]
enum Form {
    Floats(Floats),
    Levels(Levels),
    Mixed(Mixed),
}

/// The operator; no file names it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Strips {
    window: Window,
    /// Height and width of the picture between the first two layers.
    size: [usize; 2],
    /// Columns of the last layer.
    columns: usize,
    /// Multiply-adds.
    cost: usize,
}

#[derive(Debug)]
pub(super) struct Constants(Form);

impl Constants {
    fn front(&self) -> &Front {
        match &self.0 {
            Form::Floats(layers) => layers.first().0,
            Form::Levels(layers) => layers.first().0,
            Form::Mixed(layers) => layers.first().0,
        }
    }
}

impl Operator for Strips {
    type Constants = Constants;
    const NAME: &'static str = "LookoutStrips";
    const CONSTANTS: &'static [&'static str] = &[];
    const COMPANION: Companion = Companion::Optional;

    fn read(_: &NodeProto) -> TractResult<Self> {
        bail!("it is made of other operators, not read from a file")
    }

    fn shape(&self, x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(x.len() == 4 && weight.len() == 2, "x is {x:?}, the weight {weight:?}");
        let between = [x[0].clone(), self.size[0].to_dim(), self.size[1].to_dim(), weight[0].clone()];
        super::slide(&self.window, &between, weight[1].clone())
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
        let Some([rows, columns]) = self.window.output(self.size[0], self.size[1]) else {
            bail!("the kernel does not fit")
        };
        let size = match &constants.front() {
            Front::Conv(conv) => conv.size(shape),
            Front::Linear => [shape[1], shape[2], shape[3]],
        };
        let picture = size.iter().product::<usize>();
        let whole = rows * columns * self.columns;
        if picture * whole == 0 {
            return Ok(());
        }
        for (i, (x, out)) in x.chunks_exact(picture).zip(out.chunks_exact_mut(whole)).enumerate() {
            let residual = residual.map_or(&[][..], |r| &r[i * whole..][..whole]);
            match &constants.0 {
                Form::Floats(layers) => self.picture(layers, x, size, residual, out),
                Form::Levels(layers) => self.picture(layers, x, size, residual, out),
                Form::Mixed(layers) => self.picture(layers, x, size, residual, out),
            }
        }
        Ok(())
    }
}

impl Strips {
    fn picture<L: Layers>(&self, layers: &L, x: &[f32], size: [usize; 3], residual: &[f32], out: &mut [f32]) {
        if self.size[0] * self.size[1] * layers.channels()[0] * size_of::<L::Wide>() <= KEPT {
            return self.one_by_one(layers, x, size, residual, out);
        }
        let line = self.line() * self.columns;
        // The rows that two pieces both need are computed twice: pieces of at least four times as many.
        let shared = self.window.kernel[0].saturating_sub(self.window.strides[0]);
        let quantum = (4 * shared / self.window.strides[0]).max(1).next_multiple_of(layers.together());
        threads::split(out, line, quantum, self.cost, |first, out| {
            let residual = if residual.is_empty() { residual } else { &residual[first * line..][..out.len()] };
            scratch::with(|scratch| self.rows(layers, x, size, residual, first, out, scratch));
        });
    }

    /// Pixels in a row of the result.
    fn line(&self) -> usize {
        self.window.output(self.size[0], self.size[1]).map_or(0, |size| size[1])
    }

    /// Layer by layer, each over the threads.
    fn one_by_one<L: Layers>(&self, layers: &L, x: &[f32], size: [usize; 3], residual: &[f32], out: &mut [f32]) {
        let kernel = Kernel::chosen();
        let mut buffers =
            scratch::with(|scratch| (std::mem::take(&mut scratch.wide), std::mem::take(&mut scratch.middle)));
        let (pixels, [broad, channels]) = (out.len() / self.columns, layers.channels());
        let width = self.size[1];
        let wide = L::Wide::room(&mut buffers.0, self.size[0] * width * broad);
        let middle = L::Middle::room(&mut buffers.1, pixels * channels);
        let (front, dense) = layers.first();
        threads::split(wide, width * broad, 1, self.cost, |first, out| {
            let rows = first..first + out.len() / (width * broad);
            let sink = L::Wide::sink(out);
            scratch::with(|scratch| front.rows(dense, kernel, x, size, rows, width, sink, scratch));
        });
        threads::split(middle, self.line() * channels, layers.together(), self.cost, |first, out| {
            let x = Between { x: wide, kept: self.size[0], size: self.size };
            scratch::with(|scratch| layers.middle(kernel, x, first, out, scratch));
        });
        threads::split(out, self.columns, super::dense::ROW_QUANTUM, self.cost, |first, out| {
            let x = &middle[first * channels..][..out.len() / self.columns * channels];
            let residual = if residual.is_empty() { residual } else { &residual[first * self.columns..][..out.len()] };
            scratch::with(|scratch| layers.back(kernel, x, residual, out, scratch));
        });
        scratch::with(|scratch| (scratch.wide, scratch.middle) = buffers);
    }

    /// The output rows from `first` on that `out` has room for, a strip at a time.
    #[allow(clippy::too_many_arguments)]
    fn rows<L: Layers>(
        &self,
        layers: &L,
        x: &[f32],
        size: [usize; 3],
        residual: &[f32],
        first: usize,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (kernel, window) = (Kernel::chosen(), self.window);
        let [height, width] = self.size;
        let [broad, channels] = layers.channels();
        let wide = width * broad;
        let (line, between) = (self.line() * self.columns, self.line() * channels);
        let most = (KEPT / size_of::<L::Wide>() / wide).saturating_sub(window.kernel[0]) / window.strides[0] + 1;
        let strip = (most / layers.together() * layers.together()).max(1).min(out.len() / line);
        let kept = ((strip - 1) * window.strides[0] + window.kernel[0]).min(height);
        let mut buffers = (std::mem::take(&mut scratch.wide), std::mem::take(&mut scratch.middle));
        let (ring, middle) =
            (L::Wide::room(&mut buffers.0, kept * wide), L::Middle::room(&mut buffers.1, strip * between));
        let (front, dense) = layers.first();
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
                let (rows, sink) = (next..next + together, L::Wide::sink(ring));
                front.rows(dense, kernel, x, size, rows, width, sink, scratch);
                next += together;
            }
            let middle = &mut middle[..count * between];
            layers.middle(kernel, Between { x: ring, kept, size: self.size }, row, middle, scratch);
            let residual = if residual.is_empty() { residual } else { &residual[i * strip * line..][..out.len()] };
            layers.back(kernel, middle, residual, out, scratch);
        }
        (scratch.wide, scratch.middle) = buffers;
    }
}

/// Puts three layers into one wherever bytes can lie between them, or what lies between them is large.
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
    let (front, dense, activation) = if let Some(conv) = node.op_as::<Wired<Conv>>() {
        (Front::Conv(conv.operator.clone()), conv.constants.clone(), conv.operator.activation)
    } else if let Some(linear) = node.op_as::<Wired<Linear>>() {
        (Front::Linear, linear.constants.clone(), linear.operator.activation)
    } else {
        return Ok(None);
    };
    let Some(shape) = node.outputs[0].fact.shape.as_concrete() else { return Ok(None) };
    let &[_, height, width, channels] = shape else { return Ok(None) };
    let Some(middle) = only_user(model, id) else { return Ok(None) };
    let Some(depthwise) = model.node(middle).op_as::<Wired<Depthwise>>() else { return Ok(None) };
    let Some(last) = only_user(model, middle) else { return Ok(None) };
    let Some(back) = model.node(last).op_as::<Wired<Linear>>() else { return Ok(None) };
    if node.inputs.len() != 1 || model.node(last).inputs[0].node != middle {
        return Ok(None);
    }
    let window = depthwise.operator.window;
    let Some([rows, columns]) = window.output(height, width) else { return Ok(None) };
    let levels = Levels::new(&front, &dense, activation, depthwise, &back.constants).map(Form::Levels);
    let form = match levels.or_else(|| Mixed::new(&front, &dense, depthwise, &back.constants).map(Form::Mixed)) {
        Some(form) => form,
        None if height * width * channels < WORTH_IT => return Ok(None),
        None => Form::Floats(Floats {
            front,
            dense: dense.clone(),
            depthwise: depthwise.operator.clone(),
            taps: depthwise.constants.clone(),
            back: back.constants.clone(),
        }),
    };
    let after = rows * columns * channels * (window.kernel[0] * window.kernel[1] + back.constants.columns());
    let operator = Strips {
        window,
        size: [height, width],
        columns: back.constants.columns(),
        cost: height * width * channels * dense.depth() + after,
    };
    let strips = Wired { operator, constants: Arc::new(Constants(form)), weight: back.weight.clone() };
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
