//! A page to look at and an API to build on, on loopback unless a token guards it.
//!
//! The page is part of the program and asks for nothing from elsewhere. It runs in one thread; what waits for the engine
//! waits in a bounded number of further ones. A client may be slow, rude or many: a head has 16 KiB, a body 64 KiB, both
//! have [`WebConfig::timeout`], and there are [`WebConfig::connections`] at a time.
//!
//! Plain HTTP: put a proxy with TLS before it where the way there is not trusted.
#![doc = include_str!("page/api.md")]

mod api;
mod config;
mod door;
mod events;
mod guard;
mod health;
mod login;
mod metrics;
mod page;
mod pictures;
mod problem;
mod server;
mod shared;
mod stream;
mod triggers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};
use crossbeam_channel::{Sender, bounded};
use tokio::sync::{broadcast, watch};

use crate::watch::{Desk, LinkStatus};
use crate::{Code, Error, Result};

pub use config::WebConfig;

use super::Link;
use problem::Problem;
use server::Server;
use shared::{Shared, THREADS};

/// Starts serving. Errors where the configuration makes no sense or the address is taken; one that the machine does not
/// have yet is waited for.
pub fn start(config: &WebConfig, desk: Arc<dyn Desk>) -> Result<Box<dyn Link>> {
    config.check()?;
    let address = config.address()?;
    let listener = bind(address)?;
    let (tellings, _) = broadcast::channel(stream::BACKLOG);
    let (ending, ends) = watch::channel(false);
    let (listening, listens) = watch::channel(Err("not listening yet".to_owned()));
    let shared = Arc::new(Shared::new(config, desk, tellings, ends.clone())?);
    let server = Server {
        router: router(shared.clone()),
        connections: config.connections,
        timeout: config.timeout,
        ending: ends,
        listening,
    };
    if let Some(listener) = &listener {
        let address = listener.local_addr().unwrap_or(address);
        let _ = server.listening.send_replace(Ok(address));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .thread_name("web-call")
        .build()
        .map_err(|error| no_thread(&error))?;
    let serve = move || {
        runtime.block_on(server.run(listener, address));
        // A question that still waits must not hold up the end.
        runtime.shutdown_background();
    };
    let (teller_ends, teller_ending) = bounded(0);
    let telling = shared.clone();
    // Before anybody can ask: a page is told all that happens after its first status.
    let reports = shared.desk.listen();
    let threads =
        vec![spawn("web", serve)?, spawn("web-tell", move || stream::tell(&telling, reports, &teller_ending))?];
    Ok(Box::new(Web { shared, ending, listens, teller_ends: Some(teller_ends), threads }))
}

struct Web {
    shared: Arc<Shared>,
    ending: watch::Sender<bool>,
    listens: watch::Receiver<Result<SocketAddr, String>>,
    /// Dropped, it ends the thread that tells.
    teller_ends: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Link for Web {
    fn status(&self) -> LinkStatus {
        let (up, note) = match &*self.listens.borrow() {
            Ok(address) => {
                let runs = !self.threads.is_empty() && !self.threads.iter().any(JoinHandle::is_finished);
                (runs, format!("http://{address}"))
            }
            Err(trouble) => (false, trouble.clone()),
        };
        LinkStatus {
            name: "web".to_owned(),
            up,
            note: Some(note),
            sent: self.shared.counts.told.load(Relaxed),
            received: self.shared.counts.questions.load(Relaxed),
        }
    }

    fn stop(&mut self, until: Instant) {
        self.ending.send_replace(true);
        self.teller_ends = None;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        for thread in self.threads.drain(..).filter(JoinHandle::is_finished) {
            if thread.join().is_err() {
                log::error!("web: a thread ended in a panic");
            }
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop(Instant::now() + Duration::from_secs(1));
    }
}

fn router(shared: Arc<Shared>) -> Router {
    page::routes()
        .route("/login", get(login::form).post(login::login))
        .route("/logout", post(login::logout))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(metrics::metrics))
        .route("/api/ask", post(api::ask))
        .route("/api/status", get(api::status))
        .route("/api/arm", post(api::arm))
        .route("/api/frame.jpg", get(api::frame))
        .route("/api/events", get(events::list))
        .route("/api/events/{id}", get(events::one))
        .route("/api/events/{id}/snapshot.jpg", get(events::snapshot))
        .route("/api/triggers", get(triggers::list))
        .route("/api/triggers/{name}", put(triggers::put).delete(triggers::delete))
        .route("/api/triggers/{name}/edit", delete(triggers::forget))
        .route("/api/stream", get(stream::stream))
        .fallback(async || Problem::not_found("there is nothing at this address", "/api lists what there is"))
        .method_not_allowed_fallback(async || {
            let message = "this address does not take this method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", message, "/api lists what there is")
        })
        .layer(from_fn_with_state(shared.clone(), guard::guard))
        .with_state(shared)
}

/// `None` where the machine does not have the address yet: networks may come up later than the daemon.
fn bind(address: SocketAddr) -> Result<Option<TcpListener>> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(None),
        Err(error) => {
            let help = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "another program has this port, perhaps another lookout: choose another one"
                }
                io::ErrorKind::PermissionDenied => "ports below 1024 are for root: choose a higher one, like 8040",
                _ => "choose another address under [web] in the configuration",
            };
            Err(Error::new(Code::Link, format!("web: {address} cannot be listened on: {error}"), help))
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| no_thread(&error))
}

fn no_thread(error: &io::Error) -> Error {
    Error::new(Code::Link, format!("web: no thread can be started: {error}"), "the machine is out of memory or threads")
}
