//! Comments, review comments and reactions.

use serde_json::{Value, json};
use stepherd::sandbox::github::Level;

use super::{REPO, Town};

#[tokio::test]
async fn comments_are_made_edited_and_deleted() {
    let town = Town::as_app().await;
    town.by_alice("one", &[("a", Some("1"))]);
    let made = town
        .at("POST", "/issues/1/comments", json!({"body": "hello"}))
        .await
        .expect(201);
    assert_eq!(
        (&made["user"]["login"], &made["user"]["type"]),
        (&json!("stepherd[bot]"), &json!("Bot"))
    );
    assert_eq!(made["performed_via_github_app"]["slug"], json!("stepherd"));
    let path = format!("/issues/comments/{}", made["id"]);
    town.pass(5);
    let edited = town
        .at("PATCH", &path, json!({"body": "hello again"}))
        .await
        .expect(200);
    assert_eq!(
        (&edited["body"], &edited["created_at"]),
        (&json!("hello again"), &made["created_at"])
    );
    assert_ne!(edited["updated_at"], made["updated_at"]);
    assert_eq!(town.get(&path).await["body"], json!("hello again"));
    let thread = town.github.thread(REPO, 1).unwrap();
    assert_eq!(
        (thread[0].author.as_str(), thread[0].body.as_str(), thread[0].edited),
        ("stepherd[bot]", "hello again", true)
    );
    town.at("DELETE", &path, Value::Null).await.expect(204);
    for (method, body) in [
        ("GET", Value::Null),
        ("PATCH", json!({"body": "x"})),
        ("DELETE", Value::Null),
    ] {
        town.at(method, &path, body).await.expect_refusal(404, "Not Found");
    }
}

