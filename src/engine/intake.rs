//! Deliveries in, events out.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use tracing::Instrument as _;

use super::Engine;
use super::lease::{Hold, LEASE};
use super::pauses::{later, next_try};
use crate::adapters::{CallError, MoveSeen, RawRequest};
use crate::domain::card;
use crate::domain::command::{Command, Trigger, TriggerOn};
use crate::domain::decide::{Decision, Via, misread};
use crate::domain::effect::{Effect, Reply};
use crate::domain::grammar::{self, Found};
use crate::domain::ids::{PrRef, Sha, ThreadRef};
use crate::domain::signal::{Actor, ActorKind, Hint, Invoked, PrChange, PrChanged, Said, Signal, TicketMoved};
use crate::store::{ClaimedDelivery, DeliverySettled, HeadSeen, Place, RunFilter, StoreError};

/// What one delivery may take; longer means that something outside hangs, and others must not wait for it.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);
const BATCH: u32 = 256;
/// Who claims so many lets others gather for this long before the next claim.
const MANY: usize = 8;
const GATHER: Duration = Duration::from_millis(10);
/// After so many tries (about half a day) a delivery is parked for people to look at.
const TRIES_MAX: u32 = 150;

/// Why a delivery cannot be dealt with now.
pub(super) enum Wait {
    /// Something outside is not available.
    Later { why: String, after: Option<Duration> },
    /// The database is in trouble.
    Store(StoreError),
}

impl From<StoreError> for Wait {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What a delivery says, or why that cannot be told.
type Reading = Result<Vec<Signal>, String>;

const DONE_BY_A_BOT: &str = "done by a bot: triggers nothing";
const PANICKED: &str = "stepherd itself failed on this (a panic, see its log)";

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
    /// Whether it is still so, however long ago it was said: a ticket that stands where it was moved.
    pub(super) stands: bool,
    /// What it came in.
    pub(super) delivery: &'a ClaimedDelivery,
}

impl Engine {
    /// Deals with a few deliveries; how many there were. What happened in one thread is dealt with in the order of
    /// arrival; threads do not wait for each other.
    ///
    /// # Errors
    /// When the store cannot be used now; what was claimed comes back when its lease ends.
    pub async fn intake_step(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let claimed = self.claim_some(now).await?;
        self.take_all(claimed, now).await
    }

    /// The same as a part of the loops. Where many come at once, many are taken at a time, which costs less for each;
    /// one that comes alone does not wait.
    pub(super) async fn intake_turn(&self) -> Result<usize, StoreError> {
        let turn = self.claiming.lock().await;
        let now = self.clock.now();
        let claimed = self.claim_some(now).await?;
        let next = if claimed.len() < MANY { now } else { later(now, GATHER) };
        let gather = async {
            self.clock.sleep_until(next).await;
            drop(turn);
        };
        let ((), taken) = tokio::join!(gather, self.take_all(claimed, now));
        taken
    }

