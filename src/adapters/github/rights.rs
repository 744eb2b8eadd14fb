//! Who stepherd is on GitHub, and what others may do there. Accounts are numbers: a user name can be given up and
//! taken by somebody else, so names are looked up for each question and never kept.

use serde::Deserialize;

use super::Github;
use super::threads::Author;
use super::token::{Need, Scope};
use crate::adapters::CallError;
use crate::adapters::http::permanent;
use crate::domain::ids::Repo;
use crate::domain::policy::{Grant, Level, Lookup};
use crate::domain::run::FailureClass;
use crate::domain::signal::Account;

/// How many accounts GitHub lists at a time, and how many pages are read.
const LISTED_PAGE: usize = 100;
const LISTED_PAGES_MAX: usize = 10;

/// The account that stepherd's comments are by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnAccount {
    /// The app's bot, by its reserved name: no person can have one that ends in `[bot]`.
    Bot(String),
    /// The token's account.
    User(u64),
}

impl Github {
    /// The number of the account whose token stepherd uses; `None` if it acts as an app.
    ///
    /// # Errors
    /// When GitHub does not tell.
    pub async fn own_account_id(&self) -> Result<Option<u64>, CallError> {
        match self.own().await? {
            OwnAccount::User(id) => Ok(Some(*id)),
            OwnAccount::Bot(_) => Ok(None),
        }
    }

