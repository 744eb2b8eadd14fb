//! What Discord's API answers to the bot about channels, messages, threads and members.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::routing::{get, patch, post, put};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::rules::{self, Wrong, text_of};
use super::state::{Channel, EPHEMERAL, Message, Nonce, PUBLIC_THREAD};
use super::{Inner, commands, webhooks};
use crate::sandbox::wire::{Handled, Reply, credential, is_json, lock, query};

/// "A few minutes" in the documentation of `enforce_nonce`.
const NONCE_LIFE: SignedDuration = SignedDuration::from_mins(5);
const ARCHIVE_MINUTES: [u64; 4] = [60, 1440, 4320, 10080];

pub(super) type Service = State<Arc<Inner>>;

pub(super) fn routes(inner: Arc<Inner>) -> Router {
    let api = Router::new()
        .route("/users/@me", get(me))
        .route("/channels/{channel}", get(channel).patch(change_channel))
        .route("/channels/{channel}/messages", get(list).post(create))
        .route(
            "/channels/{channel}/messages/{message}",
            get(one).patch(edit).delete(remove),
        )
        .route(
            "/channels/{channel}/messages/{message}/reactions/{emoji}/@me",
            put(react),
        )
        .route("/channels/{channel}/messages/{message}/threads", post(open_thread))
        .route("/guilds/{guild}/members/{user}", get(member))
        .route(
            "/applications/{app}/commands",
            get(commands::list_global).put(commands::put_global),
        )
        .route(
            "/applications/{app}/guilds/{guild}/commands",
            get(commands::list_guild).put(commands::put_guild),
        )
        .route("/webhooks/{app}/{token}", post(webhooks::follow_up))
        .route(
            "/webhooks/{app}/{token}/messages/{message}",
            patch(webhooks::edit).get(webhooks::one).delete(webhooks::remove),
        );
    Router::new()
        .nest("/api/v10", api.clone())
        .merge(api)
        .fallback(async || error(404, 0, "404: Not Found"))
        .with_state(inner)
}

async fn me(State(inner): Service, headers: HeaderMap) -> Handled {
    inner.open_for(&headers)?;
    Ok(Reply::json(200, inner.bot_json()))
}

async fn channel(State(inner): Service, Path(channel): Path<String>, headers: HeaderMap) -> Handled {
    inner.open_for(&headers)?;
    let state = lock(&inner.state);
    let found = state.channels.get(&channel).ok_or_else(unknown_channel)?;
    Ok(Reply::json(200, found.json()))
}

/// Threads only: opening an archived one again, archiving, renaming.
async fn change_channel(
    State(inner): Service,
    Path(channel): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    inner.open_for(&headers)?;
    let said = form(&headers, &body)?;
    let mut state = lock(&inner.state);
    let thread = state.channels.get_mut(&channel).ok_or_else(unknown_channel)?;
    if thread.kind != PUBLIC_THREAD || thread.locked || thread.closed {
        return Err(error(403, 50013, "Missing Permissions"));
    }
    if let Some(name) = said.get("name") {
        text_of(name, "name", 1, 100)?;
        thread.name = name.as_str().unwrap_or_default().to_owned();
    }
    if let Some(archived) = said.get("archived") {
        let wrong = || Wrong::new("archived", "BOOLEAN_TYPE_CONVERT", "Must be either true or false.");
        thread.archived = archived.as_bool().ok_or_else(wrong)?;
    }
    Ok(Reply::json(200, thread.json()))
}

async fn member(State(inner): Service, Path((guild, user)): Path<(String, String)>, headers: HeaderMap) -> Handled {
    inner.open_for(&headers)?;
    let state = lock(&inner.state);
    let members = state
        .guilds
        .get(&guild)
        .ok_or_else(|| error(404, 10004, "Unknown Guild"))?;
    let member = members.get(&user).ok_or_else(|| error(404, 10007, "Unknown Member"))?;
    Ok(Reply::json(200, member.json()))
}

