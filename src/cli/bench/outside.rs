//! The outside world, as cheap as can be: just enough of GitHub and of the cache-rebuild service to be asked, with a
//! clock at the door. It runs in the benchmark's own process; what it costs is not counted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::payload::{AUTHOR, FIRST_PR, WRITTEN};
use super::wire::micros_of;
use crate::clock::Stopwatch;

/// What people said, in every comment that is read again.
pub(super) const SAID: &str = "/dcr status";

/// A reply that arrived: at which pull request, and when.
pub(super) type Reply = (u64, u64);

/// The stand-in. All times are microseconds since it was made.
pub(super) struct Outside {
    pub(super) address: SocketAddr,
    pub(super) watch: Stopwatch,
    calls: AtomicU64,
    /// Calls that it knows no answer to.
    strange: Mutex<Vec<String>>,
    replies: mpsc::UnboundedSender<Reply>,
    looks: Mutex<Looks>,
}

/// When jobs were looked at.
#[derive(Debug, Default, Clone)]
pub(super) struct Looks {
    /// For each job its last look; 0 for none yet.
    last: Vec<u64>,
    /// For each job its first.
    pub(super) first: Vec<u64>,
    /// The time between two looks at the same job.
    pub(super) gaps: Vec<u64>,
    pub(super) count: u64,
    /// Jobs that were looked at at least once.
    pub(super) jobs: usize,
}

impl Outside {
    /// Opens it, with the replies that will arrive.
    pub(super) async fn open() -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Reply>), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
        let (replies, arrive) = mpsc::unbounded_channel();
        let outside = Arc::new(Self {
            address: listener.local_addr().map_err(|e| e.to_string())?,
            watch: Stopwatch::start(),
            calls: AtomicU64::new(0),
            strange: Mutex::default(),
            replies,
            looks: Mutex::default(),
        });
        tokio::spawn(accept(outside.clone(), listener));
        Ok((outside, arrive))
    }

    pub(super) fn now(&self) -> u64 {
        micros_of(self.watch.elapsed())
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Forgets all looks, and expects so many jobs.
    pub(super) fn expect_jobs(&self, jobs: usize) {
        *self.looked() = Looks {
            last: vec![0; jobs],
            first: vec![0; jobs],
            ..Looks::default()
        };
    }

    /// Forgets how long the gaps were, but not when the last looks were.
    pub(super) fn begin_window(&self) -> u64 {
        let mut looks = self.looked();
        looks.gaps.clear();
        looks.count
    }

    pub(super) fn looks(&self) -> Looks {
        self.looked().clone()
    }

    /// How many looks there were, and at how many jobs.
    pub(super) fn look_count(&self) -> (u64, usize) {
        let looks = self.looked();
        (looks.count, looks.jobs)
    }

    /// Calls that it knew no answer to: a measurement with any is none.
    pub(super) fn strange(&self) -> Vec<String> {
        std::mem::take(&mut *self.strange.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn looked(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, job: usize) {
        let now = self.now();
        let mut looks = self.looked();
        let Some(before) = looks.last.get(job).copied() else {
            return;
        };
        looks.last[job] = now;
        looks.count += 1;
        if before == 0 {
            looks.first[job] = now;
            looks.jobs += 1;
        } else {
            looks.gaps.push(now - before);
        }
    }

    /// The answer to a call; 404 for what is not known here.
    fn answer(&self, method: &Method, path: &str) -> (StatusCode, Value) {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let known = match (method, parts.as_slice()) {
            (&Method::GET, ["api", "v1", "tenants", tenant, what]) => self.rebuild_service(tenant, what),
            (&Method::GET, ["user"]) => Some(json!({ "id": 7, "login": "stepherd-bot", "type": "User" })),
            // What repair looks at: nothing was missed.
            (&Method::GET, ["user", "repos"]) => Some(json!([])),
            (&Method::GET, ["repos", _, _, "issues", "comments", id]) => id.parse().ok().map(comment),
            (&Method::GET, ["repos", _, _, "issues", _, "comments"]) => Some(json!([])),
            (&Method::POST, ["repos", _, _, "issues", pr, "comments"]) => pr.parse().ok().map(|pr| {
                // Whoever no longer waits for replies has measured enough.
                let _ = self.replies.send((pr, self.now()));
                json!({ "id": pr, "user": { "id": 7, "login": "stepherd-bot", "type": "User" } })
            }),
            _ => None,
        };
        match known {
            Some(body) if method == Method::POST => (StatusCode::CREATED, body),
            Some(body) => (StatusCode::OK, body),
            None => {
                let mut strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
                strange.push(format!("{method} {path}"));
                (StatusCode::NOT_FOUND, json!({ "message": "Not Found" }))
            }
        }
    }

    /// A rebuild at 42 % that never moves, with farmers enough.
    fn rebuild_service(&self, tenant: &str, what: &str) -> Option<Value> {
        match what {
            "processStatus" => {
                let number: u64 = tenant.trim_start_matches('t').parse().ok()?;
                self.look(usize::try_from(number.checked_sub(FIRST_PR)?).ok()?);
                Some(json!({
                    "hasStarted": true, "isRunning": true, "hasCompleted": false, "hasFailed": false,
                    "progressPercentage": 42, "failureReason": null, "restartCount": 0
                }))
            }
            "farmers" => Some(json!({ "ready": 3 })),
            _ => None,
        }
    }
}

/// The comment as it still stands.
fn comment(id: u64) -> Value {
    json!({
        "id": id, "body": SAID, "created_at": WRITTEN, "updated_at": WRITTEN,
        "user": { "id": AUTHOR, "login": "ada", "type": "User" }
    })
}

async fn accept(outside: Arc<Outside>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let outside = outside.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| serve(&outside, request));
            // Connections end when the measured process is killed; that is no fault.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn serve(outside: &Outside, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    outside.calls.fetch_add(1, Ordering::Relaxed);
    let (status, body) = outside.answer(request.method(), request.uri().path());
    // Read to its end, so that the connection can be used again.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
