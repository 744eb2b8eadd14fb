//! In which order and how often platforms are told.

use std::time::Duration;

use stepherd::sandbox::stage::Fault;
use stepherd::sandbox::town::TENANT;

use super::{everywhere, rebuilding, second};
use crate::world::World;

#[tokio::test]
async fn after_a_limit_a_status_goes_before_a_comment_and_a_comment_before_an_edit() {
    let world = rebuilding().await;
    let stage = world.town.github.stage();
    stage.misbehave(Fault::secondary_limit("PATCH", "/check-runs/", 2, Some(60)));
    world.town.dcr.fail(TENANT, "farmer-3 lost");
    second(&world).await;
    assert!(stage.faults().is_empty());
    stage.forget_calls();
    world.pass(Duration::from_secs(90)).await;
    let order: Vec<&str> = stage
        .calls()
        .iter()
        .filter_map(|call| match call.method.as_str() {
            "PATCH" if call.path.contains("/check-runs/") => Some("status"),
            "POST" if call.path.contains("/comments") => Some("comment"),
            "PATCH" if call.path.contains("/comments/") => Some("edit"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["status", "status", "comment", "comment", "edit", "edit"]);
}

#[tokio::test]
async fn a_thread_is_not_edited_more_often_than_the_spacing_and_shows_the_last_state() {
    let world = rebuilding().await;
    let edits = |world: &World| {
        [
            world.town.github.stage().calls_to("PATCH", "/issues/comments/").len(),
            world.town.jira.stage.calls_to("PUT", "/comment/").len(),
            world.town.discord.stage.calls_to("PATCH", "/messages/").len(),
        ]
    };
    let mut when: [Vec<u32>; 3] = Default::default();
    let mut before = edits(&world);
    for now in 1..=20_u32 {
        world.town.dcr.advance(TENANT, f64::from(10 + now));
        second(&world).await;
        let after = edits(&world);
        for (vendor, times) in when.iter_mut().enumerate() {
            if after[vendor] > before[vendor] {
                times.push(now);
            }
        }
        before = after;
    }
    for (vendor, times) in when.iter().enumerate() {
        assert!(
            times.windows(2).all(|pair| pair[1] - pair[0] >= 5),
            "{vendor}: {times:?}"
        );
        assert!((3..=5).contains(&times.len()), "{vendor}: {times:?}");
    }
    world.pass(Duration::from_secs(6)).await;
    for thread in everywhere(&world).await {
        assert!(thread.contains("30"), "{thread}");
    }
    let seen = world.run().await;
    assert_eq!(stepherd::domain::standing::progress(&seen).as_f64(), 30.0);
}
