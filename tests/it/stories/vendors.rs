//! What vendors really do: their clocks are not ours, not all of their servers know of everything at once, and what
//! they refuse now they may allow a moment later.

use std::sync::Arc;
use std::time::Duration;

use stepherd::sandbox::jira::Shape;
use stepherd::sandbox::stage::{Fault, Stage};
use stepherd::sandbox::town::{REPO, TICKET};

use super::scene::at;
use crate::world::{TestClock, World};

const START: &str = "/dcr start comcast ticket=SREPROV-3072";
const ADA: &str = "557058:ada";
const EVIL: [(&str, Option<&str>); 1] = [("EVIL.md", Some("unreviewed\n"))];
const NOT_FOUND: &str = r#"{"message":"Not Found"}"#;
const NOT_ACCESSIBLE: &str = r#"{"message":"Resource not accessible by integration"}"#;

fn misbehave(stage: &Stage, method: &str, path: &str, times: u32, status: u16, body: &str) {
    stage.misbehave(Fault::answer(method, path, times, status, vec![], body));
}

/// So many seconds go by, and as much happens in them as can.
async fn moments(world: &World, seconds: u64) {
    for _ in 0..seconds.div_ceil(5) {
        world.pass(Duration::from_secs(5)).await;
    }
}

async fn notes(world: &World) -> Vec<String> {
    let all = world.store.deliveries(None, 50).await.unwrap();
    all.into_iter().map(|delivery| delivery.note).collect()
}

/// Eve pushes after Ada has said start, and stepherd hears of the push first. GitHub's list of pushes is not there, or
/// does not know of it yet.
async fn pushed_over(ahead: i64, list: (u16, &str)) -> (World, u64) {
    let clock = Arc::new(TestClock::new());
    let town = World::town_ahead(&clock, ahead).await;
    let world = World::in_town(town, clock, |_| {}, |_| {}).await;
    let (number, _) = world.pull_request().await;
    let github = &world.town.github;
    misbehave(github.stage(), "GET", "/activity", 1_000, list.0, list.1);
    github.hold_deliveries();
    world.write(number, "ada", START);
    let comment = world.last_delivery("issue_comment").0;
    world.clock.advance(Duration::from_millis(1500));
    github.push_to_pr(REPO, number, "eve", &EVIL).unwrap();
    let (push, _) = world.last_delivery("pull_request");
    world.clock.advance(Duration::from_millis(500));
    github.release_deliveries(&[push, comment]);
    world.settle().await;
    (world, number)
}

#[tokio::test]
async fn what_was_pushed_after_the_command_is_not_pinned_whatever_githubs_clock_says() {
    let lags = format!(
        r#"[{{"after":"{}","timestamp":"2026-11-18T11:00:00Z"}}]"#,
        "0".repeat(40)
    );
    for ahead in [-30, -4, 0, 4, 30] {
        for list in [(404, NOT_FOUND), (200, "[]"), (200, &lags)] {
            let (world, number) = pushed_over(ahead, list).await;
            moments(&world, 90).await;
            assert!(world.runs().await.is_empty(), "{ahead} {list:?}");
            let reply = world.last_reply(number).await;
            assert!(reply.contains("cannot tell which commit"), "{ahead} {list:?}: {reply}");
        }
    }
}

#[tokio::test]
async fn a_comment_that_cannot_be_read_at_once_is_obeyed_when_it_can_be() {
    for (times, status, body) in [(2, 404, NOT_FOUND), (4, 403, NOT_ACCESSIBLE), (3, 422, "{}")] {
        let world = World::new().await;
        let (number, _) = world.pull_request().await;
        misbehave(
            world.town.github.stage(),
            "GET",
            "/issues/comments/",
            times,
            status,
            body,
        );
        world.say(number, "ada", START).await;
        assert!(world.runs().await.is_empty(), "{status}");
        moments(&world, 80).await;
        assert_eq!(world.runs().await.len(), 1, "{status}: {:?}", notes(&world).await);
    }
    for status in [404, 403] {
        let world = World::new().await;
        misbehave(&world.town.jira.stage, "GET", "/comment/", 2, status, "{}");
        world
            .town
            .jira
            .comment(TICKET, ADA, "/dcr start comcast")
            .await
            .unwrap();
        world.settle().await;
        assert!(world.runs().await.is_empty(), "{status}");
        moments(&world, 80).await;
        assert_eq!(world.runs().await.len(), 1, "{status}: {:?}", notes(&world).await);
    }
}

