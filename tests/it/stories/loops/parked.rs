//! What cannot be read is parked alone, and a step whose act is parked fails where people see it.

use sqlx::{Connection as _, Executor as _, SqliteConnection};
use stepherd::domain::run::RunState;
use stepherd::sandbox::town::{TICKET, Town};

use super::{ADA, START};
use crate::world::World;

async fn by_hand(world: &World, statement: &'static str) {
    let mut database = SqliteConnection::connect(&world.database()).await.unwrap();
    database.execute(statement).await.unwrap();
}

#[tokio::test]
async fn a_run_that_cannot_be_read_keeps_nobody_else_waiting() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", START);
    world.deliver().await;
    world.intake().await;
    by_hand(&world, r#"UPDATE runs SET body = '{"v":99}'"#).await;
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    let before = world.town.jira.messages(TICKET).len();
    world.settle().await;
    assert_eq!(world.town.jira.messages(TICKET).len(), before + 1, "the others go on");
    let parked = world.store.effects(Some("parked"), 50).await.unwrap();
    assert!(parked.iter().any(|effect| effect.key.starts_with("act:")), "{parked:?}");
    assert!(
        parked
            .iter()
            .all(|effect| effect.reason.contains("a newer stepherd wrote it"))
    );
    let (_, ready) = world.get("/readyz", Some(Town::api_token())).await;
    assert!(!ready.contains(r#""effects_parked":0"#), "{ready}");
    assert!(
        world
            .metrics
            .render()
            .contains(r#"stepherd_looks_total{outcome="unreadable"}"#)
    );
}

#[tokio::test]
async fn a_step_whose_act_cannot_be_read_fails_and_is_taken_up_again() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", START);
    world.deliver().await;
    world.intake().await;
    by_hand(&world, r#"UPDATE effects SET body = '{"v":99}' WHERE key LIKE 'act:%'"#).await;
    world.settle().await;
    let run = world.run().await;
    let history = format!("{:?}", world.store.history(&run.id).await.unwrap());
    assert!(
        history.contains("a newer stepherd wrote it"),
        "it is told why: {history}"
    );
    let RunState::Active(attempt) = &run.state else {
        panic!("{:?}", run.state);
    };
    assert!(
        attempt.step > 0,
        "a fault of the machinery is tried anew by itself: {attempt:?}"
    );
}
