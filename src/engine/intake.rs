//! Deliveries in, events out.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tracing::Instrument as _;

use super::Engine;
use super::pauses::next_try;
use crate::adapters::{CallError, RawRequest};
use crate::domain::command::{Command, Trigger, TriggerOn};
use crate::domain::decide::{Via, misread};
use crate::domain::grammar::{self, Found};
use crate::domain::ids::{PrRef, Sha, ThreadRef};
use crate::domain::signal::{Actor, ActorKind, Hint, Invoked, PrChange, PrChanged, Said, Signal, TicketMoved};
use crate::store::{ClaimedDelivery, DeliverySettled, HeadSeen, Lease, RunFilter, StoreError};

/// Long enough for a batch, short enough that what a killed process held is taken up soon.
const LEASE: Lease = Lease(Duration::from_secs(180));
/// What one delivery may take; longer means that something outside hangs, and others must not wait for it.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);
const BATCH: u32 = 8;
/// After so many tries (about half a day) a delivery is parked for people to look at.
const TRIES_MAX: u32 = 150;

/// Why a delivery cannot be dealt with now.
pub(super) enum Hold {
    /// Something outside is not available.
    Later { why: String, after: Option<Duration> },
    /// The database is in trouble.
    Store(StoreError),
}

impl From<StoreError> for Hold {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An invocation on its way to a decision.
pub(super) struct Ask<'a> {
    pub(super) found: Found,
    pub(super) via: Via,
    pub(super) actor: &'a Actor,
    /// The pull request it was said on.
    pub(super) pr: Option<&'a PrRef>,
    /// The head commit that the event itself names, for commands without words.
    pub(super) head: Option<&'a Sha>,
    /// When it was said.
    pub(super) at: Timestamp,
}

impl Engine {
    /// Deals with a few deliveries, oldest first; how many there were.
    ///
    /// # Errors
    /// When the store cannot be used now; what was claimed comes back when its lease ends.
    pub async fn intake_step(&self) -> Result<usize, StoreError> {
        let claimed = self.store.claim_deliveries(self.clock.now(), LEASE, BATCH).await?;
        for delivery in &claimed {
            let span = tracing::info_span!("delivery", platform = %delivery.delivery.platform, delivery = %delivery.delivery.delivery_id);
            let settled = self.deal_with_bounded(delivery).instrument(span).await?;
            self.store.settle_delivery(delivery, settled, self.clock.now()).await?;
        }
        Ok(claimed.len())
    }

    /// A delivery that hangs comes back later; one that makes stepherd itself fail is parked, so that neither keeps
    /// others waiting for ever.
    async fn deal_with_bounded(&self, claimed: &ClaimedDelivery) -> Result<DeliverySettled, StoreError> {
        let dealt = AssertUnwindSafe(tokio::time::timeout(TRY_TIMEOUT, self.deal_with(claimed))).catch_unwind();
        match dealt.await {
            Ok(Ok(settled)) => settled,
            Ok(Err(_)) => {
                let at = next_try(self.clock.now(), claimed.attempts, None, self.clock.random());
                let reason = format!("it took longer than {} s", TRY_TIMEOUT.as_secs());
                Ok(DeliverySettled::RetryAt { at, reason })
            }
            Err(_) => {
                let reason = "stepherd itself failed on this (a panic, see its log)".to_owned();
                Ok(DeliverySettled::Parked { reason })
            }
        }
    }

    async fn deal_with(&self, claimed: &ClaimedDelivery) -> Result<DeliverySettled, StoreError> {
        let delivery = &claimed.delivery;
        let Some(door) = self.hands.doors.get(&delivery.platform) else {
            return Ok(DeliverySettled::Parked {
                reason: format!("{} is switched off now", delivery.platform),
            });
        };
        let request = RawRequest {
            method: "POST".to_owned(),
            target: delivery.target.clone(),
            headers: delivery.headers.clone(),
            body: Bytes::from(delivery.body.clone()),
        };
        let signals = match door.read(&request, delivery.received_at) {
            Ok(signals) => signals,
            Err(unreadable) => {
                tracing::warn!(reason = %unreadable, "a verified delivery cannot be read; parked");
                return Ok(DeliverySettled::Parked {
                    reason: unreadable.to_string(),
                });
            }
        };
        let mut notes = Vec::new();
        for signal in &signals {
            match self.signal(signal).await {
                Ok(note) => notes.push(note),
                Err(Hold::Store(error)) => return Err(error),
                Err(Hold::Later { why, .. }) if claimed.attempts >= TRIES_MAX => {
                    return Ok(DeliverySettled::Parked {
                        reason: format!("keeps failing: {why}"),
                    });
                }
                Err(Hold::Later { why, after }) => {
                    tracing::warn!(reason = %why, "a delivery has to wait");
                    let at = next_try(self.clock.now(), claimed.attempts, after, self.clock.random());
                    return Ok(DeliverySettled::RetryAt { at, reason: why });
                }
            }
        }
        Ok(DeliverySettled::Done { note: notes.join("; ") })
    }

