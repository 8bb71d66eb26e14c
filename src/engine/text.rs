//! The text tower: a sentence to an embedding.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::program::Input;
use super::session::{Session, Sizes, lacking};
use super::{Options, Report, normalise};
use crate::bundle::{Bundle, Role, TextInput};
use crate::text::Tokenizer;
use crate::{Code, Error};

/// A loaded text tower with its tokenizer.
pub struct TextTower {
    session: Session,
    tokenizer: Tokenizer,
    text: TextInput,
    /// Ids that the network takes at a time, when it takes a fixed number.
    length: Option<usize>,
    inputs: Vec<(Feed, DatumType)>,
    width: usize,
    embedding: usize,
}

/// What an input of the network is fed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feed {
    Ids,
    /// 1 for each id that is not filling.
    Mask,
    /// Zeros: a single segment.
    Segments,
}

impl TextTower {
    /// Loads the bundle's text tower and tokenizer. Besides the ids, the network may take `attention_mask` and
    /// `token_type_ids`; its output is found by name, else the first of rank 2 is taken.
    pub fn load(bundle: &Bundle, options: &Options) -> crate::Result<Self> {
        let manifest = bundle.manifest();
        let text = manifest.text().filter(|_| bundle.has(Role::Text));
        let Some(text) = text.cloned() else { return Err(lacking(bundle, Role::Text)) };
        let Some(tokenizer) = bundle.bytes(Role::Tokenizer) else { return Err(lacking(bundle, Role::Tokenizer)) };
        let tokenizer = Tokenizer::from_bytes(tokenizer, &format!("tokenizer of bundle {}", bundle.name()))?;
        let mut inputs = Vec::new();
        let mut length = text.fixed_length.then_some(text.context);
        let session = Session::load(bundle, Role::Text, options, |declared| {
            let names = declared.names();
            let ids = if names.len() == 1 { 0 } else { declared.position(&text.input)? };
            if let Some(fixed) = declared.declared(ids, 1)? {
                ensure!(
                    fixed == text.context || (fixed > 0 && !text.fixed_length),
                    "it takes {fixed} ids at a time, the manifest's context is {}",
                    text.context
                );
                length = Some(fixed);
            }
            let dim = length.map_or_else(|| declared.symbol("L"), |length| length.to_dim());
            for (ix, name) in names.iter().enumerate() {
                let feed = match name.as_str() {
                    _ if ix == ids => Feed::Ids,
                    "attention_mask" => Feed::Mask,
                    "token_type_ids" => Feed::Segments,
                    other => bail!("nothing is known to feed its input {other} with"),
                };
                let datum_type = declared.datum_type(ix, i64::datum_type())?;
                let known = [i64::datum_type(), i32::datum_type(), f32::datum_type(), bool::datum_type()];
                ensure!(known.contains(&datum_type), "its input {name} is {datum_type:?}");
                declared.set(ix, datum_type, &[1.to_dim(), dim.clone()])?;
                inputs.push((feed, datum_type));
            }
            Ok(())
        })?;
        let embedding = session.embedding_output(&["embedding", "text_embeds", "text_features", "pooler_output"])?;
        Ok(TextTower { session, tokenizer, text, length, inputs, width: manifest.embedding_width(), embedding })
    }

    /// The embedding of a sentence, length 1. What does not fit the context is cut off.
    pub fn encode(&self, text: &str) -> crate::Result<Vec<f32>> {
        self.encode_ids(&self.tokenizer.encode(text)?)
    }

    /// The embedding of token ids, special tokens included. Where they are too many, the last one is kept at the end.
    pub fn encode_ids(&self, ids: &[u32]) -> crate::Result<Vec<f32>> {
        let Some(last) = ids.last() else {
            return Err(Error::new(Code::Text, "a sentence has no tokens", "give at least one word"));
        };
        let most = self.length.unwrap_or(self.text.context).min(self.text.context);
        let mut ids = ids.to_vec();
        if ids.len() > most {
            let last = *last;
            ids.truncate(most);
            ids[most - 1] = last;
        }
        let used = ids.len();
        ids.resize(self.length.unwrap_or(used), self.text.pad);
        let mut embedding = Vec::with_capacity(self.width);
        if let (Some(steps), [(Feed::Ids, _)]) = (self.session.compiled(Sizes::one(ids.len()))?, &self.inputs[..]) {
            let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
            self.session.execute(&steps, &[Input::Ids(&ids)], |output| {
                embedding.extend_from_slice(self.session.sized(output(self.embedding), "embedding", self.width)?);
                Ok(())
            })?;
        } else {
            let feed = self.inputs.iter().map(|(feed, datum_type)| {
                let values: Vec<i64> = match feed {
                    Feed::Ids => ids.iter().map(|id| i64::from(*id)).collect(),
                    Feed::Mask => (0..ids.len()).map(|i| i64::from(i < used)).collect(),
                    Feed::Segments => vec![0; ids.len()],
                };
                let tensor = self.session.tensor(&[1, ids.len()], &values)?.into_tensor();
                let tensor = tensor.cast_to_dt(*datum_type).map(|t| t.into_owned().into_tvalue());
                tensor.map_err(|e| self.session.complain(format_args!("ids cannot become {datum_type:?}: {e}")))
            });
            let outputs = self.session.run(feed.collect::<crate::Result<TVec<TValue>>>()?)?;
            embedding.extend_from_slice(self.session.floats(&outputs[self.embedding], "embedding", self.width)?);
        }
        if !normalise(&mut embedding) {
            return Err(self.session.complain("an embedding is not finite or all 0"));
        }
        Ok(embedding)
    }

    /// Which part runs on what.
    pub fn report(&self) -> Report {
        self.session.report()
    }

    /// The tower's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

impl std::fmt::Debug for TextTower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextTower").field("session", &self.session).finish_non_exhaustive()
    }
}