async fn list(
    State(inner): Service,
    Path(channel): Path<String>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&headers)?;
    let asked = query(raw);
    let limit = match asked.get("limit").map(|l| l.parse::<usize>()) {
        None => 50,
        Some(Ok(limit)) if (1..=100).contains(&limit) => limit,
        Some(_) => {
            let text = "int value should be between 1 and 100.";
            return Err(Wrong::new("limit", "NUMBER_TYPE_MAX", text).into());
        }
    };
    let id = |name: &str| asked.get(name).and_then(|v| v.parse::<u64>().ok());
    let (before, after) = (id("before"), id("after"));
    let state = lock(&inner.state);
    state.channels.get(&channel).ok_or_else(unknown_channel)?;
    let number = |m: &Message| m.id.parse::<u64>().unwrap_or_default();
    let mut found: Vec<&Message> = state
        .messages
        .iter()
        .filter(|m| m.channel == channel && m.flags & EPHEMERAL == 0)
        .filter(|m| before.is_none_or(|b| number(m) < b) && after.is_none_or(|a| number(m) > a))
        .collect();
    found.sort_by_key(|m| number(m));
    // After a message the oldest come first into the page; a page itself always shows the newest first.
    let from = if after.is_some() {
        0
    } else {
        found.len().saturating_sub(limit)
    };
    let page = found.into_iter().skip(from).take(limit).rev();
    Ok(Reply::json(200, page.map(|m| state.message_json(m)).collect()))
}

async fn create(State(inner): Service, Path(channel): Path<String>, headers: HeaderMap, body: Bytes) -> Handled {
    inner.open_for(&headers)?;
    let said = form(&headers, &body)?;
    let now = (inner.options.now)();
    inner.may_write(&channel)?;
    rules::check(&said)?;
    let mut state = lock(&inner.state);
    let nonce = said.get("nonce").filter(|n| !n.is_null() && *n != "").cloned();
    state.nonces.retain(|n| now.duration_since(n.at) < NONCE_LIFE);
    if let (Some(nonce), Some(Value::Bool(true))) = (&nonce, said.get("enforce_nonce")) {
        // Per author, not per channel; and the bot is the only author here.
        let twin = state.nonces.iter().find(|n| n.nonce == *nonce);
        if let Some(message) = twin.and_then(|t| state.message(&t.message)) {
            return Ok(Reply::json(200, state.message_json(message)));
        }
    }
    let reference = said.get("message_reference").and_then(|r| r["message_id"].as_str());
    let strict = said
        .get("message_reference")
        .is_some_and(|r| r["fail_if_not_exists"] != false);
    let here = |id: &str| state.message(id).is_some_and(|m| m.channel == channel);
    if strict && !reference.is_none_or(here) {
        let wrong = Wrong::new("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message");
        return Err(wrong.into());
    }
    let id = state.new_id(now);
    let mut message = Message::new(id.clone(), &channel, inner.bot_json(), now);
    if !message.take(&said) {
        return Err(empty_message());
    }
    message.nonce.clone_from(&nonce);
    let shown = message.json();
    state.messages.push(message);
    if let Some(nonce) = nonce {
        state.nonces.push(Nonce {
            nonce,
            message: id,
            at: now,
        });
    }
    if let Some(thread) = state.channels.get_mut(&channel) {
        thread.archived = false;
    }
    Ok(Reply::json(200, shown))
}

async fn one(State(inner): Service, Path((channel, message)): Path<(String, String)>, headers: HeaderMap) -> Handled {
    inner.open_for(&headers)?;
    inner.with_message(&channel, &message, |_| Ok(Reply::empty(204)))?;
    let state = lock(&inner.state);
    let found = state.message(&message).ok_or_else(unknown_message)?;
    Ok(Reply::json(200, state.message_json(found)))
}

