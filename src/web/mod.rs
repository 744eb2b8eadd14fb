//! THE DOOR: webhook routes, the JSON API, health and metrics.
//!
//! The web never decides and never calls a platform. A webhook whose head offers no proof is turned away before its
//! body is read; the others are read within a budget, verified, stored and answered, in this order and with nothing
//! else before. The engine takes deliveries from the store. The JSON API only reads.

mod api;
mod budget;
mod health;
mod peer;
mod refusals;
mod serve;
mod view;
mod waiting;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use ipnet::IpNet;
use secrecy::SecretString;
use tokio::sync::Notify;
use tower_http::catch_panic::CatchPanicLayer;

use crate::adapters::Hands;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::trouble::Trouble;

pub use budget::{Budget, LARGE_BODIES_MAX, SMALL_BODY_BYTES_MAX, Share};
pub use health::Probe;
pub use peer::sender;
pub use refusals::Refusals;
pub use serve::{Limits, serve};
pub use view::{detail, summary};
pub use waiting::waiting;
pub use webhooks::STORE_TIMEOUT;

/// What the routes work with.
#[derive(Clone)]
pub struct Web {
    /// The memory.
    pub store: Store,
    /// Doors, and which platforms are off.
    pub hands: Arc<Hands>,
    /// Commands and people, for suggestions.
    pub catalog: Arc<Catalog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Notified when a delivery was stored.
    pub wake: Arc<Notify>,
    /// What callers of the API must show; without it the API and the metrics are closed.
    pub api_token: Option<SecretString>,
    /// The largest body taken, in bytes.
    pub body_limit_bytes: usize,
    /// What all bodies that are being taken may hold together.
    pub budget: Budget,
    /// How long a client may take to send its body.
    pub read_timeout: Duration,
    /// How many bytes of its body a client must send in a second, on average.
    pub body_rate_min: u32,
    /// The proxies in front, which say who sends a request; `None` if that is not configured.
    pub trusted_proxies: Option<Arc<[IpNet]>>,
    /// What was said about requests that were turned away.
    pub refusals: Arc<Refusals>,
    /// How long storing a delivery may take before its sender is told to come again.
    pub store_timeout: Duration,
    /// Whether deliveries cannot be stored at present.
    pub trouble: Arc<Trouble>,
    /// The look of `/readyz` that is under way.
    pub probe: Arc<Probe>,
}

/// All routes.
pub fn routes(web: Web) -> Router {
    Router::new()
        .route("/webhooks/{platform}", post(webhooks::receive))
        .route("/api/v1/runs", get(api::runs))
        .route("/api/v1/runs/{id}", get(api::run))
        .route("/api/v1/runs/{id}/processStatus", get(api::process_status))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .layer(CatchPanicLayer::new())
        .with_state(web)
}
