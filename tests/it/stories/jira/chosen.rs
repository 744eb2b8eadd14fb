//! What is started is what was approved: whoever may edit a ticket does not choose it afterwards.

use serde_json::{Map, Value, json};
use stepherd::sandbox::jira::Workflow;
use stepherd::sandbox::stage::Fault;
use stepherd::sandbox::town::TICKET;
use url::Url;

use super::proofs::{admin, automation, connect, of_four_proofs};
use super::{ADA, EVE, notes};
use crate::stories::dcr::{approved, minutes};
use crate::world::World;

/// The field of the tenant, as `commands/dcr.toml` has it.
const TENANT_FIELD: &str = "customfield_10042";

async fn edit(world: &World, who: &str, field: &str, value: &str) {
    let jira = &world.town.jira;
    jira.set_field(TICKET, who, field, json!(value)).await.unwrap();
}

async fn move_to(world: &World, who: &str, status: &str) {
    world.town.jira.transition(TICKET, who, status).await.unwrap();
}

/// What stepherd has said on the ticket.
async fn ours(world: &World, ticket: &str) -> Vec<String> {
    let mut said = Vec::new();
    for message in world.town.jira.messages(ticket) {
        if message.author == "stepherd" {
            said.push(world.readable(&message.body).await);
        }
    }
    said
}

/// Repair has looked.
async fn repaired(world: &World) {
    world.clock.advance(std::time::Duration::from_secs(15 * 60));
    world.repair().await;
    world.settle().await;
}

async fn tenant(world: &World) -> String {
    let run = world.run().await;
    run.params[&"tenant".parse().unwrap()].clone()
}

#[tokio::test]
async fn a_field_that_was_changed_after_the_approval_starts_nothing_and_people_are_told() {
    let world = World::new().await;
    move_to(&world, ADA, "Approved").await;
    edit(&world, EVE, TENANT_FIELD, "globex").await;
    world.settle().await;
    assert!(world.runs().await.is_empty(), "Ada did not approve globex");
    let said = ours(&world, TICKET).await;
    insta::assert_snapshot!(said.join("\n---\n"), @"Nothing was done: customfield_10042 was changed by Eve at 2026-11-18 11:06 UTC, after Ada had moved the ticket. Look at what stands there now, and move it again to approve that.");
    let note = "/dcr start: changed after the move: customfield_10042".to_owned();
    let notes = notes(&world, 3).await;
    assert!(notes.contains(&note), "{notes:?}");
    // Whoever tells of the same move again is not answered again.
    for delivery in world.town.jira.deliveries() {
        world.town.jira.redeliver(&delivery.id).await.unwrap();
    }
    world.settle().await;
    assert_eq!(ours(&world, TICKET).await.len(), 1);
    // Moved again, what stands there is what is approved.
    move_to(&world, ADA, "Open").await;
    approved(&world).await;
    assert_eq!(tenant(&world).await, "globex");
}

#[tokio::test]
async fn what_stepherd_does_not_use_may_be_changed_and_so_may_all_before_the_approval() {
    let world = World::new().await;
    edit(&world, EVE, TENANT_FIELD, "globex").await;
    edit(&world, EVE, TENANT_FIELD, "comcast").await;
    world.settle().await;
    move_to(&world, ADA, "Approved").await;
    edit(&world, EVE, "summary", "Something else").await;
    edit(&world, EVE, "customfield_10043", "another").await;
    world.settle().await;
    assert_eq!(tenant(&world).await, "comcast", "{:?}", notes(&world, 6).await);
}

#[tokio::test]
async fn whoever_edits_what_they_approved_themselves_moves_it_again_too() {
    let world = World::new().await;
    move_to(&world, ADA, "Approved").await;
    edit(&world, ADA, TENANT_FIELD, "globex").await;
    world.settle().await;
    assert!(world.runs().await.is_empty());
    assert!(ours(&world, TICKET).await[0].contains("was changed by Ada"));
}

#[tokio::test]
async fn whichever_way_it_is_told_a_later_edit_is_seen() {
    use stepherd::clock::Clock as _;
    for (what, proof) in [
        ("webhook", admin("jira-webhook-secret")),
        ("app", connect("connect-secret")),
        ("rule", automation("automation-secret")),
    ] {
        let world = of_four_proofs().await;
        move_to(&world, ADA, "Approved").await;
        world.town.jira.lose_pending();
        let told = world.town.jira.deliveries().pop().expect("Jira told of it");
        let mut body: Value = serde_json::from_str(&told.body).unwrap();
        edit(&world, EVE, TENANT_FIELD, "globex").await;
        world.town.jira.lose_pending();
        if what == "rule" {
            body = json!({ "issue": body["issue"] });
        }
        let url = Url::parse(&format!("{}/webhooks/jira", world.url)).unwrap();
        let body = body.to_string();
        let (name, value) = proof
            .header("POST", &url, body.as_bytes(), world.clock.now())
            .expect("a proof");
        let request = world.http.post(url).header(name, value);
        let request = request.header("content-type", "application/json").body(body);
        assert_eq!(request.send().await.unwrap().status(), 202);
        world.settle().await;
        assert!(world.runs().await.is_empty(), "{what}");
        let said = ours(&world, TICKET).await;
        assert!(
            said.len() == 1 && said[0].contains("was changed by Eve"),
            "{what}: {said:?}"
        );
    }
}

