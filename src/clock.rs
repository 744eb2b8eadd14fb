//! The only place that asks the machine for the time or for chance, so that both are ours to turn.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

/// Time and chance.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Returns when `now` has reached this time, or at once if it already has.
    async fn sleep_until(&self, at: Timestamp);
    /// Sixty-four random bits: ids and jitter, nothing secret.
    fn random(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let wait = Duration::try_from(at.duration_since(self.now())).unwrap_or_default();
        tokio::time::sleep(wait).await;
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

/// How long something takes, whatever becomes of the machine's clock meanwhile. For measuring, not for deciding.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