#[tokio::test]
async fn a_token_that_is_not_given_now_loses_no_comment() {
    for (method, path, status) in [
        ("POST", "/access_tokens", 403),
        ("POST", "/access_tokens", 422),
        ("GET", "/installation", 404),
    ] {
        let world = World::new().await;
        let number = world.open_pull("wish");
        misbehave(
            world.town.github.stage(),
            method,
            path,
            8,
            status,
            r#"{"message":"Suspended"}"#,
        );
        world.settle().await;
        world.clock.advance(Duration::from_secs(2));
        world.say(number, "ada", "/dcr list").await;
        moments(&world, 300).await;
        assert_eq!(
            world.messages(number).len(),
            2,
            "{path} {status}: {:?}",
            notes(&world).await
        );
    }
}

#[tokio::test]
async fn a_move_that_jira_does_not_show_yet_is_looked_for() {
    let world = World::new().await;
    misbehave(&world.town.jira.stage, "GET", &format!("/issue/{TICKET}"), 2, 404, "{}");
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.settle().await;
    assert!(world.runs().await.is_empty());
    moments(&world, 10).await;
    assert_eq!(world.runs().await.len(), 1, "{:?}", notes(&world).await);
}

#[tokio::test]
async fn a_comment_that_comes_without_its_ticket_is_obeyed_there_once() {
    for issue_commented_too in [false, true] {
        let world = World::new().await;
        world.town.jira.set_shape(Shape {
            comment_without_issue: true,
            issue_commented_too,
            ..Shape::default()
        });
        world
            .town
            .jira
            .comment(TICKET, ADA, "/dcr start comcast")
            .await
            .unwrap();
        world.settle().await;
        assert_eq!(world.runs().await.len(), 1, "{:?}", notes(&world).await);
        let place = world.run().await.audience[0].to_string();
        assert_eq!(place, format!("jira:{TICKET}"));
        world.town.jira.comment(TICKET, ADA, "/dcr stop").await.unwrap();
        world.settle().await;
        moments(&world, 60).await;
        let history = world.told(&world.run().await).await;
        let stopped = history.iter().filter(|line| line.contains("said stop")).count();
        assert_eq!(stopped, 1, "{history:?}");
    }
}

#[tokio::test]
async fn what_stepherd_may_not_say_now_is_said_when_it_may() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    misbehave(world.town.github.stage(), "POST", "/comments", 20, 403, NOT_ACCESSIBLE);
    world.say(number, "ada", "/dcr list").await;
    moments(&world, 60).await;
    assert_eq!(world.messages(number).len(), 1);
    assert!(world.store.effects(Some("parked"), 9).await.unwrap().is_empty());
    world.town.github.stage().behave();
    moments(&world, 300).await;
    assert_eq!(world.messages(number).len(), 2);
}

#[tokio::test]
async fn what_was_there_a_moment_ago_and_is_not_found_is_looked_for_again() {
    let head_invalid =
        r#"{"message":"Validation Failed","errors":[{"resource":"PullRequest","field":"head","code":"invalid"}]}"#;
    let no_object = r#"{"message":"Object does not exist"}"#;
    let calm = World::new().await;
    calm.started().await;
    moments(&calm, 20).await;
    let expected = at(&calm.run().await);
    for (method, path, status, body) in [
        ("GET", "/pulls/1", 404, NOT_FOUND),
        ("GET", "/pulls/2", 404, NOT_FOUND),
        ("POST", "/pulls", 422, head_invalid),
        ("POST", "/git/refs", 422, no_object),
        ("PUT", "/merge", 404, NOT_FOUND),
    ] {
        let world = World::new().await;
        world.approved_unheard().await;
        let (number, _) = world.pull_request().await;
        misbehave(world.town.github.stage(), method, path, 1, status, body);
        world.say(number, "ada", START).await;
        moments(&world, 20).await;
        assert!(world.town.github.stage().faults().is_empty(), "{path}: nobody met it");
        assert_eq!(world.runs().await.len(), 1, "{path}: {:?}", notes(&world).await);
        assert_eq!(at(&world.run().await), expected, "{path}");
        let history = world.told(&world.run().await).await;
        assert!(
            !history.iter().any(|line| line.contains("failed")),
            "{path}: {history:?}"
        );
    }
}
