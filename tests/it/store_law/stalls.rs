//! What happens on PostgreSQL when somebody stands still: another process in the middle of a commit, a row that is held,
//! a connection that nothing comes through any more. Everybody else goes on, within the limits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use stepherd::store::{
    Committed, DeliverySettled, EffectSettled, Gate, Limits, LockChange, NewDelivery, Point, Recorded, Shards, Store,
    StoreError,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::samples::{
    LEASE, ask, at, claim_delivery, claim_effect, delivery, done, id, join, load, lock, next, queue, report, start,
};
use crate::postgres::{Database, Wire};

/// As in service, a tenth as long.
const SHORT: Limits = Limits {
    acquire: Duration::from_millis(300),
    idle_in_transaction: Duration::from_millis(300),
    idle_in_claim: Duration::from_millis(100),
    lock: Duration::from_millis(400),
    statement: Duration::from_millis(500),
    verb: Duration::from_millis(600),
};

/// All of a verb's time as it may be at the most, and as much again for a busy machine.
const SOON: Duration = Duration::from_secs(4);

async fn short(url: &str) -> Store {
    Store::open_within(url, SHORT).await.unwrap()
}

/// Answers in time, or the test fails.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what)
        .await
        .expect("somebody stands still, and keeps others waiting")
}

/// Stands still before the commit of this verb, with all of it written, until it is told to go on.
struct StandStill {
    verb: &'static str,
    reached: Notify,
    go_on: Notify,
}

impl StandStill {
    fn at(verb: &'static str) -> Arc<Self> {
        Arc::new(Self {
            verb,
            reached: Notify::new(),
            go_on: Notify::new(),
        })
    }
}

#[async_trait]
impl Gate for StandStill {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        if verb == self.verb && point == Point::BeforeCommit {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
        Ok(())
    }
}

