//! Where a run stands, in figures: overall progress and the seven-field status.

use super::ids::Percent;
use super::process::ProcessStatus;
use super::run::{
    Attempt, Failure, Job, JobState, LeftHow, LeftJob, Observation, ObservedState, Phase, Run, RunState, Verdict,
};

/// The last observation that tells most about the attempt: of the first job that has not ended, else of the last.
pub fn last_seen(attempt: &Attempt) -> Option<&Observation> {
    live_job(attempt)?.seen.as_ref()
}

/// The job that tells most about the attempt, of those that were seen.
pub fn live_job(attempt: &Attempt) -> Option<&Job> {
    let jobs = jobs(attempt);
    let live = jobs.iter().find(|job| job.state.may_run() && job.seen.is_some());
    live.or(jobs.iter().rev().find(|job| job.seen.is_some()))
}

/// The attempt that the run is or was last on.
pub fn attempt(run: &Run) -> Option<&Attempt> {
    match &run.state {
        RunState::Active(attempt) | RunState::Stopped { attempt, .. } => Some(attempt),
        RunState::Queued { .. } | RunState::Finished { .. } => None,
    }
}

/// How far the run is: the progress of the step that stands for it, or steps passed of all.
pub fn progress(run: &Run) -> Percent {
    match &run.state {
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        } => return Percent::FULL,
        RunState::Finished {
            reached: Some(reached), ..
        } => return *reached,
        _ => {}
    }
    let now = attempt(run).and_then(|attempt| {
        let shown = match &run.state {
            RunState::Stopped { why, .. } if why.progress.is_some() => why.progress,
            _ => last_seen(attempt).and_then(|seen| seen.progress),
        };
        Some((&run.plan.steps[attempt.step].name, shown?))
    });
    match &run.plan.progress_of {
        Some(step) if run.passed.iter().any(|passed| passed.step == *step) => Percent::FULL,
        Some(step) => now
            .filter(|(name, _)| *name == step)
            .map_or(Percent::ZERO, |(_, shown)| shown),
        None => {
            let part = now.map_or(0.0, |(_, shown)| shown.as_f64() / 100.0);
            Percent::clamped((run.passed.len() as f64 + part) * 100.0 / run.plan.steps.len().max(1) as f64)
        }
    }
}

/// How often back-ends restarted this attempt's jobs by themselves.
pub fn attempt_restarts(attempt: &Attempt) -> u32 {
    jobs(attempt)
        .iter()
        .filter_map(|job| job.seen.as_ref())
        .map(|seen| seen.restarts)
        .fold(0, u32::saturating_add)
}

/// The attempt's jobs.
pub fn jobs(attempt: &Attempt) -> &[Job] {
    match &attempt.phase {
        Phase::Checking { jobs } | Phase::Watching { jobs } | Phase::Stopping { jobs, .. } => jobs,
        Phase::Acting { .. } | Phase::Asking { .. } => &[],
    }
}

/// The jobs of the attempt that stepherd started and that may still run.
pub fn left(attempt: &Attempt) -> Vec<LeftJob> {
    let left = |job: &Job| {
        let how = match job.state {
            JobState::Starting if job.waits_to_start() => return None,
            JobState::Watched => LeftHow::Running,
            JobState::Starting | JobState::Unconfirmed => LeftHow::MayRun,
            JobState::Canceling | JobState::Ending => LeftHow::ToldToEnd,
            JobState::NotStarted | JobState::Ended => return None,
        };
        let seen = job.seen.as_ref();
        Some(LeftJob {
            job: job.name.clone(),
            how,
            progress: seen.and_then(|seen| seen.progress),
            link: seen.and_then(|seen| seen.link.clone()),
        })
    };
    jobs(attempt).iter().filter(|job| job.start).filter_map(left).collect()
}

/// How often back-ends restarted the run's jobs by themselves.
pub fn restarts(run: &Run) -> u32 {
    let now = attempt(run).map_or(0, attempt_restarts);
    run.passed
        .iter()
        .map(|passed| passed.restarts)
        .fold(now, u32::saturating_add)
}

/// Why the run failed, if it did.
pub fn failure(run: &Run) -> Option<&Failure> {
    match &run.state {
        RunState::Stopped { why, .. } => Some(why),
        _ => None,
    }
}

/// Whether the attempt waits for people, or for something that has to come by itself: nothing is done meanwhile.
pub fn is_waiting(attempt: &Attempt) -> bool {
    match &attempt.phase {
        Phase::Asking { .. } | Phase::Acting { waiting_for: Some(_) } => true,
        Phase::Watching { jobs } => {
            let waits = |job: &Job| {
                let seen = job.seen.as_ref().map(|seen| seen.state);
                matches!(seen, Some(ObservedState::Waiting | ObservedState::Pending))
            };
            let mut live = jobs.iter().filter(|job| job.state.may_run()).peekable();
            live.peek().is_some() && live.all(waits)
        }
        Phase::Acting { waiting_for: None } | Phase::Checking { .. } | Phase::Stopping { .. } => false,
    }
}

/// The run as a seven-field status: waiting while queued; starting during the first step's first attempt; running,
/// also while it is being stopped; begun and not running while it waits for people or for what has to come by itself;
/// failed while stopped; done. A canceled run counts as failed, with who stopped it as the reason.
pub fn process_status(run: &Run) -> ProcessStatus {
    let (has_started, is_running, has_completed, has_failed) = match &run.state {
        RunState::Queued { .. } => (false, false, false, false),
        RunState::Active(attempt) if is_waiting(attempt) || is_beginning(attempt) => (true, false, false, false),
        RunState::Active(_) => (true, true, false, false),
        RunState::Stopped { .. }
        | RunState::Finished {
            verdict: Verdict::Canceled { .. },
            ..
        } => (true, false, false, true),
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        } => (true, false, true, false),
    };
    ProcessStatus {
        has_started,
        is_running,
        has_completed,
        has_failed,
        progress: Some(progress(run)),
        failure_reason: failure_reason(run),
        restart_count: restarts(run),
    }
}

fn is_beginning(attempt: &Attempt) -> bool {
    attempt.step == 0 && attempt.number == 1 && !matches!(attempt.phase, Phase::Stopping { .. })
}

/// Why the run failed or who stopped it, in words.
pub fn failure_reason(run: &Run) -> Option<String> {
    match &run.state {
        RunState::Stopped { why, .. } => Some(why.reason.clone()),
        RunState::Finished {
            verdict: Verdict::Canceled { by },
            ..
        } => Some(format!("stopped by {}", by.name)),
        _ => None,
    }
}
