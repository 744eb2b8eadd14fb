//! THE PULSE: loops that gather facts, have the domain decide, commit what was decided and carry it out.
//!
//! *Intake* turns stored deliveries into events, *dispatch* carries out effects, *sweep* looks at what runs and at
//! the clock, *repair* looks for what no webhook told. None of them decides anything, and none keeps anything in memory
//! that the database could not give back: kill the process at any moment and the next one goes on. Any number of
//! processes can do so on one database: what one works on it has claimed. Each loop's `step` can be called by hand.

mod ask;
mod dispatch;
mod intake;
mod lease;
mod pauses;
mod question;
mod repair;
mod reread;
mod retention;
mod rights;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::adapters::Hands;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::domain::decide::{Decision, Event, Facts, decide, next_wake};
use crate::domain::ids::{QuestionId, RunId};
use crate::domain::run::Run;
use crate::metrics::Metrics;
use crate::store::{Commit, Committed, EffectClaim, RunWrite, Store, StoreError};

pub use sweep::Sweep;

/// How often a loop looks for work that nobody told it of.
const POLL: Duration = Duration::from_secs(1);
/// How many loops of a kind run side by side, so that one hanging vendor does not keep the others waiting.
const DISPATCHERS: usize = 4;
const INTAKES: usize = 4;
/// How often a decision is made again because the run changed meanwhile, before the work is put back.
const STALE_MAX: u32 = 16;

/// What wakes loops before the next poll. Each kind is woken for its own work only, and one loop of the kind at a time:
/// those that find nothing would be in the way of the one that works.
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

/// What all loops work with.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    hands: Arc<Hands>,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    wakes: Arc<Wakes>,
    /// One loop at a time claims deliveries.
    claiming: Arc<Mutex<()>>,
    pauses: Arc<pauses::Pauses>,
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
            claiming: Arc::default(),
            pauses: Arc::default(),
        }
    }

    /// Runs the loops until told to stop; each finishes the work in its hands first. They are tasks of their own, and
    /// end with the future that is returned.
    pub async fn run(&self, stop: CancellationToken) {
        let mut loops = JoinSet::new();
        for _ in 0..INTAKES {
            let (engine, stop) = (self.clone(), stop.clone());
            loops.spawn(async move {
                let step = || engine.intake_turn();
                engine.turn("intake", &engine.wakes.deliveries, &stop, step).await;
            });
        }
        for _ in 0..DISPATCHERS {
            let (engine, stop) = (self.clone(), stop.clone());
            loops.spawn(async move {
                let step = || engine.dispatch_step();
                engine.turn("dispatch", &engine.wakes.effects, &stop, step).await;
            });
        }
        let (engine, told) = (self.clone(), stop.clone());
        loops.spawn(async move { engine.sweep_loop(&told).await });
        let (engine, told) = (self.clone(), stop.clone());
        loops.spawn(async move { engine.repair_loop(&told).await });
        let (engine, told) = (self.clone(), stop.clone());
        loops.spawn(async move { engine.retention_loop(&told).await });
        let engine = self.clone();
        loops.spawn(async move {
            tokio::select! {
                () = engine.store.relay_hints(|| engine.wakes.all()) => {}
                () = stop.cancelled() => {}
            }
        });
        loops.join_all().await;
    }

    /// One loop: a step, then waits to be woken or for the poll interval. Being woken during a step counts; whoever
    /// claims all that one step takes wakes a loop, because there may be more.
    async fn turn<S>(&self, name: &str, wake: &Notify, stop: &CancellationToken, step: impl Fn() -> S)
    where
        S: Future<Output = Result<usize, StoreError>>,
    {
        while !stop.is_cancelled() {
            if let Err(error) = step().await {
                tracing::error!(loop_name = name, %error, "the store is in trouble; trying again");
            }
            let poll = self.clock.now().checked_add(POLL).unwrap_or(Timestamp::MAX);
            tokio::select! {
                () = wake.notified() => {}
                () = self.clock.sleep_until(poll) => {}
                () = stop.cancelled() => {}
            }
        }
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
            match self.commit(decision, Some(&run), None, settles).await? {
                Committed::Stale => {}
                Committed::Done | Committed::AlreadyDone | Committed::LeaseLost => return Ok(()),
            }
        }
        Err(StoreError::Unavailable(format!("run {id} changes too fast")))
    }

    /// One transaction for all that was decided about the run as it was read.
    async fn commit(
        &self,
        decision: Decision,
        before: Option<&Run>,
        key: Option<String>,
        settles: Option<EffectClaim>,
    ) -> Result<Committed, StoreError> {
        for entry in &decision.history {
            let run = decision.run.as_ref().map(|run| run.id.as_str()).unwrap_or_default();
            tracing::info!(run, seq = entry.seq, what = ?entry.what, "run changed");
        }
        let now = self.clock.now();
        let effects = !decision.effects.is_empty();
        let commit = Commit {
            key,
            run: decision.run.map(|run| RunWrite {
                wake: next_wake(before, &run, now),
                run,
                expected: before.map(|run| run.version),
            }),
            history: decision.history,
            effects: decision.effects,
            locks: decision.locks,
            settles,
        };
        let committed = self.store.commit(&commit, now).await?;
        if committed == Committed::Done {
            self.wakes.runs.notify_one();
            if effects {
                self.wakes.effects.notify_one();
            }
        }
        Ok(committed)
    }
}
