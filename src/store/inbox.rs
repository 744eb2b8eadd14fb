//! What is written about many deliveries in one commit: that they are here, and what became of them.

use std::collections::HashSet;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::bundle::{self, Content};
use super::gate::Gates;
use super::group::Group;
use super::lent::Purpose;
use super::sql::{Text, Tx, sql, storable};
use super::{Db, Deadline, DeliveryClaim, DeliverySettled, Recorded, StoreError, Weight, rows};

/// $1 the rows as JSON, $2 their bundle. Numbered in the order of arrival; where several processes write, in the order
/// of their ids: two that were sent the same deliveries wait for each other in one order.
const INSERT: Text = Text::Two {
    sqlite: "INSERT INTO deliveries (platform, delivery_id, kind, proof, target, received_at, thread, body_bytes,
                bundle, place, due, state, note, attempts, epoch)
             SELECT value ->> 'platform', value ->> 'delivery_id', value ->> 'kind', value ->> 'proof',
                value ->> 'target', value ->> 'received_at', value ->> 'thread', value ->> 'body_bytes', $2, key,
                value ->> 'received_at', 'pending', '', 0, 0
             FROM jsonb_each($1) WHERE true ORDER BY key
             ON CONFLICT (platform, delivery_id) DO NOTHING RETURNING platform, delivery_id",
    postgres:
        "INSERT INTO deliveries (seq, platform, delivery_id, kind, proof, target, received_at, thread, body_bytes,
                bundle, place, due, state, note, attempts, epoch)
             OVERRIDING SYSTEM VALUE
             SELECT seq, platform, delivery_id, kind, proof, target, received_at, thread, body_bytes, $2, place - 1,
                stepherd_now(received_at), 'pending', '', 0, 0
             FROM (SELECT nextval(pg_get_serial_sequence('deliveries', 'seq')) AS seq, new.*
                FROM ROWS FROM (json_to_recordset($1::json)
                    AS (platform text, delivery_id text, kind text, proof text, target text, received_at bigint,
                        thread text, body_bytes bigint))
                    WITH ORDINALITY
                    AS new (platform, delivery_id, kind, proof, target, received_at, thread, body_bytes, place)
                ORDER BY place) AS numbered
             ORDER BY platform, delivery_id
             ON CONFLICT (platform, delivery_id) DO NOTHING RETURNING platform, delivery_id",
};

macro_rules! settle {
    ($due:literal, $since:literal, $behind:literal, $settled:literal) => {
        concat!(
            "UPDATE deliveries SET state = settled.state, note = COALESCE(settled.note, deliveries.note),
                due = COALESCE(",
            $due,
            ", deliveries.due), lease_until = NULL, epoch = deliveries.epoch + 1,
                settled_at = CASE WHEN settled.untried = 1 THEN deliveries.settled_at ELSE settled.at END,
                attempts = deliveries.attempts - settled.untried,
                room = COALESCE(settled.room, deliveries.room),
                held_since = COALESCE(deliveries.held_since, ",
            $since,
            "),
                behind_since = COALESCE(deliveries.behind_since, ",
            $behind,
            "),
                early = CASE WHEN settled.since IS NULL AND settled.due IS NULL THEN deliveries.early ELSE 0 END
             FROM ",
            $settled,
            " WHERE deliveries.seq = settled.seq AND deliveries.epoch = settled.epoch
                AND deliveries.state = 'pending'
             RETURNING deliveries.seq"
        )
    };
}

/// $1 the settlements as JSON. Who was heard and has to wait for the outside may be heard before its turn again; who was
/// only put back may not. When it was settled says that it was tried. What is due again, and who has waited since when, is so by the
/// clock that it will be claimed by.
const SETTLE: Text = Text::Two {
    sqlite: settle!(
        "settled.due",
        "settled.since",
        "settled.behind",
        "(SELECT value ->> 'seq' AS seq, value ->> 'epoch' AS epoch, value ->> 'state' AS state,
                value ->> 'note' AS note, value ->> 'due' AS due, value ->> 'at' AS at,
                value ->> 'untried' AS untried, value ->> 'room' AS room, value ->> 'since' AS since, value ->> 'behind' AS behind
             FROM jsonb_each($1)) AS settled"
    ),
    postgres: settle!(
        "stepherd_now(settled.at) + (settled.due - settled.at)",
        "stepherd_now(settled.at) + (settled.since - settled.at)",
        "stepherd_now(settled.at) + (settled.behind - settled.at)",
        "(SELECT row.* FROM json_to_recordset($1::json) AS row (seq bigint, epoch bigint, state text, note text,
                due bigint, at bigint, untried bigint, room text, since bigint, behind bigint)
             JOIN deliveries AS d ON d.seq = row.seq ORDER BY d.seq FOR UPDATE OF d) AS settled"
    ),
};

