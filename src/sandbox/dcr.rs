//! The stand-in for the cache-rebuild service: one rebuild per tenant, seven fields of status, farmers that come
//! and go. Time does nothing in it: the caller moves each tenant on, as the service would.
//!
//! Nobody starts a rebuild and nobody ends one, so there is nothing to call but what shows it. A rebuild begins by itself
//! when the minimum of farmers has come. Too few farmers fail it; if they are back within half an hour it is restarted by
//! itself. Every restart is counted, and forgets the failure.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Now;
use super::stage::{Served, Stage, serve};
use super::wire::{Handled, Reply, credential, lock};

/// How long the service waits for its farmers before it gives a rebuild up.
const PATIENCE: SignedDuration = SignedDuration::from_mins(30);

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
}

impl DcrOptions {
    /// The plain service.
    pub fn new(token: &str, now: Now) -> Self {
        Self {
            token: token.to_owned(),
            now,
            style: ProgressStyle::Integer,
            rebuild_percentage: false,
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
    Starting,
    Running,
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
    /// When it failed for want of farmers.
    abandoned_at: Option<Timestamp>,
    ready: u32,
    desired: u32,
    minimum: u32,
    begun: u32,
    completed: usize,
}

impl Tenant {
    fn flags(&self) -> Flags {
        self.forced.unwrap_or_else(|| {
            Flags::of(match self.phase {
                Phase::Idle => "FFFF",
                Phase::Starting => "TFFF",
                Phase::Running => "TTFF",
                Phase::Failed => "TFFT",
                Phase::Completed => "TFTF",
            })
        })
    }

    fn enough_farmers(&self) -> bool {
        self.ready >= self.minimum
    }

    /// From nothing.
    fn begin(&mut self) {
        self.phase = Phase::Starting;
        self.progress = 0.0;
        self.restarts = 0;
        self.failure = None;
        self.abandoned_at = None;
        self.begun += 1;
    }

    fn restart(&mut self, progress: f64) {
        self.phase = Phase::Running;
        self.progress = progress;
        self.restarts += 1;
        self.failure = None;
        self.abandoned_at = None;
    }

    fn fail(&mut self, reason: &str) {
        self.phase = Phase::Failed;
        self.failure = Some(reason.to_owned());
    }

    /// A tenant whose farmers were there all the time has begun by now.
    fn has_begun(&mut self) {
        if self.phase == Phase::Idle && self.enough_farmers() {
            self.begin();
        }
    }

    fn farmers_changed(&mut self, enough_before: bool, now: Timestamp) {
        let enough = self.enough_farmers();
        match self.phase {
            Phase::Idle | Phase::Completed if enough && !enough_before => self.begin(),
            Phase::Starting | Phase::Running if !enough => {
                self.fail(&format!("{} of {} farmers left", self.ready, self.minimum));
                self.abandoned_at = Some(now);
            }
            Phase::Failed if enough => {
                let abandoned = self.abandoned_at.take();
                if abandoned.is_some_and(|at| now.duration_since(at) <= PATIENCE) {
                    self.restart(self.progress);
                }
            }
            _ => {}
        }
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

    /// A tenant whose rebuild needs this many farmers, with all of them ready for long and nothing going on.
    pub fn add_tenant(&self, tenant: &str, minimum: u32) {
        let new = Tenant {
            phase: Phase::Idle,
            forced: None,
            progress: 0.0,
            failure: None,
            restarts: 0,
            abandoned_at: None,
            ready: minimum,
            desired: minimum,
            minimum,
            begun: 0,
            completed: 0,
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

    /// So many farmers are in hidden state, which is when they count. When the minimum has come a rebuild begins; too few
    /// fail it.
    pub fn set_farmers(&self, tenant: &str, ready: u32) {
        let now = (lock(&self.inner.options).now)();
        self.change(tenant, |t| {
            let enough_before = t.enough_farmers();
            t.ready = ready;
            t.desired = t.desired.max(ready);
            t.farmers_changed(enough_before, now);
        });
    }

    /// A rebuild begins from nothing, whatever there was before.
    pub fn begin(&self, tenant: &str) {
        self.change(tenant, Tenant::begin);
    }

    /// The rebuild gets to this percentage.
    pub fn advance(&self, tenant: &str, percent: f64) {
        self.change(tenant, |t| {
            t.has_begun();
            if matches!(t.phase, Phase::Starting | Phase::Running) {
                t.phase = Phase::Running;
                t.progress = percent;
            }
        });
    }

    /// The rebuild fails where it is.
    pub fn fail(&self, tenant: &str, reason: &str) {
        self.change(tenant, |t| {
            t.has_begun();
            t.fail(reason);
        });
    }

    /// The service restarts the rebuild by itself, from where it was: the failure is forgotten, the restart counted.
    pub fn auto_restart(&self, tenant: &str) {
        self.change(tenant, |t| t.restart(t.progress));
    }

    /// The same, from nothing.
    pub fn restart_anew(&self, tenant: &str) {
        self.change(tenant, |t| t.restart(0.0));
    }

    /// The rebuild is done.
    pub fn complete(&self, tenant: &str) {
        self.change(tenant, |t| {
            t.has_begun();
            t.phase = Phase::Completed;
            t.completed += 1;
            t.progress = 100.0;
            t.failure = None;
        });
    }

    /// The status shows these flags, whatever is going on; `None` ends it.
    pub fn force_flags(&self, tenant: &str, flags: Option<Flags>) {
        self.change(tenant, |t| t.forced = flags);
    }

    /// How many rebuilds have begun for the tenant, restarts of them not counted.
    pub fn begun(&self, tenant: &str) -> u32 {
        lock(&self.inner.tenants).get(tenant).map_or(0, |t| t.begun)
    }

    /// How many rebuilds were completed, of all tenants.
    pub fn completed(&self) -> usize {
        let tenants = lock(&self.inner.tenants);
        tenants.values().map(|t| t.completed).sum()
    }

    /// How often the rebuild that there is was restarted.
    pub fn restarts(&self, tenant: &str) -> u32 {
        lock(&self.inner.tenants).get(tenant).map_or(0, |t| t.restarts)
    }

    /// How many calls were anything but a look: there is nothing else that it would do.
    pub fn changing_calls(&self) -> usize {
        self.stage.calls().iter().filter(|call| call.method != "GET").count()
    }

    /// The flags as served now.
    pub fn flags(&self, tenant: &str) -> Option<Flags> {
        lock(&self.inner.tenants).get(tenant).map(Tenant::flags)
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
