//! Cameras on the network: MJPEG streams and snapshots.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::config::RedirectAuthHeaders;
use ureq::{Agent, Body, BodyReader};

use super::feed::Feed;
use super::jpeg::{Jpegs, with_tables};
use super::multipart::{Parts, boundary};
use super::source::{Shot, Source};
use super::uri::{percent_decoded, redacted};
use super::{MAX_FRAME_BYTES, Stop};
use crate::{Code, Error, Result};

type Response = ureq::http::Response<Body>;

/// Asks once, and tells from the answer what the camera is. No read waits much longer than `stall`.
pub(super) fn open(url: &str, stall: Duration, stop: Stop) -> Result<Box<dyn Source>> {
    let asker = Asker::new(url, stall)?;
    let response = asker.ask()?;
    let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.to_owned();
    let main = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let stream = |response: Response, stop| Feed::new(reader(response), stop);
    match &main[..] {
        "multipart/x-mixed-replace" | "multipart/mixed" | "multipart/related" => {
            let parts = Parts::new(stream(response, stop.clone()), boundary(&kind));
            Ok(Box::new(Stream { shown: asker.shown, reading: Reading::Parts(parts), stop }))
        }
        "video/x-motion-jpeg" | "video/x-mjpeg" | "video/mjpeg" | "video/x-jpeg" => {
            let jpegs = Jpegs::new(stream(response, stop.clone()));
            Ok(Box::new(Stream { shown: asker.shown, reading: Reading::Jpegs(jpegs), stop }))
        }
        main if main.starts_with("image/") || main.is_empty() || main == "application/octet-stream" => {
            Ok(Box::new(Snapshot { asker, first: Some(response), stop }))
        }
        _ => {
            let message = format!("{} gives {main}, not pictures", asker.shown);
            let help = "find the address of its MJPEG stream or snapshot; its page in a browser is another address";
            Err(Error::new(Code::Camera, message, help))
        }
    }
}

struct Asker {
    agent: Agent,
    url: String,
    authorization: Option<String>,
    shown: String,
    stall: Duration,
}

impl Asker {
    fn new(url: &str, stall: Duration) -> Result<Self> {
        let shown = redacted(url);
        let (url, authorization) = split_user(url);
        // The camera notices a stall first, and then waits a moment for the read to end.
        let limit = Some(stall + Duration::from_millis(250));
        let agent = Agent::config_builder()
            .timeout_resolve(limit)
            .timeout_connect(limit)
            .timeout_send_request(limit)
            .timeout_recv_response(limit)
            .timeout_per_read(limit)
            .timeout_per_write(limit)
            .max_redirects(5)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .http_status_as_error(false)
            .user_agent(concat!("lookout/", env!("CARGO_PKG_VERSION")))
            .accept("multipart/x-mixed-replace, image/*, */*;q=0.5")
            .build()
            .new_agent();
        Ok(Self { agent, url, authorization, shown, stall })
    }

    fn ask(&self) -> Result<Response> {
        let mut request = self.agent.get(&self.url);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        let response = request.call().map_err(|error| self.failed(&redacted(&error.to_string())))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let digest = response.headers().get_all("www-authenticate").iter();
        let digest =
            digest.filter_map(|value| value.to_str().ok()).all(|value| !value.to_lowercase().starts_with("basic"));
        let (cause, help) = match (status.as_u16(), &self.authorization) {
            (401, _) if digest => ("it asks for another login than Basic", "set the camera to Basic authentication"),
            (401, None) => ("it wants a user and a password", "write http://user:password@host/..."),
            (401, Some(_)) => ("it refuses the user or the password", "check both; write @ : / in them as %40 %3A %2F"),
            (403, _) => ("it forbids this", "give the user the right to look, in the camera's settings"),
            (404, _) => {
                ("there is nothing at this address", "look for the address of the stream in the camera's manual")
            }
            (503, _) => ("it is busy", "many cameras serve only a few viewers: close the others"),
            _ => ("it does not give pictures", "look at the address with a browser"),
        };
        Err(Error::new(Code::Camera, format!("{}: {cause} (HTTP {status})", self.shown), help))
    }

