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

const LOGIN: File = file!("/login", TEXT, "api.md");
const FILES: &[File] = &[file!("/api", TEXT, "api.md")];

/// One route for every file, all with an entity tag.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, file| {
        let tag = tag(file);
        router.route(file.path, get(move |headers: HeaderMap| async move { serve(file, &tag, &headers) }))
    })
}

/// The login form, as an answer of this status.
pub(super) fn login(headers: &HeaderMap, status: StatusCode) -> Response {
    static TAG: LazyLock<String> = LazyLock::new(|| tag(&LOGIN));
    if status == StatusCode::OK {
        return serve(&LOGIN, &TAG, headers);
    }
    (status, [(header::CONTENT_TYPE, LOGIN.kind)], LOGIN.bytes).into_response()
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
