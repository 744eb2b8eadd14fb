//! The inbox: each verified delivery once, held by one worker at a time, kept when it makes no sense.

use jiff::Timestamp;

use super::inbox::NewRow;
use super::rows::{self, Headers};
use super::sql::{Conn, Linked, Text, Tx, sql, storable};
use super::{ClaimedDelivery, DeliverySettled, DeliveryView, Lease, NewDelivery, Recorded, Store, StoreError};
use crate::domain::ids::Platform;

/// Smaller bodies gain nothing by packing.
const PACK_FROM: usize = 512;
/// The body as it came.
const PLAIN: i64 = 0;
/// The body as an LZ4 block behind its length.
const PACKED: i64 = 1;

macro_rules! claim {
    ($skip_locked:literal) => {
        concat!(
            "WITH free AS MATERIALIZED (
                SELECT seq FROM deliveries
                WHERE state = 'pending' AND due <= $1 AND (lease_until IS NULL OR lease_until <= $1)
                ORDER BY seq LIMIT $3 ",
            $skip_locked,
            ")
             UPDATE deliveries SET epoch = epoch + 1, attempts = attempts + 1, lease_until = $2
             FROM free WHERE deliveries.seq = free.seq
             RETURNING deliveries.seq, epoch, attempts, platform, delivery_id, kind, target, received_at"
        )
    };
}

/// $1 now, $2 end of the lease, $3 limit.
const CLAIM: Text = Text::Two {
    sqlite: claim!(""),
    postgres: claim!("FOR UPDATE SKIP LOCKED"),
};