    fn failed(&self, cause: &str) -> Error {
        Error::new(Code::Camera, format!("{}: {cause}", self.shown), "check the address, the network and the camera")
    }
}

/// The address without user and password, and the header that carries them.
fn split_user(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..host].rfind('@') else { return (url.to_owned(), None) };
    let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
    let plain = |text: &str| percent_decoded(text.as_bytes()).unwrap_or_else(|| text.as_bytes().to_vec());
    let pair = [plain(user), b":".to_vec(), plain(password)].concat();
    (format!("{scheme}://{}", &rest[at + 1..]), Some(format!("Basic {}", BASE64_STANDARD.encode(pair))))
}

fn reader(response: Response) -> BodyReader<'static> {
    response.into_body().into_with_config().limit(u64::MAX).reader()
}

/// An endless answer.
struct Stream {
    shown: String,
    reading: Reading,
    stop: Stop,
}

enum Reading {
    Parts(Parts<BodyReader<'static>>),
    Jpegs(Jpegs<BodyReader<'static>>),
}

impl Source for Stream {
    fn next(&mut self, not_before: Instant) -> Result<Option<Shot>> {
        let next = match &mut self.reading {
            Reading::Parts(parts) => parts.next(not_before),
            Reading::Jpegs(jpegs) => jpegs.next(not_before),
        };
        let cause = match next {
            Ok(Some(bytes)) => return Ok(Some(Shot::encoded(with_tables(bytes)))),
            _ if self.stop.told() => return Ok(None),
            Ok(None) => "the camera ended the stream".to_owned(),
            Err(error) => format!("the stream broke off: {error}"),
        };
        Err(Error::new(Code::Camera, format!("{}: {cause}", self.shown), "check the network and the camera"))
    }
}

/// One picture an answer.
struct Snapshot {
    asker: Asker,
    first: Option<Response>,
    stop: Stop,
}

impl Source for Snapshot {
    fn next(&mut self, not_before: Instant) -> Result<Option<Shot>> {
        if self.first.is_none() && self.stop.wait_until(not_before) {
            return Ok(None);
        }
        let response = match self.first.take() {
            Some(response) => response,
            None => self.asker.ask()?,
        };
        let bytes = self.body(response).map_err(|error| self.asker.failed(&error.to_string()))?;
        if self.stop.told() {
            return Ok(None);
        }
        Ok(Some(Shot::encoded(with_tables(bytes))))
    }
}

impl Snapshot {
    /// The whole body, which may be neither endless nor endlessly slow.
    fn body(&self, response: Response) -> io::Result<Vec<u8>> {
        let until = Instant::now() + self.asker.stall * 2;
        let mut reader = reader(response).take(MAX_FRAME_BYTES as u64 + 1);
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let read = reader.read(&mut chunk)?;
            bytes.extend_from_slice(&chunk[..read]);
            if bytes.len() > MAX_FRAME_BYTES {
                return Err(io::Error::other(format!("the picture is larger than {} MiB", MAX_FRAME_BYTES >> 20)));
            }
            if read == 0 || self.stop.told() {
                return Ok(bytes);
            }
            if Instant::now() > until {
                return Err(io::Error::other(format!("the picture takes longer than {:.1?}", self.asker.stall * 2)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_leave_the_address_and_become_a_header() {
        let (url, header) = split_user("http://me:p%40ss:w@cam:8080/a@b?c");
        assert_eq!(url, "http://cam:8080/a@b?c");
        assert_eq!(header.unwrap(), format!("Basic {}", BASE64_STANDARD.encode("me:p@ss:w")));
        assert_eq!(split_user("http://cam/a@b"), ("http://cam/a@b".to_owned(), None));
    }
}
