//! Whether the process lives, whether it can work, and what it counts.
//!
//! A load balancer takes away whoever is not ready. So only what this process itself cannot do makes it unready: write
//! to the database, turn its loops. What is wrong for all processes alike (work that waits, a platform that asks to be
//! left alone) makes it degraded, which is said and measured, or all of them would be taken away at once.
//!
//! Anybody may ask whether it is ready, and is told how its parts are in words of its own, which name nothing. What is
//! switched off, what is parked and why is for those who have the API's token.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Web, api};
use crate::store::{Counts, Overdue, StoreError};
use crate::trouble::Trouble;

/// How long the database may take to answer before it counts as not answering: probes wait no longer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// A loop turns each second, or as soon as the database has answered or refused.
const LOOP_STANDS: Duration = Duration::from_secs(60);
/// What is due and waits for longer needs somebody's attention.
const OVERDUE: Duration = Duration::from_secs(60);

/// 200 as long as the process answers at all.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

const READY: &str = "ready";
const DEGRADED: &str = "degraded";
const NOT_READY: &str = "not ready";

/// What `/readyz` answers.
#[derive(Clone)]
struct Ready {
    status: StatusCode,
    /// To anybody.
    open: Map<String, Value>,
    /// To whoever has the token, besides.
    more: Map<String, Value>,
}

impl Ready {
    fn answer(mut self, whole: bool) -> Response {
        if whole {
            self.open.extend(self.more);
        }
        (self.status, Json(self.open)).into_response()
    }
}

/// The look of `/readyz` that is under way. Anybody may ask, as often as they like: who asks meanwhile gets the same
/// answer, so that a flood of them holds one connection to the database at a time.
#[derive(Default)]
pub struct Probe {
    under_way: Mutex<Option<SharedFuture<BoxFuture<'static, Ready>>>>,
    trouble: Trouble,
}

impl Probe {
    fn join(&self, web: &Web) -> SharedFuture<BoxFuture<'static, Ready>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match under_way.as_ref().filter(|look| look.peek().is_none()) {
            Some(look) => look.clone(),
            None => {
                let web = web.clone();
                let look = async move { look(&web).await }.boxed().shared();
                under_way.insert(look).clone()
            }
        }
    }
}

/// 503 if this process cannot work, else 200, and how its parts are. With the token also why, what is on, what is off
/// and why, what is wrong, and what needs somebody's attention.
pub(super) async fn readyz(State(web): State<Web>, headers: HeaderMap) -> Response {
    let whole = api::shows(web.api_token.as_ref(), &headers);
    web.probe.join(&web).await.answer(whole)
}

async fn look(web: &Web) -> Ready {
    let now = web.clock.now();
    let standing = web.metrics.standing_since(earlier(now, LOOP_STANDS));
    if !standing.is_empty() {
        let why = format!("these loops stand still: {}", standing.join(", "));
        if web.probe.trouble.met(now).is_some() {
            tracing::error!(%why, "not ready");
        }
        return unready(&[("loops", NOT_READY)], &why);
    }
    if let Err(error) = in_time(web.store.ping()).await {
        if web.probe.trouble.met(now).is_some() {
            tracing::error!(%error, "not ready");
        }
        return unready(
            &[("loops", READY), ("database", NOT_READY)],
            &format!("the database cannot be used now: {error}"),
        );
    }
    if web.probe.trouble.over(now).is_some() {
        tracing::info!("ready again");
    }
    let on: Vec<String> = web
        .hands
        .doors
        .keys()
        .map(ToString::to_string)
        .chain(web.hands.backends.keys().map(ToString::to_string))
        .collect();
    let mut parts = vec![("loops", READY)];
    let (counts, wrong) = match in_time(shared(web, now)).await {
        Ok(shared) => {
            parts.push(("database", READY));
            parts.extend(shared.parts());
            (shared.counts, shared.wrong())
        }
        Err(error) => {
            tracing::warn!(%error, "ready, but what waits cannot be counted now");
            parts.push(("database", DEGRADED));
            (Counts::default(), vec!["what waits cannot be counted now".to_owned()])
        }
    };
    let more = [
        ("wrong", json!(wrong)),
        ("on", json!(on)),
        ("off", json!(web.hands.off)),
        (
            "attention",
            json!({ "deliveries_parked": counts.deliveries_parked, "effects_parked": counts.effects_parked }),
        ),
    ];
    Ready {
        status: StatusCode::OK,
        open: open(true, &parts),
        more: named(more),
    }
}

