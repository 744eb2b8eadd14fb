//! Where one process's commits and calls pass by, and where the schedule does it harm.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use async_trait::async_trait;
use stepherd::sandbox::stage::Fault;
use stepherd::store::{Gate, Point, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What happens to a process.
#[derive(Debug, Clone)]
pub enum Harm {
    /// The database fails there.
    StoreFails(Point),
    /// It dies there.
    DiesAtCommit(Point),
    /// It dies before the call is made.
    DiesBeforeCall,
    /// It dies when the call has been made.
    DiesAfterCall,
    /// The vendor misbehaves.
    Vendor(Fault),
    /// The call is made, and what came of it never gets through.
    AnswerLost,
    /// The call is made and hangs; everything else goes on, leases are renewed.
    Hangs,
    /// The call is made and nobody ever answers, until the client gives up.
    NeverAnswered,
    /// The call is made and the whole process stands still, heartbeats included.
    Freezes,
    /// The whole process stands still when something has been committed: with what it has just claimed, for one.
    FreezesAtCommit,
}

impl Harm {
    fn is_for(&self, point: Option<Point>) -> bool {
        match (self, point) {
            (Self::StoreFails(at) | Self::DiesAtCommit(at), Some(point)) => *at == point,
            (Self::FreezesAtCommit, Some(point)) => point == Point::AfterCommit,
            (Self::StoreFails(_) | Self::DiesAtCommit(_) | Self::FreezesAtCommit, None) => false,
            (_, point) => point.is_none(),
        }
    }
}

/// The tap of one process.
#[derive(Debug, Default)]
pub struct Tap {
    /// How many points to let pass first, and then what happens.
    armed: Mutex<Option<(u32, Harm)>>,
    /// Counts everything that passes, to tell whether anything still moves.
    passed: AtomicU64,
    /// Calls that hang or wait.
    stuck: AtomicU32,
    stuck_now: Notify,
    /// The process stands still.
    frozen: std::sync::atomic::AtomicBool,
    goes_on: Notify,
    dead: CancellationToken,
    /// Nothing of the dead process is there any more.
    buried: CancellationToken,
}

impl Tap {
    pub fn arm(&self, after: u32, harm: Harm) {
        *self.armed.lock().unwrap() = Some((after, harm));
    }

    /// Takes back what was not done. Whether there was something.
    pub fn disarm(&self) -> bool {
        self.armed.lock().unwrap().take().is_some()
    }

    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::SeqCst) > 0
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Returns once a call hangs.
    pub async fn sticks(&self) {
        loop {
            let now = self.stuck_now.notified();
            if self.is_stuck() {
                return;
            }
            now.await;
        }
    }

    pub async fn dies(&self) {
        self.dead.cancelled().await;
    }

    /// Everything that hangs goes on.
    pub fn go_on(&self) {
        self.frozen.store(false, Ordering::SeqCst);
        self.goes_on.notify_waiters();
    }

    /// The harm that is due at this point.
    fn due(&self, point: Option<Point>) -> Option<Harm> {
        self.passed.fetch_add(1, Ordering::SeqCst);
        let mut armed = self.armed.lock().unwrap();
        let (left, harm) = armed.as_mut()?;
        if !harm.is_for(point) {
            return None;
        }
        if *left > 0 {
            *left -= 1;
            return None;
        }
        armed.take().map(|(_, harm)| harm)
    }

    /// What happens to the call that begins now.
    pub async fn call_begins(&self) -> Option<Harm> {
        let harm = self.due(None);
        if matches!(harm, Some(Harm::DiesBeforeCall)) {
            self.die().await;
        }
        harm
    }

    pub async fn die(&self) {
        self.dead.cancel();
        std::future::pending().await
    }

    /// What the store had in hand for the dead process comes to nothing.
    pub fn bury(&self) {
        self.buried.cancel();
    }

    /// Does not return before the process goes on.
    pub async fn hang(&self, frozen: bool) {
        let goes_on = self.goes_on.notified();
        self.frozen.fetch_or(frozen, Ordering::SeqCst);
        self.wait(goes_on).await;
    }

    /// A call waits for this, and nothing else of its turn is there to do.
    pub async fn wait(&self, that: impl Future<Output = ()>) {
        self.stuck.fetch_add(1, Ordering::SeqCst);
        let _stuck = Stuck(&self.stuck);
        self.stuck_now.notify_waiters();
        that.await;
    }
}

/// A call that hangs or waits, until it goes on or is given up.
struct Stuck<'a>(&'a AtomicU32);

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Gate for Tap {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        let dead = || Err(StoreError::Unavailable(format!("{verb} dies on purpose")));
        if self.dead.is_cancelled() {
            return dead();
        }
        match self.due(Some(point)) {
            Some(Harm::DiesAtCommit(_)) => {
                self.dead.cancel();
                self.buried.cancelled().await;
                dead()
            }
            Some(Harm::FreezesAtCommit) => {
                self.hang(true).await;
                Ok(())
            }
            Some(Harm::StoreFails(_)) => Err(StoreError::Unavailable(format!("{verb} fails on purpose"))),
            _ => Ok(()),
        }
    }
}
