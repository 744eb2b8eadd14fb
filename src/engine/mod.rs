//! THE PULSE: loops that gather facts, have the domain decide, commit what was decided and carry it out.
//!
//! *Intake* turns stored deliveries into events, *dispatch* carries out effects, *sweep* looks at what runs and at
//! the clock, *repair* looks for what no webhook told. None of them decides anything, and none keeps anything in memory
//! that the database could not give back: kill the process at any moment and the next one goes on. Any number of
//! processes can do so on one database: what one works on it has claimed. Each loop's `step` can be called by hand.

mod answers;
mod ask;
mod credentials;
mod deliveries;
mod dispatch;
mod effects;
mod head;
mod intake;
mod lease;
mod merge;
mod ours;
mod pauses;
mod question;
mod repair;
mod reread;
mod retention;
mod rights;
mod strangers;
mod sweep;
mod voided;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::adapters::Hands;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::domain::card;
use crate::domain::decide::{Decision, Event, Facts, decide, next_wake};
use crate::domain::ids::{QuestionId, RunId};
use crate::domain::run::Run;
use crate::metrics::Metrics;
use crate::store::{Commit, Committed, EffectClaim, MayBeVoided, RunWrite, Store, StoreError};
use crate::trouble::Trouble;
use work::Rooms;

pub use reread::begin;
pub use sweep::Sweep;

/// How often a loop looks for work that nobody told it of.
const POLL: Duration = Duration::from_secs(1);
/// How many calls for deliveries may be out with one vendor, and how many more wait for a moment.
const CALLS: usize = 16;
const CALLS_WAITING: usize = 64;
/// How many effects may be under way with one vendor.
const EFFECTS: usize = 16;
/// How many looks may be out with one vendor.
const LOOKS: usize = 128;
/// How often a decision is made again because the run changed meanwhile, before the work is put back.
const STALE_MAX: u32 = 16;

/// What wakes loops before the next poll. Each is woken for its own work only.
struct Wakes {
    /// A delivery was stored.
    deliveries: Arc<Notify>,
    /// There are new effects.
    effects: Notify,
    /// A run changed, or is to be looked at soon.
    runs: Notify,
}

impl Wakes {
    fn all(&self) {
        for kind in [&self.deliveries, &self.effects, &self.runs] {
            kind.notify_one();
        }
    }
}

/// What a commit comes of.
#[derive(Default)]
struct Cause {
    /// Names it for ever: it takes effect once.
    key: Option<String>,
    /// Names what else takes effect with it.
    also: Vec<String>,
    /// The effect whose outcome it is.
    settles: Option<EffectClaim>,
    /// The start that it is, unless somebody has said stop since.
    unless_voided: Option<MayBeVoided>,
}

impl Cause {
    fn keyed(key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..Self::default()
        }
    }
}

/// What all loops work with.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    hands: Arc<Hands>,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    wakes: Arc<Wakes>,
    calls: Arc<Rooms>,
    effects: Arc<Rooms>,
    looks: Arc<Rooms>,
    pauses: Arc<pauses::Pauses>,
    strangers: Arc<strangers::Strangers>,
    /// Whether a loop cannot use the store at present.
    troubles: Arc<Mutex<BTreeMap<&'static str, Arc<Trouble>>>>,
    /// Cancelled when this process is to end: nothing more is asked of the outside.
    ending: CancellationToken,
    /// Names this process among those that work on the database.
    replica: Arc<str>,
}

impl Engine {
    /// An engine over a store; nothing runs until `run` or one of the steps is called. `delivered` is notified by
    /// whoever stores a delivery.
    pub fn new(
        store: Store,
        hands: Arc<Hands>,
        catalog: Arc<Catalog>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        delivered: Arc<Notify>,
    ) -> Self {
        Self {
            replica: format!("{:016x}", clock.random()).into(),
            store,
            hands,
            catalog,
            clock,
            metrics,
            wakes: Arc::new(Wakes {
                deliveries: delivered,
                effects: Notify::new(),
                runs: Notify::new(),
            }),
            calls: Arc::new(Rooms::new(CALLS, CALLS_WAITING)),
            effects: Arc::new(Rooms::new(EFFECTS, 0)),
            looks: Arc::new(Rooms::new(LOOKS, 0)),
            pauses: Arc::default(),
            strangers: Arc::default(),
            troubles: Arc::default(),
            ending: CancellationToken::new(),
        }
    }

