//! Work that one process does from time to time for all of them, and how far it has come.

use jiff::Timestamp;

use super::sql::{Linked, sql};
use super::{ClaimedCursor, Lease, Store, StoreError, rows};

impl Store {
    /// Claims the work of this name, if it is due and nobody holds it. The first time it is due at once.
    pub async fn claim_cursor(
        &self,
        name: &str,
        now: Timestamp,
        lease: Lease,
    ) -> Result<Option<ClaimedCursor>, StoreError> {
        let mut tx = self.write("claim_cursor").await?;
        let told = rows::millis(now);
        let lease_now = self.lease_now(&mut tx, now).await?;
        sql("INSERT INTO cursors (name, due, epoch) VALUES ($1, 0, 0) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .execute(&mut tx)
            .await?;
        let claimed: Option<(Option<String>, i64)> = sql("UPDATE cursors SET epoch = epoch + 1, lease_until = $3
             WHERE name = $1 AND due <= $2 AND (lease_until IS NULL OR lease_until <= $2)
             RETURNING value, epoch")
        .bind(name)
        .bind(lease_now)
        .bind(rows::lease_end(lease_now, lease.0))
        .optional(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(claimed.map(|(value, epoch)| ClaimedCursor {
            name: name.to_owned(),
            value,
            epoch,
            ahead: lease_now.saturating_sub(told),
        }))
    }

    /// How far the works have come whose names begin with this, by the rest of their names.
    pub async fn cursors(&self, prefix: &str) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let found: Vec<(String, Option<String>)> = sql("SELECT name, value FROM cursors ORDER BY name")
            .all(&mut self.read().await?)
            .await?;
        Ok(found
            .into_iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value)))
            .collect())
    }

    /// When what has this name was begun: `now`, if it was not before.
    pub async fn begin(&self, name: &str, now: Timestamp) -> Result<Timestamp, StoreError> {
        let mut tx = self.write("begin").await?;
        sql("INSERT INTO cursors (name, value, due, epoch) VALUES ($1, $2, 0, 0) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(now.to_string())
            .execute(&mut tx)
            .await?;
        let begun = begun(name, &mut tx).await?;
        tx.commit().await?;
        Ok(begun.unwrap_or(now))
    }

    /// When what has this name was begun, if it was.
    pub async fn begun(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        begun(name, &mut self.read().await?).await
    }

    /// Makes the work of this name due now, unless it already is or was never begun. Whoever holds it keeps it.
    pub async fn hasten_cursor(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write("hasten_cursor").await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        sql("UPDATE cursors SET due = $2 WHERE name = $1 AND due > $2")
            .bind(name)
            .bind(lease_now)
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// Remembers how far the work has come (`None` keeps what was known), and when it is due again. `false` if
    /// another process has taken it over meanwhile: nothing was done.
    pub async fn settle_cursor(
        &self,
        claimed: &ClaimedCursor,
        value: Option<&str>,
        due: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write("settle_cursor").await?;
        let settled = sql(
            "UPDATE cursors SET value = COALESCE($3, value), due = $4, lease_until = NULL, epoch = epoch + 1
             WHERE name = $1 AND epoch = $2",
        )
        .bind(&claimed.name)
        .bind(claimed.epoch)
        .bind(value)
        // By the database's clock, which it will be claimed by.
        .bind(rows::millis(due).saturating_add(claimed.ahead))
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(settled == 1)
    }
}

async fn begun(name: &str, on: &mut impl Linked) -> Result<Option<Timestamp>, StoreError> {
    let found: Option<(Option<String>,)> = sql("SELECT value FROM cursors WHERE name = $1")
        .bind(name)
        .optional(on)
        .await?;
    let value = found.and_then(|(value,)| value);
    value.map(|value| rows::name(name, &value)).transpose()
}
