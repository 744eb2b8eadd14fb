//! The database is lost and restored from a backup that is older than the world: the run goes on, and nothing that
//! happened since is done again.

use std::path::Path;
use std::time::Duration;

use stepherd::sandbox::town::{APP, REPO, TENANT, TICKET};
use stepherd::store::{Store, backup};

use super::scene::at;
use crate::postgres::Database;
use crate::store_law::backup::restore;
use crate::store_law::samples::delivery;
use crate::world::World;

/// As long as platforms deliver again and looking looks back.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// What people see of it: every message of every thread, every pull request, every start.
async fn seen(world: &World) -> String {
    let mut seen: Vec<String> = Vec::new();
    let pulls = world.town.github.pulls(REPO).unwrap();
    for pull in &pulls {
        seen.push(format!(
            "{} {} merged: {}",
            pull.number,
            pull.branch,
            pull.merged.is_some()
        ));
        for message in world.messages(pull.number) {
            seen.push(format!("  {} {:?}", message.author, message.reactions));
            seen.extend(message.body.lines().take(3).map(|line| format!("    {line}")));
        }
    }
    for message in world.town.jira.messages(TICKET) {
        seen.push(format!(
            "{TICKET} {} {}",
            message.author,
            message.body.lines().next().unwrap_or("")
        ));
    }
    seen.push(format!("syncs: {}", world.town.argocd.syncs(&format!("dcr-{TENANT}"))));
    world.readable(&seen.join("\n")).await
}

/// Up to the moment when a command has been taken in and nothing of it has been done; then the backup, and then more
/// happens. Deliveries come in while it is made.
async fn backed_up(world: &World, database: &str, to: &Path) -> (String, u64) {
    world.approved_unheard().await;
    let (number, _) = world.pull_request().await;
    world.write(number, "ada", "/dcr start comcast ticket=SREPROV-3072");
    world.deliver().await;
    world.intake().await;
    assert_eq!(at(&world.run().await), "HistoryUpdate 1");
    assert_eq!(world.town.github.pulls(REPO).unwrap().len(), 1, "nothing is made yet");
    let storm = async {
        for number in 0..50 {
            let ping = delivery(
                "github",
                &format!("ping-{number}"),
                stepherd::clock::Clock::now(&*world.clock),
            );
            world.store.record_delivery(&ping).await.unwrap();
        }
    };
    let (made, ()) = tokio::join!(backup(database, to), storm);
    let made = made.unwrap();
    assert_eq!((made.runs, made.live), (1, 1));
    // More happens.
    world.settle().await;
    world.say(number, "ada", "/dcr status").await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "Sync 1");
    let seen = seen(world).await;
    (seen, number)
}

/// The platform delivers again what it has.
async fn delivered_again(world: &World) {
    for delivery in world.town.github.deliveries() {
        assert!(world.town.github.redeliver(&delivery.id));
    }
    world.settle().await;
}

async fn goes_on(world: &World, before: &str, number: u64) {
    world.settle().await;
    world.pass(Duration::from_secs(60)).await;
    delivered_again(world).await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.runs().await.len(), 1, "the command took effect once");
    assert_eq!(at(&world.run().await), "Sync 1");
    assert_eq!(seen(world).await, *before, "nobody sees that anything happened");
    // And to the end.
    world.sync_and_rebuild(TENANT).await;
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(at(&world.run().await), "completed");
    assert_eq!(world.town.jira.status(TICKET).as_deref(), Some("Done"));
    assert_eq!(world.town.argocd.syncs(APP), 1);
    let branches: std::collections::BTreeSet<String> = world
        .town
        .github
        .pulls(REPO)
        .unwrap()
        .into_iter()
        .map(|pull| pull.branch)
        .collect();
    assert_eq!(branches.len(), world.town.github.pulls(REPO).unwrap().len());
    let cards = world.messages(number);
    let cards = cards.iter().filter(|message| message.body.contains("/card -->"));
    assert_eq!(cards.count(), 1, "one card a thread");
    for state in ["pending", "parked"] {
        let left = world.store.effects(Some(state), 100).await.unwrap();
        assert!(left.is_empty(), "{state}: {left:?}");
    }
}

#[tokio::test]
async fn a_lost_sqlite_file_is_restored_from_a_backup() {
    let world = World::new().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("backup.db");
    let (before, number) = backed_up(&world, &world.database(), &copy).await;
    let place = elsewhere.path().join("stepherd.db");
    std::fs::copy(&copy, &place).unwrap();
    let restored = format!("sqlite:{}", place.display());
    told_of_it(&restored, &world).await;
    let world = world.restart_on(&restored).await;
    goes_on(&world, &before, number).await;
}

#[tokio::test]
async fn a_lost_postgres_database_is_restored_from_a_backup() {
    let database = Database::new().await;
    let set = |env: &mut std::collections::BTreeMap<String, String>| {
        env.insert("STEPHERD__DATABASE__URL".into(), database.url.clone());
    };
    let world = World::with_settings(|_| {}, set).await;
    database.turn_clock_by_hand().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("backup.dump");
    let (before, number) = backed_up(&world, &database.url, &copy).await;
    let restored = restore(&copy).await;
    told_of_it(&restored.url, &world).await;
    let lost = world.store.clone();
    let world = world.restart_on(&restored.url).await;
    lost.close().await;
    database.drop().await;
    goes_on(&world, &before, number).await;
    world.store.close().await;
    restored.drop().await;
}

/// What `stepherd restored` does.
async fn told_of_it(database: &str, world: &World) {
    let store = Store::open(database).await.unwrap();
    let until = stepherd::clock::Clock::now(&*world.clock).checked_add(WEEK).unwrap();
    store.doubt_effects(until).await.unwrap();
    store.close().await;
}
