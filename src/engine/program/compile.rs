//! From tract's graph to steps, for one value of its symbols.

use std::collections::HashMap;

use tract_onnx::tract_core::ops::array::{Gather, MultiBroadcastTo, Slice, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::internal::*;

use super::steps::{Binary, RANK, Unary, View, Work};
use super::{Operand, Program, Step};
use crate::engine::ops;
use crate::kernels::{Axis, Product};

/// What is known of a node's output.
#[derive(Clone)]
enum Value {
    Floats {
        place: Place,
        shape: Vec<usize>,
    },
    /// An input of ids.
    Ids(usize),
    /// A constant that is not float32, or a scalar that stands for a size.
    Other(Arc<Tensor>),
}

#[derive(Clone)]
enum Place {
    /// A buffer that is not placed yet.
    Made(usize),
    Given(Operand),
}

/// A step whose buffers are not placed yet.
struct Draft {
    work: Work,
    inputs: Vec<Place>,
    out: usize,
    name: String,
}

struct Compiler<'a> {
    symbols: &'a SymbolValues,
    values: HashMap<OutletId, Value>,
    drafts: Vec<Draft>,
    /// Floats of each made buffer.
    sizes: Vec<usize>,
}

impl Program {
    /// `None` where a node is not one that steps exist for.
    pub(in crate::engine) fn compile(model: &TypedModel, symbols: &SymbolValues) -> TractResult<Option<Program>> {
        let mut compiler = Compiler { symbols, values: HashMap::new(), drafts: vec![], sizes: vec![] };
        for node in model.eval_order()? {
            let node = &model.nodes[node];
            let input = model.inputs.iter().position(|o| o.node == node.id);
            match compiler.node(model, node, input)? {
                Some(value) => compiler.values.insert(OutletId::new(node.id, 0), value),
                None => {
                    log::debug!("{} ({}) has no step: tract runs this network", node.name, node.op.name());
                    return Ok(None);
                }
            };
        }
        compiler.finish(model)
    }
}

