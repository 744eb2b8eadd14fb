//! Which delivery is dealt with when: claimed, kept in order within its thread, settled one by one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Engine;
use super::intake::Reading;
use super::lease::{Held, Hold, LEASE};
use super::pauses::later;
use super::work::Claimed;
use crate::store::{ClaimedDelivery, DeliveryClaim, DeliverySettled, HOLD, StoreError};

/// The most that is claimed at a time.
const BATCH: usize = 256;
/// The most in hand. What hangs is bounded by vendor and far below this.
const IN_HAND_MAX: usize = 1024;
/// How long a stop waits for those before it in its thread.
const STOP_WAITS: Duration = Duration::from_secs(1);

/// A delivery in hand.
pub(super) struct Piece {
    pub(super) claimed: ClaimedDelivery,
    pub(super) reading: Reading,
    /// Whether it says `stop` and nothing else.
    pub(super) stops: bool,
    held: Held<DeliveryClaim>,
    begun: AtomicBool,
    /// How it ended, if it was taken out of turn: whether it has to wait.
    ended: SetOnce<Result<bool, StoreError>>,
}

impl Piece {
    /// Whether this is the first to begin with it.
    fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::Relaxed)
    }
}

/// Deliveries of one thread, in the order of arrival.
type Thread = Vec<Piece>;

impl Engine {
    /// Deals with a few deliveries; how many there were. What happened in one thread is dealt with in the order of
    /// arrival; threads do not wait for each other.
    ///
    /// # Errors
    /// When the store cannot be used now; what was claimed comes back when its lease ends.
    pub async fn intake_step(&self) -> Result<usize, StoreError> {
        let hold = Hold::default();
        let threads = self.claim_threads(&hold).await?;
        let count = threads.iter().map(Vec::len).sum();
        let work = join_all(threads.into_iter().map(|thread| self.take_in_order(thread)));
        let done = self.holding(&hold, work, |claims| self.renew_deliveries(claims)).await;
        done.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(count)
    }

    /// The same, again and again, and no thread waits for another to be claimed.
    pub(super) async fn intake_loop(&self, stop: &CancellationToken) {
        tokio::select! {
            () = self.begin_on() => {}
            () = stop.cancelled() => return,
        }
        let hold = Hold::default();
        let work = self.hand_out("intake", &self.wakes.deliveries, stop, async || {
            let threads = self.claim_threads(&hold).await?;
            let count = threads.iter().map(Vec::len).sum();
            let tasks = threads.into_iter().map(|thread| {
                let engine = self.clone();
                async move { engine.take_in_order(thread).await }.boxed()
            });
            let tasks = tasks.collect();
            Ok(Claimed { count, tasks })
        });
        self.holding(&hold, work, |claims| self.renew_deliveries(claims)).await;
    }

    async fn renew_deliveries(&self, claims: Vec<DeliveryClaim>) -> Result<Vec<DeliveryClaim>, StoreError> {
        self.store.renew_deliveries(&claims, self.clock.now(), LEASE).await
    }

    /// Claims as many as there is room for, by thread.
    async fn claim_threads(&self, hold: &Hold<DeliveryClaim>) -> Result<Vec<Thread>, StoreError> {
        let limit = BATCH.min(IN_HAND_MAX.saturating_sub(hold.len()));
        if limit == 0 {
            return Ok(Vec::new());
        }
        let now = self.clock.moment();
        let (most, full) = (u32::try_from(limit).unwrap_or(u32::MAX), self.calls.full());
        let claimed = self
            .store
            .claim_deliveries_except(now.wall(), LEASE, most, &full)
            .await?;
        if claimed.len() >= limit {
            // There may be more.
            self.wakes.deliveries.notify_one();
        }
        let mut threads: BTreeMap<String, Thread> = BTreeMap::new();
        for claimed in claimed {
            let reading = self.read(&claimed.delivery);
            let piece = Piece {
                stops: reading.as_ref().is_ok_and(|signals| self.only_stops(signals)),
                held: hold.take(claimed.claim, now),
                reading,
                claimed,
                begun: AtomicBool::new(false),
                ended: SetOnce::new(),
            };
            threads
                .entry(order(&piece.claimed, now.wall()))
                .or_default()
                .push(piece);
        }
        Ok(threads.into_values().collect())
    }

