//! A quantised layer as it was found, and the operators of the domain `lookout` that are put in its place.

use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;

use super::activation;
use super::net::Net;
use super::tensor::{self, With};

/// What a layer does with its input.
#[derive(Clone, PartialEq)]
pub(super) enum Kind {
    /// `[..., K]` times `[K, N]`.
    Linear,
    /// `[batch, channels, height, width]`, every output channel from all input channels.
    Conv(Window),
    /// The same, so many output channels from each input channel on its own.
    Depthwise(Window, usize),
}

/// As the attributes of our operators name it.
#[derive(Clone, PartialEq)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) strides: [usize; 2],
    pub(super) pads: [usize; 4],
}

/// Weights with a scale for each column: `w = scale * (bytes + shift)`.
pub(super) struct Weights {
    /// `[K, N]`, `[kh kw C, N]` or `[kh kw, C]`.
    shape: [usize; 2],
    bytes: Bytes,
    shift: Option<Vec<f32>>,
}

enum Bytes {
    /// As the file has them, under this name.
    Named(String),
    Made(Vec<i8>),
}

/// A layer on its way to be replaced.
pub(super) struct Layer {
    pub(super) kind: Kind,
    pub(super) weights: Weights,
    /// The input, in float.
    pub(super) x: String,
    pub(super) scale: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
    /// Whether the file rounds the input to int8 as well.
    pub(super) rounded: bool,
    pub(super) end: End,
}

/// The last node of what was found so far, and the value that it makes.
pub(super) type End = (usize, String);

/// Where the weight of a row and a column lies in a file.
type Order = Box<dyn Fn(usize, usize) -> usize>;

impl Window {
    fn on(&self, node: NodeProto) -> NodeProto {
        node.ints("kernel", &self.kernel).ints("strides", &self.strides).ints("pads", &self.pads)
    }
}

impl Kind {
    /// Dimensions that a constant beside the output may have, so that it leaves the output's shape as it is.
    pub(super) fn rank(&self) -> usize {
        if *self == Kind::Linear { 1 } else { 4 }
    }

    /// A convolution's kind, when our operators do it. `weight` is `[out, in / group, kh, kw]`.
    pub(super) fn of_conv(node: &NodeProto, weight: &[usize]) -> Option<Kind> {
        let [out, within, height, width] = *weight else { return None };
        let sizes = |name: &str, default: usize, count: usize| -> Option<Vec<usize>> {
            match tensor::ints(node, name) {
                [] => Some(vec![default; count]),
                values if values.len() == count => values.iter().map(|v| usize::try_from(*v).ok()).collect(),
                _ => None,
            }
        };
        let kernel = sizes("kernel_shape", 0, 2)?;
        let pads = match tensor::text(node, "auto_pad") {
            b"" | b"NOTSET" => sizes("pads", 0, 4)?,
            b"VALID" => vec![0; 4],
            _ => return None,
        };
        if (kernel != [height, width] && kernel != [0, 0]) || sizes("dilations", 1, 2)? != [1, 1] {
            return None;
        }
        let strides = sizes("strides", 1, 2)?;
        let small = |values: &[usize], least: usize| values.iter().all(|v| (least..=255).contains(v));
        if !(small(&[height, width], 1) && small(&strides, 1) && small(&pads, 0)) {
            return None;
        }
        let window = Window {
            kernel: [height, width],
            strides: [strides[0], strides[1]],
            pads: [pads[0], pads[1], pads[2], pads[3]],
        };
        match usize::try_from(tensor::int(node, "group", 1)).ok()? {
            1 => Some(Kind::Conv(window)),
            group if within == 1 && group > 0 && out % group == 0 => Some(Kind::Depthwise(window, out / group)),
            _ => None,
        }
    }
}

