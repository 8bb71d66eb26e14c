//! What every request passes: by which name it came, from which site, whose it is, and how much it brings.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use crate::watch::MAX_REQUEST_BYTES;

use super::door::Knock;
use super::problem::Problem;
use super::shared::Shared;

/// The address that a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub IpAddr);

/// Whether a request may see what is inside; only `/healthz` is shown to strangers as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known(pub bool);

/// Shown without a token: what the login form is made of, and a yes or no about the health.
const PUBLIC: [&str; 5] = ["/login", "/login.js", "/page.css", "/icon.svg", "/healthz"];

const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
         manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Under `no-referrer` a browser would send the login form from the origin `null`.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
];

/// Lets a request through to its handler, or answers it.
pub(super) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = match admit(&shared, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    shared.counts.answered(response.status());
    response
}

async fn admit(shared: &Shared, mut request: Request) -> Result<Request, Response> {
    let host = host(&request).ok_or_else(|| {
        Problem::usage("the request has no Host", "send the header Host, as HTTP/1.1 asks for").into_response()
    })?;
    // Against DNS rebinding: a page of another site whose name was made to point here still says its own name.
    if !shared.hosts.iter().any(|known| known == host_name(&host)) && !is_address(&host) {
        let shown: String = host.chars().take(80).collect();
        let help = "visit it by its IP address, or add the name to `hosts` under [web] in the configuration";
        let message = format!("this lookout is not known as {shown:?}");
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", message, help).into_response());
    }
    same_site(&request, &host).map_err(IntoResponse::into_response)?;
    let Peer(from) = *request.extensions().get::<Peer>().expect("the server notes where a connection came from");
    let path = request.uri().path();
    let public = PUBLIC.contains(&path);
    let known = match shared.door.knock(request.headers(), from) {
        Knock::Welcome => true,
        Knock::Later(wait) => return Err(later(wait)),
        _ if public => false,
        Knock::Stranger if path == "/" => return Err(Redirect::to("/login").into_response()),
        Knock::Stranger => return Err(unknown("this lookout asks for a token").into_response()),
        Knock::Wrong => return Err(unknown("the token is wrong").into_response()),
    };
    request.extensions_mut().insert(Known(known));
    if matches!(*request.method(), Method::POST | Method::PUT) {
        request = with_whole_body(shared, request).await.map_err(IntoResponse::into_response)?;
    }
    Ok(request)
}

pub(super) fn unknown(message: &str) -> Problem {
    let help = "log in at /login, or send the header Authorization: Bearer TOKEN with what is in `token_file`";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message, help)
}

pub(super) fn later(wait: std::time::Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let message = "too many wrong tokens came from this address";
    let problem =
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", message, format!("try again in {seconds} seconds"));
    ([(header::RETRY_AFTER, seconds.to_string())], problem).into_response()
}

/// Refuses what a page of another site makes a browser send: anything that changes, and anything from the API.
fn same_site(request: &Request, host: &str) -> Result<(), Problem> {
    let headers = request.headers();
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("unreadable"));
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let own = text(header::ORIGIN).is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
    });
    let fetched_by_us = match text(HeaderName::from_static("sec-fetch-site")) {
        None | Some("same-origin" | "none") => true,
        // Following a link to the page is fine; what other sites embed or send is not.
        Some(_) => !changes && text(HeaderName::from_static("sec-fetch-mode")) == Some("navigate"),
    };
    if own && fetched_by_us {
        return Ok(());
    }
    let help = "open the page itself, or use a client that is no browser";
    Err(Problem::new(StatusCode::FORBIDDEN, "origin", "the request comes from a page of another site", help))
}

/// The request with its body in memory: at most [`MAX_REQUEST_BYTES`], and within the time-out.
async fn with_whole_body(shared: &Shared, request: Request) -> Result<Request, Problem> {
    let too_large = || {
        let message = format!("the body is longer than {MAX_REQUEST_BYTES} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, "send less")
    };
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > MAX_REQUEST_BYTES as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(shared.timeout, to_bytes(body, MAX_REQUEST_BYTES)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let message = format!("the body did not arrive within {:?}", shared.timeout);
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow", message, "send it in one go"))
        }
    }
}

/// What the request says it was sent to, port included.
fn host(request: &Request) -> Option<String> {
    let from_uri = |uri: &Uri| uri.authority().map(|authority| authority.as_str().to_owned());
    let from_header = |headers: &HeaderMap| headers.get(header::HOST)?.to_str().ok().map(str::to_owned);
    from_uri(request.uri()).or_else(|| from_header(request.headers())).map(|host| host.to_ascii_lowercase())
}

fn host_name(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_end_matches('.')
}

fn is_address(host: &str) -> bool {
    let name = host_name(host);
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_addresses_and_ports() {
        for host in ["127.0.0.1", "127.0.0.1:8040", "[::1]", "[::1]:80", "192.168.1.7:8040"] {
            assert!(is_address(host), "{host}");
        }
        for host in ["localhost", "evil.example:8040", "127.0.0.1.evil.example", "", ":80", "[::1"] {
            assert!(!is_address(host), "{host}");
        }
        assert_eq!(host_name("door.local.:8040"), "door.local");
    }
}
