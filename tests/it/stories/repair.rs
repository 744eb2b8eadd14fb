//! What people did while stepherd was down takes effect all the same, and once.

mod limits;
mod old;
mod once;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use stepherd::clock::SystemClock;
use stepherd::sandbox::github::NewPr;
use stepherd::sandbox::stage::{Fault, FaultKind, Served, Stage, serve};
use stepherd::sandbox::town::{REPO, SECOND_TICKET, TENANT, TICKET};
use stepherd::store::DeliveryView;
use tokio_util::sync::CancellationToken;

use super::dcr::failed;
use super::scene::at;
use crate::world::World;

const ADA: &str = "557058:ada";
/// How often stepherd looks.
const INTERVAL: Duration = Duration::from_secs(300);
/// How soon it looks again when there is more to find.
const SOON: Duration = Duration::from_secs(30);
/// Longer than any lease.
const LEASES: Duration = Duration::from_secs(700);

/// A world in which stepherd has looked once, a moment ago: from then on everything counts.
async fn watched() -> World {
    let world = World::new().await;
    assert_eq!(world.repair().await, 0);
    world.clock.advance(Duration::from_secs(2));
    world
}

/// The next look, when it is due, and all that follows from it; how much was found.
async fn look(world: &World) -> usize {
    world.clock.advance(INTERVAL);
    let found = world.repair().await;
    world.settle().await;
    found
}

/// Where stepherd should be, somebody else says 503.
async fn closed() -> Served {
    let routes = Router::new().fallback(async || StatusCode::SERVICE_UNAVAILABLE);
    serve(routes, Arc::new(Stage::default()), 0).await.unwrap()
}

/// All webhooks that wait are never sent.
fn lose(world: &World) -> usize {
    world.town.github.lose_deliveries() + world.town.jira.lose_pending()
}

/// What was put into the inbox by looking, oldest first.
async fn repaired(world: &World) -> Vec<DeliveryView> {
    let mut all = world.store.deliveries(None, 1000).await.unwrap();
    all.retain(|delivery| delivery.kind.ends_with(" (repaired)"));
    all.reverse();
    all
}

async fn kinds(world: &World) -> Vec<String> {
    repaired(world)
        .await
        .into_iter()
        .map(|delivery| delivery.kind)
        .collect()
}

/// What counts as repaired, as `platform what count`.
fn counted(world: &World) -> Vec<String> {
    let text = world.metrics.render();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("stepherd_repaired_total{platform=\""));
    let mut counted: Vec<String> = lines
        .map(|line| line.replace("\",what=\"", " ").replace("\"}", ""))
        .filter(|line| !line.ends_with(" 0"))
        .collect();
    counted.sort();
    counted
}

/// How many messages of stepherd's there are in all, and how often they were edited, cards aside.
fn said(world: &World) -> usize {
    let pulls = world.town.github.pulls(REPO).unwrap();
    let threads = pulls.iter().flat_map(|pull| world.messages(pull.number));
    let tickets = [TICKET, SECOND_TICKET];
    let comments = tickets.iter().flat_map(|ticket| world.town.jira.messages(ticket));
    let github = threads.filter(|message| message.author == "stepherd[bot]").count();
    github + comments.filter(|message| message.author == "stepherd").count()
}

/// What people do while nobody listens; the run's first pull request is where its retry is asked for.
async fn meanwhile(world: &World) {
    world.town.dcr.auto_restart(TENANT);
    world.write(1, "ada", "/dcr retry");
    world.town.jira.comment(TICKET, ADA, "/dcr help").await.unwrap();
    world
        .town
        .jira
        .transition(SECOND_TICKET, ADA, "Approved")
        .await
        .unwrap();
}

/// What must have come of it, and how it looks.
async fn came_of_it(world: &World) -> String {
    assert_eq!(world.town.dcr.changing_calls(), 0, "stepherd only looks");
    let runs = world.runs().await;
    let [second, first] = runs.as_slice() else {
        panic!("{} runs", runs.len());
    };
    assert_eq!(
        (at(first), at(second)),
        ("Rebuild 1".to_owned(), "queued behind 1".to_owned())
    );
    let ticket = world.town.jira.messages(TICKET);
    let answers = ticket
        .iter()
        .filter(|message| message.body.contains("/dcr start <tenant>"));
    assert_eq!(answers.count(), 1, "{ticket:?}");
    let mut text = world.thread(1).await;
    for message in ticket {
        text.push_str(&format!(
            "\n\n[{}]\n{}",
            message.author,
            world.as_told(&message.body).await
        ));
    }
    text
}

