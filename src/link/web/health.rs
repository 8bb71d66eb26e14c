//! `GET /healthz`: whether capture and inference make progress.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::camera::CameraState;
use crate::watch::Status;

use super::guard::Known;
use super::problem::Problem;
use super::shared::Shared;

/// `200` and `ok`, or `503` and the reason, which strangers are not told.
pub(super) async fn healthz(
    State(shared): State<Arc<Shared>>,
    Extension(Known(known)): Extension<Known>,
) -> Result<Response, Problem> {
    let status = shared.call(|desk| desk.status()).await?;
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok(match trouble(&status) {
        None => (text, "ok\n".to_owned()).into_response(),
        Some(_) if !known => (StatusCode::SERVICE_UNAVAILABLE, text, "not ok\n".to_owned()).into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, text, format!("{reason}\n")).into_response(),
    })
}

/// Why there is no progress: what the watch says of itself, else a camera that gives no frames.
pub(super) fn trouble(status: &Status) -> Option<String> {
    let failing = status.cameras.iter().find(|camera| camera.state == CameraState::Failing);
    status.stalled.clone().or_else(|| {
        let camera = failing?;
        Some(format!("camera {}: {}", camera.name, camera.error.as_deref().unwrap_or("no frames")))
    })
}
