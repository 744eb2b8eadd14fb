//! The inbox: each verified delivery once, held by one worker at a time, kept when it makes no sense.

use jiff::Timestamp;

use super::rows::{self, Headers};
use super::sqlite::CLAIM_DELIVERIES;
use super::{ClaimedDelivery, DeliverySettled, DeliveryView, Lease, NewDelivery, Recorded, Store, StoreError};
use crate::domain::ids::Platform;

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
    headers: String,
    body: Vec<u8>,
    received_at: i64,
}

#[derive(sqlx::FromRow)]
struct ViewRow {
    seq: i64,
    platform: String,
    delivery_id: String,
    kind: String,
    received_at: i64,
    state: String,
    note: String,
    attempts: i64,
    body_bytes: i64,
}

#[derive(sqlx::FromRow)]
struct WholeRow {
    #[sqlx(flatten)]
    view: ViewRow,
    target: String,
    headers: String,
    body: Vec<u8>,
}

impl Store {
    /// Makes the delivery durable, due at once, unless it already is.
    pub async fn record_delivery(&self, delivery: &NewDelivery) -> Result<Recorded, StoreError> {
        let headers = rows::encode(&Headers(delivery.headers.clone()))?;
        let mut tx = self.write().await?;
        let inserted = sqlx::query(
            "INSERT INTO deliveries (platform, delivery_id, kind, target, headers, body, received_at,
                state, note, due, attempts, epoch)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', '', $7, 0, 0)
             ON CONFLICT (platform, delivery_id) DO NOTHING",
        )
        .bind(delivery.platform.as_str())
        .bind(&delivery.delivery_id)
        .bind(&delivery.kind)
        .bind(&delivery.target)
        .bind(headers)
        .bind(&delivery.body)
        .bind(rows::millis(delivery.received_at))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(if inserted.rows_affected() == 1 {
            Recorded::New
        } else {
            Recorded::Again
        })
    }

    /// Claims pending deliveries that are due and that nobody holds, in the order of arrival. One that cannot be
    /// read any more is parked instead, so that it does not stand in the way.
    pub async fn claim_deliveries(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let mut tx = self.write().await?;
        let mut claimed: Vec<ClaimedRow> = sqlx::query_as(CLAIM_DELIVERIES)
            .bind(rows::millis(now))
            .bind(rows::lease_end(now, lease.0))
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
        claimed.sort_by_key(|row| row.seq);
        let mut readable = Vec::with_capacity(claimed.len());
        for row in claimed {
            let (seq, epoch) = (row.seq, row.epoch);
            match row.delivery.read(seq) {
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

    /// Settles a delivery. `false` if somebody else has claimed or settled it meanwhile: nothing was done.
    pub async fn settle_delivery(
        &self,
        claimed: &ClaimedDelivery,
        settled: DeliverySettled,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let held = settle(&mut tx, claimed.seq, claimed.epoch, &settled, now).await?;
        tx.commit().await?;
        Ok(held)
    }

    /// Deliveries, newest first: those in this state, or all.
    pub async fn deliveries(&self, state: Option<&str>, limit: u32) -> Result<Vec<DeliveryView>, StoreError> {
        let found: Vec<ViewRow> = match state {
            Some(state) => {
                sqlx::query_as(
                    "SELECT seq, platform, delivery_id, kind, received_at, state, note, attempts,
                        length(body) AS body_bytes
                     FROM deliveries WHERE state = $1 ORDER BY seq DESC LIMIT $2",
                )
                .bind(state)
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?
            }
            None => {
                sqlx::query_as(
                    "SELECT seq, platform, delivery_id, kind, received_at, state, note, attempts,
                        length(body) AS body_bytes
                     FROM deliveries ORDER BY seq DESC LIMIT $1",
                )
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?
            }
        };
        found.into_iter().map(ViewRow::read).collect()
    }

    /// A delivery by its platform's id.
    pub async fn delivery(
        &self,
        platform: &Platform,
        delivery_id: &str,
    ) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
        let found: Option<WholeRow> = sqlx::query_as(
            "SELECT seq, platform, delivery_id, kind, received_at, state, note, attempts,
                length(body) AS body_bytes, target, headers, body
             FROM deliveries WHERE platform = $1 AND delivery_id = $2",
        )
        .bind(platform.as_str())
        .bind(delivery_id)
        .fetch_optional(&self.reader)
        .await?;
        found.map(WholeRow::read).transpose()
    }

    /// A delivery by its row number.
    pub async fn delivery_by_seq(&self, seq: i64) -> Result<Option<(DeliveryView, NewDelivery)>, StoreError> {
        let found: Option<WholeRow> = sqlx::query_as(
            "SELECT seq, platform, delivery_id, kind, received_at, state, note, attempts,
                length(body) AS body_bytes, target, headers, body
             FROM deliveries WHERE seq = $1",
        )
        .bind(seq)
        .fetch_optional(&self.reader)
        .await?;
        found.map(WholeRow::read).transpose()
    }

    /// Makes a parked or done delivery pending again, due now, as if it had never been claimed. `false` if it is
    /// pending already or does not exist.
    pub async fn replay_delivery(&self, seq: i64, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let replayed = sqlx::query(
            "UPDATE deliveries SET state = 'pending', due = $2, attempts = 0, note = '', settled_at = NULL
             WHERE seq = $1 AND state IN ('parked', 'done')",
        )
        .bind(seq)
        .bind(rows::millis(now))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(replayed.rows_affected() == 1)
    }
}

/// The epoch counts on, so that a claim settles once even if the delivery becomes pending again.
async fn settle(
    tx: &mut sqlx::SqliteConnection,
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
    let updated = sqlx::query(
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
    Ok(updated.rows_affected() == 1)
}

impl DeliveryRow {
    fn read(self, seq: i64) -> Result<NewDelivery, StoreError> {
        let headers: Headers = rows::decode(&format!("the headers of delivery {seq}"), &self.headers)?;
        Ok(NewDelivery {
            platform: rows::name("a delivery's platform", &self.platform)?,
            delivery_id: self.delivery_id,
            kind: self.kind,
            target: self.target,
            headers: headers.0,
            body: self.body,
            received_at: rows::time(self.received_at)?,
        })
    }
}

impl ViewRow {
    fn read(self) -> Result<DeliveryView, StoreError> {
        Ok(DeliveryView {
            seq: self.seq,
            platform: rows::name("a delivery's platform", &self.platform)?,
            delivery_id: self.delivery_id,
            kind: self.kind,
            received_at: rows::time(self.received_at)?,
            state: self.state,
            note: self.note,
            attempts: rows::tries(self.attempts),
            body_bytes: rows::count(self.body_bytes),
        })
    }
}

impl WholeRow {
    fn read(self) -> Result<(DeliveryView, NewDelivery), StoreError> {
        let delivery = DeliveryRow {
            platform: self.view.platform.clone(),
            delivery_id: self.view.delivery_id.clone(),
            kind: self.view.kind.clone(),
            target: self.target,
            headers: self.headers,
            body: self.body,
            received_at: self.view.received_at,
        };
        let delivery = delivery.read(self.view.seq)?;
        Ok((self.view.read()?, delivery))
    }
}
