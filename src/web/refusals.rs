//! What is said in the log about requests that are turned away: anybody can send such requests, so their number must
//! not decide how much is logged. The metrics count every one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::domain::ids::Platform;

/// How long nothing more is said about one outcome at one platform.
const PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// What was said, by platform and outcome.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<(Platform, &'static str), Said>>);

/// When something was last said, and how many have come since.
#[derive(Debug)]
struct Said {
    at: Timestamp,
    others: u64,
}

impl Refusals {
    /// Whether this one is to be said: how many others were not, since one was.
    pub(super) fn to_say(&self, platform: &Platform, outcome: &'static str, now: Timestamp) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = said.entry((platform.clone(), outcome)).or_insert(Said {
            at: Timestamp::MIN,
            others: 0,
        });
        // A clock that was set back does not silence anything.
        if now.duration_since(said.at).abs() < PAUSE {
            said.others += 1;
            return None;
        }
        said.at = now;
        Some(std::mem::take(&mut said.others))
    }
}