#[tokio::test]
async fn commands_and_approvals_given_while_stepherd_was_down_take_effect_once() {
    let mut endings = Vec::new();
    for webhooks_are_lost in [true, false] {
        let world = watched().await;
        failed(&world).await;
        assert_eq!(look(&world).await, 0, "what the webhooks told is not found again");
        let down = closed().await;
        world.town.tell(&down.url).unwrap();
        meanwhile(&world).await;
        if webhooks_are_lost {
            assert_eq!(lose(&world), 3);
        } else {
            assert!(world.deliver().await, "and nobody takes them");
        }
        world.clock.advance(LEASES);
        let world = world.restart().await;
        world.settle().await;
        assert_eq!(
            at(&world.runs().await[0]),
            "stopped at Rebuild",
            "nobody has told stepherd"
        );
        assert_eq!(world.repair().await, 3);
        world.settle().await;
        world.clock.advance(SOON);
        assert_eq!(world.repair().await, 0, "and nothing is left");
        let (github, jira) = (
            ["issue_comment.created (repaired)"],
            ["comment_created (repaired)", "jira:issue_updated (repaired)"],
        );
        let mut found = kinds(&world).await;
        found.sort();
        if webhooks_are_lost {
            assert_eq!(found, [jira[0], github[0], jira[1]]);
            assert_eq!(
                counted(&world),
                ["github comment 1", "jira comment 1", "jira transition 1"]
            );
        } else {
            assert_eq!(found, jira);
            assert_eq!(
                counted(&world),
                ["github redelivered 1", "jira comment 1", "jira transition 1"]
            );
        }
        endings.push(came_of_it(&world).await);
        let before = said(&world);
        for _ in 0..4 {
            assert_eq!(look(&world).await, 0);
        }
        // Whatever comes late changes nothing.
        for delivery in world.town.github.deliveries() {
            assert!(world.town.github.redeliver(&delivery.id));
        }
        for delivery in world.town.jira.deliveries() {
            world.town.jira.redeliver(&delivery.id).await;
        }
        world.settle().await;
        came_of_it(&world).await;
        assert_eq!(said(&world), before, "and nobody is answered twice");
    }
    assert_eq!(endings[0], endings[1], "however it was repaired, it looks the same");
}

