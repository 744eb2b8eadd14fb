//! What every stand-in shares: it serves on loopback, records each call, and misbehaves when told to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// The largest body a stand-in reads: a little above the largest that any of the vendors takes.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One call that reached a stand-in.
#[derive(Debug, Clone)]
pub struct Call {
    /// `POST`.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query, empty if none.
    pub query: String,
    /// The body as text, lossy.
    pub body: String,
    /// The status answered; 0 if the connection was cut.
    pub status: u16,
}

/// How a stand-in misbehaves, for the next calls that match.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Method that matches; empty matches all.
    pub method: String,
    /// Text that the path must contain; empty matches all.
    pub path: String,
    /// How many calls are hit.
    pub times: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What happens to a call that a fault hits.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// It is answered properly, but later.
    Delay(Duration),
    /// It has no effect and is answered with this.
    Answer {
        /// Status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
    /// It has no effect and the connection is cut.
    Cut,
    /// It takes effect, and then the connection is cut before the answer is through.
    EffectThenCut,
    /// It takes effect, and is answered with this, as by a gateway that lost patience. The body is empty.
    EffectThenStatus(u16),
    /// It takes effect, and the answer's body is empty.
    EffectThenEmpty,
    /// It takes effect, and the answer's body stops in the middle, with a length that says so is all there is.
    EffectThenTruncated,
}

impl Fault {
    /// 429 with `Retry-After`, as GitHub, Jira and Argo CD's gateways send it.
    pub fn too_many(method: &str, path: &str, times: u32, retry_after_s: u64) -> Self {
        Self::answer(
            method,
            path,
            times,
            429,
            vec![("retry-after".into(), retry_after_s.to_string())],
            r#"{"message":"Too Many Requests"}"#,
        )
    }

    /// GitHub's secondary limit: 403, with or without `Retry-After`.
    pub fn secondary_limit(method: &str, path: &str, times: u32, retry_after_s: Option<u64>) -> Self {
        let headers = retry_after_s
            .map(|s| ("retry-after".to_owned(), s.to_string()))
            .into_iter()
            .collect();
        let body = r#"{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"}"#;
        Self::answer(method, path, times, 403, headers, body)
    }

    /// Any answer without effect.
    pub fn answer(
        method: &str,
        path: &str,
        times: u32,
        status: u16,
        headers: Vec<(String, String)>,
        body: &str,
    ) -> Self {
        Self::new(
            method,
            path,
            times,
            FaultKind::Answer {
                status,
                headers,
                body: body.to_owned(),
            },
        )
    }

    /// Any fault.
    pub fn new(method: &str, path: &str, times: u32, kind: FaultKind) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            times,
            kind,
        }
    }
}

/// Stands at both sides of every call that reaches a stand-in. Where it takes its time, the caller waits.
#[async_trait]
pub trait Attendant: std::fmt::Debug + Send + Sync {
    /// Before the call takes effect. What is returned happens to it, unless a fault hits it anyway.
    async fn arrives(&self, call: &Call) -> Option<FaultKind>;
    /// After it took effect, before anybody hears of it.
    async fn leaves(&self, call: &Call);
}

/// What a stand-in has recorded and how it misbehaves.
#[derive(Debug, Default)]
pub struct Stage {
    calls: Mutex<Vec<Call>>,
    faults: Mutex<Vec<Fault>>,
    attendant: Mutex<Option<Arc<dyn Attendant>>>,
}

impl Stage {
    /// Misbehave. Faults are tried in the order in which they were added.
    pub fn misbehave(&self, fault: Fault) {
        lock(&self.faults).push(fault);
    }

    /// Behave again.
    pub fn behave(&self) {
        lock(&self.faults).clear();
    }

    /// From now on calls pass by this attendant.
    pub fn attend(&self, attendant: Arc<dyn Attendant>) {
        *lock(&self.attendant) = Some(attendant);
    }

    fn attendant(&self) -> Option<Arc<dyn Attendant>> {
        lock(&self.attendant).clone()
    }

    /// The faults that have not hit anything yet, or not often enough.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.faults).clone()
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// The calls with this method whose path contains this.
    pub fn calls_to(&self, method: &str, path: &str) -> Vec<Call> {
        lock(&self.calls)
            .iter()
            .filter(|c| c.method == method && c.path.contains(path))
            .cloned()
            .collect()
    }

    /// Forget the calls so far.
    pub fn forget_calls(&self) {
        lock(&self.calls).clear();
    }

    fn fault_for(&self, method: &str, path: &str) -> Option<FaultKind> {
        let mut faults = lock(&self.faults);
        let at = faults
            .iter()
            .position(|f| (f.method.is_empty() || f.method == method) && path.contains(&f.path))?;
        let kind = faults[at].kind.clone();
        faults[at].times = faults[at].times.saturating_sub(1);
        if faults[at].times == 0 {
            faults.remove(at);
        }
        Some(kind)
    }
}

/// A stand-in that is being served; dropping it ends it.
#[derive(Debug)]
pub struct Served {
    /// `http://127.0.0.1:port`, without a slash at the end.
    pub url: String,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a stand-in's routes on a loopback port (0 picks a free one), with recording and faults in front.
///
/// # Errors
/// When the port cannot be had.
pub async fn serve(routes: Router, stage: Arc<Stage>, port: u16) -> std::io::Result<Served> {
    let app = routes.layer(middleware::from_fn_with_state(stage, stand_in_front));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let task = tokio::spawn(async move { axum::serve(listener, app).await }).abort_handle();
    Ok(Served { url, task })
}

async fn stand_in_front(State(stage): State<Arc<Stage>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let mut call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
        status: 0,
    };
    let attendant = stage.attendant();
    let told = match &attendant {
        Some(attendant) => attendant.arrives(&call).await,
        None => None,
    };
    let fault = stage.fault_for(&call.method, &call.path).or(told);
    let request = Request::from_parts(parts, Body::from(body));
    let response = match fault {
        None => next.run(request).await,
        Some(FaultKind::Delay(wait)) => {
            tokio::time::sleep(wait).await;
            next.run(request).await
        }
        Some(FaultKind::Answer { status, headers, body }) => answer(status, headers, body),
        Some(FaultKind::Cut) => cut(),
        Some(FaultKind::EffectThenCut) => {
            next.run(request).await;
            cut()
        }
        Some(FaultKind::EffectThenStatus(status)) => {
            next.run(request).await;
            answer(status, Vec::new(), String::new())
        }
        Some(FaultKind::EffectThenEmpty) => shorten(next.run(request).await, |_| 0).await,
        Some(FaultKind::EffectThenTruncated) => shorten(next.run(request).await, |len| len / 2).await,
    };
    if response.extensions().get::<WasCut>().is_none() {
        call.status = response.status().as_u16();
    }
    if let Some(attendant) = &attendant {
        attendant.leaves(&call).await;
    }
    lock(&stage.calls).push(call);
    response
}

#[derive(Clone)]
struct WasCut;

/// An answer that promises a body and breaks off before its first byte.
fn cut() -> Response {
    let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other("the stand-in cut the connection")) });
    let mut response = Response::new(Body::from_stream(broken));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from_static("1000"));
    response.extensions_mut().insert(WasCut);
    response
}

fn answer(status: u16, headers: Vec<(String, String)>, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn shorten(response: Response, keep: fn(usize) -> usize) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body.slice(..keep(body.len()))))
}

/// A panic in another test thread must not hide what was recorded.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
