//! What is special about PostgreSQL: its clock, its connections, and that it can be away.

use std::pin::pin;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::poll;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use stepherd::clock::Clock as _;
use stepherd::store::{Deadline, Limits, Recorded, Store, StoreError, backup_within};
use tokio::sync::Notify;
use tokio::time::timeout;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_is_waited_for_at_the_start_and_not_ready_at_work() {
    let database = Database::new().await;
    let store = database.store().await;
    store.ping().await.unwrap();
    let mut admin = database.by_hand().await;
    let read_only = |on: bool| {
        AssertSqlSafe(format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {on}', current_database());
             END $$"
        ))
    };
    admin.execute(read_only(true)).await.unwrap();
    admin
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    let mut refused = store.ping().await;
    for _ in 0..20 {
        if matches!(&refused, Err(error) if error.to_string().contains("takes no writes")) {
            break;
        }
        // Connections that were ended are noticed one after the other.
        refused = store.ping().await;
    }
    assert!(
        matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("takes no writes")),
        "{refused:?}"
    );
    let opened = Store::open_to_serve(&database.url, at(0)).await.err();
    assert!(
        matches!(&opened, Some(StoreError::Unavailable(why)) if why.contains("takes no writes")),
        "{opened:?}"
    );
    // Whoever may not write may still say that it may.
    admin.execute("SET default_transaction_read_only = off").await.unwrap();
    admin.execute(read_only(false)).await.unwrap();
    Store::open_to_serve(&database.url, at(0))
        .await
        .unwrap()
        .0
        .close()
        .await;
    store.close().await;
    admin.close().await.unwrap();
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_connections_are_named_as_the_cause() {
    let database = Database::new().await;
    let mut admin = database.by_hand().await;
    let few = format!("few_{}", std::process::id());
    for statement in [
        format!("CREATE ROLE {few} LOGIN CONNECTION LIMIT 1 PASSWORD 'few'"),
        format!("GRANT ALL ON SCHEMA public TO {few}"),
    ] {
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let mut url = url::Url::parse(&database.url).unwrap();
    url.query_pairs_mut()
        .append_pair("user", &few)
        .append_pair("password", "few");
    let limits = Limits {
        acquire: Duration::from_millis(500),
        ..Limits::default()
    };
    let store = Store::open_within(url.as_str(), limits).await.unwrap();
    let options = PgConnectOptions::from_str(url.as_str()).unwrap();
    let mut held = options.connect().await;
    while held.is_err() {
        // The server takes a moment to see that the one before has ended.
        held = options.connect().await;
    }
    let held = held.unwrap();
    let why = store.ping().await.unwrap_err().to_string();
    assert!(
        why.contains("too many connections for role") && why.contains("CONNECTION LIMIT"),
        "{why}"
    );
    held.close().await.unwrap();
    store.close().await;
    admin
        .execute(AssertSqlSafe(format!("DROP OWNED BY {few}")))
        .await
        .unwrap();
    admin.execute(AssertSqlSafe(format!("DROP ROLE {few}"))).await.unwrap();
    admin.close().await.unwrap();
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_server_that_is_silent_is_given_up_and_leaves_nothing() {
    let database = Database::new().await;
    database.store().await.close().await;
    let wire = Wire::to(&database).await;
    wire.swallow();
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        acquire: Duration::from_millis(300),
        ..Limits::default()
    };
    let copy = dir.path().join("copy");
    let made = backup_within(&wire.url, &copy, limits);
    let made = timeout(Duration::from_secs(30), made).await.expect("it is given up");
    assert!(matches!(made, Err(StoreError::Unavailable(_))), "{made:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    database.drop().await;
}
