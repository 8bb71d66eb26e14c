//! Whatever goes wrong, as an answer: `{"error": {"code", "message", "help"}}` with a status that fits.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::{Code, Error};

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    help: String,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), help: help.into() }
    }

    pub(super) fn not_found(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message, help)
    }

    pub(super) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "usage", message, help)
    }

    pub(super) fn busy(what: &str) -> Self {
        let message = format!("too many {what} at a time");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message, "ask again in a second")
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.code() {
            Code::Usage | Code::Input | Code::Text | Code::Config => StatusCode::BAD_REQUEST,
            Code::Busy => StatusCode::TOO_MANY_REQUESTS,
            Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Code::Picture | Code::Camera | Code::Memory => StatusCode::SERVICE_UNAVAILABLE,
            Code::Stopped => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.code().as_str(), error.message(), error.help())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let error = json!({ "error": { "code": self.code, "message": self.message, "help": self.help } });
        let mut response = (self.status, Json(error)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => {
                headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lookout\""));
            }
            _ => {}
        }
        response
    }
}
