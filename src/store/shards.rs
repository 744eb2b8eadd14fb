//! Who looks at which runs.
//!
//! Every run belongs to one of 64 shards, and each process that works on the database holds its fair share of them
//! for a short lease that it renews. So a look that finds nothing new writes nothing, and what a process held that
//! died is shared out among the others when its lease ends. Two processes that both believe they hold a shard for a
//! moment do no harm: looking changes nothing, and every change names the version that it was decided on.

use jiff::Timestamp;

use super::sql::{Text, Tx, sql};
use super::{Lease, RunChange, RunWake, Store, StoreError, rows};
use crate::domain::ids::RunId;

/// How many parts there are.
const SHARDS: u8 = 64;

/// The shard of a run. The migrations compute the same for runs that are older than shards.
pub(super) fn shard_of(run: &RunId) -> u8 {
    let byte = |place: usize| u32::from(run.as_str().as_bytes().get(place).copied().unwrap_or_default());
    u8::try_from((byte(0) * 31 + byte(1) * 7) % u32::from(SHARDS)).unwrap_or_default()
}

/// A set of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shards(u64);

impl Shards {
    /// All of them.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether the run belongs to one of them.
    pub fn have(self, run: &RunId) -> bool {
        self.0 >> shard_of(run) & 1 == 1
    }

    /// Those that are not in the other set.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    fn with(self, shard: i64) -> Self {
        u32::try_from(shard).map_or(self, |shard| Self(self.0 | 1_u64.checked_shl(shard).unwrap_or(0)))
    }

    /// As bits, to be tested in SQL.
    fn bits(self) -> i64 {
        i64::from_ne_bytes(self.0.to_ne_bytes())
    }
}

/// $1 now, $2 how many at the most.
const FREE: Text = Text::Two {
    sqlite: "SELECT shard FROM shards WHERE replica IS NULL OR lease_until <= $1 ORDER BY shard LIMIT $2",
    postgres: "SELECT shard FROM shards WHERE replica IS NULL OR lease_until <= $1 ORDER BY shard LIMIT $2
        FOR UPDATE SKIP LOCKED",
};

/// $1 now. Whoever is written about right now is left to the next time: two that forget each other must not wait.
const GONE: Text = Text::Two {
    sqlite: "DELETE FROM replicas WHERE lease_until <= $1",
    postgres: "DELETE FROM replicas WHERE id IN (
        SELECT id FROM replicas WHERE lease_until <= $1 FOR UPDATE SKIP LOCKED)",
};

/// $1 shards, $2 the last id, $3 limit, $4 now, by the clock of whoever asks.
macro_rules! wakes {
    ($at:literal) => {
        concat!(
            "SELECT id, ",
            $at,
            " FROM runs WHERE live = 1 AND ($1 >> CAST(shard AS INTEGER)) & 1 = 1 AND id > $2
             ORDER BY id LIMIT $3"
        )
    };
}

/// $1 the last change, $2 shards, $3 limit, $4 now, by the clock of whoever asks.
macro_rules! changed {
    ($at:literal) => {
        concat!(
            "SELECT change, id, ",
            $at,
            " FROM runs WHERE change > $1 AND ($2 >> CAST(shard AS INTEGER)) & 1 = 1
             ORDER BY change LIMIT $3"
        )
    };
}

