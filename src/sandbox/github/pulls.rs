//! Pull requests: opening, listing, closing and merging.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::auth::admit_to_repo;
use super::git::{Commit, Person};
use super::render;
use super::state::{Access, Merged, Pull, World};
use super::wire::{Refusal, Reply, Req};

const TITLE_CHARS_MAX: usize = 256;
/// So many commits of a pull request are listed.
const COMMITS_MAX: usize = 250;
pub(super) const BODY_CHARS_MAX: usize = 65_536;

/// What a new pull request is to be.
pub(super) struct NewPull {
    pub(super) title: String,
    pub(super) body: Option<String>,
    /// `branch` or `owner:branch`.
    pub(super) head: String,
    pub(super) base: String,
    pub(super) draft: bool,
}

/// How to merge.
pub(super) struct HowToMerge {
    pub(super) method: String,
    pub(super) title: Option<String>,
    pub(super) message: Option<String>,
    /// Only if this is still the head.
    pub(super) sha: Option<String>,
}

/// `POST …/pulls`.
pub(super) fn create(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let head = req.needed_text("head")?.to_owned();
    let base = req.needed_text("base")?.to_owned();
    let missing = || Refusal::field("PullRequest", "title", "missing_field");
    let title = req
        .owned("title")?
        .filter(|t| !t.trim().is_empty())
        .ok_or_else(missing)?;
    let new = NewPull {
        title,
        body: req.owned("body")?,
        head,
        base,
        draft: req.flag("draft")?,
    };
    let number = world.open(req.repo, req.caller.account(), new)?;
    show(world, req.repo, number).map(Reply::created)
}

/// `GET …/pulls`.
pub(super) fn list(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    let state = req.query("state").unwrap_or("open");
    if !matches!(state, "open" | "closed" | "all") {
        return Err(Refusal::field("PullRequest", "state", "invalid"));
    }
    // A head without an owner is ignored, not refused: everything is listed then.
    let head = req.query("head").and_then(|h| h.split_once(':'));
    let owner_of = |p: &Pull| {
        let owner = world.repos.get(&p.head_repo).map(|r| r.owner);
        owner
            .and_then(|id| world.accounts.get(&id))
            .map(|a| a.login.to_lowercase())
    };
    let mut found: Vec<&Pull> = repo
        .pulls
        .values()
        .filter(|p| state == "all" || (state == "open") == p.open)
        .filter(|p| req.query("base").is_none_or(|base| p.base_ref == base))
        .filter(|p| {
            head.is_none_or(|(owner, branch)| p.head_ref == branch && owner_of(p) == Some(owner.to_lowercase()))
        })
        .collect();
    if req.query("sort") == Some("updated") {
        found.sort_by_key(|p| (p.updated_at, p.number));
    }
    let newest_first = match req.query("direction") {
        Some("asc") => false,
        Some("desc") => true,
        _ => req.query("sort").is_none_or(|sort| sort == "created"),
    };
    if newest_first {
        found.reverse();
    }
    let items = found.into_iter().map(|p| render::pull(world, repo, p)).collect();
    Ok(Reply::page(req, items))
}

/// `GET …/pulls/{n}`.
pub(super) fn get(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let number = req.number("n")?;
    let body = show(world, req.repo, number)?;
    if let Some(pull) = world.repo_mut(req.repo)?.pulls.get_mut(&number) {
        pull.unknown_for = pull.unknown_for.saturating_sub(1);
    }
    Ok(Reply::ok(body))
}

/// `GET …/pulls/{n}/commits`: oldest first, and no more than the vendor lists.
pub(super) fn commits(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let (repo, pull) = (world.repo(req.repo)?, world.pull(req.repo, req.number("n")?)?);
    let store = world.store(req.repo)?;
    let mut ahead = store.ahead(&pull.base_sha, &pull.head_sha);
    ahead.truncate(COMMITS_MAX);
    let found = ahead.iter().filter_map(|sha| Some((sha, store.commits.get(sha)?)));
    let items = found.map(|(sha, commit)| render::commit(world, repo, sha, commit));
    Ok(Reply::page(req, items.collect()))
}

/// `GET …/pulls/{n}/reviews`: oldest first.
pub(super) fn reviews(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let (repo, pull) = (world.repo(req.repo)?, world.pull(req.repo, req.number("n")?)?);
    let items = pull.reviewers.iter().map(|who| render::review(world, repo, pull, *who));
    Ok(Reply::page(req, items.collect()))
}

