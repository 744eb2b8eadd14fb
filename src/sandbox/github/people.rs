//! Who there is: accounts, repositories, permissions and settings, as the story sets them up.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret as _, SecretString};

use super::GitHub;
use super::deeds::{Change, changed};
use super::git::{Flat, Store};
use super::pulls::commit;
use super::state::{Access, Holder, Installation, Kind, Level, Membership, Permissions, Repo, Token, World};
use super::wire::Refusal;

/// What the app is granted where it is installed.
const GRANTED: [(&str, Access); 9] = [
    ("actions", Access::Write),
    ("checks", Access::Write),
    ("contents", Access::Write),
    ("issues", Access::Write),
    ("members", Access::Read),
    ("metadata", Access::Read),
    ("pull_requests", Access::Write),
    ("statuses", Access::Write),
    ("workflows", Access::Write),
];

/// Accounts, repositories and settings.
impl GitHub {
    /// Adds a person, or finds the one of this login; the answer is the account's id.
    pub fn add_user(&self, login: &str) -> u64 {
        self.world().add_account(login, Kind::User)
    }

    /// Adds somebody else's bot (`name[bot]`); the answer is the account's id.
    pub fn add_bot(&self, login: &str) -> u64 {
        self.world().add_account(login, Kind::Bot)
    }

    /// Adds a plain token of a person, who is added if need be; the answer is the account's id.
    pub fn add_token(&self, token: &SecretString, login: &str) -> u64 {
        let mut world = self.world();
        let user = world.add_account(login, Kind::User);
        let holds = Token {
            holder: Holder::User(user),
            permissions: Permissions::new(),
            repos: None,
            expires_at: None,
        };
        world.tokens.insert(token.expose_secret().to_owned(), holds);
        user
    }

    /// Adds an organisation, with the app installed on it if there is an app; the answer is the account's id.
    pub fn add_org(&self, login: &str) -> u64 {
        self.world().add_org(login)
    }

    /// The id of an account; `None` if there is none of this login.
    pub fn account_id(&self, login: &str) -> Option<u64> {
        self.world().account_by_login(login).map(|a| a.id)
    }

    /// Adds a private repository `owner/name` whose branch `main` has these files. An unknown owner becomes an
    /// organisation. The answer is the repository's id.
    ///
    /// # Errors
    /// When the name is not `owner/name`.
    pub fn add_repo(&self, full_name: &str, files: &[(&str, &str)]) -> Result<u64, Refusal> {
        self.world().add_repo(full_name, files)
    }

    /// Adds a fork of a repository under a person's account; the answer is its full name.
    ///
    /// # Errors
    /// When repository or person are unknown.
    pub fn add_fork(&self, of: &str, login: &str) -> Result<String, Refusal> {
        let mut world = self.world();
        let (owner, parent) = (world.person(login)?, world.repo_id(of)?);
        let id = world.fresh_id();
        let parent = world.repo(parent)?.clone();
        let full_name = format!("{login}/{}", parent.name);
        let fork = Repo {
            id,
            fork: true,
            owner,
            full_name: full_name.clone(),
            levels: BTreeMap::new(),
            pulls: BTreeMap::new(),
            comments: BTreeMap::new(),
            review_comments: BTreeMap::new(),
            checks: BTreeMap::new(),
            statuses: Vec::new(),
            activity: Vec::new(),
            ..parent
        };
        world.repos.insert(id, fork);
        Ok(full_name)
    }

