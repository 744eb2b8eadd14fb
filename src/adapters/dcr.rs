//! The cache-rebuild service (DCR) as a back-end: a tenant's rebuild, or the number of its farmers, is a job.
//!
//! The service compares no request ids, so whether a rebuild is ours is looked up before one is asked for. What an
//! earlier attempt started is joined; somebody else's is waited for, never counted as ours and never ended by us.
//! What its status means is the domain's knowledge (`domain::process`); here it is only fetched.

use async_trait::async_trait;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{debug, info};

use super::http::{Api, Auth, permanent, retry};
use super::{Backend, CallError};
use crate::domain::effect::{JobIntent, Outcome};
use crate::domain::ids::Percent;
use crate::domain::process::{ProcessPhase, ProcessStatus};
use crate::domain::run::{FailureClass, Observation, ObservedState};

const MIN_FARMERS: u32 = 3;

/// What the adapter needs to know.
#[derive(Debug, Clone)]
pub struct DcrConfig {
    /// `https://dcr.example.org`.
    pub base_url: String,
    /// The bearer token.
    pub token: SecretString,
}

/// The service. A job is told `tenant`, and may be told `watch` (`rebuild`, or `farmers`, which can only be
/// watched), `min_farmers` (3 if not given) and `link`, where a person can look.
pub struct Dcr {
    api: Api,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    Rebuild,
    Farmers,
}

struct Target<'a> {
    tenant: &'a str,
    watch: Watch,
    min_farmers: u32,
    link: Option<&'a str>,
}

#[derive(Deserialize)]
struct Farmers {
    ready: u32,
}

/// `requestId` is null when somebody else started the rebuild, or nobody ever did.
#[derive(Deserialize)]
struct Rebuild {
    #[serde(rename = "requestId")]
    request_id: Option<String>,
}

impl Dcr {
    /// # Errors
    /// When the address or the token cannot be right.
    pub fn new(config: &DcrConfig) -> Result<Self, String> {
        Ok(Self {
            api: Api::new("DCR", &config.base_url, &Auth::Bearer(config.token.clone()))?,
        })
    }

    /// The outcome of a cancel that finds no rebuild of this run's. Somebody else's is not ours to end.
    async fn leave_alone(&self, target: &Target<'_>, last: &Rebuild) -> Result<Outcome, CallError> {
        let status = self.status(target).await?;
        let nothing_runs = status.as_ref().is_ok_and(|status| match status.phase() {
            ProcessPhase::Failed | ProcessPhase::Done => true,
            // One that was asked for may wait for farmers and show as not started.
            ProcessPhase::Waiting => last.request_id.is_none(),
            ProcessPhase::Starting | ProcessPhase::Running | ProcessPhase::Inconsistent => false,
        });
        if nothing_runs {
            return Ok(Outcome::JobCanceled);
        }
        let reason = format!("the rebuild there is somebody else's ({}): left running", last.whose());
        Ok(failed(reason, FailureClass::User))
    }

    async fn farmers(&self, target: &Target<'_>) -> Result<Farmers, CallError> {
        self.api.call(Method::GET, &target.path("farmers"), None).await?.json()
    }

    /// The status document, or what is wrong with it.
    async fn status(&self, target: &Target<'_>) -> Result<Result<ProcessStatus, String>, CallError> {
        let answered = self.api.call(Method::GET, &target.path("processStatus"), None).await?;
        let document: Value = answered.json()?;
        if document.is_null() {
            let why = "DCR: the process status came without a body".to_owned();
            return Err(retry(why, None, FailureClass::Infrastructure));
        }
        Ok(ProcessStatus::from_json(&document))
    }

    async fn observe_farmers(&self, target: &Target<'_>) -> Result<Observation, CallError> {
        let ready = self.farmers(target).await?.ready;
        let enough = ready >= target.min_farmers;
        let state = if enough {
            ObservedState::Succeeded
        } else {
            ObservedState::Pending
        };
        let detail = format!("{ready} of min {} farmers ready", target.min_farmers);
        Ok(Observation {
            progress: Some(Percent::of(u64::from(ready), u64::from(target.min_farmers))),
            link: target.link.map(str::to_owned),
            ..seen(state, Some(detail))
        })
    }

    async fn last_rebuild(&self, target: &Target<'_>) -> Result<Rebuild, CallError> {
        self.api.call(Method::GET, &target.path("rebuild"), None).await?.json()
    }

