//! The only place that asks the machine for the time or for chance, so that both are ours to turn.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

/// Time and chance.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, by the clock on the wall, which people and NTP may set at any time.
    fn now(&self) -> Timestamp;
    /// A clock that nobody can set: the time since some moment, which is the same as long as the process lives.
    fn steady(&self) -> Duration;
    /// Returns after the time that there is from `now` to this time, whatever becomes of the clock on the wall
    /// meanwhile; at once if there is none.
    async fn sleep_until(&self, at: Timestamp);
    /// Sixty-four random bits: ids and jitter, nothing secret.
    fn random(&self) -> u64;

    /// Now, by both clocks.
    fn moment(&self) -> Moment {
        Moment {
            wall: self.now(),
            steady: self.steady(),
        }
    }
}

/// A moment by both clocks, from which a time is counted that must not be taken for shorter than it was.
///
/// Neither clock is enough. The one on the wall can be set back. The steady one does not count the time for which the
/// machine was suspended (on Linux, Rust's `Instant` is `CLOCK_MONOTONIC`), which the other one knows when the machine
/// goes on.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    wall: Timestamp,
    steady: Duration,
}

impl Moment {
    /// What the clock on the wall said.
    pub fn wall(self) -> Timestamp {
        self.wall
    }

    /// The time since an earlier moment, by the clock that says it was longer.
    pub fn since(self, earlier: Self) -> Duration {
        let wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        wall.max(self.steady.saturating_sub(earlier.steady))
    }
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

    fn steady(&self) -> Duration {
        static BEGAN: LazyLock<Stopwatch> = LazyLock::new(Stopwatch::start);
        BEGAN.elapsed()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let wait = Duration::try_from(at.duration_since(self.now())).unwrap_or_default();
        tokio::time::sleep(wait).await;
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

/// Chance that can be had again: the same seed gives the same throws.
#[derive(Debug, Clone)]
pub struct Dice(fastrand::Rng);

impl Dice {
    /// Dice that begin at this seed.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Other dice, which this throw alone decides.
    pub fn another(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// A number from the first to the last, both possible.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        self.0.u64(first..=last.max(first))
    }

    /// True once in so many throws.
    pub fn one_in(&mut self, throws: u64) -> bool {
        self.0.u64(..throws.max(1)) == 0
    }

    /// One of these; `None` if there are none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        self.0.choice(of)
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
