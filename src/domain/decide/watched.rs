//! What is seen by looking: jobs on back-ends, queues, the clock.

use std::time::Duration;

use jiff::Timestamp;

use super::draft::Draft;
use super::ending::{self, Looked};
use super::steps::{self, What};
use super::{Decision, Facts, jobs};
use crate::domain::ids::{RunId, StepName};
use crate::domain::pipeline::OnFailure;
use crate::domain::run::{
    Attempt, FailureClass, Happened, Job, JobState, Observation, ObservedState, Phase, Run, RunState,
};

/// How long a canceled job may take to end, and a look may take, before the run ends without it.
const CANCEL_PATIENCE: Duration = Duration::from_secs(600);

/// The queues have moved.
pub(super) fn locks_changed(run: &Run, ahead: &[RunId], facts: &Facts) -> Decision {
    let RunState::Queued { ahead: before } = &run.state else {
        return Decision::default();
    };
    if before == ahead {
        return Decision::default();
    }
    let mut draft = Draft::change(run, facts);
    if ahead.is_empty() {
        steps::begin(&mut draft, 0);
    } else {
        draft.record(Happened::Queued { position: ahead.len() });
        draft.run.state = RunState::Queued { ahead: ahead.to_vec() };
    }
    draft.done()
}

/// A job was looked at. Seeing the same again changes nothing.
pub(super) fn observed(
    run: &Run,
    step: &StepName,
    number: u32,
    job: &str,
    seen: &Observation,
    facts: &Facts,
) -> Decision {
    let RunState::Active(attempt) = &run.state else {
        return Decision::default();
    };
    if run.plan.steps[attempt.step].name != *step || attempt.number != number {
        return Decision::default();
    }
    let Some(before) = steps::jobs_of(&attempt.phase).and_then(|jobs| jobs.iter().find(|j| j.name == job)) else {
        return Decision::default();
    };
    if !is_looked_at(&attempt.phase, before) {
        return Decision::default();
    }
    let seen = &remembering(before.seen.as_ref(), seen);
    if before.seen.as_ref() == Some(seen) && !has_ended(before, seen) {
        return Decision::default();
    }
    let mut draft = Draft::change(run, facts);
    announce_restart(&mut draft, before, seen, step);
    let mut attempt = attempt.clone();
    if let Some(job) = jobs_mut(&mut attempt.phase).iter_mut().find(|j| j.name == job) {
        if has_ended(job, seen) {
            job.state = JobState::Ended;
        }
        job.seen = Some(seen.clone());
    }
    match &attempt.phase {
        Phase::Checking { .. } => settle_checking(&mut draft, attempt),
        Phase::Stopping { .. } => settle_stopping(&mut draft, attempt),
        _ => settle_watching(&mut draft, attempt),
    }
    draft.done()
}

/// Whether what is seen of the job counts now. A job whose start was never confirmed tells nothing about this run:
/// what is there may be older. One that is being told to end is looked at when that is through.
pub(super) fn is_looked_at(phase: &Phase, job: &Job) -> bool {
    matches!(
        (phase, job.state),
        (
            Phase::Watching { .. } | Phase::Checking { .. } | Phase::Stopping { .. },
            JobState::Watched
        ) | (Phase::Checking { .. } | Phase::Stopping { .. }, JobState::Ending)
            | (Phase::Checking { .. }, JobState::Ended)
            | (Phase::Stopping { .. }, JobState::Canceling)
    )
}

/// Whether a job that was told to end has ended: of one that is not there, nothing will come any more.
fn has_ended(job: &Job, seen: &Observation) -> bool {
    job.state == JobState::Ending && (seen.state.is_terminal() || seen.state == ObservedState::Pending)
}

/// A look that told nothing forgets nothing: the last known figures stay. Neither does a failure that does not say how
/// far it was.
fn remembering(before: Option<&Observation>, seen: &Observation) -> Observation {
    match before {
        Some(before) if matches!(seen.state, ObservedState::Failed | ObservedState::Canceled) => Observation {
            progress: seen.progress.or(before.progress),
            link: seen.link.clone().or_else(|| before.link.clone()),
            ..seen.clone()
        },
        Some(before) if seen.state == ObservedState::Unknown => Observation {
            progress: seen.progress.or(before.progress),
            restarts: seen.restarts.max(before.restarts),
            link: seen.link.clone().or_else(|| before.link.clone()),
            ..seen.clone()
        },
        _ => seen.clone(),
    }
}

