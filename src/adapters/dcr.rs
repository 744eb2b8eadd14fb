//! The cache-rebuild service (DCR) as a back-end: a tenant's rebuild, or the number of its farmers, is a job.
//!
//! Nobody starts a rebuild, and nobody ends one: it begins by itself once the minimum of farmers is there, and the
//! service restarts it by itself after a failure. So this only looks, with two calls that change nothing. What the status
//! means is the domain's knowledge (`domain::process`); here it is only fetched.

use async_trait::async_trait;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use tracing::debug;

use super::http::{Api, Auth, permanent, retry};
use super::{Backend, CallError};
use crate::domain::course::Crew;
use crate::domain::effect::{JobIntent, Outcome};
use crate::domain::ids::Percent;
use crate::domain::process::{ProcessPhase, ProcessStatus};
use crate::domain::run::{FailureClass, Observation, ObservedState};

const MIN_FARMERS: u32 = 3;
/// What is counted.
const COUNTED: &str = "farmers in hidden state";
const BY_ITSELF: &str = "a rebuild begins by itself once the farmers are there; stepherd neither starts nor ends one";

/// What the adapter needs to know.
#[derive(Debug, Clone)]
pub struct DcrConfig {
    /// `https://dcr.example.org`.
    pub base_url: String,
    /// The bearer token.
    pub token: SecretString,
}

/// The service. A job is told `tenant`, and may be told `watch` (`rebuild` or `farmers`), `min_farmers` (3 if not
/// given), `farm_size` (else what the service says it wants) and `link`, where a person can look.
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
    farm_size: Option<u32>,
    link: Option<&'a str>,
}

/// How many farmers are in hidden state, which is when they count, and how many there shall be.
#[derive(Deserialize)]
struct Farmers {
    ready: u32,
    desired: Option<u32>,
}

impl Dcr {
    /// # Errors
    /// When the address or the token cannot be right.
    pub fn new(config: &DcrConfig) -> Result<Self, String> {
        Ok(Self {
            api: Api::new("DCR", &config.base_url, &Auth::Bearer(config.token.clone()))?,
        })
    }

    async fn farmers(&self, target: &Target<'_>) -> Result<Crew, CallError> {
        let farmers: Farmers = self
            .api
            .call(Method::GET, &target.path("farmers"), None)
            .await?
            .json()?;
        Ok(Crew {
            what: COUNTED.to_owned(),
            there: farmers.ready,
            min: target.min_farmers,
            size: target.farm_size.or(farmers.desired),
        })
    }

    /// The status document, or what is wrong with it.
    async fn status(&self, target: &Target<'_>) -> Result<Result<(ProcessStatus, Value), String>, CallError> {
        let answered = self.api.call(Method::GET, &target.path("processStatus"), None).await?;
        let document: Value = answered.json()?;
        if document.is_null() {
            let why = "DCR: the process status came without a body".to_owned();
            return Err(retry(why, None, FailureClass::Infrastructure));
        }
        Ok(ProcessStatus::from_json(&document).map(|status| (status, document)))
    }

    /// That there are enough farmers is what is waited for, whenever they came: no end that could be an earlier one.
    async fn observe_farmers(&self, target: &Target<'_>) -> Result<Observation, CallError> {
        let crew = self.farmers(target).await?;
        let state = if crew.is_enough() {
            ObservedState::Succeeded
        } else {
            ObservedState::Pending
        };
        Ok(Observation {
            progress: Some(Percent::of(u64::from(crew.there), u64::from(crew.min))),
            link: target.link.map(str::to_owned),
            ..seen(state, Some(crew.to_string()))
        })
    }

    async fn observe_rebuild(&self, target: &Target<'_>) -> Result<Observation, CallError> {
        let link = target.link.map(str::to_owned);
        let (status, document) = match self.status(target).await? {
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
        seen.link = link;
        if seen.state != ObservedState::Unknown {
            seen.mark = Some(mark(&status, &document));
            seen.crew = match self.farmers(target).await {
                Ok(crew) => Some(crew),
                // The status says enough by itself.
                Err(why) => {
                    debug!(%why, "cannot count the farmers");
                    None
                }
            };
        }
        let too_few = seen.crew.as_ref().is_some_and(|crew| !crew.is_enough());
        if too_few && matches!(seen.state, ObservedState::Pending | ObservedState::Starting) {
            seen.state = ObservedState::Waiting;
            seen.detail = Some("enough farmers; the rebuild begins by itself then".to_owned());
        }
        Ok(seen)
    }
}

/// What tells one rebuild's end from another's: the four flags, the count of restarts, progress, reason, and the times
/// at which it began and ended, if the service tells them.
fn mark(status: &ProcessStatus, document: &Value) -> String {
    const TIMES: [&str; 5] = ["startedAt", "completedAt", "finishedAt", "endedAt", "failedAt"];
    let times = TIMES.map(|name| document.get(name).cloned().unwrap_or_default());
    let mut said = status.to_json();
    said["times"] = Value::Array(times.into());
    said.to_string()
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
            farm_size: match given("farm_size") {
                None => None,
                Some(text) => Some(
                    text.parse()
                        .map_err(|_| "DCR: `farm_size` must be a whole number from 0".to_owned())?,
                ),
            },
            link: given("link"),
        })
    }

    fn path(&self, what: &str) -> String {
        format!("/api/v1/tenants/{}/{what}", self.tenant)
    }
}

#[async_trait]
impl Backend for Dcr {
    /// Configuration does not allow it; a plan that was stored before may still ask.
    async fn start(&self, _: &JobIntent) -> Result<Outcome, CallError> {
        Ok(never())
    }

    async fn find(&self, _: &JobIntent) -> Result<bool, CallError> {
        Ok(false)
    }

    async fn observe(&self, intent: &JobIntent, _: bool) -> Result<Observation, CallError> {
        let target = Target::of(intent).map_err(|why| permanent(why, FailureClass::User))?;
        match target.watch {
            Watch::Rebuild => self.observe_rebuild(&target).await,
            Watch::Farmers => self.observe_farmers(&target).await,
        }
    }

    async fn cancel(&self, _: &JobIntent) -> Result<Outcome, CallError> {
        Ok(never())
    }
}

/// Safe in a path.
fn is_tenant(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.len() <= 100 && !text.starts_with('.') && text.bytes().all(plain)
}

fn never() -> Outcome {
    Outcome::Failed {
        reason: format!("DCR: {BY_ITSELF}"),
        class: FailureClass::User,
    }
}

/// What the status alone says.
fn judge(status: &ProcessStatus) -> Observation {
    let (state, detail) = match status.phase() {
        ProcessPhase::Waiting => (ObservedState::Pending, None),
        ProcessPhase::Starting => (ObservedState::Starting, Some("starting".to_owned())),
        ProcessPhase::Running => {
            let times = if status.restart_count == 1 { "time" } else { "times" };
            let resumed = format!("restarted {} {times} by the service", status.restart_count);
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
        detail,
        ..Observation::of(state)
    }
}

fn contradiction(status: &ProcessStatus) -> String {
    format!(
        "the status contradicts itself: hasStarted={}, isRunning={}, hasCompleted={}, hasFailed={}",
        status.has_started, status.is_running, status.has_completed, status.has_failed
    )
}