/// `GET …/issues/{n}`.
pub(super) fn issue(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let (repo, pull) = (world.repo(req.repo)?, world.pull(req.repo, req.number("n")?)?);
    Ok(Reply::ok(render::issue(world, repo, pull)))
}

/// `PATCH …/pulls/{n}`.
pub(super) fn update(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let (number, actor) = (req.number("n")?, req.caller.account());
    let open = world.pull(req.repo, number)?.open;
    let state = req.owned("state")?;
    if state.as_deref().is_some_and(|s| !matches!(s, "open" | "closed")) {
        return Err(Refusal::field("PullRequest", "state", "invalid"));
    }
    let (title, body) = (req.owned("title")?, req.owned("body")?);
    check_texts(title.as_deref().unwrap_or("-"), body.as_deref())?;
    if title.is_some() || body.is_some() {
        let pull = world.pull_mut(req.repo, number)?;
        let was = json!({"title": {"from": pull.title}});
        pull.title = title.unwrap_or_else(|| pull.title.clone());
        pull.body = body.or_else(|| pull.body.take());
        world.emit_pull("edited", req.repo, number, actor, json!({"changes": was}));
    }
    if let Some(base) = req.owned("base")? {
        world.retarget(req.repo, number, actor, base)?;
    }
    match state.as_deref() {
        Some("closed") if open => world.close(req.repo, number, actor)?,
        Some("open") if !open => world.reopen(req.repo, number, actor)?,
        _ => {}
    }
    show(world, req.repo, number).map(Reply::ok)
}

/// `PUT …/pulls/{n}/merge`.
pub(super) fn merge(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let number = req.number("n")?;
    world.pull(req.repo, number)?;
    admit_to_repo(world, &req.caller, req.repo, "contents", Access::Write)?;
    let how = HowToMerge {
        method: req.text("merge_method")?.unwrap_or("merge").to_owned(),
        title: req.owned("commit_title")?,
        message: req.owned("commit_message")?,
        sha: req.owned("sha")?,
    };
    let sha = world.merge(req.repo, number, req.caller.account(), &how)?;
    Ok(Reply::ok(
        json!({"sha": sha, "merged": true, "message": "Pull Request successfully merged"}),
    ))
}

fn show(world: &World, repo: u64, number: u64) -> Result<Value, Refusal> {
    Ok(render::full_pull(world, world.repo(repo)?, world.pull(repo, number)?))
}

fn check_texts(title: &str, body: Option<&str>) -> Result<(), Refusal> {
    let too_long = |field: &str, max: usize| {
        Refusal::custom(
            "PullRequest",
            Some(field),
            &format!("{field} is too long (maximum is {max} characters)"),
        )
    };
    if title.chars().count() > TITLE_CHARS_MAX {
        return Err(too_long("title", TITLE_CHARS_MAX));
    }
    if body.is_some_and(|b| b.chars().count() > BODY_CHARS_MAX) {
        return Err(too_long("body", BODY_CHARS_MAX));
    }
    Ok(())
}

impl World {
    /// Opens a pull request; the answer is its number.
    pub(super) fn open(&mut self, repo: u64, actor: u64, new: NewPull) -> Result<u64, Refusal> {
        check_texts(&new.title, new.body.as_deref())?;
        let invalid = |field| Refusal::field("PullRequest", field, "invalid");
        let (head_repo, head_ref) = self.head_of(repo, &new.head).ok_or_else(|| invalid("head"))?;
        let head_sha = self.branch_head(head_repo, &head_ref).ok_or_else(|| invalid("head"))?;
        let base_sha = self.branch_head(repo, &new.base).ok_or_else(|| invalid("base"))?;
        let same = |p: &Pull| p.open && p.head_repo == head_repo && p.head_ref == head_ref && p.base_ref == new.base;
        if self.repo(repo)?.pulls.values().any(same) {
            let owner = self
                .accounts
                .get(&self.repo(head_repo)?.owner)
                .map_or("", |a| a.login.as_str());
            let message = format!("A pull request already exists for {owner}:{head_ref}.");
            return Err(Refusal::custom("PullRequest", None, &message));
        }
        if self.store(repo)?.contains(&base_sha, &head_sha) {
            let message = format!("No commits between {} and {}", new.base, new.head);
            return Err(Refusal::custom("PullRequest", None, &message));
        }
        let now = self.now();
        let id = self.fresh_id();
        // The issue that it also is has an id of its own.
        self.fresh_id();
        let slow = self.slow_mergeability;
        let pulls = &mut self.repo_mut(repo)?.pulls;
        let number = pulls.last_key_value().map_or(1, |(n, _)| n + 1);
        let pull = Pull {
            id,
            number,
            author: actor,
            title: new.title,
            body: new.body,
            draft: new.draft,
            head_repo,
            head_ref,
            head_sha,
            base_ref: new.base,
            base_sha,
            open: true,
            merged: None,
            labels: Vec::new(),
            approvals: BTreeSet::new(),
            reviewers: BTreeSet::new(),
            created_at: now,
            updated_at: now,
            closed_at: None,
            unknown_for: slow,
        };
        pulls.insert(number, pull);
        self.emit_pull("opened", repo, number, actor, json!({}));
        Ok(number)
    }

