//! Whether the process lives, whether it can work, and what it counts.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Web, api};

/// 200 as long as the process answers at all.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 if the database can be used, with what is on, what is off and why, and what needs somebody's attention.
pub(super) async fn readyz(State(web): State<Web>) -> Response {
    let counts = match web.store.counts().await {
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
    if let Ok(counts) = web.store.counts().await {
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