    async fn signal(&self, signal: &Signal) -> Result<String, Hold> {
        match signal {
            Signal::Said(said) => self.said(said).await,
            Signal::Invoked(invoked) => self.invoked(invoked).await,
            Signal::TicketMoved(moved) => self.ticket_moved(moved).await,
            Signal::PrChanged(changed) => self.pr_changed(changed).await,
            Signal::Hint(hint) => self.hint(hint).await,
            Signal::Nothing(why) => Ok(why.clone()),
        }
    }

    async fn said(&self, said: &Said) -> Result<String, Hold> {
        if said.actor.kind != ActorKind::Human {
            return Ok("written by a bot: never obeyed".to_owned());
        }
        let found = grammar::find(&said.text, &self.catalog.commands, &said.thread.platform);
        if found.is_empty() {
            return Ok("no command in it".to_owned());
        }
        // Only now is anything asked of the platform: a comment without a command costs no call.
        if !self.still_stands(said).await? {
            return Ok("edited, deleted or not by its author: ignored".to_owned());
        }
        let mut notes = Vec::new();
        for (place, found) in found.into_iter().enumerate() {
            let via = Via {
                key: format!("{}:{place}", said.key),
                thread: said.thread.clone(),
                handle: None,
                message: Some(said.message.clone()),
            };
            notes.push(
                self.ask(Ask {
                    found,
                    via,
                    actor: &said.actor,
                    pr: said.pr.as_ref(),
                    head: None,
                    at: said.at,
                })
                .await?,
            );
        }
        Ok(notes.join("; "))
    }

    async fn still_stands(&self, said: &Said) -> Result<bool, Hold> {
        let platform = said.thread.platform.as_str();
        let Some(threads) = self.hands.threads.get(&said.thread.platform) else {
            return Ok(false);
        };
        if let Some(after) = self.paused(platform) {
            return Err(Hold::Later {
                why: format!("{platform} asked to be left alone"),
                after: Some(after),
            });
        }
        let stands = threads.still_stands(said).await;
        if let Err(error) = &stands {
            self.heed(platform, error);
        }
        match stands {
            Ok(stands) => Ok(stands),
            Err(CallError::Retry { why, after, .. }) => Err(Hold::Later { why, after }),
            Err(CallError::Permanent { why, .. }) => {
                tracing::warn!(%why, "cannot read a message again, so it is not obeyed");
                Ok(false)
            }
        }
    }

    async fn invoked(&self, invoked: &Invoked) -> Result<String, Hold> {
        let platform = &invoked.thread.platform;
        let found = grammar::resolve(
            &invoked.command,
            &invoked.verb,
            &invoked.args,
            &self.catalog.commands,
            platform,
        );
        let Some(found) = found else {
            return Ok(format!("no command is called /{}", invoked.command));
        };
        let via = Via {
            key: invoked.key.clone(),
            thread: invoked.thread.clone(),
            handle: invoked.handle.clone(),
            message: None,
        };
        self.ask(Ask {
            found,
            via,
            actor: &invoked.actor,
            pr: None,
            head: None,
            at: invoked.at,
        })
        .await
    }

    async fn ask(&self, ask: Ask<'_>) -> Result<String, Hold> {
        match &ask.found {
            Found::Invocation(invocation) => self.invoke(&ask, invocation).await,
            Found::Misread(text) => {
                self.commit(misread(text, &ask.via), None, Some(ask.via.key.clone()), None)
                    .await?;
                Ok(format!("misread: {}", text.problem))
            }
        }
    }

