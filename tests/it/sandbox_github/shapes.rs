//! The answers are whole enough for a typed client of the vendor's API.

use octocrab::models;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{REPO, Town};

#[track_caller]
fn reads<T: DeserializeOwned>(value: Value) {
    if let Err(error) = serde_json::from_value::<T>(value.clone()) {
        panic!("{}: {error}: {value}", std::any::type_name::<T>());
    }
}

#[tokio::test]
async fn a_typed_client_reads_every_answer() {
    let town = Town::as_app().await;
    let head = town.branch_with("one", "a", "1").await;
    let number = town.open("one").await;
    let comment = town
        .at("POST", "/issues/1/comments", json!({"body": "x"}))
        .await
        .expect(201);
    let review = town
        .github
        .review_comment(REPO, number, "alice", ("a", 1), "y")
        .unwrap();
    let reaction = json!({"content": "eyes"});
    let reaction = town
        .at(
            "POST",
            &format!("/issues/comments/{}/reactions", comment["id"]),
            reaction,
        )
        .await
        .expect(201);
    let check =
        json!({"name": "n", "head_sha": head, "conclusion": "success", "output": {"title": "t", "summary": "s"}});
    let check = town.at("POST", "/check-runs", check).await.expect(201);
    let status = town
        .at("POST", &format!("/statuses/{head}"), json!({"state": "success"}))
        .await
        .expect(201);

    reads::<models::Repository>(town.get("").await);
    reads::<models::pulls::PullRequest>(town.get("/pulls/1").await);
    reads::<Vec<models::pulls::PullRequest>>(town.get("/pulls").await);
    reads::<models::issues::Issue>(town.get("/issues/1").await);
    reads::<models::issues::Comment>(comment);
    reads::<models::pulls::Comment>(town.get(&format!("/pulls/comments/{review}")).await);
    reads::<models::reactions::Reaction>(reaction);
    reads::<models::checks::CheckRun>(check);
    reads::<models::checks::ListCheckRuns>(town.get("/commits/one/check-runs").await);
    reads::<models::Status>(status);
    reads::<models::CombinedStatus>(town.get("/commits/one/status").await);
    reads::<models::repos::Ref>(town.get("/git/ref/heads/one").await);
    reads::<models::commits::GitCommitObject>(town.get(&format!("/git/commits/{head}")).await);
    reads::<models::repos::RepoCommit>(town.get("/commits/one").await);
    reads::<models::repos::Content>(town.get("/contents/a?ref=one").await);
    reads::<Vec<models::repos::Content>>(town.get("/contents").await);
    reads::<models::UserProfile>(town.call("GET", "/users/alice", Value::Null).await.expect(200));
    let jwt = town.jwt();
    let as_app = async |path: &str| town.call_as(&jwt, "GET", path, Value::Null).await.expect(200);
    reads::<models::App>(as_app("/app").await);
    reads::<Vec<models::Installation>>(as_app("/app/installations").await);
    let merged = town.at("PUT", "/pulls/1/merge", json!({})).await.expect(200);
    reads::<models::pulls::Merge>(merged);
}

#[tokio::test]
async fn a_typed_client_reads_every_webhook() {
    let town = Town::as_app().await;
    town.github
        .set_webhook("http://127.0.0.1:9/", "s".to_owned().into(), false);
    let number = town.by_alice("one", &[("a", Some("1"))]);
    let head = town
        .github
        .push_to_pr(REPO, number, "alice", &[("a", Some("2"))])
        .unwrap();
    let comment = town.github.comment(REPO, number, "alice", "x").unwrap();
    town.github.edit_comment(REPO, comment, "alice", "y").unwrap();
    town.github
        .review_comment(REPO, number, "alice", ("a", 1), "z")
        .unwrap();
    town.github.label(REPO, number, "alice", "l", true).unwrap();
    town.github.approve(REPO, number, "bob").unwrap();
    town.github.finish_check(REPO, &head, "ci", "success").unwrap();
    town.github.finish_workflow(REPO, &head, "build", "success").unwrap();
    town.at("POST", &format!("/statuses/{head}"), json!({"state": "success"}))
        .await
        .expect(201);
    town.github.merge_by_person(REPO, number, "alice").unwrap();
    town.github.ping();
    let told = town.github.deliveries();
    assert_eq!(told.len(), 13);
    for delivery in told {
        let body = delivery.payload.to_string();
        let read = models::webhook_events::WebhookEvent::try_from_header_and_body(&delivery.event, &body);
        if let Err(error) = read {
            panic!("{}.{}: {error}", delivery.event, delivery.action);
        }
    }
}
