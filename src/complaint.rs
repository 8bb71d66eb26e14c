//! A TOML parse error in words: the line it is on, and the nearest known key where one was misspelt.

pub(crate) use crate::nearest::nearest;

/// What is wrong with a document.
pub(crate) struct Complaint {
    /// ` line 7`, or nothing where the place is not known.
    pub place: String,
    /// The cause, to follow the place.
    pub cause: String,
    /// What to try, where the cause tells.
    pub help: Option<String>,
}

/// Puts the error that `toml` gave for `text` in words.
pub(crate) fn explain(text: &str, error: &toml::de::Error) -> Complaint {
    let place =
        error.span().map(|span| line_of(text, span.start)).map_or(String::new(), |line| format!(" line {line}"));
    let message = error.message().trim_end();
    match Unknown::read(message) {
        Some(unknown) => Complaint { place, cause: unknown.cause(), help: Some(unknown.help()) },
        None => Complaint { place, cause: first_lines(message), help: None },
    }
}

/// A name that the document's types do not know, taken from serde's wording of the error.
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
        match nearest(self.name, &self.known) {
            Some(nearest) => format!("did you mean `{nearest}`? Known here: {list}"),
            None => format!("known here: {list}"),
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn first_lines(message: &str) -> String {
    let joined = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
    joined.chars().take(300).collect()
}
