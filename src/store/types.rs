//! What goes into and comes out of the store's verbs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Moment};
pub use crate::domain::decide::LockChange;
use crate::domain::effect::Effect;
use crate::domain::ids::{Platform, PrRef, RunId, Sha, ThreadRef, TicketKey};
use crate::domain::run::{History, Run};
use crate::domain::signal::{MessageRef, Proof};

/// Why a verb did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot take or give it now; trying again later may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Two transactions were in each other's way, and this one was undone: trying again at once helps.
    #[error("two changes of the database were in each other's way: {0}")]
    Collided(String),
    /// What is stored cannot be read (a newer version wrote it, or it is damaged).
    #[error("cannot read {what} from the database: {why}")]
    Unreadable {
        /// What was read.
        what: String,
        /// Why it failed.
        why: String,
    },
    /// The database cannot be used at all: wrong version, not writable, not a database.
    #[error("{0}")]
    Unusable(String),
}

/// A verified delivery to be made durable.
#[derive(Clone)]
pub struct NewDelivery {
    /// Where it came in.
    pub platform: Platform,
    /// The platform's id for it; unique with the platform.
    pub delivery_id: String,
    /// What kind of event.
    pub kind: String,
    /// How it proved itself.
    pub proof: Proof,
    /// Request target (path and query).
    pub target: String,
    /// The headers that reading needs; credentials are already left out.
    pub headers: Vec<(String, String)>,
    /// The raw body.
    pub body: Bytes,
    /// When it was received.
    pub received_at: Timestamp,
    /// What it has to stay in order with, as its door says; absent if with nothing.
    pub thread: Option<String>,
}

/// Whether a delivery was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is durable now.
    New,
    /// It already was.
    Again,
    /// Its deadline passed before it could be made durable: it was not stored.
    TooLate,
}

/// Until when a delivery is worth storing: later its sender can no longer be answered, and has been told that nothing
/// happened. The clock is read inside the transaction, right before the commit, so that waiting for the database counts.
#[derive(Clone)]
pub struct Deadline {
    /// When it arrived.
    pub arrived: Moment,
    /// So long after that it is too late.
    pub within: Duration,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Deadline {
    pub(super) fn has_passed(&self) -> bool {
        self.clock.moment().since(self.arrived) >= self.within
    }
}

/// The right to work on a delivery until the lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryClaim {
    /// Row number, counting up in the order of arrival.
    pub seq: i64,
    /// Fencing: only the newest claim can settle it.
    pub epoch: i64,
}

impl fmt::Display for DeliveryClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delivery {}, claim {}", self.seq, self.epoch)
    }
}

/// A delivery that this worker holds.
#[derive(Clone)]
pub struct ClaimedDelivery {
    /// The right to it.
    pub claim: DeliveryClaim,
    /// How often it was claimed before this.
    pub attempts: u32,
    /// Whether it was claimed before its turn: an earlier one of its thread is not dealt with. Happens to each until it
    /// is put back, so that what must not wait can be told from what must.
    pub early: bool,
    /// Since when it has had to wait for the outside, if it has.
    pub held_since: Option<Timestamp>,
    /// When it was first put back behind others of its thread, by the clock of whoever claimed it.
    pub behind_since: Option<Timestamp>,
    /// What it is.
    pub delivery: NewDelivery,
}

/// How long a delivery that waits for the outside holds later ones of its thread back, from its first try on.
pub const HOLD: Duration = Duration::from_secs(120);

/// How work on a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliverySettled {
    /// Dealt with; what came of it, for lists.
    Done {
        /// One line.
        note: String,
    },
    /// It makes no sense, or keeps failing: kept, listed, replayable, not tried again by itself.
    Parked {
        /// Why.
        reason: String,
    },
    /// Something outside was not available; try again then.
    RetryAt {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
        /// When this try began.
        since: Timestamp,
    },
    /// Those whose answer it needs have enough to answer already; try again when there is room. Not a try.
    WaitsFor {
        /// Whose answer it needs.
        room: String,
        /// When it began to wait.
        since: Timestamp,
    },
    /// Its own turn comes then, and nobody waits for it meanwhile. Not a try.
    NotBefore {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// It was claimed, but it is not its turn. Not a try.
    PutBack,
}

/// What was stopped in a thread: starts that had been said there before and still wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voided {
    /// The command.
    pub command: String,
    /// Who stopped it, as people are shown.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A delivery as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryView {
    /// Row number.
    pub seq: i64,
    /// Where it came in.
    pub platform: Platform,
    /// The platform's id.
    pub delivery_id: String,
    /// What kind of event.
    pub kind: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// `pending`, `done` or `parked`.
    pub state: String,
    /// What came of it, or why it is parked or waits.
    pub note: String,
    /// How often it was claimed.
    pub attempts: u32,
    /// Size of the body in bytes.
    pub body_bytes: u64,
}

/// One transaction of the engine.
#[derive(Clone, Default)]
pub struct Commit {
    /// Names what caused it for ever; if it is already there, nothing at all is done.
    pub key: Option<String>,
    /// Names what else takes effect with it for ever, whether it had already or not.
    pub also: Vec<String>,
    /// The run to insert (`expected` absent) or to replace.
    pub run: Option<RunWrite>,
    /// Entries to append.
    pub history: Vec<History>,
    /// Effects to carry out, due at once.
    pub effects: Vec<Effect>,
    /// What happens to the run's locks.
    pub locks: LockChange,
    /// The effect whose outcome this is; it is settled as done in the same transaction.
    pub settles: Option<EffectClaim>,
    /// Only if this was not stopped while it waited.
    pub unless_voided: Option<MayBeVoided>,
}

