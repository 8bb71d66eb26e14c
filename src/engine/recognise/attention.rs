//! Attention, after tract has brought the graph to its own form: two `EinSum` with a softmax between them. Only in graphs
//! whose layers are int8 already: a model that its author left in float stays in float.

use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::{Add, Mul};
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::*;

use crate::engine::ops::attend::{Attend, Batch};

/// Puts one operator in the place of every attention.
pub(in crate::engine) fn rewrite(model: &mut TypedModel) -> TractResult<()> {
    super::patch_each(model, find)
}

fn find(model: &TypedModel, id: usize) -> TractResult<Option<TypedModelPatch>> {
    let node = model.node(id);
    let Some(softmax) = node.op_as::<Softmax>() else { return Ok(None) };
    let ([axis], SoftmaxKind::Softmax, None) = (softmax.axes.as_slice(), softmax.kind, softmax.quant_output_dt) else {
        return Ok(None);
    };
    let Some(logits) = Logits::before(model, node)? else { return Ok(None) };
    let Some(scores) = Scores::of(model, logits.product, *axis)? else { return Ok(None) };
    let Some(after) = only_user(model, id) else { return Ok(None) };
    let Some(weighted) = Weighted::of(model, after, id, &scores)? else { return Ok(None) };

    let product = model.node(logits.product);
    let [q, k] = scores.sides.map(|side| product.inputs[side]);
    let v = after.inputs[weighted.side];
    let taps: Vec<OutletId> = [q, k, v].into_iter().chain(logits.mask).collect();
    for outlet in &taps {
        if model.outlet_fact(*outlet)?.datum_type != f32::datum_type() {
            return Ok(None);
        }
    }
    let operator = Attend {
        scale: logits.scale,
        masked: logits.mask.is_some(),
        rank: model.outlet_fact(after.id.into())?.rank(),
        batch: (scores.batch.iter().zip(&weighted.batch))
            .map(|(scores, [v, out])| Batch { q: scores.q, k: scores.k, v: *v, mask: scores.at, out: *out })
            .collect(),
        queries: [scores.queries[0], scores.queries[1], weighted.queries],
        keys: [scores.keys[0], weighted.keys, scores.keys[1]],
        depth: scores.depth,
        width: weighted.width,
    };
    let mut patch = TypedModelPatch::new("attention");
    let taps = patch.taps(model, &taps)?;
    let out = patch.wire_node(&after.name, operator, &taps)?;
    // What the graph promises must be what the operator gives.
    if model.outlet_fact(after.id.into())?.shape != patch.outlet_fact(out[0])?.shape {
        return Ok(None);
    }
    patch.shunt_outside(model, after.id.into(), out[0])?;
    Ok(Some(patch))
}

/// What lies between the first product and the softmax: `scale * product + mask`.
struct Logits {
    product: usize,
    scale: f32,
    mask: Option<OutletId>,
}

impl Logits {
    fn before(model: &TypedModel, softmax: &TypedNode) -> TractResult<Option<Logits>> {
        let start = softmax.inputs[0];
        if let Some((product, scale)) = scaled(model, start)? {
            return Ok(Some(Logits { product, scale, mask: None }));
        }
        let add = model.node(start.node);
        if !is::<Add>(add) || only_user(model, add.id).is_none() {
            return Ok(None);
        }
        for (ix, other) in [(0, 1), (1, 0)] {
            let Some((product, scale)) = scaled(model, add.inputs[ix])? else { continue };
            let mask = add.inputs[other];
            // The mask may be spread over the product, not the product over the mask.
            let same = model.outlet_fact(add.inputs[ix])?.shape == model.outlet_fact(add.id.into())?.shape;
            if same && model.outlet_fact(mask)?.rank() == model.outlet_fact(start)?.rank() {
                return Ok(Some(Logits { product, scale, mask: Some(mask) }));
            }
        }
        Ok(None)
    }
}

/// The `EinSum` that makes `outlet`, or that makes it by a `Mul` with one number, and that number.
fn scaled(model: &TypedModel, outlet: OutletId) -> TractResult<Option<(usize, f32)>> {
    let node = model.node(outlet.node);
    if only_user(model, node.id).is_none() {
        return Ok(None);
    }
    if node.op_is::<EinSum>() {
        return Ok(Some((node.id, 1.0)));
    }
    if !is::<Mul>(node) {
        return Ok(None);
    }
    for (ix, other) in [(0, 1), (1, 0)] {
        let product = model.node(node.inputs[ix].node);
        let Some(factor) = &model.outlet_fact(node.inputs[other])?.konst else { continue };
        if product.op_is::<EinSum>() && only_user(model, product.id).is_some() && factor.len() == 1 {
            let scale = factor.cast_to_scalar::<f32>()?;
            return Ok(scale.is_finite().then_some((product.id, scale)));
        }
    }
    Ok(None)
}

/// An axis of the logits that both sides have.
struct Shared {
    q: usize,
    k: usize,
    at: usize,
}

/// How the first product's axes serve.
struct Scores {
    /// Which inputs are q and k.
    sides: [usize; 2],
    batch: Vec<Shared>,
    /// In q and in the logits.
    queries: [usize; 2],
    /// In k and in the logits.
    keys: [usize; 2],
    /// In q and in k.
    depth: [usize; 2],
}

