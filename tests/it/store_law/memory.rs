//! What else is remembered: messages that were sent, heads of pull requests, counts.

use stepherd::domain::ids::PrRef;
use stepherd::domain::signal::MessageRef;
use stepherd::store::{Counts, DeliverySettled, EffectSettled, HeadSeen, Place, RunFilter, Sent, Store};

use super::samples::{
    ask, at, attempt, by, claim_delivery, claim_effect, delivery, done, finished, id, name, reply, report, start,
    thread,
};

fn sent(number: u64) -> Sent {
    Sent {
        message: MessageRef {
            thread: thread(number),
            id: format!("issuecomment-{number}"),
        },
        digest: "abc".to_owned(),
        at: at(0),
        opened: None,
    }
}

pub(super) async fn a_sent_message_is_remembered_per_run_thread_and_purpose(store: Store) {
    done(&store, &start(1)).await;
    let run = id(1);
    store
        .record_sent(Some(&run), &thread(1), "card", &sent(1))
        .await
        .unwrap();
    store.record_sent(None, &thread(1), "card", &sent(2)).await.unwrap();
    store
        .record_sent(Some(&run), &thread(1), "notice", &sent(3))
        .await
        .unwrap();
    let look = async |run, number, purpose: &str| store.sent(run, &thread(number), purpose).await.unwrap();
    assert_eq!(look(Some(&run), 1, "card").await, Some(sent(1)));
    assert_eq!(look(None, 1, "card").await, Some(sent(2)));
    assert_eq!(look(Some(&run), 1, "notice").await, Some(sent(3)));
    assert_eq!(look(Some(&run), 2, "card").await, None);
    assert_eq!(look(None, 1, "notice").await, None);
    let newer = Sent {
        digest: "def".to_owned(),
        at: at(5),
        ..sent(4)
    };
    store.record_sent(Some(&run), &thread(1), "card", &newer).await.unwrap();
    assert_eq!(look(Some(&run), 1, "card").await, Some(newer));
}

pub(super) async fn a_thread_opened_with_a_message_leads_to_the_run(store: Store) {
    done(&store, &start(1)).await;
    done(&store, &start(2)).await;
    let opened = name("discord:123456/789: odd place");
    let card = Sent {
        opened: Some(opened),
        ..sent(1)
    };
    let channel = name("discord:123456");
    store.record_sent(Some(&id(1)), &channel, "card", &card).await.unwrap();
    store.record_sent(Some(&id(1)), &channel, "card", &card).await.unwrap();
    assert_eq!(
        store.sent(Some(&id(1)), &channel, "card").await.unwrap(),
        Some(card.clone())
    );
    let filter = RunFilter {
        place: card.opened.map(Place::Thread),
        ..RunFilter::default()
    };
    let found: Vec<_> = store
        .runs(&filter)
        .await
        .unwrap()
        .into_iter()
        .map(|run| run.id)
        .collect();
    assert_eq!(found, [id(1)]);
}

pub(super) async fn the_head_before_a_time_is_the_newest_one_then_known(store: Store) {
    let pr: PrRef = PrRef {
        repo: name("acme/deploy"),
        number: 4,
    };
    let head = |digit: &str, seconds| HeadSeen {
        head: name(&digit.repeat(40)),
        at: at(seconds),
    };
    assert_eq!(store.head_before(&pr, at(99)).await.unwrap(), None);
    // Webhooks come out of order, and again.
    for seen in [
        head("b", 20),
        head("a", 10),
        head("b", 20),
        head("c", 20),
        head("b", 20),
    ] {
        store.record_head(&pr, &seen).await.unwrap();
    }
    assert_eq!(store.head_before(&pr, at(9)).await.unwrap(), None);
    assert_eq!(store.head_before(&pr, at(10)).await.unwrap(), Some(head("a", 10)));
    assert_eq!(store.head_before(&pr, at(19)).await.unwrap(), Some(head("a", 10)));
    let last = store.head_before(&pr, at(20)).await.unwrap();
    assert_eq!(last, Some(head("c", 20)), "of two at one time, the one heard of last");
    let other = PrRef { number: 5, ..pr };
    assert_eq!(store.head_before(&other, at(99)).await.unwrap(), None);
}

pub(super) async fn everything_is_counted(store: Store) {
    use stepherd::domain::run::{Failure, FailureClass, RunState};
    assert_eq!(store.counts().await.unwrap(), Counts::default());
    for id in ["1", "2", "3", "4"] {
        store.record_delivery(&delivery("github", id, at(0))).await.unwrap();
    }
    let settle = [
        DeliverySettled::Done { note: String::new() },
        DeliverySettled::Parked { reason: String::new() },
    ];
    for settled in settle {
        let claimed = claim_delivery(&store, at(0)).await.unwrap();
        store.settle_delivery(claimed.claim, settled, at(0)).await.unwrap();
    }
    ask(
        &store,
        vec![report(1), report(2), report(3), reply("1"), reply("2")],
        at(0),
    )
    .await;
    let settle = [EffectSettled::Done, EffectSettled::Parked { reason: String::new() }];
    for settled in settle {
        let claimed = claim_effect(&store, at(0)).await.unwrap();
        store.settle_effect(&claimed.claim, settled, at(0)).await.unwrap();
    }
    let why = Failure {
        seq: 1,
        step: name("Tell"),
        attempt: 1,
        reason: "no".to_owned(),
        progress: None,
        restarts: 0,
        class: FailureClass::User,
        link: None,
        at: at(0),
        left: Vec::new(),
        crew: None,
    };
    let states = [
        RunState::Queued { ahead: vec![id(9)] },
        RunState::Active(attempt()),
        RunState::Active(attempt()),
        RunState::Stopped {
            why,
            attempt: attempt(),
        },
        finished(),
        RunState::Finished {
            verdict: stepherd::domain::run::Verdict::Canceled { by: by() },
            at: at(0),
            reached: None,
        },
    ];
    for (number, state) in (1..).zip(states) {
        let mut commit = start(number);
        commit.run.as_mut().unwrap().run.state = state;
        done(&store, &commit).await;
    }
    let expected = Counts {
        deliveries_pending: 2,
        deliveries_parked: 1,
        effects_pending: 3,
        effects_parked: 1,
        runs_queued: 1,
        runs_active: 2,
        runs_stopped: 1,
    };
    assert_eq!(store.counts().await.unwrap(), expected);
}

pub(super) async fn what_keeps_failing_is_overdue_since_it_first_had_to_wait(store: Store) {
    store.record_delivery(&delivery("jira", "1", at(0))).await.unwrap();
    ask(&store, vec![reply("1")], at(0)).await;
    let none = store.overdue(at(0)).await.unwrap();
    assert_eq!((none.deliveries.as_secs(), none.effects.as_secs()), (0, 0));
    // Each try makes the next one later, so that neither is ever due for long.
    for (now, next) in [(0, 300), (300, 700)] {
        let held = claim_delivery(&store, at(now)).await.unwrap();
        let (at_next, reason) = (at(next), "401".to_owned());
        let settled = DeliverySettled::RetryAt {
            at: at_next,
            reason: reason.clone(),
            since: at(now),
        };
        assert!(store.settle_delivery(held.claim, settled, at(now)).await.unwrap());
        let held = claim_effect(&store, at(now)).await.unwrap();
        let settled = EffectSettled::RetryAt { at: at_next, reason };
        assert!(store.settle_effect(&held.claim, settled, at(now)).await.unwrap());
    }
    let overdue = store.overdue(at(600)).await.unwrap();
    assert_eq!((overdue.deliveries.as_secs(), overdue.effects.as_secs()), (600, 600));
}
