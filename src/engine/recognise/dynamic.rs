//! Layers as dynamic quantisation writes them: `DynamicQuantizeLinear`, `MatMulInteger` or `ConvInteger`, `Cast`, and a
//! `Mul` by both scales. The activations' scale for a whole tensor becomes one for each row.

use tract_onnx::tract_hir::internal::*;

use super::layer::{Kind, Layer, Weights, per_channel, zero_point};
use super::net::Net;
use super::tensor;

/// Replaces the layer whose product is node `ix`. True when it did.
pub(super) fn rewrite(net: &mut Net, ix: usize) -> TractResult<bool> {
    let Some(layer) = find(net, ix) else { return Ok(false) };
    let name = net.node(ix).map(|node| node.name.clone()).unwrap_or_default();
    layer.replace(net, &name)?;
    Ok(true)
}

fn find(net: &Net, ix: usize) -> Option<Layer> {
    let node = net.standard(ix, "MatMulInteger").or_else(|| net.standard(ix, "ConvInteger"))?;
    let [rounded, weight, zero, ..] = node.input.as_slice() else { return None };
    let quantiser = net.made_by(rounded, "DynamicQuantizeLinear")?;
    let [_, scale, theirs] = quantiser.output.as_slice() else { return None };
    if zero != theirs {
        return None;
    }
    let kind = match node.op_type.as_str() {
        "MatMulInteger" => Kind::Linear,
        _ => Kind::of_conv(node, &tensor::shape(net.constant(weight)?)?)?,
    };
    let zero = zero_point(net, node.input.get(3))?;
    let weights = Weights::read(net, weight, &zero, &kind, false)?;
    let (end, scale) = scaled(net, &node.output[0], scale, weights.columns(), &kind)?;
    Some(Layer { x: quantiser.input[0].clone(), kind, weights, scale, bias: None, rounded: true, end })
}

/// Follows `sums` through `Cast` to floats and one or two `Mul` by the activations' scale and the weights'. Returns where
/// that ends, and the weights' scales.
fn scaled(net: &Net, sums: &str, activation: &str, columns: usize, kind: &Kind) -> Option<((usize, String), Vec<f32>)> {
    let cast = net.standard(net.only_user(sums)?, "Cast")?;
    if tensor::int(cast, "to", 0) != 1 {
        return None;
    }
    let mut value = cast.output[0].clone();
    let mut factors = Factors { activation, seen: false, scale: vec![1.0; columns], scales: 0 };
    loop {
        let ix = net.only_user(&value)?;
        let mul = net.standard(ix, "Mul")?;
        let other = mul.input.iter().find(|name| **name != value)?;
        factors.take(net, other, kind, 2)?;
        value.clone_from(&mul.output[0]);
        if factors.seen && factors.scales > 0 {
            return Some(((ix, value), factors.scale));
        }
    }
}

struct Factors<'a> {
    activation: &'a str,
    /// Whether the activations' scale was among the factors.
    seen: bool,
    scale: Vec<f32>,
    /// How many constants were.
    scales: usize,
}

impl Factors<'_> {
    /// Takes `name` as a factor: the activations' scale, a constant, or a product of such.
    fn take(&mut self, net: &Net, name: &str, kind: &Kind, depth: usize) -> Option<()> {
        if name == self.activation {
            return (!std::mem::replace(&mut self.seen, true)).then_some(());
        }
        if let Some(values) = per_channel(net, name, self.scale.len(), kind) {
            self.scales += 1;
            self.scale.iter_mut().zip(values).for_each(|(s, v)| *s *= v);
            return Some(());
        }
        let [a, b] = net.made_by(name, "Mul")?.input.as_slice() else { return None };
        let depth = depth.checked_sub(1)?;
        self.take(net, a, kind, depth)?;
        self.take(net, b, kind, depth)
    }
}
