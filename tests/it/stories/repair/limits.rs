//! How far is looked back, and platforms that cannot be looked at.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use stepherd::adapters::{Catchup, Missed, Ours};
use stepherd::domain::ids::Platform;
use stepherd::sandbox::stage::{Fault, FaultKind};
use stepherd::sandbox::town::{CLUSTER_REPO, REPO, TICKET};
use tokio::sync::Notify;

use super::{ADA, SOON, kinds, look, lose, said, watched};
use crate::world::{TestClock, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Ada asks in both places, and no webhook tells.
async fn asked_unheard(world: &World) -> u64 {
    let number = world.open_pull("wish");
    world.write(number, "ada", "/dcr list");
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    lose(world);
    number
}

#[tokio::test]
async fn nothing_from_before_the_first_start_is_ever_obeyed() {
    let world = World::new().await;
    asked_unheard(&world).await;
    world.clock.advance(Duration::from_secs(60));
    for _ in 0..4 {
        assert_eq!(look(&world).await, 0);
    }
    assert_eq!(said(&world), 0);
}

#[tokio::test]
async fn what_was_said_more_than_a_week_ago_is_not_obeyed_and_the_rest_is() {
    let world = watched().await;
    asked_unheard(&world).await;
    world.clock.advance(5 * DAY);
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    lose(&world);
    world.clock.advance(3 * DAY);
    assert_eq!(look(&world).await, 1);
    assert_eq!(kinds(&world).await, ["comment_created (repaired)"]);
    assert_eq!(look(&world).await, 0);
}

/// A platform that takes the question and never answers.
struct Hangs {
    asked: Arc<Notify>,
}

#[async_trait]
impl Catchup for Hangs {
    fn platform(&self) -> Platform {
        "github".parse().unwrap()
    }

    async fn missed(&self, _ours: &Ours, _since: Timestamp, _now: Timestamp) -> Missed {
        self.asked.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn what_a_look_did_not_see_that_took_too_long_is_found_by_the_next_one() {
    let world = watched().await;
    let number = world.open_pull("wish");
    world.write(number, "ada", "/dcr list");
    lose(&world);
    world.clock.advance(Duration::from_secs(3600));
    let asked = Arc::new(Notify::new());
    let mut hands = world.hands().clone();
    let hangs: Arc<dyn Catchup> = Arc::new(Hangs { asked: asked.clone() });
    hands.catchups = std::iter::once(("github".parse().unwrap(), hangs)).collect();
    let engine = world.replica_with(world.store.clone(), hands, world.clock.clone());
    let look = tokio::spawn(async move { engine.repair_step().await });
    asked.notified().await;
    world.clock.advance(Duration::from_secs(240));
    assert_eq!(look.await.unwrap().unwrap(), 0);
    assert_eq!(world.repair().await, 0, "not at once");
    world.clock.advance(SOON);
    assert_eq!(world.repair().await, 1);
    assert_eq!(kinds(&world).await, ["issue_comment.created (repaired)"]);
}

#[tokio::test]
async fn with_an_interval_of_zero_nothing_is_looked_for() {
    let set = |env: &mut std::collections::BTreeMap<String, String>| {
        env.insert("STEPHERD__ENGINE__REPAIR_INTERVAL_S".into(), "0".into());
    };
    let world = World::with_settings(|_| {}, set).await;
    assert_eq!(look(&world).await, 0);
    asked_unheard(&world).await;
    assert_eq!(look(&world).await, 0);
    assert!(world.town.jira.stage.calls_to("GET", "/search").is_empty());
}

#[tokio::test]
async fn what_was_missed_while_stepherds_own_credentials_are_refused_is_found_when_they_are_mended() {
    let world = watched().await;
    asked_unheard(&world).await;
    // Longer ago than is looked at twice anyway.
    world.clock.advance(Duration::from_secs(3600));
    for (stage, path) in [
        (world.town.github.stage(), "/issues/comments"),
        (&*world.town.jira.stage, "/issue/"),
    ] {
        stage.misbehave(Fault::answer("GET", path, 10_000, 401, vec![], "{}"));
    }
    for _ in 0..5 {
        assert_eq!(look(&world).await, 0);
    }
    world.town.github.stage().behave();
    world.town.jira.stage.behave();
    assert_eq!(look(&world).await, 2);
}

#[tokio::test]
async fn a_platform_in_trouble_hinders_no_other_and_loses_nothing() {
    let world = watched().await;
    let number = asked_unheard(&world).await;
    // Longer ago than is looked at twice anyway.
    world.clock.advance(Duration::from_secs(3600));
    let fails = |times| Fault::new("GET", "/repos/acme/deployment/issues/comments", times, FaultKind::Cut);
    world.town.github.stage().misbehave(fails(3));
    assert_eq!(look(&world).await, 1, "Jira was looked at");
    assert_eq!(kinds(&world).await, ["comment_created (repaired)"]);
    world.clock.advance(SOON);
    assert_eq!(world.repair().await, 1, "and GitHub soon after");
    world.settle().await;
    assert_eq!(world.messages(number).len(), 2);
    // The other way round.
    world.write(number, "ada", "/dcr list");
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    lose(&world);
    world
        .town
        .jira
        .stage
        .misbehave(Fault::new("GET", "/search", 3, FaultKind::EffectThenTruncated));
    assert_eq!(look(&world).await, 1);
    world.clock.advance(SOON);
    assert_eq!(world.repair().await, 1);
    world.settle().await;
    assert_eq!(said(&world), 4);
}

#[tokio::test]
async fn a_repository_in_trouble_hinders_no_other() {
    let world = watched().await;
    let number = asked_unheard(&world).await;
    let path = format!("/repos/{CLUSTER_REPO}/");
    world
        .town
        .github
        .stage()
        .misbehave(Fault::new("GET", &path, 3, FaultKind::Cut));
    assert_eq!(
        look(&world).await,
        2,
        "what was found counts, although not everything was looked at"
    );
    assert_eq!(world.messages(number).len(), 2);
    // One that stepherd may not read at all is left out.
    world.write(number, "ada", "/dcr list");
    lose(&world);
    let refused = Fault::answer("GET", &path, 9, 404, Vec::new(), r#"{"message":"Not Found"}"#);
    world.town.github.stage().misbehave(refused);
    assert_eq!(look(&world).await, 1);
}

#[tokio::test]
async fn a_platform_that_asks_to_be_left_alone_is_left_alone() {
    let world = watched().await;
    asked_unheard(&world).await;
    world
        .town
        .github
        .stage()
        .misbehave(Fault::secondary_limit("GET", "/hook/deliveries", 1, Some(900)));
    assert_eq!(look(&world).await, 1, "only Jira was looked at");
    let calls = || world.town.github.stage().calls().len();
    let before = calls();
    assert_eq!(look(&world).await, 0);
    assert_eq!(calls(), before);
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(world.repair().await, 1);
}

#[tokio::test]
async fn with_a_plain_token_comments_are_found_too() {
    for named in [None, Some("ACME/deployment")] {
        let clock = std::sync::Arc::new(TestClock::new());
        let town = World::town(&clock).await;
        let settings = town.settings_with_token().unwrap();
        let set = |env: &mut std::collections::BTreeMap<String, String>| {
            env.retain(|name, _| !name.starts_with("STEPHERD__GITHUB__"));
            env.extend(
                settings
                    .into_iter()
                    .filter(|(name, _)| name.starts_with("STEPHERD__GITHUB__")),
            );
            env.extend(named.map(|name| ("STEPHERD__GITHUB__REPOSITORIES".to_owned(), name.to_owned())));
        };
        let world = World::in_town(town, clock, |_| {}, set).await;
        assert_eq!(look(&world).await, 0);
        world.clock.advance(Duration::from_secs(2));
        let number = world.open_pull("wish");
        world.say(number, "ada", "/dcr list").await;
        world.write(number, "ada", "/dcr help");
        lose(&world);
        assert_eq!(
            look(&world).await,
            1,
            "{named:?}: the first one was told, whatever the name's case"
        );
        assert_eq!(world.town.github.thread(REPO, number).unwrap().len(), 4);
        assert_eq!(look(&world).await, 0);
        let listed = !world.town.github.stage().calls_to("GET", "/user/repos").is_empty();
        assert_eq!(listed, named.is_none());
        assert!(world.town.github.stage().calls_to("GET", "/app").is_empty());
    }
}

#[tokio::test]
async fn what_a_list_shows_late_is_found_all_the_same() {
    let world = watched().await;
    world.clock.advance(Duration::from_secs(3600));
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    lose(&world);
    world.town.jira.hide(TICKET, true);
    assert_eq!(look(&world).await, 0);
    world.town.jira.hide(TICKET, false);
    assert_eq!(look(&world).await, 1);
}

#[tokio::test]
async fn a_stranger_with_a_hundred_repositories_does_not_keep_ours_from_being_looked_through() {
    let world = watched().await;
    let number = world.open_pull("wish");
    world.settle().await;
    world.clock.advance(Duration::from_secs(2));
    // Anybody may install the app on repositories of their own, and push there as often as they like.
    for n in 0..101 {
        world.town.github.add_repo(&format!("eve/r{n}"), &[]).unwrap();
    }
    world.write(number, "ada", "/dcr list");
    lose(&world);
    assert_eq!(look(&world).await, 1);
    let there = world.town.github.stage().calls_to("GET", "/repos/eve/");
    assert!(there.is_empty(), "{there:?}");
}
