//! What an interaction's token opens for fifteen minutes: the first answer, and further ones.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::HeaderMap;
use jiff::SignedDuration;

use super::Inner;
use super::routes::{Service, empty_message, error, form, unknown_message};
use super::rules;
use super::state::{EPHEMERAL, LOADING, Message, Ticket};
use crate::sandbox::wire::{Handled, Reply, lock};

const TOKEN_LIFE: SignedDuration = SignedDuration::from_mins(15);
/// An application may use the token as soon as its first answer is on the wire, a moment before it is read here.
const MOMENT: Duration = Duration::from_secs(1);

pub(super) async fn one(
    state: Service,
    Path((app, token, message)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Handled {
    let (_, id) = state.opened(&headers, &app, &token, &message).await?;
    let held = lock(&state.state);
    Ok(Reply::json(200, held.message(&id).ok_or_else(unknown_message)?.json()))
}

pub(super) async fn edit(
    state: Service,
    Path((app, token, message)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    let (_, id) = state.opened(&headers, &app, &token, &message).await?;
    let said = form(&headers, &body)?;
    rules::check(&said)?;
    let now = (state.options.now)();
    let mut held = lock(&state.state);
    let found = held.message_mut(&id).ok_or_else(unknown_message)?;
    let was_pending = found.flags & LOADING != 0;
    if !found.take(&said) {
        return Err(empty_message());
    }
    if !was_pending {
        found.edits += 1;
        found.edited = Some(now);
    }
    Ok(Reply::json(200, found.json()))
}

pub(super) async fn remove(
    state: Service,
    Path((app, token, message)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Handled {
    let (_, id) = state.opened(&headers, &app, &token, &message).await?;
    lock(&state.state).messages.retain(|m| m.id != id);
    Ok(Reply::empty(204))
}

pub(super) async fn follow_up(
    state: Service,
    Path((app, token)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    let ticket = state.ticket(&headers, &app, &token).await?;
    let said = form(&headers, &body)?;
    rules::check(&said)?;
    let now = (state.options.now)();
    let mut held = lock(&state.state);
    // As long as the first answer is still to come, a further one takes its place.
    let pending = ticket
        .original
        .as_ref()
        .and_then(|id| held.message_mut(id))
        .filter(|m| m.flags & LOADING != 0);
    if let Some(pending) = pending {
        if !pending.take(&said) {
            return Err(empty_message());
        }
        return Ok(Reply::json(200, pending.json()));
    }
    let id = held.new_id(now);
    let mut message = Message::new(id, &ticket.channel, state.bot_json(), now);
    if !message.take(&said) {
        return Err(empty_message());
    }
    message.flags |= said
        .get("flags")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_default()
        & EPHEMERAL;
    let shown = message.json();
    held.messages.push(message);
    Ok(Reply::json(200, shown))
}

impl Inner {
    /// The message that the token and this id name; the token must open it now.
    async fn opened(
        &self,
        headers: &HeaderMap,
        app: &str,
        token: &str,
        message: &str,
    ) -> Result<(Ticket, String), Reply> {
        let ticket = self.ticket(headers, app, token).await?;
        let id = match message {
            "@original" => ticket.original.clone().ok_or_else(unknown_message)?,
            other => other.to_owned(),
        };
        let state = lock(&self.state);
        let own = |m: &&Message| m.channel == ticket.channel && m.author["id"] == self.options.application_id;
        state.message(&id).filter(own).ok_or_else(unknown_message)?;
        Ok((ticket, id))
    }

    async fn ticket(self: &Inner, headers: &HeaderMap, app: &str, token: &str) -> Result<Ticket, Reply> {
        self.user_agent(headers)?;
        let unknown = || error(404, 10015, "Unknown Webhook");
        if app != self.options.application_id {
            return Err(unknown());
        }
        let answered = async {
            loop {
                let next = self.answered.notified();
                let mut next = std::pin::pin!(next);
                next.as_mut().enable();
                let ticket = lock(&self.state).tickets.iter().find(|t| t.token == token).cloned();
                match ticket {
                    Some(ticket) if !ticket.answered && !ticket.dead => next.await,
                    other => return other,
                }
            }
        };
        let ticket = tokio::time::timeout(MOMENT, answered).await.ok().flatten();
        let ticket = ticket.filter(|t| !t.dead).ok_or_else(unknown)?;
        if (self.options.now)().duration_since(ticket.begun) >= TOKEN_LIFE {
            return Err(error(401, 50027, "Invalid Webhook Token"));
        }
        Ok(ticket)
    }
}
