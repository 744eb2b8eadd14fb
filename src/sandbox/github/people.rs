//! The people of the story: who they are, what they may, and what they do besides stepherd.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::git::{FILE, Flat, Store, put_path};
use super::pulls::{HowToMerge, NewPull, commit};
use super::state::{Access, CheckRun, Installation, Kind, Level, Membership, Permissions, Repo, World};
use super::wire::Refusal;
use super::{GitHub, render};

/// A file and what becomes of it: its new content, or `None` to remove it.
pub type Change<'a> = (&'a str, Option<&'a str>);

/// A pull request by a person.
#[derive(Debug, Clone, Copy)]
pub struct NewPr<'a> {
    /// The branch; made from the base if it is not there.
    pub branch: &'a str,
    /// The branch it would change.
    pub base: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Its body.
    pub body: &'a str,
    /// What its commit changes.
    pub files: &'a [Change<'a>],
    /// The `owner/name` of the fork that the branch is in, if any.
    pub fork: Option<&'a str>,
}

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

    /// Makes an account a member of a team, or with `active: false` only invited.
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

/// What people do. Everything here tells the webhook, as it does on GitHub.
impl GitHub {
    /// Pushes a commit to a branch, which is made from the default branch if it is not there; the answer is the
    /// commit.
    ///
    /// # Errors
    /// When repository or person are unknown.
    pub fn push(&self, login: &str, repo: &str, branch: &str, files: &[Change<'_>]) -> Result<String, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let default = world.repo(id)?.default_branch.clone();
        world.push(id, actor, branch, &default, files)
    }

    /// Opens a pull request; the answer is its number.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn open_pr_by_person(&self, repo: &str, login: &str, pr: NewPr<'_>) -> Result<u64, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let head_repo = pr.fork.map_or(Ok(id), |fork| world.repo_id(fork))?;
        world.push(head_repo, actor, pr.branch, pr.base, pr.files)?;
        let owner = pr.fork.and_then(|fork| fork.split_once('/'));
        let head = owner.map_or_else(|| pr.branch.to_owned(), |(owner, _)| format!("{owner}:{}", pr.branch));
        let new = NewPull {
            title: pr.title.to_owned(),
            body: Some(pr.body.to_owned()),
            head,
            base: pr.base.to_owned(),
            draft: false,
        };
        world.open(id, actor, new)
    }

