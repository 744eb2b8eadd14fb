//! Webhooks: verify, store, answer.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::body::HttpBody as _;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::serve::Hurry;
use super::{Share, Web, peer};
use crate::adapters::{Door, DoorAnswer, HalfTyped, RawRequest, TurnedAway};
use crate::domain::card;
use crate::domain::command::Command;
use crate::domain::ids::Platform;
use crate::domain::pipeline::ParamKind;
use crate::domain::places::any_holds;
use crate::domain::policy::{self, Permission};
use crate::store::{Deadline, NewDelivery, Place, Recorded, RunFilter, StoreError};

/// How long senders are asked to wait when the store cannot take a delivery, in seconds.
const RETRY_AFTER_S: u64 = 30;
/// How long senders are kept waiting for the store, unless a test is more impatient: GitHub hangs up after 10 s, and then
/// nobody knows why.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(7);
/// The part of the time for reading that a body may take whatever its bytes have earned: one of so many.
const GRACE_SHARE: u32 = 6;

/// Takes a delivery. 2xx only once it is durable.
pub(super) async fn receive(
    State(web): State<Web>,
    Path(platform): Path<String>,
    request: axum::extract::Request,
) -> Response {
    let arrived = web.clock.moment();
    let (parts, body) = request.into_parts();
    let door = platform
        .parse::<Platform>()
        .ok()
        .and_then(|name| web.hands.doors.get(&name).map(|door| (name, door.clone())));
    let Some((platform, door)) = door else {
        return (StatusCode::NOT_FOUND, "this platform is switched off; see /readyz\n").into_response();
    };
    let mut request = head(&parts);
    if let Err(turned_away) = door.check_head(&request, web.clock.now()) {
        return turn_away(&web, &platform, &turned_away);
    }
    let share = web.budget.share(platform.clone(), sender(&web, &parts));
    let within = parts
        .extensions
        .get::<Hurry>()
        .map_or(web.read_timeout, |hurry| hurry.0.min(web.read_timeout));
    let (body, share) = match read(&web, share, body, within).await {
        Ok(read) => read,
        Err(unread) => {
            web.metrics.delivery(&platform, unread.outcome());
            return unread.into_response();
        }
    };
    request.body = body;
    let verified = match door.verify(&request, web.clock.now()) {
        Ok(verified) => verified,
        Err(turned_away) => return turn_away(&web, &platform, &turned_away),
    };
    match &verified.answer {
        DoorAnswer::JsonOnly(json) => return answer_json(json.clone()),
        DoorAnswer::Suggest(half_typed) => return suggest(&web, door.as_ref(), half_typed).await,
        DoorAnswer::Accepted | DoorAnswer::Json(_) => {}
    }
    let thread = door.thread(&request);
    let delivery = NewDelivery {
        platform,
        delivery_id: verified.delivery_id,
        kind: verified.kind,
        proof: verified.proof,
        // Reading needs no query, and a query may carry a proof.
        target: parts.uri.path().to_owned(),
        headers: only(request.headers, door.kept_headers()),
        body: request.body,
        received_at: arrived.wall(),
        thread,
    };
    let deadline = verified.answer_within.map(|within| Deadline {
        arrived,
        within,
        clock: web.clock.clone(),
    });
    store(web, (delivery, deadline), verified.answer, share).await
}

/// Says why a request is turned away, and counts it.
fn turn_away(web: &Web, platform: &Platform, why: &TurnedAway) -> Response {
    let (status, outcome) = match why {
        TurnedAway::Forged(_) => (StatusCode::UNAUTHORIZED, "forged"),
        TurnedAway::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
        TurnedAway::UnsupportedType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported"),
    };
    web.metrics.delivery(platform, outcome);
    if let Some(others) = web.refusals.to_say(platform, outcome, web.clock.now()) {
        tracing::warn!(%platform, outcome, reason = %why, others, "a request was turned away");
    }
    (status, format!("{why}\n")).into_response()
}

/// Who sends the request, if configuration and connection tell.
fn sender(web: &Web, parts: &Parts) -> Option<IpAddr> {
    let ConnectInfo(connected) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    peer::sender(connected.ip(), &parts.headers, web.trusted_proxies.as_deref())
}

