//! How Jira proves itself, and what becomes of what proves itself and cannot be read.

use std::path::Path;

use serde_json::Value;
use stepherd::sandbox::jira::{Automation, Shape, Signing};
use stepherd::sandbox::town::{TICKET, Town};
use url::Url;

use super::{ADA, notes};
use crate::stories::dcr::{approved, minutes};
use crate::world::World;

/// A world whose Jira may prove itself in all four ways.
pub(super) async fn of_four_proofs() -> World {
    World::with_settings(automation_may, |env| {
        for (key, value) in [
            ("OAUTH_CLIENT_SECRET", "oauth-secret"),
            ("CONNECT_SHARED_SECRET", "connect-secret"),
            ("AUTOMATION_SECRET", "automation-secret"),
        ] {
            env.insert(format!("STEPHERD__JIRA__{key}"), value.into());
        }
    })
    .await
}

/// The account of Automation's rules may do what Ada may.
pub(in crate::stories) fn automation_may(dir: &Path) {
    let path = dir.join("config/people.toml");
    let mut people = std::fs::read_to_string(&path).unwrap();
    people.push_str("\n[[person]]\nname = \"automation\"\njira = \"automation\"\n");
    people = people.replace(
        "name = \"operator\"\npersons = [\"ada\"]",
        "name = \"operator\"\npersons = [\"ada\", \"automation\"]",
    );
    std::fs::write(path, people).unwrap();
}

pub(super) fn of_a_rule() -> Shape {
    Shape {
        automation: Some(Automation::IssueData),
        ..Shape::default()
    }
}

fn oauth(secret: &str) -> Signing {
    Signing::OAuth {
        client_id: "client".into(),
        client_secret: secret.into(),
    }
}

pub(super) fn connect(secret: &str) -> Signing {
    Signing::Connect {
        client_key: "site".into(),
        shared_secret: secret.into(),
        base_path: String::new(),
    }
}

pub(super) fn automation(value: &str) -> Signing {
    Signing::Automation {
        header: "X-Automation-Webhook-Token".into(),
        value: value.into(),
    }
}

pub(super) fn admin(secret: &str) -> Signing {
    Signing::Admin { secret: secret.into() }
}

#[tokio::test]
async fn jira_proves_itself_in_four_ways() {
    for proof in [
        admin("jira-webhook-secret"),
        oauth("oauth-secret"),
        connect("connect-secret"),
        automation("automation-secret"),
    ] {
        let world = of_four_proofs().await;
        if proof == automation("automation-secret") {
            world.town.jira.set_shape(of_a_rule());
        }
        let url = Url::parse(&format!("{}/webhooks/jira", world.url)).unwrap();
        world.town.jira.set_webhook(Some(url), proof);
        approved(&world).await;
        assert_eq!(world.runs().await.len(), 1);
    }
}

#[tokio::test]
async fn what_jira_cannot_prove_is_turned_away_and_not_kept() {
    let world = of_four_proofs().await;
    let url = Url::parse(&format!("{}/webhooks/jira", world.url)).unwrap();
    let forged = [
        admin("wrong"),
        oauth("wrong"),
        oauth("connect-secret"),
        connect("wrong"),
        connect("oauth-secret"),
        automation("wrong"),
        Signing::Unsigned,
    ];
    let count = forged.len();
    for (n, proof) in forged.into_iter().enumerate() {
        world.town.jira.set_webhook(Some(url.clone()), proof);
        let to = if n % 2 == 0 { "Approved" } else { "Open" };
        let id = world.town.jira.transition(TICKET, ADA, to).await.unwrap();
        world.deliver().await;
        let sent = world.town.jira.deliveries().into_iter().find(|d| d.id == id).unwrap();
        assert_eq!(sent.attempts.last().map(|a| a.status), Some(401), "{n}");
    }
    assert!(world.store.deliveries(None, 10).await.unwrap().is_empty());
    assert!(world.runs().await.is_empty());
    let (_, text) = world
        .get("/metrics", Some(stepherd::sandbox::town::Town::api_token()))
        .await;
    let line = text
        .lines()
        .find(|l| l.contains("platform=\"jira\"") && l.contains("outcome=\"forged\""));
    assert!(line.is_some_and(|l| l.ends_with(&format!(" {count}"))), "{text}");
}

#[tokio::test]
async fn an_automation_rules_body_starts_a_run_when_automation_may() {
    for (shape, allowed) in [
        (Automation::IssueData, true),
        (Automation::Flat, true),
        (Automation::IssueData, false),
    ] {
        let world = World::with_settings(
            |dir| {
                if allowed {
                    automation_may(dir);
                }
            },
            |env| {
                env.insert("STEPHERD__JIRA__AUTOMATION_SECRET".into(), "automation-secret".into());
            },
        )
        .await;
        let url = Url::parse(&format!("{}/webhooks/jira", world.url)).unwrap();
        world.town.jira.set_webhook(Some(url), automation("automation-secret"));
        world.town.jira.set_shape(Shape {
            automation: Some(shape),
            ..Shape::default()
        });
        approved(&world).await;
        minutes(&world, 1).await;
        assert_eq!(
            world.runs().await.len(),
            usize::from(allowed),
            "{:?}",
            notes(&world, 10).await
        );
        if !allowed {
            assert!(
                world.town.jira.messages(TICKET).is_empty(),
                "it has no role, so it gets no answer"
            );
        }
    }
}

#[tokio::test]
async fn a_verified_but_unreadable_delivery_is_parked_listed_and_replayable_and_never_loops() {
    let world = World::new().await;
    let url = Url::parse(&format!("{}/webhooks/jira", world.url)).unwrap();
    let body = r#"{"webhookEvent":"jira:issue_updated","changelog":{"id":"1","items":[{"fieldId":"status","to":"10011"}]},"issue":42}"#;
    let (name, value) = admin("jira-webhook-secret")
        .header("POST", &url, body.as_bytes(), jiff::Timestamp::UNIX_EPOCH)
        .unwrap();
    let request = world
        .http
        .post(url)
        .header(name, value)
        .header("content-type", "application/json")
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), 202);
    minutes(&world, 10).await;
    let parked = world.store.deliveries(Some("parked"), 10).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].attempts, 1, "looked at once");
    insta::assert_snapshot!(parked[0].note, @"$.issue: expected an object, found a number");
    let attention = async || {
        let ready: Value = serde_json::from_str(&world.get("/readyz", Some(Town::api_token())).await.1).unwrap();
        ready["attention"]["deliveries_parked"].clone()
    };
    assert_eq!(attention().await, 1);
    use stepherd::clock::Clock as _;
    assert!(
        world
            .store
            .replay_delivery(parked[0].seq, world.clock.now())
            .await
            .unwrap()
    );
    minutes(&world, 10).await;
    let parked = world.store.deliveries(Some("parked"), 10).await.unwrap();
    assert_eq!(parked.len(), 1, "it is parked again");
    assert_eq!(attention().await, 1);
}
