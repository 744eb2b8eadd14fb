//! What the doors do when nothing can be stored, and what they never take.

use std::time::Duration;

use stepherd::sandbox::town::{REPO, TICKET, Town};

use crate::world::World;

#[tokio::test]
async fn a_delivery_that_cannot_be_stored_is_asked_for_again_and_not_lost() {
    let world = World::new().await;
    world.store.close().await;
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.deliver().await;
    let told = world.town.jira.deliveries();
    let last = told.last().unwrap();
    assert!(format!("{last:?}").contains("503"), "{last:?}");
    let ready = world.get("/readyz", None).await;
    assert_eq!(ready.0, 503, "{ready:?}");
    let world = world.restart().await;
    world.settle().await;
    assert!(world.runs().await.is_empty());
    // Jira sends again what was answered 5xx.
    assert_eq!(world.town.jira.retry_failed().await.len(), 1);
    world.settle().await;
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn the_door_says_when_to_come_back() {
    let world = World::new().await;
    world
        .town
        .github
        .open_pr_by_person(
            REPO,
            "ada",
            stepherd::sandbox::github::NewPr {
                branch: "mine",
                base: "main",
                title: "Mine",
                body: "",
                files: &[("x", Some("y"))],
                fork: None,
            },
        )
        .unwrap();
    world.settle().await;
    world.clock.advance(Duration::from_secs(5));
    world.town.github.comment(REPO, 1, "ada", "/dcr start comcast").unwrap();
    world.store.close().await;
    world.deliver().await;
    let sent = world.town.github.deliveries();
    let sent = sent.last().unwrap();
    assert_eq!(
        (sent.event.as_str(), sent.answers.as_slice()),
        ("issue_comment", &[503][..])
    );
    let body = sent.payload.to_string();
    let secret = Town::github_secret_before();
    let signature = stepherd::sandbox::github::signature(&secret, body.as_bytes());
    let answer = world
        .http
        .post(format!("{}/webhooks/github", world.url))
        .header("content-type", "application/json")
        .header("x-github-delivery", &sent.id)
        .header("x-github-event", "issue_comment")
        .header("x-hub-signature-256", signature)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=300).contains(&wait), "{wait}");
    let world = world.restart().await;
    assert!(world.town.github.redeliver(&sent.id));
    world.settle().await;
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn what_the_door_does_not_take_is_refused_and_not_stored() {
    let world = World::with_settings(
        |_| {},
        |env| {
            env.insert("STEPHERD__SERVER__BODY_LIMIT_BYTES".into(), "100000".into());
        },
    )
    .await;
    let post = async |platform: &str, kind: &str, body: String| {
        let signature = stepherd::sandbox::github::signature(&Town::github_secret_before(), body.as_bytes());
        let request = world
            .http
            .post(format!("{}/webhooks/{platform}", world.url))
            .header("content-type", kind)
            .header("x-github-delivery", "d-1")
            .header("x-github-event", "ping")
            .header("x-hub-signature-256", signature);
        request.body(body).send().await.unwrap().status().as_u16()
    };
    let json = "application/json";
    assert_eq!(
        post("github", json, format!("{{\"zen\":\"{}\"}}", "z".repeat(100_000))).await,
        413
    );
    assert_eq!(post("github", "text/plain", "{}".into()).await, 415);
    assert_eq!(post("gitlab", json, "{}".into()).await, 404);
    assert_eq!(post("no/such", json, "{}".into()).await, 404);
    assert!(world.store.deliveries(None, 10).await.unwrap().is_empty());
    assert_eq!(post("github", json, "{\"zen\":\"Keep it short.\"}".into()).await, 202);
    assert_eq!(world.store.deliveries(None, 10).await.unwrap().len(), 1);
}
