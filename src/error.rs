//! One error type: what went wrong, the code a machine can match on, and what to try next.

use std::fmt;

/// A failure that a user can meet. `Display` gives the message alone; [`Error::help`] the next step.
#[derive(Debug, Clone)]
pub struct Error {
    code: Code,
    message: String,
    help: String,
}

/// Result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Stable names of the failures, as printed under `--json` in `error.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The command line makes no sense.
    Usage,
    /// A file or folder is missing, is of the wrong kind, or cannot be read.
    Input,
    /// A picture cannot be decoded or is too large.
    Picture,
    /// A sentence, label or tokenizer is unusable.
    Text,
    /// A bundle is incomplete, damaged, unsafe or too new.
    Bundle,
    /// A bundle is not signed by a trusted key, or is older than the one it would replace.
    Untrusted,
    /// The bundle is sound but lacks the part this question needs.
    Unsupported,
    /// A network failed to load or run.
    Engine,
    /// A result could not be written.
    Output,
    /// The work was ended early, by hand or by its time limit.
    Stopped,
    /// A configuration file makes no sense.
    Config,
    /// A camera gives no frames.
    Camera,
    /// Too much is being asked at once; ask again.
    Busy,
    /// A broker, a port or a server cannot be reached or refuses.
    Link,
    /// The memory of events cannot be read or written.
    Memory,
}

impl Error {
    /// `message` names the thing and the cause; `help` says what to try next.
    pub fn new(code: Code, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }

    /// The stable name of this failure.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What went wrong, naming the thing and the cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to try next.
    pub fn help(&self) -> &str {
        &self.help
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Code {
    /// The name printed under `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Usage => "usage",
            Code::Input => "input",
            Code::Picture => "picture",
            Code::Text => "text",
            Code::Bundle => "bundle",
            Code::Untrusted => "untrusted",
            Code::Unsupported => "unsupported",
            Code::Engine => "engine",
            Code::Output => "output",
            Code::Stopped => "stopped",
            Code::Config => "config",
            Code::Camera => "camera",
            Code::Busy => "busy",
            Code::Link => "link",
            Code::Memory => "memory",
        }
    }

    /// The process exit status: 2 for a command line that makes no sense, else 1.
    pub fn exit_status(self) -> u8 {
        if self == Code::Usage { 2 } else { 1 }
    }
}
