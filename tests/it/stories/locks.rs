//! One rebuild per tenant: queues and whose turn it is, and what `stop` undoes in every phase of a run.

use std::path::Path;
use std::time::Duration;

use stepherd::domain::run::{Phase, Run, RunState};
use stepherd::sandbox::stage::{Fault, FaultKind};
use stepherd::sandbox::town::{APP, OTHER_TENANT, REPO, TENANT};

use super::scene::at;
use crate::store_law::samples;
use crate::world::{Turn, World};

/// Where the runs stand, oldest first.
async fn standing(world: &World) -> Vec<String> {
    world.runs().await.iter().rev().map(at).collect()
}

/// The run asked for at this place, 1 being the first.
async fn nth(world: &World, place: usize) -> Run {
    let mut runs = world.runs().await;
    runs.reverse();
    runs.swap_remove(place - 1)
}

/// Somebody starts another run; each is asked for a second after the one before.
async fn start(world: &World, number: u64, tenant: &str) {
    world.clock.advance(Duration::from_secs(1));
    world.say(number, "ada", &format!("/dcr start {tenant}")).await;
}

async fn stop(world: &World, number: u64, place: usize) {
    let run = nth(world, place).await.id;
    world.say(number, "ada", &format!("/dcr stop run={run}")).await;
}

#[tokio::test]
async fn the_second_run_of_a_tenant_waits_says_its_place_and_starts_when_the_first_ends() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    start(&world, number, TENANT).await;
    start(&world, number, TENANT).await;
    assert_eq!(standing(&world).await, ["Sync 1", "queued behind 1"]);
    let card = world.messages(number).pop().unwrap();
    insta::assert_snapshot!(world.as_told(&card.body).await, @r#"
        ### ⏳ DCR rebuild comcast · RUN2 — waits in line, 1 before it

        - **Position\:** 1st in line; before it\: `RUN1`
        - **Restarts\:** 0
        - **Commit\:** `COMMIT` of acme/deployment\#1
        - **Asked by\:** ada, 2026\-11\-18 11\:06 UTC

        * ▫️ Note the rebuild in the tenant\'s history
        * ▫️ Merge the history
        * ▫️ Switch the farmers on
        * ▫️ Merge the farm\'s start
        * ▫️ Sync the farm
        * ▫️ Wait for farmers
        * ▫️ Rebuild the cache
        * ▫️ Close the ticket

        It starts by itself when its turn comes\. To give up\: `/dcr stop run=RUN2`
    "#);
    world.sync_and_rebuild(TENANT).await;
    assert_eq!(standing(&world).await, ["Rebuild 1", "queued behind 1"]);
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(standing(&world).await, ["completed", "Sync 1"]);
    let told = world.told(&nth(&world, 2).await).await;
    assert_eq!(
        told[1..3],
        ["waits in line with 1 before it", "HistoryUpdate: attempt 1 began"]
    );
}

#[tokio::test]
async fn when_the_middle_one_of_three_gives_up_the_last_moves_up() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    for _ in 0..3 {
        start(&world, number, TENANT).await;
    }
    assert_eq!(standing(&world).await, ["Sync 1", "queued behind 1", "queued behind 2"]);
    stop(&world, number, 2).await;
    assert_eq!(standing(&world).await, ["Sync 1", "canceled", "queued behind 1"]);
    world.pass(Duration::from_secs(10)).await;
    let said = world.messages(number);
    let card = said
        .iter()
        .rev()
        .find(|message| message.body.contains("waits in line"))
        .unwrap();
    assert!(card.body.contains("1 before it"), "{}", card.body);
    // A queued run had done nothing, and says so.
    let notice = said
        .iter()
        .find(|message| message.body.contains("was stopped by ada"))
        .unwrap();
    assert!(
        notice.body.contains("nothing had been changed anywhere"),
        "{}",
        notice.body
    );
    stop(&world, number, 1).await;
    // Argo CD can end a sync only once it has taken it up.
    world.town.argocd.advance(APP);
    world.pass(Duration::from_secs(30)).await;
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(standing(&world).await, ["canceled", "canceled", "Sync 1"]);
    let said = world.messages(number);
    let ending = said
        .iter()
        .rfind(|message| message.body.contains("was stopped by ada"))
        .unwrap();
    insta::assert_snapshot!(world.as_told(&ending.body).await, @r"
    ⏹️ **DCR rebuild comcast · RUN1** was stopped by ada\. What is left\:

    - sync\: ended as failed\: Operation terminated
    - HistoryUpdate\: acme/deployment\#2 stays merged as COMMIT
    - StartFarm\: acme/deployment\#3 stays merged as COMMIT
    - the farm of comcast stays on; to switch it off\: set farmers\.enabled to false in tenants/comcast/farm\.yaml of acme/deployment, and sync dcr\-comcast
    ");
}

