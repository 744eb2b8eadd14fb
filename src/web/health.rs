//! Whether the process lives, whether it can work, and what it counts.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Web, api};
use crate::store::{Counts, StoreError};

/// How long the database may take to answer before it counts as not answering: probes wait no longer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// 200 as long as the process answers at all.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 if the database can be used, with what is on, what is off and why, and what needs somebody's attention.
pub(super) async fn readyz(State(web): State<Web>) -> Response {
    let counts = match counts(&web).await {
        Ok(counts) => counts,
        Err(error) => {
            tracing::error!(%error, "not ready");
            let body = json!({ "ready": false, "why": "the database cannot be used now" });
            return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
        }
    };
    let on: Vec<String> = web
        .hands
        .doors
        .keys()
        .map(ToString::to_string)
        .chain(web.hands.backends.keys().map(ToString::to_string))
        .collect();
    Json(json!({
        "ready": true,
        "on": on,
        "off": web.hands.off,
        "attention": { "deliveries_parked": counts.deliveries_parked, "effects_parked": counts.effects_parked },
    }))
    .into_response()
}

/// Prometheus' text format; behind the API token like everything that tells about runs.
pub(super) async fn metrics(State(web): State<Web>, headers: HeaderMap) -> Response {
    if let Err(refused) = api::authorize(&web, &headers) {
        return refused;
    }
    web.metrics.body_bytes(web.budget.held());
    // What was counted before is no longer true when nothing can be counted now: it is left out.
    web.metrics.forget_rows();
    let counted = counts(&web).await;
    web.metrics.database_answers(counted.is_ok());
    if let Ok(counts) = counted {
        let rows = [
            ("deliveries", "pending", counts.deliveries_pending),
            ("deliveries", "parked", counts.deliveries_parked),
            ("effects", "pending", counts.effects_pending),
            ("effects", "parked", counts.effects_parked),
            ("runs", "queued", counts.runs_queued),
            ("runs", "active", counts.runs_active),
            ("runs", "stopped", counts.runs_stopped),
        ];
        for (what, state, count) in rows {
            web.metrics.rows(what, state, count);
        }
    }
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], web.metrics.render()).into_response()
}

async fn counts(web: &Web) -> Result<Counts, StoreError> {
    let counted = tokio::time::timeout(LOOK_TIMEOUT, web.store.counts()).await;
    counted.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer in time".to_owned())))
}
