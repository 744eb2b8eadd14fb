//! Jobs that begin, end and are restarted by themselves: what is asked when an end may be an earlier one, how long
//! a restart is waited for, and what they do after their step has failed.

use jiff::Timestamp;

use super::draft::Draft;
use super::steps;
use super::watched::{self, Due};
use super::what::What;
use super::{Decision, Facts};
use crate::domain::course::{self, Doubt, News};
use crate::domain::pipeline::{StepKind, StepSpec, WorkSpec};
use crate::domain::question;
use crate::domain::run::{
    Attempt, FailureClass, Happened, Job, JobState, Observation, ObservedState, Phase, Run, RunState,
};

fn work_of(spec: &StepSpec) -> Option<&WorkSpec> {
    match &spec.kind {
        StepKind::Work(work) => Some(work),
        _ => None,
    }
}

/// When something about the job is due, and what.
pub(super) fn due(spec: &StepSpec, attempt: &Attempt, job: &Job) -> Vec<(Timestamp, Due)> {
    let mut all = Vec::new();
    let Some(work) = work_of(spec) else { return all };
    if let Some(until) = job.course.waits_until() {
        all.push((until, Due::Restart(job.name.clone())));
    }
    let in_doubt = job.state == JobState::Watched && attempt.doubt.is_none() && !job.course.told_to_wait;
    if let Some(earlier) = job.course.unsure().filter(|_| in_doubt) {
        let since = earlier.at.max(attempt.since);
        all.push((watched::later(since, work.unsure_after), Due::Doubt(job.name.clone())));
    }
    all
}

/// It cannot be told by looking whether the end that the job shows is this run's: people are asked.
pub(super) fn ask_whose(draft: &mut Draft<'_>, mut attempt: Attempt, job: &str) {
    let spec = &draft.run.plan.steps[attempt.step];
    let (step, title) = (spec.name.clone(), spec.title.clone());
    let Some(earlier) = named(&mut attempt, job).and_then(|job| job.course.unsure().cloned()) else {
        return;
    };
    let question = format!(
        "{title}: the service has shown the same end since this step began ({}). Is that the end of this run's {job}, \
         or of an earlier one?",
        earlier.shows
    );
    let id = draft.facts.new_question.clone();
    attempt.doubt = Some(Doubt {
        id: id.clone(),
        job: job.to_owned(),
        question: question.clone(),
        since: draft.facts.now,
    });
    draft.run.state = RunState::Active(attempt);
    draft.record(Happened::Asked { step, id, question });
}

/// People said whose end it is, or to wait.
pub(super) fn answered(draft: &mut Draft<'_>, value: &str) {
    let Some(mut attempt) = draft.attempt() else { return };
    let Some(doubt) = attempt.doubt.take() else { return };
    if let Some(job) = named(&mut attempt, &doubt.job) {
        if value == question::THIS_RUNS {
            job.course.begun = true;
        } else {
            job.course.told_to_wait = true;
        }
    }
    draft.run.state = RunState::Active(attempt);
}

/// The back-end did not restart the job in time.
pub(super) fn not_restarted(draft: &mut Draft<'_>, mut attempt: Attempt, job: &str) {
    let spec = &draft.run.plan.steps[attempt.step];
    let patience = work_of(spec).map(|work| watched::in_words(work.restart_within));
    let Some(job) = named(&mut attempt, job) else { return };
    let last = job.seen.clone();
    let Some(broken) = &mut job.course.broken else { return };
    broken.until = None;
    broken.mark = last.as_ref().and_then(|seen| seen.mark.clone());
    let reason = broken.reason.clone().unwrap_or_else(|| "it failed".to_owned());
    let what = What {
        reason: format!(
            "{reason}; the service did not restart it within {}",
            patience.unwrap_or_default()
        ),
        class: FailureClass::Infrastructure,
        progress: broken.progress,
        by_itself: true,
        ..last.as_ref().map_or_else(What::nothing, What::seen)
    };
    job.seen = last.map(|seen| Observation {
        state: ObservedState::Failed,
        detail: None,
        progress: broken.progress,
        ..seen
    });
    job.state = JobState::Ended;
    steps::fail(draft, &attempt, what);
}

