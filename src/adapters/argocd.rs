//! Argo CD as a back-end: one sync operation of one application is a job.
//!
//! Argo CD has no idempotency key, so the job's marker travels in the operation's `info` and is looked for before a
//! sync is asked for. A sync counts as done by the rule of Argo CD's own command line: the operation is gone and
//! finished, the application was compared again after that, and it is synced and healthy. Facts: Argo CD's OpenAPI
//! document (`ApplicationService`, `v1alpha1Application`) and its "Sync Windows" and "Resource Health" pages.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::http::{Answered, Api, Auth, permanent, retry};
use super::{Backend, CallError, Deferral};
use crate::domain::effect::{JobIntent, Outcome};
use crate::domain::run::{FailureClass, Observation, ObservedState};

const INFO_NAME: &str = "stepherd-run";
/// gRPC `FailedPrecondition`. Argo CD refuses several things with it; only one of them passes by itself.
const CODE_FAILED_PRECONDITION: i64 = 9;
const ANOTHER_OPERATION: &str = "another operation is already in progress";

/// What the adapter needs to know.
#[derive(Debug, Clone)]
pub struct ArgoCdConfig {
    /// `https://argocd.example.org`, where both the API and the pages are.
    pub base_url: String,
    /// An API token of an account that may get and sync.
    pub token: SecretString,
}

/// Argo CD. A job is told `app` and `project`, and may be told `revision`, `prune` (`true` or `false`) and
/// `app_namespace`.
pub struct ArgoCd {
    api: Api,
    base_url: String,
}

/// What a job names.
struct Target<'a> {
    app: &'a str,
    project: &'a str,
    namespace: Option<&'a str>,
    revision: Option<&'a str>,
    prune: bool,
}

impl ArgoCd {
    /// # Errors
    /// When the address or the token cannot be right.
    pub fn new(config: &ArgoCdConfig) -> Result<Self, String> {
        Ok(Self {
            api: Api::new("Argo CD", &config.base_url, &Auth::Bearer(config.token.clone()))?,
            base_url: config.base_url.trim_end_matches('/').to_owned(),
        })
    }

    async fn application(&self, target: &Target<'_>, refresh: bool) -> Result<Answered, CallError> {
        let more = if refresh { "&refresh=normal" } else { "" };
        let path = format!("/api/v1/applications/{}?{}{more}", target.app, target.query());
        self.api.call(Method::GET, &path, None).await
    }

    fn link(&self, target: &Target<'_>) -> String {
        let namespace = target.namespace.map(|n| format!("{n}/")).unwrap_or_default();
        format!("{}/applications/{namespace}{}", self.base_url, target.app)
    }
}

impl<'a> Target<'a> {
    fn of(intent: &'a JobIntent) -> Result<Self, String> {
        Self::named(&intent.with)
    }

    fn named(with: &'a BTreeMap<String, String>) -> Result<Self, String> {
        let given = |key: &str| with.get(key).map(String::as_str).filter(|text| !text.is_empty());
        let name = |key: &str, text: &'a str| {
            if is_name(text) {
                Ok(text)
            } else {
                Err(format!("Argo CD: `{key}` must be a Kubernetes name"))
            }
        };
        let needed = |key: &str| given(key).ok_or_else(|| format!("Argo CD: the job names no `{key}`"));
        Ok(Self {
            app: name("app", needed("app")?)?,
            project: name("project", needed("project")?)?,
            namespace: given("app_namespace")
                .map(|text| name("app_namespace", text))
                .transpose()?,
            revision: match with.get("revision").map(|text| text.trim()) {
                // A template that came to nothing must not mean "whatever is newest".
                Some("") => return Err("Argo CD: the revision is empty".to_owned()),
                revision => revision,
            },
            prune: match given("prune") {
                None | Some("false") => false,
                Some("true") => true,
                Some(_) => return Err("Argo CD: `prune` must be true or false".to_owned()),
            },
        })
    }

    /// The project is always named: without it Argo CD does not tell an absent application from a forbidden one.
    fn query(&self) -> String {
        let mut query = format!("project={}", self.project);
        if let Some(namespace) = self.namespace {
            query.push_str("&appNamespace=");
            query.push_str(namespace);
        }
        query
    }

    fn sync_request(&self, marker: &str) -> Value {
        let mut request = json!({
            "name": self.app,
            "project": self.project,
            "prune": self.prune,
            "infos": [{"name": INFO_NAME, "value": marker}],
        });
        if let Some(namespace) = self.namespace {
            request["appNamespace"] = namespace.into();
        }
        if let Some(revision) = self.revision {
            request["revision"] = revision.into();
        }
        request
    }
}

