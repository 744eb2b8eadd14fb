//! What cannot be read is parked alone, and a step whose act is parked fails where people see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use stepherd::adapters::{Backend, CallError, Deferral, Hands};
use stepherd::domain::effect::{JobIntent, Outcome};
use stepherd::domain::run::{Observation, RunState};
use stepherd::engine::{Engine, Sweep};
use stepherd::sandbox::town::{TICKET, Town};
use stepherd::store::EffectView;

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

/// A back-end whose adapter has a fault of its own: it panics where it is to start something.
struct Panics(Arc<dyn Backend>);

#[async_trait]
impl Backend for Panics {
    async fn start(&self, _: &JobIntent) -> Result<Outcome, CallError> {
        panic!("on purpose")
    }

    async fn find(&self, intent: &JobIntent) -> Result<bool, CallError> {
        self.0.find(intent).await
    }

    async fn observe(&self, intent: &JobIntent, started: bool) -> Result<Observation, CallError> {
        self.0.observe(intent, started).await
    }

    async fn cancel(&self, intent: &JobIntent) -> Result<Outcome, CallError> {
        self.0.cancel(intent).await
    }

    async fn observe_end(&self, intent: &JobIntent) -> Result<Observation, CallError> {
        self.0.observe_end(intent).await
    }

    async fn deferral(&self, with: &BTreeMap<String, String>) -> Result<Deferral, CallError> {
        self.0.deferral(with).await
    }
}

/// stepherd with back-ends that panic.
fn with_panics(world: &World) -> Engine {
    let real = world.hands();
    let mut backends: BTreeMap<_, Arc<dyn Backend>> = BTreeMap::new();
    for (name, backend) in &real.backends {
        backends.insert(name.clone(), Arc::new(Panics(backend.clone())));
    }
    let hands = Hands {
        doors: real.doors.clone(),
        forge: real.forge.clone(),
        tracker: real.tracker.clone(),
        threads: real.threads.clone(),
        backends,
        ..Hands::default()
    };
    world.replica_with(world.store.clone(), hands, world.clock.clone())
}

#[tokio::test]
async fn a_step_whose_act_panics_fails_where_people_see_it() {
    let world = World::with(|dir| {
        let path = dir.join("config/pipelines/dcr.toml");
        let plan = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, plan.replace("auto_retries = 1", "auto_retries = 0")).unwrap();
    })
    .await;
    let (engine, mut sweep) = (with_panics(&world), Sweep::default());
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    let mut stopped = false;
    for _ in 0..200 {
        world.deliver().await;
        let mut did = engine.intake_step().await.unwrap();
        did += engine.dispatch_step().await.unwrap();
        did += engine.sweep_step(&mut sweep).await.unwrap();
        let runs = world.runs().await;
        stopped = runs.iter().any(|run| matches!(run.state, RunState::Stopped { .. }));
        if did == 0 {
            if stopped {
                break;
            }
            world.clock.advance(std::time::Duration::from_secs(10));
        }
    }
    let state = world.run().await.state;
    assert!(stopped, "{state:?}");
    let told = world.town.jira.messages(TICKET);
    let why = "stepherd itself failed on this (a panic, see its log)";
    assert!(told.iter().any(|message| message.body.contains(why)), "{told:#?}");
    // The others go on, and what was given up is there to be looked into.
    let parked = world.store.effects(Some("parked"), 9).await.unwrap();
    let of_a_start = |effect: &EffectView| effect.key.contains(":start:") && effect.reason == why;
    assert!(!parked.is_empty() && parked.iter().all(of_a_start), "{parked:#?}");
    world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
    world.deliver().await;
    let before = world.town.jira.messages(TICKET).len();
    while engine.intake_step().await.unwrap() + engine.dispatch_step().await.unwrap() > 0 {}
    assert!(world.town.jira.messages(TICKET).len() > before);
}
