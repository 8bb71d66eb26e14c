//! What is wrong with a bundle, in words.

use crate::complaint::explain;
use crate::{Code, Error};

use super::MANIFEST_NAME;

/// What to try when nothing better is known.
pub(super) const FETCH_AGAIN: &str = "copy or unpack the bundle again, or make it anew";

/// An error about the bundle at `bundle`.
pub(super) fn refuse(bundle: &str, cause: impl std::fmt::Display, help: impl Into<String>) -> Error {
    Error::new(Code::Bundle, format!("bundle {bundle}: {cause}"), help)
}

/// An error about the manifest `text` that `toml` could not parse.
pub(super) fn unparsed(bundle: &str, text: &str, error: &toml::de::Error) -> Error {
    let complaint = explain(text, error);
    let help = complaint.help.unwrap_or_else(|| "correct that line of the manifest".to_owned());
    refuse(bundle, format_args!("{MANIFEST_NAME}{}: {}", complaint.place, complaint.cause), help)
}
