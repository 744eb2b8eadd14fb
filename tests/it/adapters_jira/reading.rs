//! What deliveries mean.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use stepherd::adapters::jira::{JiraDoor, JiraProofs};
use stepherd::adapters::{Door, RawRequest, Unreadable};
use stepherd::domain::signal::{ActorKind, Proof, Said, Signal, Text, TicketMoved, TicketStatus};

fn received_at() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn read_bytes(body: &[u8]) -> Result<Signal, Unreadable> {
    read_proved(body, Proof::BodySigned)
}

fn read_proved(body: &[u8], proof: Proof) -> Result<Signal, Unreadable> {
    let request = RawRequest {
        method: "POST".into(),
        target: "/webhooks/jira".into(),
        headers: Vec::new(),
        body: body.to_vec().into(),
    };
    let door = JiraDoor::new(JiraProofs::default(), Some("557058:own".into()));
    let signals = door.read(&request, proof, received_at())?;
    assert_eq!(signals.len(), 1);
    Ok(signals.into_iter().next().unwrap())
}

fn read(body: &Value) -> Result<Signal, Unreadable> {
    read_bytes(body.to_string().as_bytes())
}

fn moved(body: &Value) -> TicketMoved {
    match read(body) {
        Ok(Signal::TicketMoved(moved)) => moved,
        other => panic!("{other:?}"),
    }
}

fn said(body: &Value) -> Said {
    match read(body) {
        Ok(Signal::Said(said)) => said,
        other => panic!("{other:?}"),
    }
}

