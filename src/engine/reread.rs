//! What a delivery says is read again on its platform before it is obeyed: it may be forged where its proof does not
//! cover the body, and what was true when it was sent may be so no longer.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::deliveries::Piece;
use super::intake::Wait;
use super::pauses::later;
use super::repair::{LOOK_BACK, earlier, name};
use super::{Engine, POLL};
use crate::adapters::{Hands, MoveSeen, WordSeen};
use crate::domain::decide::clock_ahead;
use crate::domain::ids::Platform;
use crate::domain::signal::{MessageRef, Said, TicketMoved};
use crate::store::{Store, StoreError};

/// For how long after it told of something a platform may fail to show it: not all of its servers know at once.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// What somebody said, as the platform has it.
pub(super) struct Heard {
    /// The same, with what the platform's record says of it instead of what was told.
    pub(super) said: Said,
    /// By how much the platform's clock is ahead, as far as its answer tells.
    pub(super) ahead: SignedDuration,
}

impl Engine {
    /// Whether any command begins with this move.
    pub(super) fn triggers_on(&self, moved: &TicketMoved) -> bool {
        let mut triggers = self.catalog.commands.iter().flat_map(|command| &command.triggers);
        triggers.any(|trigger| trigger.on.means_ticket(&moved.ticket, &moved.to))
    }

    /// The move as the ticket's own record has it, if it stands. Not to know is no answer: then the delivery waits.
    pub(super) async fn move_stands(&self, told: &TicketMoved, delivery: &Piece) -> Result<MoveSeen, Wait> {
        let platform = told.thread.platform.as_str();
        let tracker = self.hands.tracker.as_ref();
        let Some(tracker) = tracker.filter(|tracker| tracker.platform() == told.thread.platform) else {
            return Ok(MoveSeen::Not(format!("{platform} cannot be asked about tickets")));
        };
        // Whatever goes wrong, the move may stand.
        let seen = self.ask_outside(platform, delivery, tracker.move_stands(told)).await?;
        seen.map_err(|why| Wait::Later { why, after: None })
    }

    /// What was said, if it still stands, or why it does not. Not to know is no answer: then the delivery waits.
    pub(super) async fn word_stands(&self, said: &Said, delivery: &Piece) -> Result<Result<Heard, String>, Wait> {
        let platform = &said.thread.platform;
        let Some(threads) = self.hands.threads.get(platform) else {
            return Ok(Err(format!("{platform} cannot be asked about it")));
        };
        let before = self.clock.now();
        let asked = self.ask_outside(platform.as_str(), delivery, threads.still_stands(said));
        // Whatever goes wrong, it may stand.
        match asked.await?.map_err(|why| Wait::Later { why, after: None })? {
            WordSeen::Stands(stands) => Ok(Ok(Heard {
                ahead: stands
                    .clock
                    .map_or(SignedDuration::ZERO, |told| clock_ahead(told, before, self.clock.now())),
                said: Said {
                    at: stands.at,
                    message: MessageRef {
                        thread: stands.thread.clone(),
                        id: said.message.id.clone(),
                    },
                    thread: stands.thread,
                    within: stands.within,
                    ..said.clone()
                },
            })),
            WordSeen::Not(why) => Ok(Err(why)),
            WordSeen::Absent(why) => self.absent(delivery, why).map(Err),
        }
    }

    /// What a platform does not show is not there, but not yet: what it has told of a moment ago may still come.
    pub(super) fn absent(&self, delivery: &Piece, why: String) -> Result<String, Wait> {
        if self.is_fresh(delivery) {
            return Err(Wait::Later { why, after: None });
        }
        Ok(why)
    }

    /// Whether it came in a moment ago, so that the platform may not show all of it yet.
    pub(super) fn is_fresh(&self, delivery: &Piece) -> bool {
        self.clock.now() < later(delivery.claimed.delivery.received_at, SHOWN_WITHIN)
    }

    /// Why a move is not obeyed although the ticket still stands there, if so: it lies before stepherd, or further back
    /// than anything is looked for. Its time is the tracker's own, so it does not matter who tells of it, how or when.
    pub(super) async fn too_old(&self, moved: &TicketMoved) -> Result<Option<String>, Wait> {
        let at = moved.at;
        if at < earlier(self.clock.now(), LOOK_BACK) {
            let days = LOOK_BACK.as_secs() / (24 * 3600);
            return Ok(Some(format!("the ticket was moved at {at}, more than {days} days ago")));
        }
        let Some(begun) = self.store.begun(&beginning(&moved.thread.platform)).await? else {
            return Err(Wait::Later {
                why: "it is not known yet since when moves of tickets count".to_owned(),
                after: None,
            });
        };
        let before = at < begun;
        Ok(before.then(|| format!("the ticket was moved at {at}, before stepherd was first started ({begun})")))
    }

    /// As `begin`, as soon as the store can be used.
    pub(super) async fn begin_on(&self) {
        while let Err(error) = begin(&self.store, &self.hands, self.clock.now()).await {
            self.in_trouble("begin", &error);
            self.clock.sleep_until(later(self.clock.now(), POLL)).await;
        }
    }
}

/// Puts down since when moves of tickets count: since the first start with this tracker. Every process does this before
/// it deals with anything.
///
/// # Errors
/// When the store cannot be used now.
pub async fn begin(store: &Store, hands: &Hands, now: Timestamp) -> Result<(), StoreError> {
    let Some(tracker) = &hands.tracker else {
        return Ok(());
    };
    let platform = tracker.platform();
    let beginning = beginning(&platform);
    if store.begun(&beginning).await?.is_some() {
        return Ok(());
    }
    // A database that is older than this only knows that it was served before.
    let served = store.begun(&name(&platform)).await?.is_some();
    let since = if served { earlier(now, LOOK_BACK) } else { now };
    store.begin(&beginning, since).await?;
    Ok(())
}

/// The name under which it is put down since when what happens on a platform counts.
fn beginning(platform: &Platform) -> String {
    format!("begun:{platform}")
}
