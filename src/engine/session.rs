//! One role's network: loaded, optimised and ready to run from any thread.

use std::sync::{Mutex, PoisonError, RwLock};

use rayon::ThreadPool;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::guard::guarded;
use super::load::{Declared, read, symbols_of};
use super::program::{Buffers, Input, Program};
use super::stop::Stop;
use super::{Options, Report, threads};
use crate::bundle::{Bundle, Role};
use crate::{Code, Error};

/// A network that is ready to run.
pub(super) struct Session {
    /// As tract simplified it, with the symbols that its shapes depend on.
    model: TypedModel,
    symbols: Vec<Size>,
    /// Steps for the sizes that were met; none where tract's plan runs the network.
    programs: Option<RwLock<BySize>>,
    /// What no run of a program uses at the moment.
    idle: Mutex<Vec<Buffers>>,
    plan: Option<Arc<TypedRunnableModel>>,
    outputs: Vec<String>,
    pool: Option<Arc<ThreadPool>>,
    what: String,
}

type BySize = Vec<(Sizes, Arc<Program>)>;

/// The symbol of a batch. Any other is a length.
pub(super) const BATCH: &str = "B";

/// What the symbols of a network stand for in one run. What it has no symbol for does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) length: usize,
    pub(super) batch: usize,
}

impl Sizes {
    /// A batch of one.
    pub(super) fn one(length: usize) -> Sizes {
        Sizes { length, batch: 1 }
    }

    fn of(self, size: &Size) -> usize {
        if size.is_batch { self.batch } else { self.length }
    }
}

/// A symbol of a network.
struct Size {
    symbol: Symbol,
    is_batch: bool,
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
        let loaded = guarded(|| {
            let (model, outputs) = read(bytes, || bundle.release(role), shape)?;
            let size = |symbol: Symbol| Size { is_batch: symbol.to_string() == BATCH, symbol };
            let symbols: Vec<Size> = symbols_of(&model)?.into_iter().map(size).collect();
            // One token is as good as any to see whether there is a step for each node.
            let first = compile(&model, &symbols, Sizes::one(1))?;
            let plan = if first.is_some() { None } else { Some(model.clone().into_optimized()?.into_runnable()?) };
            let programs = first.map(|first| RwLock::new(vec![(Sizes::one(1), Arc::new(first))]));
            Ok((model, outputs, symbols, programs, plan))
        });
        let (model, outputs, symbols, programs, plan) = loaded.map_err(|cause| {
            Error::new(
                Code::Engine,
                format!("{what} cannot be loaded: {cause}"),
                "run `lookout bundle check` on the bundle; a file of your own must be ONNX that tract can run, with all weights inside",
            )
        })?;
        Ok(Session { model, symbols, programs, idle: Mutex::default(), plan, outputs, pool, what })
    }

    /// The steps of this network for such sizes; `None` when tract's plan runs it.
    pub(super) fn compiled(&self, sizes: Sizes) -> crate::Result<Option<Arc<Program>>> {
        let Some(programs) = &self.programs else { return Ok(None) };
        let same = |other: &Sizes| self.symbols.iter().all(|size| sizes.of(size) == other.of(size));
        let found = |all: &BySize| all.iter().find(|(other, _)| same(other)).map(|(_, c)| c.clone());
        if let Some(compiled) = found(&programs.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(compiled));
        }
        let made = guarded(|| compile(&self.model, &self.symbols, sizes)).map_err(|cause| self.failed(&cause))?;
        let made = Arc::new(made.ok_or_else(|| self.failed("it has no steps for this size"))?);
        let mut programs = programs.write().unwrap_or_else(PoisonError::into_inner);
        programs.push((sizes, made.clone()));
        Ok(Some(made))
    }

    /// Runs steps from [`Session::compiled`]; `read` gets the outputs' floats, in order of the graph.
    pub(super) fn execute<T>(
        &self,
        program: &Program,
        inputs: &[Input],
        read: impl for<'a> FnOnce(&dyn Fn(usize) -> TractResult<&'a [f32]>) -> crate::Result<T>,
    ) -> crate::Result<T> {
        let stop = Stop::current();
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = idle().pop().unwrap_or_default();
        let run = || guarded(|| program.run(&mut buffers, inputs, &stop));
        let done = threads::inside(self.pool.as_deref(), run);
        let result = match done {
            Ok(()) => read(&|ix| program.output(&buffers, inputs, ix)),
            Err(_) if stop.is_due() => Err(stopped(&self.what)),
            Err(cause) => Err(self.failed(&cause)),
        };
        idle().push(buffers);
        result
    }

    fn failed(&self, cause: &str) -> Error {
        Error::new(Code::Engine, format!("{} failed: {cause}", self.what), "run `lookout bundle check` on the bundle")
    }

    /// What runs on what.
    pub(super) fn report(&self) -> Report {
        Report::of(&self.model, self.programs.is_some())
    }

    /// Names of the outputs, in order.
    pub(super) fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Runs the network once.
    pub(super) fn run(&self, inputs: TVec<TValue>) -> crate::Result<TVec<TValue>> {
        if Stop::current().is_due() {
            return Err(stopped(&self.what));
        }
        let work = || {
            guarded(|| match &self.plan {
                Some(plan) => plan.run(inputs),
                None => bail!("it has no plan"),
            })
        };
        threads::inside(self.pool.as_deref(), work).map_err(|cause| self.failed(&cause))
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
        let ranked = || (0..self.outputs.len()).find(|ix| self.model.output_fact(*ix).is_ok_and(|f| f.rank() == 2));
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
        self.sized(value.try_as_plain_ram().and_then(|v| v.as_slice::<f32>()), name, count)
    }

    /// An output's floats, when there are `count`.
    pub(super) fn sized<'a>(
        &self,
        values: TractResult<&'a [f32]>,
        name: &str,
        count: usize,
    ) -> crate::Result<&'a [f32]> {
        match values {
            Ok(values) if values.len() == count => Ok(values),
            Ok(values) => Err(self.complain(format_args!("{name} has {} values, not {count}", values.len()))),
            Err(_) => Err(self.complain(format_args!("{name} is not float32"))),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("what", &self.what).finish_non_exhaustive()
    }
}

