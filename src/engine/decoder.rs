//! The decoder: one token at a time, attending to a picture's patches.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::program::Input;
use super::session::{BATCH, Session, Sizes};
use super::{Options, Patches, Report};
use crate::bundle::{Bundle, Role};
use crate::text::Speaker;
use crate::{Code, Error};

const INPUTS: [&str; 5] = ["token", "position", "patches", "keys", "values"];
const OUTPUTS: [&str; 3] = ["logits", "new_keys", "new_values"];

/// A loaded decoder.
#[derive(Debug)]
pub struct Decoder {
    session: Session,
    /// Where the file has each of `INPUTS`.
    inputs: [usize; 5],
    /// Where the file has each of `OUTPUTS`.
    outputs: [usize; 3],
    count: usize,
    width: usize,
    /// Layers, heads, tokens (none yet), head width.
    cache: [usize; 4],
    /// Whether the file takes several sentences at a time, over the axis `B`.
    batched: bool,
}

/// A decoder that looks at one picture.
#[derive(Debug)]
pub struct Attending<'a> {
    decoder: &'a Decoder,
    patches: crate::Result<Arc<[f32]>>,
}

/// Keys and values of the tokens said so far. A clone shares them; a step of one of two clones leaves the other as it was.
#[derive(Debug, Clone)]
pub struct Cache {
    /// `[layers, heads, tokens, head width]`
    keys: Arc<[f32]>,
    values: Arc<[f32]>,
    tokens: usize,
}

impl Decoder {
    /// Loads the bundle's decoder.
    pub fn load(bundle: &Bundle, options: &Options) -> crate::Result<Self> {
        let manifest = bundle.manifest();
        let (count, width) = manifest.patches().map_or((0, 0), |grid| (grid.count, grid.width));
        let cache = manifest.speaker().map_or([0; 4], |s| [s.layers, s.heads, 0, s.head_width]);
        let (mut inputs, mut batched) = ([0; 5], false);
        let session = Session::load(bundle, Role::Decoder, options, |declared| {
            ensure!(count > 0, "the manifest has no [patches]");
            ensure!(cache[0] > 0, "the manifest has no [speaker]");
            ensure!(declared.len() == INPUTS.len(), "its inputs are {:?}, not {INPUTS:?}", declared.names());
            for (ix, name) in inputs.iter_mut().zip(INPUTS) {
                *ix = declared.position(name)?;
            }
            batched = declared.rank(inputs[3])? == Some(5);
            let one = 1.to_dim();
            let said = if batched { declared.symbol(BATCH) } else { one.clone() };
            let past = [cache[0].to_dim(), cache[1].to_dim(), declared.symbol("S"), cache[3].to_dim()];
            let past: TVec<TDim> = batched.then(|| said.clone()).into_iter().chain(past).collect();
            declared.set(inputs[0], i64::datum_type(), &[said, one.clone()])?;
            declared.set(inputs[1], i64::datum_type(), std::slice::from_ref(&one))?;
            declared.set(inputs[2], f32::datum_type(), &[one, count.to_dim(), width.to_dim()])?;
            declared.set(inputs[3], f32::datum_type(), &past)?;
            declared.set(inputs[4], f32::datum_type(), &past)
        })?;
        let mut outputs = [0; 3];
        for (ix, name) in outputs.iter_mut().zip(OUTPUTS) {
            *ix = session.output(name)?;
        }
        Ok(Decoder { session, inputs, outputs, count, width, cache, batched })
    }

    /// What runs on what.
    pub fn report(&self) -> Report {
        self.session.report()
    }

