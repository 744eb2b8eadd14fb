//! Who may what: tokens, the app, permissions, teams.

use jsonwebtoken::Algorithm::{HS256, RS256};
use serde_json::{Value, json};
use stepherd::sandbox::github::Level;

use super::{APP_ID, REPO, Town, got};

#[tokio::test]
async fn without_a_good_token_there_is_nothing() {
    let town = Town::new().await;
    let url = format!("{}/repos/{REPO}", town.github.url());
    got(town.client.get(&url))
        .await
        .expect_refusal(401, "Requires authentication");
    got(town.client.get(&url).header("authorization", "Basic eDp5"))
        .await
        .expect_refusal(401, "Bad credentials");
    town.call_as("ghp_other", "GET", &format!("/repos/{REPO}"), Value::Null)
        .await
        .expect_refusal(401, "Bad credentials");
    got(town
        .client
        .get(&url)
        .header("authorization", format!("token {}", town.token)))
    .await
    .expect(200);
    let anonymous = reqwest::Client::builder().no_proxy().build().unwrap();
    got(anonymous.get(&url).bearer_auth(&town.token))
        .await
        .expect_refusal(403, "User-Agent");
    got(town
        .client
        .get(&url)
        .bearer_auth(&town.token)
        .header("x-github-api-version", "1999-01-01"))
    .await
    .expect_refusal(400, "version");
}

