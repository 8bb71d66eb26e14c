//! Layers as static quantisation writes them: float operators between `QuantizeLinear` and `DequantizeLinear`.
//!
//! A pair of the two on an activation becomes a `Clip` to the range that it can hold: exporters drop a Relu where the range
//! already ends at 0, so the range is part of the model. Its rounding is left to the layers, which round each row by its
//! own largest value. Weights behind a `DequantizeLinear` stay int8; where the activations beside them are float in the
//! file, they stay float.

use std::collections::HashSet;

use tract_onnx::tract_hir::internal::*;

use super::layer::{Kind, Layer, Weights, float_row, zero_point};
use super::net::Net;
use super::tensor;

/// Replaces the pair that ends in node `ix` by a `Clip`, and notes in `rounded` what it makes. True when it did.
pub(super) fn clip(net: &mut Net, ix: usize, opset: i64, rounded: &mut HashSet<String>) -> TractResult<bool> {
    let Some((x, [least, most])) = pair(net, ix)? else { return Ok(false) };
    // Before opset 11 the limits were attributes.
    if opset < 11 {
        return Ok(false);
    }
    let Some(node) = net.node(ix) else { return Ok(false) };
    let (name, output) = (node.name.clone(), node.output[0].clone());
    let least = net.add_constant(&name, tensor::of_floats(&[], &[least]));
    let most = net.add_constant(&name, tensor::of_floats(&[], &[most]));
    rounded.insert(output.clone());
    net.replace(ix, vec![tensor::node("Clip", &name, &[&x, &least, &most], &output)])?;
    Ok(true)
}

/// Replaces the layer that node `ix` is. True when it did.
pub(super) fn rewrite(net: &mut Net, ix: usize, rounded: &HashSet<String>) -> TractResult<bool> {
    let Some(layer) = find(net, ix, rounded) else { return Ok(false) };
    let name = net.node(ix).map(|node| node.name.clone()).unwrap_or_default();
    layer.replace(net, &name)?;
    Ok(true)
}

/// What goes into a `QuantizeLinear` whose only scale and zero point the `DequantizeLinear` `ix` has too, and the range.
fn pair(net: &Net, ix: usize) -> TractResult<Option<(String, [f32; 2])>> {
    let Some(back) = net.standard(ix, "DequantizeLinear") else { return Ok(None) };
    let Some(there) = back.input.first().and_then(|q| net.made_by(q, "QuantizeLinear")) else { return Ok(None) };
    let number = |name: Option<&String>| net.constant(name?).and_then(|t| tensor::scalar(t, 1));
    let (Some(scale), Some(again)) = (number(there.input.get(1)), number(back.input.get(1))) else { return Ok(None) };
    ensure!(
        scale.is_finite() && scale > 0.0,
        "node {} (QuantizeLinear): its scale is {scale}; it must be finite and above 0",
        there.name
    );
    let zero = zero_point(net, there.input.get(2)).zip(zero_point(net, back.input.get(2)));
    let signed = match there.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => net.constant(name).and_then(tensor::signedness),
        None => Some(false),
    };
    let (Some((zero, zero_again)), Some(signed)) = (zero, signed) else { return Ok(None) };
    if scale != again || zero != zero_again || zero.len() != 1 || tensor::int(there, "output_dtype", 0) != 0 {
        return Ok(None);
    }
    let least = if signed { -128 } else { 0 };
    let range = [least, least + 255].map(|end| (end - zero[0]) as f32 * scale);
    Ok(Some((there.input[0].clone(), range)))
}

fn find(net: &Net, ix: usize, rounded: &HashSet<String>) -> Option<Layer> {
    let node = net.node(ix)?;
    net.standard(ix, &node.op_type)?;
    let [x, weight, ..] = node.input.as_slice() else { return None };
    let whole = net.made_by(weight, "DequantizeLinear")?;
    let (bytes, scale) = (whole.input.first()?, tensor::floats(net.constant(whole.input.get(1)?)?)?);
    let zero = zero_point(net, whole.input.get(2))?;
    if tensor::int(whole, "block_size", 0) != 0 || (zero.len() != scale.len() && zero != [0]) {
        return None;
    }
    let transposed = tensor::int(node, "transB", 0) == 1;
    let shape = tensor::shape(net.constant(bytes)?)?;
    let kind = match node.op_type.as_str() {
        "MatMul" if shape.len() == 2 => Kind::Linear,
        "Gemm" if tensor::int(node, "transA", 0) == 0 && is_one(node, "alpha") && is_one(node, "beta") => Kind::Linear,
        "Conv" => Kind::of_conv(node, &shape)?,
        _ => return None,
    };
    let weights = Weights::read(net, bytes, &zero, &kind, transposed)?;
    let columns = weights.columns();
    // Scales must lie along the output channels.
    let rank = shape.len() as i64;
    let axis = if kind == Kind::Linear && !transposed { 1 } else { 0 };
    let given = tensor::int(whole, "axis", 1);
    let along = (if given < 0 { given + rank } else { given }) == axis;
    let scale = match scale.len() {
        1 => vec![scale[0]; columns],
        count if count == columns && along => scale,
        _ => return None,
    };
    let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => Some(float_row(net, name, columns)?),
    };
    let end = (ix, node.output.first()?.clone());
    Some(Layer { x: x.clone(), kind, weights, scale, bias, rounded: rounded.contains(x), end })
}

fn is_one(node: &tract_onnx::pb::NodeProto, name: &str) -> bool {
    tensor::float(node, name, 1.0) == 1.0
}