/// Stores a verified delivery and answers. A task of its own does the storing: a client that hangs up does not
/// undo what it was about to be promised. It keeps the share too: until it is done, the body is in memory.
async fn store(
    web: Web,
    (delivery, deadline): (NewDelivery, Option<Deadline>),
    answer: DoorAnswer,
    share: Share,
) -> Response {
    let (platform, id) = (delivery.platform.clone(), delivery.delivery_id.clone());
    let keeper = web.store.clone();
    let stored = tokio::spawn(async move {
        let recorded = match deadline {
            Some(deadline) => keeper.record_delivery_before(&delivery, deadline).await,
            None => keeper.record_delivery(&delivery).await,
        };
        drop(share);
        recorded
    });
    let stored = match tokio::time::timeout(web.store_timeout, stored).await {
        Ok(Ok(stored)) => stored,
        Ok(Err(error)) => Err(StoreError::Unavailable(error.to_string())),
        // It may still be stored: then it is known when it comes again.
        Err(_) => Err(StoreError::Unavailable("storing takes too long".to_owned())),
    };
    match stored {
        Ok(Recorded::TooLate) => {
            web.metrics.delivery(&platform, "too_late");
            tracing::warn!(%platform, delivery = %id, "a delivery could not be stored in time");
            later("too late to be answered; nothing was done\n")
        }
        Ok(recorded) => {
            if let Some(times) = web.trouble.over(web.clock.now()) {
                tracing::info!(times, "deliveries are stored again");
            }
            let outcome = if recorded == Recorded::New { "stored" } else { "again" };
            web.metrics.delivery(&platform, outcome);
            tracing::debug!(%platform, delivery = %id, outcome, "delivery");
            web.wake.notify_one();
            match answer {
                DoorAnswer::Json(json) => answer_json(json),
                _ => StatusCode::ACCEPTED.into_response(),
            }
        }
        Err(why) => {
            web.metrics.delivery(&platform, "unavailable");
            if let Some(times) = web.trouble.met(web.clock.now()) {
                tracing::error!(%platform, delivery = %id, %why, times, "deliveries cannot be stored");
            }
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
pub(super) fn later(why: &'static str) -> Response {
    let retry = [(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S))];
    (StatusCode::SERVICE_UNAVAILABLE, retry, why).into_response()
}

/// The body, with its share of the budget. A length that is announced and too large, or for which there is no place, is
/// refused before the first byte.
async fn read(web: &Web, mut share: Share, body: Body, within: Duration) -> Result<(Bytes, Share), Unread> {
    let announced = body.size_hint().lower();
    if announced > web.body_limit_bytes as u64 {
        return Err(Unread::TooLarge);
    }
    if !share.announce(announced) {
        return Err(Unread::Overloaded);
    }
    tokio::time::timeout(within, collect(web, share, body))
        .await
        .unwrap_or(Err(Unread::TooSlow))
}

/// Reads the body to its end. Every byte that came earns a little time for the next ones, so that whoever holds room
/// must go on sending.
async fn collect(web: &Web, mut share: Share, mut body: Body) -> Result<(Bytes, Share), Unread> {
    let mut whole = Vec::new();
    let mut too_slow = pin!(tokio::time::sleep(web.read_timeout / GRACE_SHARE));
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = too_slow.as_mut() => return Err(Unread::TooSlow),
        };
        let Some(frame) = frame else {
            share.arrived();
            return Ok((whole.into(), share));
        };
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
        let earned = Duration::from_secs(1).saturating_mul(u32::try_from(data.len()).unwrap_or(u32::MAX));
        let deadline = too_slow.deadline() + earned / web.body_rate_min.max(1);
        too_slow.as_mut().reset(deadline);
    }
}

/// The request without its body.
fn head(parts: &Parts) -> RawRequest {
    RawRequest {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: text_headers(&parts.headers),
        body: Bytes::new(),
    }
}

/// Header values that are no text prove nothing and say nothing.
fn text_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}

/// The headers with these names. Everything else that a request brings stays outside: it may be a credential, under
/// whatever name.
fn only(headers: Vec<(String, String)>, kept: &[&str]) -> Vec<(String, String)> {
    let mut headers = headers;
    headers.retain(|(name, _)| kept.contains(&name.as_str()));
    headers
}

/// Suggests run ids for a half-typed `run` argument: the command's newest runs whose id or name holds what was typed,
/// and only those of the thread where not all of them may be spoken of.
async fn suggest(web: &Web, door: &dyn Door, half_typed: &HalfTyped) -> Response {
    let runs = match completable(web, half_typed) {
        Some(command) => {
            let control = any_holds(&command.control, &half_typed.thread.platform, &half_typed.within);
            let filter = RunFilter {
                pipeline: Some(command.pipeline.to_string()),
                place: (!control).then(|| Place::Thread(half_typed.thread.clone())),
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
    if half_typed.within.is_empty() {
        return None;
    }
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
