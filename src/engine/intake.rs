//! Deliveries in, events out.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::answers::{Answers, keep_from_thread};
use super::deliveries::Piece;
use super::pauses::{later, next_try};
use super::reread::Looked;
use super::{Cause, Engine};
use crate::adapters::{CallError, PrSeen, RawRequest};
use crate::domain::card;
use crate::domain::command::Action;
use crate::domain::decide::{Via, misread, reply_with};
use crate::domain::grammar::{self, Found};
use crate::domain::ids::{PrRef, Sha, ThreadRef};
use crate::domain::signal::{Actor, ActorKind, Hint, Invoked, Said, Signal};
use crate::domain::since::Altered;
use crate::store::{DeliverySettled, NewDelivery, Place, RunFilter, StoreError};
use futures_util::FutureExt as _;
use jiff::Timestamp;

/// What one delivery may take; longer means that something outside hangs, and others must not wait for it.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a delivery waits in hand for room with a vendor.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so many tries (about half a day) a delivery is parked for people to look at.
const TRIES_MAX: u32 = 150;

/// Why a delivery cannot be dealt with now.
pub(super) enum Wait {
    /// Something outside is not available.
    Later { why: String, after: Option<Duration> },
    /// Too many strangers were asked about; this one's turn comes then. Nobody else waits for that.
    Turn { at: Timestamp },
    /// Whose answer it needs has enough to answer already.
    Full(String),
    /// This process is to end; the next one asks.
    Ending,
    /// The database is in trouble.
    Store(StoreError),
}

impl From<StoreError> for Wait {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What a delivery says, or why that cannot be told.
pub(super) type Reading = Result<Vec<Signal>, String>;

const PANICKED: &str = "stepherd itself failed on this (a panic, see its log)";

/// An invocation on its way to a decision.
pub(super) struct Ask<'a> {
    pub(super) found: Found,
    pub(super) via: Via,
    pub(super) actor: &'a Actor,
    /// Where the thread lies that it was said in.
    pub(super) within: &'a [String],
    /// The pull request it was said on.
    pub(super) pr: Option<&'a PrRef>,
    /// How that looks, if the look that was taken showed it.
    pub(super) pr_seen: Option<&'a PrSeen>,
    /// The head commit that the event itself names, for commands without words.
    pub(super) head: Option<&'a Sha>,
    /// What its platform says of it now.
    pub(super) looked: &'a Looked,
    /// Why what was approved may not be what stands there now.
    pub(super) altered: Option<Altered>,
    /// What it came in.
    pub(super) delivery: &'a Piece,
    /// Whether whoever said it gets answers in threads.
    pub(super) answered: bool,
    /// Where answers are gathered, if several commands came together.
    pub(super) together: Option<&'a Mutex<Answers>>,
}

impl Engine {
    /// A delivery that hangs comes back later; one that makes stepherd itself fail is parked, so that neither keeps
    /// others waiting for ever.
    pub(super) async fn deal_with_bounded(&self, piece: &Piece) -> Result<DeliverySettled, StoreError> {
        let since = self.clock.now();
        let signals = match &piece.reading {
            Ok(signals) => signals,
            Err(reason) => {
                tracing::warn!(%reason, "a verified delivery cannot be read; parked");
                return Ok(DeliverySettled::Parked { reason: reason.clone() });
            }
        };
        let dealt = AssertUnwindSafe(Box::pin(self.deal_with(piece, signals, since))).catch_unwind();
        tokio::select! {
            biased;
            dealt = dealt => dealt.unwrap_or_else(|_| {
                Ok(DeliverySettled::Parked {
                    reason: PANICKED.to_owned(),
                })
            }),
            () = self.clock.sleep_until(later(since, TRY_TIMEOUT)) => {
                let why = format!("it took longer than {} s", TRY_TIMEOUT.as_secs());
                Ok(self.put_off(piece, why, None, since))
            }
        }
    }

