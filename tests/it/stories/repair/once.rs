//! What webhooks told and looking finds again, what must never be obeyed, and several who look at once.

use std::time::Duration;

use stepherd::domain::signal::Proof;
use stepherd::sandbox::github::Level;
use stepherd::sandbox::town::{REPO, TICKET};
use stepherd::store::NewDelivery;

use super::{ADA, INTERVAL, kinds, look, lose, repaired, said, watched};
use crate::world::World;

#[tokio::test]
async fn what_a_webhook_told_is_not_put_down_again() {
    let world = watched().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", "/dcr list").await;
    world.say(number, "ada", "/dcr lst").await;
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.settle().await;
    let before = said(&world);
    for _ in 0..3 {
        assert_eq!(look(&world).await, 0);
    }
    assert!(repaired(&world).await.is_empty());
    assert_eq!((said(&world), world.runs().await.len()), (before, 1));
}

#[tokio::test]
async fn a_comment_that_was_obeyed_is_not_obeyed_again_when_its_repository_is_renamed() {
    for to in ["acme/renamed", "elsewhere/deployment"] {
        let world = watched().await;
        let (number, _) = world.pull_request().await;
        world.say(number, "ada", "/dcr start comcast").await;
        world.say(number, "ada", "/dcr stop").await;
        assert_eq!(world.runs().await.len(), 1);
        world.town.github.move_repo(REPO, to).unwrap();
        for _ in 0..3 {
            assert_eq!(look(&world).await, 0, "{to}");
        }
        assert_eq!(world.runs().await.len(), 1, "{to}");
        assert!(repaired(&world).await.is_empty());
    }
}

/// The keys are the same on both ways, so intake itself would not be fooled either.
#[tokio::test]
async fn even_in_the_inbox_it_would_take_effect_only_once() {
    let world = watched().await;
    let since = stepherd::clock::Clock::now(world.clock.as_ref());
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", "/dcr list").await;
    let root = world
        .town
        .github
        .review_comment(REPO, number, "ada", ("WISH.md", 1), "/dcr list");
    root.unwrap();
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.settle().await;
    let before = said(&world);
    let mut put_down = 0;
    for platform in ["github", "jira"] {
        for missed in world.missed(platform, since).await.deliveries {
            let delivery = NewDelivery {
                platform: platform.parse().unwrap(),
                delivery_id: missed.delivery_id,
                kind: missed.kind,
                proof: Proof::Repaired,
                target: format!("/webhooks/{platform}"),
                headers: missed.headers,
                body: missed.body.into(),
                received_at: since,
                thread: None,
            };
            world.store.record_delivery(&delivery).await.unwrap();
            put_down += 1;
        }
    }
    world.settle().await;
    assert_eq!((said(&world), world.runs().await.len()), (before, 1));
    let notes = world.store.deliveries(None, put_down).await.unwrap();
    let held = notes.iter().filter(|d| d.note == "had already taken effect").count();
    assert_eq!(held, 4, "{notes:?}");
}

