//! Branches and other references, and what moving them does to pull requests.

use serde_json::{Value, json};

use super::render;
use super::state::World;
use super::wire::{Refusal, Reply, Req};

/// `GET …/git/ref/{ref}`.
pub(super) fn get(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    let name = format!("refs/{}", req.param("name"));
    let sha = repo.refs.get(&name).ok_or_else(Refusal::not_found)?;
    Ok(Reply::ok(render::git_ref(world, repo, &name, sha)))
}

/// `GET …/git/matching-refs/{ref}`: all that begin so.
pub(super) fn matching(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    let prefix = format!("refs/{}", req.param("name"));
    let found = repo.refs.iter().filter(|(name, _)| name.starts_with(&prefix));
    let found = found
        .map(|(name, sha)| render::git_ref(world, repo, name, sha))
        .collect();
    Ok(Reply::page(req, found))
}

/// `POST …/git/refs`.
pub(super) fn create(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let name = req.needed_text("ref")?.to_owned();
    let sha = req.needed_text("sha")?.to_owned();
    if !name.starts_with("refs/") || name.matches('/').count() < 2 || !is_valid_name(&name) {
        return Err(Refusal::unprocessable("Reference name is not valid."));
    }
    check_commit(world, req.repo, &sha)?;
    let refs = &world.repo(req.repo)?.refs;
    if refs.contains_key(&name) {
        return Err(Refusal::unprocessable("Reference already exists"));
    }
    // A reference cannot be both a name and a directory of names.
    let below = format!("{name}/");
    if refs
        .keys()
        .any(|known| known.starts_with(&below) || name.starts_with(&format!("{known}/")))
    {
        return Err(Refusal::unprocessable("Reference update failed"));
    }
    world.move_ref(req.repo, req.caller.account(), &name, Some(&sha))?;
    let repo = world.repo(req.repo)?;
    Ok(Reply::created(render::git_ref(world, repo, &name, &sha)))
}

/// `PATCH …/git/refs/{ref}`.
pub(super) fn update(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let name = format!("refs/{}", req.param("name"));
    let sha = req.needed_text("sha")?.to_owned();
    let old = world.repo(req.repo)?.refs.get(&name).cloned();
    let old = old.ok_or_else(|| Refusal::unprocessable("Reference does not exist"))?;
    check_commit(world, req.repo, &sha)?;
    if !req.flag("force")? && !world.store(req.repo)?.contains(&sha, &old) {
        return Err(Refusal::unprocessable("Update is not a fast forward"));
    }
    world.move_ref(req.repo, req.caller.account(), &name, Some(&sha))?;
    let repo = world.repo(req.repo)?;
    Ok(Reply::ok(render::git_ref(world, repo, &name, &sha)))
}

/// `DELETE …/git/refs/{ref}`.
pub(super) fn delete(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let name = format!("refs/{}", req.param("name"));
    let repo = world.repo(req.repo)?;
    if !repo.refs.contains_key(&name) {
        return Err(Refusal::unprocessable("Reference does not exist"));
    }
    if name == format!("refs/heads/{}", repo.default_branch) {
        return Err(Refusal::unprocessable("Cannot delete the default branch"));
    }
    world.move_ref(req.repo, req.caller.account(), &name, None)?;
    Ok(Reply::no_content())
}

/// `GET …/branches`.
pub(super) fn branches(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    let short = |(name, sha): (&String, &String)| {
        let branch = name.strip_prefix("refs/heads/")?;
        let url = format!("{}/commits/{sha}", render::repo_url(world, repo));
        Some(json!({"name": branch, "commit": {"sha": sha, "url": url}, "protected": false}))
    };
    Ok(Reply::page(req, repo.refs.iter().filter_map(short).collect()))
}

