//! What the durable door is compared with: a handler that checks the same proof and keeps nothing.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use secrecy::SecretString;
use tokio::net::TcpListener;

use super::payload::SECRET;
use crate::adapters::signature::hmac_sha256_matches;

/// Serves until it is killed. The address to listen on comes from whoever starts it.
pub(super) async fn serve(address: &str) -> Result<(), String> {
    let listener = TcpListener::bind(address).await.map_err(|e| e.to_string())?;
    let secrets: Arc<[SecretString]> = Arc::new([SecretString::from(SECRET)]);
    let routes = Router::new()
        .route("/readyz", get(async || "ok\n"))
        .route("/webhooks/github", post(check))
        .with_state(secrets);
    axum::serve(listener, routes).await.map_err(|e| e.to_string())
}

async fn check(State(secrets): State<Arc<[SecretString]>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok());
    let digest = signature.and_then(|signature| signature.strip_prefix("sha256="));
    if digest.is_some_and(|digest| hmac_sha256_matches(&secrets, &body, digest)) {
        StatusCode::ACCEPTED
    } else {
        StatusCode::UNAUTHORIZED
    }
}
