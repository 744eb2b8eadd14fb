//! What claims of deliveries and of effects have in common: how they are renewed, and how the database goes about them.

use jiff::Timestamp;

use super::sql::{Row, Text};
use super::{Db, Lease, Rooms, Store, StoreError, deliveries, effects, rows};

/// $1 row numbers with epochs, as a JSON array, $2 end of the lease. On PostgreSQL whoever locks several rows locks them
/// in their order.
macro_rules! renew {
    ($table:literal, $id:literal) => {
        $crate::store::sql::Text::Two {
            sqlite: concat!(
                "UPDATE ",
                $table,
                " SET lease_until = $2
                 FROM (SELECT value ->> 0 AS id, value ->> 1 AS epoch FROM json_each($1)) AS held
                 WHERE ",
                $table,
                ".",
                $id,
                " = held.id AND ",
                $table,
                ".epoch = held.epoch AND state = 'pending'
                 RETURNING ",
                $table,
                ".",
                $id
            ),
            postgres: concat!(
                "UPDATE ",
                $table,
                " SET lease_until = $2
                 FROM (SELECT t.",
                $id,
                " AS id, (value ->> 1)::bigint AS epoch FROM json_array_elements($1::json) AS value
                     JOIN ",
                $table,
                " AS t ON t.",
                $id,
                " = (value ->> 0)::bigint ORDER BY t.",
                $id,
                " FOR UPDATE OF t) AS held
                 WHERE ",
                $table,
                ".",
                $id,
                " = held.id AND ",
                $table,
                ".epoch = held.epoch AND state = 'pending'
                 RETURNING ",
                $table,
                ".",
                $id
            ),
        }
    };
}
pub(super) use renew;

impl Store {
    /// Holds these rows, by number and epoch, for another lease; the numbers of those that are still held.
    pub(super) async fn renew(
        &self,
        verb: &'static str,
        text: Text,
        held: Vec<(i64, i64)>,
        now: Timestamp,
        lease: Lease,
    ) -> Result<Vec<i64>, StoreError> {
        let mut tx = self.write_lease(verb).await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        let renewed = super::sql::sql(text)
            .bind(serde_json::json!(held).to_string())
            .bind(rows::lease_end(lease_now, lease.0))
            .column(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(renewed)
    }

    /// How the database goes about claims, of deliveries and of effects: its own words, for whoever wants to know why they
    /// take long. No step may read all that is pending.
    pub async fn claim_plans(
        &self,
        now: Timestamp,
        lease: Lease,
        rooms: &Rooms,
    ) -> Result<[Vec<String>; 2], StoreError> {
        let now = rows::millis(now);
        let full: Vec<String> = rooms.free.keys().cloned().collect();
        let deliveries = deliveries::bound_claim(deliveries::CLAIM_PLAN, now, lease, rooms.limit, &full);
        let effects = effects::bound_claim(effects::CLAIM_PLAN, now, lease, rooms);
        let mut plans = [Vec::new(), Vec::new()];
        let mut read = self.read().await?;
        for (plan, statement) in plans.iter_mut().zip([deliveries, effects]) {
            *plan = match self.db {
                Db::Sqlite { .. } => lines(statement.all::<(i64, i64, i64, String)>(&mut read).await?, |row| row.3),
                Db::Postgres(_) => lines(statement.all::<(String,)>(&mut read).await?, |row| row.0),
            };
        }
        Ok(plans)
    }
}

fn lines<T: Row>(rows: Vec<T>, line: impl Fn(T) -> String) -> Vec<String> {
    rows.into_iter().map(line).collect()
}
