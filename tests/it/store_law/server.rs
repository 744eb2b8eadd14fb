//! What is special about PostgreSQL: its clock, its connections, and that it can be away.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::poll;
use sqlx::Executor as _;
use stepherd::clock::Clock as _;
use stepherd::store::{Deadline, Recorded, Store, StoreError};
use tokio::sync::Notify;

use super::samples::{LEASE, ask, at, claim_effect, delivery, done, id, report, start};
use crate::postgres::{Database, Wire};
use crate::world::TestClock;

/// sqlx 0.9.0 leaves a connection inside a transaction when `begin` is dropped half-way (launchbadge/sqlx#4394): it
/// goes back to the pool, and what is written through it is acknowledged and lost when it is closed. Without the task
/// of `postgres::begin`, sessions stay `idle in transaction` here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_is_cancelled_leaves_no_transaction_behind_and_loses_nothing() {
    const OPEN: &str = "SELECT COUNT(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let database = Database::new().await;
    let store = database.store().await;
    let mut by_hand = database.by_hand().await;
    let mut accepted = Vec::new();
    for number in 1..=250 {
        {
            let commit = start(number);
            let mut dropped = pin!(store.commit(&commit, at(0)));
            // Dropped at ever later moments of its way to the server and back.
            for _ in 0..number * 5 {
                if poll!(&mut dropped).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let mut open: i64 = 1;
        for _ in 0..20_000 {
            open = sqlx::query_scalar(OPEN).fetch_one(&mut by_hand).await.unwrap();
            if open == 0 {
                break;
            }
        }
        assert_eq!(open, 0, "a session stands inside a transaction that nobody ends");
        if number % 10 == 0 {
            done(&store, &start(1000 + number)).await;
            accepted.push(id(1000 + number));
        }
    }
    store.close().await;
    for run in &accepted {
        let there: Option<String> = sqlx::query_scalar("SELECT id FROM runs WHERE id = $1")
            .bind(run.as_str())
            .fetch_optional(&mut by_hand)
            .await
            .unwrap();
        assert_eq!(there.as_deref(), Some(run.as_str()), "acknowledged, so it is there");
    }
}

#[tokio::test]
async fn leases_go_by_the_clock_of_the_database_whatever_a_process_takes_for_the_time() {
    let database = Database::new().await;
    let store = Store::open(&database.url).await.unwrap();
    ask(&store, vec![report(1)], at(-900_000_000)).await;
    let held = claim_effect(&store, at(-900_000_000)).await;
    assert!(
        held.is_some(),
        "a process whose clock is behind by years claims all the same"
    );
    assert!(
        claim_effect(&store, at(900_000_000)).await.is_none(),
        "one whose clock is ahead by years does not take it for expired"
    );
    assert!(
        !store
            .hold_shards("behind", at(-900_000_000), LEASE)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store
            .hold_shards("ahead", at(900_000_000), LEASE)
            .await
            .unwrap()
            .is_empty()
    );
    store.close().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_hears_that_another_has_stored_something() {
    let database = Database::new().await;
    let (here, there) = (database.store().await, Store::open(&database.url).await.unwrap());
    let wake = Arc::new(Notify::new());
    let (relay_here, relay_there) = (here.clone(), there.clone());
    let heard = {
        let woken = wake.clone();
        let listening = tokio::spawn(async move { relay_here.relay_hints(|| woken.notify_waiters()).await });
        let telling = tokio::spawn(async move { relay_there.relay_hints(|| ()).await });
        // Whether both listen already cannot be seen from outside; so it is said until it is heard.
        let mut number = 0;
        let heard = loop {
            let woken = wake.notified();
            number += 1;
            there
                .record_delivery(&delivery("github", &number.to_string(), at(0)))
                .await
                .unwrap();
            if tokio::time::timeout(Duration::from_millis(500), woken).await.is_ok() {
                break true;
            }
            assert!(number < 60, "nothing is heard");
        };
        listening.abort();
        telling.abort();
        heard
    };
    assert!(heard);
    here.close().await;
    there.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_unavailable_and_everything_goes_on_when_it_is_back() {
    let database = Database::new().await;
    let wire = Wire::to(&database).await;
    let store = Store::open(&wire.url).await.unwrap();
    done(&store, &start(1)).await;
    wire.down();
    let refused = store.record_delivery(&delivery("github", "1", at(0))).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let refused = store.commit(&start(2), at(0)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let opened = Store::open(&wire.url).await.err();
    let Some(StoreError::Unavailable(why)) = opened else {
        panic!("{opened:?}");
    };
    assert!(why.contains("PostgreSQL at 127.0.0.1:"), "{why}");
    assert!(!why.contains("password"), "{why}");
    wire.up();
    // Connections that were cut are noticed when they are used, one after the other.
    let mut again = store.record_delivery(&delivery("github", "1", at(0))).await;
    for _ in 0..20 {
        if again.is_ok() {
            break;
        }
        again = store.record_delivery(&delivery("github", "1", at(0))).await;
    }
    again.unwrap();
    done(&store, &start(2)).await;
    assert!(store.run(&id(1)).await.unwrap().is_some());
    store.close().await;
}

#[tokio::test]
async fn what_cannot_be_our_database_is_refused_with_advice() {
    async fn why(url: &str) -> String {
        match Store::open(url).await {
            Err(StoreError::Unusable(why)) => why,
            Err(other) => panic!("wrong kind of error: {other}"),
            Ok(_) => panic!("{url} was opened"),
        }
    }
    let database = Database::new().await;
    let mut nowhere = url::Url::parse(&database.url).unwrap();
    nowhere.set_path("/no_such_database");
    let nowhere = why(nowhere.as_str()).await;
    assert!(nowhere.contains("there is no such database: create it"), "{nowhere}");
    let mut by_hand = database.by_hand().await;
    by_hand.execute("CREATE TABLE accounts (id BIGINT)").await.unwrap();
    let foreign = why(&database.url).await;
    assert!(foreign.contains("belongs to another program"), "{foreign}");
    by_hand.execute("DROP TABLE accounts").await.unwrap();
    Store::open(&database.url).await.unwrap().close().await;
    by_hand
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9000, 'from the future', true, '\\x00', 0)",
        )
        .await
        .unwrap();
    let newer = why(&database.url).await;
    assert!(newer.contains("newer stepherd") && newer.contains("9000"), "{newer}");
    let odd = why("postgres://host:port/x").await;
    assert!(odd.contains("cannot be read"), "{odd}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_waited_too_long_for_a_row_is_not_stored() {
    let database = Database::new().await;
    let store = database.store().await;
    let clock = Arc::new(TestClock::new());
    let mut held = database.by_hand().await;
    held.execute("BEGIN").await.unwrap();
    held.execute(
        "INSERT INTO deliveries (platform, delivery_id, kind, target, received_at, state, note, due, attempts, epoch)
         VALUES ('discord', '1', '', '', 0, 'pending', '', 0, 0, 0)",
    )
    .await
    .unwrap();
    let deadline = Deadline {
        arrived: clock.moment(),
        within: Duration::from_millis(2500),
        clock: clock.clone(),
    };
    let interaction = delivery("discord", "1", clock.now());
    let (keeper, asked) = (store.clone(), interaction.clone());
    let recording = tokio::spawn(async move { keeper.record_delivery_before(&asked, deadline).await });
    clock.advance(Duration::from_millis(4500));
    held.execute("ROLLBACK").await.unwrap();
    assert_eq!(recording.await.unwrap().unwrap(), Recorded::TooLate);
    assert!(store.delivery(&interaction.platform, "1").await.unwrap().is_none());
    store.close().await;
    database.drop().await;
}
