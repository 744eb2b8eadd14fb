//! Reads are tried again where they failed in passing: what a step needs to read before it acts is read in a dozen calls,
//! and on an API that fails now and then one of them mostly would. Only reads: whoever changes something looks first.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::sleep;

use super::CallError;
use crate::domain::run::FailureClass;

/// How long to wait before each further try.
const AFTER: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(80)];
/// Nothing is tried again later than this after the first try: whoever reads has a time of their own, and a lease.
const WITHIN: Duration = Duration::from_secs(2);

/// What is known about one API's reads.
#[derive(Debug, Default)]
pub struct Reads {
    /// The last read failed at every try. Until one succeeds, each is tried once: an API that is away is not asked thrice.
    away: AtomicBool,
}

impl Reads {
    /// What this reads, tried again at once where it fails in passing.
    ///
    /// # Errors
    /// As of the last try.
    pub async fn read<T, E, F>(&self, once: impl Fn() -> F, passing: impl Fn(&E) -> bool) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut too_late = pin!(sleep(WITHIN));
        let mut pauses = AFTER.into_iter();
        loop {
            let answer = once().await;
            let failed = answer.as_ref().is_err_and(&passing);
            let in_time = too_late.as_mut().now_or_never().is_none();
            let again = failed && in_time && !self.away.load(Ordering::Relaxed);
            match pauses.next().filter(|_| again) {
                Some(pause) => sleep(pause).await,
                None => {
                    self.away.store(failed, Ordering::Relaxed);
                    return answer;
                }
            }
        }
    }
}

/// Whether the call may well work a moment later. Not where the vendor says when to come back, or whom it lets in.
pub fn is_passing(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Retry {
            after: None,
            class: FailureClass::Infrastructure,
            ..
        }
    )
}
