//! A `Gather` of one constant index is a `Slice`: exporters write the first token of a sequence, or one of query, key and
//! value, like that.

use tract_onnx::tract_core::ops::array::{Gather, Slice};
use tract_onnx::tract_hir::internal::*;

/// Puts slices in the place of such gathers.
pub(in crate::engine) fn rewrite(model: &mut TypedModel) -> TractResult<()> {
    super::patch_each(model, find)
}

fn find(model: &TypedModel, id: usize) -> TractResult<Option<TypedModelPatch>> {
    let node = model.node(id);
    let Some(Gather { axis, output_type: None }) = node.op_as::<Gather>() else { return Ok(None) };
    let (Some(table), Some(index)) = (node.inputs.first(), node.inputs.get(1)) else { return Ok(None) };
    let facts = [model.outlet_fact(*table)?, model.outlet_fact(*index)?];
    let Some(index) = facts[1].konst.as_ref().filter(|k| k.len() == 1 && k.rank() <= 1) else { return Ok(None) };
    let Ok(size) = facts[0].shape[*axis].to_i64() else { return Ok(None) };
    let at = index.cast_to_scalar::<i64>()?;
    let at = if at < 0 { at + size } else { at };
    if facts[0].is_exotic() || !(0..size).contains(&at) {
        return Ok(None);
    }
    let mut patch = TypedModelPatch::new("pick");
    let tap = patch.tap_model(model, *table)?;
    let mut out = patch.wire_node(&node.name, Slice::new(*axis, at, at + 1), &[tap])?;
    if index.rank() == 0 {
        out = patch.wire_node(format!("{}.axis", node.name), AxisOp::Rm(*axis), &out)?;
    }
    patch.shunt_outside(model, id.into(), out[0])?;
    Ok(Some(patch))
}
