//! Order within threads and places, and room with vendors.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use jiff::Timestamp;
use stepherd::domain::effect::{Act, Deed, Effect, JobIntent};
use stepherd::store::{
    ClaimedDelivery, Commit, Committed, DeliverySettled, EffectSettled, MayBeVoided, NewDelivery, Rooms, Store, Voided,
};

use super::samples::{LEASE, at, claim_delivery, delivery, name, start, thread};

fn said_in(thread: &str, id: &str, received_at: Timestamp) -> NewDelivery {
    NewDelivery {
        thread: Some(thread.to_owned()),
        ..delivery("github", id, received_at)
    }
}

async fn record(store: &Store, all: &[(&str, &str)]) {
    for (thread, id) in all {
        store.record_delivery(&said_in(thread, id, at(0))).await.unwrap();
    }
}

fn ids(claimed: &[ClaimedDelivery]) -> Vec<&str> {
    claimed.iter().map(|one| one.delivery.delivery_id.as_str()).collect()
}

fn done() -> DeliverySettled {
    DeliverySettled::Done { note: String::new() }
}

pub(super) async fn nobody_overtakes_in_a_thread(store: Store) {
    record(&store, &[("t", "1"), ("t", "2"), ("u", "3"), ("t", "4")]).await;
    store.record_delivery(&delivery("github", "5", at(0))).await.unwrap();
    let first = claim_delivery(&store, at(0)).await.unwrap();
    assert_eq!(first.delivery.delivery_id, "1");
    let beside = store.claim_deliveries(at(0), LEASE, 9).await.unwrap();
    assert_eq!(ids(&beside), ["3", "5"], "other threads, and what is in none");
    store.settle_delivery(first.claim, done(), at(0)).await.unwrap();
    let next = store.claim_deliveries(at(0), LEASE, 9).await.unwrap();
    assert_eq!(ids(&next), ["2", "4"], "together, in order");
    assert!(next.iter().all(|one| !one.early));
    // Whoever held them died: they come back together.
    let again = store.claim_deliveries(at(60), LEASE, 9).await.unwrap();
    assert_eq!(ids(&again), ["2", "3", "4", "5"]);
    assert!(again.iter().all(|one| !one.early));
}

pub(super) async fn who_claims_at_the_same_time_hands_out_a_thread_once(store: Store) {
    for round in 0..8 {
        let thread = format!("t{round}");
        let all: Vec<String> = (0..8).map(|n| format!("{round}/{n}")).collect();
        for id in &all {
            store.record_delivery(&said_in(&thread, id, at(0))).await.unwrap();
        }
        let claims = (0..6).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.claim_deliveries(at(0), LEASE, 2).await.unwrap() })
        });
        let claimed: Vec<_> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
        let those: Vec<_> = claimed.iter().filter(|claimed| !claimed.is_empty()).collect();
        assert_eq!(those.len(), 1, "one has the thread");
        assert_eq!(ids(those[0]), [&all[0], &all[1]]);
    }
}

pub(super) async fn what_waits_for_the_outside_holds_its_thread_back_for_two_minutes(store: Store) {
    record(&store, &[("t", "1"), ("u", "other"), ("t", "2")]).await;
    let first = claim_delivery(&store, at(0)).await.unwrap();
    let later = |seconds| DeliverySettled::RetryAt {
        at: at(seconds),
        reason: "502".to_owned(),
        since: at(0),
    };
    store.settle_delivery(first.claim, later(30), at(5)).await.unwrap();
    let claimed = store.claim_deliveries(at(10), LEASE, 9).await.unwrap();
    assert_eq!(
        ids(&claimed),
        ["other", "2"],
        "each may be looked at before its turn, once"
    );
    assert_eq!([claimed[0].early, claimed[1].early], [false, true]);
    store.settle_delivery(claimed[0].claim, done(), at(10)).await.unwrap();
    let back = DeliverySettled::PutBack;
    store.settle_delivery(claimed[1].claim, back, at(10)).await.unwrap();
    let (view, _) = store.delivery_by_seq(claimed[1].claim.seq).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.attempts), ("pending", 0), "it was no try");
    assert!(claim_delivery(&store, at(29)).await.is_none());

    let first = store.claim_deliveries(at(30), LEASE, 9).await.unwrap();
    assert_eq!(ids(&first), ["1"], "the next try is its alone");
    assert_eq!(first[0].held_since, Some(at(0)));
    store.settle_delivery(first[0].claim, later(500), at(31)).await.unwrap();
    assert!(claim_delivery(&store, at(119)).await.is_none());
    let free = claim_delivery(&store, at(120)).await.unwrap();
    assert_eq!(
        (free.delivery.delivery_id.as_str(), free.early, free.attempts),
        ("2", false, 0)
    );
}