fn nothing(body: &Value) -> String {
    match read(body) {
        Ok(Signal::Nothing(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn unreadable(body: &Value) -> String {
    read(body).unwrap_err().0
}

fn transition() -> Value {
    json!({
        "timestamp": 1_717_165_102_467_i64,
        "webhookEvent": "jira:issue_updated",
        "issue_event_type_name": "issue_generic",
        "user": { "accountId": "557058:abc", "displayName": "E", "accountType": "atlassian", "active": "true" },
        "issue": {
            "id": "10001",
            "self": "https://x.atlassian.net/rest/api/2/10001",
            "key": "SREPROV-3072",
            "fields": {
                "summary": "DCR comcast",
                "status": { "id": "10011", "name": "Approved" },
                "project": { "id": "1", "key": "SREPROV", "name": "Provisioning" },
                "customfield_10042": { "value": "comcast", "id": "77" },
                "customfield_10043": 3.5,
                "labels": ["dcr", "east"],
                "fixVersions": [{ "id": "5", "name": "1.2" }, { "id": "6", "name": "1.3" }],
                "assignee": null,
                "components": [],
                "description": { "type": "doc", "version": 1, "content": [] },
            },
        },
        "changelog": {
            "id": "89708",
            "items": [{
                "field": "status", "fieldId": "status", "fieldtype": "jira",
                "from": "10010", "fromString": "Open", "to": "10011", "toString": "Approved",
            }],
        },
    })
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        other => other[key] = value,
    }
    body
}

fn without(mut body: Value, pointer: &str) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let removed = body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
    assert!(removed.is_some(), "{pointer}");
    body
}

#[test]
fn a_transition_tells_who_moved_which_ticket_from_where_to_where() {
    let moved = moved(&transition());
    assert_eq!(moved.actor.account.platform.as_str(), "jira");
    assert_eq!(moved.actor.account.id, "557058:abc");
    assert_eq!((moved.actor.name.as_str(), moved.actor.kind), ("E", ActorKind::Human));
    assert_eq!(moved.thread.to_string(), "jira:SREPROV-3072");
    assert_eq!(moved.ticket.as_str(), "SREPROV-3072");
    let status = |id: &str, name: &str| TicketStatus {
        id: id.into(),
        name: name.into(),
    };
    assert_eq!(moved.from, Some(status("10010", "Open")));
    assert_eq!(moved.to, status("10011", "Approved"));
    assert_eq!(moved.key, "jira:10001:changelog:89708");
    assert_eq!(moved.at, Timestamp::from_millisecond(1_717_165_102_467).unwrap());
    let fields: Vec<(&str, &str)> = moved.fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        fields,
        [
            ("customfield_10042", "comcast"),
            ("customfield_10043", "3.5"),
            ("fixVersions", "1.2,1.3"),
            ("key", "SREPROV-3072"),
            ("labels", "dcr,east"),
            ("project", "SREPROV"),
            ("status", "Approved"),
            ("summary", "DCR comcast"),
        ]
    );
}

#[test]
fn ids_may_be_numbers_and_times_may_be_text() {
    let body = with(transition(), "/changelog/id", json!(89708));
    let body = with(body, "/issue/id", json!(10001));
    let body = with(body, "/changelog/items/0/to", json!(10011));
    let body = with(body, "/timestamp", json!("1717165102467"));
    assert_eq!(moved(&body), moved(&transition()));
}

#[test]
fn data_center_names_people_by_key_and_fields_without_ids() {
    let body = with(
        transition(),
        "/user",
        json!({ "key": "JIRAUSER10100", "name": "eve", "displayName": "Eve" }),
    );
    let body = without(body, "/changelog/items/0/fieldId");
    let moved = moved(&body);
    assert_eq!(
        (moved.actor.account.id.as_str(), moved.actor.name.as_str()),
        ("JIRAUSER10100", "Eve")
    );
    let only_name = with(transition(), "/user", json!({ "name": "eve" }));
    let Ok(Signal::TicketMoved(moved)) = read(&only_name) else {
        panic!()
    };
    assert_eq!(
        (moved.actor.account.id.as_str(), moved.actor.name.as_str()),
        ("eve", "eve")
    );
}

#[test]
fn programs_and_stepherd_itself_are_told_from_people() {
    for (user, kind) in [
        (json!({ "accountId": "a", "accountType": "app" }), ActorKind::Bot),
        (json!({ "accountId": "a", "accountType": "customer" }), ActorKind::Human),
        (
            json!({ "accountId": "557058:own", "accountType": "app" }),
            ActorKind::Ours,
        ),
        (json!({ "key": "557058:own", "name": "stepherd" }), ActorKind::Ours),
        (json!({ "key": "JIRAUSER1", "name": "557058:own" }), ActorKind::Ours),
    ] {
        assert_eq!(
            moved(&with(transition(), "/user", user.clone())).actor.kind,
            kind,
            "{user}"
        );
    }
}

#[test]
fn a_change_attributed_to_nobody_is_nobodys() {
    let moved = moved(&without(transition(), "/user"));
    assert_eq!(moved.actor.account.id, "anonymous");
    assert!(moved.actor.roles.is_empty());
}

#[test]
fn of_several_changes_only_the_status_counts() {
    let status = transition()["changelog"]["items"][0].clone();
    let resolution =
        json!({ "field": "resolution", "fieldId": "resolution", "from": null, "to": "1", "toString": "Done" });
    for items in [json!([resolution, status]), json!([status, resolution])] {
        assert_eq!(
            moved(&with(transition(), "/changelog/items", items)),
            moved(&transition())
        );
    }
    nothing(&with(transition(), "/changelog/items", json!([resolution])));
}

#[test]
fn a_custom_field_called_status_is_not_the_status() {
    let cloud = with(transition(), "/changelog/items/0/fieldId", json!("customfield_10099"));
    nothing(&cloud);
    let data_center = without(transition(), "/changelog/items/0/fieldId");
    nothing(&with(data_center, "/changelog/items/0/fieldtype", json!("custom")));
}

#[test]
fn what_changes_no_status_is_nothing() {
    nothing(&without(transition(), "/changelog"));
    nothing(&with(transition(), "/changelog/items", json!([])));
    nothing(&with(transition(), "/changelog/items/0/from", json!("10011")));
    for event in [
        "jira:issue_created",
        "comment_updated",
        "comment_deleted",
        "jira:worklog_updated",
        "",
    ] {
        nothing(&with(transition(), "/webhookEvent", json!(event)));
    }
}

#[test]
fn a_bulk_change_reads_like_any_other() {
    let bulk = with(
        transition(),
        "/bulkOperationMetaData",
        json!({ "bulkOperationId": "x", "sendBulkNotification": false }),
    );
    assert_eq!(moved(&bulk), moved(&transition()));
}

#[test]
fn names_stand_in_for_status_ids_that_are_missing() {
    let body = without(
        without(transition(), "/changelog/items/0/from"),
        "/changelog/items/0/to",
    );
    let read_back = moved(&body);
    assert_eq!(read_back.to.id, "");
    assert_eq!(read_back.to.name, "Approved");
    nothing(&with(body, "/changelog/items/0/fromString", json!("Approved")));
    let from_nowhere = without(
        without(transition(), "/changelog/items/0/from"),
        "/changelog/items/0/fromString",
    );
    assert_eq!(moved(&from_nowhere).from, None);
}

/// As an Automation rule's secret proves it.
fn automated(body: &Value) -> Result<Signal, Unreadable> {
    read_proved(body.to_string().as_bytes(), Proof::Automation)
}

#[test]
fn an_automation_rules_body_tells_the_status_the_ticket_has() {
    let mut issue = transition()["issue"].clone();
    issue["fields"]["updated"] = json!("2026-05-31T14:18:22.467+0000");
    let Ok(Signal::TicketMoved(enveloped)) = automated(&json!({ "issue": issue })) else {
        panic!("it tells of a move");
    };
    let bare = automated(&issue);
    assert_eq!(
        bare,
        Ok(Signal::TicketMoved(enveloped.clone())),
        "the two formats mean the same"
    );
    assert_eq!((enveloped.from, enveloped.change), (None, None));
    assert_eq!(enveloped.to.id, "10011");
    assert_eq!(enveloped.actor.account.id, "automation");
    assert_eq!(enveloped.at.to_string(), "2026-05-31T14:18:22.467Z");
    let by_somebody = automated(&json!({ "issue": issue, "user": { "accountId": "557058:abc" } }));
    assert_eq!(by_somebody, bare, "whoever the body names, it is the rule that speaks");
}

#[test]
fn an_automation_rules_secret_proves_no_webhook_and_no_other_proof_its_form() {
    for webhook in [
        transition(),
        comment(),
        with(transition(), "/webhookEvent", json!("")),
        with(transition(), "/webhookEvent", json!("issue_moved")),
    ] {
        let why = automated(&webhook).unwrap_err().to_string();
        assert!(why.starts_with("$.webhookEvent: "), "{why}");
    }
    let form = json!({ "issue": transition()["issue"] }).to_string();
    for proof in [Proof::Token, Proof::BodySigned, Proof::Repaired] {
        let why = read_proved(form.as_bytes(), proof).unwrap_err();
        assert_eq!(why.to_string(), "$.webhookEvent: expected an event, found nothing");
    }
}

#[test]
fn a_user_who_took_the_name_of_an_account_that_is_nobodys_is_told_apart() {
    for name in ["automation", "anonymous"] {
        for key in ["accountId", "key", "name"] {
            let body = with(transition(), "/user", json!({ key: name, "displayName": "E" }));
            assert_eq!(moved(&body).actor.account.id, format!("user:{name}"), "{key}");
        }
    }
}

#[test]
fn a_comment_that_only_some_may_see_says_nothing() {
    for (place, value) in [
        (
            "/comment/visibility",
            json!({ "type": "role", "value": "Administrators" }),
        ),
        ("/comment/visibility", json!({ "type": "group", "identifier": "g-1" })),
        ("/comment/jsdPublic", json!(false)),
    ] {
        let mut body = comment();
        let (_, name) = place.rsplit_once('/').unwrap();
        body["comment"][name] = value;
        nothing(&body);
    }
    let mut body = comment();
    body["comment"]["visibility"] = Value::Null;
    body["comment"]["jsdPublic"] = json!(true);
    assert_eq!(said(&body), said(&comment()));
}

fn comment() -> Value {
    json!({
        "timestamp": 1_717_165_102_467_i64,
        "webhookEvent": "comment_created",
        "comment": {
            "self": "https://x.atlassian.net/rest/api/2/issue/10001/comment/20001",
            "id": "20001",
            "author": { "accountId": "557058:abc", "displayName": "E", "active": true },
            "updateAuthor": { "accountId": "557058:abc" },
            "body": "/dcr retry URMO7YZ2\r\n{code}\n/dcr stop\n{code}",
            "created": "2024-05-31T14:18:22.000+0200",
            "updated": "2024-05-31T14:18:22.000+0200",
        },
        "issue": { "id": "10001", "key": "SREPROV-3072", "fields": {} },
    })
}

#[test]
fn a_comment_in_wiki_text_says_its_plain_lines() {
    let said = said(&comment());
    assert_eq!(said.text, Text::Lines(vec!["/dcr retry URMO7YZ2".into()]));
    assert_eq!(said.key, "jira:comment:20001");
    assert_eq!(
        (said.message.id.as_str(), said.message.thread.place.as_str()),
        ("20001", "SREPROV-3072")
    );
    assert_eq!(said.thread, said.message.thread);
    assert_eq!(said.actor.account.id, "557058:abc");
    assert_eq!(said.at.to_string(), "2024-05-31T12:18:22Z");
    assert_eq!(said.pr, None);
}

#[test]
fn a_comment_in_adf_says_the_same() {
    let adf = json!({ "type": "doc", "version": 1, "content": [
        { "type": "paragraph", "content": [{ "type": "text", "text": "/dcr retry URMO7YZ2" }] },
        { "type": "codeBlock", "content": [{ "type": "text", "text": "/dcr stop" }] },
    ]});
    assert_eq!(said(&with(comment(), "/comment/body", adf)), said(&comment()));
}

#[test]
fn edited_comments_and_comments_in_another_name_say_nothing() {
    nothing(&with(
        comment(),
        "/comment/updated",
        json!("2024-05-31T14:18:23.000+0200"),
    ));
    nothing(&with(
        comment(),
        "/comment/updateAuthor",
        json!({ "accountId": "other" }),
    ));
    nothing(&with(comment(), "/user", json!({ "accountId": "other" })));
    said(&with(comment(), "/user", json!({ "accountId": "557058:abc" })));
}

#[test]
fn a_comment_without_its_ticket_is_placed_by_its_address_or_not_at_all() {
    let bare = without(comment(), "/issue");
    let nowhere = with(
        bare.clone(),
        "/comment/self",
        json!("https://x/rest/api/2/comment/20001"),
    );
    assert!(unreadable(&nowhere).starts_with("$.issue: expected the comment's ticket"));
    let named = with(
        bare,
        "/comment/self",
        json!("https://x/rest/api/2/issue/OPS-7/comment/20001"),
    );
    assert_eq!(said(&named).thread.place, "OPS-7");
}

#[test]
fn a_comment_told_as_an_update_of_its_ticket_is_the_same_comment() {
    let mut update = with(comment(), "/webhookEvent", json!("jira:issue_updated"));
    update["issue_event_type_name"] = json!("issue_commented");
    update["user"] = comment()["comment"]["author"].clone();
    assert_eq!(said(&update), said(&comment()));
    let bare = said(&without(comment(), "/issue"));
    assert_eq!((bare.thread.place.as_str(), bare.key), ("10001", said(&comment()).key));
}

fn assert_unreadable(cases: Vec<(Value, &str)>) {
    for (body, expected) in cases {
        let found = unreadable(&body);
        assert!(found.starts_with(expected), "{found}\nexpected {expected}");
    }
}

#[test]
fn what_is_wrong_with_a_transition_is_named_by_its_path() {
    let key = |key: &str| with(transition(), "/issue/key", json!(key));
    let item_to = |to: Value| with(transition(), "/changelog/items/0/to", to);
    assert_unreadable(vec![
        (json!([]), "$: expected an object"),
        (json!({}), "$.webhookEvent: expected an event"),
        (
            json!({ "webhookEvent": 7 }),
            "$.webhookEvent: expected text, found a number",
        ),
        (
            without(transition(), "/issue"),
            "$.issue: expected an object, found nothing",
        ),
        (
            without(transition(), "/issue/id"),
            "$.issue.id: expected an id, found nothing",
        ),
        (key("nonsense"), "$.issue.key: a ticket key must be"),
        (key("../../x"), "$.issue.key: a ticket key must be"),
        (without(transition(), "/changelog/id"), "$.changelog.id: expected an id"),
        (
            with(transition(), "/changelog", json!("x")),
            "$.changelog: expected an object, found text",
        ),
        (
            with(transition(), "/changelog/items", json!({})),
            "$.changelog.items: expected a list",
        ),
        (
            with(transition(), "/changelog/items/0", json!(3)),
            "$.changelog.items[0]: expected an object",
        ),
        (
            item_to(json!([])),
            "$.changelog.items[0].to: expected an id, found a list",
        ),
        (
            with(transition(), "/timestamp", json!("yesterday")),
            "$.timestamp: expected a moment",
        ),
        (with(transition(), "/user", json!({})), "$.user: expected a user"),
        (with(transition(), "/user", json!("eve")), "$.user: expected a user"),
    ]);
}

#[test]
fn what_is_wrong_with_an_automation_rules_body_is_named_by_its_path() {
    for (body, expected) in [
        (json!([]), "$: expected an object"),
        (json!({}), "$.issue: expected a ticket"),
        (
            json!({ "webhookEvent": 7 }),
            "$.webhookEvent: expected text, found a number",
        ),
        (
            json!({ "issue": { "id": "1", "key": "OPS-1" } }),
            "$.issue.fields: expected an object",
        ),
        (
            json!({ "issue": { "key": "OPS-1", "fields": { "status": {} } } }),
            "$.issue.fields.status: expected a status",
        ),
    ] {
        let found = automated(&body).unwrap_err().to_string();
        assert!(found.starts_with(expected), "{found}\nexpected {expected}");
    }
}

#[test]
fn what_is_wrong_with_a_comment_is_named_by_its_path() {
    let body = |body: Value| with(comment(), "/comment/body", body);
    let id = |id: Value| with(comment(), "/comment/id", id);
    assert_unreadable(vec![
        (without(comment(), "/comment"), "$.comment: expected an object"),
        (
            body(Value::Null),
            "$.comment.body: expected text or a document, found nothing",
        ),
        (
            body(json!(7)),
            "$.comment.body: expected text or a document, found a number",
        ),
        (
            without(comment(), "/comment/author"),
            "$.comment.author: expected an object",
        ),
        (id(json!(-1)), "$.comment.id: expected an id"),
        (id(json!("1\n2")), "$.comment.id: expected an id"),
        (id(json!("..")), "$.comment.id: expected a number"),
        (id(json!("1:dcr")), "$.comment.id: expected a number"),
        (id(json!("")), "$.comment.id: expected an id"),
    ]);
}

#[test]
fn what_is_not_json_is_unreadable_however_deep_it_goes() {
    assert!(
        read_bytes(b"{\"webhookEvent\":")
            .unwrap_err()
            .0
            .starts_with("$: not JSON")
    );
    assert!(read_bytes(b"").is_err());
    assert!(read_bytes(&[b'['; 5000]).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~\n]{0,12}".prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let names = "webhookEvent|issue|fields|status|comment|body|author|changelog|items|content|type|id|key|text|attrs";
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(names, inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

const PLACES: &[&str] = &[
    "/timestamp",
    "/webhookEvent",
    "/user",
    "/issue",
    "/issue/id",
    "/issue/key",
    "/issue/fields",
    "/issue/fields/status",
    "/issue/fields/project",
    "/issue/fields/updated",
];

proptest! {
    #[test]
    fn reading_never_panics_on_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_bytes(&body);
    }

    #[test]
    fn reading_never_panics_on_json(body in any_json()) {
        let _ = read(&body);
    }

    #[test]
    fn reading_never_panics_on_payloads_with_a_part_gone_odd(
        place in prop::sample::select(PLACES),
        more in prop::sample::select(&["/changelog", "/changelog/id", "/changelog/items", "/changelog/items/0"][..]),
        part in any_json(),
        automation in any::<bool>(),
    ) {
        let mut body = with(transition(), "/issue/fields/updated", json!("2026-05-31T14:18:22.467+0000"));
        body = with(body, place, part.clone());
        if automation {
            body = without(body, "/webhookEvent");
        }
        let _ = read(&body);
        let _ = read(&with(transition(), more, part.clone()));
        for place in ["/comment", "/comment/id", "/comment/body", "/comment/author", "/comment/created", "/comment/self"] {
            let _ = read(&with(without(comment(), "/issue"), place, part.clone()));
        }
    }
}
