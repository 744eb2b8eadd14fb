//! Vendors that have asked to be left alone, by every process that works on this database.

use jiff::Timestamp;

use super::sql::sql;
use super::{Store, StoreError, rows};

impl Store {
    /// The vendor is to be left alone until then; never shorter than was known.
    pub async fn pause(&self, vendor: &str, until: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write("pause").await?;
        sql("INSERT INTO pauses (vendor, until) VALUES ($1, $2)
             ON CONFLICT (vendor) DO UPDATE SET until = excluded.until WHERE pauses.until < excluded.until")
        .bind(vendor)
        .bind(rows::millis(until))
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Which vendors are to be left alone now, and until when.
    pub async fn pauses(&self, now: Timestamp) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let found: Vec<(String, i64)> = sql("SELECT vendor, until FROM pauses WHERE until > $1")
            .bind(rows::millis(now))
            .all(&mut self.read().await?)
            .await?;
        found
            .into_iter()
            .map(|(vendor, until)| Ok((vendor, rows::time(until)?)))
            .collect()
    }
}