pub(super) async fn who_is_behind_many_waits_no_longer_than_behind_one(store: Store) {
    record(&store, &[("t", "1"), ("t", "2"), ("t", "3")]).await;
    let waits = |since| DeliverySettled::RetryAt {
        at: at(500),
        reason: "502".to_owned(),
        since: at(since),
    };
    let all = store.claim_deliveries(at(0), LEASE, 9).await.unwrap();
    store.settle_delivery(all[0].claim, waits(0), at(0)).await.unwrap();
    for behind in &all[1..] {
        let back = DeliverySettled::PutBack;
        store.settle_delivery(behind.claim, back, at(2)).await.unwrap();
    }
    // Each of the others is looked at once before its turn.
    let early = store.claim_deliveries(at(3), LEASE, 9).await.unwrap();
    assert_eq!(ids(&early), ["2", "3"]);
    for early in &early {
        let back = DeliverySettled::PutBack;
        store.settle_delivery(early.claim, back, at(3)).await.unwrap();
    }
    let second = store.claim_deliveries(at(120), LEASE, 1).await.unwrap();
    assert_eq!(ids(&second), ["2"]);
    store
        .settle_delivery(second[0].claim, waits(120), at(120))
        .await
        .unwrap();
    assert!(claim_delivery(&store, at(121)).await.is_none());
    let third = claim_delivery(&store, at(122))
        .await
        .expect("it has waited for long enough");
    assert_eq!((third.delivery.delivery_id.as_str(), third.early), ("3", false));
    assert_eq!(third.behind_since, Some(at(2)), "since it was put back first");
}

pub(super) async fn what_was_heard_early_and_has_to_wait_is_heard_early_again(store: Store) {
    record(&store, &[("t", "1"), ("t", "2")]).await;
    let first = claim_delivery(&store, at(0)).await.unwrap();
    let later = |seconds| DeliverySettled::RetryAt {
        at: at(seconds),
        reason: "502".to_owned(),
        since: at(0),
    };
    store.settle_delivery(first.claim, later(100), at(0)).await.unwrap();
    let waits = DeliverySettled::WaitsFor {
        room: "github".to_owned(),
        since: at(5),
    };
    for (now, settled) in [(5, later(10)), (10, waits), (11, DeliverySettled::PutBack)] {
        let early = claim_delivery(&store, at(now)).await.expect("it may go first");
        assert_eq!((early.delivery.delivery_id.as_str(), early.early), ("2", true));
        store.settle_delivery(early.claim, settled, at(now)).await.unwrap();
    }
    assert!(
        claim_delivery(&store, at(12)).await.is_none(),
        "who may not go first is not asked again"
    );
}

pub(super) async fn what_was_only_put_back_has_not_been_tried(store: Store) {
    record(&store, &[("t", "1"), ("u", "2")]).await;
    let waits = DeliverySettled::WaitsFor {
        room: "github".to_owned(),
        since: at(0),
    };
    for settled in [DeliverySettled::PutBack, waits] {
        let claimed = store.claim_deliveries(at(0), LEASE, 9).await.unwrap();
        assert_eq!(ids(&claimed), ["1", "2"]);
        store.settle_delivery(claimed[0].claim, settled, at(0)).await.unwrap();
        assert!(store.earlier_untried(&claimed[1]).await.unwrap());
        let back = DeliverySettled::PutBack;
        store.settle_delivery(claimed[1].claim, back, at(0)).await.unwrap();
    }
    let claimed = store.claim_deliveries(at(0), LEASE, 9).await.unwrap();
    let tried = DeliverySettled::RetryAt {
        at: at(1),
        reason: "502".to_owned(),
        since: at(0),
    };
    store.settle_delivery(claimed[0].claim, tried, at(0)).await.unwrap();
    assert!(!store.earlier_untried(&claimed[1]).await.unwrap());
}

pub(super) async fn what_waits_for_room_is_left_until_there_is_some(store: Store) {
    record(&store, &[("t", "1"), ("u", "2"), ("t", "3")]).await;
    let first = claim_delivery(&store, at(0)).await.unwrap();
    let waits = DeliverySettled::WaitsFor {
        room: "github".to_owned(),
        since: at(0),
    };
    store.settle_delivery(first.claim, waits, at(0)).await.unwrap();
    let full = ["github".to_owned()];
    let claimed = store.claim_deliveries_except(at(0), LEASE, 9, &full).await.unwrap();
    assert_eq!(ids(&claimed), ["2"], "what comes after it in its thread waits with it");
    let elsewhere = ["jira".to_owned()];
    let claimed = store
        .claim_deliveries_except(at(0), LEASE, 9, &elsewhere)
        .await
        .unwrap();
    assert_eq!(ids(&claimed), ["1"]);
    assert_eq!(claimed[0].attempts, 0, "to wait for room is no try");
}

