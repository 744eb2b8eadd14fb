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

#[tokio::test]
async fn each_way_of_signing_proves_the_delivery() {
    let (jira, _caller) = site(Flavour::Cloud).await;
    let listener = Listener::start().await;
    let say = async |text: &str| {
        jira.comment(KEY, "eve", text).await.expect("she may");
        assert_eq!(jira.deliver_pending().await[0].attempts[0].status, 200);
        listener.last()
    };
    hook(
        Signing::Admin { secret: "s".into() },
        "/webhooks/jira",
        &listener,
        &jira,
    );
    let got = say("one").await;
    assert_eq!(
        got.header("x-hub-signature"),
        format!("sha256={}", hex::encode(hmac("s", &got.body)))
    );

    hook(
        Signing::OAuth {
            client_id: "app".into(),
            client_secret: "s2".into(),
        },
        "/webhooks/jira",
        &listener,
        &jira,
    );
    let got = say("two").await;
    let token = got
        .header("authorization")
        .strip_prefix("Bearer ")
        .expect("a bearer token");
    assert_eq!(
        claims(token, "s2"),
        json!({"iat": NOON_S, "exp": NOON_S + 180, "iss": "app"})
    );

    let connect = Signing::Connect {
        client_key: "site".into(),
        shared_secret: "s3".into(),
        base_path: String::new(),
    };
    hook(
        connect,
        "/webhooks/jira?user_id=eve%20x&b=2&b=1&jwt=old",
        &listener,
        &jira,
    );
    let got = say("three").await;
    assert_eq!(got.uri, "/webhooks/jira?user_id=eve%20x&b=2&b=1&jwt=old");
    let token = got.header("authorization").strip_prefix("JWT ").expect("a token");
    let qsh = hex::encode(Sha256::digest("POST&/webhooks/jira&b=1,2&user_id=eve%20x"));
    assert_eq!(
        claims(token, "s3"),
        json!({"iat": NOON_S, "exp": NOON_S + 180, "iss": "site", "qsh": qsh})
    );

    let header = "X-Automation-Webhook-Token".into();
    hook(
        Signing::Automation {
            header,
            value: "v".into(),
        },
        "/webhooks/jira",
        &listener,
        &jira,
    );
    let got = say("four").await;
    assert_eq!(got.header("x-automation-webhook-token"), "v");
    assert_eq!(
        got.header("x-atlassian-webhook-identifier"),
        "",
        "a rule's request is no webhook"
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

#[tokio::test]
async fn a_transition_is_told_in_each_known_shape() {
    type Check = fn(&Value) -> bool;
    let cases: Vec<(Shape, Check)> = vec![
        (Shape::default(), |b| {
            let item = &b["changelog"]["items"][0];
            b["webhookEvent"] == "jira:issue_updated"
                && b["issue_event_type_name"] == "issue_generic"
                && b["timestamp"] == NOON_S * 1000
                && b["user"]["accountId"] == "557058:eve"
                && b["issue"]["fields"]["status"]["id"] == "10011"
                && item["field"] == "status"
                && (item["from"] == "10010" && item["to"] == "10011" && item["toString"] == "Approved")
                && b["changelog"]["id"].is_string()
        }),
        (
            Shape {
                dc_user: true,
                ..Shape::default()
            },
            |b| b["user"]["name"] == "eve" && b["user"].get("accountId").is_none(),
        ),
        (
            Shape {
                active_as_text: true,
                ..Shape::default()
            },
            |b| b["user"]["active"] == "true",
        ),
        (
            Shape {
                no_changelog: true,
                ..Shape::default()
            },
            |b| b.get("changelog").is_none(),
        ),
        (
            Shape {
                two_items: true,
                ..Shape::default()
            },
            |b| b["changelog"]["items"][0]["field"] == "resolution" && b["changelog"]["items"][1]["field"] == "status",
        ),
        (
            Shape {
                from_equals_to: true,
                ..Shape::default()
            },
            |b| b["changelog"]["items"][0]["from"] == "10011" && b["changelog"]["items"][0]["to"] == "10011",
        ),
        (
            Shape {
                numeric_changelog_id: true,
                ..Shape::default()
            },
            |b| b["changelog"]["id"].is_u64(),
        ),
        (
            Shape {
                bulk: true,
                ..Shape::default()
            },
            |b| b["bulkOperationMetaData"].is_object(),
        ),
        (
            Shape {
                automation: Some(Automation::IssueData),
                ..Shape::default()
            },
            |b| b["issue"]["key"] == KEY && b.as_object().is_some_and(|o| o.len() == 1),
        ),
        (
            Shape {
                automation: Some(Automation::Flat),
                ..Shape::default()
            },
            |b| b["key"] == KEY,
        ),
        (
            Shape {
                automation: Some(Automation::Custom(
                    r#"{"k":"{{issue.key}}","f":"{{fieldChange.from}}","t":"{{fieldChange.toString}}"}"#.into(),
                )),
                ..Shape::default()
            },
            |b| *b == json!({"k": KEY, "f": "10010", "t": "Approved"}),
        ),
    ];
    let listener = Listener::start().await;
    for (shape, check) in cases {
        let (jira, _caller) = site(Flavour::Cloud).await;
        hook(Signing::Unsigned, "/hook", &listener, &jira);
        jira.set_shape(shape.clone());
        jira.transition(KEY, "eve", "Approved")
            .await
            .expect("the workflow allows it");
        jira.deliver_pending().await;
        let body = listener.last().json();
        assert!(check(&body), "{shape:?} {body}");
    }
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
}
