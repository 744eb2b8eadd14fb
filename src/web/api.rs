//! The JSON API: reads only, closed unless a token is configured.
#![expect(clippy::result_large_err, reason = "a refusal is the answer itself, made once per request")]

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Web;
use crate::adapters::signature::same_secret;
use crate::domain::card;
use crate::domain::run::{Run, RunState, Verdict};
use crate::domain::standing;
use crate::store::{RunFilter, StoreError};

/// Which runs to list.
#[derive(Debug, Deserialize)]
pub(super) struct RunsQuery {
    /// Only runs that are not finished.
    #[serde(default)]
    live: bool,
    /// Only runs of this pipeline.
    pipeline: Option<String>,
    /// Only runs about this ticket.
    ticket: Option<String>,
    /// At most so many, 500 at the most.
    limit: Option<u32>,
}

/// Whether the caller showed the token.
pub(super) fn authorize(web: &Web, headers: &HeaderMap) -> Result<(), Response> {
    let Some(token) = &web.api_token else {
        return Err(problem(
            StatusCode::FORBIDDEN,
            "the API is closed: no server.api_token is configured",
        ));
    };
    let shown = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    if shown.is_some_and(|shown| same_secret(token, shown)) {
        return Ok(());
    }
    let mut refused = problem(
        StatusCode::UNAUTHORIZED,
        "show the API token as `Authorization: Bearer …`",
    );
    refused
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Err(refused)
}

/// `GET /api/v1/runs`: runs, newest first.
pub(super) async fn runs(State(web): State<Web>, headers: HeaderMap, Query(query): Query<RunsQuery>) -> Response {
    if let Err(refused) = authorize(&web, &headers) {
        return refused;
    }
    let ticket = match query.ticket.map(|ticket| ticket.parse()).transpose() {
        Ok(ticket) => ticket,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("ticket: {error}")),
    };
    let filter = RunFilter {
        thread: None,
        ticket,
        live_only: query.live,
        pipeline: query.pipeline,
        limit: query.limit.unwrap_or(50).min(500),
    };
    match web.store.runs(&filter).await {
        Ok(runs) => Json(json!({ "runs": runs.iter().map(summary).collect::<Vec<_>>() })).into_response(),
        Err(error) => trouble(&error),
    }
}

/// `GET /api/v1/runs/{id}`: one run with its steps, pull requests and history.
pub(super) async fn run(State(web): State<Web>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let run = match find(&web, &headers, &id).await {
        Ok(run) => run,
        Err(refused) => return refused,
    };
    let (history, effects) = match (web.store.history(&run.id).await, web.store.effects_of(&run.id).await) {
        (Ok(history), Ok(effects)) => (history, effects),
        (Err(error), _) | (_, Err(error)) => return trouble(&error),
    };
    let mut body = summary(&run);
    body["params"] = json!(run.params);
    body["audience"] = json!(run.audience.iter().map(ToString::to_string).collect::<Vec<_>>());
    body["steps"] = steps(&run);
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
    Json(body).into_response()
}

/// `GET /api/v1/runs/{id}/processStatus`: exactly the seven fields.
pub(super) async fn process_status(State(web): State<Web>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    match find(&web, &headers, &id).await {
        Ok(run) => Json(standing::process_status(&run).to_json()).into_response(),
        Err(refused) => refused,
    }
}

async fn find(web: &Web, headers: &HeaderMap, id: &str) -> Result<Run, Response> {
    authorize(web, headers)?;
    let id = id
        .parse()
        .map_err(|error| problem(StatusCode::BAD_REQUEST, &format!("{error}")))?;
    let run = web.store.run(&id).await.map_err(|error| trouble(&error))?;
    run.ok_or_else(|| problem(StatusCode::NOT_FOUND, &format!("there is no run {id}")))
}

/// A run as lists show it. Also what `runs list --json` prints.
pub(crate) fn summary(run: &Run) -> Value {
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
            "progressPercentage": why.progress.map(crate::domain::ids::Percent::as_f64), "restartCount": why.restarts,
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
    let line = |(index, step): (usize, &crate::domain::pipeline::StepSpec)| {
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

fn trouble(error: &StoreError) -> Response {
    tracing::error!(%error, "the API cannot read");
    problem(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be read now")
}

fn problem(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}
