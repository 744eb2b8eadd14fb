//! The stand-ins hold what the vendors hold: refusals, states, signatures. If these pass, a story that passes on
//! the stage says something about the world.

mod argocd;
mod dcr;
mod discord;
mod discord_interactions;
mod jira;
mod jira_hooks;
mod jira_search;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde_json::Value;
use stepherd::sandbox::Now;
use stepherd::sandbox::stage::{Served, Stage, serve};

/// 2026-11-20T12:00:00Z
const NOON_S: i64 = 1_795_176_000;

/// A clock that stands until it is turned.
#[derive(Clone)]
struct Turned(Arc<AtomicI64>);

impl Turned {
    fn at_noon() -> Self {
        Self(Arc::new(AtomicI64::new(NOON_S)))
    }

    fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn now(&self) -> Now {
        let turned = self.clone();
        Arc::new(move || Timestamp::from_second(turned.0.load(Ordering::SeqCst)).expect("in range"))
    }
}

/// A caller with one way to prove itself.
struct Caller {
    client: reqwest::Client,
    url: String,
    authorization: String,
}

impl Caller {
    fn new(url: &str, authorization: &str) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_built_in_root_certs(false)
            .user_agent("DiscordBot (https://example.com, 1)");
        Self {
            client: client.build().expect("a client"),
            url: url.to_owned(),
            authorization: authorization.to_owned(),
        }
    }

    /// Status and body; the body is null if it is empty.
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !self.authorization.is_empty() {
            request = request.header("authorization", &self.authorization);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body)).await
    }
}

/// A request that arrived where webhooks go.
#[derive(Clone)]
struct Arrived {
    uri: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Arrived {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

#[derive(Default)]
struct Door {
    arrived: Mutex<Vec<Arrived>>,
    answers: Mutex<VecDeque<(u16, String)>>,
}

/// Where webhooks go: it writes down what arrives and answers as told, or 200 and `{}`.
struct Listener {
    door: Arc<Door>,
    served: Served,
}

impl Listener {
    async fn start() -> Self {
        let door = Arc::new(Door::default());
        let routes = Router::new().fallback(arrive).with_state(Arc::clone(&door));
        let served = serve(routes, Arc::new(Stage::default()), 0).await.expect("a port");
        Self { door, served }
    }

    fn url(&self, path: &str) -> url::Url {
        format!("{}{path}", self.served.url).parse().expect("a URL")
    }

    fn will_answer(&self, status: u16, body: &str) {
        self.door
            .answers
            .lock()
            .expect("not poisoned")
            .push_back((status, body.to_owned()));
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.door.arrived.lock().expect("not poisoned").clone()
    }

    fn last(&self) -> Arrived {
        self.arrived().pop().expect("something arrived")
    }
}

async fn arrive(State(door): State<Arc<Door>>, uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let uri = uri.to_string();
    door.arrived
        .lock()
        .expect("not poisoned")
        .push(Arrived { uri, headers, body });
    let (status, body) = door
        .answers
        .lock()
        .expect("not poisoned")
        .pop_front()
        .unwrap_or((200, "{}".into()));
    (
        StatusCode::from_u16(status).expect("a status"),
        [("content-type", "application/json")],
        body,
    )
}