/// A start that waits in a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MayBeVoided {
    /// The delivery's row number.
    pub seq: i64,
    /// The command.
    pub command: String,
    /// When it was said, by the platform's clock.
    pub said_at: Timestamp,
}

/// A run to be written. Its `version` field is the new version: `expected + 1`, or 1 for a new run.
#[derive(Clone)]
pub struct RunWrite {
    /// The run as it shall be.
    pub run: Run,
    /// The version that was read; absent for a new run.
    pub expected: Option<u64>,
    /// When it is to be looked at next; absent if it waits for something that comes by itself.
    pub wake: Option<Timestamp>,
}

/// When a run is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunWake {
    /// The run.
    pub run: RunId,
    /// When, as far as the last commit knew; absent if never.
    pub at: Option<Timestamp>,
}

/// A run that was written or touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunChange {
    /// Counts up over all runs.
    pub change: i64,
    /// When it is to be looked at now.
    pub wake: RunWake,
}

/// Work that this process does for all, until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedCursor {
    /// Which work.
    pub name: String,
    /// How far it has come; absent the first time.
    pub value: Option<String>,
    /// Fencing: only the newest claim can settle it.
    pub epoch: i64,
    /// How far the database's clock was ahead of the one that the work was claimed by, in milliseconds.
    pub(super) ahead: i64,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// All of it is durable.
    Done,
    /// The run or a queue has changed since it was read: reload and decide again. Nothing was done.
    Stale,
    /// The key was there already. Nothing was done, except that `settles` is settled.
    AlreadyDone,
    /// Another worker has taken over the effect. Nothing was done.
    LeaseLost,
    /// It was stopped while it waited. Nothing was done.
    Voided,
}

/// The right to settle an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EffectClaim {
    /// Row number.
    pub id: i64,
    /// Fencing: only the newest claim can settle it.
    pub epoch: i64,
    /// Counts how often the effect was asked for; if it was asked for again meanwhile it stays pending.
    pub generation: i64,
}

impl fmt::Display for EffectClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "effect {}, claim {}", self.id, self.epoch)
    }
}

/// An effect that this worker holds until its lease ends.
#[derive(Clone)]
pub struct ClaimedEffect {
    /// The right to settle it.
    pub claim: EffectClaim,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// What to do.
    pub effect: Effect,
    /// How often it failed before this.
    pub failures: u32,
    /// Whether an earlier claim was made and never settled, or failed unclearly: it may have taken effect.
    pub maybe_done: bool,
    /// When it was first asked for.
    pub since: Timestamp,
}

/// How work on an effect ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectSettled {
    /// Carried out.
    Done,
    /// It failed; try again then.
    RetryAt {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// It was refused, and so had no effect; try again then.
    Refused {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// Not yet: it is too early (edits are spaced). Does not count as a failure.
    NotBefore {
        /// When.
        at: Timestamp,
    },
    /// Not yet: another effect goes first. Does not count as a failure.
    After {
        /// The other's key. While that one waits to be tried again, this one waits as well.
        key: String,
        /// Not before this either.
        at: Timestamp,
    },
    /// It keeps failing: kept, listed, can be released by hand.
    Parked {
        /// Why.
        reason: String,
    },
}

/// An effect as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectView {
    /// Row number.
    pub id: i64,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// Its key.
    pub key: String,
    /// `pending`, `done` or `parked`.
    pub state: String,
    /// When it is due.
    pub due: Timestamp,
    /// How often it failed.
    pub failures: u32,
    /// Why it failed last.
    pub reason: String,
}

/// Which runs to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only runs that belong there.
    pub place: Option<Place>,
    /// Only runs about this ticket.
    pub ticket: Option<TicketKey>,
    /// Only runs that are not finished.
    pub live_only: bool,
    /// Only runs of this pipeline.
    pub pipeline: Option<String>,
    /// At most so many; 0 means 50, or all of them if only those that are not finished are asked for.
    pub limit: u32,
}

/// Where runs belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A thread in their audience, or opened for them.
    Thread(ThreadRef),
    /// A pull request that they opened or were asked for on.
    Pr(PrRef),
}

/// A message of ours that stands in a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub message: MessageRef,
    /// Digest of what it shows.
    pub digest: String,
    /// When it was last written.
    pub at: Timestamp,
    /// The thread that was opened with it.
    pub opened: Option<ThreadRef>,
}

/// A pull request's head at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadSeen {
    /// The head commit.
    pub head: Sha,
    /// When it became the head, by the platform's clock.
    pub at: Timestamp,
}

/// How many effects may be claimed, by whose answer they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rooms {
    /// So many for these.
    pub free: BTreeMap<String, u32>,
    /// So many for each of the others.
    pub other: u32,
    /// So many in all.
    pub limit: u32,
}

/// How long a claim lasts before others may take over.
#[derive(Debug, Clone, Copy)]
pub struct Lease(pub Duration);

/// For how long the oldest of what is due has been due; zero where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overdue {
    /// Deliveries.
    pub deliveries: Duration,
    /// Effects.
    pub effects: Duration,
}

/// Counts for `/readyz`, `/metrics` and `runs list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Deliveries not yet dealt with.
    pub deliveries_pending: u64,
    /// Deliveries parked.
    pub deliveries_parked: u64,
    /// Effects not yet carried out.
    pub effects_pending: u64,
    /// Effects parked.
    pub effects_parked: u64,
    /// Runs that wait for a lock.
    pub runs_queued: u64,
    /// Runs with a step under way.
    pub runs_active: u64,
    /// Runs that stopped on a failure.
    pub runs_stopped: u64,
}
