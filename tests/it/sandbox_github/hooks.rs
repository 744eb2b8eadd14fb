//! Webhooks: signed, recorded, late, doubled, out of order.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use secrecy::SecretString;
use serde_json::{Value, json};
use stepherd::sandbox::github::signature;
use stepherd::sandbox::stage::{Served, Stage, serve};
use tokio::sync::Notify;

use super::{REPO, Town};

/// Where webhooks arrive.
struct Door {
    served: Served,
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    knocked: Arc<Notify>,
}

impl Door {
    async fn open() -> Self {
        let (got, knocked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (list, bell) = (Arc::clone(&got), Arc::clone(&knocked));
        let door = move |headers: HeaderMap, body: String| {
            list.lock().unwrap().push((headers, body));
            bell.notify_one();
            std::future::ready(StatusCode::ACCEPTED)
        };
        let routes = Router::new().route("/hook", post(door));
        let served = serve(routes, Arc::new(Stage::default()), 0).await.unwrap();
        Self { served, got, knocked }
    }

    fn hook(&self, town: &Town, form: bool) {
        town.github
            .set_webhook(&format!("{}/hook", self.served.url), secret(), form);
    }

    fn got(&self) -> Vec<(HeaderMap, String)> {
        self.got.lock().unwrap().clone()
    }
}

fn secret() -> SecretString {
    "It's a Secret to Everybody".to_owned().into()
}

fn kinds(town: &Town) -> Vec<String> {
    town.github
        .deliveries()
        .into_iter()
        .map(|d| format!("{}.{}", d.event, d.action))
        .collect()
}

#[test]
fn the_signature_is_the_vendors_example() {
    let signed = signature(&secret(), b"Hello, World!");
    assert_eq!(
        signed,
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[tokio::test]
async fn a_comment_is_delivered_signed_and_complete() {
    let (town, door) = (Town::new().await, Door::open().await);
    let number = town.by_alice("one", &[("a", Some("1"))]);
    door.hook(&town, false);
    let id = town.github.comment(REPO, number, "alice", "/dcr retry").unwrap();
    assert_eq!(door.got().len(), 0, "nothing is sent before the story says so");
    assert_eq!(town.github.deliver_pending().await, [202]);
    let (headers, body) = door.got().remove(0);
    let delivery = town.github.deliveries().remove(0);
    assert_eq!(headers["x-github-event"], "issue_comment");
    assert_eq!(headers["x-github-delivery"], delivery.id.as_str());
    assert_eq!(
        headers["x-hub-signature-256"],
        signature(&secret(), body.as_bytes()).as_str()
    );
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(delivery.answers, [202]);
    let payload: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(payload, delivery.payload);
    assert_eq!(
        (&payload["action"], &payload["issue"]["number"]),
        (&json!("created"), &json!(number))
    );
    assert!(payload["issue"]["pull_request"]["url"].is_string());
    assert_eq!(
        (&payload["comment"]["id"], &payload["comment"]["body"]),
        (&json!(id), &json!("/dcr retry"))
    );
    assert_eq!(
        (
            &payload["comment"]["created_at"],
            &payload["comment"]["author_association"]
        ),
        (&json!("2026-11-20T12:00:00Z"), &json!("COLLABORATOR"))
    );
    assert_eq!(
        (&payload["sender"]["login"], &payload["sender"]["type"]),
        (&json!("alice"), &json!("User"))
    );
    assert_eq!(payload["sender"]["id"], payload["comment"]["user"]["id"]);
    assert_eq!(
        (
            &payload["repository"]["full_name"],
            &payload["repository"]["owner"]["login"]
        ),
        (&json!(REPO), &json!("acme"))
    );
    assert!(payload["installation"]["id"].is_u64());
    let uuid: Vec<usize> = delivery.id.split('-').map(str::len).collect();
    assert_eq!(uuid, [8, 4, 4, 4, 12]);
}

#[tokio::test]
async fn a_form_carries_the_payload_and_its_bytes_are_what_is_signed() {
    let (town, door) = (Town::new().await, Door::open().await);
    door.hook(&town, true);
    town.github.ping();
    town.github.deliver_pending().await;
    let (headers, body) = door.got().remove(0);
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(
        headers["x-hub-signature-256"],
        signature(&secret(), body.as_bytes()).as_str()
    );
    let (name, value) = form_urlencoded::parse(body.as_bytes()).next().unwrap();
    assert_eq!(name, "payload");
    assert!(serde_json::from_str::<Value>(&value).unwrap()["zen"].is_string());
}

#[tokio::test]
async fn everything_people_and_the_bot_do_to_a_pull_request_is_told() {
    let (town, door) = (Town::as_app().await, Door::open().await);
    door.hook(&town, false);
    let head = town.branch_with("step", "a", "1").await;
    let number = town.open("step").await;
    town.at("POST", "/issues/1/comments", json!({"body": "card"}))
        .await
        .expect(201);
    let comment = town.github.comment(REPO, number, "alice", "hi").unwrap();
    town.github.edit_comment(REPO, comment, "alice", "hi!").unwrap();
    town.github.delete_comment(REPO, comment, "alice").unwrap();
    let review = town.github.review_comment(REPO, number, "bob", ("a", 1), "hm").unwrap();
    town.github.edit_comment(REPO, review, "bob", "hmm").unwrap();
    town.github.approve(REPO, number, "bob").unwrap();
    town.github.label(REPO, number, "bob", "go", true).unwrap();
    town.github.label(REPO, number, "bob", "go", false).unwrap();
    let newer = town
        .github
        .push_to_pr(REPO, number, "bob", &[("a", Some("2"))])
        .unwrap();
    town.github.close_pr(REPO, number, "bob").unwrap();
    town.github.reopen_pr(REPO, number, "bob").unwrap();
    town.at(
        "POST",
        "/check-runs",
        json!({"name": "n", "head_sha": newer, "conclusion": "success"}),
    )
    .await
    .expect(201);
    town.github.finish_check(REPO, &newer, "ci", "failure").unwrap();
    town.github.finish_workflow(REPO, &newer, "build", "success").unwrap();
    town.at("POST", &format!("/statuses/{newer}"), json!({"state": "success"}))
        .await
        .expect(201);
    town.at("PUT", &format!("/pulls/{number}/merge"), json!({}))
        .await
        .expect(200);
    assert_eq!(
        kinds(&town),
        [
            "pull_request.opened",
            "issue_comment.created",
            "issue_comment.created",
            "issue_comment.edited",
            "issue_comment.deleted",
            "pull_request_review_comment.created",
            "pull_request_review_comment.edited",
            "pull_request_review.submitted",
            "pull_request.labeled",
            "pull_request.unlabeled",
            "pull_request.synchronize",
            "pull_request.closed",
            "pull_request.reopened",
            "check_run.created",
            "check_run.completed",
            "check_run.created",
            "check_run.completed",
            "workflow_run.completed",
            "status.",
            "pull_request.closed",
        ]
    );
    let told = town.github.deliveries();
    assert_eq!(
        (&told[0].payload["sender"]["login"], &told[1].payload["sender"]["type"]),
        (&json!("stepherd[bot]"), &json!("Bot"))
    );
    assert_eq!(told[3].payload["changes"]["body"]["from"], json!("hi"));
    assert_eq!(
        (&told[10].payload["before"], &told[10].payload["after"]),
        (&json!(head), &json!(newer))
    );
    assert_eq!(told[10].payload["pull_request"]["head"]["sha"], json!(newer));
    assert_eq!(told[11].payload["pull_request"]["merged"], json!(false));
    let merged = &told[19].payload["pull_request"];
    assert_eq!(
        (&merged["merged"], &merged["merged_by"]["login"]),
        (&json!(true), &json!("stepherd[bot]"))
    );
    assert_eq!(told[16].payload["check_run"]["check_suite"]["head_sha"], json!(newer));
    assert_eq!(told[17].payload["workflow_run"]["head_sha"], json!(newer));
    assert_eq!(town.github.deliver_pending().await.len(), 20);
}

#[tokio::test]
async fn deliveries_are_redelivered_reordered_and_lost() {
    let (town, door) = (Town::new().await, Door::open().await);
    door.hook(&town, false);
    town.github.hold_deliveries();
    let number = town.by_alice("one", &[("a", Some("1"))]);
    town.github.comment(REPO, number, "alice", "first").unwrap();
    town.github.comment(REPO, number, "alice", "second").unwrap();
    assert_eq!(town.github.deliver_pending().await, [0_u16; 0]);
    let ids: Vec<String> = town.github.deliveries().into_iter().map(|d| d.id).collect();
    town.github.release_deliveries(&[ids[2].clone(), ids[0].clone()]);
    town.github.deliver_pending().await;
    assert!(town.github.redeliver(&ids[0]));
    assert!(!town.github.redeliver("none"));
    town.github.deliver_pending().await;
    let order: Vec<String> = door
        .got()
        .iter()
        .map(|(h, _)| h["x-github-delivery"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(order, [&ids[2], &ids[0], &ids[1], &ids[0]].map(Clone::clone));
    let got = door.got();
    assert_eq!(
        (&got[1].1, &got[1].0["x-hub-signature-256"]),
        (&got[3].1, &got[3].0["x-hub-signature-256"])
    );
    assert_eq!(town.github.deliveries()[0].answers, [202, 202]);

    town.github.comment(REPO, number, "alice", "third").unwrap();
    assert_eq!(town.github.lose_deliveries(), 1);
    assert_eq!(town.github.deliver_pending().await, [0_u16; 0]);
    let lost = town.github.deliveries().pop().unwrap();
    assert!(lost.answers.is_empty() && town.github.redeliver(&lost.id));
    assert_eq!(town.github.deliver_pending().await, [202]);
}

#[tokio::test]
async fn a_door_that_is_shut_is_recorded_as_no_answer() {
    let (town, door) = (Town::new().await, Door::open().await);
    door.hook(&town, false);
    drop(door);
    // The port is closed once the task that served it has ended.
    tokio::task::yield_now().await;
    town.github.subscribe(&["issue_comment"]);
    let number = town.by_alice("one", &[("a", Some("1"))]);
    town.github.comment(REPO, number, "alice", "hello?").unwrap();
    assert_eq!(kinds(&town), ["issue_comment.created"], "only what was subscribed to");
    assert_eq!(town.github.deliver_pending().await, [0]);
}

#[tokio::test]
async fn in_automatic_mode_nobody_has_to_ask() {
    let (town, door) = (Town::with(|options| options.auto = true).await, Door::open().await);
    door.hook(&town, false);
    town.by_alice("one", &[("a", Some("1"))]);
    door.knocked.notified().await;
    assert_eq!(door.got()[0].0["x-github-event"], "pull_request");
}
