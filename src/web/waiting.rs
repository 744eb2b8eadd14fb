//! What is served while the program cannot work yet: that it lives, why it waits, and that webhooks shall come again.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use tokio::sync::watch;

use super::{health, webhooks};

/// The routes until the real ones can be served. `why` says what is waited for, in words that anybody may read.
pub fn waiting(why: watch::Receiver<&'static str>) -> Router {
    let readyz = move || {
        let why = *why.borrow();
        async move { health::not_ready(why) }
    };
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(readyz))
        .fallback(later)
}

async fn later() -> Response {
    webhooks::later("stepherd is starting; send it again later\n")
}
