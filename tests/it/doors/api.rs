//! The API, health and metrics: closed unless a token is configured, and reading only.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use stepherd::clock::Clock as _;
use stepherd::sandbox::town::{TICKET, Town};

use crate::world::World;

const CLOSED: [&str; 4] = [
    "/api/v1/runs",
    "/api/v1/runs/URMO7YZ2",
    "/api/v1/runs/URMO7YZ2/processStatus",
    "/metrics",
];

#[tokio::test]
async fn without_a_configured_token_everything_about_runs_is_closed() {
    let world = World::with_settings(|_| {}, |env| drop(env.remove("STEPHERD__SERVER__API_TOKEN"))).await;
    for path in CLOSED {
        for token in [None, Some(""), Some(Town::api_token())] {
            let (status, text) = world.get(path, token).await;
            assert_eq!(status, 403, "{path} with {token:?}: {text}");
            assert!(text.contains("server.api_token"), "it says what opens it: {text}");
        }
    }
}

#[tokio::test]
async fn with_a_token_only_that_token_opens_it() {
    let world = World::new().await;
    let nearly = format!("{}x", Town::api_token());
    for path in CLOSED {
        for token in [None, Some(""), Some("guessed"), Some(nearly.as_str())] {
            let (status, text) = world.get(path, token).await;
            assert_eq!(status, 401, "{path} with {token:?}");
            assert!(!text.contains(Town::api_token()), "{text}");
        }
        let basic = world
            .http
            .get(format!("{}{path}", world.url))
            .basic_auth("x", Some(Town::api_token()))
            .send()
            .await
            .unwrap();
        assert_eq!(basic.status().as_u16(), 401, "{path}");
        assert_eq!(basic.headers()["www-authenticate"], "Bearer");
    }
    assert_eq!(world.get("/api/v1/runs", Some(Town::api_token())).await.0, 200);
    assert_eq!(world.get("/metrics", Some(Town::api_token())).await.0, 200);
}

#[tokio::test]
async fn health_is_open_and_whoever_has_the_token_is_told_what_is_off_and_why() {
    let world = World::with_settings(
        |_| {},
        |env| {
            env.insert("STEPHERD__DISCORD__ENABLED".into(), "false".into());
        },
    )
    .await;
    assert_eq!(world.get("/healthz", None).await, (200, "ok\n".to_owned()));
    let (status, text) = world.get("/readyz", Some(Town::api_token())).await;
    let ready: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &ready["ready"]), (200, &Value::Bool(true)));
    assert_eq!(ready["on"], serde_json::json!(["github", "jira", "argocd", "dcr"]));
    assert!(
        ready["off"]["discord"].as_str().is_some_and(|why| !why.is_empty()),
        "{text}"
    );
}

#[tokio::test]
async fn without_the_token_readyz_says_what_a_balancer_needs_and_nothing_else() {
    let off = |env: &mut BTreeMap<String, String>| {
        env.insert("STEPHERD__DISCORD__ENABLED".into(), "false".into());
    };
    let world = World::with_settings(|_| {}, off).await;
    let asked = async |token: Option<&str>| world.get("/readyz", token).await;
    let well = r#"{"ready":true,"degraded":false,"parts":{"loops":"ready","database":"ready","deliveries":"ready","effects":"ready","platforms":"ready"}}"#;
    for token in [None, Some(""), Some("guessed")] {
        assert_eq!(asked(token).await, (200, well.to_owned()), "{token:?}");
    }
    // GitHub is paused, and a delivery has waited for long.
    let until = world.clock.now() + jiff::SignedDuration::from_mins(10);
    world.store.pause("github", until, world.clock.now()).await.unwrap();
    let told = world.town.jira.transition(TICKET, "557058:ada", "Approved").await;
    told.unwrap();
    world.deliver().await;
    world.clock.advance(Duration::from_secs(120));
    let degraded = r#"{"ready":true,"degraded":true,"parts":{"loops":"ready","database":"ready","deliveries":"degraded","effects":"ready","platforms":"degraded"}}"#;
    assert_eq!(asked(None).await, (200, degraded.to_owned()));
    let (status, whole) = asked(Some(Town::api_token())).await;
    assert_eq!(status, 200);
    for word in ["github asked to be left alone", "discord", "attention", "\"parts\""] {
        assert!(whole.contains(word), "{word} is not in {whole}");
    }
    // Nothing opens it where no token is configured.
    let world = World::with_settings(|_| {}, |env| drop(env.remove("STEPHERD__SERVER__API_TOKEN"))).await;
    for token in [None, Some(""), Some(Town::api_token())] {
        assert_eq!(world.get("/readyz", token).await, (200, well.to_owned()), "{token:?}");
    }
}