    /// The repository and branch that `branch` or `owner:branch` names, within the network.
    fn head_of(&self, repo: u64, head: &str) -> Option<(u64, String)> {
        let Some((owner, branch)) = head.split_once(':') else {
            return Some((repo, head.to_owned()));
        };
        let base = self.repos.get(&repo)?;
        let owner = self.account_by_login(owner)?.id;
        let found = self
            .repos
            .values()
            .find(|r| r.owner == owner && r.network == base.network)?;
        Some((found.id, branch.to_owned()))
    }

    /// Points a pull request at another branch of the repository.
    pub(super) fn retarget(&mut self, repo: u64, number: u64, actor: u64, base: String) -> Result<(), Refusal> {
        let invalid = || Refusal::field("PullRequest", "base", "invalid");
        let base_sha = self.branch_head(repo, &base).ok_or_else(invalid)?;
        let pull = self.pull_mut(repo, number)?;
        let before = std::mem::replace(&mut pull.base_ref, base);
        let before_sha = std::mem::replace(&mut pull.base_sha, base_sha);
        let changes = json!({"base": {"ref": {"from": before}, "sha": {"from": before_sha}}});
        self.emit_pull("edited", repo, number, actor, json!({"changes": changes}));
        Ok(())
    }

    pub(super) fn close(&mut self, repo: u64, number: u64, actor: u64) -> Result<(), Refusal> {
        let now = self.now();
        let pull = self.pull_mut(repo, number)?;
        pull.open = false;
        pull.closed_at = Some(now);
        self.emit_pull("closed", repo, number, actor, json!({}));
        Ok(())
    }

    pub(super) fn reopen(&mut self, repo: u64, number: u64, actor: u64) -> Result<(), Refusal> {
        let pull = self.pull(repo, number)?;
        let tip = self.branch_head(pull.head_repo, &pull.head_ref);
        let Some(tip) = tip.filter(|_| pull.merged.is_none()) else {
            return Err(Refusal::custom(
                "PullRequest",
                Some("state"),
                "state cannot be changed.",
            ));
        };
        let pull = self.pull_mut(repo, number)?;
        // What was pushed while it was closed counts from now on; no `synchronize` tells of it.
        pull.head_sha = tip;
        pull.open = true;
        pull.closed_at = None;
        self.emit_pull("reopened", repo, number, actor, json!({}));
        Ok(())
    }

    /// Merges; the answer is the commit that the base branch then has.
    pub(super) fn merge(&mut self, repo: u64, number: u64, actor: u64, how: &HowToMerge) -> Result<String, Refusal> {
        let pull = self.pull(repo, number)?.clone();
        let base = self.may_merge(&pull, repo, how)?;
        let not_mergeable = || Refusal::new(405, "Pull Request is not mergeable");
        let sha = match how.method.as_str() {
            "rebase" => self.replay(repo, actor, &base, &pull.head_sha),
            method => self.merge_commit(repo, actor, &base, &pull, method == "squash", how),
        }?
        .ok_or_else(not_mergeable)?;
        let now = self.now();
        let entry = self.pull_mut(repo, number)?;
        entry.open = false;
        entry.closed_at = Some(now);
        entry.merged = Some(Merged {
            by: actor,
            sha: sha.clone(),
            at: now,
        });
        self.move_ref(repo, actor, &format!("refs/heads/{}", pull.base_ref), Some(&sha))?;
        self.was_merge(repo)?;
        // What the other pull requests come to now is found out when somebody asks.
        let slow = self.slow_mergeability;
        let others = self.repo_mut(repo)?.pulls.values_mut();
        for other in others.filter(|other| other.open && other.base_ref == pull.base_ref) {
            other.unknown_for = slow;
        }
        self.emit_pull("closed", repo, number, actor, json!({}));
        Ok(sha)
    }