/// The back-end restarted the job by itself: there was a failure, seen or not.
fn announce_restart(draft: &mut Draft<'_>, before: &Job, seen: &Observation, step: &StepName) {
    let Some(old) = &before.seen else { return };
    if seen.restarts > old.restarts {
        draft.announce(Happened::Restarted {
            step: step.clone(),
            job: before.name.clone(),
            restarts: seen.restarts,
            progress: old.progress,
            reason: seen.reason.clone().or_else(|| old.reason.clone()),
        });
    }
}

/// After a retry: once every job has been looked at, what runs is watched on, what ended well stays so, and only
/// the rest is started again, as a new attempt.
pub(super) fn settle_checking(draft: &mut Draft<'_>, mut attempt: Attempt) {
    // A start that was never confirmed is asked for again under its old marker: if it did get through, it is found.
    let unconfirmed = |job: &Job| matches!(job.state, JobState::Starting | JobState::Unconfirmed);
    let was_seen = |job: &Job| {
        let seen = job.seen.as_ref();
        seen.is_some_and(|seen| seen.state != ObservedState::Unknown)
    };
    let known = |job: &Job| match job.state {
        JobState::Starting | JobState::Unconfirmed | JobState::NotStarted => true,
        JobState::Watched | JobState::Ended => was_seen(job),
        // What was told to end is not taken up again: its end is awaited.
        JobState::Canceling | JobState::Ending => false,
    };
    let jobs = jobs_mut(&mut attempt.phase);
    if !jobs.iter().all(known) {
        draft.run.state = RunState::Active(attempt);
        return;
    }
    let mut jobs = jobs.to_vec();
    let runs_or_done = |job: &Job| {
        job.state != JobState::NotStarted
            && job.seen.as_ref().is_some_and(|s| {
                matches!(
                    s.state,
                    ObservedState::Running | ObservedState::Waiting | ObservedState::Succeeded | ObservedState::Skipped
                )
            })
    };
    let anew = jobs
        .iter()
        .any(|job| unconfirmed(job) || (job.start && !runs_or_done(job)));
    let step = draft.run.plan.steps[attempt.step].name.clone();
    if anew {
        attempt.number += 1;
        draft.record(Happened::StepStarted {
            step,
            attempt: attempt.number,
        });
    } else {
        draft.record(Happened::Reattached { step });
    }
    for job in &mut jobs {
        job.state = match job.seen.as_ref().map(|seen| seen.state) {
            _ if unconfirmed(job) => job.state,
            Some(ObservedState::Succeeded | ObservedState::Skipped) => JobState::Ended,
            _ if !job.start || runs_or_done(job) => JobState::Watched,
            _ => {
                job.marker = steps::marker(&draft.run, &attempt, &job.name);
                job.seen = None;
                JobState::Starting
            }
        };
        // What was seen before says nothing about what comes next.
        if !runs_or_done(job) {
            job.seen = None;
        }
    }
    if jobs.iter().all(|job| job.state == JobState::Ended) {
        attempt.phase = Phase::Watching { jobs };
        draft.run.state = RunState::Active(attempt);
        steps::pass(draft, Some("had already succeeded".to_owned()));
    } else {
        steps::watch(draft, attempt, jobs);
    }
}

/// While stopping: the run ends once every job has.
pub(super) fn settle_stopping(draft: &mut Draft<'_>, mut attempt: Attempt) {
    let Phase::Stopping { by, jobs, .. } = &mut attempt.phase else {
        return;
    };
    end_those_seen_ended(jobs);
    let over = !jobs.iter().any(jobs::is_awaited);
    let (by, jobs) = (by.clone(), jobs.clone());
    draft.run.state = RunState::Active(attempt);
    if over {
        ending::finish_canceled(draft, by, &jobs);
    }
}

