//! What a delivery says is read again on its platform before it is obeyed: it may be forged where its proof does not
//! cover the body, and what was true when it was sent may be so no longer.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::deliveries::Piece;
use super::intake::Wait;
use super::pauses::later;
use super::repair::{LOOK_BACK, earlier, name};
use super::{Engine, POLL};
use crate::adapters::{Hands, MoveSeen, MoveStands, PrSeen, WordSeen};
use crate::domain::decide::clock_ahead;
use crate::domain::ids::Platform;
use crate::domain::signal::{MessageRef, PrChanged, Said, TicketMoved};
use crate::store::{Store, StoreError};

/// For how long after it told of something a platform may fail to show it: not all of its servers know at once.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// What a look at the platform has shown of what is about to be obeyed. Only the looks below make one, and nothing gets
/// as far as to be obeyed without it: whoever reads a new kind of thing has to look at it.
pub(super) struct Looked {
    at: Timestamp,
    ahead: SignedDuration,
    stands: bool,
}

impl Looked {
    /// Somebody said something then, by a clock that is ahead by so much.
    fn at_a_word(at: Timestamp, ahead: SignedDuration) -> Self {
        let stands = false;
        Self { at, ahead, stands }
    }

    /// Something was done then, and is still so.
    fn at_what_stands(at: Timestamp) -> Self {
        let (ahead, stands) = (SignedDuration::ZERO, true);
        Self { at, ahead, stands }
    }

    /// A button and a slash command stand nowhere: nothing could be read again, and nothing be taken back but by saying
    /// something else. They come in as they are said, or not at all, and soon count for nothing any more.
    pub(super) fn as_it_came(delivery: &Piece) -> Self {
        Self::at_a_word(delivery.claimed.delivery.received_at, SignedDuration::ZERO)
    }

    /// When it was said or done, by the platform's clock.
    pub(super) fn at(&self) -> Timestamp {
        self.at
    }

    /// The same by our clock, as far as is known how the platform's goes.
    pub(super) fn at_by_our_clock(&self) -> Timestamp {
        self.at.checked_sub(self.ahead).unwrap_or(self.at)
    }

    /// Whether it is still so, however long ago it was done: a ticket that stands where it was moved.
    pub(super) fn stands(&self) -> bool {
        self.stands
    }
}

/// What somebody said, as the platform has it.
pub(super) struct Heard {
    /// The same, with what the platform's record says of it instead of what was told.
    pub(super) said: Said,
    pub(super) looked: Looked,
}

/// A pull request's change that stands.
pub(super) struct PrStands {
    /// What of it is still so.
    pub(super) changed: PrChanged,
    /// The pull request.
    pub(super) seen: PrSeen,
}

impl Engine {
    /// The move as the ticket's own record has it, and what was changed of the ticket since; or why it does not stand. Not
    /// to know is no answer: then the delivery waits.
    pub(super) async fn move_stands(
        &self,
        told: &TicketMoved,
        delivery: &Piece,
    ) -> Result<Result<(MoveStands, Looked), String>, Wait> {
        let platform = told.thread.platform.as_str();
        let tracker = self.hands.tracker.as_ref();
        let Some(tracker) = tracker.filter(|tracker| tracker.platform() == told.thread.platform) else {
            return Ok(Err(format!("{platform} cannot be asked about tickets")));
        };
        // Whatever goes wrong, the move may stand.
        let seen = self.ask_outside(platform, delivery, tracker.move_stands(told)).await?;
        match seen.map_err(|why| Wait::Later { why, after: None })? {
            MoveSeen::Stands(stands) => {
                let looked = Looked::at_what_stands(stands.moved.at);
                Ok(Ok((*stands, looked)))
            }
            MoveSeen::Not(why) => Ok(Err(why)),
            MoveSeen::Absent(why) => self.absent(delivery, why).map(Err),
        }
    }

    /// What of the pull request's change is still so, or why nothing is. Not to know is no answer: then the delivery
    /// waits.
    pub(super) async fn pr_stands(
        &self,
        told: &PrChanged,
        delivery: &Piece,
    ) -> Result<Result<(PrStands, Looked), String>, Wait> {
        let platform = told.thread.platform.as_str();
        let forge = self.hands.forge.as_ref();
        let Some(forge) = forge.filter(|forge| forge.platform() == told.thread.platform) else {
            return Ok(Err(format!("{platform} cannot be asked about pull requests")));
        };
        let stands = match self
            .ask_outside(platform, delivery, forge.pull_request(&told.pr))
            .await?
        {
            Ok(seen) => told.as_it_stands(&seen.now).map(|changed| PrStands { changed, seen }),
            Err(why) => Err(why),
        };
        match stands {
            Ok(stands) => Ok(Ok((stands, Looked::at_what_stands(told.at)))),
            Err(why) => self.absent(delivery, why).map(Err),
        }
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
                looked: Looked::at_a_word(
                    stands.at,
                    stands
                        .clock
                        .map_or(SignedDuration::ZERO, |told| clock_ahead(told, before, self.clock.now())),
                ),
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

    /// Why what was done is not obeyed although it still stands, if so: it lies before stepherd, or further back than
    /// anything is looked for. Its time is the platform's own, so it does not matter who tells of it, how or when.
    pub(super) async fn too_old(&self, on: &Platform, what: &str, at: Timestamp) -> Result<Option<String>, Wait> {
        if at < earlier(self.clock.now(), LOOK_BACK) {
            let days = LOOK_BACK.as_secs() / (24 * 3600);
            return Ok(Some(format!("{what} at {at}, more than {days} days ago")));
        }
        let Some(begun) = self.store.begun(&beginning(on)).await? else {
            return Err(Wait::Later {
                why: format!("it is not known yet since when what is done on {on} counts"),
                after: None,
            });
        };
        // Platforms tell times in whole seconds.
        let before = later(at, Duration::from_secs(1)) <= begun;
        Ok(before.then(|| format!("{what} at {at}, before stepherd was first started ({begun})")))
    }

    /// As `begin`, as soon as the store can be used.
    pub(super) async fn begin_on(&self) {
        while let Err(error) = begin(&self.store, &self.hands, self.clock.now()).await {
            self.in_trouble("begin", &error);
            self.clock.sleep_until(later(self.clock.now(), POLL)).await;
        }
    }
}

/// Puts down since when moves of tickets and changes of pull requests count: since the first start with this tracker, this
/// forge. Every process does this before it deals with anything.
///
/// # Errors
/// When the store cannot be used now.
pub async fn begin(store: &Store, hands: &Hands, now: Timestamp) -> Result<(), StoreError> {
    let tracker = hands.tracker.as_ref().map(|tracker| tracker.platform());
    let forge = hands.forge.as_ref().map(|forge| forge.platform());
    for platform in tracker.into_iter().chain(forge) {
        let beginning = beginning(&platform);
        if store.begun(&beginning).await?.is_some() {
            continue;
        }
        // A database that is older than this only knows that it was served before.
        let served = store.begun(&name(&platform)).await?.is_some();
        let since = if served { earlier(now, LOOK_BACK) } else { now };
        store.begin(&beginning, since).await?;
    }
    Ok(())
}

/// The name under which it is put down since when what happens on a platform counts.
fn beginning(platform: &Platform) -> String {
    format!("begun:{platform}")
}