    /// Whether the rules allow the merge; the answer is the head of the base branch.
    fn may_merge(&self, pull: &Pull, repo: u64, how: &HowToMerge) -> Result<String, Refusal> {
        let refuse = |message: &str| Err(Refusal::new(405, message));
        let settings = self.repo(repo)?;
        if !matches!(how.method.as_str(), "merge" | "squash" | "rebase") {
            return Err(Refusal::field("PullRequest", "merge_method", "invalid"));
        }
        if !pull.open {
            return refuse("Pull Request is not mergeable");
        }
        if how.sha.as_ref().is_some_and(|sha| *sha != pull.head_sha) {
            return Err(Refusal::new(
                409,
                "Head branch was modified. Review and try the merge again.",
            ));
        }
        if pull.draft {
            return refuse("Pull Request is still a draft");
        }
        if !settings.merge_methods.contains(&how.method) {
            return refuse(match how.method.as_str() {
                "squash" => "Squash merges are not allowed on this repository.",
                "rebase" => "Rebase merges are not allowed on this repository.",
                _ => "Merge commits are not allowed on this repository.",
            });
        }
        if let Some(reason) = &settings.merge_blocked {
            return refuse(reason);
        }
        if pull.approvals.len() < settings.required_reviews {
            let n = settings.required_reviews;
            let reviews = if n == 1 { "review is" } else { "reviews are" };
            return refuse(&format!(
                "At least {n} approving {reviews} required by reviewers with write access."
            ));
        }
        let gone = || Refusal::new(405, "Pull Request is not mergeable");
        self.branch_head(repo, &pull.base_ref).ok_or_else(gone)
    }

    fn merge_commit(
        &mut self,
        repo: u64,
        actor: u64,
        base: &str,
        pull: &Pull,
        squash: bool,
        how: &HowToMerge,
    ) -> Result<Option<String>, Refusal> {
        let head_owner = self
            .accounts
            .get(&self.repo(pull.head_repo)?.owner)
            .map_or("", |a| a.login.as_str());
        let usual = if squash {
            format!("{} (#{})", pull.title, pull.number)
        } else {
            format!(
                "Merge pull request #{} from {head_owner}/{}",
                pull.number, pull.head_ref
            )
        };
        let title = how.title.clone().filter(|t| !t.is_empty()).unwrap_or(usual);
        let rest = how
            .message
            .clone()
            .unwrap_or_else(|| if squash { String::new() } else { pull.title.clone() });
        let by = self.signature(actor);
        let store = self.store_mut(repo)?;
        let Some(tree) = store.merge(base, &pull.head_sha) else {
            return Ok(None);
        };
        let mut parents = vec![base.to_owned()];
        if !squash {
            parents.push(pull.head_sha.clone());
        }
        let message = format!("{title}\n\n{rest}").trim_end().to_owned();
        Ok(Some(store.put_commit(commit(tree, parents, message, &by))))
    }

    /// Puts the commits of `head` one after another on `base`.
    fn replay(&mut self, repo: u64, actor: u64, base: &str, head: &str) -> Result<Option<String>, Refusal> {
        let by = self.signature(actor);
        let store = self.store_mut(repo)?;
        let mut tip = base.to_owned();
        for id in store.ahead(base, head) {
            let Some(original) = store.commits.get(&id).cloned().filter(|c| c.parents.len() < 2) else {
                return Ok(None);
            };
            let Some(tree) = store.merge_since(original.parents.first().cloned(), &tip, &id) else {
                return Ok(None);
            };
            let replayed = Commit {
                tree,
                parents: vec![tip],
                committer: by.clone(),
                ..original
            };
            tip = store.put_commit(replayed);
        }
        Ok(Some(tip))
    }
}

pub(super) fn commit(tree: String, parents: Vec<String>, message: String, by: &Person) -> Commit {
    Commit {
        tree,
        parents,
        message,
        author: by.clone(),
        committer: by.clone(),
    }
}
