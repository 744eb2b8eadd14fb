//! The inbox: each delivery once, held by one worker at a time.

use std::sync::Arc;
use std::time::Duration;

use stepherd::clock::Clock as _;
use stepherd::domain::signal::Proof;
use stepherd::store::{Deadline, DeliverySettled, NewDelivery, Recorded, Store};

use super::samples::{LEASE, at, claim_delivery, delivery};
use crate::world::TestClock;

fn finished() -> DeliverySettled {
    DeliverySettled::Done {
        note: "started a run".to_owned(),
    }
}

pub(super) async fn a_delivery_is_recorded_once_per_platform(store: Store) {
    let first = delivery("github", "1", at(0));
    assert_eq!(store.record_delivery(&first).await.unwrap(), Recorded::New);
    let mut again = delivery("github", "1", at(5));
    again.body = "another body".into();
    assert_eq!(store.record_delivery(&again).await.unwrap(), Recorded::Again);
    let elsewhere = delivery("jira", "1", at(5));
    assert_eq!(store.record_delivery(&elsewhere).await.unwrap(), Recorded::New);
    let (view, kept) = store.delivery(&first.platform, "1").await.unwrap().unwrap();
    assert_eq!(
        (kept.body, view.received_at),
        (first.body, at(0)),
        "the first one stays"
    );
}

pub(super) async fn deliveries_are_claimed_in_the_order_of_arrival_and_by_one_worker(store: Store) {
    // The platform's clock does not order them, arrival does.
    for (id, received) in [("a", 3), ("b", 1), ("c", 2)] {
        store
            .record_delivery(&delivery("github", id, at(received)))
            .await
            .unwrap();
    }
    let ids = |claimed: &[stepherd::store::ClaimedDelivery]| -> Vec<String> {
        claimed.iter().map(|c| c.delivery.delivery_id.clone()).collect()
    };
    assert_eq!(
        ids(&store.claim_deliveries(at(2), LEASE, 9).await.unwrap()),
        ["b", "c"],
        "`a` is not due"
    );
    assert_eq!(ids(&store.claim_deliveries(at(3), LEASE, 9).await.unwrap()), ["a"]);
    assert!(
        store.claim_deliveries(at(4), LEASE, 9).await.unwrap().is_empty(),
        "all are held"
    );
    let again = store.claim_deliveries(at(63), LEASE, 2).await.unwrap();
    assert_eq!(ids(&again), ["a", "b"], "all leases have expired, two are asked for");
    assert_eq!(again[0].delivery.body, delivery("github", "a", at(3)).body);
    assert_eq!(again[0].delivery.headers, delivery("github", "a", at(3)).headers);
}

pub(super) async fn an_expired_lease_lets_the_next_worker_in_and_fences_the_first_one_off(store: Store) {
    store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
    let first = claim_delivery(&store, at(0)).await.unwrap();
    assert_eq!(first.attempts, 0);
    assert!(claim_delivery(&store, at(59)).await.is_none(), "the lease holds");
    let second = claim_delivery(&store, at(60)).await.unwrap();
    assert_eq!((second.attempts, second.claim.seq), (1, first.claim.seq));
    assert!(second.claim.epoch > first.claim.epoch);
    assert!(
        !store.settle_delivery(first.claim, finished(), at(61)).await.unwrap(),
        "fenced off"
    );
    let (view, _) = store.delivery_by_seq(first.claim.seq).await.unwrap().unwrap();
    assert_eq!(view.state, "pending");
    assert!(store.settle_delivery(second.claim, finished(), at(61)).await.unwrap());
    assert!(
        !store.settle_delivery(second.claim, finished(), at(62)).await.unwrap(),
        "once only"
    );
    let (view, _) = store.delivery_by_seq(first.claim.seq).await.unwrap().unwrap();
    assert_eq!(
        (view.state.as_str(), view.note.as_str(), view.attempts),
        ("done", "started a run", 2)
    );
    assert!(claim_delivery(&store, at(1000)).await.is_none());
}

pub(super) async fn a_delivery_to_be_tried_again_waits_until_it_is_due(store: Store) {
    store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
    let claimed = claim_delivery(&store, at(0)).await.unwrap();
    let later = DeliverySettled::RetryAt {
        at: at(30),
        reason: "502".to_owned(),
        since: at(0),
    };
    assert!(store.settle_delivery(claimed.claim, later, at(1)).await.unwrap());
    assert!(claim_delivery(&store, at(29)).await.is_none());
    let (view, _) = store.delivery_by_seq(claimed.claim.seq).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.note.as_str()), ("pending", "502"));
    assert_eq!(claim_delivery(&store, at(30)).await.unwrap().attempts, 1);
}

