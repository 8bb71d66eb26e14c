//! The triggers: listed, set, removed, and put back to what the configuration file says.
//!
//! What a program, a file or a pin is used for is for the configuration file to say: `command`, `like` and `gpio` stay
//! here as they are, so that nobody who reaches the page can run a program.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::watch::{Desk, Trigger, not_edited};

use super::problem::Problem;
use super::shared::Shared;

/// `GET /api/triggers`.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Problem> {
    let (triggers, edits) = shared.call(|desk| (desk.triggers(), desk.edits())).await?;
    Ok(Json(json!({ "triggers": triggers, "edits": edits })))
}

/// `PUT /api/triggers/{name}`: adds it, or replaces it as a whole. The body is a [`Trigger`]; its `name` may be left out.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Trigger>, Problem> {
    let trigger = read(&name, &body)?;
    shared.call(move |desk| set(desk, trigger)).await?.map(Json)
}

/// `DELETE /api/triggers/{name}`.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let removed = shared.call(move |desk| {
        let names: Vec<String> = desk.triggers().into_iter().map(|trigger| trigger.name).collect();
        if !names.contains(&name) {
            let shown: String = name.chars().take(60).collect();
            let message = format!("there is no trigger {shown:?}");
            return Err(Problem::not_found(message, format!("there are: {}", names.join(", "))));
        }
        desk.remove_trigger(&name)?;
        Ok(Json(json!({ "removed": name })))
    });
    removed.await?
}

/// `DELETE /api/triggers/{name}/edit`: it is as the configuration file says again.
pub(super) async fn forget(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let forgotten = shared.call(move |desk| {
        if !desk.edits().iter().any(|edit| edit.name == name) {
            let error = not_edited(&name);
            return Err(Problem::not_found(error.message().to_owned(), error.help()));
        }
        desk.forget_edit(&name)?;
        Ok(Json(json!({ "forgotten": name })))
    });
    forgotten.await?
}

fn read(name: &str, body: &[u8]) -> Result<Trigger, Problem> {
    const LIKE: &str = r#"write: {"when": "a person at the door", "threshold": 0.5, "hold": "1s"}"#;
    let mut fields: serde_json::Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| Problem::usage(format!("the trigger is no JSON object: {error}"), LIKE))?;
    let given = fields.entry("name").or_insert_with(|| name.into());
    if given != name {
        let help = "to rename a trigger put it under its new name, then delete the old one";
        return Err(Problem::usage(format!("the trigger's name is {given}, its address says {name:?}"), help));
    }
    let trigger: Trigger = serde_json::from_value(Value::Object(fields))
        .map_err(|error| Problem::usage(format!("trigger {name}: {error}"), LIKE))?;
    trigger.check()?;
    Ok(trigger)
}

fn set(desk: &dyn Desk, trigger: Trigger) -> Result<Trigger, Problem> {
    let before = desk.triggers().into_iter().find(|known| known.name == trigger.name);
    let (command, like, gpio) = before.map_or_else(Default::default, |known| (known.command, known.like, known.gpio));
    let set_here =
        [("command", trigger.command != command), ("like", trigger.like != like), ("gpio", trigger.gpio != gpio)];
    if let Some((key, _)) = set_here.iter().find(|(_, changed)| *changed) {
        let message = format!("trigger {}: `{key}` cannot be changed here", trigger.name);
        let help =
            "set it in the configuration file: what runs programs, reads files or switches pins is set there alone";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message, help));
    }
    desk.put_trigger(trigger.clone())?;
    Ok(trigger)
}
