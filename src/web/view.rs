//! Runs as JSON: what the API answers and `stepherd runs --json` prints.

use serde_json::{Value, json};

use crate::domain::card;
use crate::domain::ids::Percent;
use crate::domain::pipeline::StepSpec;
use crate::domain::run::{Attempt, Happened, History, Phase, Run, RunState, Verdict};
use crate::domain::standing;
use crate::store::EffectView;

/// One run with its steps, pull requests, history and parked effects.
pub fn detail(run: &Run, history: &[History], effects: &[EffectView]) -> Value {
    let mut body = summary(run);
    body["params"] = json!(run.params);
    body["audience"] = json!(run.audience.iter().map(ToString::to_string).collect::<Vec<_>>());
    body["steps"] = steps(run);
    body["stepStates"] = run
        .plan
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| step_state(run, history, index, step))
        .collect();
    body["pullRequests"] = run
        .prs
        .iter()
        .map(|(step, pr)| {
            json!({
                "step": step.as_str(), "pullRequest": pr.pr.to_string(), "branch": pr.branch, "headSha": pr.head.as_str(),
                "url": pr.url, "mergedAs": pr.merged.as_ref().map(|sha| sha.as_str()),
            })
        })
        .collect();
    body["history"] = history
        .iter()
        .map(|entry| json!({ "seq": entry.seq, "at": entry.at.to_string(), "what": card::happened(&entry.what) }))
        .collect();
    body["parkedEffects"] = effects
        .iter()
        .filter(|effect| effect.state == "parked")
        .map(|effect| json!({ "id": effect.id, "key": effect.key, "reason": effect.reason }))
        .collect();
    body
}

/// A run as lists show it.
pub fn summary(run: &Run) -> Value {
    let failure = standing::failure(run);
    json!({
        "id": run.id.as_str(),
        "pipeline": run.plan.name.as_str(),
        "ticket": run.subject.ticket.as_ref().map(|ticket| ticket.as_str()),
        "state": state(run),
        "step": standing::attempt(run).map(|attempt| run.plan.steps[attempt.step].name.as_str()),
        "attempt": standing::attempt(run).map(|attempt| attempt.number),
        "progressPercentage": standing::progress(run).as_f64(),
        "restartCount": standing::restarts(run),
        "headline": card::headline(run),
        "askedBy": run.asked_by.name,
        "askedAt": run.asked_at.to_string(),
        "headSha": run.subject.pinned.as_ref().map(|pinned| pinned.head.as_str()),
        "failure": failure.map(|why| json!({
            "step": why.step.as_str(), "attempt": why.attempt, "reason": why.reason, "class": format!("{:?}", why.class).to_lowercase(),
            "progressPercentage": why.progress.map(Percent::as_f64), "restartCount": why.restarts,
            "link": why.link, "at": why.at.to_string(),
        })),
    })
}

fn state(run: &Run) -> &'static str {
    match &run.state {
        RunState::Queued { .. } => "queued",
        RunState::Active(_) => "active",
        RunState::Stopped { .. } => "stopped",
        RunState::Finished {
            verdict: Verdict::Completed,
            ..
        } => "completed",
        RunState::Finished {
            verdict: Verdict::Canceled { .. },
            ..
        } => "canceled",
    }
}

/// One step as task pages have it. `updatedAt` moves with whatever changes, progress too.
fn step_state(run: &Run, history: &[History], index: usize, step: &StepSpec) -> Value {
    let attempt = standing::attempt(run).filter(|attempt| attempt.step == index);
    let passed = run.passed.iter().find(|passed| passed.step == step.name);
    let last_began = history.iter().rev().find_map(|entry| match &entry.what {
        Happened::StepStarted { step, .. } => Some(step),
        _ => None,
    });
    let of_run = || run.plan.progress_of.as_ref() == Some(&step.name);
    let (state, detail, updated, progress) = match (passed, attempt, &run.state) {
        (Some(passed), ..) => {
            let progress = of_run().then_some(Percent::FULL);
            ("completed", passed.note.clone(), Some(passed.at), progress)
        }
        (None, Some(_), RunState::Stopped { why, .. }) => {
            ("failed", Some(why.reason.clone()), Some(why.at), why.progress)
        }
        (None, Some(attempt), _) => {
            let (state, detail) = under_way(attempt);
            let progress = standing::last_seen(attempt).and_then(|seen| seen.progress);
            (state, detail, run.changed_at.or(Some(attempt.since)), progress)
        }
        (None, None, RunState::Finished { at, reached, .. }) if last_began == Some(&step.name) => {
            let progress = reached.filter(|_| of_run());
            ("canceled", standing::failure_reason(run), Some(*at), progress)
        }
        (None, None, RunState::Finished { at, .. }) => ("skipped", None, Some(*at), None),
        (None, None, _) => ("pending", None, None, None),
    };
    json!({
        "stepName": step.name.as_str(),
        "stepState": state,
        "stepStateDetail": detail,
        "updatedAt": updated.map(|at| at.to_string()),
        "rebuildPercentage": progress.map(Percent::as_f64),
    })
}

/// What a step under way is doing: a word, and more about it.
fn under_way(attempt: &Attempt) -> (&'static str, Option<String>) {
    let doing = card::doing(attempt).map(|(_, doing)| doing);
    match &attempt.phase {
        Phase::Asking { .. } => ("asking", doing),
        Phase::Stopping { by, .. } => ("stopping", Some(format!("asked by {}", by.name))),
        _ if standing::is_waiting(attempt) => ("waiting", doing),
        _ => ("running", doing),
    }
}

fn steps(run: &Run) -> Value {
    let now = standing::attempt(run).map(|attempt| attempt.step);
    let line = |(index, step): (usize, &StepSpec)| {
        let passed = run.passed.iter().find(|passed| passed.step == step.name);
        let state = match (passed, now == Some(index), &run.state) {
            (Some(_), ..) => "passed",
            (None, true, RunState::Stopped { .. }) => "failed",
            (None, true, _) => "active",
            (None, false, _) => "waiting",
        };
        json!({ "name": step.name.as_str(), "title": step.title, "state": state, "note": passed.and_then(|p| p.note.clone()) })
    };
    run.plan.steps.iter().enumerate().map(line).collect()
}
