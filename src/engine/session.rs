//! One role's network: loaded, optimised and ready to run from any thread.

use std::cell::Cell;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use rayon::ThreadPool;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{Options, ops, recognise, threads};
use crate::bundle::{Bundle, Role};
use crate::{Code, Error};

/// Inputs of a graph as the file declares them, in order.
pub(super) struct Declared<'a> {
    model: &'a mut InferenceModel,
}

/// A network that is ready to run.
pub(super) struct Session {
    plan: Arc<TypedRunnableModel>,
    outputs: Vec<String>,
    pool: Option<Arc<ThreadPool>>,
    what: String,
}

impl Session {
    /// Loads the file of `role`. `shape` sets the facts of the inputs.
    pub(super) fn load(
        bundle: &Bundle,
        role: Role,
        options: &Options,
        shape: impl FnOnce(&mut Declared) -> TractResult<()>,
    ) -> crate::Result<Session> {
        let (Some(bytes), Some(entry)) = (bundle.bytes(role), bundle.manifest().file(role)) else {
            return Err(lacking(bundle, role));
        };
        let what = format!("the {} ({} of bundle {})", title(role), entry.path, bundle.name());
        let pool = threads::pool(options.thread_count())?;
        let (plan, outputs) = guarded(|| read(bytes, shape)).map_err(|cause| {
            Error::new(
                Code::Engine,
                format!("{what} cannot be loaded: {cause}"),
                "run `lookout bundle check` on the bundle; a file of your own must be ONNX that tract can run, with all weights inside",
            )
        })?;
        Ok(Session { plan, outputs, pool, what })
    }

    /// Names of the outputs, in order.
    pub(super) fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Runs the network once.
    pub(super) fn run(&self, inputs: TVec<TValue>) -> crate::Result<TVec<TValue>> {
        let plan = &self.plan;
        threads::inside(self.pool.as_deref(), || guarded(|| plan.run(inputs))).map_err(|cause| {
            Error::new(
                Code::Engine,
                format!("{} failed: {cause}", self.what),
                "run `lookout bundle check` on the bundle",
            )
        })
    }

    /// An error about what this network is or gave.
    pub(super) fn complain(&self, cause: impl std::fmt::Display) -> Error {
        Error::new(
            Code::Bundle,
            format!("{} does not fit its manifest: {cause}", self.what),
            "run `lookout bundle check`, and compare lookout.toml with the ONNX file's inputs and outputs",
        )
    }

    /// Position of an output.
    pub(super) fn output(&self, name: &str) -> crate::Result<usize> {
        let found = self.outputs.iter().position(|n| n == name);
        found.ok_or_else(|| self.complain(format_args!("it has no output {name}; its outputs are {:?}", self.outputs)))
    }

    /// Position of the embedding: the first of `names` that is an output, else the first output of rank 2.
    pub(super) fn embedding_output(&self, names: &[&str]) -> crate::Result<usize> {
        let named = names.iter().find_map(|name| self.outputs.iter().position(|n| n == name));
        let ranked =
            || (0..self.outputs.len()).find(|ix| self.plan.model().output_fact(*ix).is_ok_and(|f| f.rank() == 2));
        named.or_else(ranked).ok_or_else(|| {
            self.complain(format_args!("none of its outputs {:?} is an embedding [1, width]", self.outputs))
        })
    }

    /// A tensor of `shape`.
    pub(super) fn tensor<T: Datum + Copy>(&self, shape: &[usize], data: &[T]) -> crate::Result<TValue> {
        Tensor::from_shape(shape, data).map(|t| t.into_tvalue()).map_err(|e| self.complain(e))
    }

    /// The values of a float tensor of `count` values.
    pub(super) fn floats<'a>(&self, value: &'a TValue, name: &str, count: usize) -> crate::Result<&'a [f32]> {
        let values = value.try_as_plain_ram().and_then(|v| v.as_slice::<f32>());
        match values {
            Ok(values) if values.len() == count => Ok(values),
            Ok(values) => Err(self.complain(format_args!("{name} has {} values, not {count}", values.len()))),
            Err(_) => Err(self.complain(format_args!("{name} is {:?}, not float32", value.datum_type()))),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("what", &self.what).finish_non_exhaustive()
    }
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

type Loaded = (Arc<TypedRunnableModel>, Vec<String>);

fn read(bytes: &[u8], shape: impl FnOnce(&mut Declared) -> TractResult<()>) -> TractResult<Loaded> {
    let mut onnx = tract_onnx::onnx();
    ops::register(&mut onnx);
    let mut proto =
        onnx.proto_model_for_read(&mut Cursor::new(bytes)).map_err(|_| TractError::msg("it is not an ONNX file"))?;
    check(&proto)?;
    recognise::rewrite(&mut proto)?;
    let outputs = proto.graph.iter().flat_map(|g| &g.output).map(|o| o.name.clone()).collect();
    let mut model = onnx.model_for_proto_model(&proto)?;
    drop(proto);
    shape(&mut Declared { model: &mut model })?;
    let plan = model.into_typed()?.into_decluttered()?.into_optimized()?.into_runnable()?;
    Ok((plan, outputs))
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

thread_local! {
    /// Whether this thread is inside tract, where a panic is caught and told as an error.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; errors and panics become a sentence. Such a panic is not printed; all others are, as before.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> std::result::Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !INSIDE.get() {
                print(panic);
            }
        }));
    });
    let before = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(before);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(shortened(&format!("{error:#}"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("tract gave up: {}", shortened(text.unwrap_or("no reason given"))))
        }
    }
}

/// tract's messages can hold a whole node: the first 400 characters, on one line.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

fn title(role: Role) -> &'static str {
    match role {
        Role::Image => "image tower",
        Role::Text => "text tower",
        Role::Decoder => "decoder",
        Role::Ground => "grounding head",
        Role::Tokenizer => "tokenizer",
        Role::SpeakerTokenizer => "speaker's tokenizer",
    }
}

/// The bundle has no file of `role`.
pub(super) fn lacking(bundle: &Bundle, role: Role) -> Error {
    let cannot = match role {
        Role::Image => "see",
        Role::Text | Role::Tokenizer => "read words",
        Role::Decoder | Role::SpeakerTokenizer => "caption or answer",
        Role::Ground => "ground",
    };
    Error::new(
        Code::Unsupported,
        format!("bundle {} has no {}, so it cannot {cannot}", bundle.name(), title(role)),
        "choose a bundle that has it with --bundle",
    )
}
