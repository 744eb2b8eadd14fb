//! What was said long ago and only found now: nothing begins from it, and whoever said it is told so once.

use std::sync::Arc;
use std::time::Duration;

use stepherd::domain::run::RunState;
use stepherd::sandbox::github::signature;
use stepherd::sandbox::stage::Fault;
use stepherd::sandbox::town::{SECOND_TICKET, Town};

use super::{ADA, look, lose, watched};
use crate::stories::jira::automation_may;
use crate::world::{TestClock, World};

const SECRET: &str = "automation-secret";

const START: &str = "/dcr start comcast ticket=SREPROV-3072";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The messages of stepherd's on the pull request.
fn ours(world: &World, number: u64) -> usize {
    let all = world.messages(number);
    all.iter().filter(|message| message.author == "stepherd[bot]").count()
}

#[tokio::test]
async fn a_start_that_is_days_old_is_not_obeyed_but_answered_once() {
    let world = watched().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", START);
    assert!(lose(&world) > 0);
    world.clock.advance(DAY.mul_f64(6.5));
    assert_eq!(look(&world).await, 1);
    assert!(world.runs().await.is_empty());
    insta::assert_snapshot!(world.thread(number).await, @r"
    [ada]
    /dcr start comcast ticket=SREPROV-3072

    [stepherd[bot]]
    Nothing was done\: you said this at 2026\-11\-18 11\:06 UTC, while stepherd was away or could not act\. If it still holds, say it again\: `/dcr start tenant=comcast ticket=SREPROV-3072`
    ");
    world.clock.advance(DAY / 24);
    assert_eq!(look(&world).await, 0, "it has been answered");
    world.settle().await;
    assert_eq!(ours(&world, number), 1);
    // Said again, it is obeyed.
    world.say(number, "ada", START).await;
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn a_start_that_is_found_within_the_hour_is_obeyed() {
    let world = watched().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", START);
    lose(&world);
    world.clock.advance(Duration::from_secs(50 * 60));
    assert_eq!(look(&world).await, 1);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn the_age_is_configurable() {
    let set = |env: &mut std::collections::BTreeMap<String, String>| {
        env.insert("STEPHERD__ENGINE__COMMAND_MAX_AGE_S".into(), "7200".into());
    };
    let world = World::with_settings(|_| {}, set).await;
    world.repair().await;
    let (number, _) = world.pull_request().await;
    for (waited, runs) in [(8000, 0), (6000, 1)] {
        world.write(number, "ada", START);
        lose(&world);
        world.clock.advance(Duration::from_secs(waited));
        look(&world).await;
        assert_eq!(world.runs().await.len(), runs, "{waited} s");
    }
}

#[tokio::test]
async fn a_retry_that_is_hours_old_resumes_nothing() {
    let world = World::new().await;
    let number = world.failed().await;
    world.repair().await;
    world.clock.advance(Duration::from_secs(2));
    world.write(number, "ada", "/dcr retry");
    lose(&world);
    world.clock.advance(Duration::from_secs(2 * 3600));
    look(&world).await;
    assert!(matches!(world.run().await.state, RunState::Stopped { .. }));
    assert!(world.last_reply(number).await.starts_with("Nothing was done"));
}

#[tokio::test]
async fn a_stop_that_is_hours_old_stops_the_run_that_it_was_said_for() {
    let world = World::new().await;
    let number = world.started().await;
    world.repair().await;
    world.clock.advance(Duration::from_secs(20));
    world.write(number, "ada", "/dcr stop");
    lose(&world);
    world.clock.advance(Duration::from_secs(2 * 3600));
    look(&world).await;
    let told = world.told(&world.run().await).await;
    assert!(told.contains(&"ada said stop".to_owned()), "{told:?}");
}

#[tokio::test]
async fn a_stop_that_is_found_late_leaves_a_newer_run_alone() {
    let world = watched().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr stop");
    lose(&world);
    world.clock.advance(Duration::from_secs(60));
    world.say(number, "ada", START).await;
    look(&world).await;
    let told = world.told(&world.run().await).await;
    assert!(!told.contains(&"ada said stop".to_owned()), "{told:?}");
    insta::assert_snapshot!(world.last_reply(number).await, @r"Nothing was stopped\: you said this at 2026\-11\-18 11\:06 UTC, before **DCR rebuild comcast · SREPROV\-3072 · RUN1** was asked for\. To stop it\: `/dcr stop run=RUN1`");
}

#[tokio::test]
async fn a_stop_that_is_found_late_leaves_a_start_alone_that_was_said_after_it_and_waits() {
    let world = watched().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr stop");
    lose(&world);
    world.clock.advance(Duration::from_secs(60));
    // Whether Grace may cannot be told for a while.
    let down = Fault::answer("GET", "/orgs/acme/teams", 100_000, 502, vec![], "<html>");
    world.town.github.stage().misbehave(down);
    world.say(number, "grace", START).await;
    assert!(look(&world).await > 0, "the stop is found");
    world.town.github.stage().behave();
    world.pass(Duration::from_secs(600)).await;
    let thread = world.thread(number).await;
    assert_eq!(world.runs().await.len(), 1, "{thread}");
}

#[tokio::test]
async fn a_stop_that_is_told_twice_leaves_a_start_alone_that_was_said_between() {
    let world = watched().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", "/dcr stop").await;
    let (_, stop) = world.last_delivery("issue_comment");
    world.clock.advance(Duration::from_secs(60));
    let down = Fault::answer("GET", "/orgs/acme/teams", 100_000, 502, vec![], "<html>");
    world.town.github.stage().misbehave(down);
    world.say(number, "grace", START).await;
    // The repository has a webhook of its own beside the app's: the same comment under another delivery's name.
    let body = stop.to_string();
    let proof = signature(&Town::github_secret_before(), body.as_bytes());
    let proof = ("x-hub-signature-256", proof.as_str());
    assert_eq!(
        world.post_github("issue_comment", "other-hook", &body, proof).await,
        202
    );
    world.pass(Duration::from_secs(5)).await;
    world.town.github.stage().behave();
    world.pass(Duration::from_secs(600)).await;
    let thread = world.thread(number).await;
    assert_eq!(world.runs().await.len(), 1, "{thread}");
}

#[tokio::test]
async fn an_approval_counts_as_long_as_the_ticket_stands_there() {
    let world = watched().await;
    let moved = world.town.jira.transition(SECOND_TICKET, ADA, "Approved").await;
    moved.unwrap();
    lose(&world);
    world.clock.advance(DAY * 3);
    look(&world).await;
    assert_eq!(world.runs().await.len(), 1);
}

/// What became of the newest delivery.
async fn newest_note(world: &World) -> String {
    let newest = world.store.deliveries(None, 1).await.unwrap().pop();
    newest.expect("a delivery").note
}

#[tokio::test]
async fn an_approval_from_before_stepherd_was_first_started_starts_nothing_however_it_is_told() {
    let clock = Arc::new(TestClock::new());
    let town = World::town(&clock).await;
    let moved = town.jira.transition(SECOND_TICKET, ADA, "Approved").await.unwrap();
    town.jira.lose_pending();
    clock.advance(DAY / 24);
    let world = World::in_town(town, clock, automation_may, |env| {
        env.insert("STEPHERD__JIRA__AUTOMATION_SECRET".into(), SECRET.into());
    })
    .await;
    world.repair_at_start().await;
    world.clock.advance(Duration::from_secs(60));
    world.town.jira.redeliver(&moved).await.unwrap();
    world.settle().await;
    assert!(world.runs().await.is_empty());
    insta::assert_snapshot!(newest_note(&world).await, @"too old: the ticket was moved at 2026-11-18T11:06:40Z, before stepherd was first started (2026-11-18T12:06:40Z)");
    // A rule tells of the ticket as it stands now; when it came there Jira knows.
    let told = world.town.jira.deliveries().pop().unwrap().body;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let form = serde_json::json!({ "issue": told["issue"] }).to_string();
    let request = world.http.post(format!("{}/webhooks/jira", world.url));
    let request = request.header("x-automation-webhook-token", SECRET);
    let request = request.header("content-type", "application/json").body(form);
    assert_eq!(request.send().await.unwrap().status(), 202);
    world.settle().await;
    assert!(world.runs().await.is_empty());
    assert!(newest_note(&world).await.starts_with("too old: "));
    assert!(world.town.jira.messages(SECOND_TICKET).is_empty(), "nothing is said");
    // Moved again, it starts.
    for to in ["Open", "Approved"] {
        world.town.jira.transition(SECOND_TICKET, ADA, to).await.unwrap();
    }
    world.settle().await;
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn an_approval_that_is_told_after_more_than_a_week_starts_nothing() {
    for (days, runs) in [(6.9, 1), (7.1, 0)] {
        let world = watched().await;
        let moved = world
            .town
            .jira
            .transition(SECOND_TICKET, ADA, "Approved")
            .await
            .unwrap();
        lose(&world);
        world.clock.advance(DAY.mul_f64(days));
        world.town.jira.redeliver(&moved).await.unwrap();
        world.settle().await;
        assert_eq!(world.runs().await.len(), runs, "{days}: {}", newest_note(&world).await);
    }
}

#[tokio::test]
async fn an_approval_counts_for_a_stepherd_that_was_restarted_after_it() {
    let world = watched().await;
    let moved = world
        .town
        .jira
        .transition(SECOND_TICKET, ADA, "Approved")
        .await
        .unwrap();
    lose(&world);
    world.clock.advance(DAY);
    let world = world.restart().await;
    world.town.jira.redeliver(&moved).await.unwrap();
    world.settle().await;
    assert_eq!(world.runs().await.len(), 1, "{}", newest_note(&world).await);
}

#[tokio::test]
async fn a_command_whose_rights_nobody_can_tell_is_given_up_after_an_hour() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let down = || Fault::answer("GET", "/orgs/acme/teams", 100_000, 502, vec![], "<html>");
    world.town.github.stage().misbehave(down());
    world.say(number, "grace", START).await;
    world.pass(Duration::from_secs(70 * 60)).await;
    world.town.github.stage().behave();
    world.pass(Duration::from_secs(20 * 60)).await;
    assert!(world.runs().await.is_empty());
    assert_eq!(ours(&world, number), 0, "it is not known whether she may");
}