/// One body as it came: so they were stored before there were bundles.
pub(super) const PLAIN: i64 = 0;
/// Several, packed.
pub(super) const BUNDLE: i64 = 1;

/// A delivery in its stored form.
#[derive(Serialize)]
pub(super) struct NewRow {
    pub(super) platform: String,
    pub(super) delivery_id: String,
    pub(super) kind: String,
    pub(super) proof: &'static str,
    pub(super) target: String,
    pub(super) received_at: i64,
    /// Empty if there is none.
    pub(super) thread: String,
    pub(super) body_bytes: i64,
    #[serde(skip)]
    pub(super) content: Content,
    #[serde(skip)]
    pub(super) deadline: Option<Deadline>,
}

/// What became of a claimed delivery, in its stored form.
#[derive(Serialize)]
pub(super) struct Settlement {
    pub(super) seq: i64,
    pub(super) epoch: i64,
    pub(super) state: &'static str,
    /// Absent if it stays as it is.
    pub(super) note: Option<String>,
    /// If it is to be tried again.
    pub(super) due: Option<i64>,
    pub(super) at: i64,
    /// 1 if the claim was no try.
    pub(super) untried: i64,
    /// Whose answer it waits for.
    pub(super) room: Option<String>,
    /// Since when it has waited for the outside.
    pub(super) since: Option<i64>,
    /// When it was put back behind others.
    pub(super) behind: Option<i64>,
}

impl Settlement {
    /// What this end of a claim is in the database.
    pub(super) fn of(claim: DeliveryClaim, settled: DeliverySettled, now: Timestamp) -> Self {
        let as_it_is = Self {
            seq: claim.seq,
            epoch: claim.epoch,
            state: "pending",
            note: None,
            due: None,
            at: rows::millis(now),
            untried: 0,
            room: None,
            since: None,
            behind: None,
        };
        match settled {
            DeliverySettled::Done { note } => Self {
                state: "done",
                note: Some(storable(note)),
                ..as_it_is
            },
            DeliverySettled::Parked { reason } => Self {
                state: "parked",
                note: Some(storable(reason)),
                ..as_it_is
            },
            DeliverySettled::RetryAt { at, reason, since } => Self {
                note: Some(storable(reason)),
                due: Some(rows::millis(at)),
                since: Some(rows::millis(since)),
                ..as_it_is
            },
            DeliverySettled::WaitsFor { room, since } => Self {
                note: Some(storable(format!("{room} has enough to answer already"))),
                untried: 1,
                since: Some(rows::millis(since)),
                room: Some(room),
                ..as_it_is
            },
            DeliverySettled::NotBefore { at, reason } => Self {
                note: Some(storable(reason)),
                due: Some(rows::millis(at)),
                untried: 1,
                ..as_it_is
            },
            DeliverySettled::PutBack => Self {
                untried: 1,
                behind: Some(rows::millis(now)),
                ..as_it_is
            },
        }
    }
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
                async move {
                    // A collision has undone it; the other has gone on.
                    match record(&db, &gates, &rows).await {
                        Err(StoreError::Collided(_)) => record(&db, &gates, &rows).await,
                        recorded => recorded,
                    }
                }
                .boxed()
            }),
            settlements: Group::start(move |settlements| {
                let (db, gates) = at_end.clone();
                async move {
                    match settle(&db, &gates, &settlements).await {
                        Err(StoreError::Collided(_)) => settle(&db, &gates, &settlements).await,
                        settled => settled,
                    }
                }
                .boxed()
            }),
        }
    }
}