fn settle_watching(draft: &mut Draft<'_>, mut attempt: Attempt) {
    stretch_deadline(&mut attempt, draft.facts.now);
    let jobs = jobs_mut(&mut attempt.phase);
    end_those_seen_ended(jobs);
    let failed = jobs.iter().find_map(failure_of);
    let over = jobs.iter().all(is_over);
    draft.run.state = RunState::Active(attempt.clone());
    match failed {
        Some(what) if over || !drains(draft, &attempt) => steps::fail(draft, &attempt, what),
        None if over => steps::pass(draft, detail_of(&attempt)),
        _ => {}
    }
}

fn end_those_seen_ended(jobs: &mut [Job]) {
    let looked_at = |job: &Job| matches!(job.state, JobState::Watched | JobState::Canceling | JobState::Ending);
    let seen_ended = |job: &Job| job.seen.as_ref().is_some_and(|seen| seen.state.is_terminal());
    for job in jobs.iter_mut().filter(|job| looked_at(job) && seen_ended(job)) {
        job.state = JobState::Ended;
    }
}

/// Whether nothing more is expected of the job.
fn is_over(job: &Job) -> bool {
    match job.state {
        JobState::Ended | JobState::NotStarted => true,
        JobState::Unconfirmed => !start_is_on_its_way(job),
        JobState::Starting | JobState::Watched | JobState::Canceling | JobState::Ending => false,
    }
}

/// Whether the outcome of the job's start is awaited. One that was given up, unclear, has a reason until it is asked
/// for again.
pub(super) fn start_is_on_its_way(job: &Job) -> bool {
    match job.state {
        JobState::Starting => true,
        JobState::Unconfirmed => job.seen.is_none(),
        _ => false,
    }
}

fn drains(draft: &Draft<'_>, attempt: &Attempt) -> bool {
    jobs::on_failure(&draft.run, attempt) == OnFailure::Drain
}

/// A job could not be started: the step fails, at once or when the siblings have ended.
pub(super) fn start_failed(draft: &mut Draft<'_>, attempt: Attempt, what: What) {
    let over = steps::jobs_of(&attempt.phase).into_iter().flatten().all(is_over);
    if over || !drains(draft, &attempt) {
        return steps::fail(draft, &attempt, what);
    }
    draft.run.state = RunState::Active(attempt);
}

fn failure_of(job: &Job) -> Option<What> {
    let seen = job.seen.as_ref().filter(|_| is_over(job))?;
    let fallback = match seen.state {
        ObservedState::Failed => "the back-end gave no reason",
        ObservedState::Canceled => "it was canceled at the back-end",
        _ if job.state == JobState::Unconfirmed => "whether its start got through is not known",
        _ => return None,
    };
    let said = [&seen.reason, &seen.detail]
        .into_iter()
        .flatten()
        .find(|text| !text.trim().is_empty());
    let reason = said.cloned().unwrap_or_else(|| fallback.to_owned());
    let class = if seen.state == ObservedState::Canceled {
        FailureClass::User
    } else {
        classify(&reason)
    };
    Some(What {
        class,
        reason,
        progress: seen.progress,
        link: seen.link.clone(),
    })
}

/// What kind of failure a back-end's own words speak of. Words that name none count as infrastructure: that is
/// what back-ends are.
pub(super) fn classify(reason: &str) -> FailureClass {
    const WORDS: [(FailureClass, &[&str]); 4] = [
        (
            FailureClass::RateLimit,
            &["rate limit", "too many requests", "quota", "throttl"],
        ),
        (
            FailureClass::Permission,
            &["permission", "denied", "forbidden", "unauthorized", "not allowed"],
        ),
        (FailureClass::Flaky, &["flaky", "flake", "intermittent"]),
        (
            FailureClass::User,
            &[
                "invalid",
                "syntax",
                "validation",
                "not found",
                "misconfigur",
                "unknown tenant",
            ],
        ),
    ];
    let reason = reason.to_lowercase();
    let named = WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| reason.contains(word)));
    named.map_or(FailureClass::Infrastructure, |(class, _)| *class)
}

