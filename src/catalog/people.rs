//! `config/people.toml`: who people are on each platform, and who has which role.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::domain::command::Command;
use crate::domain::ids::{PersonName, PipelineName, Platform, Repo, RoleName};
use crate::domain::pipeline::{Pipeline, StepKind};
use crate::domain::policy::{Grant, Level, People};
use crate::domain::signal::Account;

use super::diagnose::did_you_mean;
use super::page::{At, Names, Page};
use super::settings::PLATFORMS;
use super::values::Scalar;

/// Accounts that act for whoever set them off: Jira Automation's rules do not say who that was.
const SHARED: [(&str, &str); 1] = [("jira", "automation")];

/// People and roles. Deny by default: whoever has no role here may do nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPeople {
    /// Persons and their accounts.
    #[serde(default)]
    person: Vec<RawPerson>,
    /// Roles and who has them: any one grant suffices.
    #[serde(default)]
    role: Vec<RawRole>,
}

/// A person: a name and, by platform, the account's stable id, never a user name. `github` takes the number from
/// `https://api.github.com/users/<login>`, `jira` the accountId (on Data Center the user key), `discord` the user id.
#[derive(Debug, JsonSchema)]
struct RawPerson {
    /// What the person is called in this file.
    name: At<String>,
    #[schemars(flatten)]
    accounts: BTreeMap<At<String>, At<Scalar>>,
}

/// A role. A role that is given to nobody exists, and nobody has it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawRole {
    /// What verbs ask for.
    name: At<String>,
    /// Whether it approves what others started: a question to it is then for somebody else than who started the run
    /// or resumed it last, unless its step says not_the_asker = false.
    #[serde(default)]
    approves: bool,
    /// Persons of this file, by name.
    #[serde(default)]
    persons: Vec<At<String>>,
    /// Accounts, as `platform:id`.
    #[serde(default)]
    accounts: Vec<At<String>>,
    /// Role ids of the Discord server; they come with every interaction.
    #[serde(default)]
    discord_roles: Vec<At<Scalar>>,
    /// GitHub teams, as `organisation/team`; GitHub is asked.
    #[serde(default)]
    github_teams: Vec<At<String>>,
    /// Jira groups, by name; Jira is asked.
    #[serde(default)]
    jira_groups: Vec<At<String>>,
    /// Everybody with at least this permission on a repository; GitHub is asked.
    github_permission: Option<RawPermission>,
}

/// A permission on a repository.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawPermission {
    /// The repository, as `owner/name`.
    repo: At<String>,
    /// The least level.
    at_least: At<RawLevel>,
}

/// Permission levels, least first.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum RawLevel {
    Read,
    Triage,
    Write,
    Maintain,
    Admin,
}

/// By hand: derived flattening would lose the places of the accounts.
impl<'de> Deserialize<'de> for RawPerson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawPerson;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a person")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RawPerson, M::Error> {
                let mut name = None;
                let mut accounts = BTreeMap::new();
                while let Some(key) = map.next_key::<At<String>>()? {
                    if key.get() == "name" {
                        name = Some(map.next_value()?);
                    } else {
                        accounts.insert(key, map.next_value()?);
                    }
                }
                let name = name.ok_or_else(|| serde::de::Error::missing_field("name"))?;
                Ok(RawPerson { name, accounts })
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// Roles that nobody can have, and where they are declared.
pub(super) type Nobodys = Vec<(RoleName, Range<usize>)>;

/// The people, the names of roles that other files may use, and which of these nobody can have.
pub(super) fn compile(page: &mut Page, raw: Option<RawPeople>) -> (People, Names, Nobodys) {
    let mut nobodys = Vec::new();
    let shared = SHARED.into_iter().filter_map(|(name, id)| {
        let (platform, id) = (platform(name)?, id.to_owned());
        Some(Account { platform, id })
    });
    let mut people = People {
        shared: shared.collect(),
        ..People::default()
    };
    let Some(raw) = raw else {
        return (people, Names::default(), nobodys);
    };
    let mut owners: BTreeMap<Account, PersonName> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for person in &raw.person {
        page.unique("the person", &person.name, &mut seen);
        if let Some(name) = page.parse::<PersonName>(&person.name) {
            let accounts = accounts_of(page, person, &name, &mut owners);
            people.persons.entry(name).or_insert(accounts);
        }
    }
    let persons = Names {
        list: seen,
        complete: !page.partial,
    };
    let mut roles = Names {
        list: BTreeSet::new(),
        complete: !page.partial,
    };
    for role in &raw.role {
        page.unique("the role", &role.name, &mut roles.list);
        let grants = grants_of(page, role, &persons);
        if let Some(name) = page.parse::<RoleName>(&role.name) {
            if !can_be_had(&people, &grants) {
                nobodys.push((name.clone(), role.name.span()));
            }
            people.approving.extend(role.approves.then(|| name.clone()));
            people.roles.entry(name).or_insert(grants);
        }
    }
    (people, roles, nobodys)
}

/// Whether these grants give a role to anybody, as far as this file tells.
fn can_be_had(people: &People, grants: &[Grant]) -> bool {
    grants.iter().any(|grant| match grant {
        Grant::Person(person) => people.persons.get(person).is_some_and(|accounts| !accounts.is_empty()),
        Grant::Account(_) | Grant::PlatformRole(_) | Grant::Group { .. } | Grant::Repository { .. } => true,
    })
}