async fn edit(
    State(inner): Service,
    Path((channel, message)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    inner.open_for(&headers)?;
    let said = form(&headers, &body)?;
    let bot = inner.options.application_id.clone();
    let now = (inner.options.now)();
    inner.with_message(&channel, &message, |_| Ok(Reply::empty(204)))?;
    inner.may_write(&channel)?;
    if lock(&inner.state).channels.get(&channel).is_some_and(|c| c.archived) {
        return Err(error(400, 50083, "Thread is archived"));
    }
    inner.with_message(&channel, &message, |m| {
        if m.author["id"] != bot {
            return Err(error(403, 50005, "Cannot edit a message authored by another user"));
        }
        rules::check(&said)?;
        if !m.take(&said) {
            return Err(empty_message());
        }
        m.edits += 1;
        m.edited = Some(now);
        Ok(Reply::json(200, m.json()))
    })
}

async fn remove(
    State(inner): Service,
    Path((channel, message)): Path<(String, String)>,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&headers)?;
    let bot = inner.options.application_id.clone();
    inner.with_message(&channel, &message, |m| match m.author["id"] == bot {
        true => Ok(Reply::empty(204)),
        false => Err(error(403, 50013, "Missing Permissions")),
    })?;
    lock(&inner.state).messages.retain(|m| m.id != message);
    Ok(Reply::empty(204))
}

