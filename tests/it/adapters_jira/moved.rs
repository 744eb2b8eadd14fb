//! Whether a move of a ticket stands, as a site says.

use serde_json::json;
use stepherd::adapters::{CallError, MoveSeen, Tracker};
use stepherd::domain::signal::{Account, Signal, TicketMoved};
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
        let stands = MoveSeen::Stands(Box::new(told.clone()));
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
        assert_eq!(seen.fields["summary"], format!("DCR {}", changes - 1), "as it is now");
    }
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
