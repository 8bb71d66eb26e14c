//! A lookout to serve in tests: real pictures, two cameras of which one fails, answers computed from the question.

mod desk;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookout::link::{Link, web};

pub use desk::TestDesk;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A served desk.
pub struct Served {
    pub desk: Arc<TestDesk>,
    pub link: Box<dyn Link>,
    pub address: SocketAddr,
    /// Holds the token's file.
    _folder: tempfile::TempDir,
}

impl Served {
    /// On loopback, without a token.
    pub fn open() -> Self {
        Self::with(false, |_| {})
    }

    pub fn with_token() -> Self {
        Self::with(true, |_| {})
    }

    pub fn with(token: bool, set: impl FnOnce(&mut web::WebConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = web::WebConfig { listen: "127.0.0.1:0".to_owned(), ..web::WebConfig::default() };
        if token {
            let file = folder.path().join("token");
            std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
            config.token_file = Some(file);
        }
        set(&mut config);
        let desk = TestDesk::new();
        let link = web::start(&config, desk.clone()).unwrap();
        let address = link.status().note.unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Self { desk, link, address, _folder: folder }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// An answer that was read to its end.
pub struct Got {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Got {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of the error that this is.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().expect("an error has a code").to_owned()
    }
}

pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None);
    config.timeout_global(Some(Duration::from_secs(30))).build().into()
}

/// One request, its answer read to the end.
pub fn send(served: &Served, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let mut request = ureq::http::Request::builder().method(method).uri(served.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = if body.is_empty() && method != "POST" && method != "PUT" {
        agent().run(request.body(()).unwrap())
    } else {
        agent().run(request.body(body.to_owned()).unwrap())
    };
    let mut response = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let read = response.body_mut().with_config().limit(64 << 20).read_to_vec().unwrap();
    Got { status: response.status().as_u16(), headers: response.headers().clone(), body: read }
}

pub fn get(served: &Served, path: &str) -> Got {
    send(served, "GET", path, &[], "")
}

/// Waits until `found` finds something; `what` is said if it never does.
pub fn wait<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
