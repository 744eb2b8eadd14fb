//! Looks that come to nothing are counted in a row.

use std::time::Duration;

use stepherd::sandbox::stage::Fault;

use crate::stories::dcr::rebuilding;
use crate::world::World;

/// Time passes until the next looks have come to nothing, so many.
async fn misses(world: &World, times: usize) {
    let stage = &world.town.dcr.stage;
    for _ in 0..times {
        stage.misbehave(Fault::answer("GET", "", 1, 502, vec![], "{}"));
        for _ in 0..60 {
            world.pass(Duration::from_secs(5)).await;
            if stage.faults().is_empty() {
                break;
            }
        }
        assert!(stage.faults().is_empty(), "nobody has looked");
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
