//! Other people's quantised models on our operators: before tract reads a graph, the forms in which exporters write int8
//! layers are found and replaced by operators of the domain `lookout`. What is not recognised runs on tract's own
//! operators, as it is.
//!
//! | file | what it recognises |
//! |---|---|
//! | `dynamic` | `DynamicQuantizeLinear`, `MatMulInteger` or `ConvInteger`, `Cast`, `Mul` |
//! | `qdq` | `QuantizeLinear`, `DequantizeLinear` around `MatMul`, `Gemm` and `Conv` |
//! | `activation` | the activation behind a layer, however it is written |
//! | `norm` | layer norms |
//! | `attention` | attention, in the graph as tract holds it |
//! | `pick` | one row of a tensor, likewise |
//! | `layer` | weights, zero points, bias; what comes in a layer's place |
//! | `net` | the graph, by name |
//! | `tensor` | constants and attributes |
//!
//! Weights stay as they are in the file, zero points included. Activations, which the files round by one scale for a whole
//! tensor, are rounded by one scale for each row: not the same numbers, and as near to the float model. What an author left in
//! float stays in float, but for attention beside int8 layers, and where a file rounds to int8 without a layer, it is held to
//! that range and not rounded.

mod activation;
mod attention;
mod dynamic;
mod layer;
mod net;
mod norm;
mod pick;
mod qdq;
mod tensor;

use std::collections::HashSet;

use tract_onnx::pb::ModelProto;
use tract_onnx::tract_hir::internal::*;

use super::ops;
use net::Net;

/// Rewrites the file's graph. Fails where it has a cycle, makes a value twice, or has a scale that cannot be right. Returns
/// how many int8 layers were recognised.
pub(super) fn rewrite(proto: &mut ModelProto) -> TractResult<usize> {
    let standard = proto.opset_import.iter().find(|o| matches!(o.domain.as_str(), "" | "ai.onnx"));
    let opset = standard.map_or(0, |o| o.version);
    let graph = proto.graph.as_mut().context("it has no graph")?;
    let mut net = Net::take(graph)?;
    let mut rounded = HashSet::new();
    for ix in net.numbers() {
        qdq::clip(&mut net, ix, opset, &mut rounded)?;
    }
    let mut layers = 0;
    for ix in net.numbers() {
        let found = dynamic::rewrite(&mut net, ix)? || qdq::rewrite(&mut net, ix, &rounded)?;
        layers += usize::from(found);
        if !found {
            norm::rewrite(&mut net, ix)?;
        }
    }
    net.give_back(graph);
    Ok(layers)
}

/// Goes on with the graph as tract holds it, its shapes known. `layers` is what [`rewrite`] returned.
pub(super) fn rewrite_typed(model: &mut TypedModel, layers: usize) -> TractResult<()> {
    pick::rewrite(model)?;
    if layers > 0 {
        // Slices let tract bring more axes into order.
        model.declutter()?;
        attention::rewrite(model)?;
    }
    ops::add_residuals(model)?;
    model.compact()
}

/// Applies the patch that `find` gives for a node, for each node that was there before.
fn patch_each(
    model: &mut TypedModel,
    find: fn(&TypedModel, usize) -> TractResult<Option<TypedModelPatch>>,
) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        if let Some(patch) = find(model, id)? {
            patch.apply(model)?;
        }
    }
    Ok(())
}
