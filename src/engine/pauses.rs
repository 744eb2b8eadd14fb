//! When to try again, and whom to leave alone till then.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// What a limit that names no time costs: vendors ask for at least a minute.
const LIMIT_WAIT: Duration = Duration::from_secs(60);

/// Vendors that have asked to be left alone. Lost on a restart, which costs one more refusal.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<HashMap<String, Timestamp>>);

impl Pauses {
    /// Until when the vendor is to be left alone.
    pub(super) fn until(&self, vendor: &str, now: Timestamp) -> Option<Timestamp> {
        let pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.get(vendor).copied().filter(|until| *until > now)
    }

    /// The vendor asked to be left alone.
    pub(super) fn pause(&self, vendor: &str, now: Timestamp, after: Option<Duration>) {
        let until = later(now, after.unwrap_or(LIMIT_WAIT));
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.retain(|_, until| *until > now);
        let entry = pauses.entry(vendor.to_owned()).or_insert(until);
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