    /// Deals with a thread's deliveries one after the other. Once one of them has to wait, the others do, too; but a
    /// stop does not wait for long.
    async fn take_in_order(&self, thread: Thread) -> Result<(), StoreError> {
        tokio::select! {
            biased;
            done = self.take_each(&thread) => done,
            never = self.take_stops(&thread) => match never {},
        }
    }

    async fn take_each(&self, thread: &Thread) -> Result<(), StoreError> {
        let (mut waits, mut back) = (false, Vec::new());
        let mut failed = Ok(());
        for piece in going_first(thread) {
            let taken = if !piece.begin() {
                piece.ended.wait().await.clone()
            } else if failed.is_err() || ((waits || piece.claimed.early) && !piece.stops) {
                back.push(piece);
                continue;
            } else {
                self.take(piece).await
            };
            match taken {
                Ok(has_to_wait) => waits |= has_to_wait,
                Err(error) => failed = Err(error),
            }
        }
        // Others may have them at once. If that does not work, they have them when the leases end.
        let back = back
            .into_iter()
            .map(|piece| self.settle_piece(piece, DeliverySettled::PutBack));
        let back = join_all(back).await.into_iter().collect::<Result<Vec<()>, _>>();
        failed.and(back.map(|_| ()))
    }

    /// Takes the stops that still wait for their turn after a moment. Whoever goes through the thread hears how it ended.
    async fn take_stops(&self, thread: &Thread) -> Infallible {
        self.clock.sleep_until(later(self.clock.now(), STOP_WAITS)).await;
        let stops = thread.iter().filter(|piece| piece.stops && piece.begin());
        let taken = stops.map(|piece| async {
            let taken = self.take(piece).await;
            // It is set once, by whoever has begun.
            piece.ended.set(taken).ok();
        });
        join_all(taken).await;
        std::future::pending().await
    }

    /// Deals with one; whether it has to wait.
    async fn take(&self, piece: &Piece) -> Result<bool, StoreError> {
        if piece.held.has_lapsed(self.clock.moment()) {
            return Ok(true);
        }
        let delivery = &piece.claimed.delivery;
        let span = tracing::info_span!("delivery", platform = %delivery.platform, delivery = %delivery.delivery_id);
        let settled = tokio::select! {
            biased;
            () = piece.held.lost().cancelled() => return Ok(true),
            settled = self.deal_with_bounded(piece).instrument(span) => settled?,
        };
        let waits = matches!(
            settled,
            DeliverySettled::RetryAt { .. } | DeliverySettled::WaitsFor { .. }
        );
        self.settle_piece(piece, settled).await?;
        Ok(waits && !is_past_holding(&piece.claimed, self.clock.now()))
    }

    async fn settle_piece(&self, piece: &Piece, settled: DeliverySettled) -> Result<(), StoreError> {
        let (claim, now) = (piece.claimed.claim, self.clock.now());
        self.store.settle_delivery(claim, settled, now).await.map(|_| ())
    }
}

/// In the order of arrival; but a stop that was claimed before its turn has waited for long enough, and goes before
/// those that it may be about.
fn going_first(thread: &Thread) -> impl Iterator<Item = &Piece> {
    let is_first = |piece: &&Piece| piece.stops && piece.claimed.early;
    let rest = thread.iter().filter(move |piece| !is_first(piece));
    thread.iter().filter(is_first).chain(rest)
}

/// Whether it has waited for so long that it holds nobody back any more.
fn is_past_holding(claimed: &ClaimedDelivery, now: Timestamp) -> bool {
    claimed.held_since.is_some_and(|since| later(since, HOLD) <= now)
}

/// Whether it has been behind others for so long that it waits for none of them any more.
fn has_waited_behind(claimed: &ClaimedDelivery, now: Timestamp) -> bool {
    claimed.behind_since.is_some_and(|since| later(since, HOLD) <= now)
}

/// What it stays in order with, of what was claimed together.
fn order(claimed: &ClaimedDelivery, now: Timestamp) -> String {
    match &claimed.delivery.thread {
        Some(thread) if has_waited_behind(claimed, now) => format!("late in {thread}"),
        Some(thread) if !is_past_holding(claimed, now) => format!("in {thread}"),
        _ => format!("alone {}", claimed.claim.seq),
    }
}
