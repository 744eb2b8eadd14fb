//! Secrets go in and never come out: not into the database, not into any answer.

use stepherd::sandbox::jira::Signing;
use stepherd::sandbox::town::{CHANNEL, REPO, TICKET, Town};

use super::{discord, github, github_with, jira, jira_by, knock, now};
use crate::stored::everything;
use crate::world::World;

/// The values of all settings that are secret, and single lines of those that have several.
fn secrets(world: &World) -> Vec<String> {
    let secret =
        |key: &str| ["SECRET", "TOKEN", "KEY"].iter().any(|word| key.contains(word)) && !key.ends_with("PUBLIC_KEY");
    let settings = world.town.settings();
    let values = settings
        .iter()
        .filter(|(key, _)| secret(key))
        .flat_map(|(_, value)| value.lines());
    values
        .filter(|line| line.len() > 8 && !line.starts_with("-----"))
        .map(str::to_owned)
        .collect()
}

/// Where this stands in the database, if anywhere.
fn found(stored: &[(String, String)], needle: &str) -> Option<String> {
    stored
        .iter()
        .find(|(_, text)| text.contains(needle))
        .map(|(place, _)| place.clone())
}

const OAUTH: &str = "oauth-client-secret-canary-of-some-length";
const CONNECT: &str = "connect-shared-secret-canary-of-some-length";
const AUTOMATION: &str = "automation-secret-canary";

async fn world() -> World {
    World::with_settings(
        |_| {},
        |env| {
            for (key, value) in [
                ("OAUTH_CLIENT_SECRET", OAUTH),
                ("CONNECT_SHARED_SECRET", CONNECT),
                ("AUTOMATION_SECRET", AUTOMATION),
            ] {
                env.insert(format!("STEPHERD__JIRA__{key}"), value.to_owned());
            }
        },
    )
    .await
}

#[tokio::test]
async fn what_a_request_proved_itself_with_is_not_kept() {
    let world = world().await;
    let at = now(&world);
    let oauth = jira_by(
        &Signing::OAuth {
            client_id: "c".into(),
            client_secret: OAUTH.into(),
        },
        "a-1",
        at,
    );
    let connect = Signing::Connect {
        client_key: "k".into(),
        shared_secret: CONNECT.into(),
        base_path: String::new(),
    };
    let connect = jira_by(&connect, "a-2", at);
    let automation = Signing::Automation {
        header: "X-Automation-Webhook-Token".into(),
        value: AUTOMATION.into(),
    };
    let automation = jira_by(&automation, "a-3", at);
    let token = |knock: &super::Knock| knock.header("authorization").split(' ').next_back().unwrap().to_owned();
    let (bearer, jwt) = (token(&oauth), token(&connect));
    let mut in_query = connect
        .clone()
        .with("authorization", None)
        .with("x-atlassian-webhook-identifier", Some("a-4"));
    in_query.query = format!("?jwt={jwt}");
    let mut encoded = in_query.clone().with("x-atlassian-webhook-identifier", Some("a-5"));
    encoded.query = format!("?%6a%77t={jwt}");
    let strange = discord("100000000000000001", at).and("x-api-key", "key-canary");
    let cookie = github("d-1")
        .and("cookie", "session=cookie-canary")
        .and("authorization", "Basic basic-canary")
        .and("x-forwarded-access-token", "proxy-canary");
    for good in [&oauth, &connect, &automation, &in_query, &encoded, &cookie] {
        let answer = knock(&world, good).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    assert_eq!(knock(&world, &strange).await.status, 200);
    world.settle().await;
    let stored = everything(&world.database()).await;
    for there in [
        "x-github-event: ping",
        "x-signature-timestamp: 17",
        "Keep it logically awesome.",
    ] {
        assert!(
            found(&stored, there).is_some(),
            "what reading needs is kept, and found: {there}"
        );
    }
    for canary in [
        bearer.as_str(),
        jwt.as_str(),
        OAUTH,
        CONNECT,
        AUTOMATION,
        "cookie-canary",
        "basic-canary",
        "key-canary",
        "proxy-canary",
        strange.header("x-signature-ed25519"),
        cookie.header("x-hub-signature-256"),
    ] {
        assert_eq!(found(&stored, canary), None, "{canary} is in the database");
    }
    let kept = ["content-type: ", "x-github-event: ", "x-signature-timestamp: "];
    for (place, header) in stored.iter().filter(|(place, _)| place.starts_with("a header of")) {
        assert!(
            kept.iter().any(|kept| header.starts_with(kept)),
            "{place} is kept: {header}"
        );
    }
}

#[tokio::test]
async fn no_secret_is_in_the_database_or_in_any_answer_after_a_day_of_work() {
    let world = world().await;
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.pass(std::time::Duration::from_secs(120)).await;
    world.town.github.comment(REPO, 1, "ada", "/dcr status").unwrap();
    world.town.github.comment(REPO, 1, "eve", "/dcr stop").unwrap();
    let at = now(&world);
    let mut answers = Vec::new();
    for request in [
        github("d-1"),
        github_with("guessed", "d-2"),
        jira("a-1", at),
        discord("100000000000000001", at),
    ] {
        answers.push(knock(&world, &request).await.text);
    }
    world.settle().await;
    let run = world.run().await.id;
    for path in [
        "/readyz",
        "/metrics",
        "/api/v1/runs",
        &format!("/api/v1/runs/{run}"),
        "/nothing",
    ] {
        answers.push(world.get(path, Some(Town::api_token())).await.1);
    }
    for message in world.town.jira.messages(TICKET) {
        answers.push(message.body);
    }
    for message in world.town.github.thread(REPO, 1).unwrap() {
        answers.push(message.body);
    }
    answers.push(format!("{:?}", world.town.discord.messages(CHANNEL)));
    let stored = everything(&world.database()).await;
    let secrets = secrets(&world);
    assert!(secrets.len() > 20, "the private key's lines are among them");
    for secret in secrets.iter().map(String::as_str).chain([OAUTH, CONNECT, AUTOMATION]) {
        assert_eq!(found(&stored, secret), None, "{secret} is in the database");
        for answer in &answers {
            assert!(!answer.contains(secret), "{secret} is in an answer: {answer}");
        }
    }
}

#[tokio::test]
async fn the_search_would_find_a_secret() {
    let world = World::new().await;
    let body = br#"{"zen":"body-canary-body-canary"}"#.as_slice();
    for id in ["d-1", "d-2"] {
        assert_eq!(
            knock(&world, &super::signed_again(github(id).saying(body)))
                .await
                .status,
            202
        );
    }
    world.settle().await;
    let stored = everything(&world.database()).await;
    let place = found(&stored, "body-canary-body-canary");
    assert_eq!(
        place.as_deref(),
        Some("the body of delivery d-2 of github"),
        "however it is packed"
    );
    assert_eq!(found(&stored, "d-1").as_deref(), Some("deliveries.delivery_id"));
    assert_eq!(found(&stored, "nowhere-canary"), None);
}