#[async_trait]
impl Backend for ArgoCd {
    async fn start(&self, intent: &JobIntent) -> Result<Outcome, CallError> {
        let target = match Target::of(intent) {
            Ok(target) => target,
            Err(reason) => return Ok(failed(reason, FailureClass::User)),
        };
        let answered = self.application(&target, false).await?;
        if let Some(failed) = final_refusal(&answered) {
            return Ok(failed);
        }
        let app = whole(answered)?;
        if is_ours(&app, &intent.marker) {
            return Ok(Outcome::JobStarted);
        }
        if is_live(&app) {
            return Ok(waits_for(&app));
        }
        let path = format!("/api/v1/applications/{}/sync", target.app);
        let request = target.sync_request(&intent.marker);
        let answered = self.api.call(Method::POST, &path, Some(&request)).await?;
        if is_busy(&answered) {
            // Somebody was quicker; who, and since when, is told by the application.
            return Ok(waits_for(&whole(self.application(&target, false).await?)?));
        }
        if let Some(failed) = final_refusal(&answered) {
            return Ok(failed);
        }
        whole(answered).map(|_| Outcome::JobStarted)
    }

    async fn find(&self, intent: &JobIntent) -> Result<bool, CallError> {
        let target = Target::of(intent).map_err(|why| permanent(why, FailureClass::User))?;
        let answered = self.application(&target, false).await?;
        if answered.status == 404 {
            return Ok(false);
        }
        Ok(is_ours(&whole(answered)?, &intent.marker))
    }

    async fn observe(&self, intent: &JobIntent, started: bool) -> Result<Observation, CallError> {
        let target = Target::of(intent).map_err(|why| permanent(why, FailureClass::User))?;
        // Who only watches must not take a comparison for new that was made before git moved.
        let answered = self.application(&target, !started).await?;
        let app = whole(answered)?;
        let mut seen = if started {
            judge_ours(&app, &intent.marker)
        } else {
            judge_any(&app, target.revision)
        };
        seen.link = Some(self.link(&target));
        Ok(seen)
    }

    async fn observe_end(&self, intent: &JobIntent) -> Result<Observation, CallError> {
        let target = Target::of(intent).map_err(|why| permanent(why, FailureClass::User))?;
        let app = whole(self.application(&target, false).await?)?;
        let ours = judge_ours(&app, &intent.marker);
        Ok(Observation {
            // An application that is not where it should be is no operation: nothing is left to be told to end.
            state: match ours.state {
                ObservedState::Running | ObservedState::Waiting if !is_live(&app) => ObservedState::Pending,
                state => state,
            },
            link: Some(self.link(&target)),
            ..ours
        })
    }

    async fn cancel(&self, intent: &JobIntent) -> Result<Outcome, CallError> {
        let target = match Target::of(intent) {
            Ok(target) => target,
            Err(reason) => return Ok(failed(reason, FailureClass::User)),
        };
        let answered = self.application(&target, false).await?;
        if answered.status == 404 {
            return Ok(Outcome::JobCanceled);
        }
        let app = whole(answered)?;
        if !is_live(&app) || !holds(&app, "/operation", &intent.marker) {
            return Ok(Outcome::JobCanceled);
        }
        let path = format!("/api/v1/applications/{}/operation?{}", target.app, target.query());
        let answered = self.api.call(Method::DELETE, &path, None).await?;
        if answered.is_success() {
            return Ok(Outcome::JobCanceled);
        }
        if answered.status == 403 {
            return Ok(failed(answered.describe(), FailureClass::Permission));
        }
        if answered.status == 400 || answered.status == 404 {
            // Argo CD cannot end an operation that it has not taken up, nor one that has just ended.
            let why = format!("{}; looking again", answered.describe());
            return Err(retry(why, None, FailureClass::Infrastructure));
        }
        Err(answered.refusal())
    }

    async fn deferral(&self, with: &BTreeMap<String, String>) -> Result<Deferral, CallError> {
        let target = Target::named(with).map_err(|why| permanent(why, FailureClass::User))?;
        let app = whole(self.application(&target, false).await?)?;
        if !app.get("spec").is_some_and(Value::is_object) {
            let why = format!("Argo CD does not say how `{}` is synced", target.app);
            return Err(retry(why, None, FailureClass::Infrastructure));
        }
        Ok(if is_synced_automatically(&app) {
            Deferral::ByItself(format!("Argo CD syncs the application `{}` automatically", target.app))
        } else {
            Deferral::OnRequest
        })
    }
}

