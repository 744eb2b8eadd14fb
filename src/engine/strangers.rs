//! People without any role, and how much anybody makes stepherd talk.
//!
//! Anybody may comment on a public repository. Whoever has no role is therefore not answered in a thread, and asking
//! platforms about people whom nothing is known of has a budget, far below the vendors' limits. Who waits for it waits
//! alone: the thread goes on. That somebody has no role is remembered for a short while, so that many comments of theirs
//! cost nothing; that somebody has one never is: it is asked anew for each command. All of this is each process's own
//! (several processes have a budget each): it bounds what strangers cost, and decides nothing that a restart or another
//! process may not decide differently.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use super::deliveries::Piece;
use super::intake::Wait;
use super::pauses::later;
use crate::domain::ids::{Platform, RoleName, ThreadRef};
use crate::domain::policy::{self, Grant, Permission};
use crate::domain::signal::{Account, Actor};

/// How long it is remembered that somebody has no role.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long somebody whose role a platform confirmed is not counted as a stranger. It gives them no right.
const ACQUAINTED: Duration = Duration::from_secs(24 * 3600);
/// How many people are remembered; about those who do not fit, platforms are asked within the budget.
const PEOPLE_MAX: usize = 10_000;
/// How many strangers may be asked about at once, and how often one more: 120 an hour from each budget.
const ASKED_AT_ONCE: u32 = 20;
const ONE_MORE: Duration = Duration::from_secs(30);
/// How far ahead turns are given. Whoever finds them all given comes back then.
const TURNS_AHEAD: Duration = Duration::from_secs(3600);
/// How often platforms may fail to tell about somebody within this time. Then their words wait for its end.
const UNSURE_MOST: u32 = 3;
const UNSURE_WITHIN: Duration = Duration::from_secs(60);
/// How old the lists of those who have a role may be when a budget is used up, and how long asking for them is waited for.
const LISTS_OLD: Duration = Duration::from_secs(60);
const LISTS_WAIT: Duration = Duration::from_secs(10);
/// The time within which somebody gets only so many answers in one thread.
const ANSWERS_WITHIN: Duration = Duration::from_secs(600);

/// What this process knows about strangers.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    known: Mutex<Known>,
    /// Held by whoever asks for the lists of a platform.
    listing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// Who has no role, until when that is believed.
    nobodies: HashMap<Account, Timestamp>,
    /// Who had a role a while ago, until when that counts.
    acquainted: HashMap<Account, Timestamp>,
    /// About whom platforms could not tell.
    unsure: HashMap<Account, Unsure>,
    /// When the whole of each budget is there again.
    full_at: HashMap<Budget, Timestamp>,
    /// Who waits for a budget, and whose turn comes when: in the order in which they came.
    turns: HashMap<(Account, Budget), Timestamp>,
    /// Whom a platform lists as having a role, and since when that is known.
    listed: HashMap<Platform, (HashSet<Account>, Timestamp)>,
    /// How many answers were given in this window, and when it ends.
    answers: HashMap<(ThreadRef, Account), (u32, Timestamp)>,
}

/// How often platforms could not tell about somebody in this window, when it ends, and until when they are not told so
/// again.
#[derive(Debug)]
struct Unsure {
    count: u32,
    until: Timestamp,
    told_until: Timestamp,
}

/// What strangers are asked about from. So that a crowd does not keep waiting who is likely to have a role, or who wants
/// something to stop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Budget {
    platform: Platform,
    /// The platform says that they belong to the place.
    insiders: bool,
    /// All that they say is stop.
    stops: bool,
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
    /// Whether this person gets answers: who has any role does, or had one a while ago. Of a stranger that is found out
    /// once, within a budget. Where platforms cannot tell, who is known hears why they are refused, and who belongs to the
    /// place hears it once in ten minutes; strangers hear nothing. That is not remembered as a no: they are asked about
    /// again, but not without end.
    ///
    /// # Errors
    /// When too many strangers were asked about, or a platform answers later: then their words wait.
    pub(super) async fn is_answered(&self, actor: &Actor, delivery: &Piece) -> Result<bool, Wait> {
        let people = &self.catalog.people;
        let roles: Vec<RoleName> = people.roles.keys().cloned().collect();
        let is_known = policy::person_of(people, &actor.account).is_some();
        let now = self.clock.now();
        let asked = policy::lookups(people, &roles, actor);
        if let Some(first) = asked.first() {
            let budget = Budget {
                platform: first.account.platform.clone(),
                insiders: actor.insider,
                stops: delivery.stops,
            };
            // Whom configuration knows are few: they never wait for a budget.
            let budget = (!is_known).then_some(budget);
            match self.strangers.admit(&actor.account, budget.as_ref(), now) {
                Admitted::ToBeAsked => {}
                Admitted::NotBefore(_) if self.is_listed(&actor.account, delivery).await => {}
                Admitted::Acquainted => return Ok(true),
                Admitted::Nobody => return Ok(false),
                Admitted::NotBefore(at) => return Err(Wait::Turn { at }),
            }
        }
        match self.permission(actor, delivery, &roles).await? {
            Permission::Granted { .. } => Ok(true),
            Permission::Refused { unknown, .. } if unknown.is_empty() => {
                self.strangers.remember_nobody(&actor.account, now);
                Ok(false)
            }
            Permission::Refused { unknown, .. } => {
                let why = unknown.join("; ");
                tracing::warn!(account = %actor.account.id, why, "cannot tell whether they have a role");
                Ok(is_known || (self.strangers.is_to_be_told(&actor.account, now) && actor.insider))
            }
        }
    }
}

