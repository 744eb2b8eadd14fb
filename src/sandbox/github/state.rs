//! What the stand-in remembers. Data and look-ups; the rules are with the routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::activity::Activity;
use super::git::Store;
use super::mail::Mail;
use super::wire::Refusal;

/// Where the time comes from.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What somebody may do with a repository, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing, unless the repository is public.
    None,
    /// May read and comment.
    Read,
    /// May also label and close.
    Triage,
    /// May also push and merge.
    Write,
    /// May also change some settings.
    Maintain,
    /// May do everything.
    Admin,
}

impl Level {
    /// `role_name` as the API says it.
    pub(super) fn role(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Read => "read",
            Self::Triage => "triage",
            Self::Write => "write",
            Self::Maintain => "maintain",
            Self::Admin => "admin",
        }
    }

    /// `permission` as the API says it: the older four words.
    pub(super) fn permission(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read | Self::Triage => "read",
            Self::Write | Self::Maintain => "write",
            Self::Admin => "admin",
        }
    }
}

/// What a token may do with one kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Read,
    Write,
}

pub(super) type Permissions = BTreeMap<String, Access>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Bot,
    Organization,
}

#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) login: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) struct Repo {
    pub(super) id: u64,
    /// Forks share the objects of their network.
    pub(super) network: u64,
    pub(super) fork: bool,
    pub(super) owner: u64,
    pub(super) name: String,
    pub(super) full_name: String,
    pub(super) private: bool,
    pub(super) default_branch: String,
    pub(super) created_at: Timestamp,
    pub(super) levels: BTreeMap<u64, Level>,
    /// `refs/heads/main` → commit.
    pub(super) refs: BTreeMap<String, String>,
    /// What happened to the branches, oldest first.
    pub(super) activity: Vec<Activity>,
    pub(super) pulls: BTreeMap<u64, Pull>,
    pub(super) comments: BTreeMap<u64, Comment>,
    pub(super) review_comments: BTreeMap<u64, ReviewComment>,
    pub(super) checks: BTreeMap<u64, CheckRun>,
    pub(super) statuses: Vec<Status>,
    pub(super) required_reviews: usize,
    pub(super) merge_blocked: Option<String>,
    pub(super) merge_methods: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Pull {
    pub(super) id: u64,
    pub(super) number: u64,
    pub(super) author: u64,
    pub(super) title: String,
    pub(super) body: Option<String>,
    pub(super) draft: bool,
    pub(super) head_repo: u64,
    pub(super) head_ref: String,
    pub(super) head_sha: String,
    pub(super) base_ref: String,
    pub(super) base_sha: String,
    pub(super) open: bool,
    pub(super) merged: Option<Merged>,
    pub(super) labels: Vec<String>,
    /// Whose approval counts.
    pub(super) approvals: BTreeSet<u64>,
    /// Who approved it, whether it counts or not.
    pub(super) reviewers: BTreeSet<u64>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) closed_at: Option<Timestamp>,
    /// For so many more looks the vendor has not found out whether it can be merged.
    pub(super) unknown_for: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Merged {
    pub(super) by: u64,
    pub(super) sha: String,
    pub(super) at: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) number: u64,
    pub(super) author: u64,
    pub(super) body: String,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) edits: u32,
    /// Who edited it last.
    pub(super) editor: Option<u64>,
    /// The app of others through which it was written in the author's name.
    pub(super) via_app: Option<u64>,
    pub(super) reactions: Vec<Reaction>,
}

