//! Secrets go in and never come out: not into the database, not into any answer.

use std::path::Path;

use stepherd::sandbox::jira::Signing;
use stepherd::sandbox::town::{CHANNEL, REPO, TICKET, Town};

use super::{discord, github, github_with, jira, jira_by, knock, now};
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

/// The database's files as they are on the disk now.
fn on_disk(database: &str) -> Vec<u8> {
    let path = Path::new(database.trim_start_matches("sqlite:"));
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("stepherd.db"))
        {
            bytes.extend(std::fs::read(file).unwrap());
        }
    }
    assert!(bytes.len() > 10_000, "there is something to look through");
    bytes
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
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
    let cookie = github("d-1")
        .and("cookie", "session=cookie-canary")
        .and("authorization", "Basic basic-canary");
    for good in [&oauth, &connect, &automation, &in_query, &cookie] {
        let answer = knock(&world, good).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    world.settle().await;
    let bytes = on_disk(&world.database());
    assert!(
        holds(&bytes, "x-atlassian-webhook-identifier"),
        "the headers that matter are kept"
    );
    for canary in [
        bearer.as_str(),
        jwt.as_str(),
        OAUTH,
        CONNECT,
        AUTOMATION,
        "cookie-canary",
        "basic-canary",
    ] {
        assert!(!holds(&bytes, canary), "{canary} is in the database");
    }
    for name in ["authorization", "x-automation-webhook-token", "cookie"] {
        assert!(
            !holds(&bytes, &format!("\"{name}\"")),
            "the header {name} is in the database"
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
    let bytes = on_disk(&world.database());
    let secrets = secrets(&world);
    assert!(secrets.len() > 20, "the private key's lines are among them");
    for secret in secrets.iter().map(String::as_str).chain([OAUTH, CONNECT, AUTOMATION]) {
        assert!(!holds(&bytes, secret), "{secret} is in the database");
        for answer in &answers {
            assert!(!answer.contains(secret), "{secret} is in an answer: {answer}");
        }
    }
}

#[test]
fn the_search_would_find_a_secret() {
    assert!(holds(b"abc secret def", "secret"));
    assert!(!holds(b"abc secre", "secret"));
}
