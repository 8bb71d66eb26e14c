//! Questions, the status, the switch, and the live picture.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::watch::{Reply, Request, Status};

use super::problem::Problem;
use super::shared::Shared;

/// `POST /api/ask`: a [`Request`] as JSON, answered by a [`Reply`]. An `id` comes back as it was sent.
pub(super) async fn ask(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Response, Problem> {
    let (request, id) = Request::from_json(&body).map_err(|(error, _)| error)?;
    let patience = shared.patience;
    let reply: Reply = shared.question(move |desk| desk.ask(&request, patience)).await?;
    let mut reply = serde_json::to_value(reply).map_err(|error| {
        let message = format!("the answer cannot be JSON: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message, "please report it")
    })?;
    if let (Value::Object(fields), Some(id)) = (&mut reply, id) {
        fields.insert("id".to_owned(), id);
    }
    Ok(Json(reply).into_response())
}

/// `GET /api/status`.
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Json<Status>, Problem> {
    shared.call(|desk| desk.status()).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arm {
    armed: bool,
}

/// `POST /api/arm` with `{"armed": true}`.
pub(super) async fn arm(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Json<Value>, Problem> {
    let Arm { armed } = serde_json::from_slice(&body)
        .map_err(|error| Problem::usage(format!("the body does not fit: {error}"), r#"write: {"armed": true}"#))?;
    shared.call(move |desk| desk.arm(armed)).await?;
    Ok(Json(json!({ "armed": armed })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    camera: Option<String>,
}

/// `GET /api/frame.jpg?camera=NAME`: the newest frame. `304` where the client has it already.
pub(super) async fn frame(
    State(shared): State<Arc<Shared>>,
    which: Result<Query<Which>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(Which { camera }) = which.map_err(|rejection| {
        Problem::usage(rejection.body_text(), "write: /api/frame.jpg?camera=NAME, or no camera")
    })?;
    let camera = camera.filter(|name| !name.is_empty());
    let pictures = shared.pictures.clone();
    let answer = shared.call(move |desk| {
        let known = || desk.status().cameras.into_iter().map(|camera| camera.name).collect::<Vec<_>>();
        if let Some(name) = &camera
            && let cameras = known()
            && !cameras.contains(name)
        {
            let shown: String = name.chars().take(60).collect();
            let help = format!("one of: {}", cameras.join(", "));
            return Err(Problem::not_found(format!("there is no camera {shown:?}"), help));
        }
        let frame = desk.newest(camera.as_deref())?;
        let tag = format!("\"{}-{}-{}\"", frame.camera, frame.sequence, frame.unix_ms);
        let seen = headers.get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes());
        let about = [
            (header::ETAG.as_str(), tag),
            (header::CACHE_CONTROL.as_str(), "private, no-cache".to_owned()),
            ("x-frame-sequence", frame.sequence.to_string()),
            ("x-frame-ms", frame.unix_ms.to_string()),
        ];
        if seen {
            return Ok((StatusCode::NOT_MODIFIED, about).into_response());
        }
        let jpeg = pictures.of(&frame)?;
        Ok((about, [(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
    });
    answer.await?
}
