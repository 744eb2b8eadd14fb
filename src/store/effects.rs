//! The outbox: what is to be done in the world, held by one worker at a time, kept when it keeps failing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::claims::renew;
use super::commit::{number, settle_done, wake};
use super::postgres::EFFECTS_LOCK;
use super::sql::{Sql, Text, Tx, sql};
use super::{ClaimedEffect, EffectClaim, EffectSettled, EffectView, Lease, Rooms, Store, StoreError, rows};
use crate::domain::effect::Effect;
use crate::domain::ids::RunId;

/// The row that says until when effects are doubted. Not a cursor that anybody claims.
const RESTORED: &str = "restored";

/// Rooms and lanes with something pending are found by steps through the index, and of each no more is read than is free
/// there, plus what goes to places where somebody is at work. So a claim costs the same however much is pending.
macro_rules! claim {
    ($next:literal, $rooms:literal, $each:literal, $end_each:literal, $skip_locked:literal) => {
        concat!(
            "WITH RECURSIVE lines(room, lane) AS (
                SELECT CAST('' AS TEXT), CAST(-1 AS BIGINT)
                UNION ALL
                SELECT e.room, e.lane FROM lines ",
            $next,
            "),
             free AS MATERIALIZED (
                SELECT lines.room, lines.lane, COALESCE(CAST(rooms.value AS BIGINT), $5) AS places
                FROM lines LEFT JOIN ",
            $rooms,
            " AS rooms ON rooms.key = lines.room
                WHERE COALESCE(CAST(rooms.value AS BIGINT), $5) > 0),
             held AS MATERIALIZED (
                SELECT place FROM effects WHERE lease_until IS NOT NULL AND lease_until > $1 AND place <> ''),
             ranked AS MATERIALIZED (
                SELECT e.id, free.lane, e.due, free.places,
                    ROW_NUMBER() OVER (PARTITION BY free.room ORDER BY free.lane, e.due, e.id) AS number
                FROM free ",
            $each,
            " FROM effects AS w
                    WHERE w.state = 'pending' AND w.room = free.room AND w.lane = free.lane AND w.due <= $1
                        AND (w.lease_until IS NULL OR w.lease_until <= $1) AND w.place NOT IN (SELECT place FROM held)
                    ORDER BY w.due, w.id LIMIT $3",
            $end_each,
            "),
             first AS MATERIALIZED (
                SELECT id FROM ranked WHERE number <= places ORDER BY lane, due, id LIMIT $3),
             taken AS MATERIALIZED (
                SELECT id FROM effects WHERE id IN (SELECT id FROM first) ",
            $skip_locked,
            ")
             UPDATE effects SET epoch = epoch + 1, lease_until = $2,
                unclear = CASE WHEN lease_until IS NULL THEN unclear ELSE 1 END
             FROM taken WHERE effects.id = taken.id
             RETURNING effects.id, epoch, generation, key, run_id, lane, body, due, failures, unclear, since"
        )
    };
    (sqlite) => {
        claim!(
            "JOIN effects AS e ON e.id = COALESCE(
                    (SELECT n.id FROM effects AS n
                     WHERE n.state = 'pending' AND n.room = lines.room AND n.lane > lines.lane ORDER BY n.lane LIMIT 1),
                    (SELECT n.id FROM effects AS n
                     WHERE n.state = 'pending' AND n.room > lines.room ORDER BY n.room, n.lane LIMIT 1))",
            "json_each($4)",
            "JOIN effects AS e ON e.id IN (SELECT w.id",
            ")",
            ""
        )
    };
    (postgres) => {
        claim!(
            "CROSS JOIN LATERAL (SELECT n.room, n.lane FROM effects AS n
                    WHERE n.state = 'pending' AND (n.room, n.lane) > (lines.room, lines.lane)
                    ORDER BY n.room, n.lane LIMIT 1) AS e",
            "json_each_text($4::json)",
            "CROSS JOIN LATERAL (SELECT w.id, w.due",
            ") AS e",
            "FOR UPDATE SKIP LOCKED"
        )
    };
}

