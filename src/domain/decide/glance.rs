//! What a run needs looked at, and when: all that the sweep has to know.

use std::time::Duration;

use jiff::Timestamp;

use super::{aftermath, steps, watched};
use crate::domain::effect::{Act, Deed, JobIntent, MergeIntent};
use crate::domain::ids::StepName;
use crate::domain::pipeline::{StepKind, StepSpec};
use crate::domain::run::{Attempt, Job, JobState, Phase, Run, RunState, Verdict};
use crate::domain::standing;

/// How often a pull request that cannot be merged yet is looked at; webhooks make it sooner.
const MERGE_EVERY: Duration = Duration::from_secs(60);
/// How often it is tried to find out what became of the last act of a run that is being stopped.
const LAST_LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a run needs looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Glance {
    /// What to look at, now and then every so often.
    pub looks: Vec<Look>,
    /// How often.
    pub every: Duration,
    /// When to wake it whatever is seen.
    pub deadline: Option<Timestamp>,
    /// Whether it waits for its turn in the lock queues.
    pub queued: bool,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A job on a back-end.
    Job {
        /// Its step.
        step: StepName,
        /// The attempt under way.
        attempt: u32,
        /// The job.
        intent: JobIntent,
        /// Whether stepherd started it.
        started: bool,
        /// Whether it was told to end, so that its end is what counts and not what it was for.
        ending: bool,
    },
    /// A pull request that could not be merged when last tried. Trying again is safe.
    Merge {
        /// What is awaited.
        act: Act,
        /// The same, as the forge takes it.
        intent: MergeIntent,
    },
    /// Whether an act of a run that is being stopped was carried out. Nothing of it is done any more.
    Done(Act),
}

/// What the run needs looked at. Nothing for runs that wait for an effect, or that ended.
pub fn glance(run: &Run) -> Glance {
    let attempt = match &run.state {
        RunState::Active(attempt) => attempt,
        RunState::Queued { .. } => {
            return Glance {
                queued: true,
                ..Glance::default()
            };
        }
        RunState::Stopped { attempt, .. } => return after_failure(run, attempt),
        RunState::Finished { .. } => return Glance::default(),
    };
    let spec = &run.plan.steps[attempt.step];
    let deadline = watched::deadline(run, attempt);
    let act = |what: Deed| Act {
        step: spec.name.clone(),
        attempt: attempt.number,
        what,
    };
    let merge = |intent: MergeIntent| Look::Merge {
        act: act(Deed::Merge(intent.clone())),
        intent,
    };
    let (looks, every) = match (&attempt.phase, &spec.kind) {
        (Phase::Acting { waiting_for: Some(_) }, StepKind::Merge(spec)) => {
            let looks = steps::merge_intent(run, attempt, spec).ok().flatten().map(merge);
            (looks.into_iter().collect(), MERGE_EVERY)
        }
        (Phase::Stopping { look: true, .. }, _) => {
            let looks = steps::maybe_done(run, attempt).map(|deed| Look::Done(act(deed)));
            (looks.into_iter().collect(), LAST_LOOK_EVERY)
        }
        (phase, StepKind::Work(work)) => {
            let looks = jobs_to_look_at(spec, attempt, |job| watched::is_looked_at(phase, job));
            (looks, work.every)
        }
        _ => (Vec::new(), Duration::ZERO),
    };
    Glance {
        looks,
        every,
        deadline,
        queued: false,
    }
}

/// After a failure only what goes by itself is looked at, in case its back-end restarts it without a word.
fn after_failure(run: &Run, attempt: &Attempt) -> Glance {
    let spec = &run.plan.steps[attempt.step];
    match &spec.kind {
        StepKind::Work(work) => Glance {
            looks: jobs_to_look_at(spec, attempt, aftermath::is_looked_at),
            every: work.every,
            ..Glance::default()
        },
        _ => Glance::default(),
    }
}

fn jobs_to_look_at(spec: &StepSpec, attempt: &Attempt, which: impl Fn(&Job) -> bool) -> Vec<Look> {
    let jobs = steps::jobs_of(&attempt.phase).into_iter().flatten();
    let looks = jobs.filter(|job| which(job)).map(|job| Look::Job {
        step: spec.name.clone(),
        attempt: attempt.number,
        intent: steps::job_intent(job),
        started: job.start,
        ending: job.state == JobState::Ending,
    });
    looks.collect()
}

/// Whether the run waits for the outcome of an act.
pub fn awaits_act(run: &Run) -> bool {
    let Some(attempt) = standing::attempt(run) else {
        return false;
    };
    let mut jobs = steps::jobs_of(&attempt.phase).into_iter().flatten();
    let is_active = matches!(run.state, RunState::Active(_));
    (is_active && matches!(attempt.phase, Phase::Acting { .. } | Phase::Stopping { .. }))
        || jobs.any(|job| matches!(job.state, JobState::Starting | JobState::Canceling))
}

