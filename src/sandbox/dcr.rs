//! The stand-in for the cache-rebuild service: one rebuild per tenant, seven fields of status, farmers that come
//! and go. Nothing happens in it by itself: the caller moves each tenant on.
//!
//! The service is not idempotent: a `requestId` is kept for look-ups and never compared with an earlier one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Now;
use super::stage::{Served, Stage, serve};
use super::wire::{Handled, Reply, credential, is_json, lock};

const REQUEST_ID_CHARS_MAX: usize = 200;

/// How `progressPercentage` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProgressStyle {
    /// `20`
    #[default]
    Integer,
    /// `20.0`
    Float,
    /// `"20"`
    Text,
    /// `"20.00%"`
    PercentText,
    /// `null`, whatever the progress is.
    Null,
}

/// How the service is set up.
#[derive(Clone)]
pub struct DcrOptions {
    /// The bearer token that opens it. Made up, hence plain text.
    pub token: String,
    /// The time.
    pub now: Now,
    /// How progress is written.
    pub style: ProgressStyle,
    /// Progress goes by the name `rebuildPercentage`.
    pub rebuild_percentage: bool,
    /// A POST after a failure also counts up `restartCount`, as an automatic restart does.
    pub resume_counts_as_restart: bool,
}

impl DcrOptions {
    /// The plain service.
    pub fn new(token: &str, now: Now) -> Self {
        Self {
            token: token.to_owned(),
            now,
            style: ProgressStyle::Integer,
            rebuild_percentage: false,
            resume_counts_as_restart: false,
        }
    }
}

/// The four flags of a tenant's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// `hasStarted`
    pub has_started: bool,
    /// `isRunning`
    pub is_running: bool,
    /// `hasCompleted`
    pub has_completed: bool,
    /// `hasFailed`
    pub has_failed: bool,
}

impl Flags {
    /// From four letters, `T` or anything else: `TTFF`.
    pub fn of(letters: &str) -> Self {
        let mut said = letters.chars().map(|c| c == 'T').chain(std::iter::repeat(false));
        let mut next = || said.next().unwrap_or_default();
        Self {
            has_started: next(),
            is_running: next(),
            has_completed: next(),
            has_failed: next(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Accepted, too few farmers.
    Held,
    Starting,
    Running,
    /// It ran, then farmers went away.
    Aborted,
    Failed,
    Completed,
}

#[derive(Debug)]
struct Tenant {
    phase: Phase,
    forced: Option<Flags>,
    progress: f64,
    failure: Option<String>,
    restarts: u32,
    request: Option<String>,
    started_at: Option<Timestamp>,
    ready: u32,
    desired: u32,
    minimum: u32,
    starts: u32,
}

impl Tenant {
    fn flags(&self) -> Flags {
        self.forced.unwrap_or_else(|| {
            Flags::of(match self.phase {
                Phase::Idle | Phase::Held => "FFFF",
                Phase::Starting | Phase::Aborted => "TFFF",
                Phase::Running => "TTFF",
                Phase::Failed => "TFFT",
                Phase::Completed => "TFTF",
            })
        })
    }

    fn is_under_way(&self) -> bool {
        matches!(
            self.phase,
            Phase::Held | Phase::Starting | Phase::Running | Phase::Aborted
        )
    }

    fn enough_farmers(&self) -> bool {
        self.ready >= self.minimum
    }

    fn begin(&mut self, request: Option<String>, now: Timestamp, resume_counts: bool) {
        if self.phase == Phase::Failed {
            self.restarts += u32::from(resume_counts);
        } else {
            self.progress = 0.0;
            self.restarts = 0;
        }
        self.failure = None;
        self.request = request;
        self.started_at = Some(now);
        self.starts += 1;
        self.phase = if self.enough_farmers() {
            Phase::Starting
        } else {
            Phase::Held
        };
    }
}

struct Inner {
    options: Mutex<DcrOptions>,
    tenants: Mutex<BTreeMap<String, Tenant>>,
}

/// The cache-rebuild service, being served.
pub struct Dcr {
    /// `http://127.0.0.1:port`
    pub url: String,
    /// What was asked of it, and how it misbehaves.
    pub stage: Arc<Stage>,
    inner: Arc<Inner>,
    _served: Served,
}

impl Dcr {
    /// Serves it on this port; 0 picks a free one.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn start(options: DcrOptions, port: u16) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            options: Mutex::new(options),
            tenants: Mutex::default(),
        });
        let stage = Arc::new(Stage::default());
        let served = serve(routes(Arc::clone(&inner)), Arc::clone(&stage), port).await?;
        Ok(Self {
            url: served.url.clone(),
            stage,
            inner,
            _served: served,
        })
    }

