//! What a run needs looked at, and when: all that the sweep has to know.

use std::time::Duration;

use jiff::Timestamp;

use super::{steps, watched};
use crate::domain::effect::{Act, Deed, JobIntent, MergeIntent};
use crate::domain::ids::StepName;
use crate::domain::pipeline::StepKind;
use crate::domain::run::{JobState, Phase, Run, RunState};

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
                .filter(|job| checking || job.state == JobState::Watched)
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

/// Whether an act that has not been carried out yet is still wanted: not if its attempt is over, nor if it would
/// start something while the run is being stopped.
pub fn still_wanted(run: &Run, act: &Act) -> bool {
    if matches!(act.what, Deed::CancelJob(_)) {
        return true;
    }
    match &run.state {
        RunState::Active(attempt) => {
            let current = run.plan.steps[attempt.step].name == act.step && attempt.number == act.attempt;
            let stopping = matches!(attempt.phase, Phase::Stopping { .. });
            current && !stopping
        }
        _ => false,
    }
}
