//! Runs as JSON: what the API answers and `stepherd runs --json` prints.

use serde_json::{Value, json};

use crate::domain::card;
use crate::domain::ids::Percent;
use crate::domain::pipeline::StepSpec;
use crate::domain::run::{History, Run, RunState, Verdict};
use crate::domain::standing;
use crate::store::EffectView;

/// One run with its steps, pull requests, history and parked effects.
pub fn detail(run: &Run, history: &[History], effects: &[EffectView]) -> Value {
    let mut body = summary(run);
    body["params"] = json!(run.params);
    body["audience"] = json!(run.audience.iter().map(ToString::to_string).collect::<Vec<_>>());
    body["steps"] = steps(run);
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
