//! Something that goes wrong again and again. A leaf: it says when to say so, so that how often somebody tries does not
//! decide how much is logged.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// While it lasts it is said again this often.
const EVERY: SignedDuration = SignedDuration::from_secs(60);
/// It is over when it has gone well for this long after it last went wrong: what fails now and then is one trouble.
const QUIET: SignedDuration = SignedDuration::from_secs(5);

/// Whether something goes wrong at present.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<Option<Lasting>>);

#[derive(Debug)]
struct Lasting {
    said: Timestamp,
    met: Timestamp,
    unsaid: u64,
    times: u64,
}

impl Trouble {
    /// It went wrong. If that is to be said now: how often it did since it was said last, this time included.
    pub fn met(&self, now: Timestamp) -> Option<u64> {
        let mut lasting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lasting) = lasting.as_mut() else {
            *lasting = Some(Lasting {
                said: now,
                met: now,
                unsaid: 0,
                times: 1,
            });
            return Some(1);
        };
        lasting.met = now;
        lasting.times += 1;
        lasting.unsaid += 1;
        // A clock that was set back does not silence anything.
        if now.duration_since(lasting.said).abs() < EVERY {
            return None;
        }
        lasting.said = now;
        Some(std::mem::take(&mut lasting.unsaid))
    }

    /// It went well. If with that a trouble is over: how often it went wrong.
    pub fn over(&self, now: Timestamp) -> Option<u64> {
        let mut lasting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |lasting: &mut Lasting| now.duration_since(lasting.met).abs() >= QUIET;
        lasting.take_if(quiet).map(|over| over.times)
    }
}
