//! Serving connections: how many, how long, how large their headers may be, and an orderly end.
//!
//! Whoever keeps a connection without using it holds a place, so places are many but counted, and a head that does not
//! come in time ends its connection. When all places are taken a reserve is left, where heads must come within a
//! second and bodies within two, and each connection serves one request: `/healthz` and webhooks still get through
//! while somebody holds the rest.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a connection may take to end once it is asked to. Docker kills a program 10 s after it asked it to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);
/// How old a connection may get. A client that sends requests and never reads an answer would keep one for ever;
/// others open a new one.
const AGE_MAX: Duration = Duration::from_secs(300);
/// What a connection may buffer: its head has to fit in, and bodies are read in pieces of at most this.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// How long a head may take when only the reserve is left.
const RESERVE_HEADER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a body may take there. What commands and buttons come in takes a small part of this on any line.
const RESERVE_READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How many of the places are the reserve: one of so many, but not fewer than `RESERVE_MIN`.
const RESERVE_SHARE: usize = 16;
const RESERVE_MIN: usize = 8;

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a client may take to send its headers.
    pub header_timeout: Duration,
    /// How many connections there may be at once, the reserve not counted.
    pub connections_max: usize,
}

/// How long the body of this request may take, if less than others: it came in at a place of the reserve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hurry(pub(super) Duration);

/// Serves until told to stop, then lets requests under way finish.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(listener: TcpListener, routes: Router, limits: Limits, stop: CancellationToken) -> io::Result<()> {
    let places = Places::new(limits.connections_max);
    let usual = http(limits.header_timeout, true);
    let hurried = http(limits.header_timeout.min(RESERVE_HEADER_TIMEOUT), false);
    let open = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            // Nobody is let in once it is to end: another server may be at the same door.
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file handles and the like pass; a short rest keeps the loop from spinning.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let place = tokio::select! {
            place = places.take() => place,
            () = stop.cancelled() => break,
        };
        let Some((place, reserve)) = place else { break };
        let (http, hurry) = if reserve {
            (&hurried, Some(Hurry(RESERVE_READ_TIMEOUT)))
        } else {
            (&usual, None)
        };
        let connection = connection(http, (stream, peer, hurry), routes.clone(), stop.clone());
        open.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    open.close();
    open.wait().await;
    Ok(())
}

fn http(header_timeout: Duration, keep_alive: bool) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .keep_alive(keep_alive)
        .max_buf_size(BUFFER_BYTES_MAX);
    http
}

/// Serves one connection to its end: its own, that of the program, or that of its time.
fn connection(
    http: &http1::Builder,
    (stream, peer, hurry): (TcpStream, SocketAddr, Option<Hurry>),
    routes: Router,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    // Small answers are not held back for an acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        if let Some(hurry) = hurry {
            request.extensions_mut().insert(hurry);
        }
        routes.call(request)
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    async move {
        let mut connection: Pin<&mut _> = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stop.cancelled() => None,
            () = tokio::time::sleep(AGE_MAX) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                let Ok(ended) = tokio::time::timeout(DRAIN_TIMEOUT, connection).await else {
                    tracing::warn!("a connection did not end in time and was cut");
                    return;
                };
                ended
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Places for connections, and the reserve.
struct Places {
    usual: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

impl Places {
    fn new(max: usize) -> Self {
        let reserve = (max / RESERVE_SHARE).max(RESERVE_MIN);
        Self {
            usual: Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS))),
            reserve: Arc::new(Semaphore::new(reserve.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The next free place, and whether it is of the reserve. Waits while there is none; nobody else is let in then.
    async fn take(&self) -> Option<(OwnedSemaphorePermit, bool)> {
        if let Ok(place) = Arc::clone(&self.usual).try_acquire_owned() {
            return Some((place, false));
        }
        tokio::select! {
            biased;
            place = Arc::clone(&self.usual).acquire_owned() => place.ok().map(|place| (place, false)),
            place = Arc::clone(&self.reserve).acquire_owned() => place.ok().map(|place| (place, true)),
        }
    }
}