/// Whether automated sync is on. It is where `automated` is there at all, unless its `enabled` is false; a null counts as
/// true (Argo CD docs, "Automated Sync Policy"). What is neither counts as on.
fn is_synced_automatically(app: &Value) -> bool {
    let automated = app.pointer("/spec/syncPolicy/automated");
    match automated {
        None | Some(Value::Null) => false,
        Some(automated) => automated.get("enabled") != Some(&Value::Bool(false)),
    }
}

/// Letters, digits, `-` and `.`, not starting with `.`: safe in a path and in a query.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    text.len() <= 253 && !text.starts_with('.') && text.bytes().all(plain)
}

fn failed(reason: String, class: FailureClass) -> Outcome {
    Outcome::Failed { reason, class }
}

/// Whether the sync was refused because of an operation that will end. A pinned revision under automatic sync, for
/// one, is refused with the same code and will be refused again.
fn is_busy(answered: &Answered) -> bool {
    let said = |key: &str| answered.body.get(key).and_then(Value::as_str).unwrap_or_default();
    let code = answered.body.get("code").and_then(Value::as_i64);
    let refused = answered.status == 400 && code == Some(CODE_FAILED_PRECONDITION);
    refused
        && ["message", "error"]
            .iter()
            .any(|key| said(key).contains(ANOTHER_OPERATION))
}

/// Argo CD does one operation at a time: whose it is that a sync waits for, and since when.
fn waits_for(app: &Value) -> Outcome {
    let name = said(app, "/metadata/name");
    if !is_live(app) {
        let why = format!("Argo CD to take another sync of {name}: an operation was in the way a moment ago");
        return Outcome::JobWaits { why };
    }
    // The one that is asked for comes before the one that was done last.
    let operation = if has_operation(app) {
        "/operation"
    } else {
        "/status/operationState/operation"
    };
    let automated = app.pointer(&format!("{operation}/initiatedBy/automated"));
    let run = info(app, operation).map(|marker| format!(" (stepherd's {marker})"));
    let by = match said(app, &format!("{operation}/initiatedBy/username")) {
        _ if automated.and_then(Value::as_bool) == Some(true) => "Argo CD's automatic sync".to_owned(),
        "" => "somebody".to_owned(),
        name => name.to_owned(),
    };
    let taken_up = matches!(said(app, "/status/operationState/phase"), "Running" | "Terminating");
    let since = Some(said(app, "/status/operationState/startedAt")).filter(|at| taken_up && !at.is_empty());
    let since = since.map(|at| format!(", under way since {at}"));
    Outcome::JobWaits {
        why: format!(
            "Argo CD to end another operation on {name}: by {by}{}{}",
            run.unwrap_or_default(),
            since.unwrap_or_default()
        ),
    }
}

/// A refusal that will not go away by itself, as an outcome.
fn final_refusal(answered: &Answered) -> Option<Outcome> {
    match answered.status {
        403 => Some(failed(
            format!(
                "{} (the account lacks the right, or a sync window forbids it now)",
                answered.describe()
            ),
            FailureClass::Permission,
        )),
        401 => Some(failed(answered.describe(), FailureClass::Permission)),
        400 | 404 | 422 => Some(failed(answered.describe(), FailureClass::User)),
        _ => None,
    }
}

/// The application in a good answer. An empty one would read as "nothing runs" and must not.
fn whole(answered: Answered) -> Result<Value, CallError> {
    let empty = format!("{}, without a body", answered.describe());
    let app: Value = answered.json()?;
    if app.is_object() {
        Ok(app)
    } else {
        Err(retry(empty, None, FailureClass::Infrastructure))
    }
}

fn said<'a>(app: &'a Value, pointer: &str) -> &'a str {
    app.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The marker that the operation at this place carries, if stepherd asked for it.
fn info<'a>(app: &'a Value, operation: &str) -> Option<&'a str> {
    let infos = app.pointer(&format!("{operation}/info")).and_then(Value::as_array);
    let mut infos = infos.into_iter().flatten();
    let ours = infos.find(|info| info.get("name").and_then(Value::as_str) == Some(INFO_NAME))?;
    ours.get("value")?.as_str()
}

/// Whether the operation at this place carries the marker.
fn holds(app: &Value, operation: &str, marker: &str) -> bool {
    info(app, operation) == Some(marker)
}

/// Whether the operation that is asked for, or the last one, carries the marker.
fn is_ours(app: &Value, marker: &str) -> bool {
    holds(app, "/operation", marker) || holds(app, "/status/operationState/operation", marker)
}

fn has_operation(app: &Value) -> bool {
    app.get("operation").is_some_and(|operation| !operation.is_null())
}

