//! Vendors that have asked to be left alone, by every process that works on this database.

use jiff::Timestamp;

use super::sql::{Text, sql};
use super::{Store, StoreError, rows};

macro_rules! pause {
    ($until:literal) => {
        concat!(
            "INSERT INTO pauses (vendor, until) VALUES ($1, ",
            $until,
            ") ON CONFLICT (vendor) DO UPDATE SET until = excluded.until WHERE pauses.until < excluded.until"
        )
    };
}

impl Store {
    /// The vendor is to be left alone until then, by the clock by which it is `now`; never shorter than was known.
    pub async fn pause(&self, vendor: &str, until: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        const PAUSE: Text = Text::Two {
            sqlite: pause!("$2"),
            postgres: pause!("stepherd_now($3) + ($2 - $3)"),
        };
        let mut tx = self.write("pause").await?;
        sql(PAUSE)
            .bind(vendor)
            .bind(rows::millis(until))
            .bind(rows::millis(now))
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// Which vendors are to be left alone now, and until when, by the clock by which it is `now`.
    pub async fn pauses(&self, now: Timestamp) -> Result<Vec<(String, Timestamp)>, StoreError> {
        const PAUSES: Text = Text::Two {
            sqlite: "SELECT vendor, until FROM pauses WHERE until > $1",
            postgres: "SELECT vendor, until - stepherd_now($1) + $1 FROM pauses WHERE until > stepherd_now($1)",
        };
        let found: Vec<(String, i64)> = sql(PAUSES).bind(rows::millis(now)).all(&mut self.read().await?).await?;
        found
            .into_iter()
            .map(|(vendor, until)| Ok((vendor, rows::time(until)?)))
            .collect()
    }
}
