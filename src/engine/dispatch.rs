//! Effects out, outcomes in.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Engine;
use super::effects::InHand;
use super::pauses::{later, next_try};
use crate::adapters::{Backend, CallError, CheckShow, CheckState, Direct, Forge, Marker, Tracker};
use crate::domain::card;
use crate::domain::decide::{Event, Wanted, wanted};
use crate::domain::effect::{Act, Deed, Effect, Outcome, Reply};
use crate::domain::ids::{BackendName, RunId, ThreadRef};
use crate::domain::run::{CheckTarget, FailureClass, Run, RunState, Verdict};
use crate::domain::signal::MessageRef;
use crate::store::{ClaimedEffect, EffectSettled, Sent, StoreError};

/// What one effect may take; longer means that something outside hangs.
const TRY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long after an answer was asked for the door's own answer may be on its way. Platforms that wait for it wait less.
const DOOR_ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How often a job is tried whose back-end will not start it yet.
const START_WAIT: Duration = Duration::from_secs(15);
/// A part of a step that fails so often (about half an hour) fails its step, where people see it.
const ACT_TRIES_MAX: u32 = 12;
/// A message that fails so often (about a day) is parked, where `/readyz`, `/metrics` and lists show it.
const TELL_TRIES_MAX: u32 = 300;
/// A refusal, or that a message is not there, is believed when it was said once more than this: not all of a platform's
/// servers know of everything at once.
const DOUBTED_MAX: u32 = 2;

/// How carrying out an effect went.
pub(super) enum Went {
    /// It is settled already, with its outcome's commit.
    Settled,
    /// It is to be settled so.
    So(EffectSettled),
}

