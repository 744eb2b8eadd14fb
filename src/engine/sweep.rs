//! Looking: at jobs, at pull requests that cannot be merged yet, at what a stopped run may have done, at queues and at
//! the clock.
//!
//! Each process looks at the runs of the shards it holds. When to look next is stored with every change of a run, and
//! kept in memory from one look to the next: an observation that changes nothing writes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::lease::{HEARTBEAT, LEASE};
use super::pauses::later;
use super::{Engine, POLL};
use crate::adapters::CallError;
use crate::clock::Moment;
use crate::domain::decide::{Event, Look, awaits_act, glance};
use crate::domain::effect::{Act, JobIntent, Outcome};
use crate::domain::ids::RunId;
use crate::domain::run::{FailureClass, Observation, ObservedState, Run};
use crate::store::{RunWake, Shards, StoreError};

/// How many runs are read at a time.
const PAGE: u32 = 1000;
/// How many runs are looked at side by side. What hangs is bounded by vendor and far below this.
const LOOKS_MAX: usize = 1024;
/// What one look may take; longer means that something outside hangs.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// A run waits for room with a vendor for so long at most before it is looked at again.
const ROOM_WAIT: Duration = Duration::from_secs(60);
/// After so many looks in a row that came to nothing, the card says that the back-end cannot be reached.
const BLIND_MAX: u32 = 3;
/// A run that makes stepherd itself fail, or that cannot be read, is tried again after this long; the others do not wait
/// for it.
const AFTER_FAULT: Duration = Duration::from_secs(60);

/// When to look at which run, for the shards that this process holds.
#[derive(Default)]
pub struct Sweep {
    held: Shards,
    /// When the shards were asked for last.
    asked_at: Option<Moment>,
    seen_change: i64,
    agenda: BTreeSet<(Timestamp, RunId)>,
    when: HashMap<RunId, Timestamp>,
    /// Runs that are being looked at, with when they were asked to be looked at meanwhile.
    busy: HashMap<RunId, Option<RunWake>>,
    /// Tasks of their own: a look that holds a connection goes on while the sweep itself waits for one.
    looking: JoinSet<Looking>,
    blind: BTreeMap<(RunId, String), u32>,
    /// Runs whose turn it is once there is room with a vendor.
    waiting: BTreeMap<String, Line>,
}

/// Who waits for the same, first come first served; nobody stands in it twice.
#[derive(Default)]
struct Line {
    order: BTreeMap<u64, RunId>,
    places: HashMap<RunId, u64>,
    next: u64,
}

impl Line {
    /// Whoever is in it already keeps the place.
    fn join(&mut self, run: &RunId) {
        if !self.places.contains_key(run) {
            self.places.insert(run.clone(), self.next);
            self.order.insert(self.next, run.clone());
            self.next += 1;
        }
    }

    fn leave(&mut self, run: &RunId) {
        if let Some(place) = self.places.remove(run) {
            self.order.remove(&place);
        }
    }

    fn first(&mut self) -> Option<RunId> {
        let (_, run) = self.order.pop_first()?;
        self.places.remove(&run);
        Some(run)
    }
}

/// A look that has ended.
type Looking = (RunId, Result<Looked, StoreError>);

impl Sweep {
    fn set(&mut self, run: &RunId, at: Option<Timestamp>) {
        if let Some(before) = self.when.remove(run) {
            self.agenda.remove(&(before, run.clone()));
        }
        if let Some(at) = at {
            self.when.insert(run.clone(), at);
            self.agenda.insert((at, run.clone()));
        }
    }

    /// Takes up a run that changed. One that is being looked at right now gets its time afterwards.
    fn take_up(&mut self, wake: RunWake) {
        match self.busy.get_mut(&wake.run) {
            Some(meanwhile) => *meanwhile = Some(wake),
            None if wake.at.is_none() => self.forget(&wake.run),
            None => self.set(&wake.run, wake.at),
        }
    }

    /// It is not to be looked at any more.
    fn forget(&mut self, run: &RunId) {
        self.set(run, None);
        for line in self.waiting.values_mut() {
            line.leave(run);
        }
    }