pub(super) async fn a_start_that_was_stopped_while_it_waited_is_not_committed(store: Store) {
    record(&store, &[("t", "1"), ("t", "stop"), ("t", "2"), ("u", "3")]).await;
    let stop = Voided {
        command: "dcr".to_owned(),
        by: "Ada".to_owned(),
        at: at(7),
    };
    store.void_starts("t", 2, &stop).await.unwrap();
    let from = |number: u64, seq, command: &str| Commit {
        unless_voided: Some(MayBeVoided {
            seq,
            command: command.to_owned(),
            said_at: at(6),
        }),
        ..start(number)
    };
    let commit = async |commit: Commit| store.commit(&commit, at(8)).await.unwrap();
    assert_eq!(commit(from(1, 1, "dcr")).await, Committed::Voided);
    assert!(store.runs(&Default::default()).await.unwrap().is_empty());
    assert_eq!(
        commit(from(1, 1, "provision")).await,
        Committed::Done,
        "another command"
    );
    assert_eq!(commit(from(2, 3, "dcr")).await, Committed::Done, "said later");
    assert_eq!(commit(from(3, 4, "dcr")).await, Committed::Done, "said elsewhere");
    let of = |seq| MayBeVoided {
        seq,
        command: "dcr".to_owned(),
        said_at: at(7),
    };
    assert_eq!(store.voided(&of(1)).await.unwrap(), Some(stop));
    let after = MayBeVoided {
        said_at: at(8),
        ..of(1)
    };
    assert_eq!(
        store.voided(&after).await.unwrap(),
        None,
        "said after the stop, which came late"
    );
    assert_eq!(store.voided(&of(3)).await.unwrap(), None);

    // Replayed by hand it counts again.
    let claimed = store.claim_deliveries(at(8), LEASE, 1).await.unwrap().remove(0);
    store.settle_delivery(claimed.claim, done(), at(8)).await.unwrap();
    assert!(store.replay_delivery(1, at(9)).await.unwrap());
    assert_eq!(store.voided(&of(1)).await.unwrap(), None);
}

fn job(backend: &str, marker: &str, cancel: bool) -> Effect {
    let intent = JobIntent {
        backend: name(backend),
        job: marker.to_owned(),
        with: BTreeMap::new(),
        marker: marker.to_owned(),
    };
    Effect::Act(Act {
        step: name("Rebuild"),
        attempt: 1,
        what: if cancel {
            Deed::CancelJob(intent)
        } else {
            Deed::StartJob(intent)
        },
    })
}

async fn ask_for(store: &Store, effects: Vec<Effect>) {
    let commit = Commit { effects, ..start(1) };
    assert_eq!(store.commit(&commit, at(0)).await.unwrap(), Committed::Done);
}

pub(super) async fn effects_are_claimed_as_far_as_there_is_room(store: Store) {
    let mut effects: Vec<Effect> = (0..5).map(|n| job("argocd", &format!("a{n}"), false)).collect();
    effects.push(job("argocd", "other", true));
    effects.extend((0..3).map(|n| job("dcr", &format!("d{n}"), false)));
    ask_for(&store, effects).await;
    let rooms = |free: &[(&str, u32)], limit| Rooms {
        free: free.iter().map(|(room, free)| ((*room).to_owned(), *free)).collect(),
        other: 2,
        limit,
    };
    let claimed = async |rooms: Rooms| {
        let claimed = store.claim_effects_within(at(1), LEASE, &rooms).await.unwrap();
        let rooms = claimed.iter().map(|one| one.effect.room());
        rooms.collect::<Vec<_>>()
    };
    assert!(
        claimed(rooms(&[("argocd", 0), ("dcr", 0), ("argocd, canceling", 0)], 9))
            .await
            .is_empty()
    );
    let first = claimed(rooms(&[("argocd", 3)], 9)).await;
    assert_eq!(first.iter().filter(|room| *room == "argocd").count(), 3);
    assert_eq!(
        first.iter().filter(|room| *room == "dcr").count(),
        2,
        "others have room for two"
    );
    assert!(
        first.contains(&"argocd, canceling".to_owned()),
        "to cancel has room of its own"
    );
    assert_eq!(claimed(rooms(&[], 1)).await.len(), 1, "and so many in all");
    assert_eq!(claimed(rooms(&[], 9)).await.len(), 2);
}

pub(super) async fn what_goes_to_one_place_is_claimed_by_one_at_a_time(store: Store) {
    let report = |number| Effect::Report { thread: thread(number) };
    let notice = |number, seq| Effect::Notice {
        thread: thread(number),
        seq,
    };
    ask_for(&store, vec![notice(1, 1), report(1), notice(2, 1)]).await;
    let first = store.claim_effects(at(1), LEASE, 1).await.unwrap();
    assert_eq!(first[0].effect, notice(1, 1));
    let beside = store.claim_effects(at(1), LEASE, 9).await.unwrap();
    assert_eq!(
        beside.iter().map(|one| &one.effect).collect::<Vec<_>>(),
        [&notice(2, 1)]
    );
    let settled = EffectSettled::Done;
    store.settle_effect(&first[0].claim, settled, at(1)).await.unwrap();
    let next = store.claim_effects(at(1), LEASE, 9).await.unwrap();
    assert_eq!(next[0].effect, report(1));
}
