//! Webhooks: verify, store, answer.

use axum::body::Body;
use axum::body::HttpBody as _;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use jiff::Timestamp;

use super::{Share, Web};
use crate::adapters::{Door, DoorAnswer, HalfTyped, RawRequest, TurnedAway, Verified};
use crate::domain::card;
use crate::domain::command::Command;
use crate::domain::ids::Platform;
use crate::domain::pipeline::ParamKind;
use crate::domain::policy::{self, Permission};
use crate::store::{Deadline, NewDelivery, Recorded, RunFilter};

/// How long senders are asked to wait when the store cannot take a delivery, in seconds.
const RETRY_AFTER_S: u64 = 30;
/// Headers that prove or authorise; they are not kept.
const CREDENTIALS: [&str; 4] = [
    "authorization",
    "cookie",
    "x-automation-webhook-token",
    "proxy-authorization",
];

/// Takes a delivery. 2xx only once it is durable.
pub(super) async fn receive(
    State(web): State<Web>,
    Path(platform): Path<String>,
    request: axum::extract::Request,
) -> Response {
    let arrived_at = web.clock.now();
    let (parts, body) = request.into_parts();
    let door = platform
        .parse::<Platform>()
        .ok()
        .and_then(|name| web.hands.doors.get(&name).map(|door| (name, door.clone())));
    let Some((platform, door)) = door else {
        return (StatusCode::NOT_FOUND, "this platform is switched off; see /readyz\n").into_response();
    };
    let count = |outcome: &str| web.metrics.delivery(&platform, outcome);
    let (body, share) = match read(&web, body).await {
        Ok(read) => read,
        Err(unread) => {
            count(unread.outcome());
            return unread.into_response();
        }
    };
    let request = raw(&parts, body);
    let verified = match door.verify(&request, web.clock.now()) {
        Ok(verified) => verified,
        Err(turned_away) => {
            let (status, outcome) = match &turned_away {
                TurnedAway::Forged(_) => (StatusCode::UNAUTHORIZED, "forged"),
                TurnedAway::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
                TurnedAway::UnsupportedType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported"),
            };
            count(outcome);
            tracing::warn!(%platform, outcome, reason = %turned_away, "a request was turned away");
            return (status, format!("{turned_away}\n")).into_response();
        }
    };
    match &verified.answer {
        DoorAnswer::JsonOnly(json) => return answer_json(json.clone()),
        DoorAnswer::Suggest(half_typed) => return suggest(&web, door.as_ref(), half_typed).await,
        DoorAnswer::Accepted | DoorAnswer::Json(_) => {}
    }
    store(web, platform, request, verified, (arrived_at, share)).await
}

/// Stores a verified delivery and answers. A task of its own does the storing: a client that hangs up does not
/// undo what it was about to be promised. It keeps the share too: until it is done, the body is in memory.
async fn store(
    web: Web,
    platform: Platform,
    request: RawRequest,
    verified: Verified,
    (arrived_at, share): (Timestamp, Share),
) -> Response {
    let delivery = NewDelivery {
        platform: platform.clone(),
        delivery_id: verified.delivery_id.clone(),
        kind: verified.kind,
        proof: verified.proof,
        target: without_token(&request.target),
        headers: request
            .headers
            .into_iter()
            .filter(|(name, _)| !CREDENTIALS.contains(&name.as_str()))
            .collect(),
        body: request.body,
        received_at: arrived_at,
    };
    let deadline = verified.answer_within.map(|within| Deadline {
        at: arrived_at.checked_add(within).unwrap_or(Timestamp::MAX),
        clock: web.clock.clone(),
    });
    let keeper = web.store.clone();
    let stored = tokio::spawn(async move {
        let recorded = match deadline {
            Some(deadline) => keeper.record_delivery_before(&delivery, deadline).await,
            None => keeper.record_delivery(&delivery).await,
        };
        drop(share);
        recorded
    })
    .await;
    match stored {
        Ok(Ok(Recorded::TooLate)) => {
            web.metrics.delivery(&platform, "too_late");
            tracing::warn!(%platform, delivery = %verified.delivery_id, "a delivery could not be stored in time");
            later("too late to be answered; nothing was done\n")
        }
        Ok(Ok(recorded)) => {
            let outcome = if recorded == Recorded::New { "stored" } else { "again" };
            web.metrics.delivery(&platform, outcome);
            tracing::debug!(%platform, delivery = %verified.delivery_id, outcome, "delivery");
            web.wake.notify_one();
            match verified.answer {
                DoorAnswer::Json(json) => answer_json(json),
                _ => StatusCode::ACCEPTED.into_response(),
            }
        }
        failed => {
            let why = failed.map_or_else(
                |e| e.to_string(),
                |r| r.err().map(|e| e.to_string()).unwrap_or_default(),
            );
            web.metrics.delivery(&platform, "unavailable");
            tracing::error!(%platform, delivery = %verified.delivery_id, %why, "a delivery cannot be stored");
            later("cannot store the delivery now; send it again later\n")
        }
    }
}

