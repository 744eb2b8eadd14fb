//! Deliveries in the shape in which Jira really sent them, Cloud and Data Center, cut down to what could matter and with
//! other names. Each shape is that of a recorded payload: the fields that a flavour leaves out are left out here.

use jiff::Timestamp;
use serde_json::{Value, json};
use stepherd::adapters::jira::{JiraDoor, JiraProofs};
use stepherd::adapters::{Door, RawRequest};
use stepherd::domain::signal::{ActorKind, Proof, Said, Signal, Text};

const HOST: &str = "http://jira.example.com:8080/rest/api/2";

fn read(body: &Value) -> Signal {
    let request = RawRequest {
        method: "POST".into(),
        target: "/webhooks/jira".into(),
        headers: Vec::new(),
        body: body.to_string().into_bytes().into(),
    };
    let door = JiraDoor::new(JiraProofs::default(), Some("JIRAUSER10000".into()));
    let mut signals = door.read(&request, Proof::BodySigned, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(signals.len(), 1);
    signals.remove(0)
}

fn said(body: &Value) -> Said {
    match read(body) {
        Signal::Said(said) => said,
        other => panic!("{other:?}"),
    }
}

/// A person on Data Center: no `accountId`, no `accountType`.
fn on_data_center() -> Value {
    json!({
        "self": format!("{HOST}/user?username=lena"), "name": "lena", "key": "lena",
        "emailAddress": "lena@example.com", "avatarUrls": { "48x48": "https://www.gravatar.com/avatar/1?d=mm&s=48" },
        "displayName": "Lena", "active": true, "timeZone": "Etc/UTC",
    })
}

/// A comment on Data Center: its address names the ticket by number.
fn data_centers_comment() -> Value {
    json!({
        "self": format!("{HOST}/issue/10013/comment/10082"), "id": "10082",
        "author": on_data_center(), "body": "/dcr retry", "updateAuthor": on_data_center(),
        "created": "2019-06-04T00:15:17.234+0000", "updated": "2019-06-04T00:15:17.234+0000",
    })
}

/// A ticket on Data Center, with its older comments and without a changelog beside it.
fn data_centers_ticket() -> Value {
    let mut older = data_centers_comment();
    older["id"] = json!("10005");
    older["body"] = json!("/dcr stop");
    json!({
        "id": "10013", "self": format!("{HOST}/issue/10013"), "key": "PRJX-14",
        "fields": {
            "issuetype": { "self": format!("{HOST}/issuetype/10001"), "id": "10001", "name": "Story", "subtask": false },
            "timespent": null, "project": { "id": "10000", "key": "PRJX", "name": "ProjectX" }, "fixVersions": [],
            "customfield_10106": 3.0, "customfield_10117": "false", "workratio": -1,
            "updated": "2019-06-04T00:10:21.326+0000",
            "status": { "name": "To Do", "id": "10000", "statusCategory": { "id": 2, "key": "new", "name": "To Do" } },
            "comment": { "comments": [older], "maxResults": 1, "total": 1, "startAt": 0 },
        },
    })
}

#[test]
fn data_center_tells_a_comment_by_itself_without_its_ticket() {
    let told = said(&json!({
        "timestamp": 1_559_607_317_234_i64, "webhookEvent": "comment_created", "comment": data_centers_comment(),
    }));
    assert_eq!(told.text, Text::Lines(vec!["/dcr retry".to_owned()]));
    assert_eq!(
        (told.actor.account.id.as_str(), told.actor.kind),
        ("lena", ActorKind::Human)
    );
    assert_eq!(
        (told.key.as_str(), told.message.id.as_str()),
        ("jira:comment:10082", "10082")
    );
    assert_eq!(told.thread.place, "10013", "whoever reads it again learns its key");
    assert!(told.within.is_empty(), "nowhere is nothing allowed");
    assert_eq!(told.at.to_string(), "2019-06-04T00:15:17.234Z");
}

#[test]
fn data_center_tells_the_same_comment_as_an_update_of_its_ticket() {
    let told = said(&json!({
        "timestamp": 1_559_607_317_244_i64, "webhookEvent": "jira:issue_updated",
        "issue_event_type_name": "issue_commented", "user": on_data_center(), "issue": data_centers_ticket(),
        "comment": data_centers_comment(),
    }));
    assert_eq!(
        told.text,
        Text::Lines(vec!["/dcr retry".to_owned()]),
        "not an older one"
    );
    assert_eq!(
        (told.key.as_str(), told.thread.place.as_str()),
        ("jira:comment:10082", "PRJX-14")
    );
    assert_eq!(told.within, ["PRJX"]);
}

#[test]
fn data_center_tells_edits_and_deletions_of_comments_as_updates_too_and_they_say_nothing() {
    let mut edited = data_centers_comment();
    edited["updated"] = json!("2019-06-04T00:16:00.000+0000");
    for (kind, comment) in [("issue_comment_edited", edited), ("issue_comment_deleted", Value::Null)] {
        let mut body = json!({
            "timestamp": 1_559_607_317_244_i64, "webhookEvent": "jira:issue_updated", "issue_event_type_name": kind,
            "user": on_data_center(), "issue": data_centers_ticket(),
        });
        if !comment.is_null() {
            body["comment"] = comment;
        }
        assert!(matches!(read(&body), Signal::Nothing(_)), "{kind}");
    }
}

#[test]
fn data_center_tells_a_transition_without_field_ids() {
    let mut ticket = data_centers_ticket();
    ticket["fields"]["status"] = json!({ "name": "In Progress", "id": "3" });
    let body = json!({
        "timestamp": 1_565_751_753_680_i64, "webhookEvent": "jira:issue_updated",
        "issue_event_type_name": "issue_work_started", "user": on_data_center(), "issue": ticket,
        "changelog": { "id": "10508", "items": [{
            "field": "status", "fieldtype": "jira", "from": "4", "fromString": "Reopened", "to": "3",
            "toString": "In Progress",
        }] },
    });
    let Signal::TicketMoved(moved) = read(&body) else {
        panic!("a move");
    };
    assert_eq!((moved.ticket.as_str(), moved.to.id.as_str()), ("PRJX-14", "3"));
    assert_eq!(moved.key, "jira:10013:changelog:10508");
    assert_eq!(moved.actor.account.id, "lena");
}

/// A person on Cloud may also have the key and name that Server would have.
#[test]
fn cloud_tells_a_comment_once_with_a_part_of_its_ticket() {
    let person = json!({
        "self": "https://x.atlassian.net/rest/api/2/user?accountId=5c5f880629be9642ba529340", "name": "admin",
        "key": "admin", "accountId": "5c5f880629be9642ba529340", "displayName": "Test User", "active": true,
        "timeZone": "America/Los_Angeles",
    });
    let told = said(&json!({
        "timestamp": 1_550_286_678_321_i64, "webhookEvent": "comment_created",
        "comment": {
            "self": "https://x.atlassian.net/rest/api/2/issue/10040/comment/10019", "id": "10019", "author": person,
            "body": "/dcr retry [~user]", "updateAuthor": person, "created": "2019-02-15T19:11:18.321-0800",
            "updated": "2019-02-15T19:11:18.321-0800", "jsdPublic": true,
        },
        "issue": {
            "id": "10040", "self": "https://x.atlassian.net/rest/api/2/issue/10040", "key": "TES-41",
            "fields": { "summary": "s", "project": { "key": "TES" }, "status": { "name": "To Do", "id": "10001" } },
        },
    }));
    assert_eq!(
        (told.thread.place.as_str(), told.within.as_slice()),
        ("TES-41", &["TES".to_owned()][..])
    );
    assert_eq!(told.actor.account.id, "5c5f880629be9642ba529340");
    assert_eq!(told.at.to_string(), "2019-02-16T03:11:18.321Z");
}
