//! What several processes on one database rely on: shards, leases that are renewed, shared pauses, work that one does.

use std::time::Duration;

use stepherd::domain::ids::{PrRef, RunId};
use stepherd::domain::run::OpenedPr;
use stepherd::store::{Committed, DeliverySettled, Lease, Place, RunFilter, Shards, Store};

use super::samples::{
    LEASE, act, ask, at, claim_delivery, claim_effect, delivery, done, finished, id, load, name, next, report, start,
    thread,
};

async fn hold(store: &Store, replica: &str, now: i64) -> Shards {
    store.hold_shards(replica, at(now), LEASE).await.unwrap()
}

pub(super) async fn shards_are_shared_out_fairly_and_taken_over_when_a_lease_ends(store: Store) {
    assert_eq!(hold(&store, "a", 0).await, Shards::ALL, "alone, one has all");
    assert!(hold(&store, "b", 1).await.is_empty(), "nothing is taken away");
    let a = hold(&store, "a", 2).await;
    assert_eq!(a.len(), 32, "but given up at the next heartbeat");
    let b = hold(&store, "b", 3).await;
    assert_eq!((b.len(), b.without(a)), (32, b), "no shard is held twice");
    hold(&store, "c", 4).await;
    let (a, b) = (hold(&store, "a", 5).await, hold(&store, "b", 5).await);
    let c = hold(&store, "c", 6).await;
    assert_eq!([a.len(), b.len(), c.len()], [22, 22, 20]);
    assert_eq!(
        Shards::ALL.without(a).without(b).without(c),
        Shards::default(),
        "none is left over"
    );
    // `b` dies. Its lease of 60 seconds ends; the others renew theirs.
    assert_eq!(hold(&store, "a", 40).await, a);
    assert_eq!(hold(&store, "c", 40).await, c);
    let (a, c) = (hold(&store, "a", 66).await, hold(&store, "c", 66).await);
    assert_eq!([a.len(), c.len()], [32, 32]);
    // `a` ends in good order: nobody waits for its lease.
    store.leave_shards("a").await.unwrap();
    assert_eq!(hold(&store, "c", 67).await, Shards::ALL);
}

pub(super) async fn one_who_slept_through_its_lease_gets_back_only_what_nobody_took(store: Store) {
    hold(&store, "a", 0).await;
    assert_eq!(hold(&store, "a", 500).await, Shards::ALL, "nobody wanted them");
    assert_eq!(hold(&store, "b", 700).await, Shards::ALL, "`a` counts as dead by now");
    assert!(hold(&store, "a", 701).await.is_empty());
    assert_eq!(hold(&store, "b", 702).await.len(), 32);
    assert_eq!(hold(&store, "a", 703).await.len(), 32);
}