async fn react(
    State(inner): Service,
    Path((channel, message, emoji)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&headers)?;
    inner.with_message(&channel, &message, |m| {
        let custom = emoji
            .rsplit_once(':')
            .is_some_and(|(_, id)| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
        let unicode = emoji.chars().next().is_some_and(|c| !c.is_ascii());
        if !custom && !unicode {
            return Err(error(400, 10014, "Unknown Emoji"));
        }
        if !m.reactions.contains(&emoji) {
            m.reactions.push(emoji.clone());
        }
        Ok(Reply::empty(204))
    })
}

async fn open_thread(
    State(inner): Service,
    Path((channel, message)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    inner.open_for(&headers)?;
    let said = form(&headers, &body)?;
    inner.with_message(&channel, &message, |_| Ok(Reply::empty(204)))?;
    inner.may_write(&channel)?;
    text_of(said.get("name").unwrap_or(&Value::Null), "name", 1, 100)?;
    let minutes = match said.get("auto_archive_duration") {
        None | Some(Value::Null) => 4320,
        Some(value) => value.as_u64().filter(|m| ARCHIVE_MINUTES.contains(m)).ok_or_else(|| {
            let text = "Value must be one of (60, 1440, 4320, 10080).";
            Wrong::new("auto_archive_duration", "BASE_TYPE_CHOICES", text)
        })?,
    };
    let mut state = lock(&inner.state);
    let parent = state.channels.get(&channel).ok_or_else(unknown_channel)?.clone();
    if parent.kind == PUBLIC_THREAD {
        return Err(error(400, 50024, "Cannot execute action on this channel type"));
    }
    if state.channels.contains_key(&message) {
        return Err(error(
            400,
            160_004,
            "A thread has already been created for this message",
        ));
    }
    let thread = Channel {
        id: message.clone(),
        kind: PUBLIC_THREAD,
        name: said["name"].as_str().unwrap_or_default().to_owned(),
        parent: Some(channel),
        owner: inner.options.application_id.clone(),
        archive_minutes: minutes,
        created: (inner.options.now)(),
        ..parent
    };
    let shown = thread.json();
    state.channels.insert(message, thread);
    Ok(Reply::json(201, shown))
}

impl Inner {
    /// The bot's token, and a `User-Agent` as the documentation demands it.
    pub(super) fn open_for(&self, headers: &HeaderMap) -> Result<(), Reply> {
        self.user_agent(headers)?;
        if credential(headers, "Bot") != Some(self.options.bot_token.as_str()) {
            return Err(error(401, 0, "401: Unauthorized"));
        }
        Ok(())
    }

    pub(super) fn user_agent(&self, headers: &HeaderMap) -> Result<(), Reply> {
        let agent = headers
            .get(header::USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        if self.options.strict_user_agent && !names_a_bot(agent) {
            return Err(error(403, 40333, "internal network error"));
        }
        Ok(())
    }

    pub(super) fn bot_json(&self) -> Value {
        json!({
            "id": self.options.application_id, "username": "bot", "global_name": null, "discriminator": "0",
            "avatar": null, "public_flags": 0, "bot": true,
        })
    }

    /// The channel is there, open to the bot, and its limit is not used up.
    fn may_write(&self, channel: &str) -> Result<(), Reply> {
        let now = (self.options.now)();
        let mut state = lock(&self.state);
        let found = state.channels.get(channel).ok_or_else(unknown_channel)?;
        let parent = found.parent.as_ref().and_then(|p| state.channels.get(p));
        if found.closed || parent.is_some_and(|p| p.closed) {
            return Err(error(403, 50013, "Missing Permissions"));
        }
        if found.archived && found.locked {
            return Err(error(400, 50083, "Thread is archived"));
        }
        let Some((most, within)) = self.options.channel_limit else {
            return Ok(());
        };
        let within = SignedDuration::try_from(within).unwrap_or_default();
        let writes = state.writes.entry(channel.to_owned()).or_default();
        writes.retain(|at| now.duration_since(*at) < within);
        if writes.len() >= most {
            let oldest = writes.first().copied().unwrap_or(now);
            return Err(limited(most, (within - now.duration_since(oldest)).as_secs_f64(), now));
        }
        writes.push(now);
        Ok(())
    }

    fn with_message(&self, channel: &str, message: &str, answer: impl FnOnce(&mut Message) -> Handled) -> Handled {
        let mut state = lock(&self.state);
        if !state.channels.contains_key(channel) {
            return Err(unknown_channel());
        }
        let found = state
            .message_mut(message)
            .filter(|m| m.channel == channel && m.flags & EPHEMERAL == 0);
        answer(found.ok_or_else(unknown_message)?)
    }
}

fn limited(most: usize, wait_s: f64, now: Timestamp) -> Reply {
    let body = json!({"message": "You are being rate limited.", "retry_after": wait_s, "global": false});
    Reply::json(429, body)
        .with("retry-after", wait_s.ceil())
        .with("x-ratelimit-limit", most)
        .with("x-ratelimit-remaining", 0)
        .with("x-ratelimit-reset", now.as_duration().as_secs_f64() + wait_s)
        .with("x-ratelimit-reset-after", wait_s)
        .with("x-ratelimit-bucket", "abcd1234")
        .with("x-ratelimit-scope", "user")
}

pub(super) fn json_body(headers: &HeaderMap, body: &Bytes) -> Result<Value, Reply> {
    if !is_json(headers) {
        let text = "Expected \"Content-Type\" header to be one of {'application/json'}.";
        return Err(error(400, 50035, text));
    }
    serde_json::from_slice(body).map_err(|_| error(400, 50109, "The request body contains invalid JSON."))
}

pub(super) fn form(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, Reply> {
    match json_body(headers, body)? {
        Value::Object(said) => Ok(said),
        _ => Err(error(400, 50035, "Invalid Form Body")),
    }
}

pub(super) fn error(status: u16, code: u32, message: &str) -> Reply {
    Reply::json(status, json!({"message": message, "code": code}))
}

pub(super) fn empty_message() -> Reply {
    error(400, 50006, "Cannot send an empty message")
}

pub(super) fn unknown_channel() -> Reply {
    error(404, 10003, "Unknown Channel")
}

pub(super) fn unknown_message() -> Reply {
    error(404, 10008, "Unknown Message")
}

/// `DiscordBot ($url, $versionNumber)`, and whatever may follow ("User Agent" in Discord's reference).
fn names_a_bot(agent: &str) -> bool {
    let named = agent.strip_prefix("DiscordBot (").and_then(|rest| rest.split_once(')'));
    named
        .and_then(|(inner, _)| inner.split_once(", "))
        .is_some_and(|(url, version)| {
            ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) && !version.is_empty()
        })
}
