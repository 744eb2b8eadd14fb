//! The outbox: what is due, who holds it, and what became of it.

use stepherd::domain::effect::Effect;
use stepherd::store::{ClaimedEffect, Commit, Committed, EffectSettled, EffectView, Store};

use super::samples::{LEASE, act, ask, at, check, claim_effect, done, id, load, next, reply, report, run, start};

async fn only(store: &Store) -> EffectView {
    let mut found = store.effects(None, 9).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn failed(seconds: i64) -> EffectSettled {
    EffectSettled::RetryAt {
        at: at(seconds),
        reason: "502".to_owned(),
    }
}

pub(super) async fn effects_are_claimed_by_lane_then_age(store: Store) {
    ask(&store, vec![report(2)], at(0)).await;
    ask(&store, vec![reply("late"), check()], at(2)).await;
    ask(&store, vec![reply("early")], at(1)).await;
    ask(&store, vec![act()], at(3)).await;
    let claimed = store.claim_effects(at(3), LEASE, 4).await.unwrap();
    let effects: Vec<Effect> = claimed.into_iter().map(|c| c.effect).collect();
    assert_eq!(effects, [act(), check(), reply("early"), reply("late")]);
    let rest = store.claim_effects(at(3), LEASE, 4).await.unwrap();
    assert_eq!(rest.len(), 1, "the others are held");
    assert_eq!(rest[0].effect, report(2));
}

pub(super) async fn an_effect_that_happens_once_is_never_asked_for_twice(store: Store) {
    ask(&store, vec![reply("1")], at(0)).await;
    ask(&store, vec![reply("1")], at(1)).await;
    let claimed = claim_effect(&store, at(1)).await.unwrap();
    assert_eq!((claimed.since, claimed.failures, claimed.maybe_done), (at(0), 0, false));
    ask(&store, vec![reply("1")], at(2)).await;
    assert!(
        store
            .settle_effect(&claimed.claim, EffectSettled::Done, at(3))
            .await
            .unwrap()
    );
    ask(&store, vec![reply("1")], at(4)).await;
    assert_eq!(only(&store).await.state, "done");
    assert!(claim_effect(&store, at(1000)).await.is_none());
}

pub(super) async fn a_report_asked_for_again_is_due_again(store: Store) {
    for effect in [report(1), check()] {
        ask(&store, vec![effect.clone()], at(0)).await;
        let first = claim_effect(&store, at(0)).await.unwrap();
        assert!(
            store
                .settle_effect(&first.claim, EffectSettled::Done, at(1))
                .await
                .unwrap()
        );
        assert!(claim_effect(&store, at(1000)).await.is_none());
        ask(&store, vec![effect.clone()], at(5)).await;
        assert!(claim_effect(&store, at(4)).await.is_none());
        let second = claim_effect(&store, at(5)).await.unwrap();
        assert_eq!((second.claim.id, second.effect), (first.claim.id, effect));
        assert!(!second.maybe_done, "the first time is over");
        assert_eq!(second.since, at(5));
        assert!(
            store
                .settle_effect(&second.claim, EffectSettled::Done, at(6))
                .await
                .unwrap()
        );
    }
}

pub(super) async fn a_report_asked_for_while_it_is_carried_out_is_carried_out_once_more(store: Store) {
    ask(&store, vec![report(1)], at(0)).await;
    let first = claim_effect(&store, at(0)).await.unwrap();
    ask(&store, vec![report(1)], at(1)).await;
    ask(&store, vec![report(1)], at(2)).await;
    assert!(claim_effect(&store, at(3)).await.is_none(), "it is left to its holder");
    assert!(
        store
            .settle_effect(&first.claim, EffectSettled::Done, at(4))
            .await
            .unwrap()
    );
    let second = claim_effect(&store, at(4)).await.expect("it is due now");
    assert!(!second.maybe_done);
    assert!(
        store
            .settle_effect(&second.claim, EffectSettled::Done, at(5))
            .await
            .unwrap()
    );
    assert!(
        claim_effect(&store, at(1000)).await.is_none(),
        "both were served by one"
    );

    // The same through a commit that itself asks again for what it settles.
    done(&store, &start(7)).await;
    let mut commit = next(run(7));
    commit.effects = vec![report(7)];
    done(&store, &commit).await;
    let held = claim_effect(&store, at(1000)).await.unwrap();
    let mut commit = next(load(&store, 7).await);
    commit.effects = vec![report(7)];
    commit.settles = Some(held.claim);
    assert_eq!(store.commit(&commit, at(1001)).await.unwrap(), Committed::Done);
    assert_eq!(store.effects_of(&id(7)).await.unwrap()[0].state, "pending");
    assert!(claim_effect(&store, at(1001)).await.is_some());
}

pub(super) async fn a_failing_report_asked_for_again_is_due_at_once(store: Store) {
    ask(&store, vec![report(1)], at(0)).await;
    let claimed = claim_effect(&store, at(0)).await.unwrap();
    store.settle_effect(&claimed.claim, failed(500), at(1)).await.unwrap();
    ask(&store, vec![report(1)], at(2)).await;
    let claimed = claim_effect(&store, at(2)).await.expect("due at once");
    assert_eq!((claimed.failures, claimed.maybe_done, claimed.since), (0, true, at(0)));
    let parked = EffectSettled::Parked {
        reason: "gone".to_owned(),
    };
    store.settle_effect(&claimed.claim, parked, at(3)).await.unwrap();
    ask(&store, vec![report(1)], at(4)).await;
    assert!(claim_effect(&store, at(4)).await.is_some(), "parked ones too");
}

pub(super) async fn a_claim_settles_once_only(store: Store) {
    ask(&store, vec![report(1)], at(0)).await;
    let claimed = claim_effect(&store, at(0)).await.unwrap();
    assert!(
        store
            .settle_effect(&claimed.claim, EffectSettled::Done, at(1))
            .await
            .unwrap()
    );
    ask(&store, vec![report(1)], at(2)).await;
    for settled in [EffectSettled::Done, failed(9), EffectSettled::NotBefore { at: at(9) }] {
        assert!(!store.settle_effect(&claimed.claim, settled, at(3)).await.unwrap());
    }
    assert_eq!(only(&store).await.due, at(2));
}

pub(super) async fn an_expired_effect_lease_says_that_it_may_have_been_done(store: Store) {
    ask(&store, vec![act()], at(0)).await;
    let first = claim_effect(&store, at(0)).await.unwrap();
    assert!(!first.maybe_done);
    assert!(claim_effect(&store, at(59)).await.is_none());
    let second = claim_effect(&store, at(60)).await.unwrap();
    assert!(second.maybe_done);
    assert!(
        !store
            .settle_effect(&first.claim, EffectSettled::Done, at(61))
            .await
            .unwrap(),
        "fenced off"
    );
    assert_eq!(only(&store).await.state, "pending");
    // Too early says nothing about the claim before that.
    let early = EffectSettled::NotBefore { at: at(70) };
    assert!(store.settle_effect(&second.claim, early, at(61)).await.unwrap());
    assert!(claim_effect(&store, at(70)).await.unwrap().maybe_done);
}

pub(super) async fn a_failed_effect_waits_counts_and_may_have_been_done(store: Store) {
    ask(&store, vec![act()], at(0)).await;
    for failures in 0..3 {
        let claimed = claim_effect(&store, at(100 * failures)).await.unwrap();
        assert_eq!(i64::from(claimed.failures), failures);
        assert_eq!(claimed.maybe_done, failures > 0);
        let again = failed(100 * failures + 100);
        assert!(
            store
                .settle_effect(&claimed.claim, again, at(100 * failures + 1))
                .await
                .unwrap()
        );
        assert!(claim_effect(&store, at(100 * failures + 99)).await.is_none());
    }
    let view = only(&store).await;
    assert_eq!((view.failures, view.reason.as_str(), view.due), (3, "502", at(300)));
}

pub(super) async fn an_effect_that_is_too_early_has_not_failed(store: Store) {
    ask(&store, vec![report(1)], at(0)).await;
    let claimed = claim_effect(&store, at(0)).await.unwrap();
    let early = EffectSettled::NotBefore { at: at(10) };
    assert!(store.settle_effect(&claimed.claim, early, at(1)).await.unwrap());
    assert!(claim_effect(&store, at(9)).await.is_none());
    let ClaimedEffect {
        failures, maybe_done, ..
    } = claim_effect(&store, at(10)).await.unwrap();
    assert_eq!((failures, maybe_done), (0, false));
}

pub(super) async fn a_parked_effect_stays_until_it_is_released(store: Store) {
    ask(&store, vec![act()], at(0)).await;
    let claimed = claim_effect(&store, at(0)).await.unwrap();
    assert!(
        !store.release_effect(claimed.claim.id, at(0)).await.unwrap(),
        "it is pending"
    );
    let parked = EffectSettled::Parked {
        reason: "403".to_owned(),
    };
    assert!(store.settle_effect(&claimed.claim, parked, at(1)).await.unwrap());
    assert!(claim_effect(&store, at(1000)).await.is_none());
    let view = store.effects(Some("parked"), 9).await.unwrap().remove(0);
    assert_eq!((view.reason.as_str(), view.failures), ("403", 1));
    assert!(store.release_effect(view.id, at(1000)).await.unwrap());
    let again = claim_effect(&store, at(1000)).await.unwrap();
    assert_eq!((again.failures, again.maybe_done), (0, true));
}

pub(super) async fn effects_of_a_run_are_listed_with_it(store: Store) {
    let mut commit = start(1);
    commit.effects = vec![report(1), act()];
    done(&store, &commit).await;
    ask(&store, vec![reply("1")], at(0)).await;
    let keys: Vec<String> = store
        .effects_of(&id(1))
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.key)
        .collect();
    assert_eq!(keys, [report(1).key(Some(&id(1))), act().key(Some(&id(1)))]);
    let runs: Vec<_> = store
        .effects(None, 9)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.run)
        .collect();
    assert_eq!(runs, [None, Some(id(1)), Some(id(1))], "newest first");
    assert_eq!(store.effects(None, 1).await.unwrap().len(), 1);
    let claimed = store.claim_effects(at(0), LEASE, 9).await.unwrap();
    assert_eq!(claimed[0].run, Some(id(1)));
    let commit = Commit {
        settles: Some(claimed[0].claim),
        ..Commit::default()
    };
    done(&store, &commit).await;
    assert_eq!(store.effects(Some("done"), 9).await.unwrap()[0].key, keys[1]);
}

