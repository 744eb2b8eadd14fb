//! What is turned away: 401 before anything else, counted, and nothing of it kept.

use std::time::Duration;

use serde_json::json;
use stepherd::sandbox::jira::Signing;

use super::{
    GITHUB_SECRET, JIRA_SECRET, Knock, counted, deliveries, discord, discord_of, github, github_with, jira, jira_by,
    knock, now, ping, signed_again,
};
use crate::world::World;

/// Knocks with each; every one must be answered 401, be counted, and leave nothing behind.
async fn all_forged(world: &World, platform: &str, forgeries: &[(&str, Knock)]) {
    for (how, forgery) in forgeries {
        let answer = knock(world, forgery).await;
        assert_eq!(answer.status, 401, "{how}: {}", answer.text);
        for secret in [GITHUB_SECRET, JIRA_SECRET, "sha256=", "interaction-token"] {
            let says_how = answer.text.ends_with("does not start with sha256=\n")
                || answer.text.ends_with("of the form sha256=…\n");
            assert!(
                !answer.text.contains(secret) || says_how,
                "{how}: the answer tells too much: {}",
                answer.text
            );
        }
    }
    assert_eq!(counted(world, platform, "forged").await, forgeries.len() as u64);
    assert!(deliveries(world).await.is_empty(), "nothing forged is kept");
}

#[tokio::test]
async fn github_lets_nobody_in_who_cannot_sign() {
    let world = World::new().await;
    let good = github("d-1");
    let header = "x-hub-signature-256";
    let digest = good.header(header).trim_start_matches("sha256=").to_owned();
    let spoilt = |value: &str| good.clone().with(header, Some(value));
    let pretty = serde_json::to_vec_pretty(&serde_json::from_slice::<serde_json::Value>(&ping()).unwrap()).unwrap();
    let last_digit = if digest.ends_with('0') { "1" } else { "0" };
    all_forged(
        &world,
        "github",
        &[
            ("no signature", good.clone().with(header, None)),
            ("an empty one", spoilt("")),
            ("without its prefix", spoilt(&digest)),
            (
                "under the old name only",
                good.clone()
                    .with(header, None)
                    .with("x-hub-signature", Some(&format!("sha1={digest}"))),
            ),
            ("of SHA-1", spoilt(&format!("sha1={}", &digest[..40]))),
            ("with another prefix", spoilt(&format!("sha512={digest}"))),
            ("not hexadecimal", spoilt(&format!("sha256={}", "z".repeat(64)))),
            ("cut short", spoilt(&format!("sha256={}", &digest[..63]))),
            ("cut to nothing", spoilt("sha256=")),
            ("too long", spoilt(&format!("sha256={digest}00"))),
            (
                "one digit off",
                spoilt(&format!("sha256={}{last_digit}", &digest[..63])),
            ),
            ("sent twice", good.clone().and(header, &format!("sha256={digest}"))),
            ("with a wrong secret", github_with("guessed", "d-1")),
            ("with an empty secret", github_with("", "d-1")),
            ("of other white space", good.clone().saying(pretty)),
            ("of another body", good.clone().saying(b"{}".as_slice())),
            ("of an empty body", good.clone().saying(b"".as_slice())),
        ],
    )
    .await;
    let answer = knock(&world, &good).await;
    assert_eq!(answer.status, 202, "and the good one is let in: {}", answer.text);
}

