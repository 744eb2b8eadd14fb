//! Looks that come to nothing are counted in a row, and one that hangs keeps nobody else waiting.

use std::time::Duration;

use stepherd::clock::Clock as _;
use stepherd::domain::ids::RunId;
use stepherd::domain::run::Run;
use stepherd::sandbox::stage::Fault;
use stepherd::store::{Commit, Committed, RunWrite};

use super::{Holds, running};
use crate::stories::dcr::rebuilding;
use crate::world::World;

/// Time passes until the next looks have come to nothing, so many.
async fn misses(world: &World, times: usize) {
    let stage = &world.town.dcr.stage;
    for _ in 0..times {
        stage.misbehave(Fault::answer("GET", "", 1_000, 502, vec![], "{}"));
        stage.forget_calls();
        while stage.calls_to("GET", "").is_empty() {
            world.pass(Duration::from_secs(5)).await;
        }
        stage.behave();
    }
}

/// Time passes until a look has seen something.
async fn sees(world: &World) {
    let stage = &world.town.dcr.stage;
    stage.forget_calls();
    while stage.calls_to("GET", "").is_empty() {
        world.pass(Duration::from_secs(5)).await;
    }
}

async fn says_that_it_cannot_be_reached(world: &World) -> bool {
    format!("{:?}", world.run().await.state).contains("cannot be read now")
}

#[tokio::test]
async fn only_looks_that_come_to_nothing_one_after_the_other_mean_that_a_back_end_cannot_be_reached() {
    let world = World::new().await;
    rebuilding(&world, 40.0).await;
    for _ in 0..3 {
        misses(&world, 2).await;
        assert!(!says_that_it_cannot_be_reached(&world).await, "that happens");
        sees(&world).await;
    }
    misses(&world, 2).await;
    assert!(!says_that_it_cannot_be_reached(&world).await);
    misses(&world, 1).await;
    assert!(says_that_it_cannot_be_reached(&world).await, "three in a row");
    sees(&world).await;
    assert!(!says_that_it_cannot_be_reached(&world).await, "it is there again");
}

#[tokio::test]
async fn a_look_that_hangs_keeps_no_other_run_from_being_looked_at() {
    let world = World::new().await;
    rebuilding(&world, 42.0).await;
    // Another run that waits for the same back-end.
    let other = Run {
        id: RunId::from_bits(1),
        version: 1,
        ..world.run().await
    };
    let write = RunWrite {
        run: other,
        expected: None,
        wake: Some(world.clock.now()),
    };
    let commit = Commit {
        run: Some(write),
        ..Commit::default()
    };
    let now = world.clock.now();
    assert_eq!(world.store.commit(&commit, now).await, Ok(Committed::Done));
    let holds = Holds::first(1, "GET", "");
    let stage = &world.town.dcr.stage;
    stage.attend(holds.clone());
    stage.forget_calls();
    let _engine = running(&world);
    let mut seconds = 0;
    // The one that is held is recorded when it is let in.
    while stage.calls_to("GET", "").len() < 3 {
        assert!(seconds < 300, "nobody has looked");
        seconds += 1;
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((holds.held(), holds.given_up()), (1, 0));
}