/// $1 now, $2 end of the lease, $3 limit, $4 limits by room, as a JSON object, $5 limit of each other room. A lease that
/// is still there was never settled.
const CLAIM: Text = Text::Two {
    sqlite: claim!(sqlite),
    postgres: claim!(postgres),
};

/// How the engine would go about it.
pub(super) const CLAIM_PLAN: Text = Text::Two {
    sqlite: concat!("EXPLAIN QUERY PLAN ", claim!(sqlite)),
    postgres: concat!("EXPLAIN ", claim!(postgres)),
};

const RENEW: Text = renew!("effects", "id");

macro_rules! views {
    ($rest:literal) => {
        concat!(
            "SELECT id, run_id, key, state, due, failures, reason FROM effects ",
            $rest
        )
    };
}

macro_rules! failed {
    ($due:literal) => {
        concat!(
            "UPDATE effects SET state = $3, due = COALESCE(",
            $due,
            ", due), failures = failures + 1, reason = $5, unclear = CASE WHEN $7 = 1 THEN 1 ELSE unclear END, lease_until = NULL, epoch = epoch + 1,
                settled_at = $6
             WHERE id = $1 AND epoch = $2 AND state = 'pending'"
        )
    };
}

/// $4 when it is due again, by the clock by which it is $6 now; $7 whether it may have taken effect.
const FAILED: Text = Text::Two {
    sqlite: failed!("$4"),
    postgres: failed!("stepherd_now($6) + ($4 - $6)"),
};