    /// Makes those due for whom there is room now: so many with each vendor.
    fn let_in(&mut self, free: &BTreeMap<String, u32>, now: Timestamp) {
        let mut let_in = Vec::new();
        for (vendor, line) in &mut self.waiting {
            let room = free.get(vendor).map_or(usize::MAX, |free| *free as usize);
            let_in.extend(std::iter::from_fn(|| line.first()).take(room));
        }
        self.waiting.retain(|_, line| !line.order.is_empty());
        for run in let_in {
            // Who is being looked at right now has come back without being let in, and joins again if there is no room.
            if self.when.contains_key(&run) {
                self.set(&run, Some(now));
            }
        }
    }

    /// The next run that is due, if another one may be looked at now.
    fn due(&mut self, now: Timestamp) -> Option<RunId> {
        if self.looking.len() >= LOOKS_MAX {
            return None;
        }
        let (at, run) = self.agenda.first()?;
        if *at > now {
            return None;
        }
        let run = run.clone();
        self.set(&run, None);
        self.busy.insert(run.clone(), None);
        Some(run)
    }

    /// Waits for a look to end; `None` if there is none.
    async fn next_ended(&mut self) -> Option<Looking> {
        match self.looking.join_next().await? {
            Ok(ended) => Some(ended),
            // A look catches its own panics, and nothing aborts one but the end of the sweep.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => None,
            },
        }
    }

    /// Forgets the runs of other shards.
    fn drop_others(&mut self) {
        let gone: Vec<RunId> = self.when.keys().filter(|run| !self.held.have(run)).cloned().collect();
        for run in &gone {
            self.forget(run);
        }
    }

    /// Puts it in line with those vendors where there was no room for it, and with no other.
    fn wait_for(&mut self, run: &RunId, full: &[String]) {
        for (vendor, line) in &mut self.waiting {
            if !full.contains(vendor) {
                line.leave(run);
            }
        }
        for vendor in full {
            self.waiting.entry(vendor.clone()).or_default().join(run);
        }
    }

    /// When there is something to do if nothing happens before.
    fn next(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(at, _)| *at)
    }
}

impl Engine {
    /// Takes up what changed and looks at all that is due; how many runs were looked at.
    ///
    /// # Errors
    /// When the store cannot be used now.
    pub async fn sweep_step(&self, sweep: &mut Sweep) -> Result<usize, StoreError> {
        let mut looked = self.begin_looks(sweep).await?;
        let mut trouble = None;
        while let Some(ended) = sweep.next_ended().await {
            trouble = self.end_look(sweep, ended).await.err().or(trouble);
            looked += self.start_due(sweep);
        }
        trouble.map_or(Ok(looked), Err)
    }

    /// Looks at what is due, when it is due, until told to stop.
    pub(super) async fn sweep_loop(&self, stop: &CancellationToken) {
        let mut sweep = Sweep::default();
        while !stop.is_cancelled() {
            self.metrics.turned("sweep", self.clock.now());
            match self.begin_looks(&mut sweep).await {
                Ok(_) => self.out_of_trouble("sweep"),
                Err(error) => self.in_trouble("sweep", &error),
            }
            let poll = later(self.clock.now(), POLL);
            let next = sweep.next().filter(|_| sweep.looking.len() < LOOKS_MAX);
            let idle = self.clock.sleep_until(next.map_or(poll, |next| next.min(poll)));
            let mut idle = pin!(idle);
            let mut woken = pin!(self.wakes.runs.notified());
            // Looks that end are put down one by one; what changed meanwhile is taken up now and then, all at once.
            loop {
                tokio::select! {
                    Some(ended) = sweep.next_ended() => {
                        if let Err(error) = self.end_look(&mut sweep, ended).await {
                            self.in_trouble("sweep", &error);
                        }
                        self.start_due(&mut sweep);
                    }
                    () = &mut woken => break,
                    () = &mut idle => break,
                    () = stop.cancelled() => break,
                }
            }
        }
        // Whoever takes over looks anew: nothing is lost with a look that is given up.
        sweep.looking.shutdown().await;
        if let Err(error) = self.store.leave_shards(&self.replica).await {
            tracing::warn!(%error, "the other processes will notice only in a while that this one has ended");
        }
    }

