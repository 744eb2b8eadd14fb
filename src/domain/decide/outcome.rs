//! What an act's outcome means for its run.

use super::draft::Draft;
use super::ending::{self, Looked};
use super::steps;
use super::what::What;
use super::{Decision, Facts, jobs};
use crate::domain::effect::{Act, Deed, Outcome};
use crate::domain::ids::Sha;
use crate::domain::pipeline::{StepKind, TellSpec};
use crate::domain::run::{Attempt, By, FailureClass, Happened, OpenedPr, Phase, Run, RunState};
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
    if matches!(&act.what, Deed::Change(intent) if intent.branch != steps::branch_of(run, attempt)) {
        return Decision::default();
    }
    let changed = acted(&mut draft, attempt, outcome);
    if changed { draft.done() } else { Decision::default() }
}

/// What came of the act of the attempt under way: each kind of step has one.
fn acted(draft: &mut Draft<'_>, attempt: &Attempt, outcome: &Outcome) -> bool {
    if let Phase::Stopping { by, .. } = &attempt.phase {
        looked_at_last(draft, attempt, by.clone(), outcome);
        return true;
    }
    match &draft.run.plan.steps[attempt.step].kind {
        StepKind::Change(_) => changed(draft, attempt, outcome),
        StepKind::Merge(_) => merged(draft, attempt, outcome),
        StepKind::Tell(tell) => moved(draft, attempt, &tell.clone(), outcome),
        StepKind::Work(_) | StepKind::Ask(_) => false,
    }
}

/// An act that was given up: all that is left of it is its key. A part of the step under way has failed; whether a job
/// was started is not known.
pub(super) fn parked(run: &Run, key: &str, reason: &str, facts: &Facts) -> Decision {
    let (reason, class) = (reason.to_owned(), FailureClass::Infrastructure);
    let Some(what) = key.strip_prefix(&format!("act:{}:", run.id)) else {
        return Decision::default();
    };
    if let Some(marker) = what.strip_prefix("start:") {
        return match jobs::awaits_start(run, marker) {
            true => jobs::start_came(run, marker, &Outcome::Unclear { reason, class }, facts),
            false => Decision::default(),
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
    // While it is looked at what became of the act, nobody waits for the act itself.
    let awaited = matches!(
        attempt.phase,
        Phase::Acting { .. } | Phase::Stopping { look: false, .. }
    );
    if of_attempt.is_none() || other_branch || !awaited {
        return Decision::default();
    }
    let mut draft = Draft::change(run, facts);
    let changed = acted(&mut draft, attempt, &Outcome::Unclear { reason, class });
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
            record_merge(draft, attempt, merged);
            Some(format!("already merged as {}", merged.short()))
        }
        Outcome::ChangeUnneeded => {
            // What it was to take the place of has nothing to merge any more either.
            if attempt.replaces {
                draft.run.prs.remove(&step);
            }
            Some("nothing to change".to_owned())
        }
        Outcome::ChangeClosed { .. } => {
            steps::on_new_branch(draft, attempt.clone());
            return true;
        }
        _ => return otherwise(draft, attempt, outcome),
    };
    steps::pass(draft, note);
    true
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
            steps::pass(draft, Some(format!("merged as {}", commit.short())));
            true
        }
        Outcome::ChangeClosed { .. } if is_asked_again(attempt) => {
            steps::back_to_change(draft, attempt);
            true
        }
        Outcome::ChangeClosed { pr } => {
            let reason = format!("{pr} was closed without being merged; a retry opens a new one on a new branch");
            steps::fail(draft, attempt, What::new(reason, FailureClass::User));
            true
        }
        Outcome::MergeConflicts { pr, people: None } => {
            steps::make_anew(draft, attempt, pr);
            true
        }
        Outcome::MergeConflicts { pr, people: Some(what) } => {
            let reason = format!(
                "{pr} conflicts with what was merged since, and {what}, so that stepherd leaves it to people. Resolve the \
                 conflict there and merge it, or close it: a retry then makes a new one from what is there now"
            );
            steps::fail(draft, attempt, What::new(reason, FailureClass::User));
            true
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

/// The last that is known about the act of a run before it ends because somebody stopped it.
fn looked_at_last(draft: &mut Draft<'_>, attempt: &Attempt, by: By, outcome: &Outcome) {
    let spec = &draft.run.plan.steps[attempt.step];
    let is_merge = matches!(spec.kind, StepKind::Merge(_));
    let looked = match outcome {
        Outcome::Merged { commit } | Outcome::ChangeAlreadyMerged { merged: commit } => {
            record_merge(draft, attempt, commit);
            Some(Looked::Done)
        }
        Outcome::ChangeOpened(opened) => {
            let step = spec.name.clone();
            opened_pr(draft, &step, opened);
            Some(Looked::Done)
        }
        Outcome::TicketMoved => Some(Looked::Done),
        Outcome::ChangeUnneeded => None,
        Outcome::NotDone if !is_merge => None,
        Outcome::MergeWaits { .. } | Outcome::MergeConflicts { .. } => Some(Looked::Open),
        Outcome::ChangeClosed { .. } => Some(Looked::Closed),
        // An earlier attempt may have got through all the same.
        Outcome::Failed { reason, .. } if attempt.unclear && !is_merge => Some(Looked::Unknown(reason.clone())),
        Outcome::Failed { reason, .. } => Some(Looked::Refused(reason.clone())),
        Outcome::Unclear { reason, .. } => Some(Looked::Unknown(reason.clone())),
        Outcome::NotDone | Outcome::JobStarted | Outcome::JobWaits { .. } | Outcome::JobCanceled => {
            Some(Looked::Unknown("nobody could look".to_owned()))
        }
    };
    ending::finish_acting(draft, attempt, by, looked);
}

/// The pull request that this step opened, or merges, is merged.
fn record_merge(draft: &mut Draft<'_>, attempt: &Attempt, commit: &Sha) {
    let spec = &draft.run.plan.steps[attempt.step];
    let step = match &spec.kind {
        StepKind::Merge(merge) => &merge.branch_of,
        _ => &spec.name,
    };
    if let Some(opened) = draft.run.prs.get_mut(step) {
        opened.merged = Some(commit.clone());
    }
}

fn moved(draft: &mut Draft<'_>, attempt: &Attempt, tell: &TellSpec, outcome: &Outcome) -> bool {
    if *outcome != Outcome::TicketMoved {
        return otherwise(draft, attempt, outcome);
    }
    if let Err(reason) = steps::tell_and_pass(draft, attempt, tell) {
        steps::fail(draft, attempt, What::new(reason, FailureClass::User));
    }
    true
}

/// It did not work, or was not done.
fn otherwise(draft: &mut Draft<'_>, attempt: &Attempt, outcome: &Outcome) -> bool {
    let mut attempt = attempt.clone();
    let what = match outcome {
        Outcome::Failed { reason, class } => What::new(reason.clone(), *class),
        Outcome::Unclear { reason, class } => {
            attempt.unclear = true;
            What::new(reason.clone(), *class)
        }
        Outcome::NotDone => return false,
        other => What::unexpected(other),
    };
    steps::fail(draft, &attempt, what);
    true
}

/// Whether somebody said retry and this is the first that is seen since.
fn is_asked_again(attempt: &Attempt) -> bool {
    attempt.number > 1 && attempt.auto == 0 && attempt.phase == (Phase::Acting { waiting_for: None })
}
