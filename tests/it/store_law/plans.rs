//! How the database goes about claims: what is pending is never read as a whole. Plans are asserted, not times.

use std::collections::BTreeMap;

use sqlx::Executor as _;
use stepherd::store::{Rooms, Store};

use super::samples::{LEASE, ask, at, delivery, reply};
use crate::postgres::Database;

/// So many more of each, as PostgreSQL's statistics know of them.
const MORE: [&str; 3] = [
    "INSERT INTO effects (key, run_id, lane, body, state, due, since, failures, reason, epoch, generation, unclear, room, place)
     SELECT key || n, run_id, lane, body, state, due, since, failures, reason, epoch, generation, unclear, room, place || n
     FROM effects, generate_series(1, 20000) AS n",
    "INSERT INTO deliveries (platform, delivery_id, kind, proof, target, received_at, state, note, due, attempts, epoch,
        thread, room, bundle, place, body_bytes)
     SELECT platform, delivery_id || n, kind, proof, target, received_at, state, note, due, attempts, epoch,
        thread || n, room, bundle, place, body_bytes FROM deliveries, generate_series(1, 20000) AS n",
    "ANALYZE",
];

/// What is claimed from. `SCAN w` and `Seq Scan on deliveries d` read all of it.
const TABLES: [&str; 7] = ["effects", "deliveries", "e", "n", "w", "h", "d"];
/// The indexes over all that is pending.
const PENDING_INDEXES: [&str; 4] = [
    "effects_due",
    "deliveries_fresh",
    "deliveries_waiting",
    "deliveries_pending",
];

#[tokio::test]
async fn no_claim_reads_all_that_is_pending_on_sqlite() {
    let engine = super::sqlite_file().await;
    fill(&engine.store).await;
    look(&engine.store).await;
    engine.end().await;
}

#[tokio::test]
async fn no_claim_reads_all_that_is_pending_on_postgresql() {
    let database = Database::new().await;
    let store = database.store().await;
    fill(&store).await;
    let mut by_hand = database.by_hand().await;
    for statement in MORE {
        by_hand.execute(statement).await.unwrap();
    }
    look(&store).await;
    store.close().await;
    database.drop().await;
}

async fn fill(store: &Store) {
    ask(store, vec![reply("1")], at(0)).await;
    store.record_delivery(&delivery("github", "1", at(0))).await.unwrap();
}

async fn look(store: &Store) {
    let rooms = Rooms {
        free: BTreeMap::from([("github".to_owned(), 0)]),
        other: 16,
        limit: 64,
    };
    let [deliveries, effects] = store.claim_plans(at(9), LEASE, &rooms).await.unwrap();
    for (plan, indexes) in [
        (&effects, &["effects_due"][..]),
        (&deliveries, &["deliveries_fresh", "deliveries_waiting"]),
    ] {
        let all = plan.join("\n");
        let scans: Vec<&String> = plan.iter().filter(|line| reads_all(line)).collect();
        assert!(scans.is_empty(), "{scans:?} in\n{all}");
        for index in indexes {
            let steps = plan.iter().enumerate().filter(|(_, line)| picks(line, index));
            let steps: Vec<usize> = steps.map(|(number, _)| number).collect();
            assert_eq!(steps.len(), 1, "what is taken is found by {index}:\n{all}");
            // In the order in which it is taken: the rest is not read to be sorted.
            for step in steps {
                assert!(is_in_order(plan, step), "it is sorted:\n{all}");
            }
        }
    }
}

/// Whether the step goes through a whole table, or a whole index over what is pending.
fn reads_all(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let of_table = |word: &&str| TABLES.contains(word);
    let sqlite = words.first() == Some(&"SCAN") && words.get(1).is_some_and(of_table);
    let postgres = line.contains("Seq Scan on effects") || line.contains("Seq Scan on deliveries");
    let bitmap = line.contains("Bitmap Index Scan") && PENDING_INDEXES.iter().any(|index| line.contains(index));
    (sqlite && !line.contains("effects_held")) || postgres || bitmap
}

/// Whether the step finds what is taken.
fn picks(line: &str, index: &str) -> bool {
    let sqlite = line.starts_with("SEARCH w USING ") && line.contains(&format!("INDEX {index} (room"));
    let postgres = line.contains(&format!("Index Scan using {index} on")) && line.contains(" w");
    sqlite || postgres
}

fn is_in_order(plan: &[String], step: usize) -> bool {
    if plan[step].starts_with("SEARCH") {
        let sorted = plan.get(step + 1).is_some_and(|next| next.contains("TEMP B-TREE"));
        return !sorted;
    }
    plan[step - 1].contains("Limit")
}
