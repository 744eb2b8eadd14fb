//! The list of what was sent to the app's webhook, and sending it again ("REST API endpoints for GitHub App webhooks").

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::mail::Attempt;
use super::render;
use super::state::World;
use super::wire::{Refusal, Reply, Req};

/// Deliveries older than this are gone.
const KEPT: SignedDuration = SignedDuration::from_hours(72);
/// Cursors are opaque; this is how this stand-in's begin.
const CURSOR: &str = "v1_";

/// `GET /app/hook/deliveries`: each time that something was sent, newest first, paged by cursor.
pub(super) fn list(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let from = match req.query("cursor") {
        None => u64::MAX,
        Some(cursor) => {
            let id = cursor.strip_prefix(CURSOR).and_then(|id| id.parse().ok());
            id.ok_or_else(|| Refusal::new(400, "Invalid cursor"))?
        }
    };
    let redelivery = match req.query("redelivery") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Refusal::unprocessable("redelivery is not a boolean")),
    };
    let mut found: Vec<&Attempt> = kept(world)
        .filter(|attempt| attempt.id <= from && redelivery.is_none_or(|again| attempt.again == again))
        .collect();
    found.sort_by_key(|attempt| std::cmp::Reverse(attempt.id));
    let rest = found.split_off(req.per_page().min(found.len()));
    let items = found.into_iter().map(|attempt| item(world, attempt)).collect();
    let reply = Reply::ok(Value::Array(items));
    Ok(match rest.first() {
        Some(next) => reply.linked(req, "cursor", &format!("{CURSOR}{}", next.id)),
        None => reply,
    })
}

/// `GET /app/hook/deliveries/{id}`.
pub(super) fn get(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let attempt = find(world, req)?;
    let mut shown = item(world, attempt);
    let headers: Map<String, Value> = attempt
        .headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    shown["url"] = Value::Null;
    shown["request"] = json!({"headers": headers, "payload": world.mail.deliveries()[attempt.of].payload});
    shown["response"] = json!({"headers": {}, "payload": ""});
    Ok(Reply::ok(shown))
}

/// `POST /app/hook/deliveries/{id}/attempts`.
pub(super) fn again(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let of = find(world, req)?.of;
    let id = world.mail.deliveries()[of].id.clone();
    world.mail.again(&id);
    Ok(Reply::json(202, json!({})))
}

fn kept(world: &World) -> impl Iterator<Item = &Attempt> {
    let oldest = world.now() - KEPT;
    world.mail.attempts().iter().filter(move |attempt| attempt.at >= oldest)
}

fn find<'w>(world: &'w World, req: &Req) -> Result<&'w Attempt, Refusal> {
    let id = req.number("id")?;
    kept(world)
        .find(|attempt| attempt.id == id)
        .ok_or_else(Refusal::not_found)
}

fn item(world: &World, attempt: &Attempt) -> Value {
    let delivery = &world.mail.deliveries()[attempt.of];
    let (status, code) = match attempt.status {
        0 => ("failed to connect".to_owned(), 502),
        code @ 200..300 => ("OK".to_owned(), code),
        code => (format!("Invalid HTTP Response: {code}"), code),
    };
    let number = |path: &str| delivery.payload.pointer(path).cloned().unwrap_or(Value::Null);
    json!({
        "id": attempt.id,
        "guid": delivery.id,
        "delivered_at": render::time(attempt.at),
        "redelivery": attempt.again,
        "duration": 0.27,
        "status": status,
        "status_code": code,
        "event": delivery.event,
        "action": if delivery.action.is_empty() { Value::Null } else { json!(delivery.action) },
        "installation_id": number("/installation/id"),
        "repository_id": number("/repository/id"),
        "throttled_at": null,
    })
}
