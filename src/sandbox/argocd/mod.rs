//! The stand-in for Argo CD: applications that are out of sync until somebody syncs them, one operation at a time.
//!
//! The controller's work happens only in `ArgoCd::advance` (or, if switched on, one beat per read), so that every
//! in-between state of the real thing can be looked at. It has no idempotency key, as Argo CD has none.
//! Shapes: Argo CD's OpenAPI document, `ApplicationService` and `v1alpha1Application`.

mod app;
mod routes;
mod selector;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use self::app::App;
use super::Now;
use super::stage::{Served, Stage, serve};
use super::wire::lock;

const NAMESPACE: &str = "argocd";

/// How Argo CD is set up.
#[derive(Clone)]
pub struct ArgoOptions {
    /// The bearer token that opens it. Made up, hence plain text.
    pub token: String,
    /// The time.
    pub now: Now,
    /// Each GET of an application first takes one beat of its operation, so that demos move by being watched.
    pub reads_advance: bool,
}

/// An application as it is first.
#[derive(Debug, Clone)]
pub struct AppSeed {
    /// `dcr-comcast`
    pub name: String,
    /// The Argo CD project.
    pub project: String,
    /// Labels that selectors find.
    pub labels: BTreeMap<String, String>,
    /// The git repository.
    pub repo_url: String,
    /// The folder in it.
    pub path: String,
    /// The branch, tag or commit it follows: `main`.
    pub target_revision: String,
    /// The commit that the target revision is at; the application starts synced to it.
    pub head: String,
}

/// One operation of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The first thing that whoever asked for it said about it.
    pub info: Option<String>,
    /// Whether it is asked for or under way.
    pub live: bool,
    /// Where it stands: `Running`, `Succeeded`; empty before it is taken up.
    pub phase: String,
}

/// One step of the controller's work on an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// The operation is taken up.
    Running,
    /// It ended well: `.operation` is gone, the comparison not yet done again.
    Succeeded,
    /// It ended badly, with this message.
    Failed(String),
    /// It broke, with this message.
    Error(String),
    /// The comparison is done again. A dry run, or a sync to another revision than the target's, stays out of sync.
    Synced,
    /// The health is found to be this: `Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing`, `Unknown`.
    Health(&'static str),
    /// Nothing happens in this beat.
    Hold,
}

struct Inner {
    options: ArgoOptions,
    apps: Mutex<BTreeMap<String, App>>,
}

/// Argo CD, being served.
pub struct ArgoCd {
    /// `http://127.0.0.1:port`
    pub url: String,
    /// What was asked of it, and how it misbehaves.
    pub stage: Arc<Stage>,
    inner: Arc<Inner>,
    _served: Served,
}

impl ArgoCd {
    /// Serves it on this port; 0 picks a free one.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn start(options: ArgoOptions, port: u16) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            options,
            apps: Mutex::default(),
        });
        let stage = Arc::new(Stage::default());
        let served = serve(routes::routes(Arc::clone(&inner)), Arc::clone(&stage), port).await?;
        Ok(Self {
            url: served.url.clone(),
            stage,
            inner,
            _served: served,
        })
    }

    /// Adds an application: synced and healthy.
    pub fn add_app(&self, seed: AppSeed) {
        let now = (self.inner.options.now)();
        let app = App {
            head: seed.head.clone(),
            compared: seed.head.clone(),
            live: seed.head.clone(),
            sync: "Synced",
            health: "Healthy",
            operation: None,
            state: None,
            reconciled_at: now,
            history: Vec::new(),
            beats: VecDeque::new(),
            next_script: None,
            window_closed: false,
            automated: None,
            syncs: 0,
            version: 1,
            seed,
        };
        lock(&self.inner.apps).insert(app.seed.name.clone(), app);
    }

    /// Git moved and Argo CD noticed: the application is out of sync.
    pub fn git_moved(&self, app: &str, head: &str) {
        let now = (self.inner.options.now)();
        self.change(app, |a| {
            a.head = head.to_owned();
            a.compare(now);
        });
    }

    /// Git moved and Argo CD has not looked yet: only a read with `refresh` shows it.
    pub fn git_moved_unseen(&self, app: &str, head: &str) {
        self.change(app, |a| a.head = head.to_owned());
    }

    /// A sync window that forbids manual syncs is open, or no longer.
    pub fn close_window(&self, app: &str, closed: bool) {
        self.change(app, |a| a.window_closed = closed);
    }

    /// The application is synced automatically, or no longer. Here that only means what is refused then: a sync to
    /// another revision than the target's.
    pub fn set_auto_sync(&self, app: &str, on: bool) {
        self.change(app, |a| a.automated = on.then(|| json!({})));
    }

    /// What the application's `spec.syncPolicy.automated` is, in whatever version's words.
    pub fn set_automated(&self, app: &str, automated: Value) {
        self.change(app, |a| a.automated = Some(automated));
    }

    /// The application's health is found to be this, outside of any operation.
    pub fn set_health(&self, app: &str, health: &'static str) {
        self.change(app, |a| a.health = health);
    }

    /// What becomes of the next sync, beat by beat, instead of `Running, Succeeded, Synced, Healthy`.
    pub fn script_next_sync(&self, app: &str, beats: Vec<Beat>) {
        self.change(app, |a| a.next_script = Some(beats));
    }

    /// The next sync fails with this message.
    pub fn fail_next_sync(&self, app: &str, message: &str) {
        self.script_next_sync(app, vec![Beat::Running, Beat::Failed(message.to_owned())]);
    }

    /// The next sync succeeds and the application degrades.
    pub fn degrade_next_sync(&self, app: &str) {
        let beats = vec![Beat::Running, Beat::Succeeded, Beat::Synced, Beat::Health("Degraded")];
        self.script_next_sync(app, beats);
    }

    /// Somebody asks for a sync in Argo CD's own pages. `false` if an operation is in the way.
    pub fn sync_by(&self, app: &str, username: &str) -> bool {
        let mut apps = lock(&self.inner.apps);
        let Some(found) = apps.get_mut(app).filter(|a| a.operation.is_none()) else {
            return false;
        };
        found.operation = Some(serde_json::json!({"sync": {}, "initiatedBy": {"username": username}, "retry": {}}));
        found.state = None;
        found.beats = [Beat::Running, Beat::Succeeded, Beat::Synced, Beat::Health("Healthy")].into();
        found.version += 1;
        true
    }

    /// The controller takes one beat. `false` if there is none left.
    pub fn advance(&self, app: &str) -> bool {
        let now = (self.inner.options.now)();
        lock(&self.inner.apps).get_mut(app).is_some_and(|a| a.beat(now))
    }

    /// The controller takes all beats that are left.
    pub fn finish(&self, app: &str) {
        while self.advance(app) {}
    }

    /// How many syncs the application accepted.
    pub fn syncs(&self, app: &str) -> u32 {
        lock(&self.inner.apps).get(app).map_or(0, |a| a.syncs)
    }

    /// The operation that is asked for or under way, else the last one.
    pub fn operation(&self, app: &str) -> Option<Operation> {
        lock(&self.inner.apps).get(app)?.last_operation()
    }

    /// Sync status, health and the revision that runs.
    pub fn shows(&self, app: &str) -> Option<(String, String, String)> {
        let apps = lock(&self.inner.apps);
        apps.get(app)
            .map(|a| (a.sync.to_owned(), a.health.to_owned(), a.live.clone()))
    }

    fn change(&self, app: &str, how: impl FnOnce(&mut App)) {
        if let Some(found) = lock(&self.inner.apps).get_mut(app) {
            how(found);
            found.version += 1;
        }
    }
}
