//! Files under a server: one that is replaced or taken away, one that is empty, one that belongs to somebody else.

use std::fs;
use std::os::unix::fs::{self as unix, MetadataExt as _};

use stepherd::store::{Recorded, Store, StoreError, backup};
use tempfile::TempDir;

use super::samples::{at, delivery, url};

fn refusal<T>(what: Result<T, StoreError>) -> String {
    match what {
        Err(StoreError::Unusable(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was taken"),
    }
}

fn place(dir: &TempDir, end: &str) -> std::path::PathBuf {
    dir.path().join(format!("stepherd.db{end}"))
}

#[tokio::test]
async fn a_file_that_was_replaced_or_removed_takes_nothing_more() {
    for taken_away in ["", ".serving"] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _serving) = Store::open_to_serve(&url(&dir), at(0)).await.unwrap();
        let first = store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
        assert_eq!(first, Recorded::New);
        store.ping().await.unwrap();
        let copy = dir.path().join("copy");
        backup(&url(&dir), &copy).await.unwrap();
        if taken_away.is_empty() {
            for end in ["", "-wal", "-shm"] {
                fs::remove_file(place(&dir, end)).unwrap();
            }
            fs::copy(&copy, place(&dir, "")).unwrap();
        } else {
            fs::remove_file(place(&dir, taken_away)).unwrap();
        }
        let why = refusal(store.record_delivery(&delivery("github", "2", at(0))).await);
        assert!(
            why.contains(&format!("stepherd.db{taken_away} was replaced or removed"))
                && why.contains("restart stepherd"),
            "{why}"
        );
        refusal(store.ping().await);
        refusal(
            store
                .claim_deliveries(at(1), super::samples::LEASE, 9)
                .await
                .map(|_| ()),
        );
        store.close().await;
    }
}

#[tokio::test]
async fn an_empty_file_was_not_restored() {
    // Nothing at all; and a plain copy of a database that is being served, whose tables are in its log.
    let served = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&served)).await.unwrap();
    for copied in [Vec::new(), fs::read(place(&served, "")).unwrap()] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(place(&dir, ""), &copied).unwrap();
        let why = refusal(Store::open_restored(&url(&dir)).await.map(|_| ()));
        assert!(
            why.contains("holds nothing of stepherd's, so it was not restored"),
            "{why}"
        );
        assert!(why.contains("`stepherd backup` made"), "{why}");
        assert_eq!(fs::read(place(&dir, "")).unwrap(), copied, "nothing was made of it");
    }
    store.close().await;
}

#[tokio::test]
async fn the_lock_belongs_to_the_owner_of_the_database() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(&url(&dir)).await.unwrap().close().await;
    fs::remove_file(place(&dir, ".serving")).unwrap();
    // Only root can give it away; for anybody else both are its own anyway.
    let _ = unix::chown(place(&dir, ""), Some(4242), Some(4242));
    let (store, serving) = Store::open_restored(&url(&dir)).await.unwrap();
    let owner = |end| fs::metadata(place(&dir, end)).unwrap().uid();
    assert_eq!(owner(".serving"), owner(""));
    store.close().await;
    drop(serving);
}

#[tokio::test]
async fn a_lock_that_cannot_be_opened_is_named_and_the_remedy_said() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(place(&dir, ".serving")).unwrap();
    let why = refusal(Store::open_to_serve(&url(&dir), at(0)).await.map(|_| ()));
    assert!(why.contains("stepherd.db.serving cannot be opened"), "{why}");
    assert!(
        why.contains("must belong to the user stepherd runs as") && why.contains("chown"),
        "{why}"
    );
}