    /// `marker` is given where stepherd started the job: an end then counts only if it is the end of that rebuild, not
    /// of one that was over long before or that somebody else started since.
    async fn observe_rebuild(&self, target: &Target<'_>, marker: Option<&str>) -> Result<Observation, CallError> {
        let link = target.link.map(str::to_owned);
        let status = match self.status(target).await? {
            Ok(status) => status,
            // A status that cannot be read says nothing, neither success nor failure.
            Err(why) => {
                return Ok(Observation {
                    link,
                    ..seen(ObservedState::Unknown, Some(why))
                });
            }
        };
        let mut seen = judge(&status);
        if let Some(marker) = marker.filter(|_| seen.state.is_terminal()) {
            let last = self.last_rebuild(target).await?;
            if !last.is_by_step_of(marker) {
                let detail = format!(
                    "nothing of this run is there; the last rebuild, {}, has ended",
                    last.whose()
                );
                return Ok(Observation {
                    link,
                    ..self::seen(ObservedState::Pending, Some(detail))
                });
            }
        }
        seen.link = link;
        if !matches!(seen.state, ObservedState::Pending | ObservedState::Running) {
            return Ok(seen);
        }
        match self.farmers(target).await {
            Ok(farmers) if farmers.ready < target.min_farmers => {
                let (ready, min) = (farmers.ready, target.min_farmers);
                seen.state = ObservedState::Waiting;
                seen.detail = Some(if status.has_started {
                    format!("{ready} of min {min} farmers; the rebuild was aborted and waits up to 30 minutes for them")
                } else {
                    format!("{ready} of min {min} farmers; the rebuild waits for them")
                });
            }
            Ok(_) => {}
            // The status says enough by itself.
            Err(why) => debug!(%why, "cannot count the farmers"),
        }
        Ok(seen)
    }
}

impl Rebuild {
    /// Whether an attempt of the marker's own run and step asked for it: markers begin `RUN/STEP/`.
    fn is_by_step_of(&self, marker: &str) -> bool {
        fn step(marker: &str) -> Option<(&str, &str)> {
            let mut parts = marker.split('/');
            parts.next().zip(parts.next())
        }
        let asked = self.request_id.as_deref();
        asked == Some(marker) || asked.and_then(step).is_some_and(|asked| Some(asked) == step(marker))
    }

    fn whose(&self) -> String {
        match &self.request_id {
            Some(id) => format!("`{id}`"),
            None => "which nobody put a name to".to_owned(),
        }
    }
}

impl<'a> Target<'a> {
    fn of(intent: &'a JobIntent) -> Result<Self, String> {
        let given = |key: &str| intent.with.get(key).map(String::as_str).filter(|text| !text.is_empty());
        let tenant = given("tenant").ok_or("DCR: the job names no `tenant`")?;
        if !is_tenant(tenant) {
            return Err("DCR: `tenant` must be letters, digits, `-`, `_` and `.`".to_owned());
        }
        let watch = match given("watch") {
            None | Some("rebuild") => Watch::Rebuild,
            Some("farmers") => Watch::Farmers,
            Some(_) => return Err("DCR: `watch` must be rebuild or farmers".to_owned()),
        };
        let min_farmers = match given("min_farmers") {
            None => MIN_FARMERS,
            Some(text) => text
                .parse()
                .map_err(|_| "DCR: `min_farmers` must be a whole number from 0".to_owned())?,
        };
        Ok(Self {
            tenant,
            watch,
            min_farmers,
            link: given("link"),
        })
    }

    fn path(&self, what: &str) -> String {
        format!("/api/v1/tenants/{}/{what}", self.tenant)
    }
}

#[async_trait]
impl Backend for Dcr {
    async fn start(&self, intent: &JobIntent) -> Result<Outcome, CallError> {
        let target = match Target::of(intent) {
            Ok(target) => target,
            Err(reason) => return Ok(failed(reason, FailureClass::User)),
        };
        if target.watch == Watch::Farmers {
            let reason = "DCR: farmers can be watched, not started".to_owned();
            return Ok(failed(reason, FailureClass::User));
        }
        let answered = self.api.call(Method::GET, &target.path("rebuild"), None).await?;
        if answered.status == 404 {
            return Ok(failed(answered.describe(), FailureClass::User));
        }
        let last: Rebuild = answered.json()?;
        if last.request_id.as_deref() == Some(&intent.marker) {
            return Ok(Outcome::JobStarted);
        }
        let request = json!({"requestId": intent.marker});
        let answered = self
            .api
            .call(Method::POST, &target.path("rebuild"), Some(&request))
            .await?;
        match answered.status {
            409 => {
                let running = Rebuild {
                    request_id: answered
                        .body
                        .get("requestId")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                };
                if running.is_by_step_of(&intent.marker) {
                    info!(
                        tenant = target.tenant,
                        "an earlier attempt's rebuild runs still; joining it"
                    );
                    return Ok(Outcome::JobStarted);
                }
                // Its end would say nothing about this run, so this run's own comes after it.
                let (tenant, whose) = (target.tenant, running.whose());
                let why =
                    format!("DCR: another rebuild of `{tenant}` is under way, {whose}; this run's waits for its end");
                Err(retry(why, None, FailureClass::Infrastructure))
            }
            401 | 403 => Ok(failed(answered.describe(), FailureClass::Permission)),
            400 | 404 | 422 => Ok(failed(answered.describe(), FailureClass::User)),
            _ => answered.json::<Rebuild>().map(|_| Outcome::JobStarted),
        }
    }