fn open(ready: bool, parts: &[(&str, &str)]) -> Map<String, Value> {
    let degraded = ready && parts.iter().any(|(_, state)| *state != READY);
    let parts = named(parts.iter().map(|(part, state)| (*part, json!(state))));
    named([
        ("ready", json!(ready)),
        ("degraded", json!(degraded)),
        ("parts", json!(parts)),
    ])
}

fn named<'a>(values: impl IntoIterator<Item = (&'a str, Value)>) -> Map<String, Value> {
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value));
    values.collect()
}

fn unready(parts: &[(&str, &str)], why: &str) -> Ready {
    Ready {
        status: StatusCode::SERVICE_UNAVAILABLE,
        open: open(false, parts),
        more: named([("why", json!(why))]),
    }
}

/// 503 before there is anything to look at, and with the token why.
pub(super) fn starting(why: &str, whole: bool) -> Response {
    unready(&[("start", NOT_READY)], why).answer(whole)
}

/// Prometheus' text format; behind the API token like everything that tells about runs.
pub(super) async fn metrics(State(web): State<Web>, headers: HeaderMap) -> Response {
    if let Err(refused) = api::authorize(&web, &headers) {
        return refused;
    }
    web.metrics.body_bytes(web.budget.held());
    // What was counted before is no longer true when nothing can be counted now: it is left out.
    web.metrics.forget_rows();
    let counted = in_time(shared(&web, web.clock.now())).await;
    web.metrics.database_answers(counted.is_ok());
    if let Ok(shared) = counted {
        let counts = shared.counts;
        let rows = [
            ("deliveries", "pending", counts.deliveries_pending),
            ("deliveries", "parked", counts.deliveries_parked),
            ("effects", "pending", counts.effects_pending),
            ("effects", "parked", counts.effects_parked),
            ("runs", "queued", counts.runs_queued),
            ("runs", "active", counts.runs_active),
            ("runs", "stopped", counts.runs_stopped),
        ];
        for (what, state, count) in rows {
            web.metrics.rows(what, state, count);
        }
        web.metrics.overdue("deliveries", shared.overdue.deliveries);
        web.metrics.overdue("effects", shared.overdue.effects);
        let paused = shared.paused.iter();
        web.metrics.paused(paused.map(|(vendor, by)| (vendor.as_str(), *by)));
    }
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], web.metrics.render()).into_response()
}

/// What is the same for all processes on the database.
struct Shared {
    counts: Counts,
    overdue: Overdue,
    /// Vendors that are left alone, and for how long still.
    paused: Vec<(String, Duration)>,
    /// Why nobody is obeyed, for platforms where that is so.
    unknown: Vec<String>,
}

impl Shared {
    /// How they are, in words that name nothing.
    fn parts(&self) -> [(&'static str, &'static str); 3] {
        let state = |well: bool| if well { READY } else { DEGRADED };
        [
            ("deliveries", state(self.overdue.deliveries < OVERDUE)),
            ("effects", state(self.overdue.effects < OVERDUE)),
            ("platforms", state(self.paused.is_empty() && self.unknown.is_empty())),
        ]
    }

    fn wrong(&self) -> Vec<String> {
        let waiting = [
            ("deliveries wait", self.overdue.deliveries),
            ("effects wait", self.overdue.effects),
        ];
        let waiting = waiting.into_iter().filter(|(_, by)| *by >= OVERDUE);
        let waiting = waiting.map(|(what, by)| format!("{what}, the oldest for {} s", by.as_secs()));
        let paused = self.paused.iter();
        let paused = paused.map(|(vendor, by)| format!("{vendor} asked to be left alone for {} s more", by.as_secs()));
        waiting.chain(paused).chain(self.unknown.iter().cloned()).collect()
    }
}

async fn shared(web: &Web, now: Timestamp) -> Result<Shared, StoreError> {
    let paused = web.store.pauses(now).await?.into_iter();
    Ok(Shared {
        unknown: web.metrics.obeys_nobody(),
        counts: web.store.counts().await?,
        overdue: web.store.overdue(now).await?,
        paused: paused
            .map(|(vendor, until)| {
                (
                    vendor,
                    Duration::try_from(until.duration_since(now)).unwrap_or_default(),
                )
            })
            .collect(),
    })
}

async fn in_time<T>(looked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let looked = tokio::time::timeout(LOOK_TIMEOUT, looked).await;
    looked.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer in time".to_owned())))
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}
