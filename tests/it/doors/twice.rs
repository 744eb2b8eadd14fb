//! A key that is given twice says two things, and neither is believed.

use serde_json::Value;
use stepherd::adapters::json;

use super::{Knock, discord, github, jira, knock, now, signed_again};
use crate::world::World;

/// The payload with one of its keys again behind it, with another value.
fn twice(knock: &Knock, key: &str) -> Vec<u8> {
    let body = String::from_utf8(knock.body.clone()).unwrap();
    let (inner, _) = body.rsplit_once('}').unwrap();
    format!("{inner},\"{key}\":{{\"id\":1}}}}").into_bytes()
}

#[test]
fn no_reader_takes_a_key_that_is_given_twice_at_any_depth() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"a":{"b":[{"c":null,"d":1,"c":2}]}}"#,
        r#"[{"a":1},{"b":{},"b":{}}]"#,
    ] {
        let why = json::read(text.as_bytes()).unwrap_err().to_string();
        assert!(why.contains("is given twice"), "{text}: {why}");
    }
    for text in [
        r#"{"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}],"d":-1,"e":1.5,"f":"\n","g":null,"h":true,"A":0}"#,
        "3",
        "[]",
    ] {
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(json::read(text.as_bytes()).unwrap(), plain);
    }
    for text in ["{} {}", "{\"a\":1", "", "nothing"] {
        assert!(json::read(text.as_bytes()).is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_webhook_that_gives_a_key_twice_is_obeyed_nowhere_however_well_it_is_signed() {
    let world = World::new().await;
    let at = now(&world);
    let push = |knock: Knock, body: Vec<u8>| Knock { body, ..knock };
    let plain = github("d-1").with("x-github-event", Some("issue_comment"));
    let body = twice(
        &push(plain.clone(), br#"{"comment":{},"action":"created"}"#.to_vec()),
        "comment",
    );
    let github = signed_again(push(plain, body));
    let told = jira("a-1", at);
    let jira_body = twice(&told, "comment");
    let jira = super::jira_of(&jira_body, "a-1", at);
    for good in [github, jira] {
        assert_eq!(knock(&world, &good).await.status, 202, "{}", good.platform);
    }
    let asked = discord("101", at);
    let discord = super::discord_of_body(twice(&asked, "member"), at);
    assert_eq!(knock(&world, &discord).await.status, 400);
    world.settle().await;
    let all = super::deliveries(&world).await;
    assert_eq!(all.len(), 2);
    for delivery in all {
        assert_eq!(delivery.state, "parked", "{delivery:?}");
        assert!(delivery.note.contains("`comment` is given twice"), "{}", delivery.note);
    }
}