#[tokio::test]
async fn jira_lets_nobody_in_whose_proof_fails() {
    let set = |env: &mut std::collections::BTreeMap<String, String>| {
        for (key, value) in [
            ("OAUTH_CLIENT_SECRET", "oauth-secret-of-some-length-at-all"),
            ("CONNECT_SHARED_SECRET", "connect-secret-of-some-length"),
            ("AUTOMATION_SECRET", "automation-secret"),
        ] {
            env.insert(format!("STEPHERD__JIRA__{key}"), value.to_owned());
        }
    };
    let world = World::with_settings(|_| {}, set).await;
    let at = now(&world);
    let good = jira("a-1", at);
    let digest = good.header("x-hub-signature").trim_start_matches("sha256=").to_owned();
    let signature = |value: &str| good.clone().with("x-hub-signature", Some(value));
    let oauth = |secret: &str, at| {
        jira_by(
            &Signing::OAuth {
                client_id: "c".into(),
                client_secret: secret.into(),
            },
            "a-1",
            at,
        )
    };
    let connect = |secret: &str, at| {
        jira_by(
            &Signing::Connect {
                client_key: "k".into(),
                shared_secret: secret.into(),
                base_path: String::new(),
            },
            "a-1",
            at,
        )
    };
    let automation = |value: &str| {
        jira_by(
            &Signing::Automation {
                header: "X-Automation-Webhook-Token".into(),
                value: value.into(),
            },
            "a-1",
            at,
        )
    };
    let (oauth_good, connect_good) = (
        oauth("oauth-secret-of-some-length-at-all", at),
        connect("connect-secret-of-some-length", at),
    );
    let mut elsewhere = connect_good.clone();
    elsewhere.query = "?moved=1".to_owned();
    all_forged(
        &world,
        "jira",
        &[
            ("no proof", good.clone().with("x-hub-signature", None)),
            ("SHA-1", signature(&format!("sha1={}", &digest[..40]))),
            ("no prefix", signature(&digest)),
            ("not hexadecimal", signature("sha256=zz")),
            (
                "sent twice",
                good.clone().and("x-hub-signature", &format!("sha256={digest}")),
            ),
            (
                "wrong secret",
                jira_by(
                    &Signing::Admin {
                        secret: "guessed".into(),
                    },
                    "a-1",
                    at,
                ),
            ),
            ("another body", good.clone().saying(b"{}".as_slice())),
            (
                "a token of another secret",
                oauth("guessed-but-long-enough-to-sign-with", at),
            ),
            (
                "a token that has expired",
                oauth("oauth-secret-of-some-length-at-all", at - Duration::from_secs(3_600)),
            ),
            (
                "a token of tomorrow",
                oauth("oauth-secret-of-some-length-at-all", at + Duration::from_secs(86_400)),
            ),
            (
                "no token at all",
                oauth_good.clone().with("authorization", Some("Bearer ")),
            ),
            (
                "a token without a signature",
                oauth_good
                    .clone()
                    .with("authorization", Some("Bearer eyJhbGciOiJub25lIn0.e30.")),
            ),
            (
                "a Connect token of another secret",
                connect("guessed-but-long-enough-to-sign-with", at),
            ),
            ("a Connect token of another request", elsewhere),
            ("a wrong automation header", automation("guessed")),
            (
                "a good proof beside a bad one",
                good.clone().with("x-automation-webhook-token", Some("guessed")),
            ),
        ],
    )
    .await;
    for (index, mut welcome) in [good, oauth_good, connect_good, automation("automation-secret")]
        .into_iter()
        .enumerate()
    {
        welcome = welcome.with("x-atlassian-webhook-identifier", Some(&format!("b-{index}")));
        let answer = knock(&world, &welcome).await;
        assert_eq!(answer.status, 202, "{index}: {}", answer.text);
    }
    assert_eq!(deliveries(&world).await.len(), 4);
}

