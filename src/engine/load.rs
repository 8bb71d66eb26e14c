//! From the bytes of an ONNX file to a typed, simplified graph.

use std::io::Read;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{ops, recognise};

/// Inputs of a graph as the file declares them, in order.
pub(super) struct Declared<'a> {
    model: &'a mut InferenceModel,
}

impl Declared<'_> {
    /// Number of inputs.
    pub(super) fn len(&self) -> usize {
        self.model.inputs.len()
    }

    /// Names of the inputs, in order.
    pub(super) fn names(&self) -> Vec<String> {
        self.model.inputs.iter().map(|o| self.model.nodes[o.node].name.clone()).collect()
    }

    /// Position of an input.
    pub(super) fn position(&self, name: &str) -> TractResult<usize> {
        let names = self.names();
        names
            .iter()
            .position(|n| n == name)
            .with_context(|| format!("it has no input {name}; its inputs are {names:?}"))
    }

    /// Element type that the file declares, else `default`.
    pub(super) fn datum_type(&self, ix: usize, default: DatumType) -> TractResult<DatumType> {
        Ok(self.model.input_fact(ix)?.datum_type.concretize().unwrap_or(default))
    }

    /// Size of a dimension where the file declares it as a number.
    pub(super) fn declared(&self, ix: usize, axis: usize) -> TractResult<Option<usize>> {
        let fact = self.model.input_fact(ix)?;
        let dim = fact.shape.dims().nth(axis).and_then(|d| d.concretize());
        Ok(dim.and_then(|d| d.to_usize().ok()))
    }

    /// Dimensions of an input, where the file declares how many.
    pub(super) fn rank(&self, ix: usize) -> TractResult<Option<usize>> {
        Ok(self.model.input_fact(ix)?.shape.rank().concretize().map(|rank| rank as usize))
    }

    /// The symbol `name` of the graph.
    pub(super) fn symbol(&self, name: &str) -> TDim {
        self.model.symbols.sym(name).to_dim()
    }

    /// Sets type and shape of an input; fails when the file declares others.
    pub(super) fn set(&mut self, ix: usize, datum_type: DatumType, shape: &[TDim]) -> TractResult<()> {
        let declared = self.model.input_fact(ix)?.clone();
        let name = &self.model.nodes[self.model.inputs[ix].node].name;
        if let Some(declared) = declared.datum_type.concretize() {
            ensure!(declared == datum_type, "input {name} is {declared:?}, not {datum_type:?}");
        }
        if let Some(rank) = declared.shape.rank().concretize() {
            ensure!(rank as usize == shape.len(), "input {name} has {rank} dimensions, not {shape:?}");
        }
        for (found, wanted) in declared.shape.dims().zip(shape) {
            let found = found.concretize().and_then(|d| d.to_usize().ok());
            if let (Some(found), Ok(wanted)) = (found, wanted.to_usize()) {
                ensure!(found == wanted, "input {name} is {:?}, not {shape:?}", declared.shape);
            }
        }
        self.model.set_input_fact(ix, InferenceFact::dt_shape(datum_type, shape))
    }
}

/// The bytes of a file, which are released at their end.
struct ReadOnce<'a, R> {
    bytes: &'a [u8],
    release: R,
}

impl<R: Fn()> Read for ReadOnce<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.bytes.read(to)?;
        if count == 0 {
            (self.release)();
        }
        Ok(count)
    }
}

/// The graph and the names of its outputs. tract copies the file before it takes it apart, so `release` is called as soon as
/// that is done; `shape` sets the facts of the inputs.
pub(super) fn read(
    bytes: &[u8],
    release: impl Fn(),
    shape: impl FnOnce(&mut Declared) -> TractResult<()>,
) -> TractResult<(TypedModel, Vec<String>)> {
    let mut onnx = tract_onnx::onnx();
    ops::register(&mut onnx);
    let mut proto = onnx
        .proto_model_for_read(&mut ReadOnce { bytes, release })
        .map_err(|_| TractError::msg("it is not an ONNX file"))?;
    check(&proto)?;
    let layers = recognise::rewrite(&mut proto)?;
    let outputs = proto.graph.iter().flat_map(|g| &g.output).map(|o| o.name.clone()).collect();
    let mut model = onnx.model_for_proto_model(&proto)?;
    drop(proto);
    shape(&mut Declared { model: &mut model })?;
    let mut model = model.into_typed()?.into_decluttered()?;
    recognise::rewrite_typed(&mut model, layers)?;
    ops::conv::read_planes(&mut model)?;
    ops::strips::fuse(&mut model)?;
    Ok((model, outputs))
}

/// The symbols that the inputs' shapes depend on.
pub(super) fn symbols_of(model: &TypedModel) -> TractResult<Vec<Symbol>> {
    let mut symbols = std::collections::HashSet::new();
    for ix in 0..model.inputs.len() {
        model.input_fact(ix)?.shape.iter().for_each(|dim| symbols.extend(dim.symbols()));
    }
    Ok(symbols.into_iter().collect())
}

/// What tract takes for granted.
fn check(proto: &ModelProto) -> TractResult<()> {
    let graph = proto.graph.as_ref().context("it has no graph")?;
    ensure!(!graph.output.is_empty(), "its graph has no outputs");
    let made: std::collections::HashSet<&str> = (graph.node.iter().flat_map(|n| &n.output))
        .chain(graph.input.iter().map(|i| &i.name))
        .chain(graph.initializer.iter().map(|t| &t.name))
        .map(String::as_str)
        .collect();
    for output in &graph.output {
        ensure!(made.contains(output.name.as_str()), "nothing makes its output {}", output.name);
    }
    for tensor in &graph.initializer {
        // A bundle's hashes do not cover other files.
        ensure!(
            tensor.external_data.is_empty(),
            "its constant {} lies in another file; a bundle needs it inside",
            tensor.name
        );
        let size = tensor.dims.iter().try_fold(1i64, |n, d| if *d < 0 { None } else { n.checked_mul(*d) });
        ensure!(size.is_some_and(|n| n < 1 << 30), "its constant {} is {:?}", tensor.name, tensor.dims);
    }
    Ok(())
}
