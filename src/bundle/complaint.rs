//! A parse error in words: the line it is on, and the nearest known key where one was misspelt.

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
    let place =
        error.span().map(|span| line_of(text, span.start)).map_or(String::new(), |line| format!(" line {line}"));
    let message = error.message().trim_end();
    let (cause, help) = match Unknown::read(message) {
        Some(unknown) => (unknown.cause(), unknown.help()),
        None => (first_lines(message), "correct that line of the manifest".to_owned()),
    };
    refuse(bundle, format_args!("{MANIFEST_NAME}{place}: {cause}"), help)
}

/// A name that the manifest's types do not know, taken from serde's wording of the error.
struct Unknown<'a> {
    thing: &'static str,
    name: &'a str,
    known: Vec<&'a str>,
}

impl<'a> Unknown<'a> {
    fn read(message: &'a str) -> Option<Self> {
        let (thing, rest) = if let Some(rest) = message.strip_prefix("unknown field `") {
            ("key", rest)
        } else {
            ("name", message.strip_prefix("unknown variant `")?)
        };
        // From the right: the misspelt name may hold anything, the known names hold no backtick.
        let (name, expected) = rest.rsplit_once("`, expected ")?;
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        let roles = known.contains(&"speaker_tokenizer");
        Some(Self { thing: if roles { "role" } else { thing }, name, known })
    }

    fn cause(&self) -> String {
        format!("unknown {} {:?}", self.thing, self.name.chars().take(60).collect::<String>())
    }

    fn help(&self) -> String {
        let list = self.known.join(", ");
        match self.nearest() {
            Some(nearest) => format!("did you mean `{nearest}`? Known here: {list}"),
            None => format!("known here: {list}"),
        }
    }

    fn nearest(&self) -> Option<&'a str> {
        let name: String = self.name.chars().take(60).collect::<String>().to_lowercase();
        let scored = self.known.iter().map(|known| (strsim::jaro_winkler(&name, known), *known));
        scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn first_lines(message: &str) -> String {
    let joined = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
    joined.chars().take(300).collect()
}
