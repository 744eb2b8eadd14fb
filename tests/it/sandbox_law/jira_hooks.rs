//! Jira's stand-in: what it sends out, in which shapes, how signed.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stepherd::sandbox::jira::{Automation, Flavour, Jira, Shape, Signing};

use super::jira::{KEY, doc, path, site};
use super::{Arrived, Listener, NOON_S};

fn hook(signing: Signing, path: &str, listener: &Listener, jira: &Jira) {
    jira.set_webhook(Some(listener.url(path)), signing);
}

fn hmac(secret: &str, message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// The claims of a token whose signature holds.
fn claims(token: &str, secret: &str) -> Value {
    use base64::Engine;
    let decode = |part: &str| {
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(part)
            .expect("base64")
    };
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    assert_eq!(decode(signature), hmac(secret, signed.as_bytes()));
    serde_json::from_slice(&decode(signed.split_once('.').expect("three parts").1)).expect("JSON")
}

#[test]
fn the_admin_signature_is_that_of_the_published_vector() {
    let signing = Signing::Admin {
        secret: "It's a Secret to Everybody".into(),
    };
    let url = "https://example.com/hook".parse().expect("a URL");
    let now = Timestamp::from_second(NOON_S).expect("in range");
    let (name, value) = signing.header("POST", &url, b"Hello World!", now).expect("a header");
    assert_eq!(name, "x-hub-signature");
    assert_eq!(
        value,
        "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    );
}

/// What arrives when somebody comments on a site that signs like this.
async fn told(signing: Signing, path: &str) -> Arrived {
    let (jira, _caller) = site(Flavour::Cloud).await;
    let listener = Listener::start().await;
    hook(signing, path, &listener, &jira);
    jira.comment(KEY, "eve", "one").await.expect("she may");
    assert_eq!(jira.deliver_pending().await[0].attempts[0].status, 200);
    listener.last()
}

#[tokio::test]
async fn an_administrators_webhook_is_signed_over_its_body() {
    let got = told(Signing::Admin { secret: "s".into() }, "/hook").await;
    let signature = format!("sha256={}", hex::encode(hmac("s", &got.body)));
    assert_eq!(got.header("x-hub-signature"), signature);
}

#[tokio::test]
async fn an_oauth_webhook_carries_a_bearer_token() {
    let signing = Signing::OAuth {
        client_id: "app".into(),
        client_secret: "s".into(),
    };
    let got = told(signing, "/hook").await;
    let token = got.header("authorization").strip_prefix("Bearer ").expect("a token");
    let expected = json!({"iat": NOON_S, "exp": NOON_S + 180, "iss": "app"});
    assert_eq!(claims(token, "s"), expected);
}

#[tokio::test]
async fn a_connect_webhook_carries_a_token_for_this_very_request() {
    let cases = [
        (
            "",
            "/hook?user_id=eve%20x&b=2&b=1&jwt=old",
            "POST&/hook&b=1,2&user_id=eve%20x",
        ),
        ("/app", "/app/hook/?star=*&tilde=~", "POST&/hook&star=%2A&tilde=~"),
        ("", "/hook", "POST&/hook&"),
    ];
    for (base, path, canonical) in cases {
        let signing = Signing::Connect {
            client_key: "site".into(),
            shared_secret: "s".into(),
            base_path: base.into(),
        };
        let got = told(signing, path).await;
        assert_eq!(got.uri, path);
        let token = got.header("authorization").strip_prefix("JWT ").expect("a token");
        let qsh = hex::encode(Sha256::digest(canonical));
        let expected = json!({"iat": NOON_S, "exp": NOON_S + 180, "iss": "site", "qsh": qsh});
        assert_eq!(claims(token, "s"), expected, "{canonical}");
    }
}

#[tokio::test]
async fn an_automation_rule_sends_its_header_and_no_identifier() {
    let signing = Signing::Automation {
        header: "X-Automation-Webhook-Token".into(),
        value: "v".into(),
    };
    let got = told(signing, "/hook").await;
    assert_eq!(got.header("x-automation-webhook-token"), "v");
    assert_eq!(
        got.header("x-atlassian-webhook-identifier"),
        "",
        "its request is no webhook"
    );
}

#[tokio::test]
async fn a_delivery_keeps_its_id_and_body_when_it_is_sent_again() {
    let (jira, _caller) = site(Flavour::Cloud).await;
    let listener = Listener::start().await;
    hook(Signing::Unsigned, "/hook", &listener, &jira);
    listener.will_answer(503, "later");
    let id = jira
        .transition(KEY, "eve", "Approved")
        .await
        .expect("the workflow allows it");
    assert_eq!(listener.arrived().len(), 0, "nothing goes out before it is asked for");
    let sent = jira.deliver_pending().await;
    assert_eq!(
        (sent[0].attempts[0].status, sent[0].attempts[0].answer.as_str()),
        (503, "later")
    );
    assert_eq!(jira.deliver_pending().await, []);
    assert_eq!(jira.retry_failed().await.len(), 1);
    assert_eq!(jira.retry_failed().await, []);
    jira.redeliver(&id).await.expect("it is there");
    let arrived = listener.arrived();
    let ids: Vec<&str> = arrived
        .iter()
        .map(|a| a.header("x-atlassian-webhook-identifier"))
        .collect();
    assert_eq!(ids, [id.as_str(); 3]);
    let retries: Vec<&str> = arrived.iter().map(|a| a.header("x-atlassian-webhook-retry")).collect();
    assert_eq!(retries, ["", "1", "2"]);
    assert_eq!(arrived[0].header("x-atlassian-webhook-flow"), "Primary");
    assert_eq!(arrived[0].body, arrived[2].body);
}

#[tokio::test]
async fn lost_webhooks_stay_lost_and_automatic_ones_go_at_once() {
    let (jira, _caller) = site(Flavour::Cloud).await;
    let listener = Listener::start().await;
    hook(Signing::Unsigned, "/hook", &listener, &jira);
    jira.comment(KEY, "eve", "lost").await.expect("she may");
    assert_eq!(jira.lose_pending(), 1);
    assert_eq!(jira.deliver_pending().await, []);
    jira.set_auto(true);
    jira.comment(KEY, "eve", "found").await.expect("she may");
    assert_eq!(listener.arrived().len(), 1);
    assert_eq!(listener.last().json()["comment"]["body"], "found");
}

/// The body that tells of a transition from Open to Approved, when bodies are shaped like this.
async fn transition_told(how: impl FnOnce(&mut Shape)) -> Value {
    let (jira, _caller) = site(Flavour::Cloud).await;
    let listener = Listener::start().await;
    hook(Signing::Unsigned, "/hook", &listener, &jira);
    let mut shape = Shape::default();
    how(&mut shape);
    jira.set_shape(shape);
    let moved = jira.transition(KEY, "eve", "Approved").await;
    moved.expect("the workflow allows it");
    jira.deliver_pending().await;
    listener.last().json()
}

#[tokio::test]
async fn a_transition_is_told_as_cloud_tells_it() {
    let told = transition_told(|_| ()).await;
    assert_eq!(told["webhookEvent"], "jira:issue_updated");
    assert_eq!(told["issue_event_type_name"], "issue_generic");
    assert_eq!(told["timestamp"], NOON_S * 1000);
    assert_eq!(told["user"]["accountId"], "557058:eve");
    assert_eq!(told["issue"]["fields"]["status"]["id"], "10011");
    assert!(told["changelog"]["id"].is_string());
    let item = json!({"field": "status", "fieldtype": "jira", "from": "10010", "fromString": "Open",
        "to": "10011", "toString": "Approved", "fieldId": "status"});
    assert_eq!(told["changelog"]["items"], json!([item]));
}

#[tokio::test]
async fn a_transition_is_told_in_each_known_variant() {
    let told = transition_told(|s| s.dc_user = true).await;
    assert_eq!(
        (&told["user"]["name"], told["user"].get("accountId")),
        (&json!("eve"), None)
    );
    assert_eq!(
        transition_told(|s| s.active_as_text = true).await["user"]["active"],
        "true"
    );
    assert_eq!(transition_told(|s| s.no_changelog = true).await.get("changelog"), None);
    let told = transition_told(|s| s.two_items = true).await;
    let fields: Vec<&Value> = (0..2).map(|n| &told["changelog"]["items"][n]["field"]).collect();
    assert_eq!(fields, ["resolution", "status"]);
    let told = transition_told(|s| s.from_equals_to = true).await;
    let item = &told["changelog"]["items"][0];
    assert_eq!((&item["from"], &item["to"]), (&json!("10011"), &json!("10011")));
    let told = transition_told(|s| s.numeric_changelog_id = true).await;
    assert!(told["changelog"]["id"].is_u64());
    let told = transition_told(|s| s.bulk = true).await;
    assert!(told["bulkOperationMetaData"].is_object());
}

#[tokio::test]
async fn a_transition_is_told_as_automation_rules_tell_it() {
    let told = transition_told(|s| s.automation = Some(Automation::IssueData)).await;
    let only_issue = told.as_object().is_some_and(|o| o.len() == 1);
    assert_eq!((&told["issue"]["key"], only_issue), (&json!(KEY), true));
    assert_eq!(
        transition_told(|s| s.automation = Some(Automation::Flat)).await["key"],
        KEY
    );
    let template = r#"{"k":"{{issue.key}}","f":"{{fieldChange.from}}","t":"{{fieldChange.toString}}"}"#;
    let told = transition_told(|s| s.automation = Some(Automation::Custom(template.into()))).await;
    assert_eq!(told, json!({"k": KEY, "f": "10010", "t": "Approved"}));
}

#[tokio::test]
async fn comments_are_told_whoever_wrote_them() {
    let (jira, caller) = site(Flavour::Cloud).await;
    let listener = Listener::start().await;
    hook(Signing::Unsigned, "/hook", &listener, &jira);
    let shape = Shape {
        comment_as_adf: true,
        issue_commented_too: true,
        secondary_flow: true,
        ..Shape::default()
    };
    jira.set_shape(shape);
    let id = jira.comment(KEY, "eve", "/dcr retry").await.expect("she may");
    jira.deliver_pending().await;
    let told: Vec<Value> = listener.arrived().iter().map(Arrived::json).collect();
    assert_eq!(
        (&told[0]["webhookEvent"], &told[0]["comment"]["id"]),
        (&json!("comment_created"), &json!(id))
    );
    assert_eq!(
        (&told[0]["comment"]["body"], &told[0]["issue"]["key"]),
        (&doc("/dcr retry"), &json!(KEY))
    );
    assert!(told[0].get("changelog").is_none());
    assert_eq!(
        (&told[1]["issue_event_type_name"], &told[1]["comment"]["id"]),
        (&json!("issue_commented"), &json!(id))
    );
    assert_eq!(listener.last().header("x-atlassian-webhook-flow"), "Secondary");

    jira.set_shape(Shape {
        comment_without_issue: true,
        ..Shape::default()
    });
    caller.post(&path("/comment"), json!({"body": doc("mine")})).await;
    jira.edit_comment(KEY, &id, "eve", "changed")
        .await
        .expect("it is there");
    jira.delete_comment(KEY, &id, "eve").await.expect("it is there");
    jira.deliver_pending().await;
    let told: Vec<Value> = listener.arrived().iter().skip(2).map(Arrived::json).collect();
    let events: Vec<&str> = told.iter().filter_map(|t| t["webhookEvent"].as_str()).collect();
    assert_eq!(events, ["comment_created", "comment_updated", "comment_deleted"]);
    assert_eq!(
        (&told[0]["comment"]["author"]["accountId"], told[0].get("issue")),
        (&json!("557058:bot"), None)
    );
}

#[tokio::test]
async fn data_center_tells_of_people_by_name_and_key() {
    let (jira, _caller) = site(Flavour::DataCenter).await;
    let listener = Listener::start().await;
    hook(Signing::Unsigned, "/hook/secret-path", &listener, &jira);
    jira.transition(KEY, "eve", "Approved")
        .await
        .expect("the workflow allows it");
    jira.set_field(KEY, "eve", "summary", json!("new"))
        .await
        .expect("she may");
    jira.deliver_pending().await;
    let arrived = listener.arrived();
    assert_eq!(
        (arrived[0].uri.as_str(), arrived[0].header("authorization")),
        ("/hook/secret-path", "")
    );
    let told = arrived[0].json();
    assert_eq!(
        (&told["user"]["name"], &told["user"]["key"]),
        (&json!("eve"), &json!("JIRAUSER-eve"))
    );
    assert!(told["changelog"]["items"][0].get("fieldId").is_none());
    assert_eq!(arrived[1].json()["changelog"]["items"][0]["field"], "summary");
    jira.set_shape(Shape {
        no_identifier: true,
        ..Shape::default()
    });
    jira.comment(KEY, "eve", "one").await.expect("she may");
    jira.deliver_pending().await;
    assert_eq!(listener.last().header("x-atlassian-webhook-identifier"), "");
    // A comment is told twice, and only the update has its issue.
    let told: Vec<Value> = listener.arrived().iter().skip(2).map(Arrived::json).collect();
    let kinds: Vec<&Value> = told.iter().map(|t| &t["webhookEvent"]).collect();
    assert_eq!(kinds, ["comment_created", "jira:issue_updated"]);
    assert_eq!((told[0].get("issue"), &told[1]["issue"]["key"]), (None, &json!(KEY)));
    assert_eq!(told[1]["issue_event_type_name"], "issue_commented");
}
