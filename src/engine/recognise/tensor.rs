//! Reading and making ONNX constants and attributes. A constant whose size and contents differ reads as `None`.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

/// The dimensions.
pub(super) fn shape(tensor: &TensorProto) -> Option<Vec<usize>> {
    let shape: Vec<usize> = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    Some(shape)
}

/// Values of a float32 constant.
pub(super) fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != DataType::Float as i32 {
        return None;
    }
    let values = match raw(tensor)? {
        Some(raw) if raw.len() % 4 != 0 => return None,
        Some(raw) => raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        None => tensor.float_data.clone(),
    };
    whole(tensor, values)
}

/// The value of a float32 constant that is a scalar, or has one value and at most `rank` dimensions.
pub(super) fn scalar(tensor: &TensorProto, rank: usize) -> Option<f32> {
    match floats(tensor)?.as_slice() {
        [value] if tensor.dims.len() <= rank => Some(*value),
        _ => None,
    }
}

/// Values of an int8, uint8, int32 or int64 constant.
pub(super) fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    let is = |kind: DataType| tensor.data_type == kind as i32;
    let values: Vec<i64> = match raw(tensor)? {
        Some(raw) if is(DataType::Int8) => raw.iter().map(|b| i64::from(*b as i8)).collect(),
        Some(raw) if is(DataType::Uint8) => raw.iter().map(|b| i64::from(*b)).collect(),
        Some(raw) if is(DataType::Int32) && raw.len() % 4 == 0 => {
            raw.chunks_exact(4).map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
        }
        Some(raw) if is(DataType::Int64) && raw.len() % 8 == 0 => {
            let eight = |b: &[u8]| [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]];
            raw.chunks_exact(8).map(|b| i64::from_le_bytes(eight(b))).collect()
        }
        None if is(DataType::Int64) => tensor.int64_data.clone(),
        None => {
            let allowed = match signedness(tensor) {
                Some(true) => i32::from(i8::MIN)..=i32::from(i8::MAX),
                Some(false) => 0..=i32::from(u8::MAX),
                None if is(DataType::Int32) => i32::MIN..=i32::MAX,
                None => return None,
            };
            let value = |v: &i32| allowed.contains(v).then(|| i64::from(*v));
            tensor.int32_data.iter().map(value).collect::<Option<_>>()?
        }
        Some(_) => return None,
    };
    whole(tensor, values)
}

/// Whether it is a constant of bytes, and then whether they are signed.
pub(super) fn signedness(tensor: &TensorProto) -> Option<bool> {
    match tensor.data_type {
        kind if kind == DataType::Int8 as i32 => Some(true),
        kind if kind == DataType::Uint8 as i32 => Some(false),
        _ => None,
    }
}

/// A constant of floats.
pub(super) fn of_floats(shape: &[usize], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto { dims: dims(shape), data_type: DataType::Float as i32, raw_data, ..TensorProto::default() }
}

/// A constant of signed bytes.
pub(super) fn of_bytes(shape: &[usize], values: &[i8]) -> TensorProto {
    let raw_data = values.iter().map(|v| *v as u8).collect();
    TensorProto { dims: dims(shape), data_type: DataType::Int8 as i32, raw_data, ..TensorProto::default() }
}

/// A constant of sizes.
pub(super) fn of_sizes(sizes: &[i64]) -> TensorProto {
    let dims = vec![sizes.len() as i64];
    TensorProto { dims, data_type: DataType::Int64 as i32, int64_data: sizes.to_vec(), ..TensorProto::default() }
}

/// A node with one output.
pub(super) fn node(op_type: &str, name: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op_type.to_owned(),
        domain: if op_type.starts_with("Lookout") { "lookout" } else { "" }.to_owned(),
        name: name.to_owned(),
        input: input.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// Attributes of a node under construction.
pub(super) trait With: Sized {
    fn with(self, attribute: AttributeProto) -> Self;

    fn text(self, name: &str, value: &str) -> Self {
        self.with(AttributeProto { s: value.as_bytes().to_vec(), ..attribute(name, AttributeType::String) })
    }

    fn float(self, name: &str, value: f32) -> Self {
        self.with(AttributeProto { f: value, ..attribute(name, AttributeType::Float) })
    }

    fn ints(self, name: &str, values: &[usize]) -> Self {
        let ints = values.iter().map(|v| *v as i64).collect();
        self.with(AttributeProto { ints, ..attribute(name, AttributeType::Ints) })
    }
}

impl With for NodeProto {
    fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }
}

/// An integer attribute, or its default.
pub(super) fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.i)
}

/// A float attribute, or its default.
pub(super) fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.f)
}

/// A list of integers; empty when it is missing.
pub(super) fn ints<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    node.attribute.iter().find(|a| a.name == name).map_or(&[], |a| a.ints.as_slice())
}

/// A text attribute; empty when it is missing.
pub(super) fn text<'a>(node: &'a NodeProto, name: &str) -> &'a [u8] {
    node.attribute.iter().find(|a| a.name == name).map_or(&[], |a| a.s.as_slice())
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
}

fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|d| *d as i64).collect()
}

/// The bytes, where the values lie in `raw_data`; `None` where they lie elsewhere, and outside of `Some` where they lie
/// in another file.
#[allow(clippy::option_option)]
fn raw(tensor: &TensorProto) -> Option<Option<&[u8]>> {
    let here = tensor.external_data.is_empty() && tensor.data_location.unwrap_or(0) == 0;
    here.then(|| (!tensor.raw_data.is_empty()).then_some(tensor.raw_data.as_slice()))
}

fn whole<T>(tensor: &TensorProto, values: Vec<T>) -> Option<Vec<T>> {
    (shape(tensor)?.iter().product::<usize>() == values.len()).then_some(values)
}
