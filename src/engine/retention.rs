//! What is old goes: an hourly round that one process makes for all, in pieces so small that nobody waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::lease::LEASE;
use super::pauses::later;
use crate::store::{Aged, StoreError};

/// The round's name among the work that one process does for all.
const CURSOR: &str = "retention";
/// From the end of a round to the next.
const EVERY: Duration = Duration::from_secs(3600);
/// Between the steps of a round. What has to be done meanwhile is done.
const STEP: Duration = Duration::from_secs(1);
/// After a start there is more urgent work.
const FIRST: Duration = Duration::from_secs(60);
/// The most pieces in one step.
const PIECES: usize = 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Engine {
    /// One step of the round, if it is due and nobody else is at it; how much was deleted.
    ///
    /// # Errors
    /// When the store cannot be used now.
    pub async fn retention_step(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let Some(claimed) = self.store.claim_cursor(CURSOR, now, LEASE).await? else {
            return Ok(0);
        };
        let (mut kind, mut after) = place(claimed.value.as_deref());
        let mut gone: BTreeMap<&str, u64> = BTreeMap::new();
        for _ in 0..PIECES {
            let Some(what) = Aged::ALL.get(kind).copied() else {
                break;
            };
            let rest = match self.kept_since(what, now) {
                Some(before) => {
                    let retired = self.store.retire(what, before, after).await?;
                    self.metrics.retired(what.name(), retired.gone);
                    *gone.entry(what.name()).or_default() += retired.gone;
                    retired.rest
                }
                None => None,
            };
            (kind, after) = rest.map_or((kind + 1, 0), |rest| (kind, rest));
        }
        let (value, due) = match Aged::ALL.get(kind) {
            Some(what) => (format!("{} {after}", what.name()), later(now, STEP)),
            None => (String::new(), later(now, EVERY)),
        };
        self.store.settle_cursor(&claimed, Some(&value), due).await?;
        gone.retain(|_, count| *count > 0);
        if !gone.is_empty() {
            tracing::info!(?gone, "what was old is deleted");
        }
        Ok(gone.values().sum())
    }

    /// Makes the rounds until told to stop.
    pub(super) async fn retention_loop(&self, stop: &CancellationToken) {
        let mut wait = FIRST;
        loop {
            tokio::select! {
                () = self.clock.sleep_until(later(self.clock.now(), wait)) => {}
                () = stop.cancelled() => return,
            }
            wait = match self.retention_step().await {
                Ok(0) => EVERY,
                Ok(_) => STEP,
                Err(error) => {
                    tracing::error!(loop_name = "retention", %error, "the store is in trouble; trying again");
                    FIRST
                }
            };
        }
    }

    /// What is older than this goes; `None` if all is kept.
    fn kept_since(&self, what: Aged, now: Timestamp) -> Option<Timestamp> {
        let kept = &self.catalog.settings.retention;
        let days = match what {
            Aged::Deliveries | Aged::Replies => kept.deliveries_days,
            Aged::Runs => kept.runs_days,
            Aged::Accepted | Aged::Heads => kept.accepted_days,
        };
        (days > 0).then(|| now.checked_sub(DAY.saturating_mul(days)).ok())?
    }
}

/// Where the last step left off.
fn place(value: Option<&str>) -> (usize, i64) {
    let read = || {
        let (name, after) = value?.split_once(' ')?;
        let kind = Aged::ALL.iter().position(|what| what.name() == name)?;
        Some((kind, after.parse().ok()?))
    };
    read().unwrap_or_default()
}
