//! Whose words count: not stepherd's own, not another program's, and no word twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stepherd::sandbox::stage::Fault;
use stepherd::sandbox::town::REPO;

use super::START;
use crate::world::{TestClock, World};

#[tokio::test]
async fn nobody_is_obeyed_before_github_has_said_which_account_is_stepherds_own() {
    let clock = Arc::new(TestClock::new());
    let town = World::town(&clock).await;
    let settings = town.settings_with_token().unwrap();
    // It looks like a person who may do everything.
    town.github
        .add_team_member("acme", "sre", "stepherd-bot", true)
        .unwrap();
    let away = Fault::answer("GET", "/user", 1000, 503, vec![], "");
    town.github.stage().misbehave(away);
    let set = |env: &mut BTreeMap<String, String>| {
        let token = settings.get("STEPHERD__GITHUB__TOKEN").cloned().unwrap();
        env.retain(|key, _| {
            !key.starts_with("STEPHERD__GITHUB__APP_ID") && !key.starts_with("STEPHERD__GITHUB__PRIVATE")
        });
        env.insert("STEPHERD__GITHUB__TOKEN".to_owned(), token);
    };
    let world = World::in_town(town, clock, |_| {}, set).await;
    let (number, _) = world.pull_request().await;
    world.say(number, "stepherd-bot", START).await;
    world.say(number, "ada", START).await;
    assert!(world.runs().await.is_empty(), "nobody knows who that was");
    world.town.github.stage().behave();
    world.pass(Duration::from_secs(900)).await;
    let runs = world.runs().await;
    let by: Vec<&str> = runs.iter().map(|run| run.asked_by.name.as_str()).collect();
    assert_eq!(by, ["ada"]);
}

/// Somebody rotates stepherd's key, and for a while GitHub knows neither the old one nor the new one.
#[tokio::test]
async fn while_stepherds_own_credentials_are_refused_a_command_waits_and_nobody_is_refused() {
    for refused in ["/issues/comments/", "/memberships/", ""] {
        let world = World::new().await;
        let (number, _) = world.pull_request().await;
        let bad = r#"{"message":"Bad credentials"}"#;
        let unauthorized = Fault::answer("GET", refused, 10_000, 401, vec![], bad);
        world.town.github.stage().misbehave(unauthorized);
        world.say(number, "grace", START).await;
        world.pass(Duration::from_secs(60)).await;
        assert_eq!(world.messages(number).len(), 1, "{refused}: nobody is refused");
        let waiting = world.store.deliveries(Some("pending"), 9).await.unwrap();
        assert_eq!(waiting.len(), 1, "{refused}: it is kept");
        let note = &waiting[0].note;
        let named = note.contains("stepherd's own credentials are refused") && note.contains("401 Bad credentials");
        assert!(named, "{refused}: {note}");
        world.town.github.stage().behave();
        world.pass(Duration::from_secs(200)).await;
        assert_eq!(world.run().await.asked_by.name, "grace", "{refused}");
    }
}

#[tokio::test]
async fn what_another_app_writes_in_a_persons_name_is_not_obeyed() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let comment = world.town.github.comment_via_app(REPO, number, "ada", START, 99);
    comment.unwrap();
    world.settle().await;
    assert!(world.runs().await.is_empty());
    assert_eq!(world.messages(number).len(), 1, "and it is not answered");
    world.say(number, "ada", START).await;
    assert_eq!(world.runs().await.len(), 1, "but her own words are");
}
