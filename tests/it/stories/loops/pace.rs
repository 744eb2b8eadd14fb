//! When something is tried or looked at again.

use std::time::Duration;

use stepherd::adapters::CallError;
use stepherd::adapters::http::{Api, Auth};
use stepherd::clock::Clock as _;
use stepherd::sandbox::stage::Fault;
use stepherd::sandbox::town::{APP, REPO, TICKET};

use super::{ADA, Holds, running, until};
use crate::world::World;

fn come_back_after(seconds: u64, method: &str, path: &str) -> Fault {
    let header = vec![("retry-after".to_owned(), seconds.to_string())];
    Fault::answer(method, path, 1, 503, header, "{}")
}

#[tokio::test]
async fn every_way_of_saying_later_says_when() {
    let world = World::new().await;
    let stage = &world.town.dcr.stage;
    let api = Api::new("DCR", &world.town.dcr.url, &Auth::None).unwrap();
    for status in [408, 429, 500, 503] {
        for (header, after) in [(Some("7"), Some(7)), (None, None)] {
            let headers = header.map(|value| ("retry-after".to_owned(), value.to_owned()));
            stage.misbehave(Fault::answer("GET", "", 9, status, headers.into_iter().collect(), "{}"));
            let called = api.call("GET".parse().unwrap(), "/status", None).await;
            stage.behave();
            let Err(CallError::Retry { after: told, .. }) = called else {
                panic!("{status}: {called:?}");
            };
            assert_eq!(told, after.map(Duration::from_secs), "{status}");
        }
    }
    stage.misbehave(Fault::answer("GET", "", 1, 429, vec![], r#"{"retry_after":1.5}"#));
    let called = api.call("GET".parse().unwrap(), "/status", None).await;
    assert!(matches!(called, Err(CallError::Retry { after: Some(after), .. }) if after == Duration::from_millis(1500)));
}

#[tokio::test]
async fn an_effect_is_not_tried_again_before_the_time_that_was_asked_for() {
    let world = World::new().await;
    world
        .town
        .jira
        .stage
        .misbehave(come_back_after(200, "POST", "/comment"));
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.settle().await;
    let told = || world.town.jira.messages(TICKET).len();
    let pending = world.store.effects(Some("pending"), 9).await.unwrap();
    assert!(
        pending[0].due >= world.clock.now() + Duration::from_secs(200),
        "{pending:?}"
    );
    world.pass(Duration::from_secs(199)).await;
    assert_eq!(told(), 1);
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(told(), 2);
}

#[tokio::test]
async fn a_delivery_is_not_tried_again_before_the_time_that_was_asked_for() {
    let world = World::new().await;
    world
        .town
        .jira
        .stage
        .misbehave(come_back_after(200, "GET", "/comment/"));
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.settle().await;
    let told = || world.town.jira.messages(TICKET).len();
    world.pass(Duration::from_secs(199)).await;
    assert_eq!(told(), 1);
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(told(), 2);
}

#[tokio::test]
async fn tries_come_more_and_more_seldom_and_without_end_to_their_patience() {
    let world = World::new().await;
    let down = Fault::answer("POST", "/comment", 10_000, 500, vec![], "{}");
    world.town.jira.stage.misbehave(down);
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.settle().await;
    for failures in 1..=10_u32 {
        let pending = world.store.effects(Some("pending"), 9).await.unwrap();
        assert_eq!(pending[0].failures, failures, "{pending:?}");
        let wait = pending[0].due.duration_since(world.clock.now()).as_millis();
        let doubled = (1000_i128 << (failures - 1)).min(300_000);
        assert!(
            wait >= doubled / 2 && wait <= doubled,
            "after {failures}: {wait} of {doubled}"
        );
        world.clock.advance(Duration::from_millis(u64::try_from(wait).unwrap()));
        world.settle().await;
    }
}

#[tokio::test]
async fn a_run_that_was_touched_while_it_was_looked_at_is_looked_at_again_at_once() {
    let world = World::new().await;
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.settle().await;
    let run = world.run().await;
    for _ in 0..20 {
        let pulls = world.town.github.pulls(REPO).unwrap();
        if let Some(merged) = pulls.get(1).and_then(|pull| pull.merged.clone()) {
            world.town.argocd.git_moved(APP, &merged);
            break;
        }
        world.pass(Duration::from_secs(10)).await;
    }
    let stage = &world.town.argocd.stage;
    let holds = Holds::first(1, "GET", "/applications/");
    stage.attend(holds.clone());
    let _engine = running(&world);
    until(&world, "it is looked at", async || holds.held() == 1).await;
    stage.forget_calls();
    world
        .store
        .touch(std::slice::from_ref(&run.id), world.clock.now())
        .await
        .unwrap();
    for _ in 0..60 {
        // It hears of that while the look is out.
        world.clock.advance(Duration::from_millis(50));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    holds.let_in();
    let free = world.clock.now();
    until(&world, "it is looked at again", async || {
        stage.calls_to("GET", "/applications/").len() >= 2
    })
    .await;
    let took = world.clock.now().duration_since(free).as_secs();
    assert!(took < 15, "not half a minute later: {took} s");
}