/// Holds the row of a run, and would for ever.
async fn hold_run(database: &Database, number: u64) -> PgConnection {
    let mut by_hand = database.by_hand().await;
    by_hand.execute("BEGIN").await.unwrap();
    let held = format!("SELECT 1 FROM runs WHERE id = '{}' FOR UPDATE", id(number));
    by_hand.execute(AssertSqlSafe(held)).await.unwrap();
    by_hand
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_frozen_in_the_middle_of_a_commit_keeps_no_other_from_going_on() {
    let database = Database::new().await;
    let healthy = short(&database.url).await;
    done(&healthy, &start(1)).await;
    let gate = StandStill::at("commit");
    let frozen = short(&database.url).await.gated(gate.clone());
    let standing: JoinHandle<_> = tokio::spawn(async move { frozen.commit(&start(2), at(0)).await });
    soon(gate.reached.notified()).await;
    // What came in is stored at once, and work goes on as soon as the server has ended the frozen session.
    let recorded = soon(healthy.record_delivery(&delivery("github", "1", at(0)))).await;
    assert_eq!(recorded.unwrap(), Recorded::New);
    let changed = next(load(&healthy, 1).await);
    assert_eq!(soon(healthy.commit(&changed, at(0))).await.unwrap(), Committed::Done);
    // When it wakes up, it finds that nothing of what it was about to do was done.
    gate.go_on.notify_one();
    let woken = soon(standing).await.unwrap();
    assert!(matches!(woken, Err(StoreError::Unavailable(_))), "{woken:?}");
    assert!(healthy.run(&id(2)).await.unwrap().is_none());
    healthy.close().await;
    database.drop().await;
}

/// A process of these limits that stands still with what it has just claimed, and with its turn to claim.
async fn stands_with_its_turn(database: &Database, verb: &'static str, limits: Limits) -> Arc<StandStill> {
    let gate = StandStill::at(verb);
    let store = Store::open_within(&database.url, limits).await.unwrap();
    let store = store.gated(gate.clone());
    tokio::spawn(async move {
        if verb == "claim_effects" {
            let _ = store.claim_effects(at(0), LEASE, 1).await;
        } else {
            let _ = store.claim_deliveries(at(0), LEASE, 1).await;
        }
    });
    gate
}

async fn with_something_to_claim(database: &Database) -> Store {
    let store = database.store().await;
    done(&store, &start(1)).await;
    ask(&store, vec![report(1)], at(0)).await;
    store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_frozen_while_they_claim_keep_others_waiting_for_a_moment_each() {
    let limits = Limits {
        idle_in_claim: Duration::from_millis(300),
        ..Limits::default()
    };
    let database = Database::new().await;
    let healthy = with_something_to_claim(&database).await;
    let first = stands_with_its_turn(&database, "claim_deliveries", limits).await;
    soon(first.reached.notified()).await;
    // It gets its turn when the server has ended the first one, and stands still with it.
    let _second = stands_with_its_turn(&database, "claim_deliveries", limits).await;
    wait_for_waiter(&database, 1).await;
    let claimed = timeout(limits.idle_in_transaction, claim_delivery(&healthy, at(0))).await;
    assert!(
        claimed
            .expect("both together take less than one would elsewhere")
            .is_some()
    );
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_still_while_it_claims_deliveries_keeps_nobody_from_claiming_effects() {
    let limits = Limits {
        idle_in_claim: Duration::from_secs(600),
        ..Limits::default()
    };
    let database = Database::new().await;
    let healthy = with_something_to_claim(&database).await;
    let frozen = stands_with_its_turn(&database, "claim_deliveries", limits).await;
    soon(frozen.reached.notified()).await;
    let claimed = timeout(limits.lock, claim_effect(&healthy, at(0))).await;
    assert!(claimed.expect("they do not take turns").is_some());
    database.drop().await;
}

/// A process may be frozen while it waits for its turn. It would get it all the same, once with each of its connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_waits_for_its_turn_in_one_place() {
    let database = Database::new().await;
    let store = database.store().await;
    let mut held = database.by_hand().await;
    held.execute("BEGIN").await.unwrap();
    held.execute("SELECT pg_advisory_xact_lock(1465310789)").await.unwrap();
    for number in 1..=5 {
        done(&store, &start(number)).await;
    }
    let joining: Vec<JoinHandle<Committed>> = (1..=5)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { join(&store, number, &["a"]).await })
        })
        .collect();
    wait_for_waiter(&database, 1).await;
    for number in 6..=30 {
        done(&store, &start(number)).await;
    }
    assert_eq!(waiting(&mut database.by_hand().await).await, 1);
    drop(held);
    for joined in joining {
        joined.await.unwrap();
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_its_run_does_not_hold_what_all_commits_need() {
    let database = Database::new().await;
    let store = database.store().await;
    done(&store, &start(1)).await;
    let held = hold_run(&database, 1).await;
    let waits = next(load(&store, 1).await);
    let other = store.clone();
    let waiting = tokio::spawn(async move { other.commit(&waits, at(0)).await });
    wait_for_waiter(&database, 1).await;
    let went = timeout(Duration::from_secs(2), store.commit(&start(2), at(0))).await;
    assert_eq!(went.expect("the counter is free").unwrap(), Committed::Done);
    drop(held);
    assert_eq!(waiting.await.unwrap().unwrap(), Committed::Done);
    store.close().await;
    database.drop().await;
}

/// Until so many sessions wait for a lock.
async fn wait_for_waiter(database: &Database, count: i64) {
    let mut by_hand = database.by_hand().await;
    for _ in 0..20_000 {
        if waiting(&mut by_hand).await >= count {
            return;
        }
    }
    panic!("nobody waits");
}

/// How many sessions wait for a lock.
async fn waiting(by_hand: &mut PgConnection) -> i64 {
    const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    sqlx::query_scalar(WAITING).fetch_one(by_hand).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_and_leases_go_on_while_all_other_work_waits_for_a_row() {
    let database = Database::new().await;
    let store = database.store().await;
    done(&store, &start(1)).await;
    ask(&store, vec![report(1)], at(0)).await;
    let effect = claim_effect(&store, at(0)).await.unwrap();
    store.record_delivery(&delivery("github", "0", at(0))).await.unwrap();
    let held_delivery = claim_delivery(&store, at(0)).await.unwrap();
    let held = hold_run(&database, 1).await;
    // More than there are connections for work.
    let stuck: Vec<JoinHandle<_>> = (0..30)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(&next(super::samples::run(1)), at(0)).await })
        })
        .collect();
    wait_for_waiter(&database, 5).await;
    let quick = Duration::from_secs(1);
    let recorded = timeout(quick, store.record_delivery(&delivery("github", "1", at(0)))).await;
    assert_eq!(recorded.expect("a webhook is answered").unwrap(), Recorded::New);
    let renewed = timeout(quick, store.renew_effects(&[effect.claim], at(1), LEASE)).await;
    assert_eq!(renewed.expect("a lease is renewed").unwrap(), [effect.claim]);
    let renewed = timeout(quick, store.renew_deliveries(&[held_delivery.claim], at(1), LEASE)).await;
    assert_eq!(renewed.expect("a lease is renewed").unwrap(), [held_delivery.claim]);
    let shards = timeout(quick, store.hold_shards("a", at(1), LEASE)).await;
    assert!(!shards.expect("shards are held on to").unwrap().is_empty());
    timeout(quick, store.ping())
        .await
        .expect("a probe is answered")
        .unwrap();
    drop(held);
    for task in stuck {
        task.abort();
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_nothing_comes_through_is_given_up_and_made_anew() {
    let database = Database::new().await;
    let wire = Wire::to(&database).await;
    let store = short(&wire.url).await;
    done(&store, &start(1)).await;
    store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
    wire.swallow();
    let (second, arrival) = (start(2), delivery("github", "2", at(0)));
    let (work, arrivals, leases) = tokio::join!(
        soon(store.commit(&second, at(0))),
        soon(store.record_delivery(&arrival)),
        soon(store.hold_shards("a", at(0), LEASE)),
    );
    assert!(matches!(work, Err(StoreError::Unavailable(_))), "{work:?}");
    assert!(matches!(arrivals, Err(StoreError::Unavailable(_))), "{arrivals:?}");
    assert!(matches!(leases, Err(StoreError::Unavailable(_))), "{leases:?}");
    assert!(soon(store.ping()).await.is_err());
    // New connections come through again; those from before stay dead, as behind a firewall that forgot them. None of
    // them is in the way of a single verb.
    wire.up();
    soon(store.ping()).await.unwrap();
    let recorded = soon(store.record_delivery(&delivery("github", "2", at(0)))).await;
    assert_eq!(recorded.unwrap(), Recorded::New);
    assert_eq!(soon(store.commit(&start(2), at(0))).await.unwrap(), Committed::Done);
    assert!(claim_delivery(&store, at(9)).await.is_some());
    soon(store.close()).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_come_again_after_their_connection_died_silently() {
    let database = Database::new().await;
    let wire = Wire::to(&database).await;
    let (here, there) = (short(&wire.url).await, short(&database.url).await);
    let woken = Arc::new(Notify::new());
    let (relay, wake) = (here.clone(), woken.clone());
    let listening = tokio::spawn(async move { relay.relay_hints(|| wake.notify_one()).await });
    let (relay, number) = (there.clone(), Arc::new(std::sync::atomic::AtomicU64::new(1)));
    let telling = tokio::spawn(async move { relay.relay_hints(|| ()).await });
    let heard = async || {
        for _ in 0..60 {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            done(&there, &start(number)).await;
            if timeout(Duration::from_millis(300), woken.notified()).await.is_ok() {
                return true;
            }
        }
        false
    };
    assert!(heard().await);
    wire.swallow();
    wire.up();
    while timeout(Duration::from_millis(100), woken.notified()).await.is_ok() {}
    assert!(heard().await, "the listener noticed that its connection is dead");
    listening.abort();
    telling.abort();
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_joins_a_queue_sees_that_its_holder_is_just_leaving() {
    let database = Database::new().await;
    let store = database.store().await;
    for number in 1..=2 {
        done(&store, &start(number)).await;
    }
    assert_eq!(join(&store, 1, &["a"]).await, Committed::Done);
    let gate = StandStill::at("commit");
    let other = Store::open(&database.url).await.unwrap().gated(gate.clone());
    let mut leave = next(load(&store, 1).await);
    leave.locks = LockChange::Leave;
    let leaving = tokio::spawn(async move { other.commit(&leave, at(0)).await });
    gate.reached.notified().await;
    // It was decided to wait behind run 1, which leaves without knowing of run 2.
    let mut joins = next(load(&store, 2).await);
    joins.locks = LockChange::Join(vec![(lock("a"), vec![id(1)])]);
    let joining = {
        let store = store.clone();
        tokio::spawn(async move { store.commit(&joins, at(0)).await })
    };
    wait_for_waiter(&database, 1).await;
    gate.go_on.notify_one();
    assert_eq!(leaving.await.unwrap().unwrap(), Committed::Done);
    assert_eq!(joining.await.unwrap().unwrap(), Committed::Stale, "it is decided again");
    assert!(queue(&store, "a").await.is_empty());
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_in_somebody_elses_way_is_decided_again() {
    let database = Database::new().await;
    // The server looks for a circle once for each that waits: late enough for the circle to be there by then.
    let later = "DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''3s''', current_database()); END $$";
    database.by_hand().await.execute(later).await.unwrap();
    let store = database.store().await;
    for number in 1..=2 {
        done(&store, &start(number)).await;
        assert_eq!(join(&store, number, &["a"]).await, Committed::Done);
    }
    // Holds run 2, which the leaving run 1 wakes, and then wants run 1.
    let mut held = hold_run(&database, 2).await;
    // Whoever finds the circle is sent away: this one never looks, so that it is the store.
    held.execute("SET deadlock_timeout = '60s'").await.unwrap();
    let mut leave = next(load(&store, 1).await);
    leave.locks = LockChange::Leave;
    let leaving = {
        let store = store.clone();
        tokio::spawn(async move { store.commit(&leave, at(0)).await })
    };
    wait_for_waiter(&database, 1).await;
    let wanted = format!("SELECT 1 FROM runs WHERE id = '{}' FOR UPDATE", id(1));
    held.execute(AssertSqlSafe(wanted)).await.unwrap();
    assert_eq!(leaving.await.unwrap().unwrap(), Committed::Stale);
    drop(held);
    assert_eq!(super::samples::leave(&store, 1).await, Committed::Done);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_were_sent_the_same_deliveries_store_each_once() {
    let database = Database::new().await;
    let (here, there) = (database.store().await, Store::open(&database.url).await.unwrap());
    for round in 0..8 {
        let forwards = (0..100).map(|n| (here.clone(), n));
        let backwards = (0..100).rev().map(|n| (there.clone(), n));
        let tasks: Vec<JoinHandle<_>> = forwards
            .chain(backwards)
            .map(|(store, n)| {
                let one = delivery("github", &format!("{round}-{n}"), at(0));
                tokio::spawn(async move { store.record_delivery(&one).await })
            })
            .collect();
        let mut new = 0;
        for task in tasks {
            new += usize::from(task.await.unwrap().unwrap() == Recorded::New);
        }
        assert_eq!(new, 100);
    }
    here.close().await;
    there.close().await;
    database.drop().await;
}

#[tokio::test]
async fn what_came_in_together_is_numbered_in_the_order_of_arrival() {
    let database = Database::new().await;
    let store = database.store().await;
    let ids: Vec<String> = (0..40).rev().map(|n| format!("{n:02}")).collect();
    let came: Vec<_> = ids.iter().map(|id| delivery("github", id, at(0))).collect();
    let recorded = futures_util::future::join_all(came.iter().map(|one| store.record_delivery(one))).await;
    assert!(recorded.into_iter().all(|recorded| recorded.unwrap() == Recorded::New));
    let claimed = store.claim_deliveries(at(0), LEASE, 99).await.unwrap();
    let claimed: Vec<_> = claimed.into_iter().map(|c| c.delivery.delivery_id).collect();
    assert_eq!(claimed, ids);
    store.close().await;
    database.drop().await;
}

#[tokio::test]
async fn looking_into_a_database_without_tables_makes_none() {
    let database = Database::new().await;
    let refused = Store::open_as_it_is(&database.url).await.err();
    assert!(
        matches!(&refused, Some(StoreError::Unusable(why)) if why.contains("holds nothing of stepherd's")),
        "{refused:?}"
    );
    assert!(Store::open_restored(&database.url).await.is_err());
    let tables: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'")
        .fetch_one(&mut database.by_hand().await)
        .await
        .unwrap();
    assert_eq!(tables, 0);
    database.store().await.close().await;
    Store::open_as_it_is(&database.url).await.unwrap().close().await;
    database.drop().await;
}

/// The server warns of a `ROLLBACK` where there is nothing to undo, and so did stepherd's log, several times a second.
#[tokio::test]
async fn nothing_is_undone_where_nothing_was_begun() {
    let database = Database::new().await;
    let store = database.store().await;
    for number in 1..=30 {
        done(&store, &start(number)).await;
        load(&store, number).await;
        store.claim_deliveries(at(0), LEASE, 9).await.unwrap();
    }
    store.close().await;
    let warned = database.server_log().matches("no transaction in progress").count();
    assert_eq!(warned, 0);
    database.drop().await;
}

/// A process whose clock is ahead by years does not put its own work off by years.
#[tokio::test]
async fn what_is_due_is_due_by_the_clock_of_the_database_whatever_a_process_takes_for_the_time() {
    let ahead = 900_000_000;
    let database = Database::new().await;
    let store = Store::open(&database.url).await.unwrap();
    let now = at(ahead);
    store.record_delivery(&delivery("github", "1", now)).await.unwrap();
    let held = claim_delivery(&store, now).await.expect("it came in just now");
    let again = DeliverySettled::RetryAt {
        at: now,
        since: now,
        reason: "502".to_owned(),
    };
    assert!(store.settle_delivery(held.claim, again, now).await.unwrap());
    let held = claim_delivery(&store, now).await.expect("it is to be tried again now");
    let parked = DeliverySettled::Parked { reason: String::new() };
    assert!(store.settle_delivery(held.claim, parked, now).await.unwrap());
    assert!(store.replay_delivery(held.claim.seq, now).await.unwrap());
    assert!(claim_delivery(&store, now).await.is_some(), "it is replayed now");
    ask(&store, vec![report(1)], now).await;
    for settled in [
        EffectSettled::RetryAt {
            at: now,
            reason: "502".to_owned(),
        },
        EffectSettled::NotBefore { at: now },
        EffectSettled::Parked { reason: String::new() },
    ] {
        let held = claim_effect(&store, now).await.expect("it is due now");
        // Asked for again meanwhile, too.
        ask(&store, vec![report(1)], now).await;
        assert!(store.settle_effect(&held.claim, settled, now).await.unwrap());
        store.release_effect(held.claim.id, now).await.unwrap();
    }
    let held = claim_effect(&store, now).await.expect("it was released now");
    ask(&store, vec![report(1)], now).await;
    assert!(
        store
            .settle_effect(&held.claim, EffectSettled::Done, now)
            .await
            .unwrap()
    );
    assert!(claim_effect(&store, now).await.is_some(), "it was asked for once more");
    let cursor = store.claim_cursor("repair", now, LEASE).await.unwrap().unwrap();
    assert!(store.settle_cursor(&cursor, None, now).await.unwrap());
    assert!(store.claim_cursor("repair", now, LEASE).await.unwrap().is_some());
    let overdue = store.overdue(now).await.unwrap();
    assert!(overdue.effects < Duration::from_secs(60), "{overdue:?}");
    store.close().await;
    database.drop().await;
}

/// One process takes it to be years later than it is, another one years earlier: what one has put down is due for the
/// other when it meant.
#[tokio::test]
async fn when_to_look_whom_to_leave_alone_and_who_is_held_back_goes_by_the_clock_of_the_database() {
    let (ahead, behind, minute) = (at(900_000_000), at(-900_000_000), Duration::from_secs(60));
    let database = Database::new().await;
    let store = Store::open(&database.url).await.unwrap();
    let soon = |when: Timestamp| when > behind - minute && when <= behind;
    let in_a_minute = |when: Timestamp| when > behind && when <= behind + minute;
    let look_at = async |number| {
        let all = store.wakes(Shards::ALL, None, 9, behind).await.unwrap();
        let one = all.into_iter().find(|wake| wake.run == id(number));
        one.and_then(|wake| wake.at).expect("it is to be looked at")
    };

    let mut later = start(1);
    later.run.as_mut().unwrap().wake = Some(ahead + minute);
    assert_eq!(store.commit(&later, ahead).await.unwrap(), Committed::Done);
    assert!(in_a_minute(look_at(1).await));
    let changed = store.runs_changed_since(0, Shards::ALL, 9, behind).await.unwrap();
    assert!(in_a_minute(changed[0].wake.at.unwrap()));
    let mut again = next(load(&store, 1).await);
    again.run.as_mut().unwrap().wake = Some(ahead + minute);
    assert_eq!(store.commit(&again, ahead).await.unwrap(), Committed::Done);
    assert!(in_a_minute(look_at(1).await));
    store.touch(&[id(1)], ahead).await.unwrap();
    assert!(soon(look_at(1).await), "a hint");

    for number in 2..=3 {
        done(&store, &start(number)).await;
        assert_eq!(join(&store, number, &["a"]).await, Committed::Done);
    }
    let mut leave = next(load(&store, 2).await);
    leave.locks = LockChange::Leave;
    assert_eq!(store.commit(&leave, ahead).await.unwrap(), Committed::Done);
    assert!(soon(look_at(3).await), "the lock is free");

    store.pause("github", ahead + minute, ahead).await.unwrap();
    let paused = store.pauses(behind).await.unwrap();
    assert!(in_a_minute(paused[0].1), "{paused:?}");
    store.close().await;
    database.drop().await;
}

#[tokio::test]
async fn who_waits_for_the_outside_holds_its_thread_back_whatever_the_time_is_elsewhere() {
    let (ahead, behind) = (at(900_000_000), at(-900_000_000));
    let database = Database::new().await;
    let store = Store::open(&database.url).await.unwrap();
    for (here, elsewhere) in [(ahead, behind), (behind, ahead)] {
        let said = |n: u32| NewDelivery {
            thread: Some(here.to_string()),
            ..delivery("github", &format!("{here} {n}"), here)
        };
        store.record_delivery(&said(1)).await.unwrap();
        let first = claim_delivery(&store, here).await.unwrap();
        let again = DeliverySettled::RetryAt {
            at: here,
            since: here,
            reason: "502".to_owned(),
        };
        assert!(store.settle_delivery(first.claim, again, here).await.unwrap());
        let first = claim_delivery(&store, elsewhere)
            .await
            .expect("it is to be tried again now");
        let since = first.held_since.unwrap();
        assert!(
            since <= elsewhere && since > elsewhere - Duration::from_secs(60),
            "{since}"
        );
        let later = DeliverySettled::RetryAt {
            at: elsewhere + Duration::from_secs(60),
            since: elsewhere,
            reason: "502".to_owned(),
        };
        assert!(store.settle_delivery(first.claim, later, elsewhere).await.unwrap());
        store.record_delivery(&said(2)).await.unwrap();
        assert!(claim_delivery(&store, here).await.is_none(), "it is not its turn");
    }
    store.close().await;
    database.drop().await;
}