    /// Makes a repository public, or private again.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn set_public(&self, repo: &str, public: bool) -> Result<(), Refusal> {
        self.with_repo(repo, |repo| repo.private = !public)
    }

    /// What an account may do with a repository.
    ///
    /// # Errors
    /// When repository or account are unknown.
    pub fn set_permission(&self, repo: &str, login: &str, level: Level) -> Result<(), Refusal> {
        let user = self.world().person(login)?;
        self.with_repo(repo, |repo| {
            repo.levels.insert(user, level);
        })
    }

    /// Adds a team without members.
    ///
    /// # Errors
    /// When the organisation is unknown.
    pub fn add_team(&self, org: &str, team: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let org = world.person(org)?;
        world.teams.entry((org, team.to_lowercase())).or_default();
        Ok(())
    }

    /// Makes an account a member of a team, which is added if need be, or with `active: false` only invited.
    ///
    /// # Errors
    /// When organisation or account are unknown.
    pub fn add_team_member(&self, org: &str, team: &str, login: &str, active: bool) -> Result<(), Refusal> {
        let mut world = self.world();
        let (org, user) = (world.person(org)?, world.person(login)?);
        let team = world.teams.entry((org, team.to_lowercase())).or_default();
        team.insert(user, Membership { active, role: "member" });
        Ok(())
    }

    /// Takes an account out of a team.
    ///
    /// # Errors
    /// When organisation or account are unknown.
    pub fn remove_team_member(&self, org: &str, team: &str, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (org, user) = (world.person(org)?, world.person(login)?);
        if let Some(team) = world.teams.get_mut(&(org, team.to_lowercase())) {
            team.remove(&user);
        }
        Ok(())
    }

    /// How many approvals a merge needs.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn require_reviews(&self, repo: &str, reviews: usize) -> Result<(), Refusal> {
        self.with_repo(repo, |repo| repo.required_reviews = reviews)
    }

    /// Merging is refused with this reason (405), as a ruleset does it; `None` ends that.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn block_merging(&self, repo: &str, reason: Option<&str>) -> Result<(), Refusal> {
        self.with_repo(repo, |repo| repo.merge_blocked = reason.map(str::to_owned))
    }

    /// The only merge methods the repository allows: `merge`, `squash`, `rebase`.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn allow_merge_methods(&self, repo: &str, methods: &[&str]) -> Result<(), Refusal> {
        self.with_repo(repo, |repo| {
            repo.merge_methods = methods.iter().map(|m| (*m).to_owned()).collect()
        })
    }

    /// For so many looks at a new head the vendor does not know yet whether it can be merged (`mergeable: null`).
    pub fn slow_mergeability(&self, looks: u32) {
        self.world().slow_mergeability = looks;
    }

    /// So many calls are left before the primary rate limit refuses with 403.
    pub fn set_calls_left(&self, calls: u64) {
        self.world().calls_left = calls;
    }

    /// Takes a permission away from every installation of the app, or grants it.
    pub fn grant(&self, permission: &str, granted: bool) {
        for installation in self.world().installations.values_mut() {
            if granted {
                installation.permissions.insert(permission.to_owned(), Access::Write);
            } else {
                installation.permissions.remove(permission);
            }
        }
    }

    /// Removes the app from an account, or installs it there; the answer is the installation's id.
    ///
    /// # Errors
    /// When the account is unknown.
    pub fn install(&self, login: &str, installed: bool) -> Result<Option<u64>, Refusal> {
        let mut world = self.world();
        let account = world.person(login)?;
        if !installed {
            world.installations.retain(|_, i| i.account != account);
        }
        Ok(installed.then(|| world.install(account)).flatten())
    }

    /// An account is closed. What it wrote stays, by nobody.
    ///
    /// # Errors
    /// When the account is unknown.
    pub fn close_account(&self, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let id = world.person(login)?;
        world.accounts.remove(&id);
        Ok(())
    }

    /// Every installation token stops working at once.
    pub fn revoke_installation_tokens(&self) {
        self.world().tokens.retain(|_, token| token.expires_at.is_none());
    }

    fn with_repo(&self, repo: &str, change: impl FnOnce(&mut Repo)) -> Result<(), Refusal> {
        let mut world = self.world();
        let id = world.repo_id(repo)?;
        change(world.repo_mut(id)?);
        Ok(())
    }
}

impl World {
    fn add_org(&mut self, login: &str) -> u64 {
        let id = self.add_account(login, Kind::Organization);
        self.install(id);
        id
    }

    /// The account of this login, or a new organisation; with the app installed on it.
    pub(super) fn owner_of_this_name(&mut self, login: &str) -> u64 {
        let id = match self.account_by_login(login) {
            Some(known) => known.id,
            None => self.add_org(login),
        };
        self.install(id);
        id
    }

    /// Installs the app on an account unless it is there; `None` if there is no app.
    fn install(&mut self, account: u64) -> Option<u64> {
        self.app.as_ref()?;
        if let Some(known) = self.installation_on(account) {
            return Some(known.id);
        }
        let id = self.fresh_id();
        let permissions: Permissions = GRANTED
            .iter()
            .map(|(name, access)| ((*name).to_owned(), *access))
            .collect();
        let created_at = self.now();
        let installation = Installation {
            id,
            account,
            permissions,
            created_at,
        };
        self.installations.insert(id, installation);
        Some(id)
    }

    fn add_repo(&mut self, full_name: &str, files: &[(&str, &str)]) -> Result<u64, Refusal> {
        let malformed = || Refusal::unprocessable("a repository's full name is owner/name");
        let (owner, name) = full_name.split_once('/').ok_or_else(malformed)?;
        let owner = self.owner_of_this_name(owner);
        let id = self.fresh_id();
        let changes: Vec<Change<'_>> = files.iter().map(|(path, content)| (*path, Some(*content))).collect();
        let by = self.signature(owner);
        let mut store = Store::default();
        let flat = changed(&mut store, Flat::new(), &changes);
        let tree = store.put_tree(&flat);
        let first = store.put_commit(commit(tree, Vec::new(), "Initial commit".to_owned(), &by));
        self.stores.insert(id, store);
        let repo = Repo {
            id,
            network: id,
            fork: false,
            owner,
            name: name.to_owned(),
            full_name: full_name.to_owned(),
            private: true,
            default_branch: "main".to_owned(),
            created_at: self.now(),
            levels: BTreeMap::new(),
            refs: BTreeMap::from([("refs/heads/main".to_owned(), first.clone())]),
            activity: Vec::new(),
            pulls: BTreeMap::new(),
            comments: BTreeMap::new(),
            review_comments: BTreeMap::new(),
            checks: BTreeMap::new(),
            statuses: Vec::new(),
            required_reviews: 0,
            merge_blocked: None,
            merge_methods: BTreeSet::from(["merge", "squash", "rebase"].map(str::to_owned)),
        };
        self.repos.insert(id, repo);
        self.record_activity(id, owner, "refs/heads/main", (None, Some(&first)))?;
        Ok(id)
    }
}
