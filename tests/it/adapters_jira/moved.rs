//! Whether a move of a ticket stands, as a site says.

use std::collections::BTreeMap;

use serde_json::json;
use stepherd::adapters::{CallError, MoveSeen, MoveStands, Tracker};
use stepherd::domain::signal::{Account, Signal, TicketMoved};
use stepherd::domain::since::Since;
use stepherd::sandbox::jira::Flavour;
use stepherd::sandbox::stage::Fault;

use super::site::{FLAVORS, Set, set_up};

/// Eve approves, and the webhook tells of it.
async fn approved(set: &Set) -> TicketMoved {
    set.site.transition("OPS-1", "eve", "Approved").await.unwrap();
    let Ok(Signal::TicketMoved(moved)) = set.read_last() else {
        panic!("it was told");
    };
    moved
}

async fn why_not(set: &Set, told: &TicketMoved) -> String {
    match set.jira.move_stands(told).await {
        Ok(MoveSeen::Not(why)) => why,
        Ok(MoveSeen::Absent(why)) => format!("absent: {why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_newest_move_stands_as_the_site_has_it_whatever_else_was_told() {
    for (flavor, flavour) in FLAVORS {
        let set = set_up(flavor, flavour).await;
        let told = approved(&set).await;
        let stands = MoveSeen::Stands(Box::new(MoveStands {
            moved: told.clone(),
            since: Since::Told(BTreeMap::new()),
        }));
        assert_eq!(set.jira.move_stands(&told).await, Ok(stands.clone()), "{flavor:?}");
        let mut embellished = told.clone();
        embellished.fields.insert("summary".into(), "DCR another".into());
        embellished.actor.name = "Somebody Important".into();
        embellished.at = jiff::Timestamp::MAX;
        embellished.from = None;
        embellished.key = "jira:1:changelog:1".into();
        assert_eq!(set.jira.move_stands(&embellished).await, Ok(stands));
    }
}

#[tokio::test]
async fn it_stands_behind_many_other_changes() {
    for ((flavor, flavour), changes) in FLAVORS.into_iter().zip([60, 60]).chain([(FLAVORS[0], 250)]) {
        let set = set_up(flavor, flavour).await;
        let told = approved(&set).await;
        for n in 0..changes {
            set.site
                .set_field("OPS-1", "eve", "summary", json!(format!("DCR {n}")))
                .await
                .unwrap();
        }
        let seen = set.jira.move_stands(&told).await;
        let Ok(MoveSeen::Stands(seen)) = seen else {
            panic!("{flavor:?} {changes}: {seen:?}");
        };
        let newest = format!("DCR {}", changes - 1);
        assert_eq!(seen.moved.fields["summary"], newest, "as it is now");
        assert_eq!(edits(&seen.since), ["summary by Eve"], "{flavor:?}");
    }
}

/// The fields that were changed since, and by whom last.
fn edits(since: &Since) -> Vec<String> {
    match since {
        Since::Told(edits) => edits.iter().map(|(id, edit)| format!("{id} by {}", edit.by)).collect(),
        Since::Untold(why) => vec![why.clone()],
    }
}

async fn since(set: &Set, told: &TicketMoved) -> Vec<String> {
    match set.jira.move_stands(told).await {
        Ok(MoveSeen::Stands(seen)) => edits(&seen.since),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_field_that_was_changed_since_is_told_by_its_id_with_who_did_it_last() {
    for (flavor, flavour) in FLAVORS {
        let set = set_up(flavor, flavour).await;
        let edit = async |who: &str, field: &str| {
            set.site.set_field("OPS-1", who, field, json!("x")).await.unwrap();
        };
        edit("bob", "customfield_10050").await;
        edit("bob", "summary").await;
        let told = approved(&set).await;
        assert_eq!(
            since(&set, &told).await,
            Vec::<String>::new(),
            "{flavor:?}: that was before"
        );
        for (who, field) in [
            ("bob", "customfield_10042"),
            ("eve", "customfield_10042"),
            ("eve", "fixVersions"),
            ("bob", "components"),
            ("eve", "duedate"),
        ] {
            edit(who, field).await;
        }
        assert_eq!(
            since(&set, &told).await,
            [
                "components by Bob",
                "customfield_10042 by Eve",
                "duedate by Eve",
                "fixVersions by Eve"
            ],
            "{flavor:?}"
        );
    }
}

#[tokio::test]
async fn where_only_the_name_of_a_field_is_told_every_field_of_that_name_may_be_meant() {
    for (flavor, flavour) in FLAVORS {
        let set = set_up(flavor, flavour).await;
        for field in ["customfield_10042", "customfield_10043"] {
            set.site.set_field("OPS-1", "eve", field, json!("x")).await.unwrap();
            set.site.name_field(field, "Tenant");
        }
        let told = approved(&set).await;
        set.site
            .set_field("OPS-1", "eve", "customfield_10043", json!("y"))
            .await
            .unwrap();
        let wanted: &[&str] = match flavour {
            Flavour::Cloud => &["customfield_10043 by Eve"],
            Flavour::DataCenter => &["customfield_10042 by Eve", "customfield_10043 by Eve"],
        };
        assert_eq!(since(&set, &told).await, wanted, "{flavor:?}");
        // Renamed since: on Data Center nobody can say any more which field that was.
        set.site.name_field("customfield_10042", "Customer");
        set.site.name_field("customfield_10043", "Customer");
        let wanted = match flavour {
            Flavour::Cloud => "customfield_10043 by Eve",
            Flavour::DataCenter => "its history has a change of “Tenant”, which none of its fields is called",
        };
        assert_eq!(since(&set, &told).await, [wanted], "{flavor:?}");
    }
}

#[tokio::test]
async fn an_entry_of_the_history_that_cannot_be_placed_may_be_anything() {
    let (flavor, flavour) = FLAVORS[0];
    let set = set_up(flavor, flavour).await;
    let told = approved(&set).await;
    let later = jiff::Timestamp::MAX.to_string();
    let of_move = json!({ "id": told.change, "created": told.at.to_string(), "author": { "accountId": told.actor.account.id },
        "items": [{ "field": "status", "fieldId": "status", "fieldtype": "jira", "from": "10010", "to": "10011" }] });
    for (entry, why) in [
        (json!({ "created": later, "items": [] }), "has no number or no time"),
        (json!({ "id": "99999", "items": [] }), "has no number or no time"),
        (
            json!({ "id": "99999", "created": "soon", "items": [] }),
            "has no number or no time",
        ),
        (
            json!({ "id": "99999", "created": later }),
            "does not say what was changed",
        ),
        (
            json!({ "id": "99999", "created": later, "items": [{ "to": "x" }] }),
            "does not name the field",
        ),
    ] {
        let body = json!({ "id": "10001", "key": "OPS-1", "fields": { "status": { "id": "10011", "name": "Approved" } },
            "changelog": { "total": 2, "histories": [entry, of_move] } });
        let body = body.to_string();
        set.site
            .stage
            .misbehave(Fault::answer("GET", "/issue/OPS-1", 1, 200, Vec::new(), &body));
        let told = since(&set, &told).await;
        assert!(told.len() == 1 && told[0].ends_with(why), "{body}: {told:?}");
    }
}

#[tokio::test]
async fn a_history_that_is_too_long_to_be_read_is_no() {
    let (flavor, flavour) = FLAVORS[0];
    let set = set_up(flavor, flavour).await;
    let told = approved(&set).await;
    for n in 0..60 {
        let summary = json!(format!("DCR {n}"));
        set.site.set_field("OPS-1", "eve", "summary", summary).await.unwrap();
    }
    let entry = json!({ "id": "99999", "created": told.at.to_string(), "items": [{ "field": "summary" }] });
    let page = json!({ "total": 100_000, "values": vec![entry; 100] }).to_string();
    let pages = Fault::answer("GET", "/changelog", 100, 200, Vec::new(), &page);
    set.site.stage.misbehave(pages);
    assert_eq!(
        why_not(&set, &told).await,
        "OPS-1: it has more changes than can be read"
    );
}

#[tokio::test]
async fn what_is_not_so_or_not_any_more_does_not_stand() {
    for (flavor, flavour) in FLAVORS {
        let set = set_up(flavor, flavour).await;
        let told = approved(&set).await;
        let but = |edit: &dyn Fn(&mut TicketMoved)| {
            let mut other = told.clone();
            edit(&mut other);
            other
        };
        for (other, why) in [
            (
                but(&|told| told.change = Some("1".into())),
                "OPS-1: its newest change of status is another one",
            ),
            (
                but(&|told| told.change = Some("99999999".into())),
                "absent: OPS-1: Jira does not show this change",
            ),
            (
                but(&|told| {
                    told.change = None;
                    told.to.id = "10013".into();
                    told.at = jiff::Timestamp::MAX;
                }),
                "absent: OPS-1: it is not in that status",
            ),
            (
                but(&|told| {
                    told.change = None;
                    told.to.id = "10013".into();
                    told.at = jiff::Timestamp::UNIX_EPOCH;
                }),
                "OPS-1: it is not in that status",
            ),
            (
                but(&|told| {
                    told.actor.account = Account {
                        id: "557058:bob".into(),
                        ..told.actor.account.clone()
                    };
                }),
                "OPS-1: somebody else moved it",
            ),
            (
                but(&|told| told.to.id = "10013".into()),
                "OPS-1: it is not in that status",
            ),
            (
                but(&|told| told.ticket = "OPS-404".parse().unwrap()),
                "absent: OPS-404: Jira does not show this ticket",
            ),
        ] {
            assert_eq!(why_not(&set, &other).await, why, "{flavor:?}");
        }
        set.site.hide("OPS-1", true);
        assert_eq!(
            why_not(&set, &told).await,
            "absent: OPS-1: Jira does not show this ticket"
        );
        set.site.hide("OPS-1", false);
        set.site.transition("OPS-1", "eve", "Open").await.unwrap();
        let moved_on = "OPS-1: its newest change of status is another one";
        assert_eq!(why_not(&set, &told).await, moved_on);
        set.site.transition("OPS-1", "eve", "Approved").await.unwrap();
        assert_eq!(why_not(&set, &told).await, moved_on, "that was another approval");
    }
}

/// How often a read is tried that is answered so.
pub(super) fn reads(status: u16) -> u32 {
    if status >= 500 { 3 } else { 1 }
}

#[tokio::test]
async fn not_to_know_is_no_answer() {
    let (flavor, flavour) = FLAVORS[0];
    let set = set_up(flavor, flavour).await;
    let told = approved(&set).await;
    for (path, status, body) in [
        ("/myself", 503, "{}"),
        ("/myself", 401, "{}"),
        ("/issue/OPS-1", 500, "{}"),
        ("/issue/OPS-1", 429, "{}"),
        ("/issue/OPS-1", 401, "{}"),
        ("/issue/OPS-1", 200, "{}"),
        ("/issue/OPS-1", 200, ""),
        ("/issue/OPS-1", 200, r#"{"id":"10001","key":"OPS-1","fields":{}}"#),
    ] {
        let set = set_up(flavor, flavour).await;
        set.site
            .stage
            .misbehave(Fault::answer("GET", path, reads(status), status, Vec::new(), body));
        let unknown = set.jira.move_stands(&told).await;
        let later = matches!(unknown, Err(CallError::Retry { .. }));
        assert!(later, "{path} {status} {body}: {unknown:?}");
    }
}