    /// Looks at a picture.
    pub fn attend(&self, patches: &Patches) -> Attending<'_> {
        let fits = (patches.count, patches.width) == (self.count, self.width);
        let patches = if fits {
            Ok(patches.data.clone())
        } else {
            Err(self.session.complain(format_args!("patches are [{}, {}]", patches.count, patches.width)))
        };
        Attending { decoder: self, patches }
    }

    /// Takes the outputs of a step into the caches, which have equally many tokens, and gives the logits of each.
    fn take<'a>(
        &self,
        states: &mut [&mut Cache],
        output: &dyn Fn(usize) -> TractResult<&'a [f32]>,
    ) -> crate::Result<Vec<Vec<f32>>> {
        let [logits, keys, values] = self.outputs;
        let [layers, heads, _, width] = self.cache;
        let tokens = states.first().map_or(0, |state| state.tokens) + 1;
        let size = layers * heads * width * tokens;
        let keys = self.session.sized(output(keys), "new_keys", size * states.len())?;
        let values = self.session.sized(output(values), "new_values", size * states.len())?;
        let logits = output(logits).map_err(|e| self.session.complain(format_args!("the logits are unusable: {e}")))?;
        if logits.len() < states.len() || !logits.iter().all(|v| v.is_finite()) {
            return Err(Error::new(
                Code::Engine,
                "the decoder gave logits that are not finite",
                "run `lookout bundle check` on the bundle",
            ));
        }
        let caches = keys.chunks_exact(size).zip(values.chunks_exact(size));
        for (state, (keys, values)) in states.iter_mut().zip(caches) {
            **state = Cache { keys: keys.into(), values: values.into(), tokens };
        }
        Ok(logits.chunks_exact(logits.len() / states.len()).map(<[f32]>::to_vec).collect())
    }
}

impl Attending<'_> {
    /// One step of sentences with equally many tokens: a single one, where the file does not take several.
    fn together(&self, states: &mut [&mut Cache], tokens: &[u32]) -> crate::Result<Vec<Vec<f32>>> {
        let Decoder { session, inputs, cache: [layers, heads, _, width], .. } = self.decoder;
        let patches = self.patches.as_ref().map_err(Error::clone)?;
        let [first, ..] = states else { return Ok(vec![]) };
        let (said, batch) = (first.tokens, states.len());
        let ids: TVec<i64> = tokens.iter().map(|token| i64::from(*token)).collect();
        let position = [said as i64];
        let (keys, values) = (joined(states, |cache| &cache.keys), joined(states, |cache| &cache.values));
        if let Some(steps) = session.compiled(Sizes { length: said, batch })? {
            let feed = [
                Input::Ids(&ids),
                Input::Ids(&position),
                Input::Floats(patches),
                Input::Floats(&keys),
                Input::Floats(&values),
            ];
            let mut given = feed;
            std::iter::zip(feed, inputs).for_each(|(value, ix)| given[*ix] = value);
            return session.execute(&steps, &given, |output| self.decoder.take(states, output));
        }
        let past = [batch, *layers, *heads, said, *width];
        let past = if self.decoder.batched { &past[..] } else { &past[1..] };
        let feed = [
            session.tensor(&[batch, 1], &ids)?,
            session.tensor(&[1], &position)?,
            session.tensor(&[1, self.decoder.count, self.decoder.width], patches)?,
            session.tensor(past, &keys)?,
            session.tensor(past, &values)?,
        ];
        let mut given: TVec<TValue> = feed.iter().cloned().collect();
        std::iter::zip(feed, inputs).for_each(|(value, ix)| given[*ix] = value);
        let outputs = session.run(given)?;
        self.decoder.take(states, &|ix| outputs[ix].try_as_plain_ram()?.as_slice::<f32>())
    }
}

impl Speaker for Attending<'_> {
    type State = Cache;

    fn start(&self) -> crate::Result<Cache> {
        Ok(Cache { keys: Arc::default(), values: Arc::default(), tokens: 0 })
    }

    fn step(&self, state: &mut Cache, token: u32) -> crate::Result<Vec<f32>> {
        Ok(self.together(&mut [state], &[token])?.swap_remove(0))
    }

    /// Sentences with equally many tokens read the weights once.
    fn steps(&self, mut states: Vec<&mut Cache>, tokens: &[u32]) -> crate::Result<Vec<Vec<f32>>> {
        let alike = states.windows(2).all(|pair| pair[0].tokens == pair[1].tokens);
        if self.decoder.batched && alike {
            return self.together(&mut states, tokens);
        }
        states.into_iter().zip(tokens).map(|(state, token)| self.step(state, *token)).collect()
    }
}

/// Keys or values of all states, one state after another.
fn joined(states: &[&mut Cache], of: fn(&Cache) -> &Arc<[f32]>) -> Arc<[f32]> {
    match states {
        [one] => of(one).clone(),
        _ => states.iter().flat_map(|state| of(state).iter().copied()).collect(),
    }
}
