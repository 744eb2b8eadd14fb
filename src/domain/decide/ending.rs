//! The end of a run that somebody stopped: what was undone and what was not, a line each.

use super::draft::Draft;
use super::steps;
use crate::domain::ids::{StepName, TicketKey};
use crate::domain::pipeline::StepKind;
use crate::domain::run::{Attempt, By, Job, JobState, Run, Verdict};

/// What is known about the last act of a run that is being stopped.
pub(super) enum Looked {
    /// It was carried out.
    Done,
    /// The pull request is open.
    Open,
    /// People closed the pull request.
    Closed,
    /// It could not be carried out: why.
    Refused(String),
    /// It may have been carried out: why that is not known.
    Unknown(String),
}

/// The run ends because somebody said so: everybody is told what was undone and what was not.
pub(super) fn finish_canceled(draft: &mut Draft<'_>, by: By, jobs: &[Job]) {
    finish_with(draft, by, jobs, None, None);
}

/// The same, in the middle of a change, a merge or a ticket's move. `looked` is what was found out about it.
pub(super) fn finish_acting(draft: &mut Draft<'_>, attempt: &Attempt, by: By, looked: Option<Looked>) {
    let spec = &draft.run.plan.steps[attempt.step];
    let of = match &spec.kind {
        StepKind::Merge(merge) => merge.branch_of.clone(),
        _ => spec.name.clone(),
    };
    let act = looked
        .as_ref()
        .and_then(|looked| what_became_of_act(&draft.run, attempt, looked));
    finish_with(draft, by, &[], act, looked.map(|looked| (of, looked)));
}

/// `looked` is what was found out about the pull request of this step; others have not been looked at.
fn finish_with(draft: &mut Draft<'_>, by: By, jobs: &[Job], act: Option<String>, looked: Option<(StepName, Looked)>) {
    let mut left: Vec<String> = jobs.iter().map(what_became_of).chain(act).collect();
    left.extend(done_before(&draft.run));
    for (step, opened) in &draft.run.prs {
        let pr = &opened.pr;
        let looked = looked.as_ref().filter(|(of, _)| of == step).map(|(_, looked)| looked);
        left.push(match (&opened.merged, looked) {
            (Some(commit), _) => format!("{step}: {pr} stays merged as {}", commit.short()),
            (None, Some(Looked::Open)) => format!("{step}: {pr} stays open"),
            (None, Some(Looked::Closed)) => format!("{step}: {pr} was closed without being merged"),
            (None, Some(Looked::Refused(why))) => format!("{step}: {pr} was not merged: {why}"),
            (None, Some(Looked::Unknown(why))) => format!("{step}: {pr} may have been merged: {why}"),
            (None, Some(Looked::Done) | None) => format!("{step}: {pr} is left as it is"),
        });
    }
    left.extend(left_behind(&draft.run));
    if left.is_empty() {
        left.push("nothing had been changed anywhere".to_owned());
    }
    steps::finish(draft, Verdict::Canceled { by }, left);
}

/// What became of the act that was under way, where no recorded pull request tells of it.
fn what_became_of_act(run: &Run, attempt: &Attempt, looked: &Looked) -> Option<String> {
    let spec = &run.plan.steps[attempt.step];
    let (step, recorded) = (&spec.name, run.prs.contains_key(&spec.name));
    match &spec.kind {
        StepKind::Tell(tell) => {
            let asked = steps::move_intent(run, attempt.step, attempt.number, tell).ok()??;
            let (ticket, to) = (asked.ticket, asked.to);
            match looked {
                Looked::Done => Some(moved_line(step, &ticket, &to)),
                Looked::Unknown(why) => Some(format!("{step}: {ticket} may have been moved to {to}: {why}")),
                Looked::Refused(why) => Some(format!("{step}: {ticket} was not moved to {to}: {why}")),
                Looked::Open | Looked::Closed => None,
            }
        }
        StepKind::Change(_) if !recorded => match looked {
            Looked::Unknown(why) => Some(format!("{step}: its pull request may have been opened: {why}")),
            Looked::Refused(why) => Some(format!("{step}: no pull request was opened: {why}")),
            Looked::Closed => Some(format!("{step}: its pull request was closed without being merged")),
            Looked::Done | Looked::Open => None,
        },
        StepKind::Change(_) | StepKind::Merge(_) | StepKind::Work(_) | StepKind::Ask(_) => None,
    }
}

/// What the plan says that steps leave behind which have passed, as long as nothing has undone it.
fn left_behind(run: &Run) -> impl Iterator<Item = String> {
    let has_passed = |step: &StepName| run.passed.iter().any(|passed| passed.step == *step);
    run.plan.steps.iter().enumerate().filter_map(move |(index, spec)| {
        let leaves = spec.leaves.as_ref()?;
        let undone = leaves.until.as_ref().is_some_and(has_passed);
        if undone || !has_passed(&spec.name) {
            return None;
        }
        let says = leaves.says.render(&steps::context_of(run, index, 1));
        Some(says.unwrap_or_else(|error| format!("{}: what it leaves behind cannot be told: {error}", spec.name)))
    })
}

fn moved_line(step: &StepName, ticket: &TicketKey, to: &str) -> String {
    format!("{step}: {ticket} was moved to {to}, which is not undone")
}

/// What steps that passed did to the world, which nobody takes back; pull requests are told of one by one.
fn done_before(run: &Run) -> impl Iterator<Item = String> {
    run.passed.iter().filter_map(|passed| {
        let (index, spec) = run.plan.step(&passed.step)?;
        match &spec.kind {
            StepKind::Work(work) if work.jobs.iter().any(|job| job.start) => {
                Some(format!("{}: had passed, which is not undone", passed.step))
            }
            StepKind::Tell(tell) => {
                let moved = steps::move_intent(run, index, passed.attempts, tell).ok()??;
                Some(moved_line(&passed.step, &moved.ticket, &moved.to))
            }
            _ => None,
        }
    })
}

fn what_became_of(job: &Job) -> String {
    use crate::domain::run::ObservedState as S;
    let at = job
        .seen
        .as_ref()
        .and_then(|seen| seen.progress)
        .map(|p| format!(" at {p}"))
        .unwrap_or_default();
    match job.state {
        JobState::Starting if job.waits_to_start() => return format!("{}: had not started", job.name),
        JobState::NotStarted => return format!("{}: had not started", job.name),
        JobState::Starting | JobState::Unconfirmed => {
            return format!("{}: may run; whether its start got through is not known", job.name);
        }
        JobState::Watched | JobState::Canceling | JobState::Ending | JobState::Ended => {}
    }
    match job.seen.as_ref().map(|seen| seen.state) {
        Some(S::Canceled) => format!("{}: canceled{at}", job.name),
        Some(S::Succeeded) => format!("{}: had already succeeded, which is not undone", job.name),
        Some(S::Failed) => {
            let reason = job.seen.as_ref().and_then(|seen| seen.reason.as_deref());
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{}: ended as failed{at}{reason}", job.name)
        }
        Some(S::Skipped) => format!("{}: had not been needed", job.name),
        _ if job.course.unsure().is_some() => {
            format!("{}: had not begun; stepherd does not look at it any more", job.name)
        }
        _ if !job.start => format!("{}: goes on{at} without stepherd, which only watched it", job.name),
        Some(S::Pending) if job.state == JobState::Ended => {
            format!("{}: was told to end, and nothing of it is there", job.name)
        }
        _ => format!("{}: was told to end{at}, but may still run", job.name),
    }
}
