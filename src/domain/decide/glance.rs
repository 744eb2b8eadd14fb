//! What a run needs looked at, and when: all that the sweep has to know.

use std::time::Duration;

use jiff::Timestamp;

use super::{steps, watched};
use crate::domain::effect::{Act, Deed, JobIntent, MergeIntent};
use crate::domain::ids::StepName;
use crate::domain::pipeline::StepKind;
use crate::domain::run::{Attempt, JobState, Phase, Run, RunState};

/// How often a pull request that cannot be merged yet is looked at; webhooks make it sooner.
const MERGE_EVERY: Duration = Duration::from_secs(60);

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
    },
    /// A pull request that could not be merged when last tried. Trying again is safe.
    Merge {
        /// What is awaited.
        act: Act,
        /// The same, as the forge takes it.
        intent: MergeIntent,
    },
}

/// What the run needs looked at. Nothing for runs that wait for a person, an effect, or that ended.
pub fn glance(run: &Run) -> Glance {
    let attempt = match &run.state {
        RunState::Active(attempt) => attempt,
        RunState::Queued { .. } => {
            return Glance {
                queued: true,
                ..Glance::default()
            };
        }
        RunState::Stopped { .. } | RunState::Finished { .. } => return Glance::default(),
    };
    let spec = &run.plan.steps[attempt.step];
    let deadline = watched::deadline(run, attempt);
    let (looks, every) = match (&attempt.phase, &spec.kind) {
        (Phase::Acting { waiting_for: Some(_) }, StepKind::Merge(merge)) => {
            let looks = steps::merge_intent(run, attempt, merge).map(|intent| {
                let what = Deed::Merge(intent.clone());
                Look::Merge {
                    act: Act {
                        step: spec.name.clone(),
                        attempt: attempt.number,
                        what,
                    },
                    intent,
                }
            });
            (looks.into_iter().collect(), MERGE_EVERY)
        }
        (phase, StepKind::Work(work)) => {
            let checking = matches!(phase, Phase::Checking { .. });
            let jobs = steps::jobs_of(phase).into_iter().flatten();
            let looks = jobs
                // A job whose start was never confirmed tells nothing about this run: what is there may be older.
                .filter(|job| job.state == JobState::Watched || (checking && job.state == JobState::Ended))
                .map(|job| Look::Job {
                    step: spec.name.clone(),
                    attempt: attempt.number,
                    intent: steps::job_intent(job),
                    started: job.start,
                });
            (looks.collect(), work.every)
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
    let known = before.is_some_and(|before| glance(before).looks == wanted.looks);
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
    Look(MergeIntent),
    /// It may have been carried out already: see to it that the job ends if it is there.
    Undo(JobIntent),
}

/// Whether an act is still wanted. It is not once its attempt is over, nor when it would start or change something
/// while the run is being stopped. `unclear` says that an earlier try may have got through.
pub fn wanted(run: &Run, act: &Act, unclear: bool) -> Wanted {
    let of_act = |attempt: &Attempt| run.plan.steps[attempt.step].name == act.step && attempt.number == act.attempt;
    let (current, stopping, stopped) = match &run.state {
        RunState::Active(attempt) => (of_act(attempt), matches!(attempt.phase, Phase::Stopping { .. }), false),
        RunState::Stopped { attempt, .. } => (of_act(attempt), false, true),
        RunState::Queued { .. } | RunState::Finished { .. } => (false, false, false),
    };
    match &act.what {
        // A late cancel must not hit what somebody else has started since.
        Deed::CancelJob(_) if current && (stopping || stopped) => Wanted::Yes,
        Deed::CancelJob(_) => Wanted::No,
        _ if current && !stopping && !stopped => Wanted::Yes,
        // Finding what an unclear try made is the same call as making it, and people must be told what is there.
        Deed::Change(_) if unclear && current => Wanted::Yes,
        Deed::Merge(intent) if unclear => Wanted::Look(MergeIntent {
            method: None,
            ..intent.clone()
        }),
        Deed::StartJob(intent) if unclear => Wanted::Undo(intent.clone()),
        Deed::Change(_) | Deed::Merge(_) | Deed::StartJob(_) | Deed::MoveTicket(_) => Wanted::No,
    }
}
