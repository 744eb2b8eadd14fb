//! Commands that are given without words: a ticket is moved, a pull request changes.
//!
//! Who did it is asked about first, as far as the proof tells who it was; then what was done is looked at on its platform;
//! and only what stands there is obeyed.

use std::collections::BTreeMap;

use serde_json::json;

use super::deliveries::Piece;
use super::intake::{Ask, Wait};
use super::reread::{Looked, PrStands};
use super::{Cause, Engine};
use crate::domain::command::{Command, Invocation, Trigger, TriggerOn, Verb};
use crate::domain::decide::{Decision, Via};
use crate::domain::grammar::{self, Found};
use crate::domain::ids::{PrRef, Sha, ThreadRef};
use crate::domain::places::Within;
use crate::domain::signal::{Actor, ActorKind, PrChanged, TicketMoved};
use crate::domain::since::Since;
use crate::store::HeadSeen;

const DONE_BY_A_BOT: &str = "done by a bot: triggers nothing";
const TRIGGERS_NOTHING: &str = "triggers nothing";

/// A trigger that something sets off, with its command and its place among the command's triggers.
type Meant<'a> = (&'a Command, usize, &'a Trigger);

/// Something that triggers commands without words, as its platform has it now.
struct TriggerEvent<'a> {
    key: &'a str,
    thread: &'a ThreadRef,
    actor: &'a Actor,
    within: Within,
    /// The pull request, and how it looks.
    pr: Option<(&'a PrRef, &'a PrStands)>,
    head: Option<&'a Sha>,
    /// What was changed of the ticket since.
    since: Option<&'a Since>,
    looked: &'a Looked,
    delivery: &'a Piece,
    context: serde_json::Value,
}

impl Engine {
    pub(super) async fn ticket_moved(&self, told: &TicketMoved, delivery: &Piece) -> Result<String, Wait> {
        if told.actor.kind != ActorKind::Human {
            return Ok(DONE_BY_A_BOT.to_owned());
        }
        // Only now is anything asked of the platform: a move that triggers nothing costs no call.
        if !self.triggers_on(told) {
            return Ok(TRIGGERS_NOTHING.to_owned());
        }
        let known = delivery.claimed.delivery.proof.tells_who();
        if known && let Some(why) = self.unheard(&told.key, &told.actor, delivery).await? {
            return Ok(why);
        }
        let (stands, looked) = match self.move_stands(told, delivery).await? {
            Ok(stands) => stands,
            Err(why) => return Ok(format!("does not stand: {why}")),
        };
        let moved = &stands.moved;
        // By now it is known for sure which account is stepherd's own.
        if moved.actor.kind != ActorKind::Human {
            return Ok(DONE_BY_A_BOT.to_owned());
        }
        if let Some(why) = self
            .too_old(&moved.thread.platform, "the ticket was moved", moved.at)
            .await?
        {
            return Ok(format!("too old: {why}"));
        }
        if !known && let Some(why) = self.unheard(&moved.key, &moved.actor, delivery).await? {
            return Ok(why);
        }
        let event = TriggerEvent {
            key: &moved.key,
            thread: &moved.thread,
            actor: &moved.actor,
            within: vec![moved.ticket.project().to_owned()],
            pr: None,
            head: None,
            since: Some(&stands.since),
            looked: &looked,
            delivery,
            context: json!({ "ticket": moved.ticket.as_str(), "fields": moved.fields }),
        };
        self.triggered(&event, |on| on.means_ticket(&moved.ticket, &moved.to))
            .await
    }

    pub(super) async fn pr_changed(&self, told: &PrChanged, delivery: &Piece) -> Result<String, Wait> {
        if told.change.brings_head() {
            let seen = HeadSeen {
                head: told.head.clone(),
                at: told.at,
            };
            self.store.record_head(&told.pr, &seen).await?;
        }
        self.look_soon(&told.thread).await?;
        if told.actor.kind != ActorKind::Human {
            return Ok(DONE_BY_A_BOT.to_owned());
        }
        if self.meant(|on| on.means_pr(told)).is_empty() {
            return Ok(TRIGGERS_NOTHING.to_owned());
        }
        if !delivery.claimed.delivery.proof.tells_who() {
            // Nothing else than the telling says who it was.
            return Ok("its proof does not say who did it".to_owned());
        }
        let platform = &told.thread.platform;
        if let Some(why) = self.too_old(platform, "the pull request was changed", told.at).await? {
            return Ok(format!("too old: {why}"));
        }
        if let Some(why) = self.unheard(&told.key, &told.actor, delivery).await? {
            return Ok(why);
        }
        let (stands, looked) = match self.pr_stands(told, delivery).await? {
            Ok(stands) => stands,
            Err(why) => return Ok(format!("does not stand: {why}")),
        };
        let changed = &stands.changed;
        let pr = json!({
            "repo": changed.pr.repo.to_string(), "number": changed.pr.number, "head": changed.head.as_str(),
            "base": changed.base, "title": changed.title, "labels": changed.labels,
        });
        let event = TriggerEvent {
            key: &changed.key,
            thread: &changed.thread,
            actor: &changed.actor,
            within: vec![changed.pr.repo.owner().to_owned(), changed.pr.repo.name().to_owned()],
            pr: Some((&changed.pr, &stands)),
            // Whoever adds a label or reopens may have looked at an older head; only who pushes is sure to know the new
            // one.
            head: changed.change.brings_head().then_some(&changed.head),
            since: None,
            looked: &looked,
            delivery,
            context: json!({ "pr": pr }),
        };
        self.triggered(&event, |on| on.means_pr(changed)).await
    }

