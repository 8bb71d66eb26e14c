//! One thread with its own runtime that takes connections, bounded in number and in time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use crate::said::Said;

use super::guard::Peer;

/// Longest head of a request, in bytes and in lines.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long requests under way may take once the link ends.
const GRACE: Duration = Duration::from_millis(700);
const AGAIN: Duration = Duration::from_secs(5);

/// Takes connections until `ending` turns true, then gives those under way a little time.
pub(super) struct Server {
    pub router: Router,
    pub connections: usize,
    pub timeout: Duration,
    pub ending: watch::Receiver<bool>,
    /// Told the address, or why there is none.
    pub listening: watch::Sender<Result<SocketAddr, String>>,
}

impl Server {
    /// Serves on `listener`, or on `address` as soon as the machine has it.
    pub(super) async fn run(mut self, listener: Option<std::net::TcpListener>, address: SocketAddr) {
        let bound = match listener {
            Some(listener) => TcpListener::from_std(listener),
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        let mut said = Said::default();
        let mut bound = bound;
        let listener = loop {
            match bound {
                Ok(listener) => break listener,
                Err(error) => {
                    let text = format!("web: {address} cannot be listened on yet: {error}");
                    said.trouble(&text);
                    let _ = self.listening.send_replace(Err(text));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => bound = TcpListener::bind(address).await,
                _ = self.ending.wait_for(|ending| *ending) => return,
            }
        };
        let address = listener.local_addr().unwrap_or(address);
        log::info!("web: the page is at http://{address}");
        let _ = self.listening.send_replace(Ok(address));
        self.accept(&listener).await;
    }

    async fn accept(mut self, listener: &TcpListener) {
        let places = Arc::new(Semaphore::new(self.connections));
        let graceful = GracefulShutdown::new();
        let mut said = Said::default();
        loop {
            let accepted = tokio::select! {
                accepted = accept_one(listener, &places) => accepted,
                _ = self.ending.wait_for(|ending| *ending) => break,
            };
            let (stream, from, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: others must be closed first.
                    said.trouble(&format!("web: a connection cannot be taken: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            said.over("web: connections are taken again");
            let connection = graceful.watch(self.connection(stream, from));
            tokio::spawn(async move {
                // What ends a connection early is the client's doing: it hung up, or was too slow.
                let _ = connection.await;
                drop(place);
            });
        }
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    }

    fn connection(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + use<> {
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.timeout));
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(from.ip()));
            let answer = router.call(request);
            async move { answer.await as Result<hyper::Response<Body>, Infallible> }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeout)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(Box::pin(stream)), service)
    }
}

/// Waits for a place, then for somebody to take it. Who finds no place waits in the kernel's queue.
async fn accept_one(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, from) = listener.accept().await?;
    Ok((stream, from, place))
}