    async fn claim_some(&self, now: Timestamp) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let claimed = self.store.claim_deliveries(now, LEASE, BATCH).await?;
        if claimed.len() >= BATCH as usize {
            // There may be more, and these may take a while.
            self.wakes.deliveries.notify_one();
        }
        Ok(claimed)
    }

    /// Deals with what was claimed at this time; how many there were.
    async fn take_all(&self, claimed: Vec<ClaimedDelivery>, claimed_at: Timestamp) -> Result<usize, StoreError> {
        let count = claimed.len();
        let claims = claimed.iter().map(|delivery| (delivery.claim.seq, delivery.claim));
        let hold = Hold::of(claims, claimed_at);
        let mut places: BTreeMap<String, Vec<(ClaimedDelivery, Reading)>> = BTreeMap::new();
        for delivery in claimed {
            let reading = self.read(&delivery);
            places
                .entry(place(&delivery, &reading))
                .or_default()
                .push((delivery, reading));
        }
        let held = &hold;
        let work = places.into_values().map(|deliveries| async move {
            for (delivery, reading) in &deliveries {
                let lost = held.lost(delivery.claim.seq);
                tokio::select! {
                    biased;
                    () = lost.cancelled() => {}
                    settled = self.take(delivery, reading) => settled?,
                }
                held.let_go(delivery.claim.seq);
            }
            Ok::<(), StoreError>(())
        });
        let renew = |claim| self.store.renew_delivery(claim, self.clock.now(), LEASE);
        let done = self.holding(held, join_all(work), renew).await;
        done.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(count)
    }

    async fn take(&self, delivery: &ClaimedDelivery, reading: &Reading) -> Result<(), StoreError> {
        let span = tracing::info_span!("delivery", platform = %delivery.delivery.platform, delivery = %delivery.delivery.delivery_id);
        let settled = self.deal_with_bounded(delivery, reading).instrument(span).await?;
        self.store
            .settle_delivery(delivery.claim, settled, self.clock.now())
            .await?;
        Ok(())
    }

    /// A delivery that hangs comes back later; one that makes stepherd itself fail is parked, so that neither keeps
    /// others waiting for ever.
    async fn deal_with_bounded(
        &self,
        claimed: &ClaimedDelivery,
        reading: &Reading,
    ) -> Result<DeliverySettled, StoreError> {
        let signals = match reading {
            Ok(signals) => signals,
            Err(reason) => {
                tracing::warn!(%reason, "a verified delivery cannot be read; parked");
                return Ok(DeliverySettled::Parked { reason: reason.clone() });
            }
        };
        let dealt =
            AssertUnwindSafe(tokio::time::timeout(TRY_TIMEOUT, self.deal_with(claimed, signals))).catch_unwind();
        match dealt.await {
            Ok(Ok(settled)) => settled,
            Ok(Err(_)) => {
                let at = next_try(self.clock.now(), claimed.attempts, None, self.clock.random());
                let reason = format!("it took longer than {} s", TRY_TIMEOUT.as_secs());
                Ok(DeliverySettled::RetryAt { at, reason })
            }
            Err(_) => Ok(DeliverySettled::Parked {
                reason: PANICKED.to_owned(),
            }),
        }
    }

    /// What the delivery says, or why that cannot be told.
    fn read(&self, claimed: &ClaimedDelivery) -> Reading {
        let delivery = &claimed.delivery;
        let Some(door) = self.hands.doors.get(&delivery.platform) else {
            return Err(format!("{} is switched off now", delivery.platform));
        };
        let request = RawRequest {
            method: "POST".to_owned(),
            target: delivery.target.clone(),
            headers: delivery.headers.clone(),
            body: delivery.body.clone(),
        };
        let read = catch_unwind(AssertUnwindSafe(|| {
            door.read(&request, delivery.proof, delivery.received_at)
        }));
        match read {
            Ok(Ok(signals)) => Ok(signals),
            Ok(Err(unreadable)) => Err(unreadable.to_string()),
            Err(_) => Err(PANICKED.to_owned()),
        }
    }

    async fn deal_with(&self, claimed: &ClaimedDelivery, signals: &[Signal]) -> Result<DeliverySettled, StoreError> {
        let mut notes = Vec::new();
        for signal in signals {
            match self.signal(signal, claimed).await {
                Ok(note) => notes.push(note),
                Err(Wait::Store(error)) => return Err(error),
                Err(Wait::Later { why, .. }) if claimed.attempts >= TRIES_MAX => {
                    return Ok(DeliverySettled::Parked {
                        reason: format!("keeps failing: {why}"),
                    });
                }
                Err(Wait::Later { why, after }) => {
                    tracing::warn!(reason = %why, "a delivery has to wait");
                    let at = next_try(self.clock.now(), claimed.attempts, after, self.clock.random());
                    return Ok(DeliverySettled::RetryAt { at, reason: why });
                }
            }
        }
        Ok(DeliverySettled::Done { note: notes.join("; ") })
    }

    async fn signal(&self, signal: &Signal, delivery: &ClaimedDelivery) -> Result<String, Wait> {
        match signal {
            Signal::Said(said) => self.said(said, delivery).await,
            Signal::Invoked(invoked) => self.invoked(invoked, delivery).await,
            Signal::TicketMoved(moved) => self.ticket_moved(moved, delivery).await,
            Signal::PrChanged(changed) => self.pr_changed(changed, delivery).await,
            Signal::Hint(hint) => self.hint(hint).await,
            Signal::Nothing(why) => Ok(why.clone()),
        }
    }

    async fn said(&self, said: &Said, delivery: &ClaimedDelivery) -> Result<String, Wait> {
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
        let mut names = BTreeMap::new();
        for found in found {
            let via = Via {
                key: format!("{}:{}", said.key, name_within(&found, &mut names)),
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
                    stands: false,
                    delivery,
                })
                .await?,
            );
        }
        Ok(notes.join("; "))
    }

    async fn still_stands(&self, said: &Said) -> Result<bool, Wait> {
        let platform = said.thread.platform.as_str();
        let Some(threads) = self.hands.threads.get(&said.thread.platform) else {
            return Ok(false);
        };
        if let Some(after) = self.paused(platform).await {
            return Err(Wait::Later {
                why: format!("{platform} asked to be left alone"),
                after: Some(after),
            });
        }
        let stands = threads.still_stands(said).await;
        if let Err(error) = &stands {
            self.heed(platform, error).await;
        }
        match stands {
            Ok(stands) => Ok(stands),
            Err(CallError::Retry { why, after, .. }) => Err(Wait::Later { why, after }),
            Err(CallError::Permanent { why, .. }) => {
                tracing::warn!(%why, "cannot read a message again, so it is not obeyed");
                Ok(false)
            }
        }
    }

    async fn invoked(&self, invoked: &Invoked, delivery: &ClaimedDelivery) -> Result<String, Wait> {
        let platform = &invoked.thread.platform;
        let found = grammar::resolve(
            &invoked.command,
            &invoked.verb,
            &invoked.args,
            &self.catalog.commands,
            platform,
        );
        let Some(found) = found else {
            // It existed when the platform was told of it, and somebody waits for an answer.
            self.commit(gone(invoked), None, Some(invoked.key.clone()), None)
                .await?;
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
            stands: false,
            delivery,
        })
        .await
    }

    async fn ask(&self, ask: Ask<'_>) -> Result<String, Wait> {
        match &ask.found {
            Found::Invocation(invocation) => self.invoke(&ask, invocation).await,
            Found::Misread(text) => {
                self.commit(misread(text, &ask.via), None, Some(ask.via.key.clone()), None)
                    .await?;
                Ok(format!("misread: {}", text.problem))
            }
        }
    }

    async fn ticket_moved(&self, told: &TicketMoved, delivery: &ClaimedDelivery) -> Result<String, Wait> {
        if told.actor.kind != ActorKind::Human {
            return Ok(DONE_BY_A_BOT.to_owned());
        }
        if !self.triggers_on(told) {
            return Ok("triggers nothing".to_owned());
        }
        // Only now is anything asked of the platform: a move that triggers nothing costs no call.
        match self.move_stands(told).await? {
            MoveSeen::Stands(moved) => self.moved(&moved, delivery).await,
            MoveSeen::Not(why) => Ok(format!("does not stand: {why}")),
        }
    }

    async fn moved(&self, moved: &TicketMoved, delivery: &ClaimedDelivery) -> Result<String, Wait> {
        let wanted = |on: &TriggerOn| on.means_ticket(&moved.ticket, &moved.to);
        let context = serde_json::json!({ "ticket": moved.ticket.as_str(), "fields": moved.fields });
        let event = TriggerEvent {
            key: &moved.key,
            thread: &moved.thread,
            actor: &moved.actor,
            pr: None,
            head: None,
            at: moved.at,
            delivery,
            context,
        };
        self.triggered(&event, wanted).await
    }

    async fn pr_changed(&self, changed: &PrChanged, delivery: &ClaimedDelivery) -> Result<String, Wait> {
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
            delivery,
            context,
        };
        self.triggered(&event, wanted).await
    }

    async fn hint(&self, hint: &Hint) -> Result<String, Wait> {
        let touched = self.store.runs_at_head(&hint.repo, &hint.head).await?;
        self.store.touch(&touched, self.clock.now()).await?;
        self.wakes.runs.notify_one();
        Ok(format!("{} runs look at once", touched.len()))
    }

    /// Runs of this thread are looked at soon: webhooks are hints, looking is what counts.
    async fn look_soon(&self, thread: &ThreadRef) -> Result<(), StoreError> {
        let filter = RunFilter {
            place: Some(Place::Thread(thread.clone())),
            live_only: true,
            ..RunFilter::default()
        };
        let runs = self.store.runs(&filter).await?;
        let runs: Vec<_> = runs.into_iter().map(|run| run.id).collect();
        self.store.touch(&runs, self.clock.now()).await?;
        self.wakes.runs.notify_one();
        Ok(())
    }

    async fn triggered(&self, event: &TriggerEvent<'_>, wanted: impl Fn(&TriggerOn) -> bool) -> Result<String, Wait> {
        if event.actor.kind != ActorKind::Human {
            return Ok(DONE_BY_A_BOT.to_owned());
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
    ) -> Result<String, Wait> {
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
            stands: matches!(trigger.on, TriggerOn::Ticket { .. }),
            delivery: event.delivery,
        })
        .await
    }
}