impl Compiler<'_> {
    fn node(&mut self, model: &TypedModel, node: &TypedNode, input: Option<usize>) -> TractResult<Option<Value>> {
        if node.outputs.len() != 1 {
            return Ok(None);
        }
        let fact = &node.outputs[0].fact;
        let Ok(shape) = fact.shape.eval_to_usize(self.symbols) else { return Ok(None) };
        let shape = shape.to_vec();
        if node.op_is::<TypedSource>() {
            let Some(input) = input else { return Ok(None) };
            return Ok(if fact.datum_type == f32::datum_type() {
                Some(Value::Floats { place: Place::Given(Operand::Input(input)), shape })
            } else if fact.datum_type == i64::datum_type() {
                Some(Value::Ids(input))
            } else {
                None
            });
        }
        if let Some(constant) = node.op_as::<Const>() {
            let tensor = constant.val().clone();
            return Ok(Some(if fact.datum_type == f32::datum_type() {
                Value::Floats { place: Place::Given(Operand::Constant(tensor)), shape }
            } else {
                Value::Other(tensor)
            }));
        }
        let Some(inputs) = node.inputs.iter().map(|i| self.values.get(i).cloned()).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        if let Some(gather) = node.op_as::<Gather>() {
            return Ok(self.gather(model, node, gather, &inputs, shape));
        }
        if let Some(cast) = node.op_as::<Cast>() {
            return self.cast(cast, &inputs[0]);
        }
        if fact.datum_type != f32::datum_type() {
            return Ok(None);
        }
        let Some(floats) = inputs
            .iter()
            .map(|i| if let Value::Floats { place, shape } = i { Some((place.clone(), &shape[..])) } else { None })
            .collect::<Option<Vec<_>>>()
        else {
            return Ok(None);
        };
        let (first, of) = (floats[0].0.clone(), floats[0].1);
        let places = floats.iter().map(|(place, _)| place.clone()).collect();
        let work = if let Some(operator) = node.op_as::<ops::attend::Attend>() {
            let shapes = floats.iter().map(|(_, shape)| shape.to_vec()).collect();
            Work::Attend { operator: operator.clone(), shapes, out: shape.clone() }
        } else if let Some(operator) = ops::native(node) {
            Work::Ours { operator, shape: of.into() }
        } else if let Some(axis) = node.op_as::<AxisOp>() {
            match axis {
                AxisOp::Move(from, to) => Work::Copy {
                    from: View { strides: moved(strides(of), *from, *to), offset: 0 },
                    dims: shape.clone(),
                },
                AxisOp::Add(_) | AxisOp::Rm(_) | AxisOp::Reshape(..) => {
                    return Ok(Some(Value::Floats { place: first, shape }));
                }
            }
        } else if let Some(slice) = node.op_as::<Slice>() {
            let Ok(start) = slice.start.eval(self.symbols).to_usize() else { return Ok(None) };
            let strides = strides(of);
            if shape == of {
                return Ok(Some(Value::Floats { place: first, shape }));
            }
            Work::Copy { from: View { offset: start * strides[slice.axis], strides }, dims: shape.clone() }
        } else if node.op_is::<MultiBroadcastTo>() {
            Work::Copy { from: View { strides: repeated(of, &shape), offset: 0 }, dims: shape.clone() }
        } else if let Some(binary) = node.op_as::<TypedBinOp>() {
            let kind = match binary.0.name() {
                "Add" => Binary::Add,
                "Sub" => Binary::Subtract,
                "Mul" => Binary::Multiply,
                _ => return Ok(None),
            };
            if binary.1.is_some() || floats.len() != 2 || floats.iter().any(|(_, s)| s.len() != shape.len()) {
                return Ok(None);
            }
            let view = |side: usize| View { strides: repeated(floats[side].1, &shape), offset: 0 };
            Work::Binary { kind, views: [view(0), view(1)], dims: shape.clone() }
        } else if let Some(unary) = node.op_as::<ElementWiseOp>() {
            Work::Unary(match unary.0.name().as_str() {
                "Sigmoid" => Unary::Sigmoid,
                "Recip" => Unary::Reciprocal,
                "GeluExact" => Unary::Gelu,
                _ => return Ok(None),
            })
        } else if let Some(Reduce { axes, reducer: Reducer::Sum }) = node.op_as::<Reduce>() {
            let [axis] = axes[..] else { return Ok(None) };
            Work::Sum { length: of[axis], inner: of[axis + 1..].iter().product() }
        } else if let Some(concat) = node.op_as::<TypedConcat>() {
            let parts = floats.iter().map(|(place, s)| (place.clone(), s[concat.axis..].iter().product::<usize>()));
            let (places, runs) = parts.filter(|(_, run)| *run > 0).unzip();
            return Ok(self.draft(node, Work::Concat(runs), places, shape));
        } else if let Some(softmax) = node.op_as::<Softmax>() {
            let [axis] = softmax.axes[..] else { return Ok(None) };
            if softmax.kind != SoftmaxKind::Softmax || axis + 1 != shape.len() {
                return Ok(None);
            }
            Work::Softmax(shape[axis])
        } else if let Some(sum) = node.op_as::<EinSum>().filter(|sum| sum.q_params.is_none() && floats.len() == 2) {
            let Some(work) = products(sum, of, floats[1].1, &shape) else { return Ok(None) };
            work
        } else {
            return Ok(None);
        };
        Ok(self.draft(node, work, places, shape))
    }

    /// Rows of a constant table by ids. Bytes are made floats at once, so all readers must be casts to float32.
    fn gather(
        &mut self,
        model: &TypedModel,
        node: &TypedNode,
        gather: &Gather,
        inputs: &[Value],
        shape: Vec<usize>,
    ) -> Option<Value> {
        let Value::Ids(input) = inputs[1] else { return None };
        let table = match &inputs[0] {
            Value::Floats { place: Place::Given(Operand::Constant(table)), .. } => table,
            Value::Other(table) if table.datum_type() == i8::datum_type() => {
                let cast =
                    |id: &InletId| model.nodes[id.node].op_as::<Cast>().is_some_and(|c| c.to == f32::datum_type());
                node.outputs[0].successors.iter().all(cast).then_some(table)?
            }
            _ => return None,
        };
        // Axes of size 1 before the rows change nothing.
        let (before, rows) = table.shape().split_at(gather.axis);
        let [rows, width] = *rows else { return None };
        if gather.output_type.is_some() || before.iter().any(|size| *size != 1) || rows * width == 0 {
            return None;
        }
        let work = Work::Rows { table: table.clone(), rows, width };
        self.draft(node, work, vec![Place::Given(Operand::Input(input))], shape)
    }

    fn cast(&self, cast: &Cast, value: &Value) -> TractResult<Option<Value>> {
        if cast.to != f32::datum_type() {
            return Ok(None);
        }
        Ok(match value {
            Value::Floats { .. } => Some(value.clone()),
            Value::Other(tensor) if tensor.datum_type() == TDim::datum_type() => {
                let plain = tensor.try_as_plain_ram()?;
                let sizes = plain.as_slice::<TDim>()?.iter().map(|d| Ok(d.eval(self.symbols).to_i64()? as f32));
                let sizes = Tensor::from_shape(tensor.shape(), &sizes.collect::<TractResult<Vec<f32>>>()?)?;
                let shape = sizes.shape().to_vec();
                Some(Value::Floats { place: Place::Given(Operand::Constant(Arc::new(sizes))), shape })
            }
            _ => None,
        })
    }

    fn draft(&mut self, node: &TypedNode, work: Work, inputs: Vec<Place>, shape: Vec<usize>) -> Option<Value> {
        if shape.contains(&0) {
            let nothing = Arc::new(Tensor::zero::<f32>(&shape).ok()?);
            return Some(Value::Floats { place: Place::Given(Operand::Constant(nothing)), shape });
        }
        if shape.len() > RANK {
            return None;
        }
        let out = self.sizes.len();
        self.sizes.push(shape.iter().product());
        self.drafts.push(Draft { work, inputs, out, name: node.name.clone() });
        Some(Value::Floats { place: Place::Made(out), shape })
    }

    /// Gives every buffer a slot: the smallest free one that holds it, else the largest free one made larger.
    fn finish(self, model: &TypedModel) -> TractResult<Option<Program>> {
        let mut last = vec![0; self.sizes.len()];
        for (at, draft) in self.drafts.iter().enumerate() {
            last[draft.out] = at;
            for input in &draft.inputs {
                if let Place::Made(buffer) = input {
                    last[*buffer] = at;
                }
            }
        }
        let mut outputs = Vec::with_capacity(model.outputs.len());
        for output in &model.outputs {
            let Some(Value::Floats { place, .. }) = self.values.get(output) else { return Ok(None) };
            if let Place::Made(buffer) = place {
                last[*buffer] = usize::MAX;
            }
            outputs.push(place.clone());
        }
        let (mut slots, mut free): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
        let mut slot_of = vec![0; self.sizes.len()];
        let sizes = &self.sizes;
        let place = |place: Place, slot_of: &[usize]| match place {
            Place::Made(buffer) => Operand::Slot(slot_of[buffer], sizes[buffer]),
            Place::Given(operand) => operand,
        };
        let mut steps = Vec::with_capacity(self.drafts.len());
        for (at, draft) in self.drafts.into_iter().enumerate() {
            let size = sizes[draft.out];
            let fit = free
                .iter()
                .copied()
                .enumerate()
                .min_by_key(|(_, slot)| (slots[*slot] < size, slots[*slot].abs_diff(size)));
            let slot = match fit {
                Some((place, slot)) => {
                    free.swap_remove(place);
                    slots[slot] = slots[slot].max(size);
                    slot
                }
                None => {
                    slots.push(size);
                    slots.len() - 1
                }
            };
            slot_of[draft.out] = slot;
            let mut done: Vec<usize> = draft
                .inputs
                .iter()
                .chain([&Place::Made(draft.out)])
                .filter_map(|p| if let Place::Made(b) = p { Some(*b) } else { None })
                .filter(|b| last[*b] == at)
                .collect();
            done.sort_unstable();
            done.dedup();
            free.extend(done.into_iter().map(|buffer| slot_of[buffer]));
            let inputs = draft.inputs.into_iter().map(|p| place(p, &slot_of)).collect();
            steps.push(Step { work: draft.work, inputs, slot, size, name: draft.name });
        }
        let outputs = outputs.into_iter().map(|p| place(p, &slot_of)).collect();
        Ok(Some(Program { steps, slots, outputs }))
    }
}

