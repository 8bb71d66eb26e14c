//! The page's files. They are part of the program: a request can only name one of this table.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! file {
    ($path:literal, $kind:expr, $name:literal) => {
        File { path: $path, kind: $kind, bytes: include_bytes!(concat!("page/", $name)) }
    };
}

const LOGIN: File = file!("/login", HTML, "login.html");
const FILES: &[File] = &[
    file!("/", HTML, "index.html"),
    file!("/api", TEXT, "api.md"),
    file!("/page.css", CSS, "page.css"),
    file!("/icon.svg", "image/svg+xml", "icon.svg"),
    file!("/page.webmanifest", "application/manifest+json", "page.webmanifest"),
    file!("/login.js", SCRIPT, "login.js"),
    file!("/page.js", SCRIPT, "page.js"),
    file!("/common.js", SCRIPT, "common.js"),
    file!("/live.js", SCRIPT, "live.js"),
    file!("/ask.js", SCRIPT, "ask.js"),
    file!("/events.js", SCRIPT, "events.js"),
    file!("/triggers.js", SCRIPT, "triggers.js"),
    file!("/trigger-form.js", SCRIPT, "trigger-form.js"),
    file!("/health.js", SCRIPT, "health.js"),
];

/// One route for every file, all with an entity tag.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, file| {
        let tag = tag(file);
        router.route(file.path, get(move |headers: HeaderMap| async move { serve(file, &tag, &headers) }))
    })
}

/// The login form; after a wrong token it says so.
pub(super) fn login(headers: &HeaderMap, wrong: bool) -> Response {
    static TAG: LazyLock<String> = LazyLock::new(|| tag(&LOGIN));
    if !wrong {
        return serve(&LOGIN, &TAG, headers);
    }
    let form = String::from_utf8_lossy(LOGIN.bytes).replacen(" hidden>", ">", 1);
    (StatusCode::UNAUTHORIZED, [(header::CONTENT_TYPE, LOGIN.kind)], form).into_response()
}

fn serve(file: &File, tag: &str, headers: &HeaderMap) -> Response {
    let about = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache")];
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if seen.is_some_and(|tags| tags.split(',').any(|seen| seen.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(header::CONTENT_TYPE, file.kind)], file.bytes).into_response()
}

fn tag(file: &File) -> String {
    let digest = Sha256::digest(file.bytes);
    format!("\"{}\"", digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>())
}