    /// A tenant whose rebuild needs this many farmers, with all of them ready.
    pub fn add_tenant(&self, tenant: &str, minimum: u32) {
        let new = Tenant {
            phase: Phase::Idle,
            forced: None,
            progress: 0.0,
            failure: None,
            restarts: 0,
            request: None,
            started_at: None,
            ready: minimum,
            desired: minimum,
            minimum,
            starts: 0,
        };
        lock(&self.inner.tenants).insert(tenant.to_owned(), new);
    }

    /// How progress is written from now on.
    pub fn set_style(&self, style: ProgressStyle, rebuild_percentage: bool) {
        let mut options = lock(&self.inner.options);
        options.style = style;
        options.rebuild_percentage = rebuild_percentage;
    }

    /// How many farmers the tenant wants. The minimum stays.
    pub fn set_desired_farmers(&self, tenant: &str, desired: u32) {
        self.change(tenant, |t| t.desired = desired);
    }

    /// So many farmers are ready. Too few abort a running rebuild until they are back; enough release a held one.
    pub fn set_farmers(&self, tenant: &str, ready: u32) {
        self.change(tenant, |t| {
            t.ready = ready;
            t.desired = t.desired.max(ready);
            t.phase = match (t.phase, t.enough_farmers()) {
                (Phase::Running, false) => Phase::Aborted,
                (Phase::Aborted, true) => Phase::Running,
                (Phase::Held, true) => Phase::Starting,
                (phase, _) => phase,
            };
        });
    }

    /// Somebody else starts the rebuild, without a request id.
    pub fn start_by_hand(&self, tenant: &str) {
        let now = self.now();
        self.change(tenant, |t| t.begin(None, now, false));
    }

    /// The rebuild gets to this percentage. With too few farmers it gets no further than started.
    pub fn advance(&self, tenant: &str, percent: f64) {
        self.change(tenant, |t| match t.phase {
            Phase::Held => t.phase = Phase::Starting,
            Phase::Starting | Phase::Running if t.enough_farmers() => {
                t.phase = Phase::Running;
                t.progress = percent;
            }
            _ => {}
        });
    }

    /// The rebuild fails where it is.
    pub fn fail(&self, tenant: &str, reason: &str) {
        self.change(tenant, |t| {
            t.phase = Phase::Failed;
            t.failure = Some(reason.to_owned());
        });
    }

    /// The supervisor starts the failed rebuild again by itself: the failure is forgotten, the restart counted.
    pub fn auto_restart(&self, tenant: &str) {
        self.change(tenant, |t| {
            t.phase = Phase::Running;
            t.failure = None;
            t.restarts += 1;
        });
    }

    /// The rebuild is done.
    pub fn complete(&self, tenant: &str) {
        self.change(tenant, |t| {
            t.phase = Phase::Completed;
            t.progress = 100.0;
        });
    }

    /// The status shows these flags, whatever is going on; `None` ends it.
    pub fn force_flags(&self, tenant: &str, flags: Option<Flags>) {
        self.change(tenant, |t| t.forced = flags);
    }

    /// How many rebuilds were started for the tenant, resumed ones included, automatic restarts not.
    pub fn starts(&self, tenant: &str) -> u32 {
        lock(&self.inner.tenants).get(tenant).map_or(0, |t| t.starts)
    }

    /// The flags as served now.
    pub fn flags(&self, tenant: &str) -> Option<Flags> {
        lock(&self.inner.tenants).get(tenant).map(Tenant::flags)
    }

    fn now(&self) -> Timestamp {
        (lock(&self.inner.options).now)()
    }

    fn change(&self, tenant: &str, how: impl FnOnce(&mut Tenant)) {
        if let Some(found) = lock(&self.inner.tenants).get_mut(tenant) {
            how(found);
        }
    }
}

fn routes(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/api/v1/tenants/{tenant}/processStatus", get(process_status))
        .route("/api/v1/tenants/{tenant}/farmers", get(farmers))
        .route("/api/v1/tenants/{tenant}/rebuild", get(rebuild).post(start_rebuild))
        .route("/api/v1/tenants/{tenant}/rebuild/cancel", post(cancel_rebuild))
        .fallback(async || error(404, "no such resource"))
        .with_state(inner)
}

