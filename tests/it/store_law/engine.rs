//! What is special about the embedded engine: files.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use stepherd::clock::Clock as _;
use stepherd::store::{
    Committed, Deadline, DeliverySettled, Place, Recorded, RunFilter, Store, StoreError, check_sqlite_version,
};
use tempfile::TempDir;

use super::samples::{
    act, at, claim_delivery, claim_effect, delivery, done, entry, everything, id, join, load, next, report, start,
    thread, url,
};
use crate::world::TestClock;

async fn open(dir: &TempDir) -> Store {
    Store::open(&url(dir)).await.unwrap()
}

/// Why a database cannot be used.
async fn unusable(url: &str) -> String {
    match Store::open(url).await {
        Err(StoreError::Unusable(why)) => why,
        Err(other) => panic!("wrong kind of error: {other}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

/// A connection behind the store's back.
async fn by_hand(dir: &TempDir) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(dir.path().join("stepherd.db"));
    SqlitePool::connect_with(options).await.unwrap()
}

async fn fill(store: &Store) {
    let mut commit = start(1);
    commit.key = Some("k".to_owned());
    commit.history = vec![entry(1)];
    commit.effects = vec![report(1), act()];
    done(store, &commit).await;
    assert_eq!(join(store, 1, &["a"]).await, Committed::Done);
    store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
    store.record_delivery(&delivery("github", "2", at(0))).await.unwrap();
    let claimed = claim_delivery(store, at(0)).await.unwrap();
    let note = "done".to_owned();
    store
        .settle_delivery(claimed.claim, DeliverySettled::Done { note }, at(1))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_closed_and_reopened_file_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    fill(&store).await;
    let held = claim_effect(&store, at(0)).await.unwrap();
    let before = everything(&store).await;
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))), "closed");

    let store = open(&dir).await;
    assert_eq!(everything(&store).await, before);
    let mut again = start(2);
    again.key = Some("k".to_owned());
    assert_eq!(store.commit(&again, at(2)).await.unwrap(), Committed::AlreadyDone);
    assert_eq!(claim_delivery(&store, at(2)).await.unwrap().delivery.delivery_id, "2");
    let taken_over = claim_effect(&store, at(60)).await.unwrap();
    assert_eq!((taken_over.claim.id, taken_over.maybe_done), (held.claim.id, true));
    store.close().await;
}

#[tokio::test]
async fn what_was_committed_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    fill(&store).await;
    let before = everything(&store).await;
    // The files as they are while the process runs are what a kill leaves behind.
    let after = tempfile::tempdir().unwrap();
    for file in ["stepherd.db", "stepherd.db-wal"] {
        std::fs::copy(dir.path().join(file), after.path().join(file)).unwrap();
    }
    store.close().await;
    let store = open(&after).await;
    assert_eq!(everything(&store).await, before);
    store.close().await;
}

