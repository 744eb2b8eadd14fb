//! Thousands of runs from one: every row that it has, in every table, copied in bulk with names of its own.

use std::fmt::Write as _;

use super::hand::Hand;
use super::life::{Life, Until};
use super::payload::{mixed, uuid};
use super::place::Place;
use crate::domain::ids::RunId;

/// Runs per transaction.
const CHUNK: usize = 10_000;
/// Names per statement.
const NAMES: usize = 500;
/// Of each so many finished runs one still has its delivery: deliveries are kept for a month, runs for a year.
const DELIVERY_EACH: u32 = 12;

/// A table of which a run has rows: which rows are the run's, what the database fills in by itself, and columns in
/// which no name can stand.
struct Rows {
    table: &'static str,
    /// `$run` and `$token` stand for the run that is copied.
    whose: &'static str,
    own: &'static str,
    plain: &'static [&'static str],
}

const TABLES: [Rows; 10] = [
    Rows {
        table: "runs",
        whose: "id = '$run'",
        own: "",
        plain: &["state", "pipeline"],
    },
    Rows {
        table: "history",
        whose: "run_id = '$run'",
        own: "",
        plain: &[],
    },
    Rows {
        table: "run_threads",
        whose: "run_id = '$run'",
        own: "",
        plain: &[],
    },
    Rows {
        table: "run_prs",
        whose: "run_id = '$run'",
        own: "",
        plain: &[],
    },
    Rows {
        table: "locks",
        whose: "run_id = '$run'",
        own: "",
        plain: &[],
    },
    Rows {
        table: "accepted",
        whose: "key LIKE '%$token%'",
        own: "",
        plain: &[],
    },
    Rows {
        table: "effects",
        whose: "run_id = '$run'",
        own: "id",
        plain: &["state", "reason"],
    },
    Rows {
        table: "messages",
        whose: "run = '$run'",
        own: "",
        plain: &["purpose", "digest"],
    },
    Rows {
        table: "heads",
        whose: "pr LIKE '%$token%'",
        own: "seq",
        plain: &[],
    },
    Rows {
        table: "deliveries",
        whose: "delivery_id = '$delivery'",
        own: "seq",
        plain: &["platform", "kind", "target", "state", "note"],
    },
];

/// How many live runs are looked at first, and how far their first looks are apart.
pub(super) struct Wake {
    /// The time that the run `n` is due: `wake_at = from_ms + n * spread_ms / count`.
    pub(super) from_ms: i64,
    pub(super) spread_ms: i64,
}

/// Copies the run until there are `count` of it; their ids, in order, the first one's own left out. The database must
/// not be in use.
pub(super) async fn copy(place: &Place, life: &Life, count: u32, wake: &Wake) -> Result<Vec<RunId>, String> {
    let mut hand = place.hand().await?;
    begin(&mut hand).await?;
    let ids = ids(life, count);
    let mut filler = Filler {
        hand,
        statements: Vec::new(),
        life,
        count,
        wake,
    };
    filler.prepare().await?;
    for (chunk, names) in ids.chunks(CHUNK).enumerate() {
        filler.fill(chunk * CHUNK, names).await?;
    }
    let added = i64::from(count) - 1;
    let mut hand = filler.hand;
    hand.run(&format!(
        "UPDATE counters SET value = value + {added} WHERE name = 'change'"
    ))
    .await?;
    end(hand).await?;
    Ok(ids)
}

/// Ids like chance gives them, in the order in which indexes keep them.
fn ids(life: &Life, count: u32) -> Vec<RunId> {
    let mut ids: Vec<RunId> = (1..u64::from(count))
        .map(|n| RunId::from_bits(mixed(life.token.wrapping_mul(1 << 20).wrapping_add(n))))
        .filter(|id| *id != life.run)
        .collect();
    ids.sort();
    // Forty bits: among a million there are a few twins.
    ids.dedup();
    let mut spare = 0;
    while ids.len() + 1 < count as usize {
        spare += 1;
        let id = RunId::from_bits(mixed(u64::MAX - spare));
        if let Err(place) = ids.binary_search(&id) {
            ids.insert(place, id);
        }
    }
    ids
}

/// Filling is not what is measured.
async fn begin(hand: &mut Hand) -> Result<(), String> {
    if hand.is_sqlite() {
        hand.run(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA cache_size = -262144; PRAGMA temp_store = MEMORY;",
        )
        .await
    } else {
        hand.run("SET synchronous_commit = off").await
    }
}

/// Leaves the database as one that has been in use for a while.
async fn end(mut hand: Hand) -> Result<(), String> {
    if hand.is_sqlite() {
        hand.run("PRAGMA locking_mode = NORMAL").await?;
        hand.run("PRAGMA journal_mode = WAL").await?;
    } else {
        hand.run("VACUUM (ANALYZE)").await?;
        // Only some users may; without it the first measurement bears a little of the filling.
        let _ = hand.run("CHECKPOINT").await;
    }
    hand.close().await
}

struct Filler<'a> {
    hand: Hand,
    statements: Vec<String>,
    life: &'a Life,
    count: u32,
    wake: &'a Wake,
}

