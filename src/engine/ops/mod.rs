//! The operators of the ONNX domain `lookout`, one file each. Every one takes `x` in float32, channels last, then its
//! constants, and gives float32.
//!
//! | operator | file |
//! |---|---|
//! | `LookoutLinear` | `linear` |
//! | `LookoutShiftedLinear` | `shifted_linear` |
//! | `LookoutConv` | `conv` |
//! | `LookoutDepthwise` | `depthwise` |
//! | `LookoutLayerNorm` | `layer_norm` |
//! | `LookoutAttention` | `attention` |
//! | `LookoutStaticKeyAttention` | `folded_attention` |
//! | `LookoutStaticKeyAttentionUnfolded`, `LookoutStaticKeyAttentionUnprojected` | `unfolded_attention` |
//!
//! Layers in a row may be put into one that has no name in a file: `strips`. It is there that a `LookoutDepthwise` that ends
//! in a ReLU6, between a layer that does and an int8 `LookoutLinear`, works on bytes, with what lies in between rounded to
//! steps of 6 / 254; where its precision is `weights`, only what it makes is.
//!
//! Constants are checked when the file is loaded: a wrong shape, type, scale or attribute is an error that names the node.

pub(super) mod attend;
mod attention;
pub(super) mod conv;
mod dense;
mod depthwise;
mod folded_attention;
mod layer_norm;
mod linear;
mod scratch;
mod sequence;
mod shifted_linear;
pub(super) mod strips;
mod unfolded_attention;

use std::fmt::Debug;

use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math::Add;
use tract_onnx::tract_hir::internal::*;

use crate::kernels::{Activation, Window};

macro_rules! operators {
    ($($operator:ty),* $(,)?) => {
        /// Makes `onnx` know the operators of this folder.
        pub(super) fn register(onnx: &mut Onnx) {
            $(onnx.op_register.insert(<$operator>::NAME, build::<$operator>);)*
        }

        /// The operator of a node, when it is one of this folder.
        pub(super) fn native(node: &TypedNode) -> Option<Box<dyn Native>> {
            None$(.or_else(|| wired::<$operator>(node)))*
        }
    };
}

operators!(
    linear::Linear,
    shifted_linear::ShiftedLinear,
    conv::Conv,
    depthwise::Depthwise,
    layer_norm::LayerNorm,
    attention::Attention,
    folded_attention::Folded,
    unfolded_attention::Unfolded,
    unfolded_attention::Unprojected,
    strips::Strips,
);

