//! The decoder: one token at a time, attending to a picture's patches.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

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
    patches: crate::Result<TValue>,
}

/// Keys and values of the tokens said so far. A clone shares them; a step makes new ones.
#[derive(Debug, Clone)]
pub struct Cache {
    keys: TValue,
    values: TValue,
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

    /// Looks at a picture. The patches are copied once, here.
    pub fn attend(&self, patches: &Patches) -> Attending<'_> {
        let fits = (patches.count, patches.width) == (self.count, self.width);
        let patches = if fits {
            self.session.tensor(&[1, self.count, self.width], &patches.data)
        } else {
            Err(self.session.complain(format_args!("patches are [{}, {}]", patches.count, patches.width)))
        };
        Attending { decoder: self, patches }
    }

    /// Which part runs on what.
    pub fn report(&self) -> Report {
        self.session.report()
    }
}

impl Speaker for Attending<'_> {
    type State = Cache;

    fn start(&self) -> crate::Result<Cache> {
        let empty = self.decoder.session.tensor::<f32>(&self.decoder.cache, &[])?;
        Ok(Cache { keys: empty.clone(), values: empty, tokens: 0 })
    }

    fn step(&self, state: &mut Cache, token: u32) -> crate::Result<Vec<f32>> {
        let session = &self.decoder.session;
        let feed = [
            session.tensor(&[1, 1], &[i64::from(token)])?,
            session.tensor(&[1], &[state.tokens as i64])?,
            self.patches.clone()?,
            state.keys.clone(),
            state.values.clone(),
        ];
        let mut inputs: TVec<TValue> = feed.iter().cloned().collect();
        for (value, ix) in feed.into_iter().zip(self.decoder.inputs) {
            inputs[ix] = value;
        }
        let outputs = session.run(inputs)?;
        let [logits, keys, values] = self.decoder.outputs.map(|ix| outputs[ix].clone());
        let mut wanted = self.decoder.cache;
        wanted[2] = state.tokens + 1;
        for (name, value) in [("new_keys", &keys), ("new_values", &values)] {
            if value.shape() != wanted || value.datum_type() != f32::datum_type() {
                return Err(session.complain(format_args!("{name} is {:?}, not {wanted:?}", value.shape())));
            }
        }
        let logits = session.floats(&logits, "logits", logits.len())?;
        if logits.is_empty() || !logits.iter().all(|v| v.is_finite()) {
            return Err(Error::new(
                Code::Engine,
                "the decoder gave logits that are not finite",
                "run `lookout bundle check` on the bundle",
            ));
        }
        *state = Cache { keys, values, tokens: state.tokens + 1 };
        Ok(logits.to_vec())
    }
}