impl Scores {
    fn of(model: &TypedModel, id: usize, softmax_axis: usize) -> TractResult<Option<Scores>> {
        let Some(axes) = Axes::of(model, id)? else { return Ok(None) };
        // The side that has the softmax's axis is k.
        let Some(k) = axes.list.iter().find(|a| a.out == Some(softmax_axis)).and_then(|a| match a.inputs {
            [Some(_), None] => Some(0),
            [None, Some(_)] => Some(1),
            _ => None,
        }) else {
            return Ok(None);
        };
        let q = 1 - k;
        let (mut batch, mut queries, mut keys, mut depth) = (Vec::new(), None, None, None);
        for axis in &axes.list {
            let sound = match (axis.inputs[q], axis.inputs[k], axis.out) {
                (Some(q), Some(k), Some(at)) => {
                    batch.push(Shared { q, k, at });
                    axis.alike
                }
                (Some(q), Some(k), None) => axis.one || (axis.alike && depth.replace([q, k]).is_none()),
                (Some(q), None, Some(at)) => queries.replace([q, at]).is_none(),
                (None, Some(k), Some(at)) => keys.replace([k, at]).is_none(),
                (Some(_), None, None) | (None, Some(_), None) => axis.one,
                _ => false,
            };
            if !sound {
                return Ok(None);
            }
        }
        let (Some(queries), Some(keys), Some(depth)) = (queries, keys, depth) else { return Ok(None) };
        Ok(Some(Scores { sides: [q, k], batch, queries, keys, depth }))
    }
}

/// How the second product's axes serve.
struct Weighted {
    /// Which input is v.
    side: usize,
    /// In v and in the output, in the order of the logits' shared axes.
    batch: Vec<[usize; 2]>,
    /// In the output.
    queries: usize,
    /// In v.
    keys: usize,
    /// In v and in the output.
    width: [usize; 2],
}

impl Weighted {
    fn of(model: &TypedModel, node: &TypedNode, softmax: usize, scores: &Scores) -> TractResult<Option<Weighted>> {
        let Some(axes) = Axes::of(model, node.id)? else { return Ok(None) };
        let weights = match node.inputs.iter().map(|i| i.node == softmax).collect::<Vec<_>>().as_slice() {
            [true, false] => 0,
            [false, true] => 1,
            _ => return Ok(None),
        };
        let side = 1 - weights;
        let mut batch: Vec<Option<[usize; 2]>> = scores.batch.iter().map(|_| None).collect();
        let (mut queries, mut keys, mut width) = (None, None, None);
        for axis in &axes.list {
            let sound = match (axis.inputs[weights], axis.inputs[side], axis.out) {
                (Some(at), Some(v), Some(out)) => match scores.batch.iter().position(|shared| shared.at == at) {
                    Some(ix) => axis.alike && batch[ix].replace([v, out]).is_none(),
                    None => false,
                },
                (Some(at), Some(v), None) => at == scores.keys[1] && axis.alike && keys.replace(v).is_none(),
                (Some(at), None, Some(out)) => at == scores.queries[1] && queries.replace(out).is_none(),
                (None, Some(_), Some(_)) if axis.one => true,
                (None, Some(v), Some(out)) => width.replace([v, out]).is_none(),
                (None, Some(_), None) => axis.one,
                _ => false,
            };
            if !sound {
                return Ok(None);
            }
        }
        let Some(batch) = batch.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let (Some(queries), Some(keys), Some(width)) = (queries, keys, width) else { return Ok(None) };
        Ok(Some(Weighted { side, batch, queries, keys, width }))
    }
}

/// The axes of a product of two tensors.
struct Axes {
    list: Vec<Axis>,
}

struct Axis {
    inputs: [Option<usize>; 2],
    out: Option<usize>,
    /// Whether it is 1 wherever it is.
    one: bool,
    /// Whether it is of the same size wherever it is.
    alike: bool,
}

impl Axes {
    /// `None` for what is no plain product of two float tensors.
    fn of(model: &TypedModel, id: usize) -> TractResult<Option<Axes>> {
        let node = model.node(id);
        let Some(product) = node.op_as::<EinSum>() else { return Ok(None) };
        if product.q_params.is_some() || product.operating_dt != f32::datum_type() || node.inputs.len() != 2 {
            return Ok(None);
        }
        let shapes = [model.outlet_fact(node.inputs[0])?, model.outlet_fact(node.inputs[1])?];
        let mut list = Vec::new();
        for axis in product.axes.iter_all_axes() {
            let mut inputs = [None; 2];
            let mut sizes = Vec::new();
            for (side, positions) in axis.inputs.iter().enumerate() {
                if let [position] = positions.as_slice() {
                    inputs[side] = Some(*position);
                    sizes.push(&shapes[side].shape[*position]);
                } else if !positions.is_empty() {
                    return Ok(None);
                }
            }
            let out = match axis.outputs[0].as_slice() {
                [] => None,
                [position] => Some(*position),
                _ => return Ok(None),
            };
            let one = sizes.iter().all(|size| size.is_one());
            let alike = sizes.windows(2).all(|pair| pair[0] == pair[1]);
            list.push(Axis { inputs, out, one, alike });
        }
        Ok(Some(Axes { list }))
    }
}

/// The node that alone takes what node `id` makes, when that is no output of the graph.
fn only_user(model: &TypedModel, id: usize) -> Option<&TypedNode> {
    let node = model.node(id);
    let [output] = node.outputs.as_slice() else { return None };
    let [user] = output.successors.as_slice() else { return None };
    (!model.outputs.contains(&id.into())).then(|| model.node(user.node))
}

fn is<O: BinMiniOp>(node: &TypedNode) -> bool {
    node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<O>() && op.1.is_none())
}
