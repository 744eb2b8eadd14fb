//! What an act's outcome means for its run.

use super::draft::Draft;
use super::steps::{self, What};
use super::{Decision, Facts};
use crate::domain::effect::{Act, Deed, Outcome};
use crate::domain::ids::Sha;
use crate::domain::pipeline::StepKind;
use crate::domain::run::{
    Attempt, FailureClass, Happened, JobState, Observation, ObservedState, OpenedPr, Phase, Run, RunState,
};

/// An outcome for any attempt but the one under way, or for a branch that was given up, addresses nothing and changes
/// nothing.
pub(super) fn decide(run: &Run, act: &Act, outcome: &Outcome, facts: &Facts) -> Decision {
    let RunState::Active(attempt) = &run.state else {
        return Decision::default();
    };
    if run.plan.steps[attempt.step].name != act.step || attempt.number != act.attempt {
        return Decision::default();
    }
    let mut draft = Draft::change(run, facts);
    let changed = match &act.what {
        Deed::Change(intent) if intent.branch != steps::branch_of(run, attempt) => false,
        Deed::Change(_) => changed(&mut draft, attempt, outcome),
        Deed::Merge(_) => merged(&mut draft, attempt, outcome),
        Deed::StartJob(intent) => started(&mut draft, attempt, &intent.job, outcome),
        Deed::CancelJob(intent) => canceled(&mut draft, attempt, &intent.job, outcome),
        Deed::MoveTicket(_) => moved(&mut draft, attempt, outcome),
    };
    if changed { draft.done() } else { Decision::default() }
}

fn changed(draft: &mut Draft<'_>, attempt: &Attempt, outcome: &Outcome) -> bool {
    let step = draft.run.plan.steps[attempt.step].name.clone();
    let note = match outcome {
        Outcome::ChangeOpened(opened) => {
            let note = format!("{} opened", opened.pr);
            opened_pr(draft, &step, opened);
            Some(note)
        }
        Outcome::ChangeAlreadyMerged { merged } => {
            if let Some(opened) = draft.run.prs.get_mut(&step) {
                opened.merged = Some(merged.clone());
            }
            Some(format!("already merged as {}", merged.short()))
        }
        Outcome::ChangeUnneeded => Some("nothing to change".to_owned()),
        Outcome::ChangeClosed { .. } if is_stopping(attempt) => None,
        Outcome::ChangeClosed { .. } => {
            steps::on_new_branch(draft, attempt.clone());
            return true;
        }
        Outcome::Failed { reason, class } => return failed(draft, attempt, reason, *class),
        _ => return unexpected(draft, attempt, outcome),
    };
    go_on(draft, attempt, note)
}

fn opened_pr(draft: &mut Draft<'_>, step: &crate::domain::ids::StepName, opened: &OpenedPr) {
    let before = draft.run.prs.insert(step.clone(), opened.clone());
    if !draft.run.audience.contains(&opened.thread) {
        draft.run.audience.push(opened.thread.clone());
    }
    if before.is_none_or(|before| before.pr != opened.pr) {
        let (pr, branch) = (opened.pr.clone(), opened.branch.clone());
        draft.record(Happened::PrOpened {
            step: step.clone(),
            pr,
            branch,
        });
    }
}

fn merged(draft: &mut Draft<'_>, attempt: &Attempt, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Merged { commit } => {
            record_merge(draft, attempt, commit);
            go_on(draft, attempt, Some(format!("merged as {}", commit.short())))
        }
        Outcome::MergeWaits { .. } | Outcome::ChangeClosed { .. } if is_stopping(attempt) => {
            go_on(draft, attempt, None)
        }
        Outcome::ChangeClosed { .. } if is_asked_again(attempt) => {
            steps::back_to_change(draft, attempt);
            true
        }
        Outcome::ChangeClosed { pr } => {
            let reason = format!("{pr} was closed without being merged; a retry opens a new one on a new branch");
            failed(draft, attempt, &reason, FailureClass::User)
        }
        Outcome::MergeWaits { why } => {
            let waiting = Phase::Acting {
                waiting_for: Some(why.clone()),
            };
            if attempt.phase == waiting {
                return false;
            }
            draft.run.state = RunState::Active(Attempt {
                phase: waiting,
                ..attempt.clone()
            });
            true
        }
        Outcome::Failed { reason, class } => failed(draft, attempt, reason, *class),
        _ => unexpected(draft, attempt, outcome),
    }
}

fn record_merge(draft: &mut Draft<'_>, attempt: &Attempt, commit: &Sha) {
    let StepKind::Merge(spec) = &draft.run.plan.steps[attempt.step].kind else {
        return;
    };
    if let Some(opened) = draft.run.prs.get_mut(&spec.branch_of) {
        opened.merged = Some(commit.clone());
    }
}

