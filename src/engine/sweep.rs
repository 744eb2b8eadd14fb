//! Looking: at jobs, at pull requests that cannot be merged yet, at queues and at the clock.
//!
//! When to look is kept in memory and rebuilt from the runs' states after a restart; an observation that changes
//! nothing writes nothing.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::Engine;
use super::pauses::later;
use crate::adapters::CallError;
use crate::domain::decide::{Event, Glance, Look, glance};
use crate::domain::effect::JobIntent;
use crate::domain::ids::RunId;
use crate::domain::run::{FailureClass, Observation, ObservedState};
use crate::store::StoreError;

/// How many changed runs are read at a time.
const PAGE: u32 = 200;
/// How many runs are looked at side by side.
const BATCH: usize = 16;
/// After so many looks in a row that came to nothing, the card says that the back-end cannot be reached.
const BLIND_MAX: u32 = 3;

/// When to look at which run.
#[derive(Debug, Default)]
pub struct Sweep {
    seen_change: i64,
    agenda: BTreeSet<(Timestamp, RunId)>,
    when: HashMap<RunId, Timestamp>,
    blind: HashMap<(RunId, String), u32>,
}

impl Sweep {
    fn set(&mut self, run: &RunId, at: Option<Timestamp>) {
        if let Some(before) = self.when.remove(run) {
            self.agenda.remove(&(before, run.clone()));
        }
        match at {
            Some(at) => {
                self.when.insert(run.clone(), at);
                self.agenda.insert((at, run.clone()));
            }
            None => self.blind.retain(|(id, _), _| id != run),
        }
    }

    fn due(&mut self, now: Timestamp) -> Vec<RunId> {
        let due: Vec<RunId> = self
            .agenda
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(BATCH)
            .map(|(_, run)| run.clone())
            .collect();
        for run in &due {
            self.set(run, Some(Timestamp::MAX));
        }
        due
    }

    /// When the next look is due, for whoever turns the clock by hand.
    pub fn next(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(at, _)| *at).filter(|at| *at < Timestamp::MAX)
    }
}

impl Engine {
    /// Takes up what changed and looks at what is due; how many runs were looked at.
    ///
    /// # Errors
    /// When the store cannot be used now.
    pub async fn sweep_step(&self, sweep: &mut Sweep) -> Result<usize, StoreError> {
        let now = self.clock.now();
        loop {
            let changed = self.store.runs_changed_since(sweep.seen_change, PAGE).await?;
            let full = changed.len() == PAGE as usize;
            for (change, run) in changed {
                sweep.seen_change = sweep.seen_change.max(change);
                let glance = glance(&run);
                let at = if glance.queued || !glance.looks.is_empty() {
                    Some(now)
                } else {
                    glance.deadline
                };
                sweep.set(&run.id, at);
            }
            if !full {
                break;
            }
        }
        let due = sweep.due(now);
        let looked = join_all(due.iter().map(|run| self.look_at(run))).await;
        for (run, looked) in due.iter().zip(looked) {
            match looked {
                Ok(looked) => self.schedule(sweep, run, &looked).await?,
                Err(error) => {
                    sweep.set(run, Some(later(now, Duration::from_secs(1))));
                    return Err(error);
                }
            }
        }
        Ok(due.len())
    }

    async fn schedule(&self, sweep: &mut Sweep, run: &RunId, looked: &Looked) -> Result<(), StoreError> {
        for (job, why) in &looked.blind {
            let key = (run.clone(), job.job.clone());
            let misses = sweep.blind.entry(key).or_default();
            *misses += 1;
            if *misses == BLIND_MAX {
                self.apply(run, &job.saw(unknown(format!("cannot be read now: {why}"))), None)
                    .await?;
            }
        }
        for name in &looked.clear {
            sweep.blind.remove(&(run.clone(), name.clone()));
        }
        sweep.set(run, looked.next);
        Ok(())
    }

