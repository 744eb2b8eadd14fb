//! People without any role, and how much anybody makes stepherd talk.
//!
//! Anybody may comment on a public repository. Whoever has no role is therefore not answered in a thread, and asking
//! platforms about them has a budget of its own, far below the vendors' limits. That somebody has no role is
//! remembered for a short while, so that many comments of theirs cost nothing; that somebody has one never is: it is
//! asked anew for each command. All of this is each process's own: it bounds what strangers cost, and decides nothing
//! that a restart or another process may not decide differently.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use super::deliveries::Piece;
use super::intake::Wait;
use super::pauses::later;
use crate::domain::ids::{Platform, RoleName, ThreadRef};
use crate::domain::policy::{self, Permission};
use crate::domain::signal::{Account, Actor};

/// How long it is remembered that somebody has no role.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long somebody whose role a platform confirmed is not counted as a stranger. It gives them no right.
const ACQUAINTED: Duration = Duration::from_secs(24 * 3600);
/// How many people are remembered; about those who do not fit, platforms are asked within the budget.
const PEOPLE_MAX: usize = 10_000;
/// How many strangers may be asked about at once, and how often one more: 120 an hour on each platform.
const ASKED_AT_ONCE: u32 = 20;
const ONE_MORE: Duration = Duration::from_secs(30);
/// The time within which somebody gets only so many answers in one thread.
const ANSWERS_WITHIN: Duration = Duration::from_secs(600);

/// What this process knows about strangers.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Who has no role, until when that is believed.
    nobodies: HashMap<Account, Timestamp>,
    /// Who had a role a while ago, until when that counts.
    acquainted: HashMap<Account, Timestamp>,
    /// When each platform may be asked about a stranger with the whole budget unspent.
    full_at: HashMap<Platform, Timestamp>,
    /// How many answers were given in this window, and when it ends.
    answers: HashMap<(ThreadRef, Account), (u32, Timestamp)>,
}

/// Whether platforms may be asked about somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admitted {
    /// They had a role a while ago; whether they have the one it takes is asked for the command itself.
    Acquainted,
    /// Nothing is known about them.
    ToBeAsked,
    /// They have no role, as was found out a moment ago.
    Nobody,
    /// Not before this time.
    NotBefore(Timestamp),
}

impl Engine {
    /// Whether this person may have a role; a stranger is looked up once, within the budget.
    ///
    /// # Errors
    /// When too many strangers were asked about, or a platform answers later: then their words wait.
    pub(super) async fn is_somebody(&self, actor: &Actor, delivery: &Piece) -> Result<bool, Wait> {
        let (people, roles) = (&self.catalog.people, self.all_roles());
        if matches!(policy::judge(people, &roles, actor, &[]), Permission::Granted { .. }) {
            return Ok(true);
        }
        let wanted = policy::lookups(people, &roles, actor);
        let Some(first) = wanted.first() else { return Ok(false) };
        let now = self.clock.now();
        match self.strangers.admit(&actor.account, &first.account.platform, now) {
            Admitted::Acquainted => Ok(true),
            Admitted::ToBeAsked => self.has_any_role(actor, delivery).await,
            Admitted::Nobody => Ok(false),
            Admitted::NotBefore(at) => Err(Wait::Later {
                why: "too many strangers are asked about".to_owned(),
                after: Duration::try_from(at.duration_since(now)).ok(),
            }),
        }
    }

    /// Whether this person has any role at all, and so gets answers.
    pub(super) async fn has_any_role(&self, actor: &Actor, delivery: &Piece) -> Result<bool, Wait> {
        let now = self.clock.now();
        if self.strangers.is_nobody(&actor.account, now) {
            return Ok(false);
        }
        let permission = self.permission(actor, delivery, &self.all_roles()).await?;
        let has = matches!(permission, Permission::Granted { .. });
        if !has {
            self.strangers.remember_nobody(&actor.account, now);
        }
        Ok(has)
    }

    fn all_roles(&self) -> Vec<RoleName> {
        self.catalog.people.roles.keys().cloned().collect()
    }
}

impl Strangers {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_nobody(&self, account: &Account, now: Timestamp) -> bool {
        self.known().nobodies.get(account).is_some_and(|until| *until > now)
    }

    fn remember_nobody(&self, account: &Account, now: Timestamp) {
        let mut known = self.known();
        known.acquainted.remove(account);
        remember(&mut known.nobodies, account, later(now, REMEMBERED), now);
    }

    /// A platform has confirmed a role of this account.
    pub(super) fn acquaint(&self, account: &Account, now: Timestamp) {
        let mut known = self.known();
        known.nobodies.remove(account);
        remember(&mut known.acquainted, account, later(now, ACQUAINTED), now);
    }

    fn admit(&self, account: &Account, platform: &Platform, now: Timestamp) -> Admitted {
        let mut known = self.known();
        let fresh = |until: Option<&Timestamp>| until.is_some_and(|until| *until > now);
        if fresh(known.nobodies.get(account)) {
            return Admitted::Nobody;
        }
        if fresh(known.acquainted.get(account)) {
            return Admitted::Acquainted;
        }
        // A bucket that fills up again: each question moves the time at which it is full.
        let full_at = known.full_at.entry(platform.clone()).or_insert(now);
        let next = later((*full_at).max(now), ONE_MORE);
        let spent_by = later(now, ONE_MORE * ASKED_AT_ONCE);
        if next > spent_by {
            let wait = next.duration_since(spent_by);
            return Admitted::NotBefore(now.checked_add(wait).unwrap_or(Timestamp::MAX));
        }
        *full_at = next;
        Admitted::ToBeAsked
    }

    /// How many answers this person got in this thread within the time.
    pub(super) fn answers(&self, thread: &ThreadRef, account: &Account, now: Timestamp) -> u32 {
        let known = self.known();
        let window = known.answers.get(&(thread.clone(), account.clone()));
        window.map_or(0, |(count, until)| if *until > now { *count } else { 0 })
    }

    pub(super) fn count_answer(&self, thread: &ThreadRef, account: &Account, now: Timestamp) {
        let mut known = self.known();
        if known.answers.len() >= PEOPLE_MAX {
            known.answers.retain(|_, (_, until)| *until > now);
        }
        let fresh = (0, later(now, ANSWERS_WITHIN));
        let window = known.answers.entry((thread.clone(), account.clone())).or_insert(fresh);
        if window.1 <= now {
            *window = fresh;
        }
        window.0 = window.0.saturating_add(1);
    }
}

/// Remembers, unless too many are remembered that are still believed.
fn remember(people: &mut HashMap<Account, Timestamp>, account: &Account, until: Timestamp, now: Timestamp) {
    if people.len() >= PEOPLE_MAX {
        people.retain(|_, until| *until > now);
    }
    if people.len() < PEOPLE_MAX || people.contains_key(account) {
        people.insert(account.clone(), until);
    }
}