fn started(draft: &mut Draft<'_>, attempt: &Attempt, job: &str, outcome: &Outcome) -> bool {
    let mut attempt = attempt.clone();
    let stopping = is_stopping(&attempt);
    let checking = matches!(attempt.phase, Phase::Checking { .. });
    let (Phase::Watching { jobs } | Phase::Checking { jobs } | Phase::Stopping { jobs, .. }) = &mut attempt.phase
    else {
        return false;
    };
    let Some(job) = jobs.iter_mut().find(|j| j.name == job && j.state == JobState::Starting) else {
        return false;
    };
    match outcome {
        Outcome::JobStarted => {
            job.state = JobState::Watched;
            let cancel = stopping.then(|| steps::job_intent(job));
            if let Some(intent) = cancel {
                draft.act(&attempt, Deed::CancelJob(intent));
            }
            draft.run.state = RunState::Active(attempt);
            true
        }
        // It never started, so there is nothing to cancel.
        Outcome::Failed { .. } if stopping => {
            job.state = JobState::Ended;
            draft.run.state = RunState::Active(attempt.clone());
            super::watched::settle_stopping(draft, attempt);
            true
        }
        // It is asked for again once the siblings have been looked at.
        Outcome::Failed { .. } if checking => false,
        Outcome::Failed { reason, class } => {
            let name = job.name.clone();
            super::watched::start_failed(draft, attempt, &name, What::new(reason.clone(), *class));
            true
        }
        _ => unexpected(draft, &attempt, outcome),
    }
}

/// Whether a job really ended is told by looking at it, not by the answer to the request; only a refusal counts.
fn canceled(draft: &mut Draft<'_>, attempt: &Attempt, job: &str, outcome: &Outcome) -> bool {
    let Outcome::Failed { reason, .. } = outcome else {
        return false;
    };
    let mut attempt = attempt.clone();
    let Phase::Stopping { jobs, .. } = &mut attempt.phase else {
        return false;
    };
    let Some(job) = jobs.iter_mut().find(|j| j.name == job && j.state != JobState::Ended) else {
        return false;
    };
    job.state = JobState::Ended;
    job.seen = Some(Observation {
        state: ObservedState::Unknown,
        detail: Some(reason.clone()),
        ..job.seen.clone().unwrap_or_else(unseen)
    });
    super::watched::settle_stopping(draft, attempt);
    true
}

fn unseen() -> Observation {
    Observation {
        state: ObservedState::Unknown,
        progress: None,
        detail: None,
        reason: None,
        restarts: 0,
        link: None,
    }
}

fn moved(draft: &mut Draft<'_>, attempt: &Attempt, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::TicketMoved if is_stopping(attempt) => go_on(draft, attempt, None),
        Outcome::TicketMoved => {
            let StepKind::Tell(tell) = draft.run.plan.steps[attempt.step].kind.clone() else {
                return false;
            };
            if let Err(reason) = steps::tell_and_pass(draft, attempt, &tell) {
                steps::fail(draft, attempt, What::new(reason, FailureClass::User));
            }
            true
        }
        Outcome::Failed { reason, class } => failed(draft, attempt, reason, *class),
        _ => unexpected(draft, attempt, outcome),
    }
}

/// Passes the step, or ends the run if somebody said stop meanwhile.
fn go_on(draft: &mut Draft<'_>, attempt: &Attempt, note: Option<String>) -> bool {
    match &attempt.phase {
        Phase::Stopping { by, jobs, .. } => steps::finish_canceled(draft, by.clone(), jobs),
        _ => steps::pass(draft, note),
    }
    true
}

fn failed(draft: &mut Draft<'_>, attempt: &Attempt, reason: &str, class: FailureClass) -> bool {
    match &attempt.phase {
        Phase::Stopping { by, jobs, .. } => steps::finish_canceled(draft, by.clone(), jobs),
        _ => steps::fail(draft, attempt, What::new(reason.to_owned(), class)),
    }
    true
}

/// An outcome that does not belong to its act is a fault of ours: the run stops visibly rather than hang.
fn unexpected(draft: &mut Draft<'_>, attempt: &Attempt, outcome: &Outcome) -> bool {
    failed(
        draft,
        attempt,
        &format!("stepherd got an outcome it did not expect: {outcome:?}"),
        FailureClass::Infrastructure,
    )
}

/// Whether somebody said retry and this is the first that is seen since.
fn is_asked_again(attempt: &Attempt) -> bool {
    attempt.number > 1 && attempt.auto == 0 && attempt.phase == (Phase::Acting { waiting_for: None })
}

fn is_stopping(attempt: &Attempt) -> bool {
    matches!(attempt.phase, Phase::Stopping { .. })
}