#[tokio::test]
async fn a_failed_run_keeps_its_lock_until_somebody_decides() {
    let world = World::new().await;
    let number = world.failed().await;
    start(&world, number, TENANT).await;
    world.pass(Duration::from_secs(3600)).await;
    assert_eq!(standing(&world).await, ["stopped at Rebuild", "queued behind 1"]);
    let first = nth(&world, 1).await.id;
    world.town.dcr.auto_restart(TENANT);
    world.say(number, "ada", &format!("/dcr retry run={first}")).await;
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(standing(&world).await, ["Rebuild 1", "queued behind 1"]);
    world.town.dcr.fail(TENANT, "farmer-1 lost");
    world.pass(Duration::from_secs(30)).await;
    stop(&world, number, 1).await;
    assert_eq!(standing(&world).await, ["canceled", "Sync 1"]);
}

#[tokio::test]
async fn runs_of_different_tenants_do_not_wait_for_each_other() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    start(&world, number, TENANT).await;
    start(&world, number, OTHER_TENANT).await;
    assert_eq!(standing(&world).await, ["Sync 1", "Sync 1"]);
    world.sync_and_rebuild(TENANT).await;
    world.sync_and_rebuild(OTHER_TENANT).await;
    assert_eq!(standing(&world).await, ["Rebuild 1", "Rebuild 1"]);
    assert_eq!(nth(&world, 2).await.params[&"farmers_min".parse().unwrap()], "5");
    world.town.dcr.complete(OTHER_TENANT);
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(standing(&world).await, ["Rebuild 1", "completed"]);
}

#[tokio::test]
async fn two_starts_dealt_with_at_the_same_moment_do_not_both_get_the_lock() {
    let world = World::new().await;
    // In two threads: in one, the second would wait for its turn.
    let other = world.open_pull("other");
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr start comcast");
    world.deliver().await;
    let second = async {
        world.write(other, "grace", "/dcr start comcast");
        world.deliver().await;
        world.intake().await
    };
    assert_eq!(tokio::join!(world.intake(), second), (1, 1));
    world.settle().await;
    let mut standing = standing(&world).await;
    standing.sort();
    assert_eq!(standing, ["Sync 1", "queued behind 1"]);
}

#[tokio::test]
async fn of_two_starts_in_one_thread_the_second_waits_for_the_first() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr start comcast");
    world.deliver().await;
    let second = async {
        world.write(number, "grace", "/dcr start comcast");
        world.deliver().await;
        world.intake().await
    };
    assert_eq!(tokio::join!(world.intake(), second), (1, 0));
    assert_eq!(world.runs().await.len(), 1);
    assert_eq!(world.intake().await, 1);
    world.settle().await;
    let runs = world.runs().await;
    let goes_on: Vec<&str> = runs
        .iter()
        .filter(|run| at(run) == "Sync 1")
        .map(|run| &*run.asked_by.name)
        .collect();
    assert_eq!(goes_on, ["ada"]);
}

#[tokio::test]
async fn a_stop_before_the_change_was_sent_leaves_nothing_behind() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr start comcast");
    world.deliver().await;
    world.intake().await;
    assert_eq!(standing(&world).await, ["HistoryUpdate 1"]);
    world.write(number, "ada", "/dcr stop");
    world.deliver().await;
    world.intake().await;
    world.settle().await;
    assert_eq!(standing(&world).await, ["canceled"]);
    assert_eq!(world.town.github.pulls(REPO).unwrap().len(), 1);
    assert_eq!(
        world.town.github.branches(REPO).unwrap().len(),
        2,
        "main and the person's"
    );
    insta::assert_snapshot!(ending(&world, number).await, @r#"
        ⏹️ **DCR rebuild comcast · RUN1** was stopped by ada\. What is left\:

        - nothing had been changed anywhere
    "#);
}

#[tokio::test]
async fn a_stop_while_the_change_is_under_way_waits_for_what_became_of_it() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    // The pull request is opened, but the answer is lost.
    world
        .town
        .github
        .stage()
        .misbehave(Fault::new("POST", "/pulls", 1, FaultKind::EffectThenCut));
    world.say(number, "ada", "/dcr start comcast").await;
    assert_eq!(standing(&world).await, ["HistoryUpdate 1"]);
    world.say(number, "ada", "/dcr stop").await;
    assert_eq!(standing(&world).await, ["HistoryUpdate 1"]);
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(standing(&world).await, ["canceled"]);
    assert_eq!(world.town.github.pulls(REPO).unwrap().len(), 2);
    insta::assert_snapshot!(ending(&world, number).await, @r#"
        ⏹️ **DCR rebuild comcast · RUN1** was stopped by ada\. What is left\:

        - HistoryUpdate\: acme/deployment\#2 is left as it is
    "#);
}

