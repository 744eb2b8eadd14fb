//! Moving tickets, call by call.

use serde_json::{Value, json};
use stepherd::adapters::{CallError, Tracker};
use stepherd::domain::effect::{MoveIntent, Outcome};
use stepherd::domain::run::FailureClass;
use stepherd::sandbox::stage::{Fault, FaultKind};

use super::peer::{ISSUE, Line, cloud};

fn status_is(id: &str, name: &str) -> Line {
    let body = json!({ "id": "10001", "key": "OPS-1", "fields": { "status": { "id": id, "name": name } } });
    ("GET", format!("{ISSUE}?fields=status"), 200, body)
}

fn transitions(listed: Value) -> Line {
    (
        "GET",
        format!("{ISSUE}/transitions"),
        200,
        json!({ "transitions": listed }),
    )
}

fn two_ways() -> Line {
    transitions(json!([
        { "id": "11", "name": "Start", "to": { "id": "3", "name": "In Progress" }, "hasScreen": false },
        { "id": "20", "name": "With a form", "to": { "id": "10011", "name": "Approved" }, "hasScreen": true },
        { "id": "21", "name": "Approve", "to": { "id": "10011", "name": "Approved" } },
        { "id": "31", "name": "Close", "to": { "id": "5", "name": "Done" }, "isAvailable": false },
    ]))
}

fn posted_transition(status: u16, body: Value) -> Line {
    ("POST", format!("{ISSUE}/transitions"), status, body)
}

fn to(status: &str) -> MoveIntent {
    MoveIntent {
        ticket: "OPS-1".parse().unwrap(),
        to: status.to_owned(),
    }
}

#[tokio::test]
async fn a_ticket_that_is_there_already_is_left_alone() {
    for wanted in ["10011", "Approved", "aPPROVED"] {
        let peer = cloud(vec![status_is("10011", "Approved")]).await;
        assert_eq!(
            peer.jira.move_ticket(&to(wanted)).await,
            Ok(Outcome::TicketMoved),
            "{wanted}"
        );
        peer.done();
    }
}

#[tokio::test]
async fn a_ticket_is_moved_by_the_way_that_needs_no_form_and_looked_at_again() {
    for wanted in ["10011", "approved"] {
        let peer = cloud(vec![
            status_is("1", "Open"),
            two_ways(),
            posted_transition(204, Value::Null),
            status_is("10011", "Approved"),
        ])
        .await;
        assert_eq!(peer.jira.move_ticket(&to(wanted)).await, Ok(Outcome::TicketMoved));
        assert_eq!(peer.sent("POST"), [json!({ "transition": { "id": "21" } })]);
        assert_eq!(
            peer.credentials.lock().unwrap()[0],
            "Basic Ym90QGV4YW1wbGUuY29tOnQwa2Vu"
        );
        peer.done();
    }
}

#[tokio::test]
async fn without_a_way_the_possible_ones_are_listed() {
    let peer = cloud(vec![status_is("1", "Open"), two_ways()]).await;
    let Ok(Outcome::Failed { reason, class }) = peer.jira.move_ticket(&to("Done")).await else {
        panic!("it must fail");
    };
    assert_eq!(class, FailureClass::User);
    for part in ["OPS-1", "`Open`", "`Done`", "`In Progress` (3)", "`Approved` (10011)"] {
        assert!(reason.contains(part), "{reason}");
    }
    peer.done();
}