    /// What the delivery says, or why that cannot be told.
    pub(super) fn read(&self, delivery: &NewDelivery) -> Reading {
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

    async fn deal_with(
        &self,
        piece: &Piece,
        signals: &[Signal],
        since: Timestamp,
    ) -> Result<DeliverySettled, StoreError> {
        let mut notes = Vec::new();
        for signal in signals {
            match self.signal(signal, piece).await {
                Ok(note) => notes.push(note),
                Err(Wait::Store(error @ StoreError::Unreadable { .. })) => {
                    tracing::error!(%error, "a delivery cannot be dealt with; parked");
                    return Ok(DeliverySettled::Parked {
                        reason: error.to_string(),
                    });
                }
                Err(Wait::Store(error)) => return Err(error),
                Err(Wait::Ending) => return Ok(DeliverySettled::PutBack),
                Err(Wait::Full(room)) => return Ok(DeliverySettled::WaitsFor { room, since }),
                Err(Wait::Turn { at }) => {
                    let reason = "too many strangers are asked about".to_owned();
                    return Ok(DeliverySettled::NotBefore { at, reason });
                }
                Err(Wait::Later { why, after }) => return Ok(self.put_off(piece, why, after, since)),
            }
        }
        Ok(DeliverySettled::Done { note: notes.join("; ") })
    }

    /// Another try later, or the end of tries.
    fn put_off(&self, piece: &Piece, why: String, after: Option<Duration>, since: Timestamp) -> DeliverySettled {
        let attempts = piece.claimed.attempts;
        if attempts >= TRIES_MAX {
            tracing::error!(reason = %why, "a delivery keeps failing; parked");
            return DeliverySettled::Parked {
                reason: format!("keeps failing: {why}"),
            };
        }
        tracing::warn!(reason = %why, "a delivery has to wait");
        DeliverySettled::RetryAt {
            at: next_try(self.clock.now(), attempts, after, self.clock.random()),
            reason: why,
            since,
        }
    }

    async fn signal(&self, signal: &Signal, delivery: &Piece) -> Result<String, Wait> {
        match signal {
            // Each is large, and only one of them is needed.
            Signal::Said(said) => self.said(said, delivery).boxed().await,
            Signal::Invoked(invoked) => self.invoked(invoked, delivery).boxed().await,
            Signal::TicketMoved(moved) => self.ticket_moved(moved, delivery).boxed().await,
            Signal::PrChanged(changed) => self.pr_changed(changed, delivery).boxed().await,
            Signal::Hint(hint) => self.hint(hint).await,
            Signal::Nothing(why) => Ok(why.clone()),
        }
    }

    async fn said(&self, said: &Said, delivery: &Piece) -> Result<String, Wait> {
        if said.actor.kind != ActorKind::Human {
            return Ok("written by a bot: never obeyed".to_owned());
        }
        let found = grammar::find(&said.text, &self.catalog.commands, &said.thread.platform);
        if found.is_empty() {
            return Ok("no command in it".to_owned());
        }
        // Only now is anything asked of the platform: a comment without a command costs no call.
        if self.is_own(&said.actor, delivery).await? {
            return Ok("written by stepherd itself: never obeyed".to_owned());
        }
        let answered = self.is_answered(&said.actor, delivery).await?;
        // Where the proof does not cover who said it, that is found out first: else a made-up telling would use up the
        // words of somebody who has a role.
        if !answered && delivery.claimed.delivery.proof.tells_who() {
            return self.ignored(said, &found).await;
        }
        let heard = match self.word_stands(said, delivery).await? {
            Ok(heard) => heard,
            Err(why) => return Ok(format!("ignored: {why}")),
        };
        let said = &heard.said;
        if !answered {
            return self.ignored(said, &found).await;
        }
        let mut notes = Vec::new();
        let mut names = BTreeMap::new();
        let together = (found.len() > 1).then(Mutex::default);
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
                    within: &said.within,
                    pr: said.pr.as_ref(),
                    pr_seen: None,
                    head: None,
                    looked: &heard.looked,
                    altered: None,
                    delivery,
                    answered,
                    together: together.as_ref(),
                })
                .await?,
            );
        }
        if let Some(answers) = together {
            let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.answer_together(said, answers).await?;
        }
        Ok(notes.join("; "))
    }

    /// Whether stepherd itself did this. Until that can be told, everything said there waits.
    pub(super) async fn is_own(&self, actor: &Actor, delivery: &Piece) -> Result<bool, Wait> {
        let platform = &actor.account.platform;
        let Some(threads) = self.hands.threads.get(platform) else {
            return Ok(false);
        };
        let asked = self.ask_outside(platform.as_str(), delivery, threads.is_own(&actor.account));
        asked.await?.map_err(|error| Wait::Later {
            why: format!("cannot tell whether stepherd itself did this: {error}"),
            after: None,
        })
    }

    /// One call to a vendor for a delivery, as far as the vendor may be asked now. What will not work by itself is told
    /// in the vendor's words; everything else that goes wrong means later.
    pub(super) async fn ask_outside<T>(
        &self,
        vendor: &str,
        delivery: &Piece,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<Result<T, String>, Wait> {
        if let Some(after) = self.paused(vendor).await {
            return Err(Wait::Later {
                why: format!("{vendor} asked to be left alone"),
                after: Some(after),
            });
        }
        // To stop does not wait behind what hangs.
        let room = if delivery.stops {
            format!("{vendor}, stopping")
        } else {
            vendor.to_owned()
        };
        let patience = self.clock.sleep_until(later(self.clock.now(), PATIENCE));
        let Some(_place) = self.calls.enter(&room, patience).await else {
            return Err(Wait::Full(room));
        };
        // Only asking: nothing is half done when it is given up.
        let called = tokio::select! {
            biased;
            called = Box::pin(call) => called,
            () = self.ending.cancelled() => return Err(Wait::Ending),
        };
        if let Err(error) = &called {
            self.heed(vendor, error).await;
        }
        match called {
            Ok(answer) => Ok(Ok(answer)),
            Err(CallError::Permanent { why, .. }) => Ok(Err(why)),
            Err(CallError::Retry { why, after, .. }) => Err(Wait::Later { why, after }),
        }
    }

    /// Whether all that is said there is to stop.
    pub(super) fn only_stops(&self, signals: &[Signal]) -> bool {
        let is_stop = |found: &Found| matches!(found, Found::Invocation(said) if said.action == Action::Stop);
        let stops = |signal: &Signal| match signal {
            Signal::Said(said) => {
                let found = grammar::find(&said.text, &self.catalog.commands, &said.thread.platform);
                !found.is_empty() && found.iter().all(is_stop)
            }
            Signal::Invoked(invoked) => self.resolve(invoked).as_ref().is_some_and(is_stop),
            Signal::TicketMoved(_) | Signal::PrChanged(_) | Signal::Hint(_) | Signal::Nothing(_) => false,
        };
        !signals.is_empty() && signals.iter().all(stops)
    }

    pub(super) fn resolve(&self, invoked: &Invoked) -> Option<Found> {
        let (command, verb, args) = (&invoked.command, &invoked.verb, &invoked.args);
        grammar::resolve(command, verb, args, &self.catalog.commands, &invoked.thread.platform)
    }

    async fn invoked(&self, invoked: &Invoked, delivery: &Piece) -> Result<String, Wait> {
        let answered = self.is_answered(&invoked.actor, delivery).await?;
        let via = Via {
            key: invoked.key.clone(),
            thread: invoked.thread.clone(),
            handle: invoked.handle.clone(),
            message: None,
        };
        let Some(found) = self.resolve(invoked) else {
            // It existed when the platform was told of it, and somebody waits for an answer.
            let mut decision = reply_with(&via, card::no_such_command(&invoked.command));
            keep_from_thread(&mut decision);
            self.commit(decision, None, Cause::keyed(&via.key)).await?;
            return Ok(format!("no command is called /{}", invoked.command));
        };
        self.ask(Ask {
            found,
            via,
            actor: &invoked.actor,
            within: &invoked.within,
            pr: None,
            pr_seen: None,
            head: None,
            looked: &Looked::as_it_came(delivery),
            altered: None,
            delivery,
            answered,
            together: None,
        })
        .await
    }

    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<String, Wait> {
        match &ask.found {
            Found::Invocation(invocation) => self.invoke(&ask, invocation).boxed().await,
            Found::Misread(text) => {
                self.only_answer(&ask, misread(text, &ask.via)).await?;
                Ok(format!("misread: {}", text.problem))
            }
        }
    }

    async fn hint(&self, hint: &Hint) -> Result<String, Wait> {
        let touched = self.store.runs_at_head(&hint.repo, &hint.head).await?;
        self.store.touch(&touched, self.clock.now()).await?;
        self.wakes.runs.notify_one();
        Ok(format!("{} runs look at once", touched.len()))
    }

    /// Runs of this thread are looked at soon: webhooks are hints, looking is what counts.
    pub(super) async fn look_soon(&self, thread: &ThreadRef) -> Result<(), StoreError> {
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
}

/// Names a command within its text by what it says, not by its place among others: which lines are commands depends on
/// what is configured now, and the same text may be read again after that has changed.
pub(super) fn name_within(found: &Found, names: &mut BTreeMap<String, usize>) -> String {
    let name = match found {
        Found::Invocation(invocation) => format!("{}:{}", invocation.command, invocation.verb),
        Found::Misread(misread) => format!("{}:?", misread.command),
    };
    let occurrence = names.entry(name.clone()).or_default();
    let named = format!("{name}:{occurrence}");
    *occurrence += 1;
    named
}
