//! The database server goes away in the middle of everything, and comes back: senders are told to come again, nothing
//! that was promised is lost, and work goes on by itself.

use std::time::Duration;

use serde_json::json;
use stepherd::clock::Clock as _;
use stepherd::sandbox::github::signature;
use stepherd::sandbox::town::{REPO, TENANT, TICKET, Town};
use stepherd::store::StoreError;

use super::scene::at;
use crate::postgres::{Database, Wire};
use crate::store_law::samples::delivery;
use crate::world::World;

/// A world on PostgreSQL whose way to the server can be cut.
async fn on_a_wire() -> (World, Wire) {
    let database = Database::new().await;
    // The tables, and a clock that is turned by hand.
    database.store().await.close().await;
    let wire = Wire::to(&database).await;
    let url = wire.url.clone();
    let world = World::with_settings(
        |_| {},
        |env| {
            env.insert("STEPHERD__DATABASE__URL".to_owned(), url);
        },
    )
    .await;
    (world, wire)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_while_the_database_is_away_is_asked_to_come_again_and_then_takes_effect_once() {
    let (world, wire) = on_a_wire().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr start comcast");
    wire.down();
    world.deliver().await;
    let told = world.town.github.deliveries();
    let comment = told.iter().rev().find(|d| d.event == "issue_comment").unwrap();
    assert_eq!(comment.answers, [503]);
    let (ready, why) = world.get("/readyz", None).await;
    assert_eq!(ready, 503, "{why}");
    assert_eq!(world.get("/healthz", None).await.0, 200, "the process itself lives");
    wire.up();
    assert!(world.town.github.redeliver(&comment.id));
    assert!(world.town.github.redeliver(&comment.id));
    settle_again(&world).await;
    assert_eq!(world.runs().await.len(), 1);
    assert_eq!(at(&world.run().await), "Sync 1");
    assert_eq!(world.messages(number)[0].reactions, ["stepherd[bot]:eyes"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_503_says_when_to_come_again() {
    let (world, wire) = on_a_wire().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "nothing to do");
    world.settle().await;
    let before = world.town.github.deliveries().pop().unwrap();
    wire.down();
    let body = before.payload.to_string();
    let signature = signature(&Town::github_secret_before(), body.as_bytes());
    let request = world.http.post(format!("{}/webhooks/github", world.url));
    let answer = request
        .header("content-type", "application/json")
        .header("x-github-event", "issue_comment")
        .header("x-github-delivery", "another")
        .header("x-hub-signature-256", signature)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert!(
        answer.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_under_way_stands_still_while_the_database_is_away_and_goes_on_when_it_is_back() {
    let (world, wire) = on_a_wire().await;
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.settle().await;
    let before = at(&world.run().await);
    let pulls = world.town.github.pulls(REPO).unwrap().len();
    wire.down();
    world.clock.advance(Duration::from_secs(60));
    for _ in 0..3 {
        let error = world.try_sweep().await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
    wire.up();
    settle_again(&world).await;
    assert_eq!(at(&world.run().await), before);
    world.sync_and_rebuild(TENANT).await;
    assert_eq!(at(&world.run().await), "Rebuild 1");
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "completed");
    assert_eq!(
        world.town.github.pulls(REPO).unwrap().len(),
        pulls,
        "no change was made twice"
    );
    assert_eq!(world.town.jira.status(TICKET).as_deref(), Some("Done"));
}

/// Connections that were cut are noticed when they are used, one after the other.
async fn settle_again(world: &World) {
    for _ in 0..40 {
        if world.try_sweep().await.is_ok() && world.store.ping().await.is_ok() {
            break;
        }
    }
    world.clock.advance(Duration::from_secs(30));
    world.settle().await;
}

async fn ready(world: &World) -> (u16, serde_json::Value) {
    let (status, text) = world.get("/readyz", Some(Town::api_token())).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn what_is_wrong_for_all_replicas_makes_none_of_them_unready() {
    let world = World::new().await;
    let (status, said) = ready(&world).await;
    assert_eq!((status, &said["degraded"]), (200, &json!(false)));
    let now = world.clock.now();
    world
        .store
        .record_delivery(&delivery("github", "1", now))
        .await
        .unwrap();
    world
        .store
        .pause("github", now + Duration::from_secs(600), now)
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(59));
    let paused = |seconds| json!(format!("github asked to be left alone for {seconds} s more"));
    assert_eq!(ready(&world).await.1["wrong"], json!([paused(541)]));
    world.clock.advance(Duration::from_secs(31));
    let (status, said) = ready(&world).await;
    assert_eq!(
        (status, &said["ready"], &said["degraded"]),
        (200, &json!(true), &json!(true))
    );
    let waits = json!("deliveries wait, the oldest for 90 s");
    assert_eq!(said["wrong"], json!([waits, paused(510)]));
}

#[tokio::test]
async fn a_loop_that_stands_still_makes_its_own_replica_unready() {
    let world = World::new().await;
    for name in ["intake", "sweep"] {
        world.metrics.turned(name, world.clock.now());
    }
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(ready(&world).await.0, 200);
    world.metrics.turned("sweep", world.clock.now());
    world.clock.advance(Duration::from_secs(1));
    let (status, said) = ready(&world).await;
    assert_eq!((status, &said["why"]), (503, &json!("these loops stand still: intake")));
    world.metrics.turned("intake", world.clock.now());
    assert_eq!(ready(&world).await.0, 200);
}