#[tokio::test]
async fn comments_are_refused_when_empty_or_too_long_or_on_nothing() {
    let town = Town::new().await;
    town.by_alice("one", &[("a", Some("1"))]);
    let path = "/issues/1/comments";
    town.at("POST", path, json!({}))
        .await
        .expect_refusal(422, "\\\"body\\\" wasn't supplied");
    town.at("POST", path, json!({"body": " \n"}))
        .await
        .expect_refusal(422, "Body cannot be blank");
    town.at("POST", path, json!({"body": "é".repeat(65_537)}))
        .await
        .expect_refusal(422, "Body is too long (maximum is 65536 characters)");
    town.at("POST", path, json!({"body": "é".repeat(65_536)}))
        .await
        .expect(201);
    town.at("POST", "/issues/9/comments", json!({"body": "x"}))
        .await
        .expect_refusal(404, "Not Found");
    town.at("GET", "/issues/9/comments", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.at("GET", "/issues/x/comments", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
}

#[tokio::test]
async fn others_comments_may_be_changed_only_by_those_who_push() {
    let town = Town::new().await;
    town.by_alice("one", &[("a", Some("1"))]);
    let id = town.github.comment(REPO, 1, "alice", "mine").unwrap();
    let path = format!("/issues/comments/{id}");
    town.at("PATCH", &path, json!({"body": "yours"})).await.expect(200);
    town.github.set_permission(REPO, "robot", Level::Read).unwrap();
    town.at("PATCH", &path, json!({"body": "theirs"}))
        .await
        .expect_refusal(403, "admin rights");
    town.at("DELETE", &path, Value::Null)
        .await
        .expect_refusal(403, "admin rights");
}

#[tokio::test]
async fn comments_are_paged_oldest_first_and_listed_since() {
    let town = Town::new().await;
    town.by_alice("one", &[("a", Some("1"))]);
    for n in 0..35 {
        town.pass(1);
        town.github.comment(REPO, 1, "alice", &format!("c{n}")).unwrap();
    }
    let first = town.at("GET", "/issues/1/comments", Value::Null).await;
    let bodies = first.expect(200);
    assert_eq!(
        (bodies.as_array().unwrap().len(), &bodies[0]["body"]),
        (30, &json!("c0")),
        "thirty unless asked"
    );
    assert!(
        first.headers["link"]
            .to_str()
            .unwrap()
            .contains("page=2>; rel=\"next\"")
    );
    let second = town.get("/issues/1/comments?page=2").await;
    assert_eq!(
        (second.as_array().unwrap().len(), &second[0]["body"]),
        (5, &json!("c30"))
    );
    assert_eq!(
        town.get("/issues/1/comments?per_page=1000")
            .await
            .as_array()
            .unwrap()
            .len(),
        35
    );
    assert_eq!(town.get("/issues/1/comments?page=9").await, json!([]));
    let since = town
        .get("/issues/comments?since=2026-11-20T12:00:34Z&sort=updated&direction=desc")
        .await;
    let since: Vec<&Value> = since.as_array().unwrap().iter().map(|c| &c["body"]).collect();
    assert_eq!(since, [&json!("c34"), &json!("c33")]);
    let whole = town.at("GET", "/issues/1/comments?per_page=100", Value::Null).await;
    assert!(!whole.headers.contains_key("link"), "a single page has no neighbours");
}

#[tokio::test]
async fn a_reaction_is_made_once() {
    let town = Town::as_app().await;
    town.by_alice("one", &[("a", Some("1"))]);
    let comment = town.github.comment(REPO, 1, "alice", "/dcr").unwrap();
    let review = town.github.review_comment(REPO, 1, "alice", ("a", 1), "/dcr").unwrap();
    for path in [
        format!("/issues/comments/{comment}/reactions"),
        format!("/pulls/comments/{review}/reactions"),
    ] {
        let made = town.at("POST", &path, json!({"content": "eyes"})).await.expect(201);
        assert_eq!(
            town.at("POST", &path, json!({"content": "eyes"})).await.expect(200)["id"],
            made["id"]
        );
        town.at("POST", &path, json!({"content": "tada"}))
            .await
            .expect_refusal(422, "\"field\":\"content\"");
        town.at("POST", &path, json!({}))
            .await
            .expect_refusal(422, "wasn't supplied");
    }
    town.at("POST", "/issues/comments/1/reactions", json!({"content": "eyes"}))
        .await
        .expect_refusal(404, "Not Found");
    let said = town.get(&format!("/issues/comments/{comment}")).await;
    assert_eq!(
        (&said["reactions"]["eyes"], &said["reactions"]["total_count"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        town.github.thread(REPO, 1).unwrap()[0].reactions,
        ["stepherd[bot]:eyes"]
    );
}

#[tokio::test]
async fn replies_stand_in_the_thread_of_the_first_review_comment() {
    let town = Town::as_app().await;
    let number = town.by_alice("one", &[("a", Some("1"))]);
    let root = town
        .github
        .review_comment(REPO, number, "alice", ("a", 1), "why?")
        .unwrap();
    let path = format!("/pulls/{number}/comments");
    let reply = town
        .at("POST", &format!("{path}/{root}/replies"), json!({"body": "because"}))
        .await
        .expect(201);
    assert_eq!(reply["in_reply_to_id"], json!(root));
    let id = reply["id"].as_u64().unwrap();
    let second = town.github.reply_to_review(REPO, number, id, "alice", "I see").unwrap();
    assert_eq!(
        town.get(&format!("/pulls/comments/{second}")).await["in_reply_to_id"],
        json!(root)
    );
    let edited = town
        .at("PATCH", &format!("/pulls/comments/{id}"), json!({"body": "because!"}))
        .await
        .expect(200);
    assert_eq!(edited["body"], json!("because!"));
    assert_eq!(town.get(&path).await.as_array().unwrap().len(), 3);
    let head = town.get(&format!("/pulls/{number}")).await["head"]["sha"].clone();
    let made = json!({"body": "x", "commit_id": head, "path": "a", "line": 1});
    town.at("POST", &path, made).await.expect(201);
    for (body, words) in [
        (
            json!({"body": "x", "commit_id": head, "path": "a"}),
            "\\\"line\\\" wasn't supplied",
        ),
        (json!({"body": "x", "path": "a", "line": 1}), "commit_id"),
        (json!({"body": "", "commit_id": head, "path": "a", "line": 1}), "blank"),
        (
            json!({"body": "x", "commit_id": head, "path": "none", "line": 1}),
            "path",
        ),
    ] {
        town.at("POST", &path, body).await.expect_refusal(422, words);
    }
    town.at("POST", &format!("{path}/1/replies"), json!({"body": "x"}))
        .await
        .expect_refusal(404, "Not Found");
}
