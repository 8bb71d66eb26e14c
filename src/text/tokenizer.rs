//! Words to token ids and back, as a Hugging Face `tokenizer.json` says.
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde_json::Value;

use crate::{Code, Error, Result};

/// The longest text that is tokenised, in bytes of UTF-8. Longer ones are refused.
pub const MAX_TEXT_BYTES: usize = 65_536;

/// A tokenizer read from a `tokenizer.json`. Truncation and padding that the file asks for are ignored: whoever runs the
/// network knows how long its context is.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    name: String,
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.json`; `name` appears in errors.
    pub fn from_bytes(json: &[u8], name: &str) -> Result<Self> {
        let unusable = |why: String| {
            Error::new(
                Code::Text,
                format!("{name} is not a usable tokenizer: {why}"),
                "use the tokenizer.json that belongs to the text tower, unchanged",
            )
        };
        let Outline { post_processor } = serde_json::from_slice(json).map_err(|e| unusable(e.to_string()))?;
        if let Some(token) = undefined_special_token(&post_processor) {
            return Err(unusable(format!("its template uses the special token {token}, which it does not define")));
        }
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(json).map_err(|e| e.to_string()))
            .and_then(|parsed| parsed)
            .map_err(unusable)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| unusable(e.to_string()))?;
        Ok(Self { inner, name: name.to_owned() })
    }

    /// Token ids with the special tokens that the file asks for (such as `[CLS]` and `[SEP]`), neither truncated nor
    /// padded. Text over [`MAX_TEXT_BYTES`] is an error.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_with(text, true)
    }

    /// Token ids without special tokens around them. Text over [`MAX_TEXT_BYTES`] is an error.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_with(text, false)
    }

    /// The text of token ids: special tokens and unknown ids left out, word pieces joined, spaces before punctuation
    /// removed where the file's decoder does so.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded(|| self.inner.decode(ids, true).map_err(|e| e.to_string()))
            .and_then(|text| text)
            .map(|text| text.trim().to_owned())
            .map_err(|why| self.failure("cannot turn token ids into text", &why))
    }

    /// The id of a token, special or not, spelled as in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// How many tokens there are, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn encode_with(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::new(
                Code::Text,
                format!("a text of {} bytes is too long; the limit is {MAX_TEXT_BYTES}", text.len()),
                "shorten it: a text tower reads only its first few dozen words",
            ));
        }
        guarded(|| self.inner.encode_fast(text, special).map_err(|e| e.to_string()))
            .and_then(|encoding| encoding)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|why| self.failure("cannot tokenise this text", &why))
    }

    fn failure(&self, what: &str, why: &str) -> Error {
        Error::new(
            Code::Text,
            format!("the tokenizer {} {what}: {why}", self.name),
            "check the bundle with `lookout bundle check`",
        )
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({}, {} tokens)", self.name, self.vocab_size())
    }
}

/// What is checked before the library reads the file.
#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    post_processor: Value,
}

/// The first special token in a template that its own list lacks; the library would panic at the first text. Templates
/// may stand within a sequence of processors.
fn undefined_special_token(processor: &Value) -> Option<String> {
    let listed = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    listed(processor, "processors").iter().find_map(undefined_special_token).or_else(|| {
        listed(processor, "single")
            .iter()
            .chain(&listed(processor, "pair"))
            .filter_map(|piece| piece["SpecialToken"]["id"].as_str())
            .find(|&id| processor["special_tokens"].get(id).is_none())
            .map(str::to_owned)
    })
}

/// A file that parses can still break an assumption inside the library: its panic becomes an error here.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it contradicts itself").to_owned()
    })
}
