//! What is seen by looking: jobs on back-ends, queues, the clock.

use std::time::Duration;

use jiff::Timestamp;

use super::draft::Draft;
use super::ending::{self, Looked};
use super::steps;
use super::what::What;
use super::{Decision, Facts, aftermath, jobs};
use crate::domain::course::{self, Course, Followed, News};
use crate::domain::ids::{RunId, StepName};
use crate::domain::pipeline::{OnFailure, StepKind, StepSpec};
use crate::domain::run::{
    Attempt, FailureClass, Happened, Job, JobState, Observation, ObservedState, Phase, Run, RunState,
};
use crate::domain::standing;

const NO_REASON: &str = "the back-end gave no reason";

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
    let Some(attempt) = standing::attempt(run) else {
        return Decision::default();
    };
    if run.plan.steps[attempt.step].name != *step || attempt.number != number {
        return Decision::default();
    }
    let Some(before) = steps::jobs_of(&attempt.phase).and_then(|jobs| jobs.iter().find(|j| j.name == job)) else {
        return Decision::default();
    };
    if matches!(run.state, RunState::Stopped { .. }) {
        return aftermath::observed(run, attempt, before, seen, facts);
    }
    if !is_looked_at(&attempt.phase, before) {
        return Decision::default();
    }
    let followed = course::follow(before, seen, facts.now, restart_within(run, attempt));
    let seen = &followed.seen;
    if before.seen.as_ref() == Some(seen) && before.course == followed.course && !has_ended(before, seen) {
        return Decision::default();
    }
    let mut draft = Draft::change(run, facts);
    announce(&mut draft, before, &followed, step);
    let mut attempt = attempt.clone();
    if has_moved(before.seen.as_ref(), seen) {
        attempt.moved = Some(facts.now);
    }
    if followed.course.unsure().is_none() {
        attempt.doubt.take_if(|doubt| doubt.job == job);
    }
    if let Some(job) = jobs_mut(&mut attempt.phase).iter_mut().find(|j| j.name == job) {
        if has_ended(job, seen) {
            job.state = JobState::Ended;
        }
        job.seen = Some(seen.clone());
        job.course = followed.course;
    }
    match &attempt.phase {
        Phase::Checking { .. } => settle_checking(&mut draft, attempt),
        Phase::Stopping { .. } => settle_stopping(&mut draft, attempt),
        _ => settle_watching(&mut draft, attempt),
    }
    draft.done()
}

/// How long the attempt's step waits for a restart by the back-end.
fn restart_within(run: &Run, attempt: &Attempt) -> Option<Duration> {
    match &run.plan.steps[attempt.step].kind {
        StepKind::Work(work) => Some(work.restart_within),
        _ => None,
    }
}