pub(super) async fn a_run_is_woken_by_whoever_holds_its_shard(store: Store) {
    for number in 1..=40 {
        let mut commit = start(number);
        commit.run.as_mut().unwrap().wake = (number % 2 == 0).then(|| at(100));
        if number == 40 {
            commit.run.as_mut().unwrap().run.state = finished();
        }
        done(&store, &commit).await;
    }
    hold(&store, "a", 0).await;
    hold(&store, "b", 0).await;
    let (a, b) = (hold(&store, "a", 1).await, hold(&store, "b", 2).await);
    let mut seen = Vec::new();
    for shards in [a, b] {
        let mut after: Option<RunId> = None;
        loop {
            let page = store.wakes(shards, after.as_ref(), 7, at(0)).await.unwrap();
            assert!(page.iter().all(|wake| shards.have(&wake.run)));
            after = page.last().map(|wake| wake.run.clone());
            seen.extend(page.iter().cloned());
            if page.len() < 7 {
                break;
            }
        }
    }
    seen.sort_by(|a, b| a.run.cmp(&b.run));
    let mut expected: Vec<RunId> = (1..40).map(id).collect();
    expected.sort();
    assert_eq!(seen.iter().map(|wake| wake.run.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(seen.iter().filter(|wake| wake.at == Some(at(100))).count(), 19);

    let before = store.last_change().await.unwrap();
    store.touch(&[id(1), id(2)], at(7)).await.unwrap();
    let all = store.runs_changed_since(before, Shards::ALL, 9, at(0)).await.unwrap();
    assert_eq!(all.iter().map(|c| c.wake.at).collect::<Vec<_>>(), [Some(at(7)); 2]);
    let [here, there] = [a, b].map(|shards| store.runs_changed_since(before, shards, 9, at(0)));
    let (here, there) = (here.await.unwrap(), there.await.unwrap());
    assert_eq!(here.len() + there.len(), 2, "each run is one process's business");
}

pub(super) async fn a_renewed_lease_keeps_others_out_and_a_lost_one_is_not_renewed(store: Store) {
    ask(&store, vec![report(1)], at(0)).await;
    store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
    let effect = claim_effect(&store, at(0)).await.unwrap();
    let held = claim_delivery(&store, at(0)).await.unwrap();
    assert_eq!(
        store.renew_effects(&[effect.claim], at(50), LEASE).await.unwrap(),
        [effect.claim]
    );
    assert_eq!(
        store.renew_deliveries(&[held.claim], at(50), LEASE).await.unwrap(),
        [held.claim]
    );
    assert!(claim_effect(&store, at(70)).await.is_none(), "held until 110");
    assert!(claim_delivery(&store, at(70)).await.is_none());
    let taken_over = claim_effect(&store, at(111)).await.unwrap();
    assert!(taken_over.maybe_done);
    assert!(claim_delivery(&store, at(111)).await.is_some());
    assert_eq!(store.renew_effects(&[effect.claim], at(112), LEASE).await.unwrap(), []);
    assert_eq!(store.renew_deliveries(&[held.claim], at(112), LEASE).await.unwrap(), []);
    assert_eq!(
        store.renew_effects(&[taken_over.claim], at(112), LEASE).await.unwrap(),
        [taken_over.claim]
    );
}

pub(super) async fn who_serves_alone_takes_up_at_once_what_a_dead_one_held(store: Store) {
    if !store.engine_version().await.unwrap().starts_with("SQLite") {
        // Of several nobody is known to be dead: what they held comes back when its lease ends.
        ask(&store, vec![report(1)], at(0)).await;
        claim_effect(&store, at(0)).await.unwrap();
        let _serving = store.serve(at(1)).await.unwrap();
        assert!(claim_effect(&store, at(1)).await.is_none());
        return;
    }
    ask(&store, vec![report(1)], at(0)).await;
    store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
    claim_effect(&store, at(0)).await.unwrap();
    claim_delivery(&store, at(0)).await.unwrap();
    hold(&store, "dead", 0).await;
    store.claim_cursor("repair", at(0), LEASE).await.unwrap().unwrap();
    let _serving = store.serve(at(1)).await.unwrap();
    assert!(claim_effect(&store, at(1)).await.unwrap().maybe_done);
    assert!(claim_delivery(&store, at(1)).await.is_some());
    assert_eq!(hold(&store, "next", 1).await, Shards::ALL);
    assert!(store.claim_cursor("repair", at(1), LEASE).await.unwrap().is_some());
}

pub(super) async fn one_process_at_a_time_does_what_is_done_for_all(store: Store) {
    let first = store.claim_cursor("repair", at(0), LEASE).await.unwrap().unwrap();
    assert_eq!(first.value, None);
    assert_eq!(store.claim_cursor("repair", at(1), LEASE).await.unwrap(), None, "held");
    let other = store.claim_cursor("retention", at(1), LEASE).await.unwrap();
    assert!(other.is_some(), "another name is other work");
    assert!(store.settle_cursor(&first, Some("monday"), at(300)).await.unwrap());
    assert_eq!(
        store.claim_cursor("repair", at(299), LEASE).await.unwrap(),
        None,
        "not due"
    );
    let second = store.claim_cursor("repair", at(300), LEASE).await.unwrap().unwrap();
    assert_eq!(second.value.as_deref(), Some("monday"));
    let third = store.claim_cursor("repair", at(361), LEASE).await.unwrap().unwrap();
    assert!(
        !store.settle_cursor(&second, Some("lost"), at(400)).await.unwrap(),
        "it has been taken over"
    );
    assert!(store.settle_cursor(&third, None, at(400)).await.unwrap());
    let fourth = store.claim_cursor("repair", at(400), LEASE).await.unwrap().unwrap();
    assert_eq!(
        fourth.value.as_deref(),
        Some("monday"),
        "nothing new keeps what was known"
    );
}

pub(super) async fn a_pause_is_known_to_all_and_never_shortened(store: Store) {
    store.pause("github", at(60), at(0)).await.unwrap();
    store.pause("github", at(30), at(0)).await.unwrap();
    store.pause("jira", at(10), at(0)).await.unwrap();
    let mut known = store.pauses(at(5)).await.unwrap();
    known.sort();
    assert_eq!(known, [("github".to_owned(), at(60)), ("jira".to_owned(), at(10))]);
    assert_eq!(store.pauses(at(10)).await.unwrap(), [("github".to_owned(), at(60))]);
    assert_eq!(store.pauses(at(60)).await.unwrap(), []);
}

pub(super) async fn runs_are_found_by_their_pull_requests(store: Store) {
    let sha = |digit: char| name(&digit.to_string().repeat(40));
    let opened = |number: u64, head| OpenedPr {
        pr: PrRef {
            repo: name("acme/deploy"),
            number,
        },
        branch: "b".to_owned(),
        head,
        url: "https://github.example".to_owned(),
        thread: thread(number),
        merged: None,
    };
    for number in 1..=3 {
        let mut commit = start(number);
        let with = opened(number, sha('a'));
        commit.run.as_mut().unwrap().run.prs.insert(name("Config"), with);
        done(&store, &commit).await;
    }
    let mut moved = load(&store, 2).await;
    moved.prs.insert(name("Config"), opened(2, sha('b')));
    done(&store, &next(moved)).await;
    let mut ended = load(&store, 3).await;
    ended.state = finished();
    done(&store, &next(ended)).await;

    let at_head = async |repo: &str, head| store.runs_at_head(&name(repo), &head).await.unwrap();
    let mut both = vec![id(1), id(2)];
    both.sort();
    assert_eq!(
        at_head("acme/deploy", sha('a')).await,
        both,
        "live ones, also at a head that it had before"
    );
    assert_eq!(at_head("acme/deploy", sha('b')).await, [id(2)]);
    assert_eq!(
        at_head("acme/other", sha('b')).await,
        [],
        "the same commit in another repository"
    );
    let on = RunFilter {
        place: Some(Place::Pr(opened(2, sha('b')).pr)),
        ..RunFilter::default()
    };
    let found = store.runs(&on).await.unwrap();
    assert_eq!(found.iter().map(|run| run.id.clone()).collect::<Vec<_>>(), [id(2)]);
}

pub(super) async fn what_outside_text_holds_can_be_stored(store: Store) {
    let nasty = "a\0b \u{fffd} 'quoted' \\ \u{1f4a5}";
    let mut odd = delivery("github", nasty, at(0));
    odd.body = vec![0; 5000].into();
    odd.headers.push(("x".to_owned(), nasty.to_owned()));
    (odd.kind, odd.target) = (nasty.to_owned(), nasty.to_owned());
    store.record_delivery(&odd).await.unwrap();
    let claimed = claim_delivery(&store, at(0)).await.unwrap();
    assert_eq!(claimed.delivery.body, odd.body);
    assert_eq!(claimed.delivery.headers, odd.headers);
    let visible = nasty.replace('\0', "\u{fffd}");
    assert_eq!((&claimed.delivery.kind, &claimed.delivery.target), (&visible, &visible));
    let note = nasty.to_owned();
    let settled = store.settle_delivery(claimed.claim, DeliverySettled::Done { note }, at(1));
    assert!(settled.await.unwrap());
    let (view, _) = store.delivery_by_seq(claimed.claim.seq).await.unwrap().unwrap();
    assert_eq!(view.note, visible);
    let mut commit = start(1);
    commit.key = Some(nasty.to_owned());
    commit.run.as_mut().unwrap().run.asked_by.name = nasty.to_owned();
    commit.effects = vec![act()];
    done(&store, &commit).await;
    assert_eq!(load(&store, 1).await.asked_by.name, nasty);
    let mut again = start(2);
    again.key = Some(nasty.to_owned());
    assert_eq!(store.commit(&again, at(0)).await.unwrap(), Committed::AlreadyDone);
}

pub(super) async fn many_deliveries_at_once_are_each_stored_once_and_answered(store: Store) {
    let mut tasks = Vec::new();
    for number in 0..300 {
        let store = store.clone();
        // Each comes twice, as redeliveries do.
        let mut body = delivery("github", &(number / 2).to_string(), at(0));
        body.body = vec![b'x'; number * 17].into();
        tasks.push(tokio::spawn(async move { store.record_delivery(&body).await.unwrap() }));
    }
    let mut new = 0;
    for task in tasks {
        new += usize::from(task.await.unwrap() == stepherd::store::Recorded::New);
    }
    assert_eq!(new, 150);
    let claimed = store
        .claim_deliveries(at(0), Lease(Duration::from_secs(9)), 500)
        .await
        .unwrap();
    assert_eq!(claimed.len(), 150);
    assert!(claimed.is_sorted_by(|a, b| a.claim.seq < b.claim.seq));
    for held in claimed {
        let first: usize = held.delivery.delivery_id.parse().unwrap();
        let sizes = [first * 2 * 17, (first * 2 + 1) * 17];
        assert!(sizes.contains(&held.delivery.body.len()));
    }
}