/// The clock has gone on.
pub(super) fn woke(run: &Run, facts: &Facts) -> Decision {
    let RunState::Active(attempt) = &run.state else {
        return Decision::default();
    };
    if deadline(run, attempt).is_none_or(|at| at > facts.now) {
        return Decision::default();
    }
    let mut draft = Draft::change(run, facts);
    let patience = in_words(run.plan.steps[attempt.step].timeout);
    match &attempt.phase {
        Phase::Stopping { by, look: true, .. } => {
            let why = format!("it could not be looked at within {}", in_words(CANCEL_PATIENCE));
            ending::finish_acting(&mut draft, attempt, by.clone(), Some(Looked::Unknown(why)));
        }
        Phase::Stopping { by, jobs, .. } => ending::finish_canceled(&mut draft, by.clone(), jobs),
        Phase::Asking { .. } => {
            let what = What::new(format!("nobody answered within {patience}"), FailureClass::User);
            steps::fail(&mut draft, attempt, what);
        }
        Phase::Acting { waiting_for } => {
            let waiting = waiting_for.as_deref().unwrap_or("the forge");
            let what = What::new(
                format!("timed out after {patience}; it waited for: {waiting}"),
                FailureClass::User,
            );
            steps::fail(&mut draft, attempt, what);
        }
        Phase::Checking { jobs } | Phase::Watching { jobs } => {
            let last = jobs.iter().find(|job| job.state.may_run() && job.seen.is_some());
            let told = match last {
                Some(job) if job.waits_to_start() => "it waited for",
                _ => "last seen",
            };
            let last = last.and_then(|job| job.seen.as_ref());
            let doing = last
                .and_then(|seen| seen.detail.clone())
                .map(|d| format!("; {told}: {d}"))
                .unwrap_or_default();
            let what = What {
                reason: format!("timed out after {patience}{doing}"),
                class: FailureClass::Infrastructure,
                progress: last.and_then(|seen| seen.progress),
                link: last.and_then(|seen| seen.link.clone()),
            };
            steps::fail(&mut draft, attempt, what);
        }
    }
    draft.done()
}

/// When the attempt's patience ends. None while an effect is on its way: that has limits of its own. Time that the
/// back-end spends waiting for something else does not count.
pub(super) fn deadline(run: &Run, attempt: &Attempt) -> Option<Timestamp> {
    let patience = run.plan.steps[attempt.step].timeout + attempt.waited;
    match &attempt.phase {
        Phase::Stopping { since, jobs, look, .. } => {
            (*look || !jobs.is_empty()).then(|| later(*since, CANCEL_PATIENCE))
        }
        Phase::Acting { waiting_for: None } => None,
        // However patiently: what was waited for may never come.
        Phase::Watching { .. } if attempt.waiting_since.is_some() => attempt
            .waiting_since
            .map(|since| later(since, run.plan.steps[attempt.step].timeout)),
        // What a back-end puts off has no end but this.
        Phase::Watching { jobs } if jobs.iter().any(|job| start_is_on_its_way(job) && !job.waits_to_start()) => None,
        _ => Some(later(attempt.since, patience)),
    }
}

/// The deadline stands still while some job waits and none runs.
fn stretch_deadline(attempt: &mut Attempt, now: Timestamp) {
    let states = |state| {
        steps::jobs_of(&attempt.phase)
            .into_iter()
            .flatten()
            .any(|job| job.seen.as_ref().is_some_and(|s| s.state == state))
    };
    let waiting = states(ObservedState::Waiting) && !states(ObservedState::Running);
    match (waiting, attempt.waiting_since) {
        (true, None) => attempt.waiting_since = Some(now),
        (false, Some(since)) => {
            attempt.waited += Duration::try_from(now.duration_since(since)).unwrap_or_default();
            attempt.waiting_since = None;
        }
        _ => {}
    }
}

/// `7 days`, `90 minutes`: in the largest unit that leaves no rest.
fn in_words(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    let (count, unit) = match minutes {
        m if m >= 1440 && m % 1440 == 0 => (m / 1440, "day"),
        m if m >= 60 && m % 60 == 0 => (m / 60, "hour"),
        m => (m, "minute"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s}")
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn detail_of(attempt: &Attempt) -> Option<String> {
    steps::jobs_of(&attempt.phase)?
        .iter()
        .find_map(|job| job.seen.as_ref()?.detail.clone())
}

pub(super) fn jobs_mut(phase: &mut Phase) -> &mut [Job] {
    match phase {
        Phase::Checking { jobs } | Phase::Watching { jobs } | Phase::Stopping { jobs, .. } => jobs,
        Phase::Acting { .. } | Phase::Asking { .. } => &mut [],
    }
}