/// One operator: its attributes, and what it does with them.
trait Operator: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// The constants in the form in which they are used.
    type Constants: Debug + Send + Sync + 'static;
    /// `op_type` in ONNX.
    const NAME: &'static str;
    /// Names of the inputs after `x` that must be constants.
    const CONSTANTS: &'static [&'static str];
    /// Whether one more input follows, of the shape of the output: a residual, or what the operator says.
    const COMPANION: Companion = Companion::Never;

    /// Reads and checks the attributes.
    fn read(node: &NodeProto) -> TractResult<Self>;
    /// Shape of the output for an `x` and for the first constant's shape (empty when there is none).
    fn shape(&self, x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>>;
    /// Checks the constants and prepares them.
    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Self::Constants>;
    /// Fills `out`, which has the size that [`Operator::shape`] gave.
    fn run(
        &self,
        constants: &Self::Constants,
        x: &[f32],
        shape: &[usize],
        companion: Option<&[f32]>,
        out: &mut [f32],
    ) -> TractResult<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Companion {
    Never,
    Optional,
    Required,
}

fn build<O: Operator>(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let without = 1 + O::CONSTANTS.len();
    let least = without + usize::from(O::COMPANION == Companion::Required);
    let most = without + usize::from(O::COMPANION != Companion::Never);
    let given = node.input.len();
    ensure!((least..=most).contains(&given), "it takes {least} to {most} inputs, not {given}");
    ensure!(node.input.iter().all(|name| !name.is_empty()), "an input has no name");
    ensure!(node.output.len() == 1, "it has one output, not {}", node.output.len());
    Ok((expand(Unwired(O::read(node)?)), vec![]))
}

/// An operator as parsed; its constants are still inputs.
#[derive(Debug, Clone)]
struct Unwired<O>(O);

impl<O: Operator> Expansion for Unwired<O> {
    fn name(&self) -> StaticName {
        O::NAME.into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        s.equals(&inputs[0].datum_type, f32::datum_type())?;
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        if O::CONSTANTS.is_empty() {
            s.given(&inputs[0].shape, move |s, x| s.equals(&outputs[0].shape, self.0.shape(&x, &[])?))
        } else {
            s.given_2(&inputs[0].shape, &inputs[1].shape, move |s, x, weight| {
                s.equals(&outputs[0].shape, self.0.shape(&x, &weight)?)
            })
        }
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let mut constants = Vec::with_capacity(O::CONSTANTS.len());
        for (name, input) in O::CONSTANTS.iter().zip(&inputs[1..]) {
            let fact = model.outlet_fact(*input)?;
            let value = fact.konst.clone().with_context(|| format!("{prefix}: its {name} must be a constant"))?;
            constants.push(value);
        }
        let weight = constants.first().map(|t| t.shape().iter().map(|d| d.to_dim()).collect()).unwrap_or_default();
        let loaded = self.0.load(&constants).with_context(|| format!("{prefix} ({})", O::NAME))?;
        let operator = Wired { operator: self.0.clone(), constants: Arc::new(loaded), weight };
        let mut live = tvec!(inputs[0]);
        live.extend_from_slice(&inputs[1 + O::CONSTANTS.len()..]);
        model.wire_node(prefix, operator, &live)
    }
}

/// An operator with its constants, whatever its type.
pub(super) trait Native: Debug + Send + Sync {
    /// Fills `out` from an `x` of `shape` and, where there is one, a companion of the shape of `out`.
    fn run_into(&self, x: &[f32], shape: &[usize], companion: Option<&[f32]>, out: &mut [f32]) -> TractResult<()>;
}

fn wired<O: Operator>(node: &TypedNode) -> Option<Box<dyn Native>> {
    node.op_as::<Wired<O>>().map(|wired| Box::new(wired.clone()) as Box<dyn Native>)
}

impl<O: Operator> Native for Wired<O> {
    fn run_into(&self, x: &[f32], shape: &[usize], companion: Option<&[f32]>, out: &mut [f32]) -> TractResult<()> {
        if let Some(companion) = companion {
            ensure!(
                companion.len() == out.len(),
                "the last input has {} values, the output {}",
                companion.len(),
                out.len()
            );
        }
        self.operator.run(&self.constants, x, shape, companion, out)
    }
}

/// An operator with its constants.
#[derive(Debug)]
struct Wired<O: Operator> {
    operator: O,
    constants: Arc<O::Constants>,
    weight: TVec<TDim>,
}

impl<O: Operator> Clone for Wired<O> {
    fn clone(&self) -> Self {
        Wired { operator: self.operator.clone(), constants: self.constants.clone(), weight: self.weight.clone() }
    }
}

impl<O: Operator> PartialEq for Wired<O> {
    fn eq(&self, other: &Self) -> bool {
        self.operator == other.operator && Arc::ptr_eq(&self.constants, &other.constants)
    }
}

impl<O: Operator> Eq for Wired<O> {}

impl<O: Operator> Op for Wired<O> {
    fn name(&self) -> StaticName {
        O::NAME.into()
    }
    op_as_typed_op!();
}

impl<O: Operator> EvalOp for Wired<O> {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shape = inputs[0].shape();
        let dims: TVec<TDim> = shape.iter().map(|d| d.to_dim()).collect();
        let wanted = self
            .operator
            .shape(&dims, &self.weight)?
            .iter()
            .map(|d| Ok(d.to_usize()?))
            .collect::<TractResult<TVec<_>>>()?;
        let x = inputs[0].try_as_plain_ram()?;
        let companion = inputs.get(1).map(|input| input.try_as_plain_ram()).transpose()?;
        if let Some(companion) = &companion {
            ensure!(companion.shape() == &*wanted, "the last input is {:?}, the output {wanted:?}", companion.shape());
        }
        let companion = companion.map(|input| input.as_slice::<f32>()).transpose()?;
        let mut out = Tensor::zero::<f32>(&wanted)?;
        {
            let mut out = out.try_as_plain_ram_mut()?;
            self.operator.run(&self.constants, x.as_slice::<f32>()?, shape, companion, out.as_slice_mut::<f32>()?)?;
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

impl<O: Operator> TypedOp for Wired<O> {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].datum_type == f32::datum_type(), "{} takes float32, not {:?}", O::NAME, inputs[0].datum_type);
        let shape = self.operator.shape(&inputs[0].shape.to_tvec(), &self.weight)?;
        Ok(tvec!(f32::fact(shape)))
    }
    as_op!();
}