/// Whether the job is looked at although its step has failed: its back-end may restart it without a word.
pub(super) fn is_looked_at(job: &Job) -> bool {
    let succeeded = job
        .seen
        .as_ref()
        .is_some_and(|seen| seen.state == ObservedState::Succeeded);
    watched::goes_by_itself(job) && job.course.begun && job.state == JobState::Ended && !succeeded
}

/// A job was looked at after its step had failed. Only what people do not know yet changes anything.
pub(super) fn observed(run: &Run, attempt: &Attempt, job: &Job, seen: &Observation, facts: &Facts) -> Decision {
    if !is_looked_at(job) || seen.state == ObservedState::Unknown {
        return Decision::default();
    }
    let followed = course::follow(job, seen, facts.now, None);
    let new_failure = followed.seen.state == ObservedState::Failed && followed.course.broken != job.course.broken;
    let stands = |job: &Job| job.seen.as_ref().map(|seen| seen.state);
    if stands(job) == Some(followed.seen.state) && !new_failure && followed.news.is_none() {
        return Decision::default();
    }
    let spec = &run.plan.steps[attempt.step];
    let (step, name) = (spec.name.clone(), job.name.clone());
    let follows = work_of(spec).is_some_and(|work| work.follow_restarts);
    let state = followed.seen.state;
    let mut draft = Draft::change(run, facts);
    let mut attempt = attempt.clone();
    if let Some(job) = named(&mut attempt, &name) {
        job.seen = Some(followed.seen.clone());
        job.course = followed.course;
    }
    match (state, followed.news) {
        (ObservedState::Failed, _) if new_failure => {
            let failed = named(&mut attempt, &name).and_then(|job| watched::failure_seen(job, &followed.seen));
            let what = failed.unwrap_or_else(What::nothing);
            steps::fail(&mut draft, &attempt, what);
            return draft.done();
        }
        (ObservedState::Succeeded, _) if !follows => {
            put_back(&mut draft, attempt);
            draft.announce(Happened::DoneSince { step, job: name });
            return draft.done();
        }
        (_, Some(News::Restarted { was, reason, before })) => draft.announce(Happened::Restarted {
            step,
            job: name.clone(),
            restarts: followed.seen.restarts,
            progress: was,
            reason,
            now: followed.seen.progress,
            before,
            after: followed.seen.crew.clone(),
            unattended: !follows,
        }),
        _ => {}
    }
    if follows && matches!(state, ObservedState::Running | ObservedState::Succeeded) {
        take_up(&mut draft, attempt, &name);
    } else {
        put_back(&mut draft, attempt);
    }
    draft.done()
}

fn put_back(draft: &mut Draft<'_>, attempt: Attempt) {
    if let RunState::Stopped { attempt: failed, .. } = &mut draft.run.state {
        *failed = attempt;
    }
}

/// The run goes on with the job that was restarted, as the plan says.
fn take_up(draft: &mut Draft<'_>, mut attempt: Attempt, job: &str) {
    if let Some(job) = named(&mut attempt, job) {
        job.state = JobState::Watched;
    }
    let step = draft.run.plan.steps[attempt.step].name.clone();
    draft.record(Happened::Reattached { step });
    let attempt = Attempt {
        since: draft.facts.now,
        waited: std::time::Duration::ZERO,
        waiting_since: None,
        moved: None,
        doubt: None,
        phase: Phase::Watching {
            jobs: watched::jobs_mut(&mut attempt.phase).to_vec(),
        },
        ..attempt
    };
    watched::settle_watching(draft, attempt);
}

fn named<'a>(attempt: &'a mut Attempt, job: &str) -> Option<&'a mut Job> {
    watched::jobs_mut(&mut attempt.phase).iter_mut().find(|j| j.name == job)
}