#[derive(Debug, Clone)]
pub(super) struct ReviewComment {
    pub(super) said: Comment,
    pub(super) commit_id: String,
    pub(super) path: String,
    pub(super) line: Option<u64>,
    pub(super) in_reply_to: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Reaction {
    pub(super) id: u64,
    pub(super) user: u64,
    pub(super) content: String,
    pub(super) at: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct CheckRun {
    pub(super) id: u64,
    /// Made by the app under test, not by some other CI.
    pub(super) ours: bool,
    pub(super) name: String,
    pub(super) head_sha: String,
    pub(super) external_id: String,
    pub(super) details_url: Option<String>,
    pub(super) status: String,
    pub(super) conclusion: Option<String>,
    pub(super) started_at: Timestamp,
    pub(super) completed_at: Option<Timestamp>,
    pub(super) title: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) text: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Status {
    pub(super) id: u64,
    pub(super) sha: String,
    pub(super) state: String,
    pub(super) description: Option<String>,
    pub(super) target_url: Option<String>,
    pub(super) context: String,
    pub(super) creator: u64,
    pub(super) at: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Membership {
    pub(super) active: bool,
    pub(super) role: &'static str,
}

#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) id: u64,
    pub(super) slug: String,
    pub(super) bot: u64,
    pub(super) public_key_pem: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Installation {
    pub(super) id: u64,
    pub(super) account: u64,
    pub(super) permissions: Permissions,
    pub(super) created_at: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) holder: Holder,
    pub(super) permissions: Permissions,
    /// The only repositories it is good for; all of the installation's if absent.
    pub(super) repos: Option<BTreeSet<u64>>,
    pub(super) expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    User(u64),
    Installation(u64),
}

/// The whole of it.
pub(super) struct World {
    pub(super) now: Now,
    pub(super) auth_now: Now,
    pub(super) url: String,
    pub(super) html: String,
    pub(super) app: Option<App>,
    pub(super) accounts: BTreeMap<u64, Account>,
    pub(super) repos: BTreeMap<u64, Repo>,
    /// Names that repositories had, in lower case.
    pub(super) former_names: BTreeMap<String, u64>,
    pub(super) stores: BTreeMap<u64, Store>,
    /// By organisation and slug.
    pub(super) teams: BTreeMap<(u64, String), BTreeMap<u64, Membership>>,
    pub(super) installations: BTreeMap<u64, Installation>,
    pub(super) tokens: BTreeMap<String, Token>,
    pub(super) mail: Mail,
    /// Calls left until the primary rate limit.
    pub(super) calls_left: u64,
    /// When it starts anew, in seconds of the epoch.
    pub(super) calls_reset: i64,
    /// How long new heads are of unknown mergeability.
    pub(super) slow_mergeability: u32,
    pub(super) last_id: u64,
}

impl World {
    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Ids are unique across all kinds of things, which the vendor's are not: nobody may rely on either.
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn add_account(&mut self, login: &str, kind: Kind) -> u64 {
        if let Some(known) = self.account_by_login(login) {
            return known.id;
        }
        let id = self.fresh_id();
        let login = login.to_owned();
        self.accounts.insert(id, Account { id, login, kind });
        id
    }

    pub(super) fn account_by_login(&self, login: &str) -> Option<&Account> {
        self.accounts.values().find(|a| a.login.eq_ignore_ascii_case(login))
    }

    /// The id of somebody the story names.
    pub(super) fn person(&self, login: &str) -> Result<u64, Refusal> {
        self.account_by_login(login)
            .map(|account| account.id)
            .ok_or_else(|| Refusal::new(404, &format!("the stand-in knows no account {login}")))
    }

    /// The id of a repository by `owner/name`.
    pub(super) fn repo_id(&self, full_name: &str) -> Result<u64, Refusal> {
        self.repos
            .values()
            .find(|r| r.full_name.eq_ignore_ascii_case(full_name))
            .map(|r| r.id)
            .ok_or_else(Refusal::not_found)
    }

    pub(super) fn repo(&self, id: u64) -> Result<&Repo, Refusal> {
        self.repos.get(&id).ok_or_else(Refusal::not_found)
    }

    pub(super) fn repo_mut(&mut self, id: u64) -> Result<&mut Repo, Refusal> {
        self.repos.get_mut(&id).ok_or_else(Refusal::not_found)
    }

    pub(super) fn store(&self, repo: u64) -> Result<&Store, Refusal> {
        self.stores
            .get(&self.repo(repo)?.network)
            .ok_or_else(Refusal::not_found)
    }

    pub(super) fn store_mut(&mut self, repo: u64) -> Result<&mut Store, Refusal> {
        let network = self.repo(repo)?.network;
        Ok(self.stores.entry(network).or_default())
    }

    pub(super) fn pull(&self, repo: u64, number: u64) -> Result<&Pull, Refusal> {
        self.repo(repo)?.pulls.get(&number).ok_or_else(Refusal::not_found)
    }

    pub(super) fn pull_mut(&mut self, repo: u64, number: u64) -> Result<&mut Pull, Refusal> {
        let now = self.now();
        let pull = self
            .repo_mut(repo)?
            .pulls
            .get_mut(&number)
            .ok_or_else(Refusal::not_found)?;
        pull.updated_at = now;
        Ok(pull)
    }

    /// The commit a branch points at.
    pub(super) fn branch_head(&self, repo: u64, branch: &str) -> Option<String> {
        self.repo(repo).ok()?.refs.get(&format!("refs/heads/{branch}")).cloned()
    }

    /// The commit that a branch, tag, full ref or id names.
    pub(super) fn resolve(&self, repo: u64, name: &str) -> Option<String> {
        let refs = &self.repo(repo).ok()?.refs;
        ["refs/heads/", "refs/tags/", "refs/", ""]
            .iter()
            .find_map(|prefix| refs.get(&format!("{prefix}{name}")).cloned())
            .or_else(|| {
                let store = self.store(repo).ok()?;
                store.commits.contains_key(name).then(|| name.to_owned())
            })
    }

    /// What an account may do with a repository.
    pub(super) fn level(&self, repo: &Repo, account: u64) -> Level {
        if repo.owner == account {
            return Level::Admin;
        }
        let least = if repo.private { Level::None } else { Level::Read };
        repo.levels.get(&account).copied().unwrap_or(least).max(least)
    }

    pub(super) fn installation_on(&self, account: u64) -> Option<&Installation> {
        self.installations.values().find(|i| i.account == account)
    }
}
