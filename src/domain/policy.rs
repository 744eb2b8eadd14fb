//! Who may: deny by default, unknown is no.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{PersonName, Platform, Repo, RoleName};
use super::signal::{Account, Actor, ActorKind};

/// The people and roles that configuration knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct People {
    /// Persons and their accounts; an account belongs to at most one.
    pub persons: BTreeMap<PersonName, Vec<Account>>,
    /// Roles and who has them: any one grant suffices.
    pub roles: BTreeMap<RoleName, Vec<Grant>>,
    /// Roles that approve what others started.
    pub approving: BTreeSet<RoleName>,
    /// Accounts that act for whoever set them off, which nobody can tell.
    pub shared: BTreeSet<Account>,
}

/// One way of having a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Being this person, by any linked account.
    Person(PersonName),
    /// Acting from this account.
    Account(Account),
    /// A role id that the platform's verified payload carries (Discord).
    PlatformRole(Account),
    /// Membership of a group on a platform: a GitHub team `org/team`, a Jira group.
    Group {
        /// The platform that knows the group.
        platform: Platform,
        /// The group in the platform's notation.
        group: String,
    },
    /// A permission on a repository, at least this.
    Repository {
        /// The platform.
        platform: Platform,
        /// The repository.
        repo: Repo,
        /// The least level.
        at_least: Level,
    },
}

/// Repository permission levels, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// May read.
    Read,
    /// May triage.
    Triage,
    /// May push.
    Write,
    /// May maintain.
    Maintain,
    /// May do everything.
    Admin,
}

/// A question that only a platform can answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    /// The account asked about, on the platform that is asked.
    pub account: Account,
    /// What is asked: `Group` or `Repository`.
    pub grant: Grant,
}

/// A platform's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    Yes,
    /// It is not.
    No,
    /// It could not be found out: counts as no, and the refusal says so.
    Unknown(String),
}

/// Whether somebody may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// Yes.
    Granted {
        /// The person the account is linked to.
        person: Option<PersonName>,
        /// The role that allows it.
        role: RoleName,
    },
    /// No.
    Refused {
        /// The roles any of which would do.
        missing: Vec<RoleName>,
        /// What could not be found out.
        unknown: Vec<String>,
    },
}

/// Whether two accounts are one person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamePerson {
    /// They are.
    Yes,
    /// They are not.
    No,
    /// Configuration does not tell: nothing links an account on one platform with one on another.
    Unknown,
}

/// Whether two accounts are one person's, over all platforms. A person has the accounts that configuration links to
/// them and no others where it links one; an account that is linked to nobody is a person of its own on its platform,
/// and could be anybody's elsewhere. A shared account that is linked to nobody is anybody's everywhere.
pub fn same_person(people: &People, one: &Account, other: &Account) -> SamePerson {
    let (person, other_person) = (person_of(people, one), person_of(people, other));
    if one == other || (person.is_some() && person == other_person) {
        return SamePerson::Yes;
    }
    let anybodys = |account: &Account, person: Option<_>| person.is_none() && people.shared.contains(account);
    if anybodys(one, person) || anybodys(other, other_person) {
        return SamePerson::Unknown;
    }
    let both_known = person.is_some() && other_person.is_some();
    let platforms = |person: Option<&PersonName>, account: &Account| -> Vec<Platform> {
        let linked = person.and_then(|person| people.persons.get(person));
        let accounts = linked.map_or(std::slice::from_ref(account), Vec::as_slice);
        accounts.iter().map(|account| account.platform.clone()).collect()
    };
    let theirs = platforms(other_person, other);
    let share_a_platform = platforms(person, one).iter().any(|platform| theirs.contains(platform));
    if both_known || share_a_platform {
        SamePerson::No
    } else {
        SamePerson::Unknown
    }
}

/// The person an account is linked to.
pub fn person_of<'a>(people: &'a People, account: &Account) -> Option<&'a PersonName> {
    people
        .persons
        .iter()
        .find(|(_, accounts)| accounts.contains(account))
        .map(|(name, _)| name)
}

/// The questions whose answers `judge` needs and that configuration and payload do not settle. None are asked
/// when a grant already holds, or when no answer could help: about bots.
pub fn lookups(people: &People, needed: &[RoleName], actor: &Actor) -> Vec<Lookup> {
    if actor.kind != ActorKind::Human || held(people, needed, actor, &[]).is_some() {
        return Vec::new();
    }
    let accounts = accounts_of(people, actor);
    let mut wanted: Vec<Lookup> = grants(people, needed)
        .filter_map(|(_, grant)| {
            let (Grant::Group { platform, .. } | Grant::Repository { platform, .. }) = grant else {
                return None;
            };
            let account = accounts.iter().find(|account| account.platform == *platform)?;
            Some(Lookup {
                account: account.clone(),
                grant: grant.clone(),
            })
        })
        .collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

/// Whether the actor has one of the needed roles. Bots never have any.
pub fn judge(people: &People, needed: &[RoleName], actor: &Actor, answers: &[(Lookup, Answer)]) -> Permission {
    if let Some(role) = held(people, needed, actor, answers) {
        return Permission::Granted {
            person: person_of(people, &actor.account).cloned(),
            role,
        };
    }
    let unknown = answers
        .iter()
        .filter_map(|(_, answer)| match answer {
            Answer::Unknown(why) => Some(why.clone()),
            Answer::Yes | Answer::No => None,
        })
        .collect();
    Permission::Refused {
        missing: needed.to_vec(),
        unknown,
    }
}

fn grants<'a>(people: &'a People, needed: &'a [RoleName]) -> impl Iterator<Item = (&'a RoleName, &'a Grant)> {
    needed
        .iter()
        .filter_map(|role| people.roles.get_key_value(role))
        .flat_map(|(role, grants)| grants.iter().map(move |g| (role, g)))
}

fn accounts_of(people: &People, actor: &Actor) -> Vec<Account> {
    let linked = person_of(people, &actor.account).and_then(|person| people.persons.get(person));
    let mut accounts = vec![actor.account.clone()];
    accounts.extend(
        linked
            .into_iter()
            .flatten()
            .filter(|account| account.platform != actor.account.platform)
            .cloned(),
    );
    accounts
}

fn held(people: &People, needed: &[RoleName], actor: &Actor, answers: &[(Lookup, Answer)]) -> Option<RoleName> {
    if actor.kind != ActorKind::Human {
        return None;
    }
    let accounts = accounts_of(people, actor);
    let person = person_of(people, &actor.account);
    grants(people, needed)
        .find(|(_, grant)| match grant {
            Grant::Person(name) => person == Some(name),
            Grant::Account(account) => accounts.contains(account),
            Grant::PlatformRole(role) => role.platform == actor.account.platform && actor.roles.contains(&role.id),
            Grant::Group { .. } | Grant::Repository { .. } => answers.iter().any(|(lookup, answer)| {
                lookup.grant == **grant && *answer == Answer::Yes && accounts.contains(&lookup.account)
            }),
        })
        .map(|(role, _)| role.clone())
}