type Service = State<Arc<Inner>>;

async fn process_status(State(inner): Service, Path(tenant): Path<String>, headers: HeaderMap) -> Handled {
    let (style, rebuild) = {
        let options = lock(&inner.options);
        (options.style, options.rebuild_percentage)
    };
    inner.with_tenant(&headers, &tenant, |t| {
        let flags = t.flags();
        let name = if rebuild {
            "rebuildPercentage"
        } else {
            "progressPercentage"
        };
        let mut body = Map::new();
        body.insert("hasStarted".into(), flags.has_started.into());
        body.insert("isRunning".into(), flags.is_running.into());
        body.insert("hasCompleted".into(), flags.has_completed.into());
        body.insert("hasFailed".into(), flags.has_failed.into());
        body.insert(name.into(), written(t.progress, style));
        body.insert("failureReason".into(), t.failure.clone().into());
        body.insert("restartCount".into(), t.restarts.into());
        Ok(Reply::json(200, body.into()))
    })
}

async fn farmers(State(inner): Service, Path(tenant): Path<String>, headers: HeaderMap) -> Handled {
    inner.with_tenant(&headers, &tenant, |t| {
        Ok(Reply::json(200, json!({"ready": t.ready, "desired": t.desired})))
    })
}

async fn rebuild(State(inner): Service, Path(tenant): Path<String>, headers: HeaderMap) -> Handled {
    inner.with_tenant(&headers, &tenant, |t| {
        let started_at = t.started_at.map(|at| at.to_string());
        Ok(Reply::json(
            200,
            json!({"requestId": t.request, "startedAt": started_at}),
        ))
    })
}

async fn start_rebuild(State(inner): Service, Path(tenant): Path<String>, headers: HeaderMap, body: Bytes) -> Handled {
    let (now, resume_counts) = {
        let options = lock(&inner.options);
        ((options.now)(), options.resume_counts_as_restart)
    };
    inner.with_tenant(&headers, &tenant, |t| {
        let request = request_id(&headers, &body)?;
        if t.is_under_way() {
            let body = json!({"error": "a rebuild is already running", "requestId": t.request});
            return Err(Reply::json(409, body));
        }
        t.begin(Some(request.clone()), now, resume_counts);
        Ok(Reply::json(202, json!({"requestId": request})))
    })
}

async fn cancel_rebuild(State(inner): Service, Path(tenant): Path<String>, headers: HeaderMap) -> Handled {
    inner.with_tenant(&headers, &tenant, |t| {
        if !t.is_under_way() {
            return Err(error(409, "no rebuild is running"));
        }
        t.phase = Phase::Failed;
        t.failure = Some("canceled".to_owned());
        Ok(Reply::json(202, json!({"requestId": t.request})))
    })
}

fn request_id(headers: &HeaderMap, body: &Bytes) -> Result<String, Reply> {
    if !is_json(headers) {
        return Err(error(415, "the body must be application/json"));
    }
    let body: Value = serde_json::from_slice(body).map_err(|_| error(400, "the body is not JSON"))?;
    let request = body.get("requestId").and_then(Value::as_str).unwrap_or_default();
    if request.is_empty() || request.chars().count() > REQUEST_ID_CHARS_MAX {
        return Err(error(400, "requestId must be a string of 1 to 200 characters"));
    }
    Ok(request.to_owned())
}

fn written(percent: f64, style: ProgressStyle) -> Value {
    match style {
        #[expect(clippy::cast_possible_truncation, reason = "a percentage")]
        ProgressStyle::Integer => json!(percent as i64),
        ProgressStyle::Float => json!(percent),
        ProgressStyle::Text => json!(format!("{percent}")),
        ProgressStyle::PercentText => json!(format!("{percent:.2}%")),
        ProgressStyle::Null => Value::Null,
    }
}

fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, json!({"error": text}))
}

impl Inner {
    fn with_tenant(&self, headers: &HeaderMap, tenant: &str, answer: impl FnOnce(&mut Tenant) -> Handled) -> Handled {
        if credential(headers, "Bearer") != Some(lock(&self.options).token.as_str()) {
            return Err(error(401, "unauthorized").with("www-authenticate", "Bearer"));
        }
        let mut tenants = lock(&self.tenants);
        answer(tenants.get_mut(tenant).ok_or_else(|| error(404, "unknown tenant"))?)
    }
}
