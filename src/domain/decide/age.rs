//! What was said a while ago: whether it still counts.
//!
//! A command may come late: stepherd was down, a platform did not answer, a webhook was lost. Whoever said it has long
//! gone on, so nothing begins or goes on from it; people are asked to say it again. Stopping is different: what was to
//! be stopped then and still runs is to be stopped now.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Asked;
use crate::domain::card;
use crate::domain::command::Action;
use crate::domain::doc::Doc;
use crate::domain::run::Run;

/// How far the clocks of two platforms may be apart.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// When something was said, and for how long it may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaidAt {
    /// By stepherd's clock as far as is known how the platform's goes, and never later than it came in.
    pub at: Timestamp,
    /// For how long it counts; absent where what was said is still so, like a ticket that stands where it was moved.
    pub counts_for: Option<Duration>,
}

impl SaidAt {
    /// Whether the action no longer follows from what was said. What only shows something is never too old.
    pub fn is_too_old(&self, action: Action, now: Timestamp) -> bool {
        let ages = matches!(action, Action::Start | Action::Retry | Action::Answer);
        // By how much a clock is behind does not matter: then it is as if it had been said now.
        let age = Duration::try_from(now.duration_since(self.at)).unwrap_or_default();
        ages && self.counts_for.is_some_and(|most| age > most)
    }
}

/// By how much a platform's clock is ahead of ours, at least (behind, if negative). Between `before` and `after` by our
/// clock it told that time, in whole seconds: what these leave open is no difference.
///
/// Without it, what somebody says where the clock is behind would count as said before whatever it is about, and what
/// comes late could not be told from what was said late.
pub fn clock_ahead(told: Timestamp, before: Timestamp, after: Timestamp) -> SignedDuration {
    let least = told.duration_since(after);
    let most = told.duration_since(before).saturating_add(SignedDuration::from_secs(1));
    if least.is_positive() {
        least
    } else if most.is_negative() {
        most
    } else {
        SignedDuration::ZERO
    }
}

/// Why it no longer counts, if so.
pub(super) fn outdated(run: Option<&Run>, asked: &Asked, now: Timestamp) -> Option<Doc> {
    let (invocation, said) = (&asked.invocation, asked.said);
    if said.is_too_old(invocation.action, now) {
        return Some(card::too_old(invocation, asked.wordless_by(), said.at));
    }
    match (invocation.action, run) {
        // Whoever names a run knew it.
        (Action::Stop, Some(run)) if asked.arg("run").is_none() && began_after(run, said.at) => {
            Some(card::stop_of_another(run, said.at))
        }
        _ => None,
    }
}

/// Whether the run was asked for after this.
fn began_after(run: &Run, at: Timestamp) -> bool {
    let asked_for = run.said_at.unwrap_or(run.asked_at);
    asked_for.checked_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN) > at
}