#[tokio::test]
async fn two_processes_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (open(&dir).await, open(&dir).await);
    for number in 1..=20 {
        let store = if number % 2 == 0 { &here } else { &there };
        done(store, &start(number)).await;
    }
    let tasks = [here.clone(), there.clone()].map(|store| {
        tokio::spawn(async move {
            for number in 1..=20 {
                let commit = next(load(&store, number).await);
                store.commit(&commit, at(1)).await.unwrap();
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    let all = RunFilter::default();
    assert_eq!(here.runs(&all).await.unwrap(), there.runs(&all).await.unwrap());
    here.close().await;
    there.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_migrate_once() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let tasks = [(); 4].map(|()| {
            let url = url(&dir);
            tokio::spawn(async move { Store::open(&url).await.unwrap() })
        });
        for (number, task) in (1..).zip(tasks) {
            let store = task.await.unwrap();
            done(&store, &start(number)).await;
            store.close().await;
        }
    }
}

#[tokio::test]
async fn the_file_is_kept_the_safe_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    store.ping().await.unwrap();
    let version = store.engine_version().await.unwrap();
    check_sqlite_version(version.strip_prefix("SQLite ").unwrap()).unwrap();
    let pool = by_hand(&dir).await;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(journal, "wal");
    let tables: Vec<(String, i64)> = sqlx::query_as(
        "SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND schema = 'main'
         AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(tables.len() > 8);
    for (table, strict) in tables {
        assert_eq!(strict, 1, "{table} is not strict");
    }
    pool.close().await;
    store.close().await;
}

#[test]
fn versions_of_sqlite_that_lose_data_are_refused() {
    for (version, good) in [
        ("3.51.3", true),
        ("3.51.4", true),
        ("3.52.0", true),
        ("4.0", true),
        ("3.51.2", false),
        ("3.46.0", false),
        ("3.9.99", false),
        ("", false),
    ] {
        assert_eq!(check_sqlite_version(version).is_ok(), good, "{version}");
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).await.close().await;
    let pool = by_hand(&dir).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9000, 'from the future', 1, x'00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let why = unusable(&url(&dir)).await;
    assert!(why.contains("newer stepherd") && why.contains("9000"), "{why}");
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 9000")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    open(&dir).await.close().await;
}

#[tokio::test]
async fn a_migration_that_was_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).await.close().await;
    let pool = by_hand(&dir).await;
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00'")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let why = unusable(&url(&dir)).await;
    assert!(why.contains("schema 1"), "{why}");
}

#[tokio::test]
async fn what_cannot_be_a_database_of_ours_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let place = |rest: &str| format!("sqlite:{}/{rest}", dir.path().display());

    let why = unusable(&place("missing/stepherd.db")).await;
    assert!(why.contains("does not exist: create it"), "{why}");

    let why = unusable(&place("")).await;
    assert!(why.contains("is a directory"), "{why}");

    std::fs::write(
        dir.path().join("notes.txt"),
        "these are not the rows you are looking for. ".repeat(99),
    )
    .unwrap();
    let why = unusable(&place("notes.txt")).await;
    assert!(why.contains("not a SQLite database"), "{why}");

    let why = unusable("mysql://localhost/stepherd").await;
    assert!(why.contains("sqlite:") && why.contains("postgres:"), "{why}");

    let why = unusable(&place("x.db?mode=sideways")).await;
    assert!(why.contains("cannot be read"), "{why}");

    open(&dir).await.close().await;
    let why = unusable(&place("stepherd.db?mode=ro")).await;
    assert!(why.contains("cannot be written"), "{why}");

    let foreign = SqliteConnectOptions::new()
        .filename(dir.path().join("foreign.db"))
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(foreign).await.unwrap();
    sqlx::query("CREATE TABLE accounts (id INTEGER)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let why = unusable(&place("foreign.db")).await;
    assert!(why.contains("belongs to another program"), "{why}");
}

#[tokio::test]
async fn rows_of_a_newer_version_are_refused_or_parked_never_guessed_at() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    fill(&store).await;
    let pool = by_hand(&dir).await;
    for statement in [
        r#"UPDATE runs SET body = replace(body, '{"v":1,', '{"v":2,')"#,
        r#"UPDATE history SET body = replace(body, '{"v":1,', '{"v":2,')"#,
        r#"UPDATE effects SET body = replace(body, '{"v":1,', '{"v":2,') WHERE lane = 0"#,
        r#"UPDATE bundles SET form = 0, headers = '{"v":2,"headers":[]}'"#,
    ] {
        assert!(sqlx::query(statement).execute(&pool).await.unwrap().rows_affected() > 0);
    }
    pool.close().await;
    let error = store.run(&id(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&format!("run {}", id(1))) && text.contains("newer stepherd"),
        "{text}"
    );
    assert!(matches!(
        store.history(&id(1)).await,
        Err(StoreError::Unreadable { .. })
    ));
    let filter = RunFilter {
        place: Some(Place::Thread(thread(1))),
        ..RunFilter::default()
    };
    assert_eq!(
        store.runs(&filter).await.unwrap(),
        [],
        "it does not hide the others of a list"
    );

    assert_eq!(
        claim_effect(&store, at(1)).await.map(|c| c.effect),
        None,
        "the unreadable one goes first"
    );
    assert_eq!(store.effects(Some("parked"), 9).await.unwrap().len(), 1);
    assert_eq!(
        claim_effect(&store, at(1)).await.map(|c| c.effect),
        Some(report(1)),
        "and blocks nobody"
    );
    assert!(claim_delivery(&store, at(1)).await.is_none());
    let parked = store.deliveries(Some("parked"), 9).await.unwrap();
    assert!(parked[0].note.contains("newer stepherd"), "{}", parked[0].note);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_waited_too_long_for_the_file_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let clock = Arc::new(TestClock::new());
    let other = by_hand(&dir).await;
    let mut held = other.acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *held).await.unwrap();
    let deadline = Deadline {
        arrived: clock.moment(),
        within: Duration::from_millis(2500),
        clock: clock.clone(),
    };
    let interaction = delivery("discord", "1", clock.now());
    let (keeper, asked) = (store.clone(), interaction.clone());
    let recording = tokio::spawn(async move { keeper.record_delivery_before(&asked, deadline).await });
    clock.advance(Duration::from_millis(4500));
    sqlx::query("ROLLBACK").execute(&mut *held).await.unwrap();
    assert_eq!(recording.await.unwrap().unwrap(), Recorded::TooLate);
    assert!(store.delivery(&interaction.platform, "1").await.unwrap().is_none());
    store.close().await;
}

