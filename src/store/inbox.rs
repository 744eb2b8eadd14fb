//! What is written about many deliveries in one commit: that they are here, and what became of them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use futures_util::FutureExt as _;

use super::bundle::{self, Content};
use super::gate::Gates;
use super::group::Group;
use super::sql::{Sql, Tx, sql};
use super::{Db, Recorded, StoreError, Weight};

/// Rows per statement, most first. Few sizes, so that prepared statements are used again.
const ROWS: [usize; 3] = [64, 8, 1];

static INSERT_DELIVERIES: LazyLock<[String; ROWS.len()]> = LazyLock::new(|| {
    ROWS.map(|rows| {
        format!(
            "INSERT INTO deliveries (platform, delivery_id, kind, target, received_at, body_bytes, bundle, place, due, \
             state, note, attempts, epoch) VALUES {} ON CONFLICT (platform, delivery_id) DO NOTHING \
             RETURNING platform, delivery_id",
            tuples(rows, 8, ", $5, 'pending', '', 0, 0")
        )
    })
});
static SETTLE: LazyLock<[String; ROWS.len()]> = LazyLock::new(|| {
    ROWS.map(|rows| {
        format!(
            "WITH settled (seq, epoch, state, note, due, at) AS (VALUES {})
             UPDATE deliveries SET state = settled.state, note = settled.note,
                due = COALESCE(settled.due, deliveries.due), lease_until = NULL, epoch = deliveries.epoch + 1,
                settled_at = settled.at
             FROM settled
             WHERE deliveries.seq = settled.seq AND deliveries.epoch = settled.epoch AND deliveries.state = 'pending'
             RETURNING deliveries.seq",
            tuples(rows, 6, "")
        )
    })
});
/// `($1, …), …`: so many rows of so many values. The rest of each row may name the row's fifth value as `$5`.
fn tuples(rows: usize, values: usize, rest: &str) -> String {
    let mut text = String::new();
    for row in 0..rows {
        let first = row * values;
        text.push_str(if row == 0 { "(" } else { ", (" });
        for value in 1..=values {
            let comma = if value == 1 { "" } else { ", " };
            let _ = write!(text, "{comma}${}", first + value);
        }
        text.push_str(&rest.replace("$5", &format!("${}", first + 5)));
        text.push(')');
    }
    text
}

/// One body as it came: so they were stored before there were bundles.
pub(super) const PLAIN: i64 = 0;
/// Several, packed.
pub(super) const BUNDLE: i64 = 1;

/// A delivery in its stored form.
pub(super) struct NewRow {
    pub(super) platform: String,
    pub(super) delivery_id: String,
    pub(super) kind: String,
    pub(super) target: String,
    pub(super) received_at: i64,
    pub(super) body_bytes: i64,
    pub(super) content: Content,
}

/// What became of a claimed delivery, in its stored form.
pub(super) struct Settlement {
    pub(super) seq: i64,
    pub(super) epoch: i64,
    pub(super) state: &'static str,
    pub(super) note: String,
    /// If it is to be tried again.
    pub(super) due: Option<i64>,
    pub(super) at: i64,
}

/// The two tasks that write.
#[derive(Clone)]
pub(super) struct Inbox {
    pub(super) arrivals: Group<NewRow, Recorded>,
    pub(super) settlements: Group<Settlement, bool>,
}

impl Inbox {
    /// Starts the tasks; they end with the last handle.
    pub(super) fn start(db: &Db, gates: &Gates) -> Self {
        let at_arrival = (db.clone(), gates.clone());
        let at_end = at_arrival.clone();
        Self {
            arrivals: Group::start(move |rows| {
                let (db, gates) = at_arrival.clone();
                async move { record(&db, &gates, rows).await }.boxed()
            }),
            settlements: Group::start(move |settlements| {
                let (db, gates) = at_end.clone();
                async move {
                    let mut tx = db.write("settle_delivery", &gates, Weight::Light).await?;
                    let held = settle(&mut tx, settlements).await?;
                    tx.commit().await?;
                    Ok(held)
                }
                .boxed()
            }),
        }
    }
}

async fn record(db: &Db, gates: &Gates, rows: Vec<NewRow>) -> Result<Vec<Recorded>, StoreError> {
    // Those that turn out to be here already are packed in vain: they are few.
    let packed = bundle::pack(rows.iter().map(|row| &row.content));
    let names: Vec<(String, String)> = rows
        .iter()
        .map(|row| (row.platform.clone(), row.delivery_id.clone()))
        .collect();
    let mut tx = db.write("record_delivery", gates, Weight::Durable).await?;
    let (bundle,) = sql("INSERT INTO bundles (form, headers, body) VALUES ($1, '', $2) RETURNING id")
        .bind(BUNDLE)
        .bind(packed)
        .one::<(i64,)>(&mut tx)
        .await?;
    let placed = (0_i64..).zip(rows).collect();
    let add = |statement: Sql, (place, row): (i64, NewRow)| {
        let statement = statement.bind(row.platform).bind(row.delivery_id).bind(row.kind);
        let statement = statement.bind(row.target).bind(row.received_at).bind(row.body_bytes);
        statement.bind(bundle).bind(place)
    };
    let mut new: HashSet<(String, String)> = HashSet::with_capacity(names.len());
    for statement in chunked(placed, &INSERT_DELIVERIES, add) {
        new.extend(statement.all::<(String, String)>(&mut tx).await?);
    }
    if new.is_empty() {
        tx.rollback().await?;
        return Ok(vec![Recorded::Again; names.len()]);
    }
    tx.commit().await?;
    // The first of two with one name is the new one.
    let recorded = names.iter().map(|name| match new.remove(name) {
        true => Recorded::New,
        false => Recorded::Again,
    });
    Ok(recorded.collect())
}

/// Settles claimed deliveries. `false` for those that somebody else has claimed or settled meanwhile. The epoch counts
/// on, so that a claim settles once even if the delivery becomes pending again.
pub(super) async fn settle(tx: &mut Tx, settlements: Vec<Settlement>) -> Result<Vec<bool>, StoreError> {
    let asked: Vec<i64> = settlements.iter().map(|settlement| settlement.seq).collect();
    let mut held = HashSet::with_capacity(asked.len());
    let add = |statement: Sql, settlement: Settlement| {
        let statement = statement.bind(settlement.seq).bind(settlement.epoch);
        let statement = statement.bind(settlement.state).bind(settlement.note);
        statement.bind(settlement.due).bind(settlement.at)
    };
    for statement in chunked(settlements, &SETTLE, add) {
        held.extend(statement.column::<i64>(tx).await?);
    }
    // The first of two about one delivery is the one that counts.
    Ok(asked.iter().map(|seq| held.remove(seq)).collect())
}

/// Statements that write all the rows, in order, as many at a time as there is a statement for.
fn chunked<T>(
    rows: Vec<T>,
    texts: &'static [String; ROWS.len()],
    add: impl Fn(Sql, T) -> Sql,
) -> impl Iterator<Item = Sql> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let (place, size) = ROWS.iter().enumerate().find(|(_, size)| **size <= rows.len())?;
        let statement = sql(texts[place].as_str());
        Some(rows.by_ref().take(*size).fold(statement, &add))
    })
}
