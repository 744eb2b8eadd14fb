//! Check runs, which only apps may make, and commit statuses.

use serde_json::{Value, json};

use super::{REPO, Town};

#[tokio::test]
async fn check_runs_are_for_apps() {
    let town = Town::new().await;
    let head = town.branch_with("one", "a", "1").await;
    let check = json!({"name": "stepherd/dcr", "head_sha": head});
    town.at("POST", "/check-runs", check)
        .await
        .expect_refusal(403, "You must authenticate via a GitHub App.");
    town.get(&format!("/commits/{head}/check-runs")).await;
}

#[tokio::test]
async fn a_check_run_goes_from_queued_to_completed() {
    let town = Town::as_app().await;
    let head = town.branch_with("one", "a", "1").await;
    let check = json!({"name": "stepherd/dcr", "head_sha": head, "external_id": "URMO7YZ2", "status": "in_progress"});
    let made = town.at("POST", "/check-runs", check).await.expect(201);
    assert_eq!(
        (&made["status"], &made["conclusion"]),
        (&json!("in_progress"), &Value::Null)
    );
    let path = format!("/check-runs/{}", made["id"]);
    let output = json!({"title": "Done", "summary": "all well"});
    let ended = town
        .at("PATCH", &path, json!({"conclusion": "success", "output": output}))
        .await
        .expect(200);
    assert_eq!(
        (&ended["status"], &ended["output"]["title"]),
        (&json!("completed"), &json!("Done"))
    );
    assert!(ended["completed_at"].is_string());
    let reopened = town
        .at("PATCH", &path, json!({"status": "in_progress"}))
        .await
        .expect(200);
    assert_eq!(
        (&reopened["conclusion"], &reopened["completed_at"]),
        (&Value::Null, &Value::Null)
    );

    let other = json!({"name": "other", "head_sha": head});
    town.at("POST", "/check-runs", other).await.expect(201);
    let again = json!({"name": "stepherd/dcr", "head_sha": head});
    let again = town.at("POST", "/check-runs", again).await.expect(201);
    let list = async |query: &str| town.get(&format!("/commits/one/check-runs{query}")).await;
    assert_eq!(list("").await["total_count"], json!(2), "only the latest of each name");
    assert_eq!(list("?filter=all").await["total_count"], json!(3));
    let named = list("?check_name=stepherd%2Fdcr").await;
    assert_eq!(
        (&named["total_count"], &named["check_runs"][0]["id"]),
        (&json!(1), &again["id"])
    );
    assert_eq!(list("?status=completed").await["total_count"], json!(0));
    assert_eq!(town.github.check_runs(REPO).unwrap()[0].external_id, "URMO7YZ2");
}

#[tokio::test]
async fn check_runs_are_refused_as_the_vendor_refuses_them() {
    let town = Town::as_app().await;
    let head = town.branch_with("one", "a", "1").await;
    let with = |more: Value| {
        let mut check = json!({"name": "n", "head_sha": head});
        check.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        check
    };
    let long = "x".repeat(65_536);
    let cases = [
        (json!({"head_sha": head}), "\\\"name\\\" wasn't supplied"),
        (json!({"name": "n"}), "\\\"head_sha\\\" wasn't supplied"),
        (
            json!({"name": "n", "head_sha": "0".repeat(40)}),
            "No commit found for SHA",
        ),
        (with(json!({"status": "done"})), "not a member of"),
        (with(json!({"conclusion": "good"})), "not a member of"),
        (
            with(json!({"status": "completed"})),
            "\\\"conclusion\\\" wasn't supplied",
        ),
        (with(json!({"details_url": "ftp://x"})), "http"),
        (
            with(json!({"output": {"title": "t"}})),
            "\\\"summary\\\" wasn't supplied",
        ),
        (
            with(json!({"output": {"summary": "s"}})),
            "\\\"title\\\" wasn't supplied",
        ),
        (
            with(json!({"output": {"title": "t", "summary": long}})),
            "Only 65535 characters are allowed; 65536 were supplied.",
        ),
        (
            with(json!({"output": {"title": "t", "summary": "s", "text": long}})),
            "Only 65535 characters are allowed",
        ),
    ];
    for (body, words) in cases {
        town.at("POST", "/check-runs", body).await.expect_refusal(422, words);
    }
    let foreign = town.github.finish_check(REPO, &head, "ci/build", "failure").unwrap();
    town.at("PATCH", &format!("/check-runs/{foreign}"), json!({"status": "queued"}))
        .await
        .expect_refusal(403, "Invalid app_id");
    town.at("PATCH", "/check-runs/1", json!({"status": "queued"}))
        .await
        .expect_refusal(404, "Not Found");
}

#[tokio::test]
async fn statuses_have_their_limits() {
    let town = Town::new().await;
    let head = town.branch_with("one", "a", "1").await;
    let path = format!("/statuses/{head}");
    let cases = [
        (json!({}), "\\\"state\\\" wasn't supplied"),
        (json!({"state": "good"}), "state is not included in the list"),
        (
            json!({"state": "success", "description": "x".repeat(141)}),
            "description is too long (maximum is 140 characters)",
        ),
        (json!({"state": "success", "target_url": "javascript:x"}), "target_url"),
    ];
    for (body, words) in cases {
        town.at("POST", &path, body).await.expect_refusal(422, words);
    }
    town.at(
        "POST",
        &format!("/statuses/{}", "0".repeat(40)),
        json!({"state": "success"}),
    )
    .await
    .expect_refusal(422, "No commit found for SHA");
    let made = town
        .at(
            "POST",
            &path,
            json!({"state": "pending", "description": "x".repeat(140)}),
        )
        .await
        .expect(201);
    assert_eq!(made["context"], json!("default"));
    town.at("POST", &path, json!({"state": "success", "context": "a/b"}))
        .await
        .expect(201);
    let listed = town.get("/commits/one/statuses").await;
    assert_eq!(
        (&listed[0]["context"], &listed[1]["context"]),
        (&json!("a/b"), &json!("default")),
        "newest first"
    );
    assert_eq!(town.get("/commits/one/status").await["state"], json!("pending"));
}

#[tokio::test]
async fn a_commit_takes_a_thousand_statuses_of_one_context() {
    let town = Town::new().await;
    let head = town.branch_with("one", "a", "1").await;
    let path = format!("/statuses/{head}");
    for _ in 0..1000 {
        town.at("POST", &path, json!({"state": "pending"})).await.expect(201);
    }
    town.at("POST", &path, json!({"state": "success"}))
        .await
        .expect_refusal(422, "maximum number of statuses");
    town.at("POST", &path, json!({"state": "success", "context": "other"}))
        .await
        .expect(201);
}
