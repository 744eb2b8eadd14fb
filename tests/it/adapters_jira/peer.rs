//! A peer that follows a script: it answers the calls it expects, in order, and no other.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use stepherd::adapters::jira::{Flavor, Jira, JiraConfig};
use stepherd::sandbox::stage::{Served, Stage, serve};

pub(super) const ISSUE: &str = "/rest/api/3/issue/OPS-1";

/// Method, target with query, status and body to answer.
pub(super) type Line = (&'static str, String, u16, Value);

pub(super) struct Peer {
    pub(super) jira: Jira,
    pub(super) stage: Arc<Stage>,
    script: Arc<Mutex<Vec<Line>>>,
    pub(super) credentials: Arc<Mutex<Vec<String>>>,
    _served: Served,
}

type Shared = (Arc<Mutex<Vec<Line>>>, Arc<Mutex<Vec<String>>>);

async fn play(State((script, credentials)): State<Shared>, request: Request) -> impl IntoResponse {
    let sent = request.headers().get(header::AUTHORIZATION);
    let sent = sent.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    credentials.lock().unwrap().push(sent);
    let target = request.uri().to_string();
    let mut script = script.lock().unwrap();
    let expected = !script.is_empty() && script[0].0 == request.method().as_str() && script[0].1 == target;
    let (status, body) = if expected {
        let (_, _, status, body) = script.remove(0);
        (status, body)
    } else {
        let next = script.first().map(|line| (line.0, line.1.clone()));
        (
            418,
            json!({ "message": format!("{} {target} instead of {next:?}", request.method()) }),
        )
    };
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::from_u16(status).unwrap(), json, body)
}

pub(super) async fn peer_of(flavor: Flavor, own: Option<&str>, script: Vec<Line>) -> Peer {
    let script = Arc::new(Mutex::new(script));
    let credentials = Arc::new(Mutex::new(Vec::new()));
    let stage = Arc::new(Stage::default());
    let routes = Router::new()
        .fallback(play)
        .with_state((Arc::clone(&script), Arc::clone(&credentials)));
    let served = serve(routes, Arc::clone(&stage), 0).await.unwrap();
    let config = JiraConfig {
        base_url: served.url.clone(),
        flavor,
        email: (flavor == Flavor::Cloud).then(|| "bot@example.com".to_owned()),
        token: "t0ken".into(),
        own_account_id: own.map(str::to_owned),
    };
    Peer {
        jira: Jira::new(config).unwrap(),
        stage,
        script,
        credentials,
        _served: served,
    }
}

pub(super) async fn cloud(script: Vec<Line>) -> Peer {
    peer_of(Flavor::Cloud, Some("own"), script).await
}

impl Peer {
    /// All that was to be called was called, and nothing else.
    pub(super) fn done(&self) {
        let left = self.script.lock().unwrap();
        let odd: Vec<_> = self
            .stage
            .calls()
            .into_iter()
            .filter(|call| call.status == 418)
            .collect();
        assert!(left.is_empty() && odd.is_empty(), "left: {left:?}, odd: {odd:?}");
    }

    pub(super) fn sent(&self, method: &str) -> Vec<Value> {
        let calls = self.stage.calls_to(method, "");
        calls
            .iter()
            .map(|call| serde_json::from_str(&call.body).unwrap())
            .collect()
    }
}