    /// Pushes a commit to a pull request's branch; the answer is the new head.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn push_to_pr(&self, repo: &str, number: u64, login: &str, files: &[Change<'_>]) -> Result<String, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let pull = world.pull(id, number)?.clone();
        world.push(pull.head_repo, actor, &pull.head_ref, &pull.base_ref, files)
    }

    /// Comments on a pull request; the answer is the comment's id.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn comment(&self, repo: &str, number: u64, login: &str, body: &str) -> Result<u64, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.comment(id, number, actor, body.to_owned())
    }

    /// Changes a comment.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn edit_comment(&self, repo: &str, comment: u64, login: &str, body: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        if world.repo(id)?.review_comments.contains_key(&comment) {
            return world.edit_review_comment(id, comment, actor, body.to_owned());
        }
        world.edit_comment(id, comment, actor, body.to_owned())
    }

    /// Deletes a comment.
    ///
    /// # Errors
    /// When repository, comment or person are unknown.
    pub fn delete_comment(&self, repo: &str, comment: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.delete_comment(id, comment, actor)
    }

    /// Comments on a line of a file of a pull request; the answer is the comment's id.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn review_comment(
        &self,
        repo: &str,
        number: u64,
        login: &str,
        (path, line): (&str, u64),
        body: &str,
    ) -> Result<u64, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.review_comment(id, number, actor, (path.to_owned(), Some(line)), body.to_owned())
    }

    /// Replies in the thread of a review comment; the answer is the reply's id.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn reply_to_review(&self, repo: &str, number: u64, to: u64, login: &str, body: &str) -> Result<u64, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.reply(id, number, to, actor, body.to_owned())
    }

    /// Approves a pull request.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn approve(&self, repo: &str, number: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.approve(id, number, actor)
    }

    /// Merges a pull request with a merge commit; the answer is that commit.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn merge_by_person(&self, repo: &str, number: u64, login: &str) -> Result<String, Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let how = HowToMerge {
            method: "merge".to_owned(),
            title: None,
            message: None,
            sha: None,
        };
        world.merge(id, number, actor, &how)
    }

    /// Closes a pull request without merging it.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn close_pr(&self, repo: &str, number: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.close(id, number, actor)
    }

    /// Opens a closed pull request again.
    ///
    /// # Errors
    /// What GitHub refuses.
    pub fn reopen_pr(&self, repo: &str, number: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.reopen(id, number, actor)
    }

    /// Puts a label on a pull request, or takes it off.
    ///
    /// # Errors
    /// When repository, pull request or person are unknown.
    pub fn label(&self, repo: &str, number: u64, login: &str, label: &str, on: bool) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        let labels = &mut world.pull_mut(id, number)?.labels;
        labels.retain(|known| known != label);
        if on {
            labels.push(label.to_owned());
        }
        let action = if on { "labeled" } else { "unlabeled" };
        let label = json!({"label": render::label(&world, world.repo(id)?, label)});
        world.emit_pull(action, id, number, actor, label);
        Ok(())
    }

    /// Deletes a branch; a pull request from it is closed.
    ///
    /// # Errors
    /// When repository or person are unknown.
    pub fn delete_branch(&self, repo: &str, branch: &str, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.move_ref(id, actor, &format!("refs/heads/{branch}"), None)
    }

    /// A check of some other CI is completed on a commit; the answer is its id.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn finish_check(&self, repo: &str, sha: &str, name: &str, conclusion: &str) -> Result<u64, Refusal> {
        let mut world = self.world();
        let id = world.repo_id(repo)?;
        let actor = world.add_account("ci[bot]", Kind::Bot);
        let now = world.now();
        let check = CheckRun {
            id: 0,
            ours: false,
            name: name.to_owned(),
            head_sha: sha.to_owned(),
            external_id: String::new(),
            details_url: None,
            status: "completed".to_owned(),
            conclusion: Some(conclusion.to_owned()),
            started_at: now,
            completed_at: Some(now),
            title: None,
            summary: None,
            text: None,
        };
        world.add_check(id, check, actor)
    }

    /// Somebody asks for a check to be run again.
    ///
    /// # Errors
    /// When repository or person are unknown.
    pub fn rerequest_check(&self, repo: &str, check: u64, login: &str) -> Result<(), Refusal> {
        let mut world = self.world();
        let (actor, id) = (world.person(login)?, world.repo_id(repo)?);
        world.emit_check("rerequested", id, check, actor);
        Ok(())
    }

    /// A workflow run is completed on a commit; the answer is its id.
    ///
    /// # Errors
    /// When the repository is unknown.
    pub fn finish_workflow(&self, repo: &str, sha: &str, name: &str, conclusion: &str) -> Result<u64, Refusal> {
        let mut world = self.world();
        let id = world.repo_id(repo)?;
        let run = world.fresh_id();
        let actor = world.add_account("ci[bot]", Kind::Bot);
        let fields = render::workflow_run(&world, world.repo(id)?, (run, actor), sha, (name, conclusion));
        world.emit("workflow_run", "completed", id, actor, fields);
        Ok(run)
    }

    /// The webhook's first delivery, as when it is set up.
    pub fn ping(&self) {
        let mut world = self.world();
        let hook = json!({"zen": "Speak like a human.", "hook_id": 1, "hook": {"type": "App", "id": 1, "name": "web", "active": true, "events": world.mail.events()}});
        let sender = world.app.as_ref().map_or(0, |app| app.bot);
        world.emit("ping", "", 0, sender, hook);
    }
}

impl World {
    fn add_org(&mut self, login: &str) -> u64 {
        let id = self.add_account(login, Kind::Organization);
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
        let owner = match self.account_by_login(owner) {
            Some(known) => known.id,
            None => self.add_org(owner),
        };
        self.install(owner);
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
            refs: BTreeMap::from([("refs/heads/main".to_owned(), first)]),
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
        Ok(id)
    }

    fn push(
        &mut self,
        repo: u64,
        actor: u64,
        branch: &str,
        from: &str,
        files: &[Change<'_>],
    ) -> Result<String, Refusal> {
        let parent = self.branch_head(repo, branch).or_else(|| self.branch_head(repo, from));
        let parent = parent.ok_or_else(Refusal::not_found)?;
        let by = self.signature(actor);
        let store = self.store_mut(repo)?;
        let flat = store.flat_of_commit(&parent);
        let flat = changed(store, flat, files);
        let tree = store.put_tree(&flat);
        let names: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
        let sha = store.put_commit(commit(tree, vec![parent], format!("Change {}", names.join(", ")), &by));
        self.move_ref(repo, actor, &format!("refs/heads/{branch}"), Some(&sha))?;
        Ok(sha)
    }

    fn approve(&mut self, repo: u64, number: u64, actor: u64) -> Result<(), Refusal> {
        let counts = self.level(self.repo(repo)?, actor) >= Level::Write;
        let pull = self.pull_mut(repo, number)?;
        if pull.author == actor {
            return Err(Refusal::unprocessable("Can not approve your own pull request"));
        }
        if counts {
            pull.approvals.insert(actor);
        }
        let fields = render::approval(self, self.repo(repo)?, self.pull(repo, number)?, actor);
        self.emit("pull_request_review", "submitted", repo, actor, fields);
        Ok(())
    }
}

fn changed(store: &mut Store, mut flat: Flat, files: &[Change<'_>]) -> Flat {
    for (path, content) in files {
        match content {
            Some(content) => {
                let blob = store.put_blob(content.as_bytes().to_vec());
                put_path(&mut flat, path, (FILE.to_owned(), blob));
            }
            None => {
                flat.remove(*path);
            }
        }
    }
    flat
}
