//! A stop while nobody knows what became of the last try: it is looked at and told, and nothing more is done.

use std::time::Duration;

use stepherd::sandbox::stage::{Fault, FaultKind, Stage};
use stepherd::sandbox::town::{REPO, TICKET};

use super::scene::at;
use crate::world::World;

const ADA: &str = "557058:ada";
const PIPELINE: &str = r#"
name = "dcr"
title = "DCR rebuild"
command = "dcr"
[[param]]
name = "tenant"
type = "word"
help = "The tenant"
[[param]]
name = "ticket"
type = "ticket"
help = "The ticket"
default = ""
[[param]]
name = "farmers_min"
type = "int"
min = 1
max = 100
help = "How many farmers"
default = 3
[[step]]
name = "Act"
title = "Act"
"#;
const MOVE: &str = "kind = \"tell\"\nmove_ticket = { to = \"Done\" }\n";
const CHANGE: &str = r#"kind = "change"
repo = "acme/deployment"
pr_title = "{{ tenant }}: start farmers"
pr_body = "For {{ ticket }}."
[[step.edit]]
path = "tenants/{{ tenant }}/farm.yaml"
set = { pointer = "/farmers/enabled", value = true }
"#;

/// How the trouble begins, what comes after it, and whether that makes the step fail before anybody says stop.
type Trouble<'a> = (&'a str, &'a str, FaultKind, bool);

/// A run of one step, which is stopped after a try whose outcome nobody knows. Its last words.
async fn stopped(step: &str, stage: fn(&World) -> &Stage, trouble: Trouble<'_>) -> (World, String) {
    let world = World::with(|dir| {
        std::fs::write(dir.join("config/pipelines/dcr.toml"), format!("{PIPELINE}{step}")).unwrap();
    })
    .await;
    let (method, path, kind, fails) = trouble;
    stage(&world).misbehave(Fault::new(method, path, 1, kind));
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.settle().await;
    if fails {
        let not_found = r#"{"message":"Not Found"}"#;
        stage(&world).misbehave(Fault::answer("GET", "/repos/", 2, 404, vec![], not_found));
        world.pass(Duration::from_secs(120)).await;
        assert_eq!(at(&world.run().await), "stopped at Act");
    }
    world.town.jira.comment(TICKET, ADA, "/dcr stop").await.unwrap();
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    let told = world.told(&world.run().await).await;
    let last = told.last().cloned().unwrap_or_default();
    (world, last)
}

fn jira(world: &World) -> &Stage {
    &world.town.jira.stage
}

fn github(world: &World) -> &Stage {
    world.town.github.stage()
}

#[tokio::test]
async fn a_ticket_that_was_moved_by_a_try_without_an_answer_is_said_to_have_been_moved() {
    let trouble = ("POST", "/transitions", FaultKind::EffectThenCut, false);
    let (world, last) = stopped(MOVE, jira, trouble).await;
    assert_eq!(
        last,
        "stopped by Ada: Act: SREPROV-3072 was moved to Done, which is not undone"
    );
    assert_eq!(world.town.jira.status(TICKET).as_deref(), Some("Done"));
}

#[tokio::test]
async fn a_ticket_that_was_not_moved_is_not_moved_after_a_stop() {
    let trouble = ("POST", "/transitions", FaultKind::Cut, false);
    let (world, last) = stopped(MOVE, jira, trouble).await;
    assert_eq!(last, "stopped by Ada: nothing had been changed anywhere");
    assert_eq!(world.town.jira.status(TICKET).as_deref(), Some("Approved"));
}

#[tokio::test]
async fn a_pull_request_that_was_opened_by_a_try_without_an_answer_is_named() {
    for fails in [false, true] {
        let trouble = ("POST", "/pulls", FaultKind::EffectThenCut, fails);
        let (world, last) = stopped(CHANGE, github, trouble).await;
        let pull = world.town.github.pulls(REPO).unwrap()[0].number;
        assert_eq!(
            last,
            format!("stopped by Ada: Act: {REPO}#{pull} is left as it is"),
            "{fails}"
        );
    }
}

#[tokio::test]
async fn no_pull_request_is_opened_after_a_stop() {
    let trouble = ("POST", "/git/trees", FaultKind::Cut, false);
    let (world, last) = stopped(CHANGE, github, trouble).await;
    assert_eq!(last, "stopped by Ada: nothing had been changed anywhere");
    assert!(github(&world).calls_to("POST", "/pulls").is_empty());
    assert!(github(&world).calls_to("POST", "/git/refs").is_empty());
}