/// Where what the delivery says happened. Deliveries that say nothing are each a place of their own.
fn place(delivery: &ClaimedDelivery, reading: &Reading) -> String {
    let thread = reading.iter().flatten().find_map(|signal| match signal {
        Signal::Said(said) => Some(&said.thread),
        Signal::Invoked(invoked) => Some(&invoked.thread),
        Signal::TicketMoved(moved) => Some(&moved.thread),
        Signal::PrChanged(changed) => Some(&changed.thread),
        Signal::Hint(_) | Signal::Nothing(_) => None,
    });
    thread.map_or_else(|| delivery.claim.seq.to_string(), ToString::to_string)
}

/// Names a command within its text by what it says, not by its place among others: which lines are commands depends on
/// what is configured now, and the same text may be read again after that has changed.
fn name_within(found: &Found, names: &mut BTreeMap<String, usize>) -> String {
    let name = match found {
        Found::Invocation(invocation) => format!("{}:{}", invocation.command, invocation.verb),
        Found::Misread(misread) => format!("{}:?", misread.command),
    };
    let occurrence = names.entry(name.clone()).or_default();
    let named = format!("{name}:{occurrence}");
    *occurrence += 1;
    named
}

/// Answers a structured command that no longer exists.
fn gone(invoked: &Invoked) -> Decision {
    let said = format!(
        "There is no command /{} any more; the list of commands that you see is out of date.",
        invoked.command
    );
    Decision {
        effects: vec![Effect::Reply(Reply {
            key: invoked.key.clone(),
            thread: invoked.thread.clone(),
            handle: invoked.handle.clone(),
            doc: card::plain(&said),
        })],
        ..Decision::default()
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
    delivery: &'a ClaimedDelivery,
    context: serde_json::Value,
}
