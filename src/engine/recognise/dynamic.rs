//! Layers as dynamic quantisation writes them: `DynamicQuantizeLinear`, `MatMulInteger` or `ConvInteger`, `Cast`, and a
//! `Mul` by both scales. The activations' scale for a whole tensor becomes one for each row.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::layer::{End, Kind, Layer, Weights, per_channel, zero_point};
use super::net::Net;
use super::tensor;

/// Replaces the layer whose product is node `ix`. True when it did. Fails where a scale has the wrong length.
pub(super) fn rewrite(net: &mut Net, ix: usize) -> TractResult<bool> {
    let Some(layer) = find(net, ix)? else { return Ok(false) };
    let name = net.node(ix).map(|node| node.name.clone()).unwrap_or_default();
    layer.replace(net, &name)?;
    Ok(true)
}

fn find(net: &Net, ix: usize) -> TractResult<Option<Layer>> {
    let Some(product) = Product::of(net, ix) else { return Ok(None) };
    let Some((end, scale)) = product.scaled(net) else { return Ok(None) };
    let Product { node, x, kind, weights, .. } = product;
    ensure!(
        scale.len() == 1 || scale.len() == weights.columns(),
        "node {} ({}): there are {} scales for {} columns",
        node.name,
        node.op_type,
        scale.len(),
        weights.columns()
    );
    let scale = if scale.len() == 1 { vec![scale[0]; weights.columns()] } else { scale };
    Ok(Some(Layer { x: x.to_owned(), kind, weights, scale, bias: None, rounded: true, end }))
}

/// The integer product of a layer.
struct Product<'a> {
    node: &'a NodeProto,
    /// What goes into the `DynamicQuantizeLinear`, and the scale that it makes.
    x: &'a str,
    scale: &'a str,
    kind: Kind,
    weights: Weights,
}

impl<'a> Product<'a> {
    fn of(net: &'a Net, ix: usize) -> Option<Self> {
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
        Some(Product { node, x: &quantiser.input[0], scale, kind, weights })
    }

    /// Follows the sums through `Cast` to floats and one or more `Mul` by the activations' scale and the weights'. Returns
    /// where that ends, and the weights' scales.
    fn scaled(&self, net: &Net) -> Option<(End, Vec<f32>)> {
        let cast = net.only_user(&self.node.output[0]).and_then(|ix| net.standard(ix, "Cast"));
        let cast = cast.filter(|cast| tensor::int(cast, "to", 0) == 1)?;
        let mut value = &cast.output[0];
        let (mut seen, mut scale) = (false, None);
        loop {
            let ix = net.only_user(value)?;
            let mul = net.standard(ix, "Mul")?;
            let other = mul.input.iter().find(|name| *name != value)?;
            if !self.factor(net, other, 2, &mut seen, &mut scale) {
                return None;
            }
            value = &mul.output[0];
            if let (true, Some(scale)) = (seen, &mut scale) {
                return Some(((ix, value.clone()), std::mem::take(scale)));
            }
        }
    }

    /// Takes `name` as a factor: the activations' scale, the weights', or the product of both.
    fn factor(&self, net: &Net, name: &str, depth: usize, seen: &mut bool, scale: &mut Option<Vec<f32>>) -> bool {
        if name == self.scale {
            return !std::mem::replace(seen, true);
        }
        if let Some(values) = self.scales(net, name) {
            return scale.replace(values).is_none();
        }
        let Some([a, b]) = net.made_by(name, "Mul").map(|mul| mul.input.as_slice()) else { return false };
        depth > 0 && [a, b].iter().all(|name| self.factor(net, name, depth - 1, seen, scale))
    }

    /// The weights' scales, of whatever length.
    fn scales(&self, net: &Net, name: &str) -> Option<Vec<f32>> {
        let constant = net.constant(name)?;
        if self.kind == Kind::Linear && constant.dims.len() == 1 {
            return tensor::floats(constant);
        }
        per_channel(net, name, self.weights.columns(), &self.kind)
    }
}