impl Weights {
    /// The weights behind `name`, whose zero points are `zero`: one, or one for each column (output channel).
    /// `transposed`: a linear layer's weights lie as `[N, K]`.
    pub(super) fn read(net: &Net, name: &str, zero: &[i64], kind: &Kind, transposed: bool) -> Option<Weights> {
        let tensor = net.constant(name)?;
        let signed = tensor::signedness(tensor)?;
        let dims = tensor::shape(tensor)?;
        let (shape, order): ([usize; 2], Order) = match (kind, dims.as_slice()) {
            (Kind::Linear, [depth, columns]) if !transposed => {
                let columns = *columns;
                ([*depth, columns], Box::new(move |k, n| k * columns + n))
            }
            (Kind::Linear, [columns, depth]) => {
                let depth = *depth;
                ([depth, *columns], Box::new(move |k, n| n * depth + k))
            }
            // Row (ky kw + kx) C + c lies at [n, c, ky, kx]; depthwise has one c.
            (Kind::Conv(_) | Kind::Depthwise(..), [out, within, height, width]) => {
                let (within, taps) = (*within, height * width);
                let at = move |row: usize, n: usize| (n * within + row % within) * taps + row / within;
                ([within * taps, *out], Box::new(at))
            }
            _ => return None,
        };
        let [depth, columns] = shape;
        if depth == 0 || columns == 0 || !(zero.len() == 1 || zero.len() == columns) {
            return None;
        }
        if *kind == Kind::Linear && !transposed && signed && zero.iter().all(|z| *z == 0) {
            return Some(Weights { shape, bytes: Bytes::Named(name.to_owned()), shift: None });
        }
        let values = tensor::integers(tensor)?;
        let zero = |n: usize| if zero.len() == 1 { zero[0] } else { zero[n] };
        let pairs = || (0..depth).flat_map(|k| (0..columns).map(move |n| (k, n)));
        let exact: Option<Vec<i8>> = pairs().map(|(k, n)| i8::try_from(values[order(k, n)] - zero(n)).ok()).collect();
        if let Some(bytes) = exact {
            return Some(Weights { shape, bytes: Bytes::Made(bytes), shift: None });
        }
        // Only a linear layer can take the rest in afterwards.
        let base = if signed { 0 } else { 128 };
        let bytes = pairs().map(|(k, n)| i8::try_from(values[order(k, n)] - base).ok()).collect::<Option<_>>()?;
        let shift = (0..columns).map(|n| (base - zero(n)) as f32).collect();
        (*kind == Kind::Linear).then_some(Weights { shape, bytes: Bytes::Made(bytes), shift: Some(shift) })
    }

    /// Output channels.
    pub(super) fn columns(&self) -> usize {
        self.shape[1]
    }
}

impl Layer {
    /// Takes the bias and the activation behind the layer in, and puts ours in the place of it all.
    pub(super) fn replace(mut self, net: &mut Net, name: &str) -> TractResult<()> {
        if self.bias.is_none() {
            self.take_bias(net);
        }
        let mut activation = "none";
        if let Some(found) = activation::after(net, &self.end.1, self.kind.rank()) {
            let last = net.node(found.node).context("the activation is there")?;
            self.end = (found.node, last.output[0].clone());
            activation = found.name;
        }
        let columns = self.weights.columns();
        let bytes = match &self.weights.bytes {
            Bytes::Named(name) => name.clone(),
            Bytes::Made(bytes) => net.add_constant(name, tensor::of_bytes(&self.weights.shape, bytes)),
        };
        let scale = net.add_constant(name, tensor::of_floats(&[columns], &self.scale));
        let bias = self.bias.unwrap_or_else(|| vec![0.0; columns]);
        let bias = net.add_constant(name, tensor::of_floats(&[columns], &bias));
        let precision = if self.rounded { "int8" } else { "weights" };
        let (end, output) = self.end;
        let nodes = match &self.kind {
            Kind::Linear => match &self.weights.shift {
                None => {
                    let node = tensor::node("LookoutLinear", name, &[&self.x, &bytes, &scale, &bias], &output);
                    vec![node.text("activation", activation).text("precision", precision)]
                }
                Some(shift) => {
                    let shift = net.add_constant(name, tensor::of_floats(&[columns], shift));
                    let inputs = [&*self.x, &bytes, &scale, &bias, &shift];
                    let node = tensor::node("LookoutShiftedLinear", name, &inputs, &output);
                    vec![node.text("activation", activation).text("precision", precision)]
                }
            },
            Kind::Conv(window) => {
                let (last, first) = (net.new_name(name), net.new_name(name));
                let node = tensor::node("LookoutConv", name, &[&last, &bytes, &scale, &bias], &first);
                let node = window.on(node).text("activation", activation).text("precision", precision);
                vec![channels_last(name, &self.x, &last), node, channels_first(name, &first, &output)]
            }
            Kind::Depthwise(window, repeat) => {
                let (last, first) = (net.new_name(name), net.new_name(name));
                let mut nodes = vec![channels_last(name, &self.x, &last)];
                let x = if *repeat == 1 { last } else { repeated(net, name, &last, columns, *repeat, &mut nodes) };
                let node = tensor::node("LookoutDepthwise", name, &[&x, &bytes, &scale, &bias], &first);
                nodes.push(window.on(node).text("activation", activation));
                nodes.push(channels_first(name, &first, &output));
                nodes
            }
        };
        net.replace(end, nodes)
    }