/// Whether the job got on. A look that told nothing is no change, and neither is the first one after it.
fn has_moved(before: Option<&Observation>, seen: &Observation) -> bool {
    if seen.state == ObservedState::Unknown {
        return false;
    }
    before.is_none_or(|before| {
        let state = before.state != ObservedState::Unknown && before.state != seen.state;
        state || before.progress != seen.progress || before.restarts != seen.restarts
    })
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

/// What people are to know at once of a job that goes on.
fn announce(draft: &mut Draft<'_>, job: &Job, followed: &Followed, step: &StepName) {
    let seen = &followed.seen;
    match followed.news.clone() {
        Some(News::Restarted { was, reason, before }) => draft.announce(Happened::Restarted {
            step: step.clone(),
            job: job.name.clone(),
            restarts: seen.restarts,
            progress: was,
            reason,
            now: seen.progress,
            before,
            after: seen.crew.clone(),
            unattended: false,
        }),
        Some(News::Interrupted { until }) => draft.announce(Happened::Interrupted {
            step: step.clone(),
            job: job.name.clone(),
            reason: seen.reason.clone().unwrap_or_else(|| NO_REASON.to_owned()),
            progress: seen.progress,
            crew: seen.crew.clone(),
            until,
        }),
        None => {}
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
    if let Some(what) = jobs.iter().find_map(still_failed) {
        return fail_again(draft, attempt, what);
    }
    let mut jobs = jobs.to_vec();
    let runs_or_done = |job: &Job| {
        job.state != JobState::NotStarted
            && job.seen.as_ref().is_some_and(|s| {
                matches!(
                    s.state,
                    ObservedState::Starting
                        | ObservedState::Running
                        | ObservedState::Waiting
                        | ObservedState::Succeeded
                        | ObservedState::Skipped
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
                job.course = Course::default();
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

/// Back to where the run had stopped: what failed by itself is ended as it was.
fn fail_again(draft: &mut Draft<'_>, mut attempt: Attempt, what: What) {
    let mut jobs = jobs_mut(&mut attempt.phase).to_vec();
    for job in jobs.iter_mut().filter(|job| still_failed(job).is_some()) {
        job.state = JobState::Ended;
    }
    attempt.phase = Phase::Watching { jobs };
    draft.run.state = RunState::Active(attempt.clone());
    steps::fail(draft, &attempt, what);
}

/// The failure of a job that begins by itself, seen after a retry: nobody but its back-end can begin it again.
fn still_failed(job: &Job) -> Option<What> {
    let seen = job.seen.as_ref().filter(|seen| seen.state == ObservedState::Failed)?;
    let broken = job.course.broken.as_ref().filter(|_| goes_by_itself(job))?;
    let mut what = failure_seen(job, seen)?;
    // Told before, unless it is another one.
    if broken.still {
        what.reason = format!("still failed: {}", what.reason);
    }
    Some(what)
}

/// Whether the job begins, ends and is restarted by itself, and its back-end tells one end from another.
pub(super) fn goes_by_itself(job: &Job) -> bool {
    !job.start && job.course.baseline.is_some()
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

pub(super) fn settle_watching(draft: &mut Draft<'_>, mut attempt: Attempt) {
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
    failure_seen(job, job.seen.as_ref().filter(|_| is_over(job))?)
}

/// What the failure says that is seen of the job, if it is one.
pub(super) fn failure_seen(job: &Job, seen: &Observation) -> Option<What> {
    let fallback = match seen.state {
        ObservedState::Failed => NO_REASON,
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
        by_itself: goes_by_itself(job),
        ..What::seen(seen)
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

/// What is due at a deadline.
pub(super) enum Due {
    /// The attempt's patience is over.
    Total,
    /// Nothing has got on for too long.
    Stall,
    /// The job with this name was not restarted in time.
    Restart(String),
    /// Whose end it is that the job with this name shows could not be told.
    Doubt(String),
}

/// The clock has gone on.
pub(super) fn woke(run: &Run, facts: &Facts) -> Decision {
    let RunState::Active(attempt) = &run.state else {
        return Decision::default();
    };
    let Some((_, due)) = first_due(run, attempt).filter(|(at, _)| *at <= facts.now) else {
        return Decision::default();
    };
    let mut draft = Draft::change(run, facts);
    let spec = &run.plan.steps[attempt.step];
    let patience = in_words(spec.timeout.unwrap_or_default());
    match (&attempt.phase, due) {
        (Phase::Stopping { by, look: true, .. }, _) => {
            let why = format!("it could not be looked at within {}", in_words(CANCEL_PATIENCE));
            ending::finish_acting(&mut draft, attempt, by.clone(), Some(Looked::Unknown(why)));
        }
        (Phase::Stopping { by, jobs, .. }, _) => ending::finish_canceled(&mut draft, by.clone(), jobs),
        (Phase::Asking { .. }, _) => {
            let what = What::new(format!("nobody answered within {patience}"), FailureClass::User);
            steps::fail(&mut draft, attempt, what);
        }
        (Phase::Acting { waiting_for }, _) => {
            let waiting = waiting_for.as_deref().unwrap_or("the forge");
            let what = What::new(
                format!("timed out after {patience}; it waited for: {waiting}"),
                FailureClass::User,
            );
            steps::fail(&mut draft, attempt, what);
        }
        (_, Due::Doubt(job)) => aftermath::ask_whose(&mut draft, attempt.clone(), &job),
        (_, Due::Restart(job)) => aftermath::not_restarted(&mut draft, attempt.clone(), &job),
        (Phase::Checking { jobs } | Phase::Watching { jobs }, due) => {
            let over = match (due, stall_of(spec)) {
                (Due::Stall, Some(stall)) => {
                    format!("no progress and no change of state for {}", in_words(stall))
                }
                _ => format!("timed out after {patience}"),
            };
            steps::fail(&mut draft, attempt, over_time(over, jobs));
        }
    }
    draft.done()
}

fn over_time(over: String, jobs: &[Job]) -> What {
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
    let what = last.map_or_else(What::nothing, What::seen);
    What {
        reason: format!("{over}{doing}"),
        class: FailureClass::Infrastructure,
        ..what
    }
}

/// When the attempt's patience ends. None while an effect is on its way: that has limits of its own.
pub(super) fn deadline(run: &Run, attempt: &Attempt) -> Option<Timestamp> {
    first_due(run, attempt).map(|(at, _)| at)
}

fn first_due(run: &Run, attempt: &Attempt) -> Option<(Timestamp, Due)> {
    let spec = &run.plan.steps[attempt.step];
    // Time that the back-end spends waiting for something else does not count.
    let total = spec
        .timeout
        .map(|timeout| later(attempt.since, timeout + attempt.waited));
    let total = total.map(|at| (at, Due::Total));
    match &attempt.phase {
        Phase::Stopping { since, jobs, look, .. } => {
            (*look || !jobs.is_empty()).then(|| (later(*since, CANCEL_PATIENCE), Due::Total))
        }
        Phase::Acting { waiting_for: None } => None,
        // What a back-end puts off has no end but the attempt's.
        Phase::Watching { jobs } if jobs.iter().any(|job| start_is_on_its_way(job) && !job.waits_to_start()) => None,
        Phase::Watching { jobs } => {
            let moved = attempt.moved.map_or(attempt.since, |at| at.max(attempt.since));
            let bound = match attempt.waiting_since {
                // However patiently: what was waited for may never come.
                Some(since) => vec![spec.timeout.map(|timeout| (later(since, timeout), Due::Total))],
                None => vec![total, stall_of(spec).map(|stall| (later(moved, stall), Due::Stall))],
            };
            let of_jobs = jobs.iter().flat_map(|job| aftermath::due(spec, attempt, job));
            bound.into_iter().flatten().chain(of_jobs).min_by_key(|(at, _)| *at)
        }
        Phase::Checking { .. } => total.or_else(|| Some((later(attempt.since, stall_of(spec)?), Due::Stall))),
        Phase::Acting { .. } | Phase::Asking { .. } => total,
    }
}

fn stall_of(spec: &StepSpec) -> Option<Duration> {
    match &spec.kind {
        StepKind::Work(work) => work.stall,
        _ => None,
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
pub(super) fn in_words(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    let (count, unit) = match minutes {
        m if m >= 1440 && m % 1440 == 0 => (m / 1440, "day"),
        m if m >= 60 && m % 60 == 0 => (m / 60, "hour"),
        m => (m, "minute"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s}")
}

pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
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
