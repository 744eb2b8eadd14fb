//! The inbox: each verified delivery once, held by one worker at a time, kept when it makes no sense.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use super::bundle::{self, Content};
use super::claims::renew;
use super::inbox::{BUNDLE, NewRow, PLAIN, Settlement};
use super::postgres::DELIVERIES_LOCK;
use super::rows::{self, Headers};
use super::sql::{Sql, Text, sql, storable};
use super::{
    ClaimedDelivery, Deadline, DeliveryClaim, DeliverySettled, DeliveryView, HOLD, Lease, MayBeVoided, NewDelivery,
    Recorded, Store, StoreError, Voided,
};
use crate::domain::ids::Platform;
use crate::domain::signal::Proof;

/// Whether one before it in its thread is under way, or has waited for the outside and still holds others back. Who has
/// been behind others for as long as one may hold others back waits for nobody any more, however many there are.
macro_rules! is_behind {
    ($row:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM deliveries AS h
                WHERE h.state = 'pending' AND (h.lease_until IS NOT NULL OR h.held_since IS NOT NULL)
                    AND h.thread = ",
            $row,
            ".thread AND h.seq < ",
            $row,
            ".seq AND h.thread <> '' AND (h.lease_until > $1 OR h.held_since IS NOT NULL)
                    AND (h.held_since IS NULL OR h.held_since > $4)
                    AND (",
            $row,
            ".behind_since IS NULL OR ",
            $row,
            ".behind_since > $4))"
        )
    };
}

