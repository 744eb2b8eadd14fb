//! What an act's outcome means for its run.

use super::draft::Draft;
use super::steps::{self, Looked, What};
use super::{Decision, Facts, jobs};
use crate::domain::effect::{Act, Deed, Outcome};
use crate::domain::ids::Sha;
use crate::domain::pipeline::StepKind;
use crate::domain::run::{Attempt, By, FailureClass, Happened, JobState, OpenedPr, Phase, Run, RunState};
use crate::domain::standing;

/// An outcome for any attempt but the one under way, or for a branch that was given up, addresses nothing and changes
/// nothing. Jobs are addressed by their markers.
pub(super) fn decide(run: &Run, act: &Act, outcome: &Outcome, facts: &Facts) -> Decision {
    if let Deed::StartJob(_) | Deed::CancelJob(_) = &act.what {
        return jobs::came(run, act, outcome, facts);
    }
    let Some(attempt) = standing::attempt(run) else {
        return Decision::default();
    };
    if run.plan.steps[attempt.step].name != act.step || attempt.number != act.attempt {
        return Decision::default();
    }
    let mut draft = Draft::change(run, facts);
    if matches!(run.state, RunState::Stopped { .. }) {
        // Nothing follows from it any more, but a merge is to be known.
        return match (&act.what, outcome) {
            (Deed::Merge(_), Outcome::Merged { commit }) if steps::merge_awaited(run, attempt).is_some() => {
                record_merge(&mut draft, attempt, commit);
                draft.done()
            }
            _ => Decision::default(),
        };
    }
    let changed = match &act.what {
        Deed::Change(intent) if intent.branch != steps::branch_of(run, attempt) => false,
        Deed::Change(_) => changed(&mut draft, attempt, outcome),
        Deed::Merge(_) => merged(&mut draft, attempt, outcome),
        Deed::StartJob(_) | Deed::CancelJob(_) => false,
        Deed::MoveTicket(_) => moved(&mut draft, attempt, outcome),
    };
    if changed { draft.done() } else { Decision::default() }
}

/// An act that was given up: all that is left of it is its key. A part of the step under way has failed; whether a job
/// was started is not known.
pub(super) fn parked(run: &Run, key: &str, reason: &str, facts: &Facts) -> Decision {
    let (reason, class) = (reason.to_owned(), FailureClass::Infrastructure);
    let Some(what) = key.strip_prefix(&format!("act:{}:", run.id)) else {
        return Decision::default();
    };
    if let Some(marker) = what.strip_prefix("start:") {
        return match jobs::state_of(run, marker) {
            Some(JobState::Starting) => jobs::start_came(run, marker, &Outcome::Unclear { reason, class }, facts),
            _ => Decision::default(),
        };
    }
    if let Some(marker) = what.strip_prefix("cancel:") {
        return jobs::end_came(run, marker, &Outcome::Failed { reason, class }, facts);
    }
    let RunState::Active(attempt) = &run.state else {
        return Decision::default();
    };
    let step = &run.plan.steps[attempt.step].name;
    let of_attempt = what.strip_prefix(&format!("{step}:{}:", attempt.number));
    let branch = of_attempt.and_then(|what| what.strip_prefix("change:"));
    let other_branch = branch.is_some_and(|branch| branch != steps::branch_of(run, attempt));
    if of_attempt.is_none() || other_branch || !matches!(attempt.phase, Phase::Acting { .. } | Phase::Stopping { .. }) {
        return Decision::default();
    }
    let mut draft = Draft::change(run, facts);
    let changed = match of_attempt {
        Some("merge") => merged(&mut draft, attempt, &Outcome::Unclear { reason, class }),
        _ => failed(&mut draft, attempt, &reason, class),
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
        _ => return otherwise(draft, attempt, outcome),
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
    if let Phase::Stopping { by, .. } = &attempt.phase {
        looked_at_last(draft, attempt, by.clone(), outcome);
        return true;
    }
    match outcome {
        Outcome::Merged { commit } => {
            record_merge(draft, attempt, commit);
            go_on(draft, attempt, Some(format!("merged as {}", commit.short())))
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
        _ => otherwise(draft, attempt, outcome),
    }
}

/// The last that is known about the pull request before a run ends that somebody stopped.
fn looked_at_last(draft: &mut Draft<'_>, attempt: &Attempt, by: By, outcome: &Outcome) {
    let looked = match outcome {
        Outcome::Merged { commit } => {
            record_merge(draft, attempt, commit);
            None
        }
        Outcome::MergeWaits { .. } => Some(Looked::Open),
        Outcome::ChangeClosed { .. } => Some(Looked::Closed),
        Outcome::Failed { reason, .. } => Some(Looked::Refused(reason.clone())),
        Outcome::Unclear { reason, .. } => Some(Looked::Unknown(reason.clone())),
        _ => Some(Looked::Unknown("nobody could look".to_owned())),
    };
    steps::finish_merging(draft, attempt, by, looked);
}

fn record_merge(draft: &mut Draft<'_>, attempt: &Attempt, commit: &Sha) {
    let StepKind::Merge(spec) = &draft.run.plan.steps[attempt.step].kind else {
        return;
    };
    if let Some(opened) = draft.run.prs.get_mut(&spec.branch_of) {
        opened.merged = Some(commit.clone());
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
        _ => otherwise(draft, attempt, outcome),
    }
}

/// Passes the step, or ends the run if somebody said stop meanwhile.
fn go_on(draft: &mut Draft<'_>, attempt: &Attempt, note: Option<String>) -> bool {
    match &attempt.phase {
        Phase::Stopping { by, jobs, .. } => steps::finish_canceled(draft, by.clone(), jobs, None),
        _ => steps::pass(draft, note),
    }
    true
}

fn failed(draft: &mut Draft<'_>, attempt: &Attempt, reason: &str, class: FailureClass) -> bool {
    match &attempt.phase {
        Phase::Stopping { by, jobs, .. } => steps::finish_canceled(draft, by.clone(), jobs, None),
        _ => steps::fail(draft, attempt, What::new(reason.to_owned(), class)),
    }
    true
}

/// It did not work, or was not done.
fn otherwise(draft: &mut Draft<'_>, attempt: &Attempt, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { reason, class } | Outcome::Unclear { reason, class } => {
            failed(draft, attempt, reason, *class)
        }
        Outcome::NotDone if !is_stopping(attempt) => false,
        other => {
            let what = What::unexpected(other);
            failed(draft, attempt, &what.reason, what.class)
        }
    }
}

/// Whether somebody said retry and this is the first that is seen since.
fn is_asked_again(attempt: &Attempt) -> bool {
    attempt.number > 1 && attempt.auto == 0 && attempt.phase == (Phase::Acting { waiting_for: None })
}

fn is_stopping(attempt: &Attempt) -> bool {
    matches!(attempt.phase, Phase::Stopping { .. })
}
