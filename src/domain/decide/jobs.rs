//! What becomes of single jobs: their starts, and what is told to end.
//!
//! A start and a request to end belong to the job that their marker names, not to the attempt that asked for them.
//! Whether they are wanted, and what their outcomes mean, is told by that job's state alone. So a start that was on
//! its way when its step failed is known all the same when it gets through, and one that an earlier attempt asked for
//! can do nothing to a job that a later one has taken up.

use super::draft::Draft;
use super::steps;
use super::what::What;
use super::{Decision, Facts, ending, watched};
use crate::domain::effect::{Act, Deed, Outcome};
use crate::domain::pipeline::{OnFailure, StepKind};
use crate::domain::run::{Attempt, By, Job, JobState, Observation, ObservedState, Phase, Run, RunState};
use crate::domain::standing;

/// What came of a start or of a request to end, during the attempt or after it has failed.
pub(super) fn came(run: &Run, act: &Act, outcome: &Outcome, facts: &Facts) -> Decision {
    match &act.what {
        Deed::StartJob(intent) => start_came(run, &intent.marker, outcome, facts),
        Deed::CancelJob(intent) => end_came(run, &intent.marker, outcome, facts),
        _ => Decision::default(),
    }
}

/// What came of the start of the job with this marker.
pub(super) fn start_came(run: &Run, marker: &str, outcome: &Outcome, facts: &Facts) -> Decision {
    to_job(run, marker, facts, |draft, attempt, place| {
        started(draft, attempt, place, outcome)
    })
}

/// What came of the request to end the job with this marker.
pub(super) fn end_came(run: &Run, marker: &str, outcome: &Outcome, facts: &Facts) -> Decision {
    to_job(run, marker, facts, |draft, attempt, place| {
        told_to_end(draft, attempt, place, outcome)
    })
}

/// Whether the outcome of the start of the job with this marker is awaited.
pub(super) fn awaits_start(run: &Run, marker: &str) -> bool {
    let jobs = standing::attempt(run).and_then(|attempt| steps::jobs_of(&attempt.phase));
    let mut jobs = jobs.into_iter().flatten();
    jobs.any(|job| job.marker == marker && watched::start_is_on_its_way(job))
}