#[tokio::test]
async fn bodies_must_be_json_objects() {
    let town = Town::new().await;
    let url = format!("{}/repos/{REPO}/git/blobs", town.github.url());
    got(town.client.post(&url).bearer_auth(&town.token).body("{"))
        .await
        .expect_refusal(400, "Problems parsing JSON");
    got(town.client.post(&url).bearer_auth(&town.token).body("[]"))
        .await
        .expect_refusal(400, "JSON object");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_in_json() {
    let town = Town::new().await;
    town.call("GET", "/nowhere", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.call("DELETE", &format!("/repos/{REPO}"), Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.call("GET", "/repos/acme/other", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
}

#[tokio::test]
async fn the_app_signs_in_and_its_tokens_run_out() {
    let mut town = Town::as_app().await;
    let repo = town.call("GET", "/repos/ACME/Deploy", Value::Null).await.expect(200);
    assert_eq!(
        (&repo["full_name"], &repo["default_branch"]),
        (&json!(REPO), &json!("main"))
    );
    town.call("GET", "/user", Value::Null)
        .await
        .expect_refusal(403, "Resource not accessible by integration");
    town.pass(3599);
    town.get("").await;
    town.pass(1);
    town.at("GET", "", Value::Null)
        .await
        .expect_refusal(401, "Bad credentials");
    town.token = town
        .installation_token(json!({"repositories": ["deploy"], "permissions": {"contents": "read"}}))
        .await;
    town.get("/git/ref/heads/main").await;
    town.at("POST", "/git/blobs", json!({"content": "x"}))
        .await
        .expect_refusal(403, "Resource not accessible by integration");
    town.at("GET", "/pulls", Value::Null)
        .await
        .expect_refusal(403, "Resource not accessible by integration");
    town.github.revoke_installation_tokens();
    town.at("GET", "/git/ref/heads/main", Value::Null)
        .await
        .expect_refusal(401, "Bad credentials");
}

#[tokio::test]
async fn a_token_for_one_owner_opens_nothing_of_another() {
    let town = Town::as_app().await;
    town.github.add_repo("other/secret", &[]).unwrap();
    town.github.add_repo("other/open", &[]).unwrap();
    town.github.set_public("other/open", true).unwrap();
    town.call("GET", "/repos/other/secret", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.call("GET", "/repos/other/open", Value::Null).await.expect(200);
    town.call("POST", "/repos/other/open/git/blobs", json!({"content": "x"}))
        .await
        .expect_refusal(403, "not accessible");
}

#[tokio::test]
async fn tokens_cannot_be_widened() {
    let town = Town::new().await;
    let jwt = town.jwt();
    let found = town
        .call_as(&jwt, "GET", "/app/installations", Value::Null)
        .await
        .expect(200);
    let path = format!("/app/installations/{}/access_tokens", found[0]["id"]);
    for (body, words) in [
        (
            json!({"permissions": {"administration": "write"}}),
            "permissions requested are not granted",
        ),
        (
            json!({"permissions": {"members": "write"}}),
            "permissions requested are not granted",
        ),
        (
            json!({"repositories": ["nowhere"]}),
            "does not exist or is not accessible",
        ),
    ] {
        town.call_as(&jwt, "POST", &path, body).await.expect_refusal(422, words);
    }
    town.call_as(&jwt, "POST", "/app/installations/1/access_tokens", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.github.install("acme", false).unwrap();
    town.call_as(&jwt, "POST", &path, json!({}))
        .await
        .expect_refusal(404, "Not Found");
    town.call_as(&jwt, "GET", &format!("/repos/{REPO}/installation"), Value::Null)
        .await
        .expect_refusal(404, "Not Found");
}

#[tokio::test]
async fn only_a_fresh_token_signed_by_the_app_counts() {
    let town = Town::new().await;
    let now = town.now();
    let claims = |iss: Value, iat: i64, exp: i64| json!({"iss": iss, "iat": now + iat, "exp": now + exp});
    let ours = json!(APP_ID.to_string());
    let cases = [
        (
            town.jwt_with(RS256, &claims(ours.clone(), -60, 601)),
            401,
            "too far in the future",
        ),
        (
            town.jwt_with(RS256, &claims(ours.clone(), -60, 0)),
            401,
            "must be a numeric value",
        ),
        (
            town.jwt_with(RS256, &json!({"iss": ours, "iat": now})),
            401,
            "must be a numeric value",
        ),
        (town.jwt_with(RS256, &claims(ours.clone(), 61, 300)), 401, "'Issued at'"),
        (
            town.jwt_with(RS256, &claims(json!("1"), -60, 300)),
            404,
            "Integration not found",
        ),
        (
            town.jwt_with(HS256, &claims(ours.clone(), -60, 300)),
            401,
            "could not be decoded",
        ),
        (format!("{}x", town.jwt()), 401, "could not be decoded"),
        ("a.b.c".to_owned(), 401, "could not be decoded"),
        (town.token.clone(), 401, "could not be decoded"),
    ];
    for (token, status, words) in cases {
        town.call_as(&token, "GET", "/app", Value::Null)
            .await
            .expect_refusal(status, words);
    }
    let numeric = town.jwt_with(RS256, &claims(json!(APP_ID), -60, 600));
    assert_eq!(
        town.call_as(&numeric, "GET", "/app", Value::Null).await.expect(200)["slug"],
        json!("stepherd")
    );
    town.call_as(&numeric, "GET", "/orgs/acme/installation", Value::Null)
        .await
        .expect(200);
    town.call_as(&numeric, "GET", "/users/acme/installation", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.call_as(&numeric, "GET", &format!("/repos/{REPO}"), Value::Null)
        .await
        .expect_refusal(403, "not accessible");
}

#[tokio::test]
async fn the_same_api_answers_under_the_prefix_of_enterprise_server() {
    let mut town = Town::new().await;
    town.prefix = "/api/v3";
    town.branch_with("one/two", "a", "1").await;
    let number = town.open("one/two").await;
    town.get(&format!("/pulls/{number}")).await;
    town.by_alice("b", &[("b", Some("1"))]);
    let page = town.at("GET", "/pulls?per_page=1", Value::Null).await;
    assert!(
        page.headers["link"].to_str().unwrap().contains("/api/v3/repos/"),
        "{:?}",
        page.headers["link"]
    );
    town.call("GET", "/nowhere", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
}

#[tokio::test]
async fn plain_tokens_may_what_their_user_may() {
    let town = Town::new().await;
    town.by_alice("one", &[("a", Some("1"))]);
    town.github.set_permission(REPO, "robot", Level::Read).unwrap();
    town.at("POST", "/git/blobs", json!({"content": "x"}))
        .await
        .expect_refusal(403, "not accessible by personal access token");
    town.at("PUT", "/pulls/1/merge", json!({}))
        .await
        .expect_refusal(403, "not accessible");
    town.at("POST", "/issues/1/comments", json!({"body": "hi"}))
        .await
        .expect(201);
    town.at("GET", "/collaborators/alice/permission", Value::Null)
        .await
        .expect_refusal(403, "Must have push access");
    town.github.set_permission(REPO, "robot", Level::None).unwrap();
    town.at("GET", "", Value::Null).await.expect_refusal(404, "Not Found");
}

#[tokio::test]
async fn permissions_and_memberships_are_told_in_the_vendors_words() {
    let town = Town::as_app().await;
    for (level, permission, role) in [
        (Level::None, "none", ""),
        (Level::Read, "read", "read"),
        (Level::Triage, "read", "triage"),
        (Level::Write, "write", "write"),
        (Level::Maintain, "write", "maintain"),
        (Level::Admin, "admin", "admin"),
    ] {
        town.github.set_permission(REPO, "alice", level).unwrap();
        let told = town.get("/collaborators/Alice/permission").await;
        assert_eq!(
            (&told["permission"], &told["role_name"]),
            (&json!(permission), &json!(role))
        );
        assert_eq!(told["user"]["login"], json!("alice"));
    }
    town.at("GET", "/collaborators/nobody/permission", Value::Null)
        .await
        .expect_refusal(404, "nobody is not a user");

    let team = "/orgs/acme/teams/ops";
    town.call("GET", team, Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.github.add_team_member("acme", "ops", "alice", true).unwrap();
    town.github.add_team_member("acme", "ops", "bob", false).unwrap();
    let state = async |login: &str| {
        town.call("GET", &format!("{team}/memberships/{login}"), Value::Null)
            .await
    };
    assert_eq!(state("alice").await.expect(200)["state"], json!("active"));
    assert_eq!(state("bob").await.expect(200)["state"], json!("pending"));
    state("robot").await.expect_refusal(404, "Not Found");
    town.call("GET", team, Value::Null).await.expect(200);
    town.github.remove_team_member("acme", "ops", "alice").unwrap();
    state("alice").await.expect_refusal(404, "Not Found");
    town.github.grant("members", false);
    let mut town = town;
    town.token = town.installation_token(json!({})).await;
    town.call("GET", team, Value::Null)
        .await
        .expect_refusal(403, "Resource not accessible by integration");
}

#[tokio::test]
async fn accounts_are_found_by_number_and_by_name() {
    let town = Town::new().await;
    let alice = town.github.account_id("alice").unwrap();
    let told = town
        .call("GET", &format!("/user/{alice}"), Value::Null)
        .await
        .expect(200);
    assert_eq!((&told["login"], &told["type"]), (&json!("alice"), &json!("User")));
    let bot = town
        .call("GET", "/users/stepherd%5Bbot%5D", Value::Null)
        .await
        .expect(200);
    assert_eq!((&bot["login"], &bot["type"]), (&json!("stepherd[bot]"), &json!("Bot")));
    assert_eq!(
        town.call("GET", "/user", Value::Null).await.expect(200)["login"],
        json!("robot")
    );
    town.call("GET", "/user/1", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.call("GET", "/users/nobody", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
}

#[tokio::test]
async fn the_primary_limit_counts_down_and_refuses_at_zero() {
    let town = Town::new().await;
    town.github.set_calls_left(2);
    let first = town.at("GET", "", Value::Null).await;
    assert_eq!(first.headers["x-ratelimit-remaining"], "1");
    town.at("GET", "", Value::Null).await.expect(200);
    let refused = town.at("GET", "", Value::Null).await;
    refused.expect_refusal(403, "API rate limit exceeded");
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    let reset: i64 = refused.headers["x-ratelimit-reset"].to_str().unwrap().parse().unwrap();
    assert!(reset > town.now() && reset - town.now() <= 3600);
    assert_eq!(refused.headers["date"], "Fri, 20 Nov 2026 12:00:00 GMT");
    assert_eq!(
        town.call("GET", "/rate_limit", Value::Null).await.expect(200)["rate"]["remaining"],
        json!(0)
    );
    town.pass(3600);
    town.at("GET", "", Value::Null).await.expect(200);
}