/// When the run is to be looked at next, as far as can be told when it is committed. What it needs looked at for the
/// first time is looked at now. A run that changed because it was looked at keeps its pace: otherwise a job that
/// progresses at every look would be looked at without rest.
pub fn next_wake(before: Option<&Run>, after: &Run, now: Timestamp) -> Option<Timestamp> {
    let wanted = glance(after);
    if wanted.queued {
        return Some(now);
    }
    if wanted.looks.is_empty() {
        return wanted.deadline;
    }
    let known = before.map(glance).is_some_and(|before| {
        let (looks, every) = (&before.looks, before.every);
        *looks == wanted.looks && every == wanted.every
    });
    let look = if known { wanted.next_look(now) } else { now };
    Some(wanted.deadline.map_or(look, |deadline| deadline.min(look)))
}

impl Glance {
    /// When to look again after a look at this time.
    fn next_look(&self, now: Timestamp) -> Timestamp {
        now.checked_add(self.every).unwrap_or(Timestamp::MAX)
    }

    /// What comes next after a look at this time: the next look, or a deadline that is not over. A queued run waits
    /// to be told that its queue has moved.
    pub fn after_look(&self, now: Timestamp) -> Option<Timestamp> {
        let again = (!self.looks.is_empty()).then(|| self.next_look(now));
        let deadline = self.deadline.filter(|at| *at > now);
        again.into_iter().chain(deadline).min()
    }
}

/// Whether an act is still to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// As it is.
    Yes,
    /// Not at all.
    No,
    /// It may have been carried out already, so look whether it was, and do no more than that.
    Look,
    /// It may have been carried out already: see to it that the job ends if it is there.
    Undo(JobIntent),
}

/// Whether an act is still wanted. It is not once its attempt is over, nor when it would start or change something
/// while the run is being stopped. `unclear` says that an earlier try may have got through. Acts on jobs go by what the
/// run says about the job that their marker names.
pub fn wanted(run: &Run, act: &Act, unclear: bool) -> Wanted {
    let of_act = |attempt: &Attempt| run.plan.steps[attempt.step].name == act.step && attempt.number == act.attempt;
    let (current, stopping, stopped) = match &run.state {
        RunState::Active(attempt) => (of_act(attempt), matches!(attempt.phase, Phase::Stopping { .. }), false),
        RunState::Stopped { attempt, .. } => (of_act(attempt), false, true),
        RunState::Queued { .. } | RunState::Finished { .. } => (false, false, false),
    };
    match &act.what {
        Deed::StartJob(intent) => start_wanted(run, intent, unclear),
        // A late cancel must not hit what was taken up again, nor what somebody else has started since.
        Deed::CancelJob(intent) => match job_state(run, intent) {
            Some(JobState::Canceling) => Wanted::Yes,
            _ => Wanted::No,
        },
        Deed::Change(_) | Deed::Merge(_) | Deed::MoveTicket(_) if !current => Wanted::No,
        _ if !stopping && !stopped => Wanted::Yes,
        // A run that is being stopped says in the end what became of what it did.
        _ if unclear || standing::attempt(run).is_some_and(|attempt| attempt.unclear) => Wanted::Look,
        // People may have merged.
        Deed::Merge(_) if stopping => Wanted::Look,
        Deed::Change(_) | Deed::Merge(_) | Deed::MoveTicket(_) => Wanted::No,
    }
}

fn start_wanted(run: &Run, intent: &JobIntent, unclear: bool) -> Wanted {
    let under_way = matches!(&run.state, RunState::Active(attempt) if !matches!(attempt.phase, Phase::Stopping { .. }));
    match (job_state(run, intent), &run.state) {
        (Some(JobState::Starting | JobState::Unconfirmed), _) if under_way => Wanted::Yes,
        (Some(JobState::Unconfirmed), _) => Wanted::Look,
        (Some(JobState::Starting), _) if unclear => Wanted::Look,
        // The run was stopped, and ended before anybody knew.
        (
            None,
            RunState::Finished {
                verdict: Verdict::Canceled { .. },
                ..
            },
        ) if unclear => Wanted::Undo(intent.clone()),
        _ => Wanted::No,
    }
}

/// Where the job stands that this names; `None` if the run is not, or no longer, concerned with it.
fn job_state(run: &Run, intent: &JobIntent) -> Option<JobState> {
    let jobs = steps::jobs_of(&standing::attempt(run)?.phase)?;
    let job = jobs.iter().find(|job| job.marker == intent.marker);
    job.map(|job| job.state)
}