macro_rules! too_early {
    ($due:literal) => {
        concat!(
            "UPDATE effects SET due = COALESCE(
                    (SELECT first.due + 200 FROM effects AS first
                     WHERE first.key = $5 AND first.state = 'pending' AND first.due > ",
            $due,
            "), ",
            $due,
            "), lease_until = NULL, epoch = epoch + 1, settled_at = $4
             WHERE id = $1 AND epoch = $2 AND state = 'pending'"
        )
    };
}

/// $3 when it is due, by the clock by which it is $4 now; $5 the key of the effect that goes first, if any.
const TOO_EARLY: Text = Text::Two {
    sqlite: too_early!("$3"),
    postgres: too_early!("stepherd_now($4) + ($3 - $4)"),
};

#[derive(sqlx::FromRow)]
struct ClaimedRow {
    id: i64,
    epoch: i64,
    generation: i64,
    key: String,
    run_id: Option<String>,
    lane: i64,
    body: String,
    due: i64,
    failures: i64,
    unclear: i64,
    since: i64,
}

#[derive(sqlx::FromRow)]
struct ViewRow {
    id: i64,
    run_id: Option<String>,
    key: String,
    state: String,
    due: i64,
    failures: i64,
    reason: String,
}

impl Store {
    /// Claims pending effects that are due and that nobody holds, by lane, then the longest due. One that cannot be
    /// read any more is parked instead, so that it does not stand in the way. What goes to a place where somebody is at
    /// work is left alone.
    pub async fn claim_effects(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
    ) -> Result<Vec<ClaimedEffect>, StoreError> {
        let rooms = Rooms {
            free: BTreeMap::new(),
            other: limit,
            limit,
        };
        self.claim_effects_within(now, lease, &rooms).await
    }

    /// The same, as far as there is room.
    pub async fn claim_effects_within(
        &self,
        now: Timestamp,
        lease: Lease,
        rooms: &Rooms,
    ) -> Result<Vec<ClaimedEffect>, StoreError> {
        let mut tx = self.write("claim_effects").await?;
        self.one_claim_at_a_time(&mut tx, EFFECTS_LOCK).await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        let mut claimed: Vec<ClaimedRow> = bound_claim(CLAIM, lease_now, lease, rooms).all(&mut tx).await?;
        let doubted = !sql("SELECT due FROM cursors WHERE name = $1 AND due > $2")
            .bind(RESTORED)
            .bind(rows::millis(now))
            .column::<i64>(&mut tx)
            .await?
            .is_empty();
        claimed.sort_by_key(|row| (row.lane, row.due, row.id));
        let mut readable = Vec::with_capacity(claimed.len());
        for row in claimed {
            let claim = EffectClaim {
                id: row.id,
                epoch: row.epoch,
                generation: row.generation,
            };
            match row.read(claim, doubted) {
                Ok(effect) => readable.push(effect),
                Err(error) => {
                    let parked = EffectSettled::Parked {
                        reason: error.to_string(),
                    };
                    settle(&mut tx, claim, &parked, now).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(readable)
    }

    /// The database was restored from a backup: what happened after that is not known here, so until then every
    /// effect counts as one that may have been carried out.
    pub async fn doubt_effects(&self, until: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write("doubt_effects").await?;
        sql("INSERT INTO cursors (name, due, epoch) VALUES ($1, $2, 0)
             ON CONFLICT (name) DO UPDATE SET due = excluded.due")
        .bind(RESTORED)
        .bind(rows::millis(until))
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Holds the effects for another lease; which of them, because somebody else may have claimed or settled some
    /// meanwhile.
    pub async fn renew_effects(
        &self,
        claims: &[EffectClaim],
        now: Timestamp,
        lease: Lease,
    ) -> Result<Vec<EffectClaim>, StoreError> {
        let held = claims.iter().map(|claim| (claim.id, claim.epoch)).collect();
        let renewed = self.renew("renew_effects", RENEW, held, now, lease).await?;
        Ok(claims
            .iter()
            .filter(|claim| renewed.contains(&claim.id))
            .copied()
            .collect())
    }

    /// Settles an effect. `false` if somebody else has claimed or settled it meanwhile: nothing was done. An effect
    /// that was carried out but has been asked for again since it was claimed stays pending, due now.
    pub async fn settle_effect(
        &self,
        claim: &EffectClaim,
        settled: EffectSettled,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write("settle_effect").await?;
        let held = settle(&mut tx, *claim, &settled, now).await?;
        tx.commit().await?;
        Ok(held)
    }

    /// Effects, newest first: those in this state, or all.
    pub async fn effects(&self, state: Option<&str>, limit: u32) -> Result<Vec<EffectView>, StoreError> {
        // The states that are few have indexes of their own, which are used only where the text names the state.
        let statement = match state {
            None => sql(views!("ORDER BY id DESC LIMIT $1")),
            Some("pending") => sql(views!("WHERE state = 'pending' ORDER BY id DESC LIMIT $1")),
            Some("parked") => sql(views!("WHERE state = 'parked' ORDER BY id DESC LIMIT $1")),
            Some(_) => sql(views!("WHERE state = 'done' ORDER BY id DESC LIMIT $1")),
        };
        let found: Vec<ViewRow> = statement.bind(i64::from(limit)).all(&mut self.read().await?).await?;
        found.into_iter().map(ViewRow::read).collect()
    }

    /// All effects of a run, in the order in which they were first asked for.
    pub async fn effects_of(&self, run: &RunId) -> Result<Vec<EffectView>, StoreError> {
        let found: Vec<ViewRow> = sql(views!("WHERE run_id = $1 ORDER BY id"))
            .bind(run.as_str())
            .all(&mut self.read().await?)
            .await?;
        found.into_iter().map(ViewRow::read).collect()
    }

    /// The parked parts of a run's steps: their keys, and why they are parked.
    pub async fn parked_acts(&self, run: &RunId) -> Result<Vec<(String, String)>, StoreError> {
        let parked =
            sql("SELECT key, reason FROM effects WHERE run_id = $1 AND lane = 0 AND state = 'parked' ORDER BY id")
                .bind(run.as_str())
                .all(&mut self.read().await?)
                .await?;
        Ok(parked)
    }

    /// Makes a parked effect pending again, due now, its failures forgotten. `false` if it is not parked.
    pub async fn release_effect(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.write("release_effect").await?;
        let lease_now = self.lease_now(&mut tx, now).await?;
        let released = sql(
            "UPDATE effects SET state = 'pending', due = $2, failures = 0, settled_at = NULL
             WHERE id = $1 AND state = 'parked'",
        )
        .bind(id)
        .bind(lease_now)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        self.stir();
        Ok(released == 1)
    }
}

pub(super) fn bound_claim(text: Text, now: i64, lease: Lease, rooms: &Rooms) -> Sql {
    sql(text)
        .bind(now)
        .bind(rows::lease_end(now, lease.0))
        .bind(i64::from(rooms.limit))
        .bind(serde_json::json!(rooms.free).to_string())
        .bind(i64::from(rooms.other))
}

async fn settle(tx: &mut Tx, claim: EffectClaim, settled: &EffectSettled, now: Timestamp) -> Result<bool, StoreError> {
    let too_early = async |tx: &mut Tx, at: Timestamp, behind: Option<&str>| {
        let updated = sql(TOO_EARLY)
            .bind(claim.id)
            .bind(claim.epoch)
            .bind(rows::millis(at))
            .bind(rows::millis(now))
            .bind(behind)
            .execute(tx)
            .await?;
        Ok(updated == 1)
    };
    let (state, due, reason) = match settled {
        EffectSettled::Done => return settle_done(tx, claim, now).await,
        EffectSettled::NotBefore { at } => return too_early(tx, *at, None).await,
        EffectSettled::After { key, at } => return too_early(tx, *at, Some(key)).await,
        EffectSettled::RetryAt { at, reason } | EffectSettled::Refused { at, reason } => {
            ("pending", Some(rows::millis(*at)), reason)
        }
        EffectSettled::Parked { reason } => ("parked", None, reason),
    };
    // The run's row comes first and the counter's last, as in every commit.
    let woken = match settled {
        EffectSettled::Parked { .. } => have_run_looked_at(tx, claim, now).await?,
        _ => Vec::new(),
    };
    let updated = sql(FAILED)
        .bind(claim.id)
        .bind(claim.epoch)
        .bind(state)
        .bind(due)
        .bind(reason)
        .bind(rows::millis(now))
        .bind(i64::from(!matches!(settled, EffectSettled::Refused { .. })))
        .execute(tx)
        .await?;
    number(tx, &woken).await?;
    Ok(updated == 1)
}

/// A run whose act is parked would wait for its outcome for ever: whoever looks at it fails the step. What is still to be
/// numbered.
async fn have_run_looked_at(tx: &mut Tx, parked: EffectClaim, now: Timestamp) -> Result<Vec<String>, StoreError> {
    let run = sql("SELECT run_id FROM effects WHERE id = $1 AND epoch = $2 AND lane = 0 AND run_id IS NOT NULL")
        .bind(parked.id)
        .bind(parked.epoch)
        .column(tx)
        .await?;
    wake(tx, run, now).await
}

impl ClaimedRow {
    fn read(self, claim: EffectClaim, doubted: bool) -> Result<ClaimedEffect, StoreError> {
        let effect: Effect = rows::decode(&format!("effect {}", self.key), &self.body)?;
        Ok(ClaimedEffect {
            claim,
            run: self.run_id.map(|run| rows::name("an effect's run", &run)).transpose()?,
            effect,
            failures: rows::tries(self.failures),
            maybe_done: doubted || self.unclear == 1,
            since: rows::time(self.since)?,
        })
    }
}

impl ViewRow {
    fn read(self) -> Result<EffectView, StoreError> {
        Ok(EffectView {
            id: self.id,
            run: self.run_id.map(|run| rows::name("an effect's run", &run)).transpose()?,
            key: self.key,
            state: self.state,
            due: rows::time(self.due)?,
            failures: rows::tries(self.failures),
            reason: self.reason,
        })
    }
}