pub(super) async fn a_delivery_keeps_its_kind_of_proof_for_ever(store: Store) {
    for (second, proof) in (0..).zip(Proof::ALL) {
        let proved = NewDelivery {
            proof,
            ..delivery("jira", proof.name(), at(second))
        };
        store.record_delivery(&proved).await.unwrap();
        let claimed = claim_delivery(&store, at(second)).await.unwrap();
        assert_eq!(claimed.delivery.proof, proof);
        // Whoever sends it again with a better proof changes nothing about what is stored.
        let again = NewDelivery {
            proof: Proof::BodySigned,
            ..proved
        };
        assert_eq!(store.record_delivery(&again).await.unwrap(), Recorded::Again);
        assert!(
            store
                .settle_delivery(claimed.claim, finished(), at(second))
                .await
                .unwrap()
        );
        assert!(store.replay_delivery(claimed.claim.seq, at(second)).await.unwrap());
        let replayed = claim_delivery(&store, at(second)).await.unwrap();
        assert_eq!(replayed.delivery.proof, proof);
    }
}

pub(super) async fn a_parked_delivery_stays_until_it_is_replayed(store: Store) {
    store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
    let claimed = claim_delivery(&store, at(0)).await.unwrap();
    assert!(
        !store.replay_delivery(claimed.claim.seq, at(0)).await.unwrap(),
        "it is pending"
    );
    let parked = DeliverySettled::Parked {
        reason: "no such event".to_owned(),
    };
    assert!(store.settle_delivery(claimed.claim, parked, at(1)).await.unwrap());
    assert!(claim_delivery(&store, at(1000)).await.is_none());
    assert_eq!(
        store.deliveries(Some("parked"), 9).await.unwrap()[0].note,
        "no such event"
    );

    assert!(store.replay_delivery(claimed.claim.seq, at(1000)).await.unwrap());
    assert!(
        !store
            .settle_delivery(claimed.claim, finished(), at(1000))
            .await
            .unwrap(),
        "the old claim is spent"
    );
    let again = claim_delivery(&store, at(1000)).await.unwrap();
    assert_eq!(again.attempts, 0, "tried afresh");
    assert!(store.settle_delivery(again.claim, finished(), at(1001)).await.unwrap());
    assert!(
        store.replay_delivery(claimed.claim.seq, at(1002)).await.unwrap(),
        "what is done can be replayed too"
    );
    assert!(
        !store.replay_delivery(claimed.claim.seq + 1, at(1002)).await.unwrap(),
        "there is no such delivery"
    );
}

pub(super) async fn deliveries_are_listed_and_found_as_they_came(store: Store) {
    for id in ["1", "2", "3"] {
        store.record_delivery(&delivery("github", id, at(0))).await.unwrap();
    }
    let claimed = claim_delivery(&store, at(0)).await.unwrap();
    store.settle_delivery(claimed.claim, finished(), at(1)).await.unwrap();
    let ids = |found: Vec<stepherd::store::DeliveryView>| -> Vec<String> {
        found.into_iter().map(|view| view.delivery_id).collect()
    };
    assert_eq!(ids(store.deliveries(None, 9).await.unwrap()), ["3", "2", "1"]);
    assert_eq!(ids(store.deliveries(None, 1).await.unwrap()), ["3"]);
    assert_eq!(ids(store.deliveries(Some("pending"), 9).await.unwrap()), ["3", "2"]);
    assert_eq!(ids(store.deliveries(Some("done"), 9).await.unwrap()), ["1"]);
    let sample = delivery("github", "2", at(0));
    let (view, kept) = store.delivery(&sample.platform, "2").await.unwrap().unwrap();
    assert_eq!(view.body_bytes, 5);
    assert_eq!(view.kind, sample.kind);
    assert_eq!(
        (kept.target, kept.headers, kept.body),
        (sample.target, sample.headers, sample.body)
    );
    assert!(store.delivery(&sample.platform, "4").await.unwrap().is_none());
    assert!(store.delivery_by_seq(99).await.unwrap().is_none());
}

pub(super) async fn what_comes_too_late_is_not_stored_and_takes_nothing_with_it(store: Store) {
    let clock = Arc::new(TestClock::new());
    let came = clock.now();
    let deadline = Deadline {
        arrived: clock.moment(),
        within: Duration::from_millis(2500),
        clock: clock.clone(),
    };
    let [early, late, other] = ["early", "late", "other"].map(|id| delivery("discord", id, came));
    clock.advance(Duration::from_millis(2499));
    let recorded = store.record_delivery_before(&early, deadline.clone()).await.unwrap();
    assert_eq!(recorded, Recorded::New, "a millisecond is left");
    clock.advance(Duration::from_millis(1));
    // Nobody gets time back by setting the clock.
    clock.set_by(-900_000);
    // Both in one commit, whichever way they are grouped.
    let (late_became, other_became) = tokio::join!(
        store.record_delivery_before(&late, deadline.clone()),
        store.record_delivery(&other)
    );
    assert_eq!(late_became.unwrap(), Recorded::TooLate);
    assert_eq!(other_became.unwrap(), Recorded::New);
    clock.set_by(900_000);
    assert!(store.delivery(&late.platform, "late").await.unwrap().is_none());
    let claimed = store.claim_deliveries(clock.now(), LEASE, 9).await.unwrap();
    let claimed: Vec<_> = claimed.iter().map(|c| c.delivery.delivery_id.as_str()).collect();
    assert_eq!(claimed, ["early", "other"]);
    let again = store.record_delivery_before(&early, deadline).await.unwrap();
    assert_eq!(again, Recorded::Again, "what is there is there");
}