    async fn look_at(&self, id: &RunId) -> Result<Looked, StoreError> {
        let mut looked = Looked::default();
        let Some(run) = self.store.run(id).await? else {
            return Ok(looked);
        };
        let wanted = glance(&run);
        if wanted.queued {
            let ahead = self.store.ahead_of(id).await?;
            self.apply(id, &Event::LocksChanged { ahead }, None).await?;
        }
        for look in &wanted.looks {
            self.look(id, look, &mut looked).await?;
        }
        let now = self.clock.now();
        if wanted.deadline.is_some_and(|at| at <= now) {
            self.apply(id, &Event::Woke, None).await?;
        }
        looked.next = next_look(&wanted, now);
        Ok(looked)
    }

    async fn look(&self, id: &RunId, look: &Look, looked: &mut Looked) -> Result<(), StoreError> {
        match look {
            Look::Merge { act, intent } => {
                let Some(forge) = &self.hands.forge else { return Ok(()) };
                let vendor = self.forge_vendor();
                if self.paused(&vendor).is_some() {
                    return Ok(());
                }
                match forge.merge(intent).await {
                    Ok(outcome) => {
                        self.metrics.look("seen");
                        self.apply(
                            id,
                            &Event::Came {
                                act: act.clone(),
                                outcome,
                            },
                            None,
                        )
                        .await?;
                    }
                    Err(error) => {
                        self.metrics.look("failed");
                        self.heed(&vendor, &error);
                        tracing::warn!(run = %id, %error, "cannot look at a pull request now");
                    }
                }
            }
            Look::Job {
                step,
                attempt,
                intent,
                started,
            } => {
                let vendor = intent.backend.as_str();
                if self.paused(vendor).is_some() {
                    return Ok(());
                }
                let job = JobLook {
                    step: step.clone(),
                    attempt: *attempt,
                    job: intent.job.clone(),
                };
                let seen = self.observe(intent, *started).await;
                if let Err(error) = &seen {
                    self.heed(vendor, error);
                }
                match seen {
                    Ok(seen) => {
                        self.metrics.look("seen");
                        looked.clear.push(job.job.clone());
                        self.apply(id, &job.saw(seen), None).await?;
                    }
                    Err(CallError::Permanent { why, .. }) => {
                        self.metrics.look("failed");
                        self.apply(id, &job.saw(unknown(format!("cannot be read: {why}"))), None)
                            .await?;
                    }
                    Err(CallError::Retry { why, .. }) => {
                        self.metrics.look("failed");
                        tracing::warn!(run = %id, job = %job.job, %why, "cannot look at a job now");
                        looked.blind.push((job, why));
                    }
                }
            }
        }
        Ok(())
    }

    async fn observe(&self, intent: &JobIntent, started: bool) -> Result<Observation, CallError> {
        match self.hands.backends.get(&intent.backend) {
            Some(backend) => backend.observe(intent, started).await,
            None => {
                let why = format!("{} is switched off", intent.backend);
                Err(CallError::Permanent {
                    why,
                    class: FailureClass::User,
                })
            }
        }
    }
}

/// What came of looking at a run.
#[derive(Default)]
struct Looked {
    next: Option<Timestamp>,
    blind: Vec<(JobLook, String)>,
    clear: Vec<String>,
}

/// Which job was looked at.
struct JobLook {
    step: crate::domain::ids::StepName,
    attempt: u32,
    job: String,
}

impl JobLook {
    fn saw(&self, seen: Observation) -> Event {
        Event::Observed {
            step: self.step.clone(),
            attempt: self.attempt,
            job: self.job.clone(),
            seen,
        }
    }
}

/// A queued run waits to be touched; a watched one is looked at again; a deadline comes in any case.
fn next_look(wanted: &Glance, now: Timestamp) -> Option<Timestamp> {
    let again = (!wanted.looks.is_empty()).then(|| later(now, wanted.every));
    [again, wanted.deadline.filter(|at| *at > now)]
        .into_iter()
        .flatten()
        .min()
}

fn unknown(detail: String) -> Observation {
    Observation {
        state: ObservedState::Unknown,
        progress: None,
        detail: Some(detail),
        reason: None,
        restarts: 0,
        link: None,
    }
}