#[tokio::test]
async fn a_stop_while_a_merge_waits_leaves_the_pull_request_open() {
    let world = World::new().await;
    world.town.github.require_reviews(REPO, 1).unwrap();
    let number = world.started().await;
    assert_eq!(standing(&world).await, ["HistoryUpdateMerge 1"]);
    world.say(number, "ada", "/dcr stop").await;
    assert_eq!(standing(&world).await, ["canceled"]);
    insta::assert_snapshot!(ending(&world, number).await, @r#"
        ⏹️ **DCR rebuild comcast · SREPROV\-3072 · RUN1** was stopped by ada\. What is left\:

        - HistoryUpdate\: acme/deployment\#2 stays open
    "#);
    world.town.github.require_reviews(REPO, 0).unwrap();
    world.pass(Duration::from_secs(300)).await;
    assert_eq!(world.pull(2).merged, None);
}

#[tokio::test]
async fn a_stop_leaves_the_rebuild_as_it_is_and_says_so() {
    let world = World::new().await;
    let number = world.rebuilding().await;
    assert!(
        world.messages(number)[1]
            .body
            .contains("what it watches goes on without it")
    );
    world.say(number, "ada", "/dcr stop").await;
    assert_eq!(standing(&world).await, ["canceled"]);
    insta::assert_snapshot!(ending(&world, number).await, @r"
    ⏹️ **DCR rebuild comcast · SREPROV\-3072 · RUN1** was stopped by ada\. What is left\:

    - rebuild\: goes on at 42 % without stepherd, which only watched it
    - Sync\: had passed, which is not undone
    - HistoryUpdate\: acme/deployment\#2 stays merged as COMMIT
    - StartFarm\: acme/deployment\#3 stays merged as COMMIT
    ");
    assert!(world.town.dcr.flags(TENANT).unwrap().is_running);
    assert_eq!(world.town.dcr.changing_calls(), 0);
    world.say(number, "ada", "/dcr stop").await;
    assert!(
        world
            .last_reply(number)
            .await
            .starts_with("There is nothing more to stop")
    );
}

#[tokio::test]
async fn a_stop_ends_the_sync_waits_for_its_end_and_tells_what_is_left() {
    let world = World::new().await;
    let number = world.started().await;
    world.town.argocd.advance(APP);
    let stage = &world.town.argocd.stage;
    let cancels = || stage.calls_to("DELETE", "/operation").len();
    // The back-end does not answer at first.
    stage.misbehave(Fault::new("DELETE", "/operation", 2, FaultKind::Cut));
    world.say(number, "ada", "/dcr stop").await;
    assert_eq!((standing(&world).await, cancels()), (vec!["Sync 1".to_owned()], 1));
    world.pass(Duration::from_secs(10)).await;
    let card = world.messages(number)[1].clone();
    assert!(card.body.contains("stopping, asked by ada"), "{}", card.body);
    world.say(number, "ada", "/dcr stop").await;
    assert!(
        world
            .last_reply(number)
            .await
            .starts_with("There is nothing more to stop")
    );
    world.pass(Duration::from_secs(60)).await;
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!((standing(&world).await, cancels()), (vec!["canceled".to_owned()], 3));
    insta::assert_snapshot!(ending(&world, number).await, @r"
    ⏹️ **DCR rebuild comcast · SREPROV\-3072 · RUN1** was stopped by ada\. What is left\:

    - sync\: ended as failed\: Operation terminated
    - HistoryUpdate\: acme/deployment\#2 stays merged as COMMIT
    - StartFarm\: acme/deployment\#3 stays merged as COMMIT
    ");
}

#[tokio::test]
async fn a_stop_that_the_back_end_never_honours_ends_the_run_and_says_so() {
    let world = World::new().await;
    let number = world.started().await;
    world.town.argocd.advance(APP);
    let stage = &world.town.argocd.stage;
    stage.misbehave(Fault::answer("DELETE", "/operation", 1, 200, vec![], "{}"));
    world.say(number, "ada", "/dcr stop").await;
    world.pass(Duration::from_secs(300)).await;
    assert_eq!(standing(&world).await, ["Sync 1"]);
    world.pass(Duration::from_secs(330)).await;
    assert_eq!(standing(&world).await, ["canceled"]);
    insta::assert_snapshot!(ending(&world, number).await, @r"
    ⏹️ **DCR rebuild comcast · SREPROV\-3072 · RUN1** was stopped by ada\. What is left\:

    - sync\: was told to end, but may still run
    - HistoryUpdate\: acme/deployment\#2 stays merged as COMMIT
    - StartFarm\: acme/deployment\#3 stays merged as COMMIT
    ");
}

#[tokio::test]
async fn a_merge_that_landed_before_the_stop_is_told() {
    let world = World::new().await;
    let github = &world.town.github;
    github.require_reviews(REPO, 1).unwrap();
    let number = world.started().await;
    assert_eq!(standing(&world).await, ["HistoryUpdateMerge 1"]);
    github.require_reviews(REPO, 0).unwrap();
    // stepherd merges, and never hears of it.
    github
        .stage()
        .misbehave(Fault::new("PUT", "/merge", 1, FaultKind::EffectThenCut));
    world.clock.advance(Duration::from_secs(60));
    world.turn(Turn::Sweep).await.unwrap();
    assert!(world.pull(2).merged.is_some());
    world.say(number, "ada", "/dcr stop").await;
    assert_eq!(standing(&world).await, ["canceled"]);
    insta::assert_snapshot!(ending(&world, number).await, @r#"
        ⏹️ **DCR rebuild comcast · SREPROV\-3072 · RUN1** was stopped by ada\. What is left\:

        - HistoryUpdate\: acme/deployment\#2 stays merged as COMMIT
    "#);
}

#[tokio::test]
async fn a_stop_ends_a_run_that_asks() {
    let world = World::with(asks_first).await;
    let (number, _) = world.pull_request().await;
    start(&world, number, TENANT).await;
    assert_eq!(standing(&world).await, ["Sure 1"]);
    world.say(number, "ada", "/dcr stop").await;
    assert_eq!(standing(&world).await, ["canceled"]);
    world.say(number, "ada", "/dcr answer yes").await;
    assert!(
        world
            .last_reply(number)
            .await
            .starts_with("That question is closed\\: ada stopped the run")
    );
    assert_eq!(world.town.github.pulls(REPO).unwrap().len(), 1);
}

#[tokio::test]
async fn a_stop_ends_a_run_that_had_failed() {
    let world = World::new().await;
    let number = world.failed().await;
    world.say(number, "ada", "/dcr stop").await;
    assert_eq!(standing(&world).await, ["canceled"]);
    insta::assert_snapshot!(ending(&world, number).await, @r"
    ⏹️ **DCR rebuild comcast · SREPROV\-3072 · RUN1** was stopped by ada\. What is left\:

    - rebuild\: ended as failed at 42 %\: farmer\-3 lost
    - Sync\: had passed, which is not undone
    - HistoryUpdate\: acme/deployment\#2 stays merged as COMMIT
    - StartFarm\: acme/deployment\#3 stays merged as COMMIT
    - the farm of comcast stays on; to switch it off\: set farmers\.enabled to false in tenants/comcast/farm\.yaml of acme/deployment, and sync dcr\-comcast
    ");
}

/// The notice that says how a stopped run ended; there is exactly one.
async fn ending(world: &World, number: u64) -> String {
    world.pass(Duration::from_secs(10)).await;
    let said = world.messages(number);
    let notices: Vec<_> = said
        .iter()
        .filter(|message| message.body.contains("was stopped by"))
        .collect();
    assert_eq!(notices.len(), 1, "{said:?}");
    world.as_told(&notices[0].body).await
}

fn asks_first(dir: &Path) {
    let path = dir.join("config/pipelines/dcr.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let first = "[[step]]\nname = \"HistoryUpdate\"\n";
    assert!(text.contains(first));
    let ask = r#"
[[step]]
name = "Sure"
title = "Ask"
kind = "ask"
question = "Sure?"
roles = ["operator"]

[[step.option]]
value = "yes"
label = "Yes"

[[step.option]]
value = "no"
label = "No"
go_on = false

"#;
    std::fs::write(path, text.replace(first, &format!("{ask}{first}"))).unwrap();
}

#[tokio::test]
async fn a_run_is_found_in_its_thread_however_many_have_come_and_gone_since() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    start(&world, number, TENANT).await;
    let live = world.run().await;
    for other in 1..=60 {
        let mut ended = samples::start(other);
        let run = &mut ended.run.as_mut().unwrap().run;
        run.audience = live.audience.clone();
        run.state = samples::finished();
        samples::done(&world.store, &ended).await;
    }
    world.clock.advance(Duration::from_secs(5));
    world.say(number, "ada", "/dcr stop").await;
    let RunState::Active(attempt) = world.run_now(&live.id).await.state else {
        panic!("its sync is still to be canceled");
    };
    assert!(matches!(attempt.phase, Phase::Stopping { .. }), "{:?}", attempt.phase);
}