/// Why it did not go.
pub(super) enum Trouble {
    Call(CallError),
    Store(StoreError),
    /// The lease is over: somebody else may be doing it.
    Lapsed,
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Engine {
    pub(super) async fn carry_out(&self, one: &InHand) -> Result<(), StoreError> {
        let effect = &one.effect;
        let now = self.clock.now();
        let vendor = self.vendor(&effect.effect);
        if let Some(until) = self.paused_until(&vendor).await {
            // The vendor asked to be left alone: what is urgent comes first when the time is over.
            let at = later(until, Duration::from_millis(200) * u32::from(effect.effect.lane()));
            self.store
                .settle_effect(&effect.claim, EffectSettled::NotBefore { at }, now)
                .await?;
            return Ok(());
        }
        // On the heap: it is large, and everything that awaits it would carry it on the stack.
        let tried = Box::pin(self.try_once(one));
        let tried = AssertUnwindSafe(tokio::time::timeout(TRY_TIMEOUT, tried));
        let tried = match tried.catch_unwind().await {
            Ok(Ok(tried)) => tried,
            Ok(Err(_)) => Err(Trouble::Call(CallError::Retry {
                why: format!("it took longer than {} s", TRY_TIMEOUT.as_secs()),
                after: None,
                class: FailureClass::Infrastructure,
            })),
            Err(_) => {
                let reason = "stepherd itself failed on this (a panic, see its log)".to_owned();
                Ok(Went::So(EffectSettled::Parked { reason }))
            }
        };
        let tried = match tried {
            // Nobody can read what it is about, and others must not wait for it.
            Err(Trouble::Store(error @ StoreError::Unreadable { .. })) => {
                tracing::error!(%error, "an effect cannot be carried out; parked");
                Ok(Went::So(EffectSettled::Parked {
                    reason: error.to_string(),
                }))
            }
            tried => tried,
        };
        let settled = match tried {
            Ok(Went::Settled) => {
                self.metrics.effect(kind(&effect.effect), "done");
                return Ok(());
            }
            Ok(Went::So(settled)) => settled,
            Err(Trouble::Store(error)) => return Err(error),
            // Whoever claims it next looks whether it was done.
            Err(Trouble::Lapsed) => return Ok(()),
            Err(Trouble::Call(error)) => match self.after_failure(effect, &vendor, error).await? {
                Some(settled) => settled,
                None => return Ok(()),
            },
        };
        self.metrics.effect(kind(&effect.effect), settled_word(&settled));
        let parked = matches!(settled, EffectSettled::Parked { .. });
        self.store
            .settle_effect(&effect.claim, settled, self.clock.now())
            .await?;
        if parked {
            // Its run may wait for it.
            self.wakes.runs.notify_one();
        }
        Ok(())
    }

    /// What a failed call means: another try, or the end of tries. `None` if it became an outcome of its run.
    async fn after_failure(
        &self,
        effect: &ClaimedEffect,
        vendor: &str,
        error: CallError,
    ) -> Result<Option<EffectSettled>, StoreError> {
        let now = self.clock.now();
        tracing::warn!(failures = effect.failures, %error, "an effect did not work");
        self.heed(vendor, &error).await;
        let (why, class, after, refused) = match error {
            CallError::Retry { why, after, class } => (why, class, after, false),
            CallError::Permanent { why, class } => (why, class, None, true),
        };
        if effect.failures < tries_max(&effect.effect, refused, class) {
            let at = next_try(now, effect.failures, after, self.clock.random());
            let reason = why;
            return Ok(Some(match refused {
                true => EffectSettled::Refused { at, reason },
                false => EffectSettled::RetryAt { at, reason },
            }));
        }
        if let (Effect::Act(act), Some(run)) = (&effect.effect, &effect.run) {
            let outcome = Outcome::Failed { reason: why, class };
            self.came(run, act, outcome, effect).await?;
            return Ok(None);
        }
        tracing::error!(%why, failures = effect.failures + 1, "an effect is given up; parked");
        Ok(Some(EffectSettled::Parked { reason: why }))
    }

    async fn came(&self, run: &RunId, act: &Act, outcome: Outcome, effect: &ClaimedEffect) -> Result<(), StoreError> {
        let outcome = if effect.maybe_done {
            outcome.after_unclear_try()
        } else {
            outcome
        };
        let event = Event::Came {
            act: act.clone(),
            outcome,
        };
        self.apply(run, &event, Some(effect.claim)).await
    }

    /// The last look at the lease before something is done in the world.
    pub(super) fn still_held(&self, one: &InHand) -> Result<(), Trouble> {
        if one.held.has_lapsed(self.clock.moment()) {
            return Err(Trouble::Lapsed);
        }
        Ok(())
    }

    async fn try_once(&self, one: &InHand) -> Result<Went, Trouble> {
        self.still_held(one)?;
        let claimed = &one.effect;
        let done = Went::So(EffectSettled::Done);
        match (&claimed.effect, &claimed.run) {
            (Effect::Act(act), Some(id)) => self.act(one, act, id).await,
            (Effect::Report { thread }, Some(id)) => self.report(one, thread, id).await,
            (Effect::Notice { thread, seq }, Some(id)) => self.notice(one, thread, *seq, id).await,
            (Effect::Question { thread, id: question }, Some(id)) => self.question(one, thread, question, id).await,
            (Effect::Check(target), Some(id)) => self.check(one, target, id).await,
            (Effect::Reply(reply), _) => self.reply(one, reply).await.map(|()| done),
            (Effect::Acknowledge { message }, _) => {
                self.threads(&message.thread)?.acknowledge(message).await?;
                Ok(done)
            }
            (_, None) => Ok(Went::So(EffectSettled::Parked {
                reason: "it belongs to no run".to_owned(),
            })),
        }
    }

    async fn act(&self, one: &InHand, act: &Act, id: &RunId) -> Result<Went, Trouble> {
        let Some(run) = self.store.run(id).await? else {
            return Ok(Went::So(EffectSettled::Done));
        };
        self.still_held(one)?;
        let claimed = &one.effect;
        let outcome = match wanted(&run, act, claimed.maybe_done) {
            Wanted::Yes => self.perform(&act.what).await?,
            Wanted::Look => self.look_whether_done(&act.what).await?,
            Wanted::Undo(intent) => {
                self.perform(&Deed::CancelJob(intent)).await?;
                Outcome::NotDone
            }
            Wanted::No => Outcome::NotDone,
        };
        if let Outcome::JobWaits { .. } = outcome {
            // No failure, and no end either: the run shows what is waited for, and says when that has taken too long.
            let act = act.clone();
            self.apply(id, &Event::Came { act, outcome }, None).await?;
            let at = later(self.clock.now(), START_WAIT);
            return Ok(Went::So(EffectSettled::NotBefore { at }));
        }
        self.came(id, act, outcome, claimed).await?;
        Ok(Went::Settled)
    }

    async fn perform(&self, deed: &Deed) -> Result<Outcome, CallError> {
        match deed {
            Deed::Change(intent) => self.forge()?.change(intent).await,
            Deed::Merge(intent) => self.merge(intent).await,
            Deed::StartJob(intent) => self.backend(&intent.backend)?.start(intent).await,
            Deed::CancelJob(intent) => self.backend(&intent.backend)?.cancel(intent).await,
            Deed::MoveTicket(intent) => self.tracker()?.move_ticket(intent).await,
        }
    }

    /// Whether it was carried out by an earlier try, as far as the world shows now. Nothing of it is done.
    pub(super) async fn look_whether_done(&self, deed: &Deed) -> Result<Outcome, CallError> {
        let (found, outcome) = match deed {
            Deed::Change(intent) => return self.forge()?.find_change(intent).await,
            Deed::Merge(intent) => return self.forge()?.merge(&intent.only_look()).await,
            Deed::StartJob(intent) => (self.backend(&intent.backend)?.find(intent).await?, Outcome::JobStarted),
            Deed::MoveTicket(intent) => (self.tracker()?.is_moved(intent).await?, Outcome::TicketMoved),
            // Whether a job ends is told by looking at the job.
            Deed::CancelJob(_) => (false, Outcome::NotDone),
        };
        Ok(if found { outcome } else { Outcome::NotDone })
    }

    pub(super) fn forge(&self) -> Result<&dyn Forge, CallError> {
        self.hands.forge.as_deref().ok_or_else(|| off("the forge"))
    }

    fn tracker(&self) -> Result<&dyn Tracker, CallError> {
        self.hands.tracker.as_deref().ok_or_else(|| off("the tracker"))
    }

    pub(super) fn backend(&self, name: &BackendName) -> Result<&dyn Backend, CallError> {
        let backend = self.hands.backends.get(name);
        backend.map(AsRef::as_ref).ok_or_else(|| off(name.as_str()))
    }

    /// Makes the thread's card show the run as it is now: nothing to do if it already does, and not more often
    /// than the spacing allows. The newest state is shown in the end, because the effect stays pending till then.
    async fn report(&self, one: &InHand, thread: &ThreadRef, id: &RunId) -> Result<Went, Trouble> {
        let Some(run) = self.store.run(id).await? else {
            return Ok(Went::So(EffectSettled::Done));
        };
        let doc = card::card(&run);
        // Buttons that mean nothing any more are not left standing until the next edit is due.
        let buttons = format!("/{}", digest(&doc.buttons));
        let digest = format!("{}{buttons}", digest(&doc));
        let marker = Marker(format!("{id}/card"));
        let sent = self.store.sent(Some(id), thread, "card").await?;
        if let Some(sent) = &sent {
            if sent.digest == digest {
                return Ok(Went::So(EffectSettled::Done));
            }
            let at = later(sent.at, self.catalog.settings.engine.edit_spacing);
            if at > self.clock.now() && sent.digest.ends_with(&buttons) {
                return Ok(Went::So(EffectSettled::NotBefore { at }));
            }
        }
        let threads = self.threads(thread)?;
        self.still_held(one)?;
        let claimed = &one.effect;
        let stands = match &sent {
            Some(sent) if threads.edit(&sent.message, &marker, &doc).await? => true,
            Some(_) => {
                believe_gone(one)?;
                false
            }
            None => false,
        };
        let (message, opened) = match sent.filter(|_| stands) {
            Some(sent) => (sent.message, sent.opened),
            // There was none yet, or people deleted it.
            None => {
                let posted = threads
                    .post(thread, &marker, &doc, Some(&card::name(&run)), claimed.maybe_done)
                    .await?;
                self.still_alone(one, threads, &posted.message, &marker).await?;
                (posted.message, posted.opened)
            }
        };
        let now = self.clock.now();
        self.store
            .record_sent(
                Some(id),
                thread,
                "card",
                &Sent {
                    message,
                    digest,
                    at: now,
                    opened,
                },
            )
            .await?;
        Ok(Went::So(EffectSettled::Done))
    }

    async fn notice(&self, one: &InHand, thread: &ThreadRef, seq: u64, id: &RunId) -> Result<Went, Trouble> {
        let Some(run) = self.store.run(id).await? else {
            return Ok(Went::So(EffectSettled::Done));
        };
        let history = self.store.history(id).await?;
        let entry = history.iter().find(|entry| entry.seq == seq);
        let Some(doc) = entry.and_then(|entry| card::notice(&run, entry)) else {
            return Ok(Went::So(EffectSettled::Done));
        };
        let Some(place) = self.below_card(id, thread).await? else {
            return Ok(self.after_card(id, thread));
        };
        let marker = Marker(format!("{id}/{seq}"));
        let threads = self.threads(&place)?;
        self.still_held(one)?;
        let posted = threads.post(&place, &marker, &doc, None, one.effect.maybe_done).await?;
        self.still_alone(one, threads, &posted.message, &marker).await?;
        Ok(Went::So(EffectSettled::Done))
    }

    /// Where messages about the run in this thread belong: where its card is, or in the thread that was opened with it.
    /// `None` while the card is still to be posted: it goes first.
    pub(super) async fn below_card(&self, id: &RunId, thread: &ThreadRef) -> Result<Option<ThreadRef>, StoreError> {
        Ok(match self.store.sent(Some(id), thread, "card").await? {
            Some(sent) => Some(sent.opened.unwrap_or_else(|| thread.clone())),
            None if self.card_is_coming(id, thread).await? => None,
            None => Some(thread.clone()),
        })
    }

    /// When the card may be there: soon, or after it is tried again.
    pub(super) fn after_card(&self, id: &RunId, thread: &ThreadRef) -> Went {
        Went::So(EffectSettled::After {
            key: Effect::Report { thread: thread.clone() }.key(Some(id)),
            at: later(self.clock.now(), Duration::from_millis(500)),
        })
    }

    /// A process that stood still while its message went out may have been taken over meanwhile: then there are two, and
    /// whoever comes late takes its own back. What it cannot tell is counted.
    pub(super) async fn still_alone(
        &self,
        one: &InHand,
        threads: &dyn crate::adapters::Threads,
        posted: &MessageRef,
        marker: &Marker,
    ) -> Result<(), Trouble> {
        if !one.held.has_lapsed(self.clock.moment()) {
            return Ok(());
        }
        let outcome = match threads.withdraw_second(posted, marker).await {
            Ok(true) => "withdrawn",
            Ok(false) => "alone",
            Err(error) => {
                tracing::warn!(%error, "cannot tell whether somebody else has posted the same");
                "unknown"
            }
        };
        tracing::warn!(outcome, "a message was posted after the lease had ended");
        self.metrics.late_post(outcome);
        Err(Trouble::Lapsed)
    }

    /// Whether the run's card in this thread is still to be posted; not if posting it was given up.
    async fn card_is_coming(&self, id: &RunId, thread: &ThreadRef) -> Result<bool, StoreError> {
        let card = Effect::Report { thread: thread.clone() }.key(Some(id));
        let effects = self.store.effects_of(id).await?;
        Ok(effects
            .iter()
            .any(|effect| effect.key == card && effect.state == "pending"))
    }

    async fn check(&self, one: &InHand, target: &CheckTarget, id: &RunId) -> Result<Went, Trouble> {
        let (Some(run), Some(forge)) = (self.store.run(id).await?, &self.hands.forge) else {
            return Ok(Went::So(EffectSettled::Done));
        };
        let show = check_show(&run);
        self.still_held(one)?;
        forge.check(target, &show).await?;
        Ok(Went::So(EffectSettled::Done))
    }

    async fn reply(&self, one: &InHand, reply: &Reply) -> Result<(), Trouble> {
        let threads = self.threads(&reply.thread)?;
        let now = self.clock.now();
        if let Some(handle) = reply.handle.as_ref().filter(|handle| handle.until > now) {
            let direct = match threads.answer(handle, &reply.doc).await {
                // A limit that this ran into is nobody else's: it neither pauses the vendor nor is it tried again.
                Err(error) if reply.direct_only => {
                    tracing::info!(%error, "somebody without a role goes without an answer");
                    return Ok(());
                }
                direct => direct?,
            };
            match direct {
                Direct::Answered => return Ok(()),
                Direct::NotKnown if now < later(one.effect.since, DOOR_ANSWERS_WITHIN) => {
                    let why = format!("{} does not know yet that it was answered", reply.thread.platform);
                    let class = FailureClass::Infrastructure;
                    return Err(CallError::Retry {
                        why,
                        after: None,
                        class,
                    }
                    .into());
                }
                // The door's answer did not get through: people have been told of a failure, and are told in the thread.
                Direct::NotKnown | Direct::Lapsed => {}
            }
        }
        if reply.direct_only {
            return Ok(());
        }
        let marker = Marker(format!("reply/{}", reply.key));
        self.still_held(one)?;
        let posted = threads
            .post(&reply.thread, &marker, &reply.doc, None, one.effect.maybe_done)
            .await?;
        self.still_alone(one, threads, &posted.message, &marker).await?;
        Ok(())
    }

    /// Whose limits an effect counts against. A forge's comments and its pull requests are one vendor's.
    pub(super) fn vendor(&self, effect: &Effect) -> String {
        match effect {
            Effect::Report { thread } | Effect::Notice { thread, .. } | Effect::Question { thread, .. } => {
                thread.platform.to_string()
            }
            Effect::Reply(reply) => reply.thread.platform.to_string(),
            Effect::Acknowledge { message } => message.thread.platform.to_string(),
            Effect::Check(_) => self.forge_vendor(),
            Effect::Act(act) => self.vendor_of(&act.what),
        }
    }

    pub(super) fn vendor_of(&self, deed: &Deed) -> String {
        match deed {
            Deed::Change(_) | Deed::Merge(_) => self.forge_vendor(),
            Deed::MoveTicket(_) => {
                let tracker = self.hands.tracker.as_ref();
                tracker.map_or_else(|| "tracker".to_owned(), |tracker| tracker.platform().to_string())
            }
            Deed::StartJob(intent) | Deed::CancelJob(intent) => intent.backend.to_string(),
        }
    }

    pub(super) fn forge_vendor(&self) -> String {
        let forge = self.hands.forge.as_ref();
        forge.map_or_else(|| "forge".to_owned(), |forge| forge.platform().to_string())
    }

    pub(super) fn threads(&self, thread: &ThreadRef) -> Result<&dyn crate::adapters::Threads, CallError> {
        let threads = self.hands.threads.get(&thread.platform).map(AsRef::as_ref);
        let why = format!("{} is switched off, so {thread} cannot be written to", thread.platform);
        threads.ok_or(CallError::Permanent {
            why,
            class: FailureClass::User,
        })
    }
}

/// How often the effect is tried again after a call that failed so.
fn tries_max(effect: &Effect, refused: bool, class: FailureClass) -> u32 {
    match (effect, refused) {
        (Effect::Act(act), true) if matches!(act.what, Deed::StartJob(_) | Deed::CancelJob(_)) => 0,
        (Effect::Act(_), true) => DOUBTED_MAX,
        (Effect::Act(_), false) => ACT_TRIES_MAX,
        // Somebody mends what stepherd may do, and must not have to think of every message then.
        (_, true) if class == FailureClass::Permission => TELL_TRIES_MAX,
        (_, true) => DOUBTED_MAX,
        (_, false) => TELL_TRIES_MAX,
    }
}

/// Whether a message that the platform says is not there is gone.
///
/// # Errors
/// As long as it is not to be believed: the message may show what no longer holds.
pub(super) fn believe_gone(one: &InHand) -> Result<(), CallError> {
    if one.effect.failures >= DOUBTED_MAX {
        return Ok(());
    }
    let why = "the message is not there, as far as this answer goes".to_owned();
    Err(CallError::Retry {
        why,
        after: None,
        class: FailureClass::Infrastructure,
    })
}

fn off(what: &str) -> CallError {
    CallError::Permanent {
        why: format!("{what} is switched off"),
        class: FailureClass::User,
    }
}

fn check_show(run: &Run) -> CheckShow {
    let state = match &run.state {
        RunState::Queued { .. } => CheckState::Queued,
        RunState::Active(_) => CheckState::InProgress,
        RunState::Stopped { .. } => CheckState::Failure,
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        } => CheckState::Success,
        RunState::Finished {
            verdict: Verdict::Canceled { .. },
            ..
        } => CheckState::Canceled,
    };
    CheckShow {
        name: format!("stepherd/{}", run.plan.name),
        external_id: run.id.to_string(),
        state,
        title: card::headline(run),
        doc: card::card(run),
        url: None,
    }
}

/// Digest of what a message shows, to tell whether it must be written again.
pub(super) fn digest(shown: &impl Serialize) -> String {
    let text = serde_json::to_vec(shown).unwrap_or_default();
    hex::encode(Sha256::digest(text))
}

pub(super) fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::Act(act) => match &act.what {
            Deed::Change(_) => "change",
            Deed::Merge(_) => "merge",
            Deed::StartJob(_) => "start-job",
            Deed::CancelJob(_) => "cancel-job",
            Deed::MoveTicket(_) => "move-ticket",
        },
        Effect::Report { .. } => "report",
        Effect::Notice { .. } => "notice",
        Effect::Question { .. } => "question",
        Effect::Check(_) => "check",
        Effect::Reply(_) => "reply",
        Effect::Acknowledge { .. } => "acknowledge",
    }
}

fn settled_word(settled: &EffectSettled) -> &'static str {
    match settled {
        EffectSettled::Done => "done",
        EffectSettled::RetryAt { .. } | EffectSettled::Refused { .. } => "retry",
        EffectSettled::NotBefore { .. } | EffectSettled::After { .. } => "later",
        EffectSettled::Parked { .. } => "parked",
    }
}