    async fn ticket_moved(&self, moved: &TicketMoved) -> Result<String, Hold> {
        let wanted = |on: &TriggerOn| on.means_ticket(&moved.ticket, &moved.to);
        let context = serde_json::json!({ "ticket": moved.ticket.as_str(), "fields": moved.fields });
        let event = TriggerEvent {
            key: &moved.key,
            thread: &moved.thread,
            actor: &moved.actor,
            pr: None,
            head: None,
            at: moved.at,
            context,
        };
        self.triggered(&event, wanted).await
    }

    async fn pr_changed(&self, changed: &PrChanged) -> Result<String, Hold> {
        if matches!(changed.change, PrChange::Opened | PrChange::Pushed) {
            self.store
                .record_head(
                    &changed.pr,
                    &HeadSeen {
                        head: changed.head.clone(),
                        at: changed.at,
                    },
                )
                .await?;
        }
        self.look_soon(&changed.thread).await?;
        let wanted = |on: &TriggerOn| on.means_pr(changed);
        let pr = serde_json::json!({
            "repo": changed.pr.repo.to_string(), "number": changed.pr.number, "head": changed.head.as_str(),
            "base": changed.base, "title": changed.title, "labels": changed.labels,
        });
        let context = serde_json::json!({ "pr": pr });
        let event = TriggerEvent {
            key: &changed.key,
            thread: &changed.thread,
            actor: &changed.actor,
            pr: Some(&changed.pr),
            // Whoever adds a label may have looked at an older head; only who pushes is sure to know the new one.
            head: matches!(changed.change, PrChange::Opened | PrChange::Pushed).then_some(&changed.head),
            at: changed.at,
            context,
        };
        self.triggered(&event, wanted).await
    }

    async fn hint(&self, hint: &Hint) -> Result<String, Hold> {
        let filter = RunFilter {
            live_only: true,
            limit: 1000,
            ..RunFilter::default()
        };
        let runs = self.store.runs(&filter).await?;
        let about = |run: &&crate::domain::run::Run| {
            let mut opened = run.prs.values();
            opened.any(|pr| pr.pr.repo == hint.repo && pr.head == hint.head)
        };
        let touched: Vec<_> = runs.iter().filter(about).map(|run| run.id.clone()).collect();
        self.store.touch(&touched).await?;
        Ok(format!("{} runs look at once", touched.len()))
    }

    /// Runs of this thread are looked at soon: webhooks are hints, looking is what counts.
    async fn look_soon(&self, thread: &ThreadRef) -> Result<(), StoreError> {
        let filter = RunFilter {
            thread: Some(thread.clone()),
            live_only: true,
            ..RunFilter::default()
        };
        let runs = self.store.runs(&filter).await?;
        self.store
            .touch(&runs.into_iter().map(|run| run.id).collect::<Vec<_>>())
            .await
    }

    async fn triggered(&self, event: &TriggerEvent<'_>, wanted: impl Fn(&TriggerOn) -> bool) -> Result<String, Hold> {
        if event.actor.kind != ActorKind::Human {
            return Ok("done by a bot: triggers nothing".to_owned());
        }
        let mut notes = Vec::new();
        for command in &self.catalog.commands {
            for (place, trigger) in command
                .triggers
                .iter()
                .enumerate()
                .filter(|(_, trigger)| wanted(&trigger.on))
            {
                notes.push(self.trigger(event, command, trigger, place).await?);
            }
        }
        Ok(if notes.is_empty() {
            "triggers nothing".to_owned()
        } else {
            notes.join("; ")
        })
    }

    async fn trigger(
        &self,
        event: &TriggerEvent<'_>,
        command: &Command,
        trigger: &Trigger,
        place: usize,
    ) -> Result<String, Hold> {
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
        let found = grammar::resolve(command.name.as_str(), verb, &args, &self.catalog.commands, platform);
        let Some(found) = found else {
            return Ok(format!("no verb {verb}"));
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
            pr: event.pr,
            head: event.head,
            at: event.at,
        })
        .await
    }
}

/// Something that may trigger commands without words.
struct TriggerEvent<'a> {
    key: &'a str,
    thread: &'a ThreadRef,
    actor: &'a Actor,
    pr: Option<&'a PrRef>,
    head: Option<&'a Sha>,
    at: Timestamp,
    context: serde_json::Value,
}