/// Warns of roles that nobody can have where something demands one of them: of each demand, any role will do.
pub(super) fn warn_of_nobodys(
    page: &mut Page,
    nobodys: &Nobodys,
    commands: &[Command],
    pipelines: &BTreeMap<PipelineName, Pipeline>,
) {
    let verbs = commands.iter().flat_map(|command| &command.verbs);
    let steps = pipelines.values().flat_map(|pipeline| &pipeline.steps);
    let of_questions = steps.filter_map(|step| match &step.kind {
        StepKind::Ask(ask) => Some(&ask.roles),
        _ => None,
    });
    let demands = verbs.map(|verb| &verb.roles).chain(of_questions);
    let is_nobodys = |role: &RoleName| nobodys.iter().any(|(nobodys, _)| nobodys == role);
    let in_vain = demands.filter(|roles| roles.iter().all(is_nobodys));
    let in_vain: BTreeSet<&RoleName> = in_vain.flatten().collect();
    for (role, span) in nobodys.iter().filter(|(role, _)| in_vain.contains(role)) {
        page.warn(
            span.clone(),
            format!("nobody can have the role `{role}`, and what demands it nobody else may do either"),
            "give it persons who have accounts, accounts, discord_roles, github_teams, jira_groups or a github_permission",
        );
    }
}

fn accounts_of(
    page: &mut Page,
    person: &RawPerson,
    name: &PersonName,
    owners: &mut BTreeMap<Account, PersonName>,
) -> Vec<Account> {
    let mut accounts = Vec::new();
    for (platform, id) in &person.accounts {
        let Some(platform) = known_platform(page, platform.get(), platform.span()) else {
            continue;
        };
        let Some(account) = account(page, platform, &id.get().0, id.span()) else {
            continue;
        };
        if let Some(owner) = owners.get(&account) {
            page.say(
                id.span(),
                format!(
                    "the {} account {} already belongs to `{owner}`",
                    account.platform, account.id
                ),
            );
            continue;
        }
        owners.insert(account.clone(), name.clone());
        accounts.push(account);
    }
    accounts
}

fn grants_of(page: &mut Page, role: &RawRole, persons: &Names) -> Vec<Grant> {
    let mut grants = Vec::new();
    for person in &role.persons {
        if page.refers("person", person, persons) {
            grants.extend(page.parse(person).map(Grant::Person));
        }
    }
    for written in &role.accounts {
        let Some((platform, id)) = written.get().split_once(':') else {
            page.say_hint(
                written.span(),
                format!("`{}` is no account", written.get()),
                "platform:id, as github:1001",
            );
            continue;
        };
        let found = known_platform(page, platform, written.span())
            .and_then(|platform| account(page, platform, id, written.span()));
        grants.extend(found.map(Grant::Account));
    }
    for id in &role.discord_roles {
        let found = platform("discord").and_then(|platform| account(page, platform, &id.get().0, id.span()));
        grants.extend(found.map(Grant::PlatformRole));
    }
    for team in &role.github_teams {
        match team.get().split_once('/') {
            Some((org, name)) if !org.is_empty() && !name.is_empty() && !name.contains('/') => {
                grants.extend(group("github", team.get()));
            }
            _ => page.say_hint(
                team.span(),
                format!("`{}` is no team", team.get()),
                "organisation/team, as acme/sre",
            ),
        }
    }
    for name in &role.jira_groups {
        page.worded("a group's name", name);
        grants.extend(group("jira", name.get()));
    }
    if let Some(permission) = &role.github_permission
        && let Some(repo) = page.parse::<Repo>(&permission.repo)
        && let Some(platform) = platform("github")
    {
        let at_least = Level::from(*permission.at_least.get());
        if at_least == Level::Read {
            page.warn(
                permission.at_least.span(),
                format!("if {repo} is public, everybody on GitHub has the role `{}`", role.name.get()),
                "everybody may read a public repository: take \"triage\" or \"write\", or github_teams, unless it is private and stays so",
            );
        }
        grants.push(Grant::Repository {
            platform,
            repo,
            at_least,
        });
    }
    grants
}

impl From<RawLevel> for Level {
    fn from(raw: RawLevel) -> Self {
        match raw {
            RawLevel::Read => Self::Read,
            RawLevel::Triage => Self::Triage,
            RawLevel::Write => Self::Write,
            RawLevel::Maintain => Self::Maintain,
            RawLevel::Admin => Self::Admin,
        }
    }
}

fn group(name: &'static str, group: &str) -> Option<Grant> {
    Some(Grant::Group {
        platform: platform(name)?,
        group: group.to_owned(),
    })
}

/// A platform, if stepherd has an adapter for it.
pub(super) fn known_platform(page: &mut Page, name: &str, span: Range<usize>) -> Option<Platform> {
    if PLATFORMS.contains(&name) {
        return name.parse().ok();
    }
    page.push(
        span,
        format!("there is no platform `{name}`"),
        did_you_mean(name, PLATFORMS),
    );
    None
}

/// One of our own platform names.
fn platform(name: &'static str) -> Option<Platform> {
    name.parse().ok()
}

/// The account; a problem where a name was given instead of an id, because names can change hands.
fn account(page: &mut Page, platform: Platform, id: &str, span: Range<usize>) -> Option<Account> {
    let numeric = matches!(platform.as_str(), "github" | "discord");
    if numeric && (id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit())) {
        let hint = match platform.as_str() {
            "github" => format!("the `id` from https://api.github.com/users/{id}; user names can change hands"),
            _ => "in Discord: settings, advanced, developer mode; then right-click and copy the id".to_owned(),
        };
        page.say_hint(span, format!("ids on {platform} are numbers, not `{id}`"), hint);
        return None;
    }
    if id.trim().is_empty() || id.chars().any(char::is_control) {
        page.say(span, format!("the {platform} account must not be empty"));
        return None;
    }
    Some(Account {
        platform,
        id: id.to_owned(),
    })
}