    /// Renews the shards, takes up what changed, and begins to look at what is due; how many runs that is.
    async fn begin_looks(&self, sweep: &mut Sweep) -> Result<usize, StoreError> {
        let now = self.clock.moment();
        if sweep.asked_at.is_none_or(|at| now.since(at) >= HEARTBEAT) {
            self.hold_shards(sweep, now).await?;
        }
        loop {
            let changed = self
                .store
                .runs_changed_since(sweep.seen_change, sweep.held, PAGE, self.clock.now())
                .await?;
            let full = changed.len() == PAGE as usize;
            for changed in changed {
                sweep.seen_change = sweep.seen_change.max(changed.change);
                sweep.take_up(changed.wake);
            }
            if !full {
                break;
            }
        }
        Ok(self.start_due(sweep))
    }

    /// Takes up the runs of shards that are newly held, and forgets those of shards that are no longer.
    async fn hold_shards(&self, sweep: &mut Sweep, now: Moment) -> Result<(), StoreError> {
        // Read before the runs are: what changes in between is seen twice rather than not at all.
        let change = self.store.last_change().await?;
        let held = self.store.hold_shards(&self.replica, now.wall(), LEASE).await?;
        let new = held.without(sweep.held);
        let (mut after, mut runs) = (None, 0);
        while !new.is_empty() {
            let page = self.store.wakes(new, after.as_ref(), PAGE, self.clock.now()).await?;
            let full = page.len() == PAGE as usize;
            after = page.last().map(|wake| wake.run.clone());
            runs += page.len();
            page.into_iter().for_each(|wake| sweep.take_up(wake));
            if !full {
                break;
            }
        }
        if !new.is_empty() {
            tracing::info!(shards = new.len(), runs, "runs are looked after from here");
        }
        if sweep.held.is_empty() {
            sweep.seen_change = change;
        }
        sweep.held = held;
        sweep.drop_others();
        sweep.asked_at = Some(now);
        Ok(())
    }

    fn start_due(&self, sweep: &mut Sweep) -> usize {
        let mut started = 0;
        let now = self.clock.now();
        sweep.let_in(&self.looks.free(), now);
        while let Some(run) = sweep.due(now) {
            let engine = self.clone();
            sweep.looking.spawn(async move {
                let looked = AssertUnwindSafe(engine.look_at(&run)).catch_unwind().await;
                let looked = looked.unwrap_or_else(|_| {
                    tracing::error!(%run, "stepherd itself failed while looking (a panic, see its log)");
                    Ok(Looked {
                        next: Some(later(engine.clock.now(), AFTER_FAULT)),
                        ..Looked::default()
                    })
                });
                let looked = match looked {
                    Err(error @ StoreError::Unreadable { .. }) => {
                        engine.metrics.look("unreadable");
                        tracing::error!(%run, %error, "a run cannot be looked after");
                        Ok(Looked {
                            next: Some(later(engine.clock.now(), AFTER_FAULT)),
                            ..Looked::default()
                        })
                    }
                    looked => looked,
                };
                (run, looked)
            });
            started += 1;
        }
        started
    }

    /// Puts down when a run that was looked at is to be looked at next.
    async fn end_look(&self, sweep: &mut Sweep, (run, looked): Looking) -> Result<(), StoreError> {
        let meanwhile = sweep.busy.remove(&run).flatten();
        // Every run that was due gets a time again, whatever happened.
        let soon = Some(later(self.clock.now(), Duration::from_secs(1)));
        let next = looked.as_ref().map_or(soon, |looked| looked.next);
        sweep.set(&run, meanwhile.map_or(next, |wake| wake.at));
        sweep.wait_for(&run, looked.as_ref().map_or(&[], |looked| &looked.full));
        if !sweep.held.have(&run) {
            sweep.forget(&run);
        }
        if !sweep.when.contains_key(&run) {
            sweep.blind.retain(|(id, _), _| *id != run);
        }
        self.count_misses(sweep, &run, &looked?).await
    }

