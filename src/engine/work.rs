//! How much is in hand at once. Work is bounded by whose answer it waits for, never by how much was claimed together:
//! a vendor that hangs keeps its own work waiting and nobody else's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::pauses::later;
use super::{Engine, POLL};
use crate::store::StoreError;

/// Who claims so many lets others gather for this long before the next claim.
const MANY: usize = 8;
const GATHER: Duration = Duration::from_millis(10);
/// How long work in hand is waited for when the process is to end. Docker kills after 10 s.
const LAST_WORK: Duration = Duration::from_secs(7);

/// One of those that may be out at once with a vendor. Dropping it makes room.
pub(super) type Place = OwnedSemaphorePermit;

/// Room with each vendor for so many at once, and for so many more that wait a moment.
pub(super) struct Rooms {
    places: usize,
    queue: usize,
    rooms: Mutex<BTreeMap<String, Room>>,
}

#[derive(Clone)]
struct Room {
    places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Rooms {
    pub(super) fn new(places: usize, queue: usize) -> Self {
        Self {
            places,
            queue,
            rooms: Mutex::default(),
        }
    }

    fn room(&self, name: &str) -> Room {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(name.to_owned()).or_insert_with(|| Room {
            places: Arc::new(Semaphore::new(self.places)),
            queue: Arc::new(Semaphore::new(self.queue)),
        });
        room.clone()
    }

    /// A place, if there is one now.
    pub(super) fn try_enter(&self, name: &str) -> Option<Place> {
        self.room(name).places.try_acquire_owned().ok()
    }

    /// A place, waiting for it as long as `patience` lasts; none if too many wait already.
    pub(super) async fn enter(&self, name: &str, patience: impl Future<Output = ()>) -> Option<Place> {
        let room = self.room(name);
        let _queueing = match room.places.clone().try_acquire_owned() {
            Ok(place) => return Some(place),
            Err(_) => room.queue.try_acquire_owned().ok()?,
        };
        tokio::select! {
            biased;
            place = room.places.acquire_owned() => place.ok(),
            () = patience => None,
        }
    }

    /// How many places are free with each vendor that was entered before.
    pub(super) fn free(&self) -> BTreeMap<String, u32> {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |room: &Room| u32::try_from(room.places.available_permits()).unwrap_or(u32::MAX);
        rooms.iter().map(|(name, room)| (name.clone(), free(room))).collect()
    }

    /// How many places are taken, with each vendor that has any.
    fn busy(&self) -> impl Iterator<Item = String> {
        let places = self.places;
        let taken = move |free: u32| places.saturating_sub(free as usize);
        let free = self.free().into_iter();
        free.filter(move |(_, free)| taken(*free) > 0)
            .map(move |(name, free)| format!("{name}: {}", taken(free)))
    }

    /// The vendors that have no place free.
    pub(super) fn full(&self) -> Vec<String> {
        let free = self.free().into_iter();
        free.filter(|(_, free)| *free == 0).map(|(name, _)| name).collect()
    }
}

/// What was claimed at a time.
#[derive(Default)]
pub(super) struct Claimed {
    /// How many pieces of work.
    pub(super) count: usize,
    /// Tasks that do them.
    pub(super) tasks: Vec<BoxFuture<'static, Result<(), StoreError>>>,
}

impl Engine {
    /// One loop: claims and hands out what it claimed to tasks of their own, again when it is woken, when there may be
    /// something that had to be left before, and at each poll. Claiming waits for no task. When told to stop, the tasks
    /// end first.
    pub(super) async fn hand_out<F>(
        &self,
        name: &'static str,
        wake: &Notify,
        stop: &CancellationToken,
        claim: impl Fn() -> F,
    ) where
        F: Future<Output = Result<Claimed, StoreError>>,
    {
        let mut at_work = JoinSet::new();
        while !stop.is_cancelled() {
            self.metrics.turned(name, self.clock.now());
            // While somebody is at work, something may have to be left: what comes after it, what there is no room for.
            let something_left = !at_work.is_empty();
            let claimed = match claim().await {
                Ok(claimed) => {
                    self.out_of_trouble(name);
                    claimed
                }
                Err(error) => {
                    self.in_trouble(name, &error);
                    Claimed::default()
                }
            };
            for task in claimed.tasks {
                let engine = self.clone();
                at_work.spawn(async move {
                    if let Err(error) = task.await {
                        engine.in_trouble(name, &error);
                    }
                });
            }
            let now = self.clock.now();
            if claimed.count >= MANY {
                self.clock.sleep_until(later(now, GATHER)).await;
            }
            self.rest(&mut at_work, something_left, wake, stop, later(now, POLL))
                .await;
        }
        self.end(name, at_work).await;
    }

    /// Waits for what is in hand, but not for long: whoever ends this process loses patience, and what is taken up by
    /// the next one is looked for first.
    async fn end(&self, name: &'static str, mut at_work: JoinSet<()>) {
        let left = at_work.len();
        if left == 0 {
            return;
        }
        let vendors = self.calls.busy().chain(self.effects.busy()).collect::<Vec<_>>();
        tracing::info!(
            loop_name = name,
            left,
            vendors = vendors.join(", "),
            "waiting for what is in hand"
        );
        let over = self.clock.sleep_until(later(self.clock.now(), LAST_WORK));
        tokio::select! {
            () = async { while at_work.join_next().await.is_some() {} } => {}
            () = over => {
                let left = at_work.len();
                tracing::warn!(loop_name = name, left, "not waited for any longer; whoever takes it up looks first what became of it");
                at_work.shutdown().await;
            }
        }
    }

    async fn rest(
        &self,
        at_work: &mut JoinSet<()>,
        something_left: bool,
        wake: &Notify,
        stop: &CancellationToken,
        poll: Timestamp,
    ) {
        loop {
            tokio::select! {
                () = wake.notified() => return,
                Some(_) = at_work.join_next() => if something_left { return },
                () = self.clock.sleep_until(poll) => return,
                () = stop.cancelled() => return,
            }
        }
    }
}