    fn take_bias(&mut self, net: &Net) {
        let Some(ix) = net.only_user(&self.end.1) else { return };
        let Some(add) = net.standard(ix, "Add") else { return };
        let Some(other) = add.input.iter().find(|name| **name != self.end.1) else { return };
        if let Some(bias) = per_channel(net, other, self.weights.columns(), &self.kind) {
            self.bias = Some(bias);
            self.end = (ix, add.output[0].clone());
        }
    }
}

fn channels_last(name: &str, x: &str, out: &str) -> NodeProto {
    tensor::node("Transpose", &format!("{name}.channels_last"), &[x], out).ints("perm", &[0, 2, 3, 1])
}

fn channels_first(name: &str, x: &str, out: &str) -> NodeProto {
    tensor::node("Transpose", &format!("{name}.channels_first"), &[x], out).ints("perm", &[0, 3, 1, 2])
}

/// Every channel of `x`, channels last, so many times in a row that there are `columns`. Returns what it is called.
fn repeated(net: &mut Net, name: &str, x: &str, columns: usize, times: usize, nodes: &mut Vec<NodeProto>) -> String {
    let [apart, wide, whole] = [0; 3].map(|_| net.new_name(name));
    let (channels, times) = ((columns / times) as i64, times as i64);
    let shapes: [&[i64]; 3] = [&[0, 0, 0, channels, 1], &[1, 1, 1, channels, times], &[0, 0, 0, channels * times]];
    let [split, spread, join] = shapes.map(|shape| net.add_constant(name, tensor::of_sizes(shape)));
    nodes.push(tensor::node("Reshape", &format!("{name}.apart"), &[x, &split], &apart));
    nodes.push(tensor::node("Expand", &format!("{name}.wide"), &[&apart, &spread], &wide));
    nodes.push(tensor::node("Reshape", &format!("{name}.whole"), &[&wide, &join], &whole));
    whole
}

/// A float constant that has one value for each output channel or one for all, and that leaves the shape of the layer's
/// output as it is.
pub(super) fn per_channel(net: &Net, name: &str, columns: usize, kind: &Kind) -> Option<Vec<f32>> {
    if let Some(reshape) = net.made_by(name, "Reshape") {
        let [values, shape] = reshape.input.as_slice() else { return None };
        let mut shape = tensor::integers(net.constant(shape)?)?;
        let values = float_row(net, values, columns)?;
        shape.iter_mut().filter(|d| **d == -1).for_each(|d| *d = columns as i64);
        return lies_right(&shape, columns, kind).then_some(values);
    }
    let constant = net.constant(name)?;
    if let Some(value) = tensor::scalar(constant, kind.rank()) {
        return Some(vec![value; columns]);
    }
    lies_right(&constant.dims, columns, kind).then(|| tensor::floats(constant))?
}

/// `columns` floats; see [`float_values`].
pub(super) fn float_row(net: &Net, name: &str, columns: usize) -> Option<Vec<f32>> {
    float_values(net, name).filter(|values| values.len() == columns)
}

/// A row of floats, written as such or as integers with scales, as quantised exports write a bias.
pub(super) fn float_values(net: &Net, name: &str) -> Option<Vec<f32>> {
    if let Some(constant) = net.constant(name) {
        return tensor::floats(constant).filter(|_| constant.dims.len() == 1);
    }
    let node = net.made_by(name, "DequantizeLinear")?;
    let whole = net.constant(node.input.first()?)?;
    let values = tensor::integers(whole).filter(|_| whole.dims.len() == 1)?;
    let scale = tensor::floats(net.constant(node.input.get(1)?)?)?;
    let zero = zero_point(net, node.input.get(2))?;
    let fits = |count: usize| count == 1 || count == values.len();
    if !fits(scale.len()) || !fits(zero.len()) || tensor::int(node, "block_size", 0) != 0 {
        return None;
    }
    let ends = scale.iter().cycle().zip(zero.iter().cycle());
    Some(values.iter().zip(ends).map(|(value, (scale, zero))| (value - zero) as f32 * scale).collect())
}

/// Values of a zero point; 0 where there is none.
pub(super) fn zero_point(net: &Net, name: Option<&String>) -> Option<Vec<i64>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Some(vec![0]) };
    let constant: &TensorProto = net.constant(name)?;
    tensor::integers(constant).filter(|values| !values.is_empty() && constant.dims.len() <= 1)
}

/// Whether a constant of this shape has its values along the output's channels.
fn lies_right(shape: &[i64], columns: usize, kind: &Kind) -> bool {
    let columns = columns as i64;
    match kind {
        Kind::Linear => shape == [columns],
        _ => shape == [1, columns, 1, 1] || shape == [columns, 1, 1],
    }
}