/// `GET …/branches/{branch}`.
pub(super) fn branch(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let name = req.param("name");
    let missing = || Refusal::new(404, "Branch not found");
    let sha = world.branch_head(req.repo, name).ok_or_else(missing)?;
    let repo = world.repo(req.repo)?;
    let commit = world.store(req.repo)?.commits.get(&sha).ok_or_else(missing)?;
    let url = format!("{}/branches/{name}", render::repo_url(world, repo));
    let protected = name == repo.default_branch && repo.required_reviews > 0;
    Ok(Reply::ok(json!({
        "name": name,
        "commit": render::commit(world, repo, &sha, commit),
        "_links": {"self": url, "html": format!("{}/tree/{name}", render::repo_html(world, repo))},
        "protected": protected,
        "protection": {"enabled": protected, "required_status_checks": {"enforcement_level": "off", "contexts": [], "checks": []}},
        "protection_url": format!("{url}/protection"),
    })))
}

/// `GET …/commits/{ref}`.
pub(super) fn commit(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let name = req.param("sha");
    let missing = || Refusal::unprocessable(&format!("No commit found for SHA: {name}"));
    let sha = world.resolve(req.repo, name).ok_or_else(missing)?;
    let found = world.store(req.repo)?.commits.get(&sha).ok_or_else(missing)?;
    Ok(Reply::ok(render::commit(world, world.repo(req.repo)?, &sha, found)))
}

fn check_commit(world: &World, repo: u64, sha: &str) -> Result<(), Refusal> {
    let store = world.store(repo)?;
    if sha.len() != 40 || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Refusal::schema(&format!(
            "For 'properties/sha', \"{sha}\" is not a valid SHA."
        )));
    }
    if store.commits.contains_key(sha) {
        return Ok(());
    }
    let other = store.blobs.contains_key(sha) || store.trees.contains_key(sha);
    Err(Refusal::unprocessable(if other {
        "Object is not a commit"
    } else {
        "Object does not exist"
    }))
}

/// `git check-ref-format`.
fn is_valid_name(name: &str) -> bool {
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let bad_char = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    !(name.split('/').any(bad_part)
        || name.chars().any(bad_char)
        || name.contains("..")
        || name.contains("@{")
        || name.ends_with('.'))
}

impl World {
    /// Points a reference elsewhere (`None`: removes it), with all that follows for pull requests.
    pub(super) fn move_ref(&mut self, repo: u64, actor: u64, name: &str, to: Option<&str>) -> Result<(), Refusal> {
        let refs = &mut self.repo_mut(repo)?.refs;
        let before = match to {
            Some(sha) => refs.insert(name.to_owned(), sha.to_owned()),
            None => refs.remove(name),
        };
        let Some(branch) = name.strip_prefix("refs/heads/") else {
            return Ok(());
        };
        if before.as_deref() != to {
            self.record_activity(repo, actor, name, (before.as_deref(), to))?;
        }
        let follows: Vec<(u64, u64)> = self
            .repos
            .values()
            .flat_map(|r| r.pulls.values().map(move |p| (r.id, p)))
            .filter(|(_, p)| p.open && p.head_repo == repo && p.head_ref == branch)
            .map(|(base, p)| (base, p.number))
            .collect();
        for (base, number) in follows {
            match to {
                Some(sha) => self.synchronize(base, number, actor, sha)?,
                None => self.close(base, number, actor)?,
            }
        }
        Ok(())
    }

    fn synchronize(&mut self, repo: u64, number: u64, actor: u64, sha: &str) -> Result<(), Refusal> {
        let slow = self.slow_mergeability;
        let base_ref = self.pull(repo, number)?.base_ref.clone();
        let base_sha = self.branch_head(repo, &base_ref);
        let pull = self.pull_mut(repo, number)?;
        if pull.head_sha == sha {
            return Ok(());
        }
        let before = std::mem::replace(&mut pull.head_sha, sha.to_owned());
        pull.unknown_for = slow;
        pull.base_sha = base_sha.unwrap_or_else(|| pull.base_sha.clone());
        self.emit_pull(
            "synchronize",
            repo,
            number,
            actor,
            json!({"before": before, "after": sha}),
        );
        Ok(())
    }

    /// Tells the hook about a pull request.
    pub(super) fn emit_pull(&mut self, action: &str, repo: u64, number: u64, actor: u64, more: Value) {
        let (Ok(found), Ok(pull)) = (self.repo(repo), self.pull(repo, number)) else {
            return;
        };
        let mut fields = json!({"number": number, "pull_request": render::full_pull(self, found, pull)});
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        self.emit("pull_request", action, repo, actor, fields);
    }
}
