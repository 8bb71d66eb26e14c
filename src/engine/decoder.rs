//! The decoder: one token at a time, attending to a picture's patches.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::program::Input;
use super::session::Session;
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
        let mut inputs = [0; 5];
        let session = Session::load(bundle, Role::Decoder, options, |declared| {
            ensure!(count > 0, "the manifest has no [patches]");
            ensure!(cache[0] > 0, "the manifest has no [speaker]");
            ensure!(declared.len() == INPUTS.len(), "its inputs are {:?}, not {INPUTS:?}", declared.names());
            for (ix, name) in inputs.iter_mut().zip(INPUTS) {
                *ix = declared.position(name)?;
            }
            let one = 1.to_dim();
            let past = [cache[0].to_dim(), cache[1].to_dim(), declared.symbol("S"), cache[3].to_dim()];
            declared.set(inputs[0], i64::datum_type(), &[one.clone(), one.clone()])?;
            declared.set(inputs[1], i64::datum_type(), std::slice::from_ref(&one))?;
            declared.set(inputs[2], f32::datum_type(), &[one, count.to_dim(), width.to_dim()])?;
            declared.set(inputs[3], f32::datum_type(), &past)?;
            declared.set(inputs[4], f32::datum_type(), &past)
        })?;
        let mut outputs = [0; 3];
        for (ix, name) in outputs.iter_mut().zip(OUTPUTS) {
            *ix = session.output(name)?;
        }
        Ok(Decoder { session, inputs, outputs, count, width, cache })
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

    /// Takes the outputs of a step into the cache, and gives the logits.
    fn take<'a>(&self, state: &mut Cache, output: &dyn Fn(usize) -> TractResult<&'a [f32]>) -> crate::Result<Vec<f32>> {
        let [logits, keys, values] = self.outputs;
        let [layers, heads, _, width] = self.cache;
        let size = layers * heads * width * (state.tokens + 1);
        let keys = self.session.sized(output(keys), "new_keys", size)?;
        let values = self.session.sized(output(values), "new_values", size)?;
        let logits = output(logits).map_err(|e| self.session.complain(format_args!("the logits are unusable: {e}")))?;
        if logits.is_empty() || !logits.iter().all(|v| v.is_finite()) {
            return Err(Error::new(
                Code::Engine,
                "the decoder gave logits that are not finite",
                "run `lookout bundle check` on the bundle",
            ));
        }
        *state = Cache { keys: keys.into(), values: values.into(), tokens: state.tokens + 1 };
        Ok(logits.to_vec())
    }
}

impl Speaker for Attending<'_> {
    type State = Cache;

    fn start(&self) -> crate::Result<Cache> {
        Ok(Cache { keys: Arc::default(), values: Arc::default(), tokens: 0 })
    }

    fn step(&self, state: &mut Cache, token: u32) -> crate::Result<Vec<f32>> {
        let Decoder { session, inputs, .. } = self.decoder;
        let patches = self.patches.as_ref().map_err(Error::clone)?;
        let (token, position) = ([i64::from(token)], [state.tokens as i64]);
        if let Some(steps) = session.compiled(state.tokens)? {
            let (keys, values) = (state.keys.clone(), state.values.clone());
            let feed = [
                Input::Ids(&token),
                Input::Ids(&position),
                Input::Floats(patches),
                Input::Floats(&keys),
                Input::Floats(&values),
            ];
            let mut given = feed;
            std::iter::zip(feed, inputs).for_each(|(value, ix)| given[*ix] = value);
            return session.execute(&steps, &given, |output| self.decoder.take(state, output));
        }
        let past = [self.decoder.cache[0], self.decoder.cache[1], state.tokens, self.decoder.cache[3]];
        let feed = [
            session.tensor(&[1, 1], &token)?,
            session.tensor(&[1], &position)?,
            session.tensor(&[1, self.decoder.count, self.decoder.width], patches)?,
            session.tensor(&past, &state.keys)?,
            session.tensor(&past, &state.values)?,
        ];
        let mut given: TVec<TValue> = feed.iter().cloned().collect();
        std::iter::zip(feed, inputs).for_each(|(value, ix)| given[*ix] = value);
        let outputs = session.run(given)?;
        self.decoder.take(state, &|ix| outputs[ix].try_as_plain_ram()?.as_slice::<f32>())
    }
}
