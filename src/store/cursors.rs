//! How far something that is read bit by bit was read: claimed by one replica at a time, and moved only by whoever
//! holds it.

use jiff::Timestamp;

use super::{Lease, Store, StoreError, rows};

/// A cursor that this worker holds until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedCursor {
    /// Which cursor.
    pub name: String,
    /// How far was read; absent if nothing ever was.
    pub value: Option<String>,
    /// Fencing: only the newest claim can settle it.
    pub epoch: i64,
}

impl Store {
    /// Claims a cursor; `None` if it is not due or somebody else holds it. At its first use it is made, due at once.
    pub async fn claim_cursor(
        &self,
        name: &str,
        now: Timestamp,
        lease: Lease,
    ) -> Result<Option<ClaimedCursor>, StoreError> {
        let now_ms = rows::millis(now);
        // Mostly it is not due, and then nothing is written.
        let waits: Option<bool> = sqlx::query_scalar(
            "SELECT due > $2 OR (lease_until IS NOT NULL AND lease_until > $2) FROM cursors WHERE name = $1",
        )
        .bind(name)
        .bind(now_ms)
        .fetch_optional(&self.reader)
        .await?;
        if waits == Some(true) {
            return Ok(None);
        }
        let mut tx = self.write().await?;
        sqlx::query("INSERT INTO cursors (name, due, epoch) VALUES ($1, $2, 0) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
        let claimed: Option<(Option<String>, i64)> = sqlx::query_as(
            "UPDATE cursors SET epoch = epoch + 1, lease_until = $3
             WHERE name = $1 AND due <= $2 AND (lease_until IS NULL OR lease_until <= $2)
             RETURNING value, epoch",
        )
        .bind(name)
        .bind(now_ms)
        .bind(rows::lease_end(now, lease.0))
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(claimed.map(|(value, epoch)| ClaimedCursor {
            name: name.to_owned(),
            value,
            epoch,
        }))
    }

    /// Makes a cursor due now, unless it is already or was never used. Whoever holds it keeps it.
    pub async fn hasten_cursor(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("UPDATE cursors SET due = $2 WHERE name = $1 AND due > $2")
            .bind(name)
            .bind(rows::millis(now))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Moves a cursor and lets go of it until it is due again. `false` if somebody else has claimed it meanwhile:
    /// nothing was done.
    pub async fn settle_cursor(
        &self,
        claimed: &ClaimedCursor,
        value: Option<&str>,
        due: Timestamp,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let settled = sqlx::query(
            "UPDATE cursors SET value = $3, due = $4, lease_until = NULL, epoch = epoch + 1
             WHERE name = $1 AND epoch = $2",
        )
        .bind(&claimed.name)
        .bind(claimed.epoch)
        .bind(value)
        .bind(rows::millis(due))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(settled.rows_affected() == 1)
    }
}
