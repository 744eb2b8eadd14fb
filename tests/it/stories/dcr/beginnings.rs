//! An end needs a beginning: what the service still shows of last month's rebuild neither passes nor fails a step.

use stepherd::domain::run::{Happened, RunState};
use stepherd::sandbox::town::{CHANNEL, REPO, TENANT};

use super::{channel, is_completed, minutes, opened, synced, ticket};
use crate::world::World;

/// The run is at its rebuild, and the service still shows how last month's ended.
async fn after_last_months(world: &World, ended: impl Fn(&World)) {
    world.town.dcr.begin(TENANT);
    world.town.dcr.advance(TENANT, 42.0);
    ended(world);
    world.town.dcr.set_farmers(TENANT, 0);
    let shown = world.town.dcr.flags(TENANT);
    super::approved(world).await;
    let merged = world.town.github.pulls(REPO).unwrap()[1].merged.clone().unwrap();
    world.town.argocd.git_moved(stepherd::sandbox::town::APP, &merged);
    world.town.argocd.finish(stepherd::sandbox::town::APP);
    minutes(world, 1).await;
    // The farmers are there, and the service has not noticed yet.
    world.town.dcr.set_farmers(TENANT, 3);
    world.town.dcr.force_flags(TENANT, shown);
    minutes(world, 2).await;
}

fn step(run: &stepherd::domain::run::Run) -> usize {
    match &run.state {
        RunState::Active(attempt) => attempt.step,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn last_months_success_does_not_pass_the_step() {
    let world = World::new().await;
    after_last_months(&world, |world| world.town.dcr.complete(TENANT)).await;
    assert_eq!(step(&world.run().await), 6);
    let card = ticket(&world).await;
    assert!(
        card.contains("this rebuild to begin; the service still shows the end of an earlier one: completed"),
        "{card}"
    );
    world.town.dcr.force_flags(TENANT, None);
    world.town.dcr.advance(TENANT, 10.0);
    minutes(&world, 1).await;
    assert!(!ticket(&world).await.contains("an earlier one"));
    world.town.dcr.complete(TENANT);
    minutes(&world, 1).await;
    assert!(is_completed(&world.run().await));
}

#[tokio::test]
async fn last_months_failure_does_not_fail_the_step() {
    let world = World::new().await;
    after_last_months(&world, |world| world.town.dcr.fail(TENANT, "disk full")).await;
    assert_eq!(step(&world.run().await), 6);
    let card = ticket(&world).await;
    assert!(card.contains("the end of an earlier one: failed"), "{card}");
    world.town.dcr.force_flags(TENANT, None);
    world.town.dcr.auto_restart(TENANT);
    minutes(&world, 1).await;
    assert_eq!(step(&world.run().await), 6, "it goes on, whoever restarted it");
    world.town.dcr.complete(TENANT);
    minutes(&world, 1).await;
    assert!(is_completed(&world.run().await));
}

#[tokio::test]
async fn an_end_that_is_another_one_counts_though_its_beginning_was_not_seen() {
    let world = World::new().await;
    synced(&world).await;
    world.town.dcr.begin(TENANT);
    world.town.dcr.complete(TENANT);
    world.town.dcr.force_flags(TENANT, world.town.dcr.flags(TENANT));
    world.town.dcr.set_farmers(TENANT, 3);
    minutes(&world, 2).await;
    assert_eq!(step(&world.run().await), 6);
    // Between two looks it begins, is restarted, and ends.
    world.town.dcr.force_flags(TENANT, None);
    world.town.dcr.begin(TENANT);
    world.town.dcr.auto_restart(TENANT);
    world.town.dcr.complete(TENANT);
    minutes(&world, 1).await;
    assert!(is_completed(&world.run().await), "it was restarted once more");
}

#[tokio::test]
async fn where_it_cannot_be_told_people_are_asked_and_their_word_counts() {
    for (said, completes) in [("this", true), ("wait", false)] {
        let world = World::new().await;
        after_last_months(&world, |world| world.town.dcr.complete(TENANT)).await;
        minutes(&world, 27).await;
        assert!(!channel(&world, &opened_or_channel(&world)).await.contains("❓"));
        minutes(&world, 4).await;
        let asked = channel(&world, &opened(&world)).await;
        assert!(
            asked.contains("Is that the end of this run's rebuild, or of an earlier one?"),
            "{asked}"
        );
        let card = ticket(&world).await;
        assert!(card.contains("Rebuild the cache: waits for an answer"), "{card}");
        let answer = format!("/dcr answer {said}");
        world.town.github.comment(REPO, 1, "eve", &answer).unwrap();
        world.settle().await;
        assert_eq!(step(&world.run().await), 6, "eve has no role");
        world.town.github.comment(REPO, 1, "ada", &answer).unwrap();
        minutes(&world, 1).await;
        assert_eq!(is_completed(&world.run().await), completes, "{said}");
        let asked = channel(&world, &opened(&world)).await;
        assert!(asked.contains("Answered by"), "{asked}");
        if !completes {
            minutes(&world, 120).await;
            let history = world.store.history(&world.run().await.id).await.unwrap();
            let asked = history
                .iter()
                .filter(|entry| matches!(entry.what, Happened::Asked { .. }));
            assert_eq!(asked.count(), 1, "nobody is asked twice");
        }
    }
}

#[tokio::test]
async fn a_question_is_withdrawn_when_the_rebuild_begins() {
    let world = World::new().await;
    after_last_months(&world, |world| world.town.dcr.complete(TENANT)).await;
    minutes(&world, 31).await;
    assert!(channel(&world, &opened(&world)).await.contains("or of an earlier one?"));
    world.town.dcr.force_flags(TENANT, None);
    world.town.dcr.advance(TENANT, 3.0);
    minutes(&world, 1).await;
    let asked = channel(&world, &opened(&world)).await;
    assert!(asked.contains("Not answered: the run went on without it"), "{asked}");
    assert!(ticket(&world).await.contains(" 3 %"));
}

/// The thread below the card, if there is one yet.
fn opened_or_channel(world: &World) -> String {
    let threads = world.town.discord.threads(CHANNEL);
    threads
        .first()
        .map_or_else(|| CHANNEL.to_owned(), |thread| thread.0.clone())
}
