//! A backup is a whole database of one moment, made while others write; or there is none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sqlx::Executor as _;
use stepherd::store::{Committed, Store, StoreError, backup};

use super::samples::{act, at, delivery, done, entry, everything, join, report, start, url};
use crate::postgres::Database;

async fn fill(store: &Store) {
    let mut commit = start(1);
    commit.key = Some("k".to_owned());
    commit.history = vec![entry(1)];
    commit.effects = vec![report(1), act()];
    done(store, &commit).await;
    assert_eq!(join(store, 1, &["a"]).await, Committed::Done);
    store
        .record_delivery(&delivery("github", "first", at(0)))
        .await
        .unwrap();
}

/// What a folder holds, hidden files too.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Makes a backup while deliveries come in; how many were acknowledged before it began.
async fn in_the_storm(store: &Store, from: &str, to: &Path) -> u64 {
    let (over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let storm: Vec<_> = (0..4_u64)
        .map(|writer| {
            let (store, over, acknowledged) = (store.clone(), over.clone(), acknowledged.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    let name = format!("{writer}-{number}");
                    store.record_delivery(&delivery("github", &name, at(0))).await.unwrap();
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                }
            })
        })
        .collect();
    while acknowledged.load(Ordering::SeqCst) < 20 {
        tokio::task::yield_now().await;
    }
    let before = acknowledged.load(Ordering::SeqCst);
    let made = backup(from, to).await.unwrap();
    over.store(true, Ordering::SeqCst);
    for writer in storm {
        writer.await.unwrap();
    }
    let all = acknowledged.load(Ordering::SeqCst) + 1;
    assert!(
        (before + 1..=all).contains(&made.deliveries_pending),
        "{before} {made:?} {all}"
    );
    assert_eq!((made.runs, made.live, made.schema > 1), (1, 1, true));
    assert_eq!(made.bytes, std::fs::metadata(to).unwrap().len());
    made.deliveries_pending
}

/// The copy holds so many deliveries, all whole, and the run as it was.
async fn is_whole(copy: &Store, pending: u64, run: &str) {
    let listed = copy.deliveries(None, 100_000).await.unwrap();
    assert_eq!(listed.len() as u64, pending);
    for view in listed {
        let (_, delivery) = copy.delivery_by_seq(view.seq).await.unwrap().expect("it was listed");
        assert_eq!(delivery.body[..], [0, 159, 146, 150, b'{']);
    }
    let all = everything(copy).await;
    assert_eq!(all.split_once('\n').unwrap().1, run);
}

async fn runs_of(store: &Store) -> String {
    everything(store).await.split_once('\n').unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_sqlite_is_whole_although_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&dir)).await.unwrap();
    fill(&store).await;
    let run = runs_of(&store).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("stepherd.db");
    let pending = in_the_storm(&store, &url(&dir), &to).await;
    assert_eq!(files(elsewhere.path()), ["stepherd.db"], "nothing half-done is left");
    store.close().await;
    let copy = Store::open(&url(&elsewhere)).await.unwrap();
    is_whole(&copy, pending, &run).await;
    copy.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_postgres_is_whole_although_others_write() {
    let database = Database::new().await;
    let store = database.store().await;
    fill(&store).await;
    let run = runs_of(&store).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("stepherd.dump");
    let pending = in_the_storm(&store, &database.url, &to).await;
    assert_eq!(files(elsewhere.path()), ["stepherd.dump"]);
    store.close().await;
    database.drop().await;
    let restored = restore(&to).await;
    let copy = restored.store().await;
    is_whole(&copy, pending, &run).await;
    copy.close().await;
    restored.drop().await;
}

/// Restores a dump as the README says.
pub(crate) async fn restore(dump: &Path) -> Database {
    let database = Database::new().await;
    let restored = Command::new("pg_restore")
        .args(["--no-owner", "--exit-on-error", "--single-transaction", "--dbname"])
        .arg(&database.url)
        .arg(dump)
        .output()
        .expect("pg_restore is installed with PostgreSQL's client programs");
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    database
}

async fn refused(from: &str, to: &Path) -> String {
    match backup(from, to).await {
        Err(StoreError::Unusable(why) | StoreError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_be_backed_up_leaves_nothing_that_looks_like_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("copy.db");
    let why = refused(&url(&dir), &to).await;
    assert!(why.contains("there is no database at"), "{why}");
    assert!(files(dir.path()).is_empty(), "and none is made");
    let why = refused("sqlite::memory:", &to).await;
    assert!(why.contains("in memory"), "{why}");
    std::fs::write(
        dir.path().join("stepherd.db"),
        "no database at all, but long enough to be read as one",
    )
    .unwrap();
    let why = refused(&url(&dir), &to).await;
    assert!(why.contains("not a SQLite database"), "{why}");
    std::fs::remove_file(dir.path().join("stepherd.db")).unwrap();
    let nowhere = elsewhere.path().join("no-such-folder/copy.db");
    let store = Store::open(&url(&dir)).await.unwrap();
    let why = refused(&url(&dir), &nowhere).await;
    assert!(why.contains("cannot be written"), "{why}");
    assert!(files(elsewhere.path()).is_empty());
    std::fs::write(&to, "precious").unwrap();
    let why = refused(&url(&dir), &to).await;
    assert!(why.contains("overwrites nothing"), "{why}");
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "precious");
    store.close().await;
}

/// Pages of the database are damaged where only a backup reads: it says so instead of copying the damage.
#[tokio::test]
async fn a_damaged_database_is_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&dir)).await.unwrap();
    fill(&store).await;
    for number in 0..200 {
        let one = delivery("github", &number.to_string(), at(0));
        store.record_delivery(&one).await.unwrap();
    }
    store.close().await;
    let path: PathBuf = dir.path().join("stepherd.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 8192..].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let why = refused(&url(&dir), &elsewhere.path().join("copy.db")).await;
    assert!(why.contains("damaged"), "{why}");
    assert!(files(elsewhere.path()).is_empty());
}

/// Before an upgrade one makes a backup, with whichever stepherd is at hand: that must not migrate anything.
#[tokio::test]
async fn a_backup_of_an_older_database_migrates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&dir)).await.unwrap();
    fill(&store).await;
    store.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("stepherd.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    pool.execute("DELETE FROM _sqlx_migrations WHERE version > 1")
        .await
        .unwrap();
    pool.close().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let made = backup(&url(&dir), &elsewhere.path().join("copy.db")).await.unwrap();
    assert_eq!((made.schema, made.runs), (1, 1));
}

#[tokio::test]
async fn a_postgres_that_cannot_be_backed_up_is_said() {
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("copy.dump");
    let database = Database::new().await;
    let why = refused(&database.url, &to).await;
    assert!(why.contains("no database of stepherd's"), "{why}");
    let mut nowhere = url::Url::parse(&database.url).unwrap();
    nowhere.set_path("/no_such_database");
    refused(nowhere.as_str(), &to).await;
    assert!(files(elsewhere.path()).is_empty());
    database.drop().await;
}