#[tokio::test]
async fn failed_deliveries_come_again_in_order_so_that_a_push_is_known_before_the_command_on_it() {
    let world = watched().await;
    let down = closed().await;
    world.town.tell(&down.url).unwrap();
    let number = world.open_pull("wish");
    world.clock.advance(Duration::from_secs(2));
    world.write(number, "ada", "/dcr start comcast");
    world.deliver().await;
    let head = world.pull(number).head;
    let world = world.restart().await;
    assert_eq!(
        look(&world).await,
        2,
        "the pull request and the comment are asked for again"
    );
    let run = world.run().await;
    assert_eq!(run.subject.pinned.expect("pinned").head.as_str(), head);
    assert_eq!(counted(&world), ["github redelivered 2"]);
    world.clock.advance(SOON);
    assert_eq!(world.repair().await, 0);
    assert!(
        repaired(&world).await.is_empty(),
        "what came at the door is not put down again"
    );
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn a_command_on_a_push_that_was_never_heard_of_is_answered_and_not_obeyed() {
    let world = watched().await;
    let number = world.open_pull("wish");
    world.clock.advance(Duration::from_secs(2));
    world.write(number, "ada", "/dcr start comcast");
    let more = [("MORE.md", Some("more\n"))];
    world.town.github.push_to_pr(REPO, number, "ada", &more).unwrap();
    lose(&world);
    assert_eq!(look(&world).await, 1);
    assert!(world.runs().await.is_empty());
    let reply = world.last_reply(number).await;
    assert!(
        reply.contains("sha=FULL-COMMIT") || reply.contains("sha=COMMIT") || reply.contains("commit"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_merge_and_a_check_result_that_no_webhook_told_are_found_by_looking() {
    let world = World::new().await;
    world
        .town
        .github
        .block_merging(REPO, Some("Required status check \"ci\" is expected."))
        .unwrap();
    let number = world.started().await;
    let changes = |world: &World| {
        let pulls = world.town.github.pulls(REPO).unwrap();
        pulls
            .into_iter()
            .filter(|pull| pull.number != number)
            .collect::<Vec<_>>()
    };
    let first = changes(&world).pop().expect("the run has opened a pull request");
    assert_eq!(at(&world.run().await), "HistoryUpdateMerge 1");
    // The check that was waited for ends well: stepherd merges.
    world.town.github.block_merging(REPO, None).unwrap();
    world
        .town
        .github
        .finish_check(REPO, &first.head, "ci", "success")
        .unwrap();
    assert!(lose(&world) > 0);
    world.pass(Duration::from_secs(120)).await;
    assert!(world.pull(first.number).merged.is_some());
}

#[tokio::test]
async fn a_merge_by_a_person_that_no_webhook_told_is_found_by_looking() {
    let world = World::new().await;
    world.town.github.require_reviews(REPO, 1).unwrap();
    let number = world.started().await;
    let pulls = world.town.github.pulls(REPO).unwrap();
    let change = pulls.into_iter().find(|pull| pull.number != number).expect("opened");
    let waits = at(&world.run().await);
    world.town.github.approve(REPO, change.number, "grace").unwrap();
    world.town.github.merge_by_person(REPO, change.number, "ada").unwrap();
    assert!(lose(&world) > 0);
    world.settle().await;
    assert_eq!(at(&world.run().await), waits, "nobody told");
    world.pass(Duration::from_secs(120)).await;
    assert_ne!(at(&world.run().await), waits);
}

#[tokio::test]
async fn comments_in_review_threads_are_found_and_answered_there() {
    let world = watched().await;
    let pr = NewPr {
        branch: "wish",
        base: "main",
        title: "A wish",
        body: "",
        files: &[("WISH.md", Some("Please rebuild.\n"))],
        fork: None,
    };
    let number = world.town.github.open_pr_by_person(REPO, "ada", pr).unwrap();
    world.settle().await;
    world.clock.advance(Duration::from_secs(2));
    let root = world
        .town
        .github
        .review_comment(REPO, number, "ada", ("WISH.md", 1), "Is this right?");
    let root = root.unwrap();
    world
        .town
        .github
        .reply_to_review(REPO, number, root, "ada", "/dcr list")
        .unwrap();
    lose(&world);
    assert_eq!(look(&world).await, 1);
    assert_eq!(kinds(&world).await, ["pull_request_review_comment.created (repaired)"]);
    assert_eq!(counted(&world), ["github review_comment 1"]);
    assert_eq!(look(&world).await, 0);
}

#[tokio::test]
async fn a_start_looks_at_once_however_lately_somebody_looked() {
    let world = watched().await;
    let number = world.open_pull("wish");
    world.settle().await;
    assert_eq!(look(&world).await, 0);
    world.write(number, "ada", "/dcr list");
    lose(&world);
    world.clock.advance(Duration::from_secs(5));
    let world = world.restart().await;
    assert_eq!(world.repair().await, 0, "by itself it would not be due");
    assert_eq!(world.repair_at_start().await, 1);
    world.settle().await;
    assert_eq!(world.repair_at_start().await, 0);
    assert_eq!(said(&world), 1);
}

#[tokio::test]
async fn the_engine_itself_looks_when_it_starts_and_ends_in_the_middle_of_a_look_when_told() {
    let world = watched().await;
    let engine = world.replica_by(Arc::new(SystemClock)).await;
    let search = Fault::new("GET", "/search", 1, FaultKind::Delay(Duration::from_secs(3600)));
    world.town.jira.stage.misbehave(search);
    let stop = CancellationToken::new();
    let looked = async {
        let deliveries = || world.town.github.stage().calls_to("GET", "/app/hook/deliveries");
        while deliveries().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(engine.run(stop.clone()), looked) };
    let ended = tokio::time::timeout(Duration::from_secs(60), both).await;
    assert!(
        ended.is_ok(),
        "Jira does not answer for an hour, and nobody waits for it"
    );
}