impl Store {
    /// Holds this process's fair share of the shards for another lease, giving up what is more than that; which ones.
    pub async fn hold_shards(&self, replica: &str, now: Timestamp, lease: Lease) -> Result<Shards, StoreError> {
        let mut tx = self.write_lease("hold_shards").await?;
        let now = self.lease_now(&mut tx, now).await?;
        let until = rows::lease_end(now, lease.0);
        sql("INSERT INTO replicas (id, lease_until) VALUES ($1, $2)
             ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until")
        .bind(replica)
        .bind(until)
        .execute(&mut tx)
        .await?;
        sql(GONE).bind(now).execute(&mut tx).await?;
        let (others,) = sql("SELECT COUNT(*) FROM replicas WHERE id <> $1")
            .bind(replica)
            .one::<(i64,)>(&mut tx)
            .await?;
        let fair = (i64::from(SHARDS) + others) / (others + 1);
        sql("UPDATE shards SET lease_until = $2 WHERE replica = $1")
            .bind(replica)
            .bind(until)
            .execute(&mut tx)
            .await?;
        let mut mine: Vec<i64> = sql("SELECT shard FROM shards WHERE replica = $1 ORDER BY shard")
            .bind(replica)
            .column(&mut tx)
            .await?;
        let fair_len = usize::try_from(fair).unwrap_or_default();
        if mine.len() > fair_len {
            for shard in mine.split_off(fair_len) {
                give(&mut tx, shard, None, 0).await?;
            }
        }
        let wanted = fair - i64::try_from(mine.len()).unwrap_or(fair);
        if wanted > 0 {
            let free: Vec<i64> = sql(FREE).bind(now).bind(wanted).column(&mut tx).await?;
            for shard in free {
                give(&mut tx, shard, Some(replica), until).await?;
                mine.push(shard);
            }
        }
        tx.commit().await?;
        Ok(mine.into_iter().fold(Shards::default(), Shards::with))
    }

    /// Leaves everything that this process holds to others at once: it is about to end.
    pub async fn leave_shards(&self, replica: &str) -> Result<(), StoreError> {
        let mut tx = self.write_lease("leave_shards").await?;
        sql("UPDATE shards SET replica = NULL, lease_until = 0 WHERE replica = $1")
            .bind(replica)
            .execute(&mut tx)
            .await?;
        sql("DELETE FROM replicas WHERE id = $1")
            .bind(replica)
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// Forgets every lease: whoever held one is known to be dead. Only for an engine that one process serves alone.
    pub(super) async fn forget_leases(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write("forget_leases").await?;
        let now = rows::millis(now);
        for statement in [
            "UPDATE deliveries SET lease_until = $1 WHERE state = 'pending' AND lease_until > $1",
            "UPDATE effects SET lease_until = $1 WHERE state = 'pending' AND lease_until > $1",
            "UPDATE cursors SET lease_until = $1 WHERE lease_until > $1",
        ] {
            sql(statement).bind(now).execute(&mut tx).await?;
        }
        for statement in [
            "UPDATE shards SET replica = NULL, lease_until = 0",
            "DELETE FROM replicas",
        ] {
            sql(statement).execute(&mut tx).await?;
        }
        tx.commit().await
    }

    /// When the live runs of these shards are to be looked at, page by page: ask again with the last id. Times are those
    /// of the clock by which it is `now`.
    pub async fn wakes(
        &self,
        shards: Shards,
        after: Option<&RunId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<RunWake>, StoreError> {
        const WAKES: Text = Text::Two {
            sqlite: wakes!("wake_at"),
            postgres: wakes!("wake_at - stepherd_now($4) + $4"),
        };
        let found: Vec<(String, Option<i64>)> = sql(WAKES)
            .bind(shards.bits())
            .bind(after.map_or("", RunId::as_str))
            .bind(i64::from(limit))
            .bind(rows::millis(now))
            .all(&mut self.read().await?)
            .await?;
        found.into_iter().map(|(id, at)| wake(&id, at)).collect()
    }

    /// Runs of these shards that were written or touched after this change number, in the order of change, and when
    /// they are to be looked at, by the clock by which it is `now`. Ask again with the last number returned. Ended runs
    /// are among them.
    pub async fn runs_changed_since(
        &self,
        change: i64,
        shards: Shards,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<RunChange>, StoreError> {
        const CHANGED: Text = Text::Two {
            sqlite: changed!("wake_at"),
            postgres: changed!("wake_at - stepherd_now($4) + $4"),
        };
        let found: Vec<(i64, String, Option<i64>)> = sql(CHANGED)
            .bind(change)
            .bind(shards.bits())
            .bind(i64::from(limit))
            .bind(rows::millis(now))
            .all(&mut self.read().await?)
            .await?;
        found
            .into_iter()
            .map(|(change, id, at)| {
                Ok(RunChange {
                    change,
                    wake: wake(&id, at)?,
                })
            })
            .collect()
    }

    /// The newest change number.
    pub async fn last_change(&self) -> Result<i64, StoreError> {
        let (change,) = sql("SELECT value FROM counters WHERE name = 'change'")
            .one::<(i64,)>(&mut self.read().await?)
            .await?;
        Ok(change)
    }
}

async fn give(tx: &mut Tx, shard: i64, replica: Option<&str>, until: i64) -> Result<(), StoreError> {
    sql("UPDATE shards SET replica = $2, lease_until = $3 WHERE shard = $1")
        .bind(shard)
        .bind(replica)
        .bind(until)
        .execute(tx)
        .await?;
    Ok(())
}

fn wake(id: &str, at: Option<i64>) -> Result<RunWake, StoreError> {
    Ok(RunWake {
        run: rows::name("a run's id", id)?,
        at: at.map(rows::time).transpose()?,
    })
}