impl Filler<'_> {
    /// The rows to copy, apart, and the statements that copy them.
    async fn prepare(&mut self) -> Result<(), String> {
        self.hand
            .run(
                "CREATE TEMP TABLE bench_names (n BIGINT PRIMARY KEY, id TEXT NOT NULL, token TEXT NOT NULL,
                 shard BIGINT NOT NULL, uuid TEXT NOT NULL)",
            )
            .await?;
        for rows in TABLES {
            let whose = rows.whose.replace("$run", self.life.run.as_str());
            let whose = whose.replace("$token", &self.life.token.to_string());
            let whose = whose.replace("$delivery", &String::from_utf8_lossy(&uuid(self.life.token)));
            let keep = format!(
                "CREATE TEMP TABLE bench_{0} AS SELECT * FROM {0} WHERE {whose}",
                rows.table
            );
            self.hand.run(&keep).await?;
            let statement = self.statement(&rows).await?;
            self.statements.push(statement);
        }
        self.hand
            .run(
                "CREATE TEMP TABLE bench_bundles AS SELECT b.* FROM bundles AS b
                 JOIN deliveries AS d ON d.bundle = b.id JOIN bench_deliveries AS t ON t.delivery_id = d.delivery_id",
            )
            .await
    }

    async fn statement(&mut self, rows: &Rows) -> Result<String, String> {
        let change = self
            .hand
            .number("SELECT value FROM counters WHERE name = 'change'")
            .await?;
        let bundles = self.hand.number("SELECT COALESCE(MAX(id), 0) FROM bundles").await?;
        let (mut into, mut from) = (Vec::new(), Vec::new());
        for (column, is_text) in self.hand.columns(rows.table).await? {
            if column == rows.own {
                continue;
            }
            let plain = !is_text || rows.plain.contains(&column.as_str());
            from.push(match (rows.table, column.as_str()) {
                ("runs", "change") => format!("{change} + n.n"),
                ("runs", "shard") => "n.shard".to_owned(),
                ("runs", "wake_at") => format!(
                    "CASE WHEN r.wake_at IS NULL THEN NULL ELSE {} + n.n * {} / {} END",
                    self.wake.from_ms, self.wake.spread_ms, self.count
                ),
                // The oldest first; one every ten seconds.
                ("runs", "asked_at") => format!("r.asked_at - ({} - n.n) * 10000", self.count),
                ("deliveries", "delivery_id") => "n.uuid".to_owned(),
                ("deliveries", "bundle") => format!("{bundles} + n.n"),
                (_, column) if plain => format!("r.{column}"),
                (_, column) => format!(
                    "replace(replace(r.{column}, '{}', n.id), '{}', n.token)",
                    self.life.run, self.life.token
                ),
            });
            into.push(column);
        }
        let retired = self.life.until == Until::Finished && rows.table == "deliveries";
        let from_n = if retired {
            self.count - self.count / DELIVERY_EACH
        } else {
            0
        };
        Ok(format!(
            "INSERT INTO {0} ({1}) SELECT {2} FROM bench_names AS n CROSS JOIN bench_{0} AS r
             WHERE n.n >= {from_n} ORDER BY n.n",
            rows.table,
            into.join(", "),
            from.join(", ")
        ))
    }

    async fn fill(&mut self, from: usize, names: &[RunId]) -> Result<(), String> {
        self.hand.run("BEGIN").await?;
        self.hand.run("DELETE FROM bench_names").await?;
        for (part, names) in names.chunks(NAMES).enumerate() {
            let mut text = "INSERT INTO bench_names (n, id, token, shard, uuid) VALUES ".to_owned();
            for (place, id) in names.iter().enumerate() {
                let n = (from + part * NAMES + place + 1) as u64;
                let token = self.life.token + n;
                let uuid = uuid(token);
                let comma = if place == 0 { "" } else { ", " };
                let uuid = String::from_utf8_lossy(&uuid);
                let _ = write!(text, "{comma}({n}, '{id}', '{token}', {}, '{uuid}')", shard(id));
            }
            self.hand.run(&text).await?;
        }
        let last = self.hand.number("SELECT COALESCE(MAX(seq), 0) FROM deliveries").await?;
        for statement in &self.statements {
            self.hand.run(statement).await?;
        }
        self.hand
            .run(&format!(
                "INSERT INTO bundles (id, form, headers, body)
                 SELECT d.bundle, b.form, b.headers, b.body FROM deliveries AS d CROSS JOIN bench_bundles AS b
                 WHERE d.seq > {last} ORDER BY d.seq"
            ))
            .await?;
        if !self.hand.is_sqlite() {
            // SQLite goes on after the largest number by itself.
            self.hand
                .run("SELECT setval(pg_get_serial_sequence('bundles', 'id'), MAX(id)) FROM bundles")
                .await?;
        }
        self.hand.run("COMMIT").await
    }
}

/// The same as the store's, which the migrations compute as well.
fn shard(id: &RunId) -> u32 {
    let byte = |place: usize| u32::from(id.as_str().as_bytes().get(place).copied().unwrap_or_default());
    (byte(0) * 31 + byte(1) * 7) % 64
}
