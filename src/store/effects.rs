//! The outbox: what is to be done in the world, held by one worker at a time, kept when it keeps failing.

use jiff::Timestamp;

use super::commit::settle_done;
use super::sqlite::CLAIM_EFFECTS;
use super::{ClaimedEffect, EffectClaim, EffectSettled, EffectView, Lease, Store, StoreError, rows};
use crate::domain::effect::Effect;
use crate::domain::ids::RunId;

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
    /// read any more is parked instead, so that it does not stand in the way.
    pub async fn claim_effects(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
    ) -> Result<Vec<ClaimedEffect>, StoreError> {
        let mut tx = self.write().await?;
        let mut claimed: Vec<ClaimedRow> = sqlx::query_as(CLAIM_EFFECTS)
            .bind(rows::millis(now))
            .bind(rows::lease_end(now, lease.0))
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
        claimed.sort_by_key(|row| (row.lane, row.due, row.id));
        let mut readable = Vec::with_capacity(claimed.len());
        for row in claimed {
            let claim = EffectClaim {
                id: row.id,
                epoch: row.epoch,
                generation: row.generation,
            };
            match row.read(claim) {
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

    /// Settles an effect. `false` if somebody else has claimed or settled it meanwhile: nothing was done. An effect
    /// that was carried out but has been asked for again since it was claimed stays pending, due now.
    pub async fn settle_effect(
        &self,
        claim: &EffectClaim,
        settled: EffectSettled,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let held = settle(&mut tx, *claim, &settled, now).await?;
        tx.commit().await?;
        Ok(held)
    }

    /// Effects, newest first: those in this state, or all.
    pub async fn effects(&self, state: Option<&str>, limit: u32) -> Result<Vec<EffectView>, StoreError> {
        let found: Vec<ViewRow> = match state {
            Some(state) => {
                sqlx::query_as(
                    "SELECT id, run_id, key, state, due, failures, reason FROM effects
                     WHERE state = $1 ORDER BY id DESC LIMIT $2",
                )
                .bind(state)
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?
            }
            None => {
                sqlx::query_as(
                    "SELECT id, run_id, key, state, due, failures, reason FROM effects ORDER BY id DESC LIMIT $1",
                )
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await?
            }
        };
        found.into_iter().map(ViewRow::read).collect()
    }

    /// All effects of a run, in the order in which they were first asked for.
    pub async fn effects_of(&self, run: &RunId) -> Result<Vec<EffectView>, StoreError> {
        let found: Vec<ViewRow> = sqlx::query_as(
            "SELECT id, run_id, key, state, due, failures, reason FROM effects WHERE run_id = $1 ORDER BY id",
        )
        .bind(run.as_str())
        .fetch_all(&self.reader)
        .await?;
        found.into_iter().map(ViewRow::read).collect()
    }

    /// Makes a parked effect pending again, due now, its failures forgotten. `false` if it is not parked.
    pub async fn release_effect(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let released = sqlx::query(
            "UPDATE effects SET state = 'pending', due = $2, failures = 0, settled_at = NULL
             WHERE id = $1 AND state = 'parked'",
        )
        .bind(id)
        .bind(rows::millis(now))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(released.rows_affected() == 1)
    }
}

async fn settle(
    tx: &mut sqlx::SqliteConnection,
    claim: EffectClaim,
    settled: &EffectSettled,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const FAILED: &str = "
        UPDATE effects SET state = $3, due = COALESCE($4, due), failures = failures + 1, reason = $5, unclear = 1,
            lease_until = NULL, epoch = epoch + 1, settled_at = $6
        WHERE id = $1 AND epoch = $2 AND state = 'pending'";
    const TOO_EARLY: &str = "
        UPDATE effects SET due = $3, lease_until = NULL, epoch = epoch + 1, settled_at = $4
        WHERE id = $1 AND epoch = $2 AND state = 'pending'";
    let (state, due, reason) = match settled {
        EffectSettled::Done => return settle_done(tx, claim, now).await,
        EffectSettled::NotBefore { at } => {
            let updated = sqlx::query(TOO_EARLY)
                .bind(claim.id)
                .bind(claim.epoch)
                .bind(rows::millis(*at))
                .bind(rows::millis(now))
                .execute(tx)
                .await?;
            return Ok(updated.rows_affected() == 1);
        }
        EffectSettled::RetryAt { at, reason } => ("pending", Some(rows::millis(*at)), reason),
        EffectSettled::Parked { reason } => ("parked", None, reason),
    };
    let updated = sqlx::query(FAILED)
        .bind(claim.id)
        .bind(claim.epoch)
        .bind(state)
        .bind(due)
        .bind(reason)
        .bind(rows::millis(now))
        .execute(tx)
        .await?;
    Ok(updated.rows_affected() == 1)
}

impl ClaimedRow {
    fn read(self, claim: EffectClaim) -> Result<ClaimedEffect, StoreError> {
        let effect: Effect = rows::decode(&format!("effect {}", self.key), &self.body)?;
        Ok(ClaimedEffect {
            claim,
            run: self.run_id.map(|run| rows::name("an effect's run", &run)).transpose()?,
            effect,
            failures: rows::tries(self.failures),
            maybe_done: self.unclear == 1,
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
