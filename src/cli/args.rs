//! Arguments that several subcommands share.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, RangedU64ValueParser, TypedValueParser};

use crate::bundle::{Bundle, Trust};
use crate::camera::{Uri, percent_decoded};
use crate::engine::Options;
use crate::{Code, Error, Result};

/// Options of every subcommand.
#[derive(Args)]
pub(super) struct Global {
    /// Folder or .tar of the model bundle [default: $LOOKOUT_BUNDLE, else the one beside the program]
    #[arg(long, global = true, value_name = "PATH")]
    pub bundle: Option<PathBuf>,
    /// Take only a bundle that this key signed: the key itself, a file NAME.pub, or a folder of them. May be repeated
    #[arg(long = "trusted-key", global = true, value_name = "KEY")]
    pub trusted_keys: Vec<String>,
    /// Print one JSON object on one line
    #[arg(long, global = true)]
    pub json: bool,
    /// Threads of the networks [default: one a core, at most 4]
    #[arg(long, global = true, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub threads: Option<usize>,
    /// Say more on standard error (-vv: also what the engine says)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// No warnings, no progress bars
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

impl Global {
    /// Sends warnings to standard error, and more of them with `-v`.
    pub fn start_log(&self) {
        use log::LevelFilter::{Debug, Error, Info, Warn};
        let own = match (self.quiet, self.verbose) {
            (true, _) => Error,
            (false, 0) => Warn,
            (false, 1) => Info,
            (false, _) => Debug,
        };
        let others = if self.verbose >= 2 { Info } else { Error };
        let _ = env_logger::Builder::new()
            .filter_level(others)
            .filter_module("lookout", own)
            .format(|out, record| {
                use std::io::Write;
                let level = match record.level() {
                    log::Level::Warn => "warning".to_owned(),
                    level => level.as_str().to_lowercase(),
                };
                writeln!(out, "{level}: {}", record.args())
            })
            .try_init();
    }

    /// The bundle that was named, or the default one.
    pub fn open_bundle(&self) -> Result<Bundle> {
        match &self.bundle {
            Some(path) => self.open_bundle_at(path),
            None => self.open_bundle_at(&Bundle::default_path()?),
        }
    }

    /// The bundle at `path`, signed by a trusted key where one is named.
    pub fn open_bundle_at(&self, path: &Path) -> Result<Bundle> {
        Bundle::open_trusting(path, self.trust()?.as_ref())
    }

    /// The keys that were named, if any.
    pub fn trust(&self) -> Result<Option<Trust>> {
        (!self.trusted_keys.is_empty()).then(|| Trust::read(&self.trusted_keys)).transpose()
    }

    /// How the networks run.
    pub fn options(&self) -> Options {
        let mut options = Options::default();
        if let Some(threads) = self.threads {
            options.threads = threads;
        }
        options
    }
}

/// Where a picture comes from, as it was typed.
#[derive(Clone)]
pub(super) struct PictureArg(OsString);

/// Where a picture comes from.
#[derive(Debug, PartialEq)]
pub(super) enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// A camera.
    Camera {
        /// Its address.
        uri: String,
        /// The same, passwords left out.
        shown: String,
    },
}

impl PictureArg {
    /// Tells a file from standard input and from a camera.
    pub fn source(&self) -> Result<Source> {
        let typed = self.0.as_encoded_bytes();
        if typed == b"-" {
            return Ok(Source::Stdin);
        }
        if let Some(rest) = typed.strip_prefix(b"file://") {
            return Ok(Source::File(self.file_uri(rest)?));
        }
        match self.0.to_str().filter(|text| Uri::has_scheme(text)) {
            Some(text) => Ok(Source::Camera { uri: text.to_owned(), shown: Uri::parse(text)?.to_string() }),
            None => Ok(Source::File(PathBuf::from(&self.0))),
        }
    }

    /// As it was typed, passwords left out, for people and for JSON.
    pub fn shown(&self) -> String {
        match self.source() {
            Ok(Source::Camera { shown, .. }) => shown,
            _ => self.0.to_string_lossy().into_owned(),
        }
    }

    /// The path in `file://[localhost]/path`, with `%20` and the like resolved.
    fn file_uri(&self, rest: &[u8]) -> Result<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        let wrong = |cause: &str| {
            let message = format!("{} is not a usable file URI: {cause}", self.0.display());
            Error::new(Code::Input, message, "write it as file:///folder/picture.jpg, or give the plain path")
        };
        let path = rest.strip_prefix(b"localhost").unwrap_or(rest);
        if !path.starts_with(b"/") {
            return Err(wrong("the path must be absolute"));
        }
        let plain = percent_decoded(path).ok_or_else(|| wrong("a % is not followed by two hexadecimal digits"))?;
        Ok(PathBuf::from(OsStr::from_bytes(&plain)))
    }
}

impl From<OsString> for PictureArg {
    fn from(typed: OsString) -> Self {
        Self(typed)
    }
}

/// Text must be UTF-8; paths need not be.
pub(super) fn text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().try_map(|typed| {
        typed.into_string().map_err(|_| "it is not valid UTF-8 text (is the terminal's encoding UTF-8?)".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(typed: &str) -> Result<Source> {
        PictureArg::from(OsString::from(typed)).source()
    }

    #[test]
    fn a_picture_is_a_file_a_file_uri_or_standard_input() {
        let file = |path: &str| Source::File(PathBuf::from(path));
        assert_eq!(source("a b.jpg").unwrap(), file("a b.jpg"));
        assert_eq!(source("-").unwrap(), Source::Stdin);
        assert_eq!(source("file:///tmp/a%20b.jpg").unwrap(), file("/tmp/a b.jpg"));
        assert_eq!(source("file://localhost/a.jpg").unwrap(), file("/a.jpg"));
        assert!(source("file://relative.jpg").is_err() && source("file:///a%2").is_err());
    }

    #[test]
    fn a_camera_is_told_from_a_file_and_its_password_is_not_shown() {
        for camera in ["v4l2:///dev/video0", "http://host/cam.mjpeg", "cmd:rpicam-vid -o -", "folder:in"] {
            let Source::Camera { uri, .. } = source(camera).unwrap() else { panic!("{camera} is a camera") };
            assert_eq!(uri, camera);
        }
        let arg = PictureArg::from(OsString::from("http://me:secret@host/x"));
        assert_eq!(arg.shown(), "http://host/x");
        assert!(source("v4l2:///dev/video0?sise=1x1").unwrap_err().help().contains("size"));
    }
}