#[tokio::test]
async fn discord_lets_nobody_in_who_is_not_discord_now() {
    let world = World::new().await;
    let at = now(&world);
    let good = discord("100000000000000001", at);
    let (signature, timestamp) = ("x-signature-ed25519", "x-signature-timestamp");
    let spoilt = |name: &str, value: &str| good.clone().with(name, Some(value));
    let right = good.header(signature).to_owned();
    let other_key = {
        use ed25519_dalek::Signer as _;
        let key = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
        hex::encode(
            key.sign(&[good.header(timestamp).as_bytes(), &good.body].concat())
                .to_bytes(),
        )
    };
    all_forged(
        &world,
        "discord",
        &[
            ("no signature", good.clone().with(signature, None)),
            ("no timestamp", good.clone().with(timestamp, None)),
            ("another key", spoilt(signature, &other_key)),
            ("not hexadecimal", spoilt(signature, &"z".repeat(128))),
            ("cut short", spoilt(signature, &right[..126])),
            ("sent twice", good.clone().and(signature, &right)),
            ("another time", spoilt(timestamp, &(at.as_second() + 1).to_string())),
            ("another body", good.clone().saying(b"{\"type\":1}".as_slice())),
            (
                "of six minutes ago",
                discord("100000000000000001", at - Duration::from_secs(301)),
            ),
            (
                "of the future",
                discord("100000000000000001", at + Duration::from_secs(301)),
            ),
        ],
    )
    .await;
    assert_eq!(knock(&world, &good).await.status, 200);
    assert_eq!(
        knock(&world, &discord("100000000000000002", at - Duration::from_secs(299)))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn both_secrets_are_good_while_one_replaces_the_other() {
    let world = World::new().await;
    assert_eq!(knock(&world, &github("d-1")).await.status, 202);
    assert_eq!(
        knock(&world, &github_with(super::GITHUB_SECRET_BEFORE, "d-2"))
            .await
            .status,
        202
    );
    let set = |env: &mut std::collections::BTreeMap<String, String>| {
        drop(env.remove("STEPHERD__GITHUB__WEBHOOK_SECRET_PREVIOUS"))
    };
    let world = World::with_settings(|_| {}, set).await;
    assert_eq!(
        knock(&world, &github_with(super::GITHUB_SECRET_BEFORE, "d-2"))
            .await
            .status,
        401,
        "and then it is not"
    );
}

#[tokio::test]
async fn what_is_no_delivery_is_refused_in_its_own_way() {
    let limit = |env: &mut std::collections::BTreeMap<String, String>| {
        env.insert("STEPHERD__SERVER__BODY_LIMIT_BYTES".into(), "1024".into());
    };
    let world = World::with_settings(|_| {}, limit).await;
    let at = now(&world);
    let plain = |knock: Knock| knock.with("content-type", Some("text/plain"));
    let form = signed_again(github("d").saying(b"body=%7B%7D".as_slice()));
    let nameless = discord_of(&json!({ "type": 2 }), at);
    let table = [
        (413, "too large", github("d").saying(vec![b' '; 1025])),
        (415, "no content type", github("d").with("content-type", None)),
        (415, "GitHub as text", plain(github("d"))),
        (415, "Jira as text", plain(jira("a", at))),
        (415, "Discord as text", plain(discord("1", at))),
        (
            400,
            "GitHub without a delivery id",
            github("d").with("x-github-delivery", None),
        ),
        (
            400,
            "GitHub with an empty one",
            github("d").with("x-github-delivery", Some(" ")),
        ),
        (
            400,
            "a form without its payload",
            form.with("content-type", Some("application/x-www-form-urlencoded")),
        ),
        (400, "Jira with two words for an id", jira("two words", at)),
        (400, "Discord without an id", nameless),
    ];
    for (status, what, spoilt) in table {
        let answer = knock(&world, &spoilt).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        assert!(answer.text.ends_with('\n'), "{what}: whoever sent it is told why");
    }
    assert!(deliveries(&world).await.is_empty());
    assert_eq!(counted(&world, "github", "too_large").await, 1);
    assert_eq!(counted(&world, "github", "unsupported").await, 2);
    assert_eq!(counted(&world, "github", "malformed").await, 3);
}

#[tokio::test]
async fn a_forged_request_is_turned_away_before_its_shape_is_looked_at() {
    let world = World::new().await;
    let odd = github_with("guessed", "d")
        .with("content-type", Some("text/plain"))
        .with("x-github-delivery", None);
    assert_eq!(knock(&world, &odd).await.status, 401);
}

#[tokio::test]
async fn what_is_not_there_is_not_there() {
    let off = |env: &mut std::collections::BTreeMap<String, String>| {
        env.insert("STEPHERD__JIRA__ENABLED".into(), "false".into());
    };
    let world = World::with_settings(|_| {}, off).await;
    for platform in ["slack", "GitHub", "jira", "github/x", ""] {
        let url = format!("{}/webhooks/{platform}", world.url);
        let status = world.http.post(url).send().await.unwrap().status();
        assert_eq!(status.as_u16(), 404, "{platform:?}");
    }
    for (method, path) in [
        ("GET", "/webhooks/github"),
        ("DELETE", "/webhooks/github"),
        ("POST", "/api/v1/runs"),
        ("PUT", "/readyz"),
    ] {
        let request = world
            .http
            .request(method.parse().unwrap(), format!("{}{path}", world.url));
        assert_eq!(request.send().await.unwrap().status().as_u16(), 405, "{method} {path}");
    }
}
