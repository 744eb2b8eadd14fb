//! Work that is to be done now, and what was accepted, by parts of its key.

use stepherd::store::{Commit, Committed, Store};

use super::samples::{LEASE, at};

pub(super) async fn hastened_work_is_due_unless_somebody_does_it(store: Store) {
    let claim = async |now| store.claim_cursor("repair", at(now), LEASE).await.unwrap();
    store.hasten_cursor("repair", at(0)).await.unwrap();
    let first = claim(0).await.expect("due at once");
    store.hasten_cursor("repair", at(1)).await.unwrap();
    assert_eq!(claim(1).await, None, "it is held");
    assert!(store.settle_cursor(&first, Some("so far"), at(300)).await.unwrap());
    assert_eq!(claim(2).await, None, "and its holder said when it is due");
    store.hasten_cursor("another", at(3)).await.unwrap();
    assert_eq!(claim(3).await, None);
    store.hasten_cursor("repair", at(4)).await.unwrap();
    let second = claim(4).await.expect("hastened");
    assert_eq!(second.value.as_deref(), Some("so far"));
}

pub(super) async fn what_was_accepted_is_known_by_the_whole_parts_of_its_key(store: Store) {
    let commit = Commit {
        key: Some("github:acme/x:issue_comment:12:dcr:retry:0".to_owned()),
        ..Commit::default()
    };
    assert_eq!(store.commit(&commit, at(0)).await.unwrap(), Committed::Done);
    for (prefix, there) in [
        ("github:acme/x:issue_comment:12:", true),
        ("github:acme/x:issue_comment:12:dcr:retry:", true),
        ("github:acme/x:issue_comment:1:", false),
        ("github:acme/x:issue_comment:123:", false),
        ("github:acme/x:review_comment:12:", false),
        ("jira:comment:12:", false),
    ] {
        assert_eq!(store.accepted_within(prefix).await.unwrap(), there, "{prefix}");
    }
    for (key, there) in [
        ("github:acme/x:issue_comment:12:dcr:retry:0", true),
        ("github:acme/x:issue_comment:12:dcr:retry:", false),
        ("github:acme/x:issue_comment:12:dcr:retry:00", false),
    ] {
        assert_eq!(store.accepted(key).await.unwrap(), there, "{key}");
    }
}

pub(super) async fn what_was_begun_once_is_not_begun_again(store: Store) {
    assert_eq!(store.begun("begun:jira").await.unwrap(), None);
    assert_eq!(store.begin("begun:jira", at(7)).await.unwrap(), at(7));
    assert_eq!(store.begin("begun:jira", at(3)).await.unwrap(), at(7));
    assert_eq!(store.begin("begun:jira", at(9)).await.unwrap(), at(7));
    assert_eq!(store.begun("begun:jira").await.unwrap(), Some(at(7)));
    assert_eq!(store.begun("begun:github").await.unwrap(), None);
    assert_eq!(
        store.cursors("repair:").await.unwrap(),
        [],
        "it is no cursor of anybody's"
    );
}
