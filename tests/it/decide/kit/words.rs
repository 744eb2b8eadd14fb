//! What a log of decisions says: runs, acts, outcomes and observations, a few words each.

use std::fmt::Write as _;

use stepherd::domain::effect::{Act, Deed, Outcome};
use stepherd::domain::run::{Job, Observation, Phase, Run, RunState};

use super::ids;

pub fn state_text(run: &Run) -> String {
    match &run.state {
        RunState::Queued { ahead } => format!("queued behind {}", ids(ahead)),
        RunState::Active(attempt) => {
            let step = &run.plan.steps[attempt.step].name;
            format!("{step}#{} {}", attempt.number, phase_text(&attempt.phase))
        }
        RunState::Stopped { why, attempt } => {
            format!(
                "stopped in {}#{} ({:?}): {}",
                why.step, attempt.number, why.class, why.reason
            )
        }
        RunState::Finished { verdict, .. } => match verdict {
            stepherd::domain::run::Verdict::Completed => "completed".to_owned(),
            stepherd::domain::run::Verdict::Canceled { by } => format!("canceled by {}", by.name),
        },
    }
}

fn phase_text(phase: &Phase) -> String {
    let jobs = |jobs: &[Job]| {
        let job = |job: &Job| {
            let seen = job
                .seen
                .as_ref()
                .map_or_else(|| "unseen".to_owned(), |seen| format!("{:?}", seen.state));
            format!("{}={:?}/{seen}", job.name, job.state)
        };
        jobs.iter().map(job).collect::<Vec<_>>().join(" ")
    };
    match phase {
        Phase::Acting { waiting_for: None } => "acts".to_owned(),
        Phase::Acting {
            waiting_for: Some(what),
        } => format!("waits for {what}"),
        Phase::Checking { jobs: all } => format!("checks {}", jobs(all)),
        Phase::Watching { jobs: all } => format!("watches {}", jobs(all)),
        Phase::Asking { question, .. } => format!("asks “{question}”"),
        Phase::Stopping { jobs: all, .. } => format!("is being stopped {}", jobs(all)).trim_end().to_owned(),
    }
}

pub fn act_text(act: &Act) -> String {
    let what = match &act.what {
        Deed::Change(intent) => format!("change {}", intent.branch),
        Deed::Merge(intent) => format!("merge {}", intent.pr),
        Deed::StartJob(intent) => format!("start {}", intent.marker),
        Deed::CancelJob(intent) => format!("cancel {}", intent.marker),
        Deed::MoveTicket(intent) => format!("move {} to {}", intent.ticket, intent.to),
    };
    format!("{}#{} {what}", act.step, act.attempt)
}

pub fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::ChangeOpened(opened) => format!("opened {}", opened.pr),
        Outcome::Failed { reason, class } => format!("failed ({class:?}): {reason}"),
        Outcome::ChangeAlreadyMerged { .. } => "already merged".to_owned(),
        Outcome::ChangeClosed { pr } => format!("{pr} was closed"),
        Outcome::Merged { commit } => format!("merged as {}", commit.short()),
        Outcome::MergeWaits { why } => format!("waits for {why}"),
        Outcome::MergeConflicts { pr, people } => {
            format!("{pr} conflicts; {}", people.as_deref().unwrap_or("nobody touched it"))
        }
        other => format!("{other:?}"),
    }
}

pub fn observation_text(seen: &Observation) -> String {
    let mut text = format!("{:?}", seen.state);
    if let Some(progress) = seen.progress {
        let _ = write!(text, " at {progress}");
    }
    if seen.restarts > 0 {
        let _ = write!(text, " after {} restarts", seen.restarts);
    }
    for said in [&seen.reason, &seen.detail].into_iter().flatten() {
        let _ = write!(text, ": {said}");
    }
    text
}
