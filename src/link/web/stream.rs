//! `GET /api/stream`: events as they happen and the status every second, as Server-Sent Events.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, Sse};
use crossbeam_channel::{Receiver, never, select, tick};
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};

use super::problem::Problem;
use super::shared::Shared;
use crate::watch::Report;

/// Tellings that a page may lag behind; after more it is told `missed` once.
pub(super) const BACKLOG: usize = 64;
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// One message to every page that listens.
pub(super) struct Telling {
    kind: &'static str,
    json: String,
}

impl Telling {
    fn new(kind: &'static str, what: &impl Serialize) -> Self {
        let json = serde_json::to_string(what).unwrap_or_else(|error| {
            log::error!("web: a {kind} cannot be JSON: {error}");
            "null".to_owned()
        });
        Self { kind, json }
    }

    fn message(&self) -> Message {
        Message::default().event(self.kind).data(&self.json)
    }
}

/// Passes `reports` of the desk and its status on until `ending` says so. Where nobody listens nothing is put together.
pub(super) fn tell(shared: &Shared, mut reports: Receiver<Arc<Report>>, ending: &Receiver<()>) {
    let seconds = tick(STATUS_EVERY);
    let send = |kind, what: &dyn Fn() -> Telling| {
        if shared.tellings.receiver_count() > 0 && shared.tellings.send(Arc::new(what())).is_ok() && kind == "event" {
            shared.counts.told.fetch_add(1, Relaxed);
        }
    };
    loop {
        select! {
            recv(reports) -> report => match report {
                Ok(report) => send("event", &|| Telling::new("event", &report.event)),
                Err(_) => reports = never(),
            },
            recv(seconds) -> _ => send("status", &|| Telling::new("status", &shared.desk.status())),
            recv(ending) -> _ => return,
        }
    }
}

/// Answers with the status at once, and from then on with what happens.
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Problem> {
    let Ok(place) = shared.streams.clone().try_acquire_owned() else { return Err(Problem::busy("live pages")) };
    let tellings = shared.tellings.subscribe();
    let status = shared.call(|desk| Telling::new("status", &desk.status())).await?;
    let first = Some(Arc::new(status));
    let listener = Listener { first, tellings, ending: shared.ending.clone(), _place: place };
    Ok(Sse::new(unfold(listener, |mut listener| async {
        let message = listener.next().await?;
        Some((Ok(message), listener))
    })))
}

struct Listener {
    first: Option<Arc<Telling>>,
    tellings: broadcast::Receiver<Arc<Telling>>,
    ending: tokio::sync::watch::Receiver<bool>,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Listener {
    async fn next(&mut self) -> Option<Message> {
        if let Some(first) = self.first.take() {
            return Some(first.message());
        }
        tokio::select! {
            told = self.tellings.recv() => match told {
                Ok(telling) => Some(telling.message()),
                Err(RecvError::Lagged(missed)) => Some(Message::default().event("missed").data(missed.to_string())),
                Err(RecvError::Closed) => None,
            },
            _ = self.ending.wait_for(|ending| *ending) => None,
        }
    }
}
