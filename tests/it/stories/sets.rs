//! Sets of jobs at a real back-end: what the first failure does to the others, and what becomes of starts that were on
//! their way by then.

use std::path::Path;
use std::time::Duration;

use stepherd::sandbox::argocd::Beat;
use stepherd::sandbox::stage::{Fault, FaultKind};
use stepherd::sandbox::town::{APP, TENANT};

use super::scene::at;
use crate::world::World;

/// The application of the job `b`; `a` syncs the tenant's own.
const OTHER: &str = "dcr-globex";

/// A pipeline of one step: two applications are synced side by side, and looked at every second.
fn pair(dir: &Path, on_failure: &str) {
    let path = dir.join("config/pipelines/dcr.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let head = &text[..text.find("[[step]]").unwrap()];
    let head = head.replace("progress_of = \"Rebuild\"", "");
    let step = format!(
        r#"
[[step]]
name = "Pair"
title = "Sync both"
kind = "work"
timeout = "2h"
every = "1s"
{on_failure}

[[step.job]]
name = "a"
backend = "argocd"
start = true
with = {{ app = "{APP}", project = "dcr" }}

[[step.job]]
name = "b"
backend = "argocd"
start = true
with = {{ app = "{OTHER}", project = "dcr" }}
"#
    );
    std::fs::write(path, format!("{head}{step}")).unwrap();
}

/// Both syncs are asked for, the first of which will fail. The pull request where it was said.
async fn started(world: &World) -> u64 {
    world.town.argocd.fail_next_sync(APP, "a hook failed");
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", &format!("/dcr start {TENANT}")).await;
    assert_eq!(at(&world.run().await), "Pair 1");
    number
}

/// The same, where the second sync is asked for, but no answer comes through for a while; and then the first fails.
async fn failed_while_the_other_starts(world: &World) -> u64 {
    let stage = &world.town.argocd.stage;
    stage.misbehave(Fault::new(
        "POST",
        &format!("{OTHER}/sync"),
        1,
        FaultKind::EffectThenCut,
    ));
    let number = started(world).await;
    assert_eq!(world.town.argocd.syncs(OTHER), 1);
    stage.misbehave(Fault::new("GET", OTHER, 100, FaultKind::Cut));
    world.town.argocd.advance(OTHER);
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(2)).await;
    assert_eq!(at(&world.run().await), "stopped at Pair");
    number
}

fn told_to_end(world: &World) -> usize {
    world.town.argocd.stage.calls_to("DELETE", OTHER).len()
}

async fn card(world: &World, number: u64) -> String {
    world.as_told(&world.messages(number)[1].body).await
}

#[tokio::test]
async fn what_runs_is_left_running_and_a_retry_takes_it_up() {
    let world = World::with(|dir| pair(dir, "")).await;
    let number = started(&world).await;
    world.town.argocd.advance(OTHER);
    world.pass(Duration::from_secs(2)).await;
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(at(&world.run().await), "stopped at Pair");
    let notice = world.last_reply(number).await;
    let left = "**Left running\\:** [b](<https://argocd/applications/dcr-globex>)";
    assert!(notice.contains("a hook failed") && notice.contains(left), "{notice}");
    assert!(card(&world, number).await.contains(left));
    world.town.argocd.stage.forget_calls();
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(
        world.town.argocd.stage.calls().len(),
        0,
        "nothing more is started or looked at"
    );

    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(2)).await;
    assert_eq!(at(&world.run().await), "Pair 2");
    assert_eq!((world.town.argocd.syncs(APP), world.town.argocd.syncs(OTHER)), (2, 1));
    world.town.argocd.finish(APP);
    world.town.argocd.finish(OTHER);
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(at(&world.run().await), "completed");
    assert_eq!(told_to_end(&world), 0);
}

#[tokio::test]
async fn a_stop_after_the_failure_ends_what_was_left_running() {
    let world = World::with(|dir| pair(dir, "on_failure = \"leave\"")).await;
    let number = failed_while_the_other_starts(&world).await;
    assert!(card(&world, number).await.contains("**May run\\:** b"));
    world.say(number, "ada", "/dcr stop").await;
    world.town.argocd.stage.behave();
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(told_to_end(&world), 1);
    world.town.argocd.finish(OTHER);
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(at(&world.run().await), "canceled");
    let words = world.last_reply(number).await;
    assert!(
        words.contains("b\\: ended as failed\\: Operation terminated"),
        "{words}"
    );
}

#[tokio::test]
async fn a_start_that_gets_through_after_the_failure_is_followed_by_its_end() {
    let world = World::with(|dir| pair(dir, "on_failure = \"cancel\"")).await;
    let number = failed_while_the_other_starts(&world).await;
    world.town.argocd.stage.behave();
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(told_to_end(&world), 1);
    assert!(card(&world, number).await.contains("**Told to end\\:** b"));
    world.town.argocd.finish(OTHER);
    world.say(number, "ada", "/dcr stop").await;
    world.pass(Duration::from_secs(5)).await;
    let words = world.last_reply(number).await;
    assert!(
        words.contains("b\\: ended as failed\\: Operation terminated"),
        "{words}"
    );
}