    /// Whether this is the token's account. An app has none that could pass for a person.
    pub(super) async fn is_own_account(&self, account: &Account) -> Result<bool, CallError> {
        if self.app_id.is_some() {
            return Ok(false);
        }
        let is = |own: u64| account.id == own.to_string();
        if self.configured_account.is_some_and(is) {
            return Ok(true);
        }
        match self.own_account_id().await {
            Ok(own) => Ok(own.is_some_and(is)),
            // Configuration has told who stepherd is.
            Err(_) if self.configured_account.is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn is_own(&self, author: &Author) -> Result<bool, CallError> {
        // Spares an app's question after itself for comments that people wrote.
        if self.app_id.is_some() && author.r#type != "Bot" {
            return Ok(false);
        }
        Ok(match self.own().await? {
            OwnAccount::Bot(login) => author.login == *login,
            OwnAccount::User(id) => author.id == *id,
        })
    }

    async fn own(&self) -> Result<&OwnAccount, CallError> {
        self.own_account.get_or_try_init(|| self.ask_own()).await
    }

    /// Asks GitHub whose the credentials are.
    pub(super) async fn ask_own(&self) -> Result<OwnAccount, CallError> {
        #[derive(Deserialize)]
        struct App {
            slug: String,
        }
        #[derive(Deserialize)]
        struct User {
            id: u64,
        }
        if self.app_id.is_some() {
            let app: App = self.client.get_own("/app").await?.json()?;
            Ok(OwnAccount::Bot(format!("{}[bot]", app.slug)))
        } else {
            let user: User = self.client.get_own("/user").await?.json()?;
            Ok(OwnAccount::User(user.id))
        }
    }

    /// # Errors
    /// `Retry` if GitHub may answer later, `Permanent` if it cannot be found out.
    pub(super) async fn look_up(&self, lookup: &Lookup) -> Result<bool, CallError> {
        let id = &lookup.account.id;
        let id: u64 = id
            .parse()
            .map_err(|_| unclear(format!("`{id}` is no account on GitHub")))?;
        match &lookup.grant {
            Grant::Repository { repo, at_least, .. } => self.has_level(id, repo, *at_least).await,
            Grant::Group { group, .. } => self.in_team(id, group).await,
            Grant::Person(_) | Grant::Account(_) | Grant::PlatformRole(_) => {
                Err(unclear("this is no question for GitHub".to_owned()))
            }
        }
    }

    async fn has_level(&self, id: u64, repo: &Repo, at_least: Level) -> Result<bool, CallError> {
        #[derive(Deserialize)]
        struct Found {
            permission: String,
            #[serde(default)]
            role_name: String,
            user: Option<Author>,
        }
        let scope = Scope::Repo(repo, Need::Metadata);
        let login = self.login(scope, id).await?;
        let target = format!("/repos/{repo}/collaborators/{login}/permission");
        let found: Found = self.client.get(scope, &target).await?.json()?;
        if found.user.is_some_and(|user| user.id != id) {
            return Err(unclear(format!("account {id} has just changed its name")));
        }
        if found.permission == "none" {
            return Ok(false);
        }
        // An organisation may name roles of its own; `permission` then says which of the old three it comes to.
        let has = level(&found.role_name)
            .or_else(|| level(&found.permission))
            .ok_or_else(|| unknown_word(&found.permission))?;
        Ok(has >= at_least)
    }

    /// Who is listed as having the grant.
    pub(super) async fn holders(&self, grant: &Grant) -> Result<Vec<Account>, CallError> {
        let (platform, scope, target) = match grant {
            Grant::Group { platform, group } => {
                let (org, team) = team_in(group)?;
                (platform, Scope::Org(org), format!("/orgs/{org}/teams/{team}/members?"))
            }
            Grant::Repository {
                platform,
                repo,
                at_least,
            } => {
                let target = format!("/repos/{repo}/collaborators?permission={}&", filter(*at_least));
                (platform, Scope::Repo(repo, Need::Metadata), target)
            }
            Grant::Person(_) | Grant::Account(_) | Grant::PlatformRole(_) => return Ok(Vec::new()),
        };
        let mut holders = Vec::new();
        for page in 1..=LISTED_PAGES_MAX {
            let page = format!("{target}per_page={LISTED_PAGE}&page={page}");
            let reply = self.client.get(scope, &page).await?;
            let listed: Vec<Author> = reply.json()?;
            let is_last = listed.len() < LISTED_PAGE;
            holders.extend(listed.into_iter().map(|author| Account {
                platform: platform.clone(),
                id: author.id.to_string(),
            }));
            if is_last {
                break;
            }
        }
        Ok(holders)
    }

    async fn in_team(&self, id: u64, group: &str) -> Result<bool, CallError> {
        #[derive(Deserialize)]
        struct Membership {
            state: String,
        }
        let (org, team) = team_in(group)?;
        let scope = Scope::Org(org);
        let login = self.login(scope, id).await?;
        let target = format!("/orgs/{org}/teams/{team}");
        let reply = self.client.get(scope, &format!("{target}/memberships/{login}")).await?;
        if reply.status == 404 {
            // No member, or no such team, or a team stepherd may not see: only the first is a no.
            let team = self.client.get(scope, &target).await?;
            return if team.is_success() {
                Ok(false)
            } else {
                Err(unclear(format!("there is no team {group} that stepherd may see")))
            };
        }
        let membership: Membership = reply.json()?;
        match membership.state.as_str() {
            "active" => Ok(true),
            "pending" => Ok(false),
            other => Err(unknown_word(other)),
        }
    }

    /// The account's present name, safe to stand in an address.
    async fn login(&self, scope: Scope<'_>, id: u64) -> Result<String, CallError> {
        let user: Author = self.client.get(scope, &format!("/user/{id}")).await?.json()?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if user.id != id || user.login.is_empty() || !user.login.bytes().all(plain) {
            return Err(unclear(format!("GitHub does not tell the name of account {id}")));
        }
        Ok(user.login)
    }
}

/// Asking again would not help.
fn unclear(why: String) -> CallError {
    permanent(why, FailureClass::Permission)
}

fn unknown_word(word: &str) -> CallError {
    unclear(format!("GitHub says `{word}`, which stepherd does not know"))
}

/// The organisation and the team, safe to stand in an address.
fn team_in(group: &str) -> Result<(&str, &str), CallError> {
    let slug = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    group
        .split_once('/')
        .filter(|(org, team)| slug(org) && slug(team))
        .ok_or_else(|| unclear(format!("`{group}` is not organisation/team")))
}

/// A level as the list of collaborators is asked for it.
fn filter(level: Level) -> &'static str {
    match level {
        Level::Read => "pull",
        Level::Triage => "triage",
        Level::Write => "push",
        Level::Maintain => "maintain",
        Level::Admin => "admin",
    }
}

fn level(word: &str) -> Option<Level> {
    Some(match word {
        "read" | "pull" => Level::Read,
        "triage" => Level::Triage,
        "write" | "push" => Level::Write,
        "maintain" => Level::Maintain,
        "admin" => Level::Admin,
        _ => return None,
    })
}