/// Why a body was not taken.
#[derive(Debug, Clone, Copy)]
enum Unread {
    TooLarge,
    TooSlow,
    Broken,
    /// All bodies together hold as much as they may.
    Overloaded,
}

impl Unread {
    /// As it is counted.
    fn outcome(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::TooSlow | Self::Broken => "unread",
            Self::Overloaded => "overloaded",
        }
    }
}

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n").into_response(),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body came too slowly\n").into_response(),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body did not come through\n").into_response(),
            Self::Overloaded => later("too much comes in at once; send it again later\n"),
        }
    }
}

/// 503, and when to come back.
fn later(why: &'static str) -> Response {
    let retry = [(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S))];
    (StatusCode::SERVICE_UNAVAILABLE, retry, why).into_response()
}

/// The body, with its share of the budget. A length that is announced and too large is refused before the first byte.
async fn read(web: &Web, body: Body) -> Result<(Bytes, Share), Unread> {
    if body.size_hint().lower() > web.body_limit_bytes as u64 {
        return Err(Unread::TooLarge);
    }
    tokio::time::timeout(web.read_timeout, collect(web, body))
        .await
        .unwrap_or(Err(Unread::TooSlow))
}

async fn collect(web: &Web, mut body: Body) -> Result<(Bytes, Share), Unread> {
    let mut share = web.budget.share();
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        // What is no data are trailers, which say nothing to us.
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > web.body_limit_bytes {
            return Err(Unread::TooLarge);
        }
        if !share.take(data.len()) {
            return Err(Unread::Overloaded);
        }
        whole.extend_from_slice(&data);
    }
    Ok((whole.into(), share))
}

fn raw(parts: &Parts, body: Bytes) -> RawRequest {
    RawRequest {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: text_headers(&parts.headers),
        body,
    }
}

/// Header values that are no text prove nothing and say nothing.
fn text_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}

/// Connect may carry its proof in the query; it is not kept.
fn without_token(target: &str) -> String {
    match target.split_once('?') {
        Some((path, query)) => {
            let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("jwt=")).collect();
            if kept.is_empty() {
                path.to_owned()
            } else {
                format!("{path}?{}", kept.join("&"))
            }
        }
        None => target.to_owned(),
    }
}

/// Suggests run ids for a half-typed `run` argument: the command's newest runs whose id or name holds what was typed.
async fn suggest(web: &Web, door: &dyn Door, half_typed: &HalfTyped) -> Response {
    let runs = match completable(web, half_typed) {
        Some(command) => {
            let filter = RunFilter {
                pipeline: Some(command.pipeline.to_string()),
                limit: 100,
                ..RunFilter::default()
            };
            let mut runs = web.store.runs(&filter).await.unwrap_or_default();
            runs.retain(|run| run.plan.command == command.name);
            runs
        }
        None => Vec::new(),
    };
    let typed = half_typed.typed.to_lowercase();
    let choices: Vec<(String, String)> = runs
        .iter()
        .map(|run| (run.id.to_string(), card::headline(run)))
        .filter(|(id, label)| id.to_lowercase().starts_with(&typed) || label.to_lowercase().contains(&typed))
        .take(25)
        .collect();
    answer_json(door.suggestions(&choices))
}

/// The command whose runs may be suggested: the half-typed argument names one, and whoever types may say the verb.
/// Judged by configuration and payload alone: suggestions are asked for at every key stroke, so no platform is asked.
fn completable<'a>(web: &'a Web, half_typed: &HalfTyped) -> Option<&'a Command> {
    let mut commands = web.catalog.commands.iter();
    let command = commands.find(|command| command.name.as_str() == half_typed.command)?;
    let verb = command
        .verbs
        .iter()
        .find(|verb| verb.name.as_str() == half_typed.verb)?;
    let arg = verb.args.iter().find(|arg| arg.name.as_str() == half_typed.arg)?;
    let permission = policy::judge(&web.catalog.people, &verb.roles, &half_typed.actor, &[]);
    (arg.kind == ParamKind::Run && matches!(permission, Permission::Granted { .. })).then_some(command)
}

fn answer_json(json: String) -> Response {
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        json,
    )
        .into_response()
}