    /// Why nothing follows from what this account did, if so: it is stepherd's own, or has no role. That costs no look at
    /// what was done.
    async fn unheard(&self, key: &str, actor: &Actor, delivery: &Piece) -> Result<Option<String>, Wait> {
        if self.is_own(actor, delivery).await? {
            return Ok(Some("done by stepherd itself: triggers nothing".to_owned()));
        }
        if self.is_answered(actor, delivery).await? {
            return Ok(None);
        }
        // Somebody else may tell of the same, with rights of their own.
        let id = &actor.account.id;
        let cause = Cause::keyed(&format!("{key}:ignored:{id}"));
        self.commit(Decision::default(), None, cause).await?;
        Ok(Some(format!("{id} has no role: triggers nothing")))
    }

    /// Whether any command begins with this move.
    pub(super) fn triggers_on(&self, moved: &TicketMoved) -> bool {
        !self.meant(|on| on.means_ticket(&moved.ticket, &moved.to)).is_empty()
    }

    fn meant(&self, wanted: impl Fn(&TriggerOn) -> bool) -> Vec<Meant<'_>> {
        let mut meant = Vec::new();
        for command in &self.catalog.commands {
            let triggers = command.triggers.iter().enumerate();
            let wanted = triggers.filter(|(_, trigger)| wanted(&trigger.on));
            meant.extend(wanted.map(|(place, trigger)| (command, place, trigger)));
        }
        meant
    }

    async fn triggered(&self, event: &TriggerEvent<'_>, wanted: impl Fn(&TriggerOn) -> bool) -> Result<String, Wait> {
        let mut notes = Vec::new();
        for meant in self.meant(wanted) {
            notes.push(self.trigger(event, meant).await?);
        }
        if notes.is_empty() {
            // Not as it is now.
            notes.push(TRIGGERS_NOTHING.to_owned());
        }
        Ok(notes.join("; "))
    }

    async fn trigger(&self, event: &TriggerEvent<'_>, (command, place, trigger): Meant<'_>) -> Result<String, Wait> {
        let altered = event.since.and_then(|since| since.altered(&trigger.fields_used()));
        let found = match &altered {
            None => self.given(event, command, trigger),
            // What stands there now was not approved, so it is not even read.
            Some(_) => command
                .verbs
                .iter()
                .find(|verb| verb.name == trigger.verb)
                .map(|verb| bare(command, verb)),
        };
        let Some(found) = found else {
            return Ok(format!("no verb {}", trigger.verb));
        };
        let via = Via {
            key: format!("{}:{}:{place}", event.key, command.name),
            thread: event.thread.clone(),
            handle: None,
            message: None,
        };
        self.ask(Ask {
            found,
            via,
            actor: event.actor,
            within: &event.within,
            pr: event.pr.map(|(pr, _)| pr),
            pr_seen: event.pr.map(|(_, stands)| &stands.seen),
            head: event.head,
            looked: event.looked,
            altered,
            delivery: event.delivery,
            answered: true,
            together: None,
        })
        .await
    }

    /// The command that the event gives.
    fn given(&self, event: &TriggerEvent<'_>, command: &Command, trigger: &Trigger) -> Option<Found> {
        let mut args = Vec::new();
        for (name, template) in &trigger.args {
            match template.render(&event.context) {
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => args.push((name.to_string(), value.trim().to_owned())),
                // A field that the event does not have is an argument that is not given.
                Err(error) => tracing::info!(argument = %name, %error, "a trigger's argument has no value"),
            }
        }
        let (platform, verb) = (&event.thread.platform, trigger.verb.as_str());
        grammar::resolve(command.name.as_str(), verb, &args, &self.catalog.commands, platform)
    }
}

/// The verb without anything.
fn bare(command: &Command, verb: &Verb) -> Found {
    Found::Invocation(Invocation {
        command: command.name.clone(),
        verb: verb.name.clone(),
        action: verb.action,
        args: BTreeMap::new(),
    })
}
