//! A storm far above what the store takes: another process holds the database's write lock. What is answered 2xx is in
//! the database, everything else is told to come back, and when the lock goes all is well again.

use std::collections::BTreeSet;
use std::time::Duration;

use secrecy::SecretString;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use stepherd::sandbox::github::signature;
use stepherd::sandbox::town::Town;

use crate::world::World;

const SECRET: &str = "github-webhook-secret";
const STORM: usize = 300;

/// What became of a delivery: its id, the status, and when to come back.
type Told = (String, u16, Option<String>);

async fn send(http: reqwest::Client, url: String, id: String) -> Told {
    let body = format!(r#"{{"zen":"{}"}}"#, "z".repeat(16_000));
    let answer = http
        .post(format!("{url}/webhooks/github"))
        .header("content-type", "application/json")
        .header("x-github-event", "ping")
        .header("x-github-delivery", &id)
        .header(
            "x-hub-signature-256",
            signature(&SecretString::from(SECRET), body.as_bytes()),
        )
        .body(body)
        .send()
        .await
        .unwrap();
    let retry = answer
        .headers()
        .get("retry-after")
        .map(|value| value.to_str().unwrap().to_owned());
    (id, answer.status().as_u16(), retry)
}

/// The ids of everything that is in the database, each once.
async fn kept(world: &World) -> BTreeSet<String> {
    let mut other = SqliteConnection::connect(&world.database()).await.unwrap();
    let ids: Vec<(String,)> = sqlx::query_as("SELECT delivery_id FROM deliveries")
        .fetch_all(&mut other)
        .await
        .unwrap();
    let count = ids.len();
    let ids: BTreeSet<String> = ids.into_iter().map(|(id,)| id).collect();
    assert_eq!(ids.len(), count, "nothing is kept twice");
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_on_a_store_that_is_held_loses_nothing_that_was_promised() {
    let world = World::with_settings(
        |_| {},
        |env| {
            env.insert("STEPHERD__SERVER__BODY_LIMIT_BYTES".into(), "100000".into());
            // Room for a tenth of what comes.
            env.insert("STEPHERD__SERVER__BODY_BUDGET_BYTES".into(), "500000".into());
        },
    )
    .await;
    let mut other = SqliteConnection::connect(&world.database()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let (answers, mut told) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..STORM {
        let (http, url, answers) = (world.http.clone(), world.url.clone(), answers.clone());
        tokio::spawn(async move {
            let _ = answers.send(send(http, url, format!("storm-{n}")).await);
        });
    }
    drop(answers);
    // While the lock is held nothing can be promised, and what there is no room for is told so at once.
    let mut all = Vec::new();
    while all.len() < STORM / 2 {
        let (id, status, retry) = told.recv().await.unwrap();
        assert_eq!((status, retry.as_deref()), (503, Some("30")), "{id}");
        all.push((id, status, retry));
    }
    assert_eq!(world.get("/healthz", None).await, (200, "ok\n".to_owned()));
    assert_eq!(
        world.get("/readyz", None).await.0,
        503,
        "webhooks find no room elsewhere as long as they are sent here"
    );
    let (status, metrics) = world.get("/metrics", Some(Town::api_token())).await;
    assert_eq!(status, 200);
    assert!(metrics.contains("stepherd_database_up 1\n"), "{metrics}");
    assert!(metrics.contains("outcome=\"overloaded\""), "{metrics}");
    assert!(kept(&world).await.is_empty());
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(world.get("/readyz", None).await.0, 200);
    while let Some(answer) = told.recv().await {
        all.push(answer);
    }
    assert_eq!(all.len(), STORM);
    let promised: BTreeSet<String> = all
        .iter()
        .filter(|(_, status, _)| *status == 202)
        .map(|(id, ..)| id.clone())
        .collect();
    for (id, status, retry) in &all {
        assert!(*status == 202 || (*status == 503 && retry.is_some()), "{id}: {status}");
    }
    let there = kept(&world).await;
    assert!(
        promised.is_subset(&there),
        "promised and not there: {:?}",
        promised.difference(&there)
    );
    // Whoever was told to come back does, and is taken.
    for (id, ..) in all.iter().filter(|(_, status, _)| *status == 503) {
        let (_, status, _) = send(world.http.clone(), world.url.clone(), id.clone()).await;
        assert_eq!(status, 202, "{id}");
    }
    assert_eq!(kept(&world).await.len(), STORM);
}

#[tokio::test]
async fn metrics_say_so_when_nothing_can_be_counted() {
    let world = World::new().await;
    world.settle().await;
    let rows = async |world: &World| {
        let (status, text) = world.get("/metrics", Some(Town::api_token())).await;
        assert_eq!(status, 200);
        (
            text.contains("stepherd_rows{"),
            text.contains("stepherd_database_up 1\n"),
        )
    };
    assert_eq!(rows(&world).await, (true, true));
    world.store.close().await;
    assert_eq!(rows(&world).await, (false, false), "old figures are no figures");
    let answered = tokio::time::timeout(Duration::from_secs(20), world.get("/readyz", None))
        .await
        .unwrap();
    assert_eq!(answered.0, 503);
}