pub(super) async fn an_effect_behind_another_waits_as_long_as_that_one(store: Store) {
    ask(&store, vec![report(1), reply("1")], at(0)).await;
    let claimed = store.claim_effects(at(0), LEASE, 9).await.unwrap();
    let [behind, first] = claimed.as_slice() else {
        panic!("both are due");
    };
    let after = |seconds| EffectSettled::After {
        key: first.effect.key(None),
        at: at(seconds),
    };
    assert!(store.settle_effect(&first.claim, failed(60), at(1)).await.unwrap());
    assert!(store.settle_effect(&behind.claim, after(2), at(1)).await.unwrap());
    assert!(claim_effect(&store, at(59)).await.is_none(), "both wait");
    let first = claim_effect(&store, at(60)).await.unwrap();
    assert_eq!(first.effect, report(1), "the first one goes first");
    assert!(
        store
            .settle_effect(&first.claim, EffectSettled::Done, at(60))
            .await
            .unwrap()
    );
    let behind = claim_effect(&store, at(61)).await.unwrap();
    assert_eq!((behind.effect.clone(), behind.failures), (reply("1"), 0));
    assert!(store.settle_effect(&behind.claim, after(62), at(61)).await.unwrap());
    assert!(
        claim_effect(&store, at(62)).await.is_some(),
        "there is nothing before it"
    );
}
