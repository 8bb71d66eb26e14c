//! The login form: a token once, then a signed cookie that scripts cannot read.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, Form, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::door::{COOKIE, Knock, LOGIN};
use super::guard::{Known, Peer, later};
use super::page;
use super::problem::Problem;
use super::shared::Shared;

#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
}

/// `GET /login`: the form; the page itself for whom is in already.
pub(super) async fn form(Extension(Known(known)): Extension<Known>, headers: HeaderMap) -> Response {
    if known { Redirect::to("/").into_response() } else { page::login(&headers, false) }
}

/// `POST /login` with the field `token`: to the page with a cookie, or the form again.
pub(super) async fn login(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(from)): Extension<Peer>,
    headers: HeaderMap,
    form: Result<Form<Login>, FormRejection>,
) -> Result<Response, Problem> {
    let Form(Login { token }) =
        form.map_err(|rejection| Problem::usage(rejection.body_text(), "send the form's field `token`"))?;
    match shared.door.login(token.trim().as_bytes(), from) {
        Knock::Welcome => {}
        Knock::Later(wait) => return Ok(later(wait)),
        _ => return Ok(page::login(&headers, true)),
    }
    let cookie = shared.door.cookie().map(|value| set_cookie(&value, LOGIN.as_secs()));
    Ok(match cookie {
        Some(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        None => Redirect::to("/").into_response(),
    })
}

/// `POST /logout`: takes the cookie back.
pub(super) async fn logout() -> Response {
    ([(header::SET_COOKIE, set_cookie("", 0))], Redirect::to("/login")).into_response()
}

fn set_cookie(value: &str, seconds: u64) -> String {
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict")
}