async fn record(db: &Db, gates: &Gates, rows: &[NewRow]) -> Result<Vec<Recorded>, StoreError> {
    // Those that turn out to be here already are packed in vain: they are few.
    let packed = bundle::pack(rows.iter().map(|row| &row.content));
    let mut tx = db
        .write("record_delivery", gates, Weight::Durable, Purpose::Arrivals)
        .await?;
    let (bundle,) = sql("INSERT INTO bundles (form, headers, body) VALUES ($1, '', $2) RETURNING id")
        .bind(BUNDLE)
        .bind(packed)
        .one::<(i64,)>(&mut tx)
        .await?;
    let new = sql(INSERT)
        .bind(as_json(rows)?)
        .bind(bundle)
        .all::<(String, String)>(&mut tx)
        .await?;
    let recorded = became(rows, new);
    let kept = recorded.iter().any(|(_, what)| *what == Recorded::New);
    for (row, _) in recorded.iter().filter(|(_, what)| *what == Recorded::TooLate) {
        forget(&mut tx, row).await?;
    }
    if kept {
        tx.commit().await?
    } else {
        tx.rollback().await?
    }
    Ok(recorded.into_iter().map(|(_, what)| what).collect())
}

/// What became of each row, of which these are new in the table. The last thing before the commit: the clock that
/// deadlines go by is read here.
fn became(rows: &[NewRow], new: Vec<(String, String)>) -> Vec<(&NewRow, Recorded)> {
    let mut new: HashSet<(String, String)> = new.into_iter().collect();
    let became = rows.iter().map(|row| {
        // The first of two with one name is the new one.
        let what = match new.remove(&(row.platform.clone(), row.delivery_id.clone())) {
            false => Recorded::Again,
            true if row.deadline.as_ref().is_some_and(Deadline::has_passed) => Recorded::TooLate,
            true => Recorded::New,
        };
        (row, what)
    });
    became.collect()
}

/// Takes back what came in too late.
async fn forget(tx: &mut Tx, row: &NewRow) -> Result<(), StoreError> {
    sql("DELETE FROM deliveries WHERE platform = $1 AND delivery_id = $2")
        .bind(&row.platform)
        .bind(&row.delivery_id)
        .execute(tx)
        .await?;
    Ok(())
}

/// Settles claimed deliveries. `false` for those that somebody else has claimed or settled meanwhile. The epoch counts
/// on, so that a claim settles once even if the delivery becomes pending again.
async fn settle(db: &Db, gates: &Gates, settlements: &[Settlement]) -> Result<Vec<bool>, StoreError> {
    let mut tx = db.write("settle_delivery", gates, Weight::Light, Purpose::Work).await?;
    let held = sql(SETTLE).bind(as_json(settlements)?).column::<i64>(&mut tx).await?;
    tx.commit().await?;
    let mut held: HashSet<i64> = held.into_iter().collect();
    // The first of two about one delivery is the one that counts.
    Ok(settlements
        .iter()
        .map(|settlement| held.remove(&settlement.seq))
        .collect())
}

/// Many rows as one value, so that one statement takes any number of them.
fn as_json(many: &(impl Serialize + ?Sized)) -> Result<String, StoreError> {
    serde_json::to_string(many).map_err(|e| rows::unreadable("rows", e))
}
