//! At its page.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::watch::Request;
use crate::{Code, Error, Result};

use super::super::console::Outcome;
use super::{Way, body, only_serial};

/// Most bytes of an answer: 64 MiB, a large picture.
const MAX_ANSWER: u64 = 64 << 20;

#[derive(Args)]
pub(super) struct HttpArgs {
    /// File whose first line is the page's token
    #[arg(long, value_name = "FILE", requires = "http")]
    pub(super) token_file: Option<PathBuf>,
}

pub(super) struct Http {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

impl Http {
    pub fn new(url: &str, args: &HttpArgs, timeout: Duration) -> Result<Self> {
        let token = args.token_file.as_ref().map(|file| {
            let text = std::fs::read_to_string(file).map_err(|error| {
                let message = format!("the token file {} cannot be read: {error}", file.display());
                Error::new(Code::Input, message, "give a text file whose first line is the token")
            })?;
            Ok(format!("Bearer {}", text.lines().next().unwrap_or_default().trim()))
        });
        let config = ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false);
        let token = token.transpose()?;
        Ok(Self { agent: config.build().into(), url: url.trim_end_matches('/').to_owned(), token })
    }

    /// The body of an answer; an answer of failure is the error.
    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Vec<u8>> {
        let failed = |error: ureq::Error| {
            let help = "is the address that of `lookout run`, and does it listen beyond its own machine?";
            Error::new(Code::Link, format!("{} does not answer: {error}", self.url), help)
        };
        let mut answer = answer.map_err(failed)?;
        let status = answer.status();
        let bytes = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec().map_err(failed)?;
        if status.is_success() {
            return Ok(bytes);
        }
        let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let field = |name: &str| problem["error"][name].as_str().unwrap_or_default().to_owned();
        let message = match field("message") {
            message if message.is_empty() => format!("{} answers {status}", self.url),
            message => message,
        };
        let code = match status.as_u16() {
            400 => Code::Usage,
            429 => Code::Busy,
            501 => Code::Unsupported,
            _ => Code::Link,
        };
        Err(Error::new(code, message, field("help")))
    }

    fn json(&self, bytes: &[u8]) -> Result<Value> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::new(Code::Link, format!("{} answered with no JSON: {error}", self.url), "is it a lookout's page?")
        })
    }
}

impl Way for Http {
    fn ask(&mut self, request: &Request) -> Result<Value> {
        let mut post = self.agent.post(format!("{}/api/ask", self.url)).content_type("application/json");
        if let Some(token) = &self.token {
            post = post.header("Authorization", token);
        }
        let bytes = self.read(post.send(body(request)?))?;
        self.json(&bytes)
    }

    fn snapshot(&mut self, request: &Request) -> Result<(Value, Vec<u8>)> {
        let mut get = self.agent.get(format!("{}/api/frame.jpg", self.url));
        if let Some(camera) = &request.camera {
            get = get.query("camera", camera);
        }
        if let Some(token) = &self.token {
            get = get.header("Authorization", token);
        }
        let jpeg = self.read(get.call())?;
        Ok((serde_json::json!({"task": "snapshot", "bytes": jpeg.len()}), jpeg))
    }

    fn watch(&mut self, _: &mut dyn FnMut(&Value) -> Outcome) -> Outcome {
        Err(only_serial("watch").into())
    }
}
