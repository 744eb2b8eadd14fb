//! When to try again, and whom to leave alone till then.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use crate::adapters::CallError;
use crate::domain::run::FailureClass;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// What a limit that names no time costs: vendors ask for at least a minute.
const LIMIT_WAIT: Duration = Duration::from_secs(60);

/// How old what is known about pauses may be.
const FRESH: Duration = Duration::from_secs(1);

/// Vendors that have asked to be left alone, as the store knows them: all processes keep to it.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    read_at: Option<Timestamp>,
    until: HashMap<String, Timestamp>,
}

impl Engine {
    /// Until when the vendor is to be left alone.
    pub(super) async fn paused_until(&self, vendor: &str) -> Option<Timestamp> {
        let now = self.clock.now();
        if self.pauses.stale(now) {
            match self.store.pauses(now).await {
                Ok(pauses) => self.pauses.learn(pauses, now),
                Err(error) => tracing::warn!(%error, "cannot read who is to be left alone"),
            }
        }
        self.pauses.until(vendor, now)
    }

    /// For how long the vendor is still to be left alone.
    pub(super) async fn paused(&self, vendor: &str) -> Option<Duration> {
        let until = self.paused_until(vendor).await?;
        Duration::try_from(until.duration_since(self.clock.now())).ok()
    }

    /// A vendor that asks to be left alone is left alone, by all loops of all processes.
    pub(super) async fn heed(&self, vendor: &str, error: &CallError) {
        let CallError::Retry {
            after,
            class: FailureClass::RateLimit,
            ..
        } = error
        else {
            return;
        };
        let now = self.clock.now();
        let until = later(now, after.unwrap_or(LIMIT_WAIT));
        self.pauses.pause(vendor, until);
        if let Err(error) = self.store.pause(vendor, until, now).await {
            tracing::warn!(%error, vendor, "other processes cannot be told to leave a vendor alone");
        }
    }
}

impl Pauses {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stale(&self, now: Timestamp) -> bool {
        self.known()
            .read_at
            .is_none_or(|at| later(at, FRESH) <= now || at > now)
    }

    fn learn(&self, pauses: Vec<(String, Timestamp)>, now: Timestamp) {
        let mut known = self.known();
        known.until.retain(|_, until| *until > now);
        for (vendor, until) in pauses {
            known.lengthen(vendor, until);
        }
        known.read_at = Some(now);
    }

    fn until(&self, vendor: &str, now: Timestamp) -> Option<Timestamp> {
        self.known().until.get(vendor).copied().filter(|until| *until > now)
    }

    fn pause(&self, vendor: &str, until: Timestamp) {
        self.known().lengthen(vendor.to_owned(), until);
    }
}

impl Known {
    fn lengthen(&mut self, vendor: String, until: Timestamp) {
        let entry = self.until.entry(vendor).or_insert(until);
        *entry = (*entry).max(until);
    }
}

/// When to try again after so many failures: twice as long each time, at least as long as the vendor said, with
/// jitter so that many waiters do not come back at once.
pub(super) fn next_try(now: Timestamp, failures: u32, after: Option<Duration>, random: u64) -> Timestamp {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT);
    let least = after.unwrap_or(doubled / 2).max(doubled / 2);
    let jitter = (doubled / 2).mul_f64((random % 1000) as f64 / 1000.0);
    later(now, least + jitter)
}

pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