#[tokio::test]
async fn a_refused_transition_counts_by_where_the_ticket_is_then() {
    let refusal = json!({ "errorMessages": ["It seems that you have tried to perform an illegal workflow operation."], "errors": {} });
    let moved_meanwhile = cloud(vec![
        status_is("1", "Open"),
        two_ways(),
        posted_transition(400, refusal.clone()),
        status_is("10011", "Approved"),
    ])
    .await;
    assert_eq!(
        moved_meanwhile.jira.move_ticket(&to("Approved")).await,
        Ok(Outcome::TicketMoved)
    );
    let still_open = cloud(vec![
        status_is("1", "Open"),
        two_ways(),
        posted_transition(400, refusal),
        status_is("1", "Open"),
    ])
    .await;
    let Ok(Outcome::Failed {
        reason,
        class: FailureClass::User,
    }) = still_open.jira.move_ticket(&to("Approved")).await
    else {
        panic!("it must fail");
    };
    assert!(reason.contains("illegal workflow operation"), "{reason}");
    still_open.done();
}

#[tokio::test]
async fn a_transition_that_is_accepted_but_shows_no_effect_is_tried_again() {
    let peer = cloud(vec![
        status_is("1", "Open"),
        two_ways(),
        posted_transition(204, Value::Null),
        status_is("1", "Open"),
    ])
    .await;
    assert!(matches!(
        peer.jira.move_ticket(&to("Approved")).await,
        Err(CallError::Retry { .. })
    ));
    peer.done();
}

#[tokio::test]
async fn a_ticket_that_was_moved_and_moved_on_since_is_not_pulled_back() {
    let peer = cloud(vec![
        status_is("1", "Open"),
        two_ways(),
        posted_transition(204, Value::Null),
        status_is("5", "Done"),
    ])
    .await;
    assert_eq!(peer.jira.move_ticket(&to("Approved")).await, Ok(Outcome::TicketMoved));
    peer.done();
}

#[tokio::test]
async fn trouble_on_the_way_is_classed_by_whether_it_may_pass() {
    let not_found = (
        "GET",
        format!("{ISSUE}?fields=status"),
        404,
        json!({ "errorMessages": ["Issue does not exist"] }),
    );
    let no_right = posted_transition(403, Value::Null);
    for (script, class) in [
        (vec![not_found], FailureClass::User),
        (
            vec![status_is("1", "Open"), two_ways(), no_right],
            FailureClass::Permission,
        ),
    ] {
        let peer = cloud(script).await;
        let error = peer.jira.move_ticket(&to("Approved")).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Permanent { class: c, .. } if *c == class),
            "{error:?}"
        );
        assert!(!error.to_string().contains("t0ken"));
    }
    // A token of ours that is refused says nothing about the ticket.
    let no_token = posted_transition(401, json!({ "message": "Client must be authenticated" }));
    let peer = cloud(vec![status_is("1", "Open"), two_ways(), no_token]).await;
    let error = peer.jira.move_ticket(&to("Approved")).await.unwrap_err();
    assert!(matches!(error, CallError::Retry { .. }), "{error:?}");
    peer.done();
    for fault in [
        Fault::answer("", "", 1, 401, Vec::new(), "{}"),
        Fault::too_many("", "", 1, 7),
        Fault::answer("", "", 3, 502, Vec::new(), "<html>"),
        Fault::answer("", "", 1, 200, Vec::new(), "{}"),
        Fault::answer("", "", 1, 200, Vec::new(), ""),
        Fault::new("", "", 3, FaultKind::Cut),
        Fault::new("", "", 1, FaultKind::EffectThenEmpty),
        Fault::new("", "", 3, FaultKind::EffectThenTruncated),
    ] {
        let peer = cloud(vec![status_is("10011", "Approved"); 3]).await;
        peer.stage.misbehave(fault.clone());
        let verdict = peer.jira.move_ticket(&to("Approved")).await;
        assert!(
            matches!(verdict, Err(CallError::Retry { .. })),
            "{fault:?}: {verdict:?}"
        );
        let peer = cloud(vec![status_is("10011", "Approved"); 3]).await;
        peer.stage.misbehave(fault.clone());
        let looked = peer.jira.is_moved(&to("Approved")).await;
        assert!(matches!(looked, Err(CallError::Retry { .. })), "{fault:?}: {looked:?}");
    }
}