#[tokio::test]
async fn a_run_can_be_read_with_its_seven_fields() {
    let world = World::new().await;
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.settle().await;
    let run = world.run().await;
    let read = async |path: &str| -> Value {
        let (status, text) = world.get(path, Some(Town::api_token())).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    };
    let list = read("/api/v1/runs?live=true&pipeline=dcr&ticket=SREPROV-3072&limit=5").await;
    assert_eq!(list["runs"][0]["id"], run.id.as_str());
    let none = read("/api/v1/runs?pipeline=provision").await;
    assert_eq!(none["runs"], serde_json::json!([]));
    let detail = read(&format!("/api/v1/runs/{}", run.id)).await;
    assert_eq!(detail["params"]["tenant"], "comcast");
    assert_eq!(
        detail["history"].as_array().map(Vec::len),
        Some(usize::try_from(run.history_len).unwrap())
    );
    let status = read(&format!("/api/v1/runs/{}/processStatus", run.id)).await;
    let mut fields: Vec<&String> = status.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "failureReason",
            "hasCompleted",
            "hasFailed",
            "hasStarted",
            "isRunning",
            "progressPercentage",
            "restartCount"
        ]
    );
}

#[tokio::test]
async fn a_list_holds_what_was_asked_for() {
    let world = World::new().await;
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.settle().await;
    let count = async |query: &str| {
        let (status, text) = world
            .get(&format!("/api/v1/runs{query}"), Some(Town::api_token()))
            .await;
        assert_eq!(status, 200, "{query}: {text}");
        serde_json::from_str::<Value>(&text).unwrap()["runs"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count("").await, 1);
    assert_eq!(count("?live=true").await, 1);
    assert_eq!(count("?ticket=OPS-1").await, 0);
    assert_eq!(count("?pipeline=provision").await, 0);
    assert_eq!(count("?live=false&ticket=SREPROV-3072").await, 1);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_in_words() {
    let world = World::new().await;
    let table = [
        ("/api/v1/runs/URMO7YZ2", 404, "there is no run URMO7YZ2"),
        ("/api/v1/runs/URMO7YZ2/processStatus", 404, "there is no run URMO7YZ2"),
        ("/api/v1/runs/nonsense", 400, "a run id must be"),
        ("/api/v1/runs?ticket=nonsense", 400, "a ticket key must be"),
        ("/api/v1/runs?limit=many", 400, ""),
        ("/api/v1/nothing", 404, ""),
    ];
    for (path, status, words) in table {
        let answer = world.get(path, Some(Town::api_token())).await;
        assert_eq!(answer.0, status, "{path}: {}", answer.1);
        assert!(answer.1.contains(words), "{path}: {}", answer.1);
    }
}

#[tokio::test]
async fn metrics_count_what_came_and_what_there_is() {
    let world = World::new().await;
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.settle().await;
    let (_, text) = world.get("/metrics", Some(Town::api_token())).await;
    for line in [
        r#"stepherd_deliveries_total{platform="jira",outcome="stored"} "#,
        r#"stepherd_commands_total{command="dcr",verb="start"} 1"#,
        r#"stepherd_rows{what="runs",state="active"} 1"#,
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