/// Whether nobody but the owner may read the file.
fn is_private(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(file)
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        .permissions()
        .mode();
    mode & 0o777 == 0o600
}

#[tokio::test]
async fn nobody_else_may_read_what_people_wrote() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let names = ["", "-wal", "-shm", ".serving"].map(|end| dir.path().join(format!("stepherd.db{end}")));
    let (store, serving) = Store::open_to_serve(&url(&dir), at(0)).await.unwrap();
    fill(&store).await;
    assert!(names.iter().all(|name| is_private(name)));
    let copy = dir.path().join("copy.db");
    stepherd::store::backup(&url(&dir), &copy).await.unwrap();
    assert!(is_private(&copy));
    store.close().await;
    drop(serving);
    // One that an older stepherd made, or somebody copied there.
    std::fs::set_permissions(&names[0], std::fs::Permissions::from_mode(0o644)).unwrap();
    let (store, _serving) = Store::open_to_serve(&url(&dir), at(0)).await.unwrap();
    fill_more(&store).await;
    assert!(names.iter().all(|name| is_private(name)));
    store.close().await;
}

async fn fill_more(store: &Store) {
    store.record_delivery(&delivery("github", "more", at(0))).await.unwrap();
}

/// Why a database that is to be looked into cannot be.
async fn not_to_be_seen(url: &str) -> String {
    match Store::open_as_it_is(url).await {
        Err(StoreError::Unusable(why)) => why,
        Err(other) => panic!("wrong kind of error: {other}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

#[tokio::test]
async fn looking_makes_nothing_and_migrates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stepherd.db");
    let why = not_to_be_seen(&url(&dir)).await;
    assert!(why.contains("there is no database at"), "{why}");
    assert!(Store::open_restored(&url(&dir)).await.is_err());
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    let why = not_to_be_seen(&url(&dir)).await;
    assert!(why.contains("holds nothing of stepherd's"), "{why}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    let store = open(&dir).await;
    fill(&store).await;
    // Beside a server, too.
    let _serving = store.serve(at(0)).await.unwrap();
    let beside = Store::open_as_it_is(&url(&dir)).await.unwrap();
    assert_eq!(beside.deliveries(None, 9).await.unwrap().len(), 2);
    beside.close().await;
    store.close().await;
    forget_the_newest_migration(&dir).await;
    let why = not_to_be_seen(&url(&dir)).await;
    assert!(
        why.contains("an older stepherd made") && why.contains("`stepherd serve`"),
        "{why}"
    );
}

async fn forget_the_newest_migration(dir: &TempDir) -> i64 {
    let pool = by_hand(dir).await;
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)")
        .execute(&pool)
        .await
        .unwrap();
    let left = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
        .fetch_one(&pool)
        .await
        .unwrap();
    pool.close().await;
    left
}

#[tokio::test]
async fn nobody_migrates_what_another_process_serves() {
    let dir = tempfile::tempdir().unwrap();
    let older = open(&dir).await;
    let serving = older.serve(at(0)).await.unwrap();
    let version = forget_the_newest_migration(&dir).await;
    let refused = Store::open_to_serve(&url(&dir), at(0)).await.err();
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
    let refused = Store::open_restored(&url(&dir)).await.err();
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
    let pool = by_hand(&dir).await;
    let now: i64 = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(now, version, "its tables are as they were");
    pool.close().await;
    drop(serving);
    older.close().await;
}
