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
use crate::domain::effect::{JobIntent, Outcome};
use crate::domain::ids::RunId;
use crate::domain::run::{FailureClass, Observation, ObservedState, Run};
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
    known: HashMap<RunId, Known>,
}

/// A run as it was when it was last taken up.
#[derive(Debug)]
struct Known {
    version: u64,
    looks: Vec<Look>,
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

    /// Takes up a run that changed. What it needs looked at now for the first time is looked at now, and so is a run
    /// that somebody touched (it changed, its version did not). A run whose looking itself made it change keeps its
    /// time: otherwise a job that progresses at every look would be looked at without rest.
    fn take_up(&mut self, run: &Run, now: Timestamp) {
        let wanted = glance(run);
        let known = self.known.get(&run.id);
        let at = if wanted.queued {
            Some(now)
        } else if wanted.looks.is_empty() {
            wanted.deadline
        } else if known.is_some_and(|known| known.version < run.version && known.looks == wanted.looks) {
            self.when.get(&run.id).copied().or(Some(now))
        } else {
            Some(now)
        };
        self.set(&run.id, at);
        if wanted.looks.is_empty() {
            self.known.remove(&run.id);
        } else {
            self.known.insert(
                run.id.clone(),
                Known {
                    version: run.version,
                    looks: wanted.looks,
                },
            );
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
                sweep.take_up(&run, now);
            }
            if !full {
                break;
            }
        }
        let due = sweep.due(now);
        let looked = join_all(due.iter().map(|run| self.look_at(run))).await;
        let mut trouble = None;
        for (run, looked) in due.iter().zip(looked) {
            let scheduled = match looked {
                Ok(looked) => self.schedule(sweep, run, &looked).await,
                Err(error) => Err(error),
            };
            // Every run that was due gets a time again, whatever happened to the others.
            if let Err(error) = scheduled {
                sweep.set(run, Some(later(now, Duration::from_secs(1))));
                trouble = Some(error);
            }
        }
        trouble.map_or(Ok(due.len()), Err)
    }

    async fn schedule(&self, sweep: &mut Sweep, run: &RunId, looked: &Looked) -> Result<(), StoreError> {
        for name in &looked.clear {
            sweep.blind.remove(&(run.clone(), name.clone()));
        }
        sweep.set(run, looked.next);
        for (job, why) in &looked.blind {
            let misses = sweep.blind.entry((run.clone(), job.job.clone())).or_default();
            *misses += 1;
            if *misses == BLIND_MAX {
                self.apply(run, &job.saw(unknown(format!("cannot be read now: {why}"))), None)
                    .await?;
            }
        }
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
        let vendor = match look {
            Look::Merge { .. } => self.forge_vendor(),
            Look::Job { intent, .. } => intent.backend.to_string(),
        };
        if self.paused(&vendor).is_some() {
            return Ok(());
        }
        let event = match look {
            Look::Merge { act, intent } => {
                let Some(forge) = &self.hands.forge else { return Ok(()) };
                let came = |outcome| Event::Came {
                    act: act.clone(),
                    outcome,
                };
                match forge.merge(intent).await {
                    Ok(outcome) => Ok(came(outcome)),
                    Err(CallError::Permanent { why, class }) => Ok(came(Outcome::Failed { reason: why, class })),
                    Err(error) => Err(error),
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
                match self.observe(intent, *started).await {
                    Ok(seen) => {
                        looked.clear.push(job.job.clone());
                        Ok(job.saw(seen))
                    }
                    Err(CallError::Permanent { why, .. }) => Ok(job.saw(unknown(format!("cannot be read: {why}")))),
                    Err(error) => {
                        looked.blind.push((job, error.to_string()));
                        Err(error)
                    }
                }
            }
        };
        match event {
            Ok(event) => {
                self.metrics.look("seen");
                self.apply(id, &event, None).await
            }
            Err(error) => {
                self.metrics.look("failed");
                tracing::warn!(run = %id, vendor, %error, "cannot look now");
                self.heed(&vendor, &error);
                Ok(())
            }
        }
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