fn compile(model: &TypedModel, symbols: &[Size], sizes: Sizes) -> TractResult<Option<Program>> {
    let mut values = SymbolValues::default();
    symbols.iter().for_each(|size| values.set(&size.symbol, sizes.of(size) as i64));
    Program::compile(model, &values)
}

fn stopped(what: &str) -> Error {
    Error::new(Code::Stopped, format!("{what} was stopped"), "give it more time, or ask again")
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn default_bundle() -> Bundle {
        Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default")).expect("the default bundle")
    }

    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let word =
            |i: u32| i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)).wrapping_mul(2_246_822_519);
        (0..count as u32).map(|i| word(i) as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
    }

    /// Steps and tract's plan, on the same inputs.
    fn agree(
        role: Role,
        set: impl FnOnce(&mut Declared) -> TractResult<()>,
        inputs: &[(Vec<usize>, Vec<f32>)],
        ids: &[i64],
    ) {
        let bundle = default_bundle();
        let session = Session::load(&bundle, role, &Options { threads: 1 }, set).expect("loads");
        let plan = session.model.clone().into_optimized().and_then(|m| m.into_runnable()).expect("a plan");
        let mut given: Vec<Input> = inputs.iter().map(|(_, values)| Input::Floats(values)).collect();
        let mut tensors: TVec<TValue> =
            inputs.iter().map(|(shape, values)| session.tensor(shape, values).expect("an input")).collect();
        if !ids.is_empty() {
            given.push(Input::Ids(ids));
            tensors.push(session.tensor(&[1, ids.len()], ids).expect("ids"));
        }
        let wanted = plan.run(tensors).expect("the plan runs");
        let steps = session.compiled(Sizes::one(ids.len())).expect("compiles").expect("has steps");
        // Twice: the second run meets what the first left in the buffers.
        for _ in 0..2 {
            let found = session.execute(&steps, &given, |output| {
                Ok((0..wanted.len()).map(|ix| output(ix).expect("an output").to_vec()).collect::<Vec<_>>())
            });
            for (ix, found) in found.expect("the steps run").iter().enumerate() {
                let wanted = session.floats(&wanted[ix], "output", found.len()).expect("as many floats");
                let largest = wanted.iter().fold(0f32, |a, v| a.max(v.abs()));
                let wrong = found.iter().zip(wanted).fold(0f32, |a, (f, w)| a.max((f - w).abs()));
                // tract sums and takes its sigmoid in another order, and one rounding can move a byte further down.
                assert!(wrong <= 0.05 * largest, "{role:?} output {ix}: off by {wrong}, largest {largest}");
                let dot: f64 = found.iter().zip(wanted).map(|(f, w)| f64::from(f * w)).sum();
                let length = |v: &[f32]| v.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
                let cosine = dot / (length(found) * length(wanted));
                assert!(cosine > 0.9998, "{role:?} output {ix}: cosine {cosine}");
            }
        }
    }

    #[test]
    fn steps_agree_with_the_plan() {
        let shape = [1, 3, 256, 256];
        let picture = (shape.to_vec(), noise(3 * 256 * 256, 1));
        agree(Role::Image, |d| d.set(0, f32::datum_type(), &shape.map(|n| n.to_dim())), &[picture], &[]);
        let patches = (vec![1, 256, 256], noise(256 * 256, 2));
        let phrase = (vec![1, 384], noise(384, 3));
        let set = |d: &mut Declared| {
            d.set(0, f32::datum_type(), &[1, 256, 256].map(|n: usize| n.to_dim()))?;
            d.set(1, f32::datum_type(), &[1, 384].map(|n: usize| n.to_dim()))
        };
        agree(Role::Ground, set, &[patches, phrase], &[]);
        for ids in [&[101i64, 1037, 3899, 102][..], &[101, 102], &[7; 32]] {
            let set = |d: &mut Declared| {
                let length = d.symbol("L");
                d.set(0, i64::datum_type(), &[1.to_dim(), length])
            };
            agree(Role::Text, set, &[], ids);
        }
    }

    #[test]
    fn decoder_steps_agree_with_the_plan() {
        let bundle = default_bundle();
        let set = |d: &mut Declared| {
            let past = [d.symbol(BATCH), 3.to_dim(), 4.to_dim(), d.symbol("S"), 64.to_dim()];
            d.set(0, i64::datum_type(), &[d.symbol(BATCH), 1.to_dim()])?;
            d.set(2, f32::datum_type(), &[1, 256, 256].map(|n: usize| n.to_dim()))?;
            d.set(3, f32::datum_type(), &past)?;
            d.set(4, f32::datum_type(), &past)
        };
        let session = Session::load(&bundle, Role::Decoder, &Options { threads: 1 }, set).expect("loads");
        let plan = session.model.clone().into_optimized().and_then(|m| m.into_runnable()).expect("a plan");
        let patches = noise(256 * 256, 5);
        for (said, batch) in [(0usize, 1usize), (1, 1), (2, 1), (9, 1), (40, 1), (0, 3), (9, 5)] {
            let size = batch * 3 * 4 * 64 * said;
            let (keys, values) = (noise(size, 6), noise(size, 7));
            let (token, position, past) = ([77i64, 2, 1005, 78, 4], [said as i64], [batch, 3, 4, said, 64]);
            let token = &token[..batch];
            let tensors = tvec!(
                session.tensor(&[batch, 1], token).expect("tokens"),
                session.tensor(&[1], &position).expect("a position"),
                session.tensor(&[1, 256, 256], &patches).expect("patches"),
                session.tensor(&past, &keys).expect("keys"),
                session.tensor(&past, &values).expect("values")
            );
            let wanted = plan.run(tensors).expect("the plan runs");
            let inputs = [
                Input::Ids(token),
                Input::Ids(&position),
                Input::Floats(&patches),
                Input::Floats(&keys),
                Input::Floats(&values),
            ];
            let steps = session.compiled(Sizes { length: said, batch }).expect("compiles").expect("has steps");
            let found = session
                .execute(&steps, &inputs, |output| Ok([0, 1, 2].map(|ix| output(ix).expect("an output").to_vec())));
            for (ix, found) in found.expect("the steps run").iter().enumerate() {
                let wanted = session.floats(&wanted[ix], "output", found.len()).expect("as many floats");
                let largest = wanted.iter().fold(0f32, |a, v| a.max(v.abs()));
                let wrong = found.iter().zip(wanted).fold(0f32, |a, (f, w)| a.max((f - w).abs()));
                assert!(
                    wrong <= 0.02 * largest,
                    "{batch} of {said} tokens, output {ix}: off by {wrong}, largest {largest}"
                );
            }
        }
    }

    #[test]
    fn buffers_are_shared_between_steps() {
        let bundle = default_bundle();
        let shape = [1usize, 3, 256, 256].map(|n| n.to_dim());
        let session =
            Session::load(&bundle, Role::Image, &Options { threads: 1 }, |d| d.set(0, f32::datum_type(), &shape));
        let steps = session.expect("loads").compiled(Sizes::one(0)).expect("compiles").expect("has steps");
        // The largest pair that lives at the same time, 128 x 128 x 96 and its depthwise result, is near 2 million floats.
        assert!(steps.floats() < 6_000_000, "{} floats", steps.floats());
    }
}
