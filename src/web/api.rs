//! The JSON API: reads only, closed unless a token is configured.
#![expect(
    clippy::result_large_err,
    reason = "a refusal is the answer itself, made once per request"
)]

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::{Web, view};
use crate::adapters::signature::same_secret;
use crate::domain::run::Run;
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

/// Whether the caller shows this token; nobody shows one that is not configured.
pub(super) fn shows(token: Option<&SecretString>, headers: &HeaderMap) -> bool {
    let shown = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    shown.zip(token).is_some_and(|(shown, token)| same_secret(token, shown))
}

/// Refuses whoever does not show the token.
pub(super) fn authorize(web: &Web, headers: &HeaderMap) -> Result<(), Response> {
    let Some(token) = &web.api_token else {
        return Err(problem(
            StatusCode::FORBIDDEN,
            "the API is closed: no server.api_token is configured",
        ));
    };
    if shows(Some(token), headers) {
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
        place: None,
        ticket,
        live_only: query.live,
        pipeline: query.pipeline,
        limit: query.limit.unwrap_or(50).min(500),
    };
    match web.store.runs(&filter).await {
        Ok(runs) => Json(json!({ "runs": runs.iter().map(view::summary).collect::<Vec<_>>() })).into_response(),
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
    Json(view::detail(&run, &history, &effects)).into_response()
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

fn trouble(error: &StoreError) -> Response {
    tracing::error!(%error, "the API cannot read");
    problem(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be read now")
}

fn problem(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}
