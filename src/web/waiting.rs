//! What is served while the program cannot work yet: that it lives, why it waits, and that webhooks shall come again.

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use secrecy::SecretString;

use super::{api, health, webhooks};

/// The routes until the real ones can be served. `why` says what is waited for, to whoever has the API's token.
pub fn waiting(why: &'static str, api_token: Option<SecretString>) -> Router {
    let readyz = move |headers: HeaderMap| {
        let whole = api::shows(api_token.as_ref(), &headers);
        async move { health::starting(why, whole) }
    };
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(readyz))
        .fallback(later)
}

async fn later() -> Response {
    webhooks::later("stepherd is starting; send it again later\n")
}