macro_rules! views {
    ($rest:literal) => {
        concat!(
            "SELECT d.seq, d.platform, d.delivery_id, d.kind, d.target, d.received_at, d.state, d.note, d.attempts,
                d.body_bytes FROM deliveries AS d ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct ClaimedRow {
    seq: i64,
    epoch: i64,
    attempts: i64,
    #[sqlx(flatten)]
    delivery: DeliveryRow,
}

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    platform: String,
    delivery_id: String,
    kind: String,
    target: String,
    received_at: i64,
}

#[derive(sqlx::FromRow)]
struct BodyRow {
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
        let (form, body) = if delivery.body.len() < PACK_FROM {
            (PLAIN, delivery.body.clone())
        } else {
            (PACKED, lz4_flex::block::compress_prepend_size(&delivery.body))
        };
        let row = NewRow {
            platform: delivery.platform.to_string(),
            delivery_id: storable(delivery.delivery_id.clone()),
            kind: delivery.kind.clone(),
            target: delivery.target.clone(),
            received_at: rows::millis(delivery.received_at),
            body_bytes: rows::int(delivery.body.len() as u64),
            form,
            headers: rows::encode(&Headers(delivery.headers.clone()))?,
            body,
        };
        let recorded = self.inbox.record(row).await?;
        if recorded == Recorded::New {
            self.stir();
        }
        Ok(recorded)
    }

    /// Claims pending deliveries that are due and that nobody holds, in the order of arrival. One that cannot be
    /// read any more is parked instead, so that it does not stand in the way.
    pub async fn claim_deliveries(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let mut tx = self.write("claim_deliveries").await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        let mut claimed: Vec<ClaimedRow> = sql(CLAIM)
            .bind(lease_now)
            .bind(rows::lease_end(lease_now, lease.0))
            .bind(i64::from(limit))
            .all(&mut tx)
            .await?;
        claimed.sort_by_key(|row| row.seq);
        let mut readable = Vec::with_capacity(claimed.len());
        for row in claimed {
            let (seq, epoch) = (row.seq, row.epoch);
            match row.delivery.read(seq, body(&mut tx, seq).await?) {
                Ok(delivery) => readable.push(ClaimedDelivery {
                    seq,
                    epoch,
                    attempts: rows::tries(row.attempts - 1),
                    delivery,
                }),
                Err(error) => {
                    let parked = DeliverySettled::Parked {
                        reason: error.to_string(),
                    };
                    settle(&mut tx, seq, epoch, &parked, now).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(readable)
    }

    /// Holds the delivery for another lease. `false` if somebody else has claimed or settled it meanwhile.
    pub async fn renew_delivery(
        &self,
        claimed: &ClaimedDelivery,
        now: Timestamp,
        lease: Lease,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write("renew_delivery").await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        let renewed = sql("UPDATE deliveries SET lease_until = $3 WHERE seq = $1 AND epoch = $2 AND state = 'pending'")
            .bind(claimed.seq)
            .bind(claimed.epoch)
            .bind(rows::lease_end(lease_now, lease.0))
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(renewed == 1)
    }

    /// Settles a delivery. `false` if somebody else has claimed or settled it meanwhile: nothing was done.
    pub async fn settle_delivery(
        &self,
        claimed: &ClaimedDelivery,
        settled: DeliverySettled,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write("settle_delivery").await?;
        let held = settle(&mut tx, claimed.seq, claimed.epoch, &settled, now).await?;
        tx.commit().await?;
        Ok(held)
    }

    /// Whether the platform sent something earlier that nobody has finished a first try of.
    pub async fn earlier_untried(&self, claimed: &ClaimedDelivery) -> Result<bool, StoreError> {
        let found = sql("SELECT seq FROM deliveries
             WHERE state = 'pending' AND seq < $1 AND platform = $2 AND settled_at IS NULL LIMIT 1")
        .bind(claimed.seq)
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
        let mut conn = self.read().await?;
        let found = sql(views!("WHERE d.platform = $1 AND d.delivery_id = $2"))
            .bind(platform.as_str())
            .bind(delivery_id)
            .optional(&mut conn)
            .await?;
        whole(&mut conn, found).await
    }

    /// A delivery by its row number.
    pub async fn delivery_by_seq(&self, seq: i64) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
        let mut conn = self.read().await?;
        let found = sql(views!("WHERE d.seq = $1")).bind(seq).optional(&mut conn).await?;
        whole(&mut conn, found).await
    }

    /// Makes a parked or done delivery pending again, due now, as if it had never been claimed. `false` if it is
    /// pending already or does not exist.
    pub async fn replay_delivery(&self, seq: i64, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.write("replay_delivery").await?;
        let replayed = sql(
            "UPDATE deliveries SET state = 'pending', due = $2, attempts = 0, note = '', settled_at = NULL
             WHERE seq = $1 AND state IN ('parked', 'done')",
        )
        .bind(seq)
        .bind(rows::millis(now))
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        self.stir();
        Ok(replayed == 1)
    }
}

async fn body(on: &mut impl Linked, seq: i64) -> Result<Option<BodyRow>, StoreError> {
    Ok(sql("SELECT form, headers, body FROM delivery_bodies WHERE seq = $1")
        .bind(seq)
        .optional(on)
        .await?)
}

async fn whole(conn: &mut Conn, found: Option<ViewRow>) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
    let Some(row) = found else { return Ok(None) };
    let body = body(conn, row.seq).await?;
    Ok(Some((row.read()?, row.delivery.read(row.seq, body)?)))
}

/// The epoch counts on, so that a claim settles once even if the delivery becomes pending again.
async fn settle(
    tx: &mut Tx,
    seq: i64,
    epoch: i64,
    settled: &DeliverySettled,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (state, note, due) = match settled {
        DeliverySettled::Done { note } => ("done", note, None),
        DeliverySettled::Parked { reason } => ("parked", reason, None),
        DeliverySettled::RetryAt { at, reason } => ("pending", reason, Some(rows::millis(*at))),
    };
    let updated = sql(
        "UPDATE deliveries SET state = $3, note = $4, due = COALESCE($5, due), lease_until = NULL,
            epoch = epoch + 1, settled_at = $6
         WHERE seq = $1 AND epoch = $2 AND state = 'pending'",
    )
    .bind(seq)
    .bind(epoch)
    .bind(state)
    .bind(note)
    .bind(due)
    .bind(rows::millis(now))
    .execute(tx)
    .await?;
    Ok(updated == 1)
}

impl DeliveryRow {
    fn read(self, seq: i64, body: Option<BodyRow>) -> Result<NewDelivery, StoreError> {
        let body = body.ok_or_else(|| rows::unreadable(&format!("delivery {seq}"), "its body is gone"))?;
        let headers: Headers = rows::decode(&format!("the headers of delivery {seq}"), &body.headers)?;
        let body = match body.form {
            PLAIN => body.body,
            PACKED => lz4_flex::block::decompress_size_prepended(&body.body)
                .map_err(|e| rows::unreadable(&format!("the body of delivery {seq}"), e))?,
            other => {
                let why = format!("a newer stepherd wrote it (form {other})");
                return Err(rows::unreadable(&format!("the body of delivery {seq}"), why));
            }
        };
        Ok(NewDelivery {
            platform: rows::name("a delivery's platform", &self.platform)?,
            delivery_id: self.delivery_id,
            kind: self.kind,
            target: self.target,
            headers: headers.0,
            body,
            received_at: rows::time(self.received_at)?,
        })
    }
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