/// A linear layer and the sum right behind it become one, where the sum is of two tensors of the same shape.
pub(super) fn add_residuals(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let Some(linear) = node.op_as::<Wired<linear::Linear>>() else { continue };
        let ([output], [_]) = (node.outputs.as_slice(), node.inputs.as_slice()) else { continue };
        let [user] = output.successors.as_slice() else { continue };
        let add = model.node(user.node);
        let plain = add.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Add>() && op.1.is_none());
        let Some(other) = add.inputs.iter().find(|input| input.node != id) else { continue };
        let same = model.outlet_fact(*other)?.without_value() == output.fact.without_value();
        if !plain || !same || model.outputs.contains(&id.into()) {
            continue;
        }
        let mut patch = TypedModelPatch::new("residual");
        let taps = patch.taps(model, &[node.inputs[0], *other])?;
        let out = patch.wire_node(&node.name, linear.clone(), &taps)?;
        patch.shunt_outside(model, add.id.into(), out[0])?;
        patch.apply(model)?;
    }
    Ok(())
}

/// A constant's values; an error when it has another type or rank.
fn values<'a, D: Datum>(name: &str, tensor: &'a Tensor, rank: usize) -> TractResult<&'a [D]> {
    ensure!(tensor.datum_type() == D::datum_type(), "{name} is {:?}, not {:?}", tensor.datum_type(), D::datum_type());
    ensure!(tensor.rank() == rank, "{name} is {:?}; it must have {rank} dimensions", tensor.shape());
    tensor.try_as_plain_ram()?.as_slice::<D>()
}

/// Fails when a dimension is known and differs.
fn expect(what: &str, found: &TDim, wanted: &TDim) -> TractResult<()> {
    if let (Ok(found), Ok(wanted)) = (found.to_usize(), wanted.to_usize()) {
        ensure!(found == wanted, "{what}: {found} instead of {wanted}");
    }
    Ok(())
}

fn activation(node: &NodeProto) -> TractResult<Activation> {
    Ok(match node.get_attr_opt::<&str>("activation")?.unwrap_or("none") {
        "none" => Activation::None,
        "relu" => Activation::Relu,
        "relu6" => Activation::Relu6,
        "gelu" => Activation::Gelu,
        "gelu_tanh" => Activation::GeluTanh,
        "quick_gelu" => Activation::QuickGelu,
        other => bail!("activation {other:?} is unknown: none, relu, relu6, gelu, gelu_tanh or quick_gelu"),
    })
}

/// An integer attribute in `1..=most`.
fn count(node: &NodeProto, name: &str, most: usize) -> TractResult<usize> {
    let value = node.get_attr::<i64>(name)?;
    match usize::try_from(value) {
        Ok(value) if (1..=most).contains(&value) => Ok(value),
        _ => bail!("attribute {name} is {value}; it must be from 1 to {most}"),
    }
}

/// The attributes `kernel`, `strides` and `pads`.
fn window(node: &NodeProto) -> TractResult<Window> {
    fn read<const N: usize>(node: &NodeProto, name: &str, default: [usize; N], least: i64) -> TractResult<[usize; N]> {
        let Some(values) = node.get_attr_opt_slice::<i64>(name)? else { return Ok(default) };
        ensure!(values.len() == N, "attribute {name} has {} values, not {N}", values.len());
        let most = 255;
        ensure!(
            values.iter().all(|v| (least..=most).contains(v)),
            "attribute {name} is {values:?}; allowed: {least} to {most}"
        );
        Ok(std::array::from_fn(|i| values[i] as usize))
    }
    ensure!(node.get_attr_opt_slice::<i64>("kernel")?.is_some(), "attribute kernel is missing");
    Ok(Window {
        kernel: read(node, "kernel", [1, 1], 1)?,
        strides: read(node, "strides", [1, 1], 1)?,
        pads: read(node, "pads", [0; 4], 0)?,
    })
}

/// Shape of a window's output over `[batch, height, width, channels]`.
fn slide(window: &Window, x: &[TDim], channels: TDim) -> TractResult<TVec<TDim>> {
    ensure!(x.len() == 4, "x is {x:?}; it must be [batch, height, width, channels]");
    let mut out = tvec!(x[0].clone());
    for axis in 0..2 {
        let padded = x[1 + axis].clone() + (window.pads[axis] + window.pads[axis + 2]);
        if let Ok(size) = padded.to_i64() {
            ensure!(
                size >= window.kernel[axis] as i64,
                "a kernel of {} does not fit {size} pixels",
                window.kernel[axis]
            );
        }
        out.push((padded - window.kernel[axis]) / window.strides[axis] as u64 + 1);
    }
    out.push(channels);
    Ok(out)
}
