//! Moving tickets: look, act if needed, look again. And whether a move that was told of stands.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Jira, encoded, id_of, odd, success};
use super::edits::since;
use super::history::{moves, number, tells_of_status};
use super::read;
use crate::adapters::{CallError, MoveSeen, MoveStands, Proof, Tracker};
use crate::domain::effect::{MoveIntent, Outcome};
use crate::domain::ids::Platform;
use crate::domain::run::FailureClass;
use crate::domain::signal::{Actor, ActorKind, Signal, TicketMoved, TicketStatus};

/// A status as Jira tells it.
struct Status {
    id: String,
    name: String,
}

/// A way out of the ticket's present status.
struct Transition {
    id: String,
    to: Status,
    /// Whether people would have to fill in a form.
    has_screen: bool,
}

#[async_trait]
impl Tracker for Jira {
    fn platform(&self) -> Platform {
        super::platform()
    }

    async fn move_ticket(&self, intent: &MoveIntent) -> Result<Outcome, CallError> {
        let issue = self.path(&format!("/issue/{}", encoded(intent.ticket.as_str())));
        let before = self.status(&issue).await?;
        if before.is(&intent.to) {
            return Ok(Outcome::TicketMoved);
        }
        let target = format!("{issue}/transitions");
        let possible = transitions(&success(self.get(&target).await?)?)?;
        let ways = || possible.iter().filter(|way| way.to.is(&intent.to));
        let Some(way) = ways().find(|way| !way.has_screen).or_else(|| ways().next()) else {
            return Ok(no_way(intent, &before, &possible));
        };
        let asked = json!({ "transition": { "id": way.id } });
        let answered = self.send(Method::POST, &target, &asked).await?;
        if matches!(answered.status, 401 | 403 | 404) {
            return Err(answered.refusal());
        }
        let after = self.status(&issue).await?;
        // Jira took the move; a rule or a person has moved the ticket on since, and it must not be pulled back.
        let moved_on = answered.is_success() && after.id != before.id;
        if after.is(&intent.to) || moved_on {
            return Ok(Outcome::TicketMoved);
        }
        if answered.is_success() || answered.status == 409 {
            return Err(odd(&format!(
                "{} is still `{}` after it was moved to `{}`",
                intent.ticket, after.name, intent.to
            )));
        }
        Ok(Outcome::Failed {
            reason: answered.describe(),
            class: FailureClass::User,
        })
    }

    async fn is_moved(&self, intent: &MoveIntent) -> Result<bool, CallError> {
        let issue = self.path(&format!("/issue/{}", encoded(intent.ticket.as_str())));
        Ok(self.status(&issue).await?.is(&intent.to))
    }

    async fn move_stands(&self, told: &TicketMoved) -> Result<MoveSeen, CallError> {
        let not = |why: &str| Ok(MoveSeen::Not(format!("{}: {why}", told.ticket)));
        let absent = |why: &str| Ok(MoveSeen::Absent(format!("{}: {why}", told.ticket)));
        let own = self.known_self().await?;
        let Some(ticket) = self.ticket(told.ticket.as_str()).await? else {
            return absent("Jira does not show this ticket");
        };
        let Some(changes) = self.changes_back(&ticket, tells_of_status).await? else {
            return not("it has more changes than can be read");
        };
        let moves = moves(&changes);
        let Some(newest) = moves.last() else {
            return absent("Jira shows no change of its status");
        };
        if let Some(change) = told.change.as_ref().filter(|change| **change != newest.id) {
            if number(change) > number(&newest.id) && moves.iter().all(|seen| seen.id != *change) {
                return absent("Jira does not show this change");
            }
            return not("its newest change of status is another one");
        }
        let body = Value::Object(ticket.webhook(newest)).to_string();
        let seen = read::read(body.as_bytes(), Proof::Repaired, Some(own), newest.at)
            .map_err(|why| odd(&format!("the ticket cannot be read: {why}")))?;
        let Signal::TicketMoved(mut seen) = seen else {
            return not("its status did not change");
        };
        let now_in = ticket.status().and_then(Status::read).map(Status::told);
        let now_in = now_in.ok_or_else(|| odd("the ticket's status is missing from the answer"))?;
        let why = "it is not in that status";
        match told.change {
            Some(_) if !read::same(&seen.to, &told.to) => return not(why),
            // A rule names no change, but when the ticket was updated at the latest.
            None if !read::same(&seen.to, &told.to) && newest.at >= told.at => return not(why),
            // The ticket and its history are not read at once, and one may know less than the other.
            _ if !read::same(&seen.to, &told.to) || !read::same(&now_in, &seen.to) => return absent(why),
            _ => {}
        }
        let stands = |moved| {
            let since = since(&changes, newest, &ticket.names);
            Ok(MoveSeen::Stands(Box::new(MoveStands { moved, since })))
        };
        match told.change {
            Some(_) if seen.actor.account != told.actor.account => not("somebody else moved it"),
            Some(_) => stands(seen),
            // Rules see what stepherd moves, too.
            None if seen.actor.kind == ActorKind::Ours => not("stepherd itself moved it"),
            None => {
                seen.actor = Actor {
                    name: format!("{} (moved by {})", told.actor.name, seen.actor.name),
                    ..told.actor.clone()
                };
                stands(seen)
            }
        }
    }
}

impl Jira {
    async fn status(&self, issue: &str) -> Result<Status, CallError> {
        let body = success(self.get(&format!("{issue}?fields=status")).await?)?;
        body.pointer("/fields/status")
            .and_then(Status::read)
            .ok_or_else(|| odd("the ticket's status is missing from the answer"))
    }
}

impl Status {
    fn read(value: &Value) -> Option<Self> {
        Some(Self {
            id: id_of(value)?,
            name: value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        })
    }

    fn told(self) -> TicketStatus {
        TicketStatus {
            id: self.id,
            name: self.name,
        }
    }

    fn is(&self, wanted: &str) -> bool {
        self.id == wanted || self.name.to_lowercase() == wanted.to_lowercase()
    }
}

fn transitions(body: &Value) -> Result<Vec<Transition>, CallError> {
    let listed = body.get("transitions").and_then(Value::as_array);
    let listed = listed.ok_or_else(|| odd("the transitions are missing from the answer"))?;
    Ok(listed
        .iter()
        .filter(|way| way.get("isAvailable") != Some(&Value::Bool(false)))
        .filter_map(|way| {
            Some(Transition {
                id: id_of(way)?,
                to: Status::read(way.get("to")?)?,
                has_screen: way.get("hasScreen") == Some(&Value::Bool(true)),
            })
        })
        .collect())
}

fn no_way(intent: &MoveIntent, from: &Status, possible: &[Transition]) -> Outcome {
    let listed: Vec<String> = possible
        .iter()
        .map(|way| format!("`{}` ({})", way.to.name, way.to.id))
        .collect();
    let listed = if listed.is_empty() {
        "nowhere".to_owned()
    } else {
        listed.join(", ")
    };
    Outcome::Failed {
        reason: format!(
            "{} cannot go from `{}` to `{}`; from there stepherd's account can move it to: {listed}",
            intent.ticket, from.name, intent.to
        ),
        class: FailureClass::User,
    }
}