/// The rooms that such deliveries wait for, found by steps through the index.
macro_rules! rooms {
    ($name:literal, $since:literal) => {
        concat!(
            $name,
            "(room) AS (
                SELECT MIN(room) FROM deliveries WHERE state = 'pending' AND held_since IS ",
            $since,
            " UNION ALL
                SELECT (SELECT MIN(n.room) FROM deliveries AS n
                        WHERE n.state = 'pending' AND n.held_since IS ",
            $since,
            " AND n.room > ",
            $name,
            ".room) FROM ",
            $name,
            " WHERE ",
            $name,
            ".room IS NOT NULL)"
        )
    };
}

/// The first of those of each room that has some left.
macro_rules! first_of {
    ($name:literal, $since:literal, $of_room:literal, $order:literal, $early:literal,
     $full:literal, $each:literal, $end_each:literal) => {
        concat!(
            "SELECT d.seq FROM (SELECT room FROM ",
            $name,
            " WHERE room = '' OR room NOT IN ",
            $full,
            ") AS rooms ",
            $each,
            "SELECT w.seq FROM deliveries AS w
                    WHERE w.state = 'pending' AND w.held_since IS ",
            $since,
            " AND ",
            $of_room,
            " AND w.due <= $1 AND (w.lease_until IS NULL OR w.lease_until <= $1)
                        AND (",
            $early,
            " OR NOT ",
            is_behind!("w"),
            ") ORDER BY ",
            $order,
            " LIMIT $3",
            $end_each
        )
    };
}

/// Of those that have not had to wait yet the first in the order of arrival, of the others those that were due first, by
/// whose answers they wait for: whom there is no room with is not read. So a claim costs the same however many are
/// pending, but for those that stand behind others in their threads and were put back.
macro_rules! claim {
    ($full:literal, $each:literal, $end_each:literal, $skip_locked:literal) => {
        concat!(
            "WITH RECURSIVE ",
            rooms!("fresh", "NULL"),
            ", ",
            rooms!("waiting", "NOT NULL"),
            ", due AS MATERIALIZED (",
            // A range of the room and in its order, so that no other index will do.
            first_of!(
                "fresh",
                "NULL",
                "(w.room, w.seq) > (rooms.room, 0) AND w.room <= rooms.room",
                "w.room, w.seq",
                "(w.early = 0 AND w.due <= $5)",
                $full,
                $each,
                $end_each
            ),
            " UNION ALL ",
            first_of!(
                "waiting",
                "NOT NULL",
                "w.room = rooms.room",
                "w.due, w.seq",
                "w.early = 0",
                $full,
                $each,
                $end_each
            ),
            "),
             free AS MATERIALIZED (
                SELECT d.seq, CASE WHEN ",
            is_behind!("d"),
            " THEN 1 ELSE 0 END AS early FROM deliveries AS d
                WHERE d.seq IN (SELECT seq FROM due ORDER BY seq LIMIT $3) ORDER BY d.seq ",
            $skip_locked,
            ")
             UPDATE deliveries SET epoch = epoch + 1, attempts = attempts + 1, lease_until = $2, early = free.early
             FROM free WHERE deliveries.seq = free.seq
             RETURNING deliveries.seq, epoch, attempts, deliveries.early, held_since, behind_since, platform, delivery_id, kind, proof,
                target, received_at, thread, bundle, place"
        )
    };
    (sqlite) => {
        claim!("(SELECT value FROM json_each($6))", "JOIN deliveries AS d ON d.seq IN (", ")", "")
    };
    (postgres) => {
        claim!(
            "(SELECT json_array_elements_text($6::json))",
            "CROSS JOIN LATERAL (",
            ") AS d",
            "FOR UPDATE OF d SKIP LOCKED"
        )
    };
}

/// $1 now, $2 end of the lease, $3 limit, $4 whoever has waited since then holds nobody back, $5 whoever was
/// due by then, or has waited itself, may be claimed early, $6 who has no room, as a JSON array.
const CLAIM: Text = Text::Two {
    sqlite: claim!(sqlite),
    postgres: claim!(postgres),
};

/// How the engine would go about it.
pub(super) const CLAIM_PLAN: Text = Text::Two {
    sqlite: concat!("EXPLAIN QUERY PLAN ", claim!(sqlite)),
    postgres: concat!("EXPLAIN ", claim!(postgres)),
};

const RENEW: Text = renew!("deliveries", "seq");

/// Who has been behind others for so long is claimed early.
const EARLY: Duration = Duration::from_secs(1);

/// $1 thread, $2 row number, $3 a line. Whoever locks several rows locks them in their order.
const VOID: Text = Text::Two {
    sqlite: "UPDATE deliveries SET voided = voided || $3 WHERE thread = $1 AND seq < $2 AND state = 'pending'
             RETURNING seq",
    postgres: "UPDATE deliveries SET voided = voided || $3 WHERE seq IN (SELECT seq FROM deliveries
                   WHERE thread = $1 AND seq < $2 AND state = 'pending' ORDER BY seq FOR UPDATE)
               RETURNING seq",
};

/// $1 numbers, as a JSON array.
const BUNDLES: Text = Text::Two {
    sqlite: "SELECT id, form, headers, body FROM bundles WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "SELECT id, form, headers, body FROM bundles
               WHERE id IN (SELECT number::bigint FROM json_array_elements_text($1::json) AS number)",
};

macro_rules! views {
    ($rest:literal) => {
        concat!(
            "SELECT d.seq, d.platform, d.delivery_id, d.kind, d.proof, d.target, d.received_at, d.thread, d.bundle, d.place,
                d.state, d.note, d.attempts, d.body_bytes FROM deliveries AS d ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct ClaimedRow {
    seq: i64,
    epoch: i64,
    attempts: i64,
    early: i64,
    held_since: Option<i64>,
    behind_since: Option<i64>,
    #[sqlx(flatten)]
    delivery: DeliveryRow,
}

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    platform: String,
    delivery_id: String,
    kind: String,
    proof: String,
    target: String,
    received_at: i64,
    thread: String,
    bundle: i64,
    place: i64,
}

#[derive(sqlx::FromRow)]
struct BundleRow {
    id: i64,
    form: i64,
    headers: String,
    body: Vec<u8>,
}

#[derive(sqlx::FromRow)]
struct ViewRow {
    seq: i64,
    state: String,
    note: String,
    attempts: i64,
    body_bytes: i64,
    #[sqlx(flatten)]
    delivery: DeliveryRow,
}

impl Store {
    /// Makes the delivery durable, due at once, unless it already is. Many at a time are one commit; what is under
    /// way goes on although the future is dropped.
    ///
    /// # Errors
    /// `Unavailable` at once if too many wait already.
    pub async fn record_delivery(&self, delivery: &NewDelivery) -> Result<Recorded, StoreError> {
        self.record(delivery, None).await
    }

    /// The same, unless the deadline passes before it is durable: then `TooLate`, and nothing is stored. What is stored
    /// in time may still be heard of too late, if the answer to the commit takes long.
    ///
    /// # Errors
    /// As for `record_delivery`.
    pub async fn record_delivery_before(
        &self,
        delivery: &NewDelivery,
        deadline: Deadline,
    ) -> Result<Recorded, StoreError> {
        self.record(delivery, Some(deadline)).await
    }

    async fn record(&self, delivery: &NewDelivery, deadline: Option<Deadline>) -> Result<Recorded, StoreError> {
        let row = NewRow {
            platform: delivery.platform.to_string(),
            delivery_id: storable(delivery.delivery_id.clone()),
            kind: storable(delivery.kind.clone()),
            proof: delivery.proof.name(),
            target: storable(delivery.target.clone()),
            received_at: rows::millis(delivery.received_at),
            thread: storable(delivery.thread.clone().unwrap_or_default()),
            body_bytes: rows::int(delivery.body.len() as u64),
            content: Content {
                headers: rows::encode(&Headers(delivery.headers.clone()))?,
                body: delivery.body.clone(),
            },
            deadline,
        };
        let bytes = delivery.body.len();
        let recorded = self.inbox.arrivals.ask_unless_full(row, bytes).await?;
        if recorded == Recorded::New {
            self.stir();
        }
        Ok(recorded)
    }

    /// Claims pending deliveries that are due and that nobody holds, in the order of arrival. One that cannot be
    /// read any more is parked instead, so that it does not stand in the way.
    ///
    /// Nobody overtakes in a thread: while one is under way, or has waited for the outside for less than [`HOLD`],
    /// later ones are left alone, except that each is claimed `early`, until it is put back.
    pub async fn claim_deliveries(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        self.claim_deliveries_except(now, lease, limit, &[]).await
    }

    /// The same, without those that wait for one of these.
    pub async fn claim_deliveries_except(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
        full: &[String],
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let mut tx = self.write_light("claim_deliveries").await?;
        self.one_claim_at_a_time(&mut tx, DELIVERIES_LOCK).await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        let mut claimed: Vec<ClaimedRow> = bound_claim(CLAIM, lease_now, lease, limit, full).all(&mut tx).await?;
        tx.commit().await?;
        claimed.sort_by_key(|row| row.seq);
        let bundles = self.bundles(claimed.iter().map(|row| row.delivery.bundle)).await?;
        let mut readable = Vec::with_capacity(claimed.len());
        for row in claimed {
            let claim = DeliveryClaim {
                seq: row.seq,
                epoch: row.epoch,
            };
            // By the clock of whoever asks.
            let by_asker = |at: Option<i64>| at.map(|at| rows::time(at - lease_now + rows::millis(now))).transpose();
            let (held_since, behind_since) = (by_asker(row.held_since)?, by_asker(row.behind_since)?);
            match row.delivery.read(claim.seq, &bundles) {
                Ok(delivery) => readable.push(ClaimedDelivery {
                    claim,
                    attempts: rows::tries(row.attempts - 1),
                    early: row.early == 1,
                    held_since,
                    behind_since,
                    delivery,
                }),
                Err(error) => {
                    let reason = error.to_string();
                    let parked = Settlement::of(claim, DeliverySettled::Parked { reason }, now);
                    self.inbox.settlements.ask(parked).await?;
                }
            }
        }
        Ok(readable)
    }

    /// Bundles never change, so they are read outside the transaction that claims.
    async fn bundles(&self, of: impl Iterator<Item = i64>) -> Result<Bundles, StoreError> {
        let wanted: BTreeSet<i64> = of.collect();
        if wanted.is_empty() {
            return Ok(Bundles::new());
        }
        let found: Vec<BundleRow> = sql(BUNDLES)
            .bind(serde_json::json!(wanted).to_string())
            .all(&mut self.read().await?)
            .await?;
        Ok(found.into_iter().map(|row| (row.id, row.read())).collect())
    }

    /// Holds the deliveries for another lease; which of them, because somebody else may have claimed or settled some
    /// meanwhile.
    pub async fn renew_deliveries(
        &self,
        claims: &[DeliveryClaim],
        now: Timestamp,
        lease: Lease,
    ) -> Result<Vec<DeliveryClaim>, StoreError> {
        let held = claims.iter().map(|claim| (claim.seq, claim.epoch)).collect();
        let renewed = self.renew("renew_deliveries", RENEW, held, now, lease).await?;
        Ok(claims
            .iter()
            .filter(|claim| renewed.contains(&claim.seq))
            .copied()
            .collect())
    }

    /// Somebody stopped this in a thread: starts that wait there in earlier deliveries are not to take effect. The
    /// deliveries in which there may be some, by row number.
    pub async fn void_starts(&self, thread: &str, before: i64, voided: &Voided) -> Result<Vec<i64>, StoreError> {
        let mut tx = self.write("void_starts").await?;
        let marked = sql(VOID)
            .bind(thread)
            .bind(before)
            .bind(format!("{}\n", rows::encode(voided)?))
            .column(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(marked)
    }

    /// Who stopped this command while it waited in this delivery, if anybody did.
    pub async fn voided(&self, start: &MayBeVoided) -> Result<Option<Voided>, StoreError> {
        let found = sql("SELECT voided FROM deliveries WHERE seq = $1")
            .bind(start.seq)
            .optional::<(String,)>(&mut self.read().await?)
            .await?;
        Ok(found.and_then(|(voided,)| voided_in(&voided, start)))
    }

    /// Settles a delivery; many at a time are one commit. `false` if somebody else has claimed or settled it meanwhile:
    /// nothing was done.
    pub async fn settle_delivery(
        &self,
        claim: DeliveryClaim,
        settled: DeliverySettled,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let settlement = Settlement::of(claim, settled, now);
        self.inbox.settlements.ask(settlement).await
    }

    /// Whether the platform sent something earlier that nobody has finished a first try of.
    pub async fn earlier_untried(&self, claimed: &ClaimedDelivery) -> Result<bool, StoreError> {
        let found = sql("SELECT seq FROM deliveries
             WHERE state = 'pending' AND seq < $1 AND platform = $2 AND settled_at IS NULL LIMIT 1")
        .bind(claimed.claim.seq)
        .bind(claimed.delivery.platform.as_str())
        .optional::<(i64,)>(&mut self.read().await?)
        .await?;
        Ok(found.is_some())
    }

    /// Deliveries, newest first: those in this state, or all.
    pub async fn deliveries(&self, state: Option<&str>, limit: u32) -> Result<Vec<DeliveryView>, StoreError> {
        // The states that are few have indexes of their own, which are used only where the text names the state.
        let statement = match state {
            None => sql(views!("ORDER BY d.seq DESC LIMIT $1")),
            Some("pending") => sql(views!("WHERE d.state = 'pending' ORDER BY d.seq DESC LIMIT $1")),
            Some("parked") => sql(views!("WHERE d.state = 'parked' ORDER BY d.seq DESC LIMIT $1")),
            Some(_) => sql(views!("WHERE d.state = 'done' ORDER BY d.seq DESC LIMIT $1")),
        };
        let found: Vec<ViewRow> = statement.bind(i64::from(limit)).all(&mut self.read().await?).await?;
        found.iter().map(ViewRow::read).collect()
    }

    /// A delivery by its platform's id.
    pub async fn delivery(
        &self,
        platform: &Platform,
        delivery_id: &str,
    ) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
        let found = sql(views!("WHERE d.platform = $1 AND d.delivery_id = $2"))
            .bind(platform.as_str())
            .bind(delivery_id)
            .optional(&mut self.read().await?)
            .await?;
        self.whole(found).await
    }

    /// A delivery by its row number.
    pub async fn delivery_by_seq(&self, seq: i64) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
        let found = sql(views!("WHERE d.seq = $1"))
            .bind(seq)
            .optional(&mut self.read().await?)
            .await?;
        self.whole(found).await
    }

    async fn whole(&self, found: Option<ViewRow>) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
        let Some(row) = found else { return Ok(None) };
        let bundles = self.bundles([row.delivery.bundle].into_iter()).await?;
        Ok(Some((row.read()?, row.delivery.read(row.seq, &bundles)?)))
    }

    /// Makes a parked or done delivery pending again, due now, as if it had never been claimed. `false` if it is
    /// pending already or does not exist.
    pub async fn replay_delivery(&self, seq: i64, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.write("replay_delivery").await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        let replayed = sql(
            "UPDATE deliveries SET state = 'pending', due = $2, attempts = 0, note = '', settled_at = NULL, room = '',
                held_since = NULL, early = 0, voided = ''
             WHERE seq = $1 AND state IN ('parked', 'done')",
        )
        .bind(seq)
        .bind(lease_now)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        self.stir();
        Ok(replayed == 1)
    }
}

pub(super) fn bound_claim(text: Text, now: i64, lease: Lease, limit: u32, full: &[String]) -> Sql {
    sql(text)
        .bind(now)
        .bind(rows::lease_end(now, lease.0))
        .bind(i64::from(limit))
        .bind(now.saturating_sub(rows::span(HOLD)))
        .bind(now.saturating_sub(rows::span(EARLY)))
        .bind(serde_json::json!(full).to_string())
}

/// What bundles hold, or why that cannot be told, by number.
type Bundles = HashMap<i64, Result<Vec<Content>, String>>;

impl BundleRow {
    fn read(self) -> Result<Vec<Content>, String> {
        match self.form {
            PLAIN => Ok(vec![Content {
                headers: self.headers,
                body: self.body.into(),
            }]),
            BUNDLE => bundle::unpack(&self.body),
            other => Err(format!("a newer stepherd wrote it (form {other})")),
        }
    }
}

impl DeliveryRow {
    fn read(self, seq: i64, bundles: &Bundles) -> Result<NewDelivery, StoreError> {
        let unreadable = |why: &str| rows::unreadable(&format!("the body of delivery {seq}"), why);
        let bundle = bundles.get(&self.bundle).ok_or_else(|| unreadable("it is gone"))?;
        let contents = bundle.as_ref().map_err(|why| unreadable(why))?;
        let content = usize::try_from(self.place).ok().and_then(|place| contents.get(place));
        let content = content.ok_or_else(|| unreadable("it is not in its bundle"))?;
        let headers: Headers = rows::decode(&format!("the headers of delivery {seq}"), &content.headers)?;
        Ok(NewDelivery {
            platform: rows::name("a delivery's platform", &self.platform)?,
            delivery_id: self.delivery_id,
            kind: self.kind,
            proof: Proof::of_name(&self.proof).ok_or_else(|| {
                rows::unreadable(&format!("the proof of delivery {seq}"), "a newer stepherd wrote it")
            })?,
            target: self.target,
            headers: headers.0,
            body: content.body.clone(),
            received_at: rows::time(self.received_at)?,
            thread: Some(self.thread).filter(|thread| !thread.is_empty()),
        })
    }
}

/// Whether this start is among what was stopped: one JSON object a line, the last one counts. A stop may come late, and
/// what was said after it was not meant by it.
pub(super) fn voided_in(voided: &str, start: &MayBeVoided) -> Option<Voided> {
    let mut all = voided
        .lines()
        .filter_map(|line| rows::decode::<Voided>("what was stopped", line).ok());
    all.rfind(|voided| voided.command == start.command && voided.at >= start.said_at)
}

impl ViewRow {
    fn read(&self) -> Result<DeliveryView, StoreError> {
        Ok(DeliveryView {
            seq: self.seq,
            platform: rows::name("a delivery's platform", &self.delivery.platform)?,
            delivery_id: self.delivery.delivery_id.clone(),
            kind: self.delivery.kind.clone(),
            received_at: rows::time(self.delivery.received_at)?,
            state: self.state.clone(),
            note: self.note.clone(),
            attempts: rows::tries(self.attempts),
            body_bytes: rows::count(self.body_bytes),
        })
    }
}
