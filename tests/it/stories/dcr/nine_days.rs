//! The main flow as its users know it: nine days, two failures, a restart from outside each time, two retries, and
//! nobody ever told the service to do anything.

use std::time::Duration;

use stepherd::domain::run::RunState;
use stepherd::sandbox::town::{REPO, TENANT, TICKET};

use super::{is_completed, minutes, synced, ticket};
use crate::world::World;

const LOOK: Duration = Duration::from_secs(2 * 3600);

/// The rebuild gets from one percentage to another, evenly.
async fn days(world: &World, days: u32, (from, to): (f64, f64)) {
    let looks = days * 12;
    for look in 1..=looks {
        world.town.dcr.advance(
            TENANT,
            (from + (to - from) * f64::from(look) / f64::from(looks)).floor(),
        );
        look_again(world).await;
    }
}

async fn look_again(world: &World) {
    world.clock.advance(LOOK);
    world.settle().await;
}

/// How many messages on the ticket have this in their first line.
fn told(world: &World, text: &str) -> usize {
    let said = world.town.jira.messages(TICKET);
    said.iter()
        .filter(|message| message.body.lines().next().is_some_and(|line| line.contains(text)))
        .count()
}

async fn done_by(world: &World) -> String {
    let card = ticket(world).await;
    let line = card.lines().find(|line| line.starts_with("- Done by: "));
    line.unwrap_or_else(|| panic!("{card}")).to_owned()
}

#[tokio::test]
async fn nine_days_with_two_failures_two_restarts_and_two_retries_end_well_and_nothing_was_started() {
    let world = World::with(|dir| {
        let path = dir.join("config/pipelines/dcr.toml");
        let plan = std::fs::read_to_string(&path).unwrap();
        let (before, rebuild) = plan.split_once("name = \"Rebuild\"").unwrap();
        let rebuild = rebuild.replace("every = \"30s\"", "every = \"2h\"");
        std::fs::write(path, format!("{before}name = \"Rebuild\"{rebuild}")).unwrap();
    })
    .await;
    synced(&world).await;
    let town = &world.town;
    town.dcr.set_desired_farmers(TENANT, 30);
    town.dcr.set_farmers(TENANT, 3);
    minutes(&world, 1).await;
    look_again(&world).await;
    assert!(
        ticket(&world)
            .await
            .contains("There: 3 of min 3, 3 of 30 farmers in hidden state")
    );
    days(&world, 3, (0.0, 42.0)).await;
    let slow = done_by(&world).await;
    assert!(slow.contains("UTC, at the rate of late"), "{slow}");

    town.dcr.fail(TENANT, "disk full");
    look_again(&world).await;
    assert_eq!(told(&world, "❌ Rebuild failed at 42 %"), 1);
    assert!(matches!(world.run().await.state, RunState::Stopped { .. }));
    town.dcr.auto_restart(TENANT);
    look_again(&world).await;
    look_again(&world).await;
    assert_eq!(told(&world, "(restart 1): it goes on at 42 %"), 1, "told once");
    assert!(
        matches!(world.run().await.state, RunState::Stopped { .. }),
        "and not followed unasked"
    );
    town.github.comment(REPO, 1, "ada", "/dcr retry").unwrap();
    world.settle().await;
    look_again(&world).await;
    assert!(matches!(world.run().await.state, RunState::Active(_)));

    // More farmers, so it gets on faster.
    town.dcr.set_farmers(TENANT, 12);
    days(&world, 1, (42.0, 61.0)).await;
    assert!(
        ticket(&world)
            .await
            .contains("There: 3 of min 3, 12 of 30 farmers in hidden state")
    );
    town.dcr.fail(TENANT, "shard 7 is damaged");
    look_again(&world).await;
    assert_eq!(told(&world, "❌ Rebuild failed at 61 %"), 1);
    town.dcr.restart_anew(TENANT);
    look_again(&world).await;
    assert_eq!(told(&world, "(restart 2): it began again at 0 %, was 61 %"), 1);
    town.github.comment(REPO, 1, "ada", "/dcr retry").unwrap();
    world.settle().await;
    look_again(&world).await;
    assert_eq!(
        done_by(&world).await,
        "- Done by: unknown",
        "after a reset nobody knows"
    );

    days(&world, 5, (0.0, 99.0)).await;
    town.dcr.complete(TENANT);
    look_again(&world).await;
    assert!(is_completed(&world.run().await));
    assert_eq!(town.jira.status(TICKET).as_deref(), Some("Done"));
    assert_eq!(town.dcr.changing_calls(), 0);
    let history = world.store.history(&world.run().await.id).await.unwrap();
    let lines: Vec<String> = history
        .iter()
        .map(|entry| stepherd::domain::card::happened(&entry.what))
        .filter(|line| line.starts_with("Rebuild: ") || line.starts_with("resumed"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    Rebuild: attempt 1 began
    Rebuild: failed at 42 %: disk full
    Rebuild: rebuild failed at 42 % and was restarted by the service (restart 1): it goes on at 42 %; it had failed: disk full; there: 3 of min 3, 3 of 30 farmers in hidden state before, 3 of min 3, 3 of 30 now; the run does not follow it
    resumed by ada
    Rebuild: found still running or done; nothing was started
    Rebuild: failed at 61 %: shard 7 is damaged
    Rebuild: rebuild failed at 61 % and was restarted by the service (restart 2): it began again at 0 %, was 61 %; it had failed: shard 7 is damaged; there: 3 of min 3, 12 of 30 farmers in hidden state before, 3 of min 3, 12 of 30 now; the run does not follow it
    resumed by ada
    Rebuild: found still running or done; nothing was started
    Rebuild: passed
    ");
}

#[tokio::test]
async fn a_rebuild_that_does_not_get_on_is_told_after_half_a_day() {
    let world = World::new().await;
    super::rebuilding(&world, 30.0).await;
    for _ in 0..11 {
        world.clock.advance(Duration::from_secs(3600));
        world.settle().await;
    }
    assert!(matches!(world.run().await.state, RunState::Active(_)));
    world.clock.advance(Duration::from_secs(3700));
    world.settle().await;
    let RunState::Stopped { why, .. } = world.run().await.state else {
        panic!("it stands still")
    };
    assert!(
        why.reason
            .starts_with("no progress and no change of state for 12 hours"),
        "{}",
        why.reason
    );
}
