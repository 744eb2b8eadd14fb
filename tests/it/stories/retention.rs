//! Time passes: lists shrink, and what is under way stays.

use std::time::Duration;

use stepherd::sandbox::town::TENANT;

use super::scene::at;
use crate::world::World;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The run whose rebuild is under way, seen to its end.
async fn complete(world: &World) {
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "completed");
}

#[tokio::test]
async fn what_has_ended_is_forgotten_in_time_and_said_in_metrics() {
    let world = World::new().await;
    let first = world.rebuilding().await;
    complete(&world).await;
    let ended = world.run().await.id;
    let (id, _) = world.last_delivery("issue_comment");
    let deliveries = world.store.deliveries(None, 500).await.unwrap().len();
    assert!(deliveries > 3 && !world.store.effects_of(&ended).await.unwrap().is_empty());
    assert_eq!(world.retire().await, 0, "nothing is old");

    world.clock.advance(DAY * 31);
    world.say(first, "ada", "/dcr help").await;
    let gone = world.retire().await;
    assert_eq!(gone, deliveries as u64, "all of them, and no run");
    let listed = world.store.deliveries(None, 500).await.unwrap();
    assert!(
        !listed.is_empty() && listed.len() < deliveries,
        "what came since is there"
    );
    assert_eq!(world.runs().await.len(), 1);
    assert!(!world.store.history(&ended).await.unwrap().is_empty());
    let rendered = world.metrics.render();
    assert!(
        rendered.contains(&format!("stepherd_retired_total{{kind=\"deliveries\"}} {deliveries}")),
        "{rendered}"
    );
    // The delivery is forgotten, what it did is not.
    assert!(world.town.github.redeliver(&id));
    world.settle().await;
    assert_eq!(world.runs().await.len(), 1);

    world.clock.advance(DAY * 335);
    assert!(world.retire().await > 0);
    assert!(world.runs().await.is_empty());
    assert!(world.store.run(&ended).await.unwrap().is_none());
    // Whoever still asks is answered.
    world.say(first, "ada", &format!("/dcr status run={ended}")).await;
    let answer = world.last_reply(first).await;
    assert!(answer.contains(ended.as_str()), "{answer}");
    assert!(world.store.effects(Some("parked"), 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_run_that_is_under_way_for_years_keeps_all_it_has() {
    let world = World::new().await;
    world.started().await;
    let run = world.run().await;
    let shown = world.store.history(&run.id).await.unwrap().len();
    let effects = world.store.effects_of(&run.id).await.unwrap().len();
    // Nobody looks at it meanwhile: stepherd was off.
    world.clock.advance(DAY * 500);
    assert!(world.retire().await > 0, "deliveries and keys");
    assert_eq!(world.store.run(&run.id).await.unwrap().unwrap(), run);
    assert_eq!(world.store.history(&run.id).await.unwrap().len(), shown);
    assert_eq!(world.store.effects_of(&run.id).await.unwrap().len(), effects);
    for opened in run.prs.values() {
        let head = world
            .store
            .head_before(&opened.pr, stepherd::clock::Clock::now(&*world.clock))
            .await
            .unwrap();
        assert!(head.is_some(), "the heads of its pull requests are known");
    }
}

#[tokio::test]
async fn what_is_to_be_kept_for_ever_is() {
    let set = |env: &mut std::collections::BTreeMap<String, String>| {
        for key in ["DELIVERIES", "RUNS", "ACCEPTED"] {
            env.insert(format!("STEPHERD__RETENTION__{key}_DAYS"), "0".into());
        }
    };
    let world = World::with_settings(|_| {}, set).await;
    world.started().await;
    world.clock.advance(DAY * 5000);
    assert_eq!(world.retire().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rounds_are_made_without_anybody_asking() {
    let world = World::new().await;
    world.pull_request().await;
    assert!(!world.store.deliveries(None, 9).await.unwrap().is_empty());
    world.clock.advance(DAY * 31);
    let stop = tokio_util::sync::CancellationToken::new();
    let engine = world.engine();
    let time = async {
        let mut seconds = 0;
        while !world.store.deliveries(None, 9).await.unwrap().is_empty() {
            world.clock.advance(Duration::from_secs(1));
            seconds += 1;
            assert!(seconds < 10_000, "nobody comes");
        }
        assert!(seconds >= 60, "after a start there is more urgent work");
        stop.cancel();
    };
    tokio::join!(engine.run(stop.clone()), time);
}