impl Engine {
    /// Whether the account's platform lists it as having any role. Asked only when a budget is used up: a few calls then
    /// tell who of the crowd need not wait. It gives no right.
    async fn is_listed(&self, account: &Account, delivery: &Piece) -> bool {
        if let Some(listed) = self.strangers.is_listed(account, self.clock.now()) {
            return listed;
        }
        let _one_asks = tokio::select! {
            biased;
            held = self.strangers.listing.lock() => held,
            () = self.clock.sleep_until(later(self.clock.now(), LISTS_WAIT)) => return false,
        };
        let now = self.clock.now();
        if let Some(listed) = self.strangers.is_listed(account, now) {
            return listed;
        }
        let platform = &account.platform;
        let mut accounts = HashSet::new();
        if let Some(threads) = self.hands.threads.get(platform) {
            let grants: BTreeSet<&Grant> = self.catalog.people.roles.values().flatten().collect();
            for grant in grants {
                let (Grant::Group { platform: of, .. } | Grant::Repository { platform: of, .. }) = grant else {
                    continue;
                };
                if of != platform {
                    continue;
                }
                match self
                    .ask_outside(platform.as_str(), delivery, threads.listed(grant))
                    .await
                {
                    Ok(Ok(listed)) => accounts.extend(listed),
                    Ok(Err(why)) => tracing::info!(%platform, why, "who has a role cannot be listed"),
                    Err(_) => tracing::info!(%platform, "who has a role cannot be listed now"),
                }
            }
        }
        let listed = accounts.contains(account);
        self.strangers.known().listed.insert(platform.clone(), (accounts, now));
        listed
    }
}

impl Strangers {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the account is listed; `None` if the lists are old.
    fn is_listed(&self, account: &Account, now: Timestamp) -> Option<bool> {
        let known = self.known();
        let (accounts, since) = known.listed.get(&account.platform)?;
        (later(*since, LISTS_OLD) > now).then(|| accounts.contains(account))
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

    /// Platforms cannot tell about this account: whether it may be told so now.
    fn is_to_be_told(&self, account: &Account, now: Timestamp) -> bool {
        let mut known = self.known();
        if known.unsure.len() >= PEOPLE_MAX {
            known
                .unsure
                .retain(|_, unsure| unsure.until.max(unsure.told_until) > now);
        }
        if known.unsure.len() >= PEOPLE_MAX && !known.unsure.contains_key(account) {
            return false;
        }
        let fresh = Unsure {
            count: 0,
            until: later(now, UNSURE_WITHIN),
            told_until: now,
        };
        let unsure = known.unsure.entry(account.clone()).or_insert(fresh);
        if unsure.until <= now {
            (unsure.count, unsure.until) = (0, later(now, UNSURE_WITHIN));
        }
        unsure.count = unsure.count.saturating_add(1);
        let is_first = unsure.told_until <= now;
        if is_first {
            unsure.told_until = later(now, REMEMBERED);
        }
        is_first
    }

    /// Whether platforms may be asked about this account, from this budget.
    fn admit(&self, account: &Account, budget: Option<&Budget>, now: Timestamp) -> Admitted {
        let mut known = self.known();
        let fresh = |until: Option<&Timestamp>| until.is_some_and(|until| *until > now);
        if fresh(known.nobodies.get(account)) {
            return Admitted::Nobody;
        }
        if fresh(known.acquainted.get(account)) {
            return Admitted::Acquainted;
        }
        let Some(budget) = budget else {
            return Admitted::ToBeAsked;
        };
        let unsure = known.unsure.get(account);
        if let Some(unsure) = unsure.filter(|unsure| unsure.count >= UNSURE_MOST && unsure.until > now) {
            return Admitted::NotBefore(unsure.until);
        }
        let waiting = (account.clone(), budget.clone());
        if let Some(turn) = known.turns.get(&waiting).copied() {
            if turn > now {
                return Admitted::NotBefore(turn);
            }
            known.turns.remove(&waiting);
            return Admitted::ToBeAsked;
        }
        // A bucket that fills up again: each question moves the time at which it is full.
        let full_at = known.full_at.entry(waiting.1.clone()).or_insert(now);
        let next = later((*full_at).max(now), ONE_MORE);
        let at_once = later(now, ONE_MORE * ASKED_AT_ONCE);
        if next <= at_once {
            *full_at = next;
            return Admitted::ToBeAsked;
        }
        let turn = now.checked_add(next.duration_since(at_once)).unwrap_or(Timestamp::MAX);
        let last = later(now, TURNS_AHEAD);
        if turn > last {
            return Admitted::NotBefore(last);
        }
        *full_at = next;
        // A turn that nobody took within the time is forgotten.
        known.turns.retain(|_, turn| later(*turn, TURNS_AHEAD) > now);
        known.turns.insert(waiting, turn);
        Admitted::NotBefore(turn)
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
