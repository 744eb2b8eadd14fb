//! Holding on to what was claimed.
//!
//! A lease is short, so that what a dead process held is taken up soon; whoever lives renews it. Who has lost one
//! stops working: somebody else does it now, and the store takes nothing from the loser any more.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::pauses::later;
use crate::store::{Lease, StoreError};

/// How long a claim lasts if nobody renews it.
pub(super) const LEASE: Lease = Lease(Duration::from_secs(10));
/// How often it is renewed: three can go missing.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(3);

/// Claims in hand, by row.
pub(super) struct Hold<C> {
    claims: Mutex<BTreeMap<i64, (C, CancellationToken)>>,
    /// Until when they are held if nobody renews them.
    until: Mutex<Timestamp>,
}

impl<C: Copy> Hold<C> {
    /// What was claimed at this time.
    pub(super) fn of(claims: impl IntoIterator<Item = (i64, C)>, claimed_at: Timestamp) -> Self {
        let held = claims
            .into_iter()
            .map(|(row, claim)| (row, (claim, CancellationToken::new())));
        Self {
            claims: Mutex::new(held.collect()),
            until: Mutex::new(later(claimed_at, LEASE.0)),
        }
    }

    /// Whether the lease has run out, so that somebody else may have taken over. A process that stood still finds out
    /// here before it begins anything else, not by its next heartbeat.
    pub(super) fn has_lapsed(&self, now: Timestamp) -> bool {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) <= now
    }

    fn renewed(&self, at: Timestamp) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = later(at, LEASE.0);
    }

    /// Cancelled when the claim is lost.
    pub(super) fn lost(&self, row: i64) -> CancellationToken {
        let held = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&row).map(|(_, lost)| lost.clone()).unwrap_or_default()
    }

    /// The claim is settled, or given up.
    pub(super) fn let_go(&self, row: i64) {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).remove(&row);
    }

    fn claims(&self) -> Vec<(i64, C)> {
        let held = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|(row, (claim, _))| (*row, *claim)).collect()
    }

    fn lose(&self, row: i64) {
        tracing::warn!(row, "a lease was lost: somebody else has taken over");
        self.lost(row).cancel();
        self.let_go(row);
    }
}

impl Engine {
    /// Does the work while renewing all that it holds. The two go on side by side: work that holds a connection must
    /// not stand still while a renewal waits for one.
    pub(super) async fn holding<C: Copy, T, R>(
        &self,
        hold: &Hold<C>,
        work: impl Future<Output = T>,
        renew: impl Fn(C) -> R,
    ) -> T
    where
        R: Future<Output = Result<bool, StoreError>>,
    {
        tokio::select! {
            biased;
            done = work => done,
            never = self.keep_renewing(hold, renew) => match never {},
        }
    }

    async fn keep_renewing<C: Copy, R>(&self, hold: &Hold<C>, renew: impl Fn(C) -> R) -> Infallible
    where
        R: Future<Output = Result<bool, StoreError>>,
    {
        loop {
            self.clock.sleep_until(later(self.clock.now(), HEARTBEAT)).await;
            let before = self.clock.now();
            let mut all_renewed = true;
            for (row, claim) in hold.claims() {
                match renew(claim).await {
                    Ok(true) => {}
                    Ok(false) => hold.lose(row),
                    // Not to know whether it is still held is to have lost it once the lease is over.
                    Err(_) if hold.has_lapsed(before) => hold.lose(row),
                    Err(_) => all_renewed = false,
                }
            }
            if all_renewed {
                hold.renewed(before);
            }
        }
    }
}
