//! Which effect is carried out when: claimed as far as there is room with its vendor, what is urgent first, and in
//! order where it goes to one place.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::lease::{Held, Hold, LEASE};
use super::pauses::later;
use super::work::{Claimed, Place};
use super::{EFFECTS, Engine};
use crate::domain::ids::RunId;
use crate::store::{ClaimedEffect, EffectClaim, EffectSettled, Rooms, StoreError};

/// The most that is claimed at a time.
const BATCH: u32 = 64;
/// What is urgent has so long a start over the rest that goes to the same vendor: a limit that it runs into is known
/// then. What hangs keeps nobody longer.
const START: Duration = Duration::from_secs(2);

/// How long a call that was out when the lease was lost is waited for.
const LAST_CALL: Duration = Duration::from_secs(30);

/// An effect in hand.
pub(super) struct InHand {
    pub(super) effect: ClaimedEffect,
    pub(super) held: Held<EffectClaim>,
    _place: Place,
    /// Cancelled with the end of the effect, however it comes.
    ended: DropGuard,
}

/// Effects by what they go to, each in order.
type ByPlace = BTreeMap<String, Vec<InHand>>;

impl Engine {
    /// Carries out a few effects that are due; how many there were. What goes to one place goes in order, places
    /// do not wait for each other, and each vendor gets what is urgent first.
    ///
    /// # Errors
    /// When the store cannot be used now; what was claimed comes back when its lease ends.
    pub async fn dispatch_step(&self) -> Result<usize, StoreError> {
        let hold = Hold::default();
        let claimed = self.claim_by_vendor(&hold).await?;
        let count = count(&claimed);
        let work = join_all(claimed.into_iter().map(|places| self.carry_out_all(places)));
        let done = self.holding(&hold, work, |claims| self.renew_effects(claims)).await;
        done.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(count)
    }

    /// The same, again and again, and nothing waits for something else to be claimed.
    pub(super) async fn dispatch_loop(&self, stop: &CancellationToken) {
        let hold = Hold::default();
        let work = self.hand_out("dispatch", &self.wakes.effects, stop, async || {
            let claimed = self.claim_by_vendor(&hold).await?;
            let count = count(&claimed);
            let tasks = claimed.into_iter().map(|places| {
                let engine = self.clone();
                async move { engine.carry_out_all(places).await }.boxed()
            });
            let tasks = tasks.collect();
            Ok(Claimed { count, tasks })
        });
        self.holding(&hold, work, |claims| self.renew_effects(claims)).await;
    }

    async fn renew_effects(&self, claims: Vec<EffectClaim>) -> Result<Vec<EffectClaim>, StoreError> {
        self.store.renew_effects(&claims, self.clock.now(), LEASE).await
    }

    /// Claims as many as there is room for, by vendor.
    async fn claim_by_vendor(&self, hold: &Hold<EffectClaim>) -> Result<Vec<ByPlace>, StoreError> {
        let now = self.clock.moment();
        let rooms = Rooms {
            free: self.effects.free(),
            other: u32::try_from(EFFECTS).unwrap_or(u32::MAX),
            limit: BATCH,
        };
        let claimed = self.store.claim_effects_within(now.wall(), LEASE, &rooms).await?;
        if claimed.len() >= BATCH as usize {
            // There may be more.
            self.wakes.effects.notify_one();
        }
        let mut vendors: BTreeMap<String, ByPlace> = BTreeMap::new();
        let mut too_many = Vec::new();
        for effect in claimed {
            let Some(place) = self.effects.try_enter(&effect.effect.room()) else {
                // Two that claim at once had one count of what was free.
                too_many.push(effect);
                continue;
            };
            let places = vendors.entry(self.vendor(&effect.effect)).or_default();
            places.entry(effect.effect.place()).or_default().push(InHand {
                held: hold.take(effect.claim, now),
                effect,
                _place: place,
                ended: CancellationToken::new().drop_guard(),
            });
        }
        self.put_back(too_many).await;
        Ok(vendors.into_values().collect())
    }

    /// Others may have these at once. Where that does not work, they have them when the leases end.
    async fn put_back(&self, effects: Vec<ClaimedEffect>) {
        let now = self.clock.now();
        let back = effects.iter().map(|effect| {
            let not_yet = EffectSettled::NotBefore { at: now };
            self.store.settle_effect(&effect.claim, not_yet, now)
        });
        for back in join_all(back).await {
            if let Err(error) = back {
                tracing::warn!(%error, "a claim cannot be given back before its lease ends");
            }
        }
    }

    /// Carries out what goes to one vendor.
    async fn carry_out_all(&self, places: ByPlace) -> Result<(), StoreError> {
        let lanes = places
            .values()
            .flatten()
            .map(|one| (one.effect.effect.lane(), token(one)));
        let lanes: Vec<(u8, CancellationToken)> = lanes.collect();
        let all_start = later(self.clock.now(), START);
        let lanes = &lanes;
        let work = places.into_values().map(|effects| async move {
            let mut effects = effects.into_iter();
            while let Some(one) = effects.next() {
                let lane = one.effect.effect.lane();
                let urgent = lanes.iter().filter(|(other, _)| *other < lane);
                tokio::select! {
                    biased;
                    _ = join_all(urgent.map(|(_, ended)| ended.cancelled())) => {}
                    () = self.clock.sleep_until(all_start) => {}
                }
                if let Err(error) = self.carry_out_held(&one).await {
                    drop(one);
                    self.put_back(effects.map(|one| one.effect).collect()).await;
                    return Err(error);
                }
            }
            Ok::<(), StoreError>(())
        });
        join_all(work).await.into_iter().collect()
    }

    async fn carry_out_held(&self, one: &InHand) -> Result<(), StoreError> {
        let effect = &one.effect;
        let run = effect.run.as_ref().map(RunId::as_str);
        let span = tracing::info_span!("effect", run, kind = super::dispatch::kind(&effect.effect));
        // Nothing is begun any more then; but what is out is waited for, to know whether it was one too many.
        let lost = async {
            one.held.lost().cancelled().await;
            self.clock.sleep_until(later(self.clock.now(), LAST_CALL)).await;
        };
        tokio::select! {
            biased;
            done = self.carry_out(one).instrument(span) => done,
            () = lost => Ok(()),
        }
    }
}

fn token(one: &InHand) -> CancellationToken {
    one.ended.token().clone()
}

fn count(claimed: &[ByPlace]) -> usize {
    claimed.iter().flat_map(BTreeMap::values).map(Vec::len).sum()
}
