//! Holding on to what was claimed.
//!
//! A lease is short, so that what a dead process held is taken up soon; whoever lives renews it. Who has lost one
//! stops working: somebody else does it now, and the store takes nothing from the loser any more.
//!
//! A process counts its leases from the moment before it asked for them, by both of its clocks: the lease is over as
//! soon as either says so.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Engine;
use super::pauses::later;
use crate::clock::Moment;
use crate::store::{Lease, StoreError};
use crate::trouble::Trouble;

/// How long a claim lasts if nobody renews it.
pub(super) const LEASE: Lease = Lease(Duration::from_secs(10));
/// How often it is renewed: three can go missing.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(3);

/// Claims in hand.
pub(super) struct Hold<C: Ord>(Arc<Mutex<BTreeMap<C, Lent>>>);

/// One claim's lease.
struct Lent {
    since: Moment,
    lost: CancellationToken,
}

impl Lent {
    fn has_lapsed(&self, now: Moment) -> bool {
        now.since(self.since) >= LEASE.0
    }
}

/// One claim in hand. Dropping it lets go of it: it is renewed no more.
pub(super) struct Held<C: Ord> {
    claim: C,
    lost: CancellationToken,
    all: Arc<Mutex<BTreeMap<C, Lent>>>,
}

impl<C: Ord> Default for Hold<C> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: Ord + Copy + std::fmt::Display> Hold<C> {
    /// Takes in hand what was asked for at this moment.
    pub(super) fn take(&self, claim: C, asked_at: Moment) -> Held<C> {
        let lost = CancellationToken::new();
        let lent = Lent {
            since: asked_at,
            lost: lost.clone(),
        };
        lock(&self.0).insert(claim, lent);
        Held {
            claim,
            lost,
            all: self.0.clone(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    fn claims(&self) -> Vec<C> {
        lock(&self.0).keys().copied().collect()
    }

    fn renewed(&self, claim: C, asked_at: Moment) {
        if let Some(lent) = lock(&self.0).get_mut(&claim) {
            lent.since = asked_at;
        }
    }

    fn lose(&self, claim: C) {
        if let Some(lent) = lock(&self.0).remove(&claim) {
            tracing::warn!(%claim, "a lease was lost: somebody else has taken over");
            lent.lost.cancel();
        }
    }

    /// Not to know whether a claim is still held is to have lost it once its lease is over.
    fn lose_lapsed(&self, now: Moment) {
        let lapsed: Vec<C> = {
            let held = lock(&self.0);
            let lapsed = held.iter().filter(|(_, lent)| lent.has_lapsed(now));
            lapsed.map(|(claim, _)| *claim).collect()
        };
        for claim in lapsed {
            self.lose(claim);
        }
    }
}

impl<C: Ord> Held<C> {
    /// Cancelled when the claim is lost.
    pub(super) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether the lease has run out, so that somebody else may have taken over. A process that stood still finds out
    /// here before it begins anything else, not by its next heartbeat.
    pub(super) fn has_lapsed(&self, now: Moment) -> bool {
        lock(&self.all).get(&self.claim).is_none_or(|lent| lent.has_lapsed(now))
    }
}

impl<C: Ord> Drop for Held<C> {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.claim);
    }
}

impl Engine {
    /// Does the work while renewing all that it holds. The two go on side by side: work that holds a connection must
    /// not stand still while a renewal waits for one.
    pub(super) async fn holding<C: Ord + Copy + std::fmt::Display, T, R>(
        &self,
        hold: &Hold<C>,
        work: impl Future<Output = T>,
        renew: impl Fn(Vec<C>) -> R,
    ) -> T
    where
        R: Future<Output = Result<Vec<C>, StoreError>>,
    {
        tokio::select! {
            biased;
            done = work => done,
            never = self.keep_renewing(hold, renew) => match never {},
        }
    }

    /// `renew` answers which of the claims are still held.
    async fn keep_renewing<C: Ord + Copy + std::fmt::Display, R>(
        &self,
        hold: &Hold<C>,
        renew: impl Fn(Vec<C>) -> R,
    ) -> Infallible
    where
        R: Future<Output = Result<Vec<C>, StoreError>>,
    {
        let trouble = Trouble::default();
        loop {
            self.clock.sleep_until(later(self.clock.now(), HEARTBEAT)).await;
            let claims = hold.claims();
            if claims.is_empty() {
                continue;
            }
            let asked_at = self.clock.moment();
            let renewed = tokio::select! {
                biased;
                renewed = renew(claims.clone()) => renewed,
                // A renewal that hangs renews nothing.
                () = self.clock.sleep_until(later(asked_at.wall(), LEASE.0)) => {
                    Err(StoreError::Unavailable("it does not answer in time".to_owned()))
                }
            };
            match renewed {
                Ok(still) => {
                    if trouble.over(self.clock.now()).is_some() {
                        tracing::info!("leases are renewed again");
                    }
                    for claim in claims {
                        if still.contains(&claim) {
                            hold.renewed(claim, asked_at);
                        } else {
                            hold.lose(claim);
                        }
                    }
                }
                Err(error) => {
                    if let Some(times) = trouble.met(self.clock.now()) {
                        tracing::warn!(%error, times, "leases cannot be renewed now");
                    }
                    hold.lose_lapsed(self.clock.moment());
                }
            }
        }
    }
}
