//! Cursors: one holder at a time, and only the newest one moves them. And what was accepted, by parts of its key.

use stepherd::store::{ClaimedCursor, Commit, Committed, Store};

use super::samples::{LEASE, at};

async fn claim(store: &Store, now: i64) -> Option<ClaimedCursor> {
    store.claim_cursor("repair:github", at(now), LEASE).await.unwrap()
}

pub(super) async fn a_cursor_is_made_at_its_first_use_and_held_by_one_worker(store: Store) {
    let held = claim(&store, 5).await.expect("due at once");
    assert_eq!((held.name.as_str(), &held.value), ("repair:github", &None));
    assert_eq!(claim(&store, 6).await, None, "it is held");
    let other = store.claim_cursor("repair:jira", at(6), LEASE).await.unwrap();
    assert!(other.is_some(), "another one is not");
    let (a, b) = tokio::join!(
        store.claim_cursor("new", at(0), LEASE),
        store.claim_cursor("new", at(0), LEASE)
    );
    let claimed = usize::from(a.unwrap().is_some()) + usize::from(b.unwrap().is_some());
    assert_eq!(claimed, 1);
}

pub(super) async fn a_cursor_waits_until_it_is_due_and_keeps_its_value(store: Store) {
    let held = claim(&store, 0).await.expect("due at once");
    assert!(
        store
            .settle_cursor(&held, Some("so far"), at(300), at(10))
            .await
            .unwrap()
    );
    assert_eq!(claim(&store, 299).await, None);
    let again = claim(&store, 300).await.expect("due");
    assert_eq!(again.value.as_deref(), Some("so far"));
    assert!(store.settle_cursor(&again, None, at(400), at(301)).await.unwrap());
    let last = claim(&store, 400).await.expect("due");
    assert_eq!(last.value, None);
    // Hastened while it is held, it stays held, and its holder says when it is due.
    store.hasten_cursor("repair:github", at(401)).await.unwrap();
    assert_eq!(claim(&store, 401).await, None);
    assert!(store.settle_cursor(&last, None, at(900), at(402)).await.unwrap());
    store.hasten_cursor("repair:github", at(403)).await.unwrap();
    assert!(claim(&store, 403).await.is_some());
}

pub(super) async fn an_expired_lease_on_a_cursor_fences_the_first_worker_off(store: Store) {
    let first = claim(&store, 0).await.expect("due at once");
    assert_eq!(claim(&store, 59).await, None, "the lease holds");
    let second = claim(&store, 60).await.expect("it has ended");
    assert!(second.epoch > first.epoch);
    assert!(!store.settle_cursor(&first, Some("late"), at(61), at(61)).await.unwrap());
    assert!(store.settle_cursor(&second, Some("now"), at(61), at(61)).await.unwrap());
    assert!(
        !store
            .settle_cursor(&second, Some("twice"), at(62), at(61))
            .await
            .unwrap()
    );
    assert_eq!(claim(&store, 61).await.expect("due").value.as_deref(), Some("now"));
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
}