fn to_job(
    run: &Run,
    marker: &str,
    facts: &Facts,
    came: impl FnOnce(&mut Draft<'_>, Attempt, usize) -> bool,
) -> Decision {
    let Some(mut attempt) = standing::attempt(run).cloned() else {
        return Decision::default();
    };
    let jobs = watched::jobs_mut(&mut attempt.phase);
    let Some(place) = jobs.iter().position(|job| job.marker == marker) else {
        return Decision::default();
    };
    let mut draft = Draft::change(run, facts);
    let changed = came(&mut draft, attempt, place);
    if changed { draft.done() } else { Decision::default() }
}

fn started(draft: &mut Draft<'_>, mut attempt: Attempt, place: usize, outcome: &Outcome) -> bool {
    let watching = is_active(draft) && matches!(attempt.phase, Phase::Watching { .. });
    let job = &mut watched::jobs_mut(&mut attempt.phase)[place];
    if !matches!(job.state, JobState::Starting | JobState::Unconfirmed) {
        return false;
    }
    match outcome {
        Outcome::JobStarted => {
            job.state = JobState::Watched;
            job.seen = None;
            if must_end(draft, &attempt) {
                tell_to_end(draft, &mut attempt, place);
            }
        }
        Outcome::Failed { reason, class } => {
            job.state = JobState::NotStarted;
            job.seen = Some(because(ObservedState::Failed, reason));
            if watching {
                watched::start_failed(draft, attempt, What::new(reason.clone(), *class));
                return true;
            }
        }
        Outcome::Unclear { reason, class } => {
            let was_looked_for = job.state == JobState::Unconfirmed;
            job.state = JobState::Unconfirmed;
            job.seen = Some(because(ObservedState::Unknown, reason));
            if watching {
                watched::start_failed(draft, attempt, What::new(reason.clone(), *class));
                return true;
            }
            if must_end(draft, &attempt) && !was_looked_for {
                find_out(draft, &mut attempt, place);
            }
        }
        Outcome::JobWaits { why } => {
            let waits = Observation {
                detail: Some(why.clone()),
                ..because(ObservedState::Pending, "")
            };
            if job.state == JobState::Starting && job.seen.as_ref() == Some(&waits) {
                return false;
            }
            job.state = JobState::Starting;
            job.seen = Some(waits);
        }
        // That was before somebody said retry: its start has been asked for again since.
        Outcome::NotDone if watching => return false,
        Outcome::NotDone => {
            job.state = JobState::NotStarted;
            job.seen = None;
        }
        other => {
            steps::fail(draft, &attempt, What::unexpected(other));
            return true;
        }
    }
    go_on(draft, attempt);
    true
}

/// Whether the job really ends is told by looking at it, not by the answer to the request.
fn told_to_end(draft: &mut Draft<'_>, mut attempt: Attempt, place: usize, outcome: &Outcome) -> bool {
    let job = &mut watched::jobs_mut(&mut attempt.phase)[place];
    if job.state != JobState::Canceling {
        return false;
    }
    match outcome {
        Outcome::JobCanceled => job.state = JobState::Ending,
        Outcome::Failed { reason, .. } | Outcome::Unclear { reason, .. } => {
            job.state = JobState::Watched;
            job.seen = Some(Observation {
                state: ObservedState::Unknown,
                detail: Some(format!("it could not be told to end: {reason}")),
                ..job.seen.clone().unwrap_or_else(|| because(ObservedState::Unknown, ""))
            });
        }
        _ => return false,
    }
    go_on(draft, attempt);
    true
}

/// Puts the attempt back with what is known now, and goes on with what waited for that.
fn go_on(draft: &mut Draft<'_>, attempt: Attempt) {
    match (&mut draft.run.state, &attempt.phase) {
        (RunState::Stopped { attempt: failed, .. }, _) => *failed = attempt,
        (_, Phase::Checking { .. }) => watched::settle_checking(draft, attempt),
        (_, Phase::Stopping { .. }) => watched::settle_stopping(draft, attempt),
        (state, _) => *state = RunState::Active(attempt),
    }
}

fn is_active(draft: &Draft<'_>) -> bool {
    matches!(draft.run.state, RunState::Active(_))
}

/// Whether what still runs of the attempt is to end.
fn must_end(draft: &Draft<'_>, attempt: &Attempt) -> bool {
    match draft.run.state {
        RunState::Stopped { .. } => on_failure(&draft.run, attempt) == OnFailure::Cancel,
        _ => matches!(attempt.phase, Phase::Stopping { .. }),
    }
}

/// What the attempt's step does with its jobs when one fails.
pub(super) fn on_failure(run: &Run, attempt: &Attempt) -> OnFailure {
    match &run.plan.steps[attempt.step].kind {
        StepKind::Work(work) => work.on_failure,
        _ => OnFailure::Leave,
    }
}

fn tell_to_end(draft: &mut Draft<'_>, attempt: &mut Attempt, place: usize) {
    let job = &mut watched::jobs_mut(&mut attempt.phase)[place];
    job.state = JobState::Canceling;
    let intent = steps::job_intent(job);
    draft.act(attempt, Deed::CancelJob(intent));
}

/// The step has failed for good: what stepherd started of it is told to end where the plan says so. A start that is
/// on its way is followed up when its outcome is known.
pub(super) fn end_what_runs(draft: &mut Draft<'_>, attempt: &mut Attempt) {
    if on_failure(&draft.run, attempt) == OnFailure::Cancel {
        tell_all_to_end(draft, attempt, |job| job.state == JobState::Watched);
    }
}

fn tell_all_to_end(draft: &mut Draft<'_>, attempt: &mut Attempt, which: impl Fn(&Job) -> bool) {
    for place in 0..watched::jobs_mut(&mut attempt.phase).len() {
        let job = &watched::jobs_mut(&mut attempt.phase)[place];
        if job.start && which(job) {
            tell_to_end(draft, attempt, place);
        }
    }
}

/// Whether the job's start got through is to be found out: whoever carries out a start that is no longer wanted does
/// no more than that.
fn find_out(draft: &mut Draft<'_>, attempt: &mut Attempt, place: usize) {
    let job = &mut watched::jobs_mut(&mut attempt.phase)[place];
    job.seen = None;
    let intent = steps::job_intent(job);
    draft.act(attempt, Deed::StartJob(intent));
}

/// Somebody said stop: what runs is told to end, and what is on its way is awaited, so that its outcome is known when
/// the run ends.
pub(super) fn stop(draft: &mut Draft<'_>, mut attempt: Attempt, by: By) {
    let acting = is_active(draft) && attempt.phase == (Phase::Acting { waiting_for: None });
    // While checking, nothing is known about a job but what was seen since.
    let checking = matches!(attempt.phase, Phase::Checking { .. });
    let unseen = |job: &Job| !job.seen.as_ref().is_some_and(|seen| seen.state.is_terminal());
    tell_all_to_end(draft, &mut attempt, |job| match job.state {
        JobState::Watched => unseen(job),
        JobState::Ended => checking && unseen(job),
        _ => false,
    });
    for place in 0..watched::jobs_mut(&mut attempt.phase).len() {
        if watched::jobs_mut(&mut attempt.phase)[place].state == JobState::Unconfirmed {
            find_out(draft, &mut attempt, place);
        }
    }
    let jobs = watched::jobs_mut(&mut attempt.phase).to_vec();
    let look = !acting && steps::maybe_done(&draft.run, &attempt).is_some();
    if !(acting || look || jobs.iter().any(is_awaited)) {
        return ending::finish_canceled(draft, by, &jobs);
    }
    let since = draft.facts.now;
    let phase = Phase::Stopping { by, since, jobs, look };
    draft.run.state = RunState::Active(Attempt { phase, ..attempt });
}

/// Whether a run that is being stopped waits for the job: not for one that could not be told to end, nor for one of
/// which it could not be found out whether it is there.
pub(super) fn is_awaited(job: &Job) -> bool {
    job.start
        && match job.state {
            JobState::Starting | JobState::Unconfirmed => watched::start_is_on_its_way(job),
            JobState::Canceling | JobState::Ending => true,
            JobState::Watched | JobState::NotStarted | JobState::Ended => false,
        }
}

fn because(state: ObservedState, reason: &str) -> Observation {
    Observation {
        reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
        ..Observation::of(state)
    }
}