    async fn find(&self, intent: &JobIntent) -> Result<bool, CallError> {
        let target = Target::of(intent).map_err(|why| permanent(why, FailureClass::User))?;
        if target.watch == Watch::Farmers {
            return Ok(false);
        }
        let answered = self.api.call(Method::GET, &target.path("rebuild"), None).await?;
        if answered.status == 404 {
            return Ok(false);
        }
        // One of an earlier attempt that still runs would have been joined.
        Ok(answered.json::<Rebuild>()?.is_by_step_of(&intent.marker))
    }

    async fn observe(&self, intent: &JobIntent, started: bool) -> Result<Observation, CallError> {
        let target = Target::of(intent).map_err(|why| permanent(why, FailureClass::User))?;
        match target.watch {
            Watch::Rebuild => {
                self.observe_rebuild(&target, started.then_some(intent.marker.as_str()))
                    .await
            }
            Watch::Farmers => self.observe_farmers(&target).await,
        }
    }

    async fn cancel(&self, intent: &JobIntent) -> Result<Outcome, CallError> {
        let target = match Target::of(intent) {
            Ok(target) => target,
            Err(reason) => return Ok(failed(reason, FailureClass::User)),
        };
        if target.watch == Watch::Farmers {
            return Ok(Outcome::JobCanceled);
        }
        let last = self.last_rebuild(&target).await?;
        if !last.is_by_step_of(&intent.marker) {
            return self.leave_alone(&target, &last).await;
        }
        let answered = self
            .api
            .call(Method::POST, &target.path("rebuild/cancel"), None)
            .await?;
        match answered.status {
            // Nothing runs.
            409 => Ok(Outcome::JobCanceled),
            401 | 403 => Ok(failed(answered.describe(), FailureClass::Permission)),
            _ if answered.is_success() => Ok(Outcome::JobCanceled),
            _ => Ok(failed(answered.describe(), FailureClass::User)),
        }
    }
}

/// Safe in a path.
fn is_tenant(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.len() <= 100 && !text.starts_with('.') && text.bytes().all(plain)
}

fn failed(reason: String, class: FailureClass) -> Outcome {
    Outcome::Failed { reason, class }
}

/// What the status alone says.
fn judge(status: &ProcessStatus) -> Observation {
    let (state, detail) = match status.phase() {
        ProcessPhase::Waiting => (ObservedState::Pending, None),
        ProcessPhase::Starting => (ObservedState::Running, Some("starting".to_owned())),
        ProcessPhase::Running => {
            let times = if status.restart_count == 1 { "time" } else { "times" };
            let resumed = format!("resumed, restarted {} {times}", status.restart_count);
            (ObservedState::Running, (status.restart_count > 0).then_some(resumed))
        }
        ProcessPhase::Failed => (ObservedState::Failed, None),
        ProcessPhase::Done => (ObservedState::Succeeded, None),
        ProcessPhase::Inconsistent => (ObservedState::Unknown, Some(contradiction(status))),
    };
    let reason = status.failure_reason.clone();
    let reason = match state {
        ObservedState::Failed => reason.or_else(|| Some("the rebuild failed and gave no reason".to_owned())),
        _ => reason,
    };
    Observation {
        progress: status.progress,
        reason,
        restarts: status.restart_count,
        ..seen(state, detail)
    }
}

fn seen(state: ObservedState, detail: Option<String>) -> Observation {
    Observation {
        state,
        progress: None,
        detail,
        reason: None,
        restarts: 0,
        link: None,
    }
}

fn contradiction(status: &ProcessStatus) -> String {
    format!(
        "the status contradicts itself: hasStarted={}, isRunning={}, hasCompleted={}, hasFailed={}",
        status.has_started, status.is_running, status.has_completed, status.has_failed
    )
}