#[tokio::test]
async fn a_move_that_repair_finds_is_judged_by_what_stood_there_then() {
    let world = World::new().await;
    world.repair_at_start().await;
    minutes(&world, 1).await;
    move_to(&world, ADA, "Approved").await;
    world.town.jira.lose_pending();
    minutes(&world, 1).await;
    edit(&world, EVE, TENANT_FIELD, "globex").await;
    world.town.jira.lose_pending();
    repaired(&world).await;
    assert!(world.runs().await.is_empty());
    let said = ours(&world, TICKET).await;
    assert!(said.len() == 1 && said[0].contains("was changed by Eve"), "{said:?}");
    // It is told once, however often repair looks.
    repaired(&world).await;
    repaired(&world).await;
    assert_eq!(ours(&world, TICKET).await.len(), 1);
}

#[tokio::test]
async fn a_ticket_that_was_approved_in_another_project_was_not_approved_for_this_one() {
    let world = World::new().await;
    let jira = &world.town.jira;
    world.repair_at_start().await;
    jira.add_project("PLAY", "Playground", Workflow::approval());
    let fields = Map::from_iter([(TENANT_FIELD.to_owned(), json!("comcast"))]);
    jira.add_issue("PLAY-1", "Nothing serious", fields).unwrap();
    jira.transition("PLAY-1", ADA, "Approved").await.unwrap();
    jira.move_to("PLAY-1", EVE, "SREPROV-77").await.unwrap();
    repaired(&world).await;
    assert!(world.runs().await.is_empty(), "{:?}", notes(&world, 3).await);
    let said = ours(&world, "SREPROV-77").await;
    assert!(
        said.len() == 1 && said[0].contains("project was changed by Eve"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_history_that_cannot_be_read_in_full_is_no_and_that_is_told_once() {
    use stepherd::clock::Clock as _;
    let world = World::new().await;
    let id = world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    let told = world
        .town
        .jira
        .deliveries()
        .into_iter()
        .find(|told| told.id == id)
        .unwrap();
    let told: Value = serde_json::from_str(&told.body).unwrap();
    let now = world.clock.now().to_string();
    let mut issue = told["issue"].clone();
    issue["changelog"] = json!({ "total": 2, "histories": [
        { "items": [{ "field": "Tenant", "fieldtype": "custom", "fieldId": TENANT_FIELD }] },
        { "id": told["changelog"]["id"], "author": told["user"], "created": now, "items": told["changelog"]["items"] },
    ] });
    let look = format!("/issue/{TICKET}");
    let odd = Fault::answer("GET", &look, 1_000, 200, Vec::new(), &issue.to_string());
    world.town.jira.stage.misbehave(odd);
    world.settle().await;
    assert!(world.runs().await.is_empty());
    let said = ours(&world, TICKET).await;
    insta::assert_snapshot!(said.join("\n---\n"), @"Nothing was done: stepherd cannot tell whether the ticket was changed after Ada moved it, because an entry of its history has no number or no time. Look at what stands there now, and move it again to approve that.");
    world.town.jira.redeliver(&id).await.unwrap();
    minutes(&world, 2).await;
    assert_eq!(ours(&world, TICKET).await.len(), 1);
}

#[tokio::test]
async fn who_has_no_role_is_told_nothing_of_it() {
    let world = World::new().await;
    move_to(&world, EVE, "Approved").await;
    edit(&world, ADA, TENANT_FIELD, "globex").await;
    world.settle().await;
    assert!(world.runs().await.is_empty());
    assert_eq!(ours(&world, TICKET).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_moves_of_somebody_without_any_role_cost_no_look_at_the_ticket() {
    let world = World::new().await;
    let stage = &world.town.jira.stage;
    let reads = || stage.calls_to("GET", &format!("/issue/{TICKET}")).len();
    for _ in 0..15 {
        for to in ["Approved", "Open"] {
            move_to(&world, EVE, to).await;
            world.settle().await;
        }
    }
    assert_eq!(reads(), 0);
    let asked = stage.calls_to("GET", "/user").len();
    assert!(asked <= 1, "who Eve is was asked once at most, not {asked} times");
    assert_eq!(
        notes(&world, 2).await[1],
        format!("{EVE} has no role: triggers nothing")
    );
    // Ada's, on the same ticket, is looked at and obeyed.
    approved(&world).await;
    assert!(reads() > 0);
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn where_the_proof_does_not_say_who_moved_it_that_is_looked_up_first() {
    use stepherd::clock::Clock as _;
    let world = of_four_proofs().await;
    let proof = connect("connect-secret");
    move_to(&world, ADA, "Approved").await;
    world.town.jira.lose_pending();
    let told = world.town.jira.deliveries().pop().expect("Jira told of it").body;
    let mut by_eve: Value = serde_json::from_str(&told).unwrap();
    by_eve["user"]["accountId"] = EVE.into();
    // What is made up in Eve's name does not use up what Ada did.
    for body in [by_eve.to_string(), told] {
        let url = Url::parse(&format!("{}/webhooks/jira", world.url)).unwrap();
        let now = world.clock.now();
        let (name, value) = proof.header("POST", &url, body.as_bytes(), now).expect("a proof");
        let request = world.http.post(url).header(name, value);
        let request = request.header("content-type", "application/json").body(body);
        assert_eq!(request.send().await.unwrap().status(), 202);
        world.settle().await;
    }
    assert_eq!(tenant(&world).await, "comcast", "{:?}", notes(&world, 2).await);
}