/// A sum of products over at most one axis.
fn products(sum: &EinSum, a: &[usize], b: &[usize], out: &[usize]) -> Option<Work> {
    let all = [strides(a), strides(b), strides(out)];
    let (mut outer, mut rows, mut columns, mut depth) = (vec![], vec![], vec![], vec![]);
    for axis in sum.axes.iter_all_axes() {
        let places = [&axis.inputs[0], &axis.inputs[1], &axis.outputs[0]];
        if places.iter().any(|p| p.len() > 1) {
            return None;
        }
        let at = |side: usize, shape: &[usize]| places[side].first().map(|p| shape[*p]);
        let (in_a, in_b, in_out) = (at(0, a), at(1, b), at(2, out));
        let size = in_a.into_iter().chain(in_b).chain(in_out).max()?;
        if size == 1 {
            continue;
        }
        let stride = |side: usize, found: Option<usize>| match found {
            Some(found) if found == size => places[side].first().map(|p| all[side][*p]),
            Some(1) | None => Some(0),
            Some(_) => None,
        };
        let axis = Axis { size, strides: [stride(0, in_a)?, stride(1, in_b)?, stride(2, in_out)?] };
        match axis.strides.map(|s| s > 0) {
            [_, _, false] => depth.push(axis),
            [true, false, _] => rows.push(axis),
            [false, true, _] => columns.push(axis),
            _ => outer.push(axis),
        }
    }
    let one = Axis { size: 1, strides: [0; 3] };
    // A vector times a matrix, with the matrix first.
    let swapped = columns.is_empty() && !rows.is_empty();
    if swapped {
        let turned = |axis: Axis| Axis { strides: [axis.strides[1], axis.strides[0], axis.strides[2]], ..axis };
        (rows, columns) = (columns, rows);
        [&mut outer, &mut rows, &mut columns, &mut depth].into_iter().flatten().for_each(|axis| *axis = turned(*axis));
    }
    // The axis that lies closest together is the one to work along.
    let innermost = |axes: &mut Vec<Axis>, outer: &mut Vec<Axis>, side: usize| {
        axes.sort_by_key(|axis| axis.strides[side]);
        let first = if axes.is_empty() { one } else { axes.remove(0) };
        outer.append(axes);
        first
    };
    let shape = Product {
        rows: innermost(&mut rows, &mut outer, 2),
        columns: innermost(&mut columns, &mut outer, 2),
        depth: match depth[..] {
            [] => one,
            [axis] => axis,
            _ => return None,
        },
    };
    Some(Work::Products { outer, shape, swapped })
}

/// Row-major strides.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Strides that repeat the axes of size 1 of `from` to reach `to`.
fn repeated(from: &[usize], to: &[usize]) -> Vec<usize> {
    strides(from).into_iter().zip(from.iter().zip(to)).map(|(s, (f, t))| if f == t { s } else { 0 }).collect()
}

fn moved(mut strides: Vec<usize>, from: usize, to: usize) -> Vec<usize> {
    let stride = strides.remove(from);
    strides.insert(to, stride);
    strides
}