    /// Runs the loops until told to stop; each finishes the work in its hands first. They are tasks of their own, and
    /// end with the future that is returned.
    pub async fn run(&self, stop: CancellationToken) {
        let _ending = self.ending.clone().drop_guard();
        let mut loops = JoinSet::new();
        let (ending, told) = (self.ending.clone(), stop.clone());
        loops.spawn(async move {
            told.cancelled().await;
            ending.cancel();
        });
        let (engine, told) = (self.clone(), stop.clone());
        loops.spawn(async move { engine.intake_loop(&told).await });
        let (engine, told) = (self.clone(), stop.clone());
        loops.spawn(async move { engine.dispatch_loop(&told).await });
        let (engine, told) = (self.clone(), stop.clone());
        loops.spawn(async move { engine.sweep_loop(&told).await });
        let (engine, told) = (self.clone(), stop.clone());
        loops.spawn(async move { engine.repair_loop(&told).await });
        let (engine, told) = (self.clone(), stop.clone());
        loops.spawn(async move { engine.retention_loop(&told).await });
        let (engine, told) = (self.clone(), stop.clone());
        loops.spawn(async move { engine.credentials_loop(&told).await });
        let engine = self.clone();
        loops.spawn(async move {
            tokio::select! {
                () = engine.store.relay_hints(|| engine.wakes.all()) => {}
                () = stop.cancelled() => {}
            }
        });
        loops.join_all().await;
    }

    /// A loop could not use the store.
    fn in_trouble(&self, name: &'static str, error: &StoreError) {
        if let Some(times) = self.trouble(name).met(self.clock.now()) {
            tracing::error!(loop_name = name, %error, times, "the store is in trouble; trying again");
        }
    }

    /// It could.
    fn out_of_trouble(&self, name: &'static str) {
        if let Some(times) = self.trouble(name).over(self.clock.now()) {
            tracing::info!(loop_name = name, times, "the store is out of trouble");
        }
    }

    fn trouble(&self, name: &'static str) -> Arc<Trouble> {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.entry(name).or_default().clone()
    }

    fn facts(&self) -> Facts {
        Facts {
            now: self.clock.now(),
            new_run: RunId::from_bits(self.clock.random()),
            new_question: QuestionId::from_bits(self.clock.random()),
        }
    }

    /// Applies an event to a run: decide, commit, and again from the start when the run changed meanwhile. The
    /// effect whose outcome the event is, if any, is settled in the same transaction.
    async fn apply(&self, id: &RunId, event: &Event, settles: Option<EffectClaim>) -> Result<(), StoreError> {
        self.apply_to(None, id, event, settles).await
    }

    /// The same, beginning with the run as it was seen a moment ago, if it was.
    async fn apply_to(
        &self,
        mut seen: Option<Run>,
        id: &RunId,
        event: &Event,
        settles: Option<EffectClaim>,
    ) -> Result<(), StoreError> {
        for _ in 0..STALE_MAX {
            let run = match seen.take() {
                Some(run) => run,
                None => match self.store.run(id).await? {
                    Some(run) => run,
                    None => return Ok(()),
                },
            };
            let decision = decide(Some(&run), event, &self.facts());
            if decision.is_nothing() && settles.is_none() {
                return Ok(());
            }
            let cause = Cause {
                settles,
                ..Cause::default()
            };
            match self.commit(decision, Some(&run), cause).await? {
                Committed::Stale => {}
                Committed::Done | Committed::AlreadyDone | Committed::LeaseLost | Committed::Voided => return Ok(()),
            }
        }
        Err(StoreError::Unavailable(format!("run {id} changes too fast")))
    }

    /// One transaction for all that was decided about the run as it was read.
    async fn commit(&self, decision: Decision, before: Option<&Run>, cause: Cause) -> Result<Committed, StoreError> {
        let now = self.clock.now();
        let effects = !decision.effects.is_empty();
        let commit = Commit {
            key: cause.key,
            also: cause.also,
            run: decision.run.map(|run| RunWrite {
                wake: next_wake(before, &run, now),
                run,
                expected: before.map(|run| run.version),
            }),
            history: decision.history,
            effects: decision.effects,
            locks: decision.locks,
            settles: cause.settles,
            unless_voided: cause.unless_voided,
        };
        // On the heap, as all that is large and deep down.
        let committed = Box::pin(self.store.commit(&commit, now)).await?;
        if committed == Committed::Done {
            for entry in &commit.history {
                let run = commit
                    .run
                    .as_ref()
                    .map(|write| write.run.id.as_str())
                    .unwrap_or_default();
                tracing::info!(run, seq = entry.seq, what = card::happened(&entry.what), "run changed");
            }
            self.wakes.runs.notify_one();
            if effects {
                self.wakes.effects.notify_one();
            }
        }
        Ok(committed)
    }
}
