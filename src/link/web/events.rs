//! Past events and their snapshots.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::watch::{Desk, EventId, FindEvents, FoundEvent, FoundEvents};

use super::problem::Problem;
use super::shared::Shared;

const PAGE: usize = 20;
const MOST: usize = 200;

/// `GET /api/events?since&trigger&camera&words&like&before&top`: the newest first, or the best where words or an event to
/// be like are given.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    find: Result<Query<FindEvents>, QueryRejection>,
) -> Result<Json<FoundEvents>, Problem> {
    const LIKE: &str = "write: /api/events?since=2d&trigger=NAME&camera=NAME&words=...&like=ID&before=ID&top=20";
    let Query(mut find) = find.map_err(|rejection| Problem::usage(rejection.body_text(), LIKE))?;
    for text in [&mut find.words, &mut find.since, &mut find.trigger, &mut find.camera] {
        *text = text.take().filter(|text| !text.trim().is_empty());
    }
    let top = find.top.unwrap_or(PAGE);
    if !(1..=MOST).contains(&top) {
        return Err(Problem::usage(format!("`top` is {top}"), format!("ask for 1 to {MOST} events at a time")));
    }
    find.top = Some(top);
    let by_embedding = find.words.is_some() || find.like.is_some();
    let events = if by_embedding {
        shared.question(move |desk| desk.find(&find)).await?
    } else {
        shared.call(move |desk| desk.find(&find)).await??
    };
    Ok(Json(FoundEvents { events }))
}

/// `GET /api/events/{id}`: one event as it stood last.
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<FoundEvent>, Problem> {
    let id = read_id(&id)?;
    shared.call(move |desk| known(desk, id)).await?.map(Json)
}

/// `GET /api/events/{id}/snapshot.jpg`.
pub(super) async fn snapshot(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = read_id(&id)?;
    let jpeg = shared.call(move |desk| desk.snapshot(id)).await??;
    let Some(jpeg) = jpeg else {
        let help = "it was not kept, or is too old; /api/events says of each event whether it has one";
        return Err(Problem::not_found(format!("event {id} has no snapshot"), help));
    };
    // A snapshot never changes, and an id is never used again.
    let about = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=604800, immutable")];
    Ok((about, jpeg).into_response())
}

fn known(desk: &dyn Desk, id: EventId) -> Result<FoundEvent, Problem> {
    let newest_up_to =
        FindEvents { before: Some(EventId(id.0.saturating_add(1))), top: Some(1), ..FindEvents::default() };
    let found = desk.find(&newest_up_to)?.into_iter().find(|found| found.event.id == id);
    found.ok_or_else(|| no_event(&id.to_string()))
}

fn read_id(text: &str) -> Result<EventId, Problem> {
    text.parse().map(EventId).map_err(|_| no_event(text))
}

fn no_event(id: &str) -> Problem {
    let shown: String = id.chars().take(40).collect();
    Problem::not_found(format!("there is no event {shown:?}"), "/api/events lists those that are kept")
}