fn is_live(app: &Value) -> bool {
    has_operation(app) || matches!(said(app, "/status/operationState/phase"), "Running" | "Terminating")
}

fn seen(state: ObservedState, detail: impl Into<Option<String>>) -> Observation {
    Observation {
        detail: detail.into().filter(|text| !text.is_empty()),
        ..Observation::of(state)
    }
}

/// Where the operation that carries our marker stands.
fn judge_ours(app: &Value, marker: &str) -> Observation {
    if !holds(app, "/status/operationState/operation", marker) {
        if holds(app, "/operation", marker) {
            return seen(
                ObservedState::Running,
                "the sync is asked for and not yet taken up".to_owned(),
            );
        }
        // That is known, not doubtful: whoever looks before starting may start.
        let detail = if is_live(app) {
            "another operation is in progress; nothing of this run is there"
        } else {
            "nothing of this run is there"
        };
        return seen(ObservedState::Pending, detail.to_owned());
    }
    let message = said(app, "/status/operationState/message").to_owned();
    let mut observation = match said(app, "/status/operationState/phase") {
        "Running" => seen(ObservedState::Running, message),
        "Terminating" => seen(ObservedState::Running, format!("terminating: {message}")),
        phase @ ("Failed" | "Error") => Observation {
            reason: Some(if message.is_empty() {
                format!("the sync ended as {phase}")
            } else {
                message
            }),
            ..seen(ObservedState::Failed, None)
        },
        "Succeeded" => judge_after_success(app),
        other => seen(
            ObservedState::Unknown,
            format!("the operation's phase is `{other}`, which stepherd does not know"),
        ),
    };
    let retries = app.pointer("/status/operationState/retryCount").and_then(Value::as_u64);
    observation.restarts = retries.map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX));
    observation
}

/// The operation ended well; whether the application is where it should be is another question.
fn judge_after_success(app: &Value) -> Observation {
    let time = |pointer| said(app, pointer).parse::<Timestamp>().ok();
    let finished = time("/status/operationState/finishedAt");
    let compared = time("/status/reconciledAt");
    let compared_since = finished.is_some_and(|finished| compared.is_some_and(|compared| compared >= finished));
    if has_operation(app) || !compared_since {
        let detail = "the sync ended well; the application is not yet compared again".to_owned();
        return seen(ObservedState::Running, detail);
    }
    judge_state(app)
}

/// Where the application stands when nothing is being done to it. `Degraded` may pass, so a deadline decides.
fn judge_state(app: &Value) -> Observation {
    let (sync, health) = (said(app, "/status/sync/status"), said(app, "/status/health/status"));
    let shown = |text: &str| {
        if text.is_empty() {
            "unknown".to_owned()
        } else {
            text.to_owned()
        }
    };
    let message = said(app, "/status/health/message");
    let mut detail = format!("{}, {}", shown(sync), shown(health));
    if !message.is_empty() {
        detail = format!("{detail}: {message}");
    }
    match (sync, health) {
        ("Synced", "Healthy") => seen(ObservedState::Succeeded, None),
        (_, "Suspended") => seen(ObservedState::Waiting, detail),
        _ => seen(ObservedState::Running, detail),
    }
}

/// Where an application stands that stepherd did not sync: what matters is where it is, not who brought it there.
fn judge_any(app: &Value, revision: Option<&str>) -> Observation {
    if is_live(app) {
        return seen(
            ObservedState::Running,
            said(app, "/status/operationState/message").to_owned(),
        );
    }
    let at = said(app, "/status/sync/revision");
    let tried = said(app, "/status/operationState/syncResult/revision");
    let phase = said(app, "/status/operationState/phase");
    if let Some(wanted) = revision {
        if matches!(phase, "Failed" | "Error") && tried == wanted {
            return Observation {
                reason: Some(said(app, "/status/operationState/message").to_owned()),
                ..seen(ObservedState::Failed, None)
            };
        }
        if at != wanted {
            return seen(
                ObservedState::Pending,
                format!("the application is not yet compared with {wanted}"),
            );
        }
    }
    // An old failure says nothing about what is awaited now.
    match (said(app, "/status/sync/status"), phase) {
        ("OutOfSync", "Failed" | "Error") => {
            let message = said(app, "/status/operationState/message");
            seen(
                ObservedState::Pending,
                format!("out of sync; the last sync failed: {message}"),
            )
        }
        ("OutOfSync", _) => seen(
            ObservedState::Pending,
            "out of sync; nobody has synced it yet".to_owned(),
        ),
        _ => judge_state(app),
    }
}