#[tokio::test]
async fn a_start_of_the_attempt_before_does_not_end_the_job_that_a_retry_took_up() {
    let world = World::with(|dir| pair(dir, "on_failure = \"cancel\"")).await;
    let number = failed_while_the_other_starts(&world).await;
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(1)).await;
    world.town.argocd.stage.behave();
    world.pass(Duration::from_secs(1800)).await;
    assert_eq!(at(&world.run().await), "Pair 2");
    assert_eq!(told_to_end(&world), 0);
    assert_eq!((world.town.argocd.syncs(APP), world.town.argocd.syncs(OTHER)), (2, 1));
    world.town.argocd.finish(APP);
    world.town.argocd.finish(OTHER);
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(at(&world.run().await), "completed");
}

#[tokio::test]
async fn a_set_that_drains_fails_when_the_others_have_ended() {
    let world = World::with(|dir| pair(dir, "on_failure = \"drain\"")).await;
    started(&world).await;
    world.town.argocd.advance(OTHER);
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "Pair 1");
    world.town.argocd.finish(OTHER);
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(at(&world.run().await), "stopped at Pair");
    assert_eq!(told_to_end(&world), 0);
}

/// Both operations have ended; neither application is where it should be.
#[tokio::test]
async fn a_stop_waits_for_operations_and_not_for_applications() {
    let world = World::with(|dir| pair(dir, "")).await;
    let argocd = &world.town.argocd;
    argocd.script_next_sync(APP, vec![Beat::Running, Beat::Succeeded]);
    argocd.degrade_next_sync(OTHER);
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", &format!("/dcr start {TENANT}")).await;
    argocd.finish(APP);
    argocd.finish(OTHER);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "Pair 1");
    world.say(number, "ada", "/dcr stop").await;
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(at(&world.run().await), "canceled");
    let words = world.last_reply(number).await;
    assert!(
        words.contains("b\\: was told to end, and nothing of it is there"),
        "{words}"
    );
    assert_eq!(world.town.argocd.stage.calls_to("DELETE", "").len(), 0);
}

/// Somebody syncs the tenant's application by hand, and a run comes to sync it. The pull request where it was said.
async fn blocked(world: &World) -> u64 {
    assert!(world.town.argocd.sync_by(APP, "grace"));
    world.town.argocd.advance(APP);
    let (number, _) = world.pull_request().await;
    world.say(number, "ada", &format!("/dcr start {TENANT}")).await;
    number
}

async fn tries_that_failed(world: &World) -> u32 {
    let run = world.run().await;
    let effects = world.store.effects_of(&run.id).await.unwrap();
    effects.iter().map(|effect| effect.failures).sum()
}

#[tokio::test]
async fn somebody_elses_operation_is_waited_for_until_the_steps_own_time_is_over() {
    let world = World::with(|dir| pair(dir, "")).await;
    let number = blocked(&world).await;
    world.pass(Duration::from_secs(60)).await;
    let shown = card(&world, number).await;
    let waits =
        "**Waiting for\\:** Argo CD to end another operation on dcr\\-comcast\\: by grace, under way since 2026";
    assert!(shown.contains(waits), "{shown}");
    assert!(
        shown.contains("Sync both\\: waiting") && !shown.contains("Nothing to do"),
        "{shown}"
    );
    let history = world.store.history(&world.run().await.id).await.unwrap().len();
    world.pass(Duration::from_secs(6000)).await;
    assert_eq!(at(&world.run().await), "Pair 1");
    assert_eq!((tries_that_failed(&world).await, world.town.argocd.syncs(APP)), (0, 0));
    assert_eq!(world.store.history(&world.run().await.id).await.unwrap().len(), history);
    world.pass(Duration::from_secs(1200)).await;
    assert_eq!(at(&world.run().await), "stopped at Pair");
    let notice = world.last_reply(number).await;
    assert!(
        notice.contains("timed out after 2 hours; it waited for: Argo CD to end"),
        "{notice}"
    );
    assert!(!notice.contains("May run"), "{notice}");

    world.town.argocd.finish(APP);
    world.town.argocd.finish(OTHER);
    world.say(number, "ada", "/dcr retry").await;
    world.pass(Duration::from_secs(20)).await;
    assert_eq!(world.town.argocd.syncs(APP), 1);
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(at(&world.run().await), "completed");
}

#[tokio::test]
async fn a_sync_begins_soon_after_the_operation_that_was_in_its_way_or_never_when_somebody_says_stop() {
    for stop in [false, true] {
        let world = World::with(|dir| pair(dir, "")).await;
        let number = blocked(&world).await;
        world.pass(Duration::from_secs(1800)).await;
        world.town.argocd.finish(OTHER);
        if stop {
            world.say(number, "ada", "/dcr stop").await;
        }
        world.town.argocd.finish(APP);
        world.pass(Duration::from_secs(30)).await;
        world.town.argocd.finish(APP);
        world.pass(Duration::from_secs(5)).await;
        let ended = if stop { "canceled" } else { "completed" };
        assert_eq!(at(&world.run().await), ended);
        assert_eq!(world.town.argocd.syncs(APP), u32::from(!stop));
    }
}