    async fn count_misses(&self, sweep: &mut Sweep, run: &RunId, looked: &Looked) -> Result<(), StoreError> {
        for name in &looked.clear {
            sweep.blind.remove(&(run.clone(), name.clone()));
        }
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
        if awaits_act(&run) {
            for (key, reason) in self.store.parked_acts(id).await? {
                self.apply(id, &Event::Parked { key, reason }, None).await?;
            }
        }
        let mut seen = Some(run);
        if wanted.queued {
            let ahead = self.store.ahead_of(id).await?;
            self.apply(id, &Event::LocksChanged { ahead }, None).await?;
        }
        let mut vendors: BTreeMap<String, Vec<&Look>> = BTreeMap::new();
        for look in &wanted.looks {
            vendors.entry(self.looks_at(look)).or_default().push(look);
        }
        // None waits for another one's answers.
        let looks = vendors.into_iter().map(|(vendor, looks)| {
            let seen = seen.take();
            async move { self.look_there(id, &vendor, looks, seen).await }
        });
        for there in join_all(looks).await {
            let there = there?;
            looked.blind.extend(there.blind);
            looked.clear.extend(there.clear);
            looked.full.extend(there.full);
        }
        let now = self.clock.now();
        if wanted.deadline.is_some_and(|at| at <= now) {
            self.apply(id, &Event::Woke, None).await?;
        }
        looked.next = wanted.after_look(now);
        if !looked.full.is_empty() {
            looked.next = Some(
                looked
                    .next
                    .map_or(later(now, ROOM_WAIT), |next| next.min(later(now, ROOM_WAIT))),
            );
        }
        Ok(looked)
    }

    fn looks_at(&self, look: &Look) -> String {
        match look {
            Look::Merge { .. } => self.forge_vendor(),
            Look::Done(act) => self.vendor_of(&act.what),
            Look::Job { intent, .. } => intent.backend.to_string(),
        }
    }

    /// Looks at all that there is with one vendor. `seen` is the run as it was read before the first look.
    async fn look_there(
        &self,
        id: &RunId,
        vendor: &str,
        looks: Vec<&Look>,
        mut seen: Option<Run>,
    ) -> Result<Looked, StoreError> {
        let mut looked = Looked::default();
        if self.paused(vendor).await.is_some() {
            return Ok(looked);
        }
        let Some(_place) = self.looks.try_enter(vendor) else {
            looked.full.push(vendor.to_owned());
            return Ok(looked);
        };
        for look in looks {
            self.look(id, vendor, look, &mut seen, &mut looked).await?;
        }
        Ok(looked)
    }

    /// `seen` is the run as it was read before the first look, and only for that.
    async fn look(
        &self,
        id: &RunId,
        vendor: &str,
        look: &Look,
        seen: &mut Option<Run>,
        looked: &mut Looked,
    ) -> Result<(), StoreError> {
        let event = match look {
            Look::Merge { act, intent } => match in_time(self.merge(intent)).await {
                Ok(outcome) => Ok(came(act, outcome)),
                Err(CallError::Permanent { why, class }) => Ok(came(act, Outcome::Failed { reason: why, class })),
                Err(error) => Err(error),
            },
            Look::Done(act) => match in_time(self.look_whether_done(&act.what)).await {
                Ok(outcome) => Ok(came(act, outcome)),
                Err(CallError::Permanent { why, class }) => Ok(came(act, Outcome::Unclear { reason: why, class })),
                Err(error) => Err(error),
            },
            Look::Job {
                step,
                attempt,
                intent,
                started,
                ending,
            } => {
                let job = JobLook {
                    step: step.clone(),
                    attempt: *attempt,
                    job: intent.job.clone(),
                };
                match in_time(self.observe(intent, *started, *ending)).await {
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
                // What comes of it mostly is nothing, and then the run need not be read again. If it has changed
                // meanwhile, that made another look due.
                self.apply_to(seen.take(), id, &event, None).await
            }
            Err(error) => {
                self.metrics.look("failed");
                tracing::warn!(run = %id, vendor, %error, "cannot look now");
                self.heed(vendor, &error).await;
                Ok(())
            }
        }
    }

    async fn observe(&self, intent: &JobIntent, started: bool, ending: bool) -> Result<Observation, CallError> {
        match self.hands.backends.get(&intent.backend) {
            Some(backend) if ending => backend.observe_end(intent).await,
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
    /// Vendors with whom there was no room to look.
    full: Vec<String>,
}

fn came(act: &Act, outcome: Outcome) -> Event {
    let act = act.clone();
    Event::Came { act, outcome }
}

/// What hangs is a failure after a while.
async fn in_time<T>(call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let in_time = tokio::time::timeout(LOOK_TIMEOUT, call).await;
    in_time.unwrap_or_else(|_| {
        Err(CallError::Retry {
            why: format!("it took longer than {} s", LOOK_TIMEOUT.as_secs()),
            after: None,
            class: FailureClass::Infrastructure,
        })
    })
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

fn unknown(detail: String) -> Observation {
    Observation {
        detail: Some(detail),
        ..Observation::of(ObservedState::Unknown)
    }
}