#[tokio::test]
async fn what_was_edited_deleted_taken_back_or_said_by_a_bot_is_not_obeyed() {
    let world = watched().await;
    let (number, _) = world.pull_request().await;
    let github = &world.town.github;
    let edited = world.write(number, "ada", "Nothing to see");
    let deleted = world.write(number, "ada", "/dcr start comcast");
    world.write(number, "renovate[bot]", "/dcr start comcast");
    world.write(
        number,
        "ada",
        "Say `/dcr start comcast` to start.\n\n> /dcr start comcast",
    );
    let jira = &world.town.jira;
    let rewritten = jira.comment(TICKET, ADA, "Nothing to see").await.unwrap();
    let removed = jira.comment(TICKET, ADA, "/dcr start comcast").await.unwrap();
    jira.comment(TICKET, "557058:stepherd", "/dcr start comcast")
        .await
        .unwrap();
    jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    github.edit_comment(REPO, edited, "ada", "/dcr start comcast").unwrap();
    github.delete_comment(REPO, deleted, "ada").unwrap();
    jira.edit_comment(TICKET, &rewritten, ADA, "/dcr start comcast")
        .await
        .unwrap();
    jira.delete_comment(TICKET, &removed, ADA).await.unwrap();
    jira.transition(TICKET, ADA, "Open").await.unwrap();
    lose(&world);
    let line = ("WISH.md", 1);
    let review = github.review_comment(REPO, number, "ada", line, "Nothing to see");
    world.clock.advance(Duration::from_secs(5));
    github
        .edit_comment(REPO, review.unwrap(), "ada", "/dcr start comcast")
        .unwrap();
    lose(&world);
    // Only what is about to be obeyed costs GitHub the question whether it was edited.
    assert_eq!(look(&world).await, 2, "{:?}", repaired(&world).await);
    for delivery in repaired(&world).await {
        assert_eq!(delivery.note, "ignored: it was edited");
    }
    assert!(world.runs().await.is_empty());
    assert_eq!(said(&world), 1, "nothing but what it had said itself");
    // Approved for good, the ticket counts.
    jira.transition(TICKET, ADA, "Approved").await.unwrap();
    lose(&world);
    assert_eq!(look(&world).await, 1);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn whoever_may_not_say_it_is_told_so_once() {
    let world = watched().await;
    let (number, _) = world.pull_request().await;
    world.town.github.set_permission(REPO, "eve", Level::Write).unwrap();
    world.write(number, "eve", "/dcr start comcast");
    lose(&world);
    assert_eq!(look(&world).await, 1);
    let reply = world.last_reply(number).await;
    assert!(reply.contains("may not say"), "{reply}");
    assert_eq!(look(&world).await, 0);
    assert_eq!(said(&world), 1);
}

async fn asked_unheard(world: &World) -> u64 {
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr list");
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    lose(world);
    number
}

#[tokio::test]
async fn replicas_that_look_at_once_do_it_once() {
    let world = watched().await;
    asked_unheard(&world).await;
    let replica = world.replica().await;
    for _ in 0..3 {
        world.clock.advance(INTERVAL);
        let (ours, theirs) = tokio::join!(world.repair(), replica.repair_step());
        let found = ours + theirs.unwrap();
        let (ours, theirs) = tokio::join!(world.intake(), replica.intake_step());
        assert_eq!(ours + theirs.unwrap(), found, "and what was found is dealt with once");
        world.settle().await;
    }
    assert_eq!(kinds(&world).await.len(), 2);
    assert_eq!(said(&world), 2);
}

/// A replica dies as soon as it has made this many calls; whether it did before it was done.
async fn dies_at_call(world: &World, call: usize) -> bool {
    let replica = world.replica().await;
    let calls = || world.town.github.stage().calls().len() + world.town.jira.stage.calls().len();
    let last = calls() + call;
    let dying = async {
        while calls() < last {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = replica.repair_step() => {
            assert_eq!(done.unwrap(), 2);
            false
        }
        () = dying => true,
    }
}

#[tokio::test]
async fn whatever_a_dead_replica_was_looking_at_is_looked_at_again_by_another() {
    for call in 1..100 {
        let world = watched().await;
        asked_unheard(&world).await;
        world.clock.advance(INTERVAL);
        let died = dies_at_call(&world, call).await;
        world.repair().await;
        world.clock.advance(Duration::from_secs(301));
        world.repair().await;
        world.settle().await;
        assert_eq!(kinds(&world).await.len(), 2, "{call}");
        assert_eq!(said(&world), 2, "{call}");
        if !died {
            assert!(call > 8, "there is more to it than {call} calls");
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test]
async fn what_is_edited_or_deleted_after_it_was_found_is_not_obeyed_either() {
    let world = watched().await;
    let (number, _) = world.pull_request().await;
    let edited = world.write(number, "ada", "/dcr list");
    let deleted = world.write(number, "ada", "/dcr help");
    let removed = world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    lose(&world);
    world.clock.advance(INTERVAL);
    assert_eq!(world.repair().await, 3);
    world
        .town
        .github
        .edit_comment(REPO, edited, "ada", "/dcr stop")
        .unwrap();
    world.town.github.delete_comment(REPO, deleted, "ada").unwrap();
    world.town.jira.delete_comment(TICKET, &removed, ADA).await.unwrap();
    lose(&world);
    world.settle().await;
    world.pass(Duration::from_secs(90)).await;
    assert_eq!(said(&world), 0);
    let notes = repaired(&world).await.into_iter().map(|delivery| delivery.note);
    let mut notes: Vec<String> = notes.collect();
    notes.sort();
    assert!(notes[0].contains("GitHub") && notes[0].contains("404"), "{notes:?}");
    assert!(notes[1].contains("Jira") && notes[1].contains("404"), "{notes:?}");
    assert_eq!(notes[2..], ["ignored: it was edited"]);
}
