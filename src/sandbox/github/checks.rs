//! Check runs and commit statuses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::render;
use super::state::{CheckRun, Repo, Status, World};
use super::wire::{Refusal, Reply, Req};

/// Longest `summary` and `text` of a check run's output.
const OUTPUT_CHARS_MAX: usize = 65_535;
/// Longest description of a status.
const DESCRIPTION_CHARS_MAX: usize = 140;
/// Most statuses of one commit and context.
const STATUSES_MAX: usize = 1000;

const CONCLUSIONS: [&str; 8] = [
    "action_required",
    "cancelled",
    "failure",
    "neutral",
    "success",
    "skipped",
    "stale",
    "timed_out",
];

/// `POST …/check-runs`.
pub(super) fn create(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let name = req.needed_text("name")?.to_owned();
    let head_sha = req.needed_text("head_sha")?.to_owned();
    if !world.store(req.repo)?.commits.contains_key(&head_sha) {
        return Err(Refusal::unprocessable(&format!("No commit found for SHA: {head_sha}")));
    }
    let now = world.now();
    let mut check = CheckRun {
        id: 0,
        ours: true,
        name,
        head_sha,
        external_id: String::new(),
        details_url: None,
        status: "queued".to_owned(),
        conclusion: None,
        started_at: now,
        completed_at: None,
        title: None,
        summary: None,
        text: None,
    };
    apply(&mut check, req, now, true)?;
    let id = world.add_check(req.repo, check, req.caller.account())?;
    shown(world, req.repo, id).map(Reply::created)
}

/// `PATCH …/check-runs/{id}`.
pub(super) fn update(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let id = req.number("id")?;
    let mut check = find(world.repo(req.repo)?, id)?.clone();
    if !check.ours {
        let message = "Invalid app_id - check run can only be modified by the GitHub App that created it.";
        return Err(Refusal::new(403, message));
    }
    let was_completed = check.status == "completed";
    if let Some(name) = req.owned("name")? {
        check.name = name;
    }
    apply(&mut check, req, world.now(), false)?;
    let completed = check.status == "completed" && !was_completed;
    world.repo_mut(req.repo)?.checks.insert(id, check);
    if completed {
        world.emit_check("completed", req.repo, id, req.caller.account());
    }
    shown(world, req.repo, id).map(Reply::ok)
}

/// `GET …/check-runs/{id}`.
pub(super) fn get(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    shown(world, req.repo, req.number("id")?).map(Reply::ok)
}

/// `GET …/commits/{ref}/check-runs`.
pub(super) fn list(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let name = req.param("sha");
    let missing = || Refusal::unprocessable(&format!("No commit found for SHA: {name}"));
    let sha = world.resolve(req.repo, name).ok_or_else(missing)?;
    let repo = world.repo(req.repo)?;
    let mut found: Vec<&CheckRun> = repo
        .checks
        .values()
        .filter(|c| c.head_sha == sha)
        .filter(|c| req.query("check_name").is_none_or(|name| c.name == name))
        .filter(|c| req.query("status").is_none_or(|status| c.status == status))
        .collect();
    if req.query("filter").unwrap_or("latest") == "latest" {
        // Newest last, so that it is the one that stays.
        let latest: BTreeMap<(&str, bool), u64> = found.iter().map(|c| ((c.name.as_str(), c.ours), c.id)).collect();
        found.retain(|c| latest.values().any(|id| *id == c.id));
    }
    found.reverse();
    let items = found.into_iter().map(|c| render::check_run(world, repo, c)).collect();
    Ok(Reply::counted_page(req, "check_runs", items))
}

fn find(repo: &Repo, id: u64) -> Result<&CheckRun, Refusal> {
    repo.checks.get(&id).ok_or_else(Refusal::not_found)
}

fn shown(world: &World, repo: u64, id: u64) -> Result<Value, Refusal> {
    let repo = world.repo(repo)?;
    Ok(render::check_run(world, repo, find(repo, id)?))
}

/// Takes over what the request says about the check run.
fn apply(check: &mut CheckRun, req: &Req, now: Timestamp, new: bool) -> Result<(), Refusal> {
    if let Some(id) = req.owned("external_id")? {
        check.external_id = id;
    }
    if let Some(url) = req.owned("details_url")? {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Refusal::unprocessable("Details url must use http or https scheme"));
        }
        check.details_url = Some(url);
    }
    let status = req.owned("status")?;
    let statuses = ["queued", "in_progress", "completed", "waiting", "requested", "pending"];
    if let Some(status) = status.as_deref().filter(|s| !statuses.contains(s)) {
        return Err(Refusal::schema(&format!("{status} is not a member of {statuses:?}.")));
    }
    let conclusion = req.owned("conclusion")?;
    if let Some(conclusion) = conclusion.as_deref().filter(|c| !CONCLUSIONS.contains(c)) {
        return Err(Refusal::schema(&format!(
            "{conclusion} is not a member of {CONCLUSIONS:?}."
        )));
    }
    let completed_at = time(req, "completed_at")?;
    let completes = status.as_deref() == Some("completed") || completed_at.is_some();
    if completes && conclusion.is_none() && check.conclusion.is_none() {
        return Err(Refusal::missing("conclusion"));
    }
    if let Some(at) = time(req, "started_at")? {
        check.started_at = at;
    }
    if conclusion.is_some() {
        // Giving a conclusion completes the run whatever the status says.
        check.status = "completed".to_owned();
        check.completed_at = Some(completed_at.unwrap_or(now));
        check.conclusion = conclusion;
    } else if let Some(status) = status {
        if status != "completed" {
            check.conclusion = None;
            check.completed_at = None;
        }
        check.status = status;
    }
    match req.body.get("output") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(output)) => apply_output(check, output, new),
        Some(_) => Err(Refusal::schema("For 'properties/output', the value is not an object.")),
    }
}

fn apply_output(check: &mut CheckRun, output: &Map<String, Value>, new: bool) -> Result<(), Refusal> {
    let text = |field: &str| output.get(field).and_then(Value::as_str);
    if text("summary").is_none() {
        return Err(Refusal::missing("summary"));
    }
    if new && text("title").is_none() {
        return Err(Refusal::missing("title"));
    }
    for length in ["title", "summary", "text"]
        .iter()
        .filter_map(|f| text(f))
        .map(|t| t.chars().count())
    {
        if length > OUTPUT_CHARS_MAX {
            return Err(Refusal::schema(&format!(
                "Only {OUTPUT_CHARS_MAX} characters are allowed; {length} were supplied."
            )));
        }
    }
    check.title = text("title").map(str::to_owned).or(check.title.take());
    check.summary = text("summary").map(str::to_owned);
    check.text = text("text").map(str::to_owned);
    Ok(())
}

fn time(req: &Req, field: &str) -> Result<Option<Timestamp>, Refusal> {
    let invalid = |_| {
        Refusal::schema(&format!(
            "For 'properties/{field}', the value is not a valid date-time."
        ))
    };
    req.text(field)?.map(|at| at.parse().map_err(invalid)).transpose()
}

impl World {
    /// Adds a check run and tells the hook; the answer is its id.
    pub(super) fn add_check(&mut self, repo: u64, mut check: CheckRun, actor: u64) -> Result<u64, Refusal> {
        let id = self.fresh_id();
        check.id = id;
        let completed = check.status == "completed";
        self.repo_mut(repo)?.checks.insert(id, check);
        self.emit_check("created", repo, id, actor);
        if completed {
            self.emit_check("completed", repo, id, actor);
        }
        Ok(id)
    }

    /// Tells the hook about a check run.
    pub(super) fn emit_check(&mut self, action: &str, repo: u64, id: u64, actor: u64) {
        let Ok(mut check) = shown(self, repo, id) else {
            return;
        };
        // Webhooks show the whole suite where the API shows its id.
        let sha = check["head_sha"].clone();
        let branch = check["pull_requests"][0]["head"]["ref"].clone();
        let api = self.repo(repo).map(|r| render::repo_url(self, r)).unwrap_or_default();
        let suite_url = format!("{api}/check-suites/{}", check["check_suite"]["id"]);
        check["check_suite"] = json!({
            "id": check["check_suite"]["id"],
            "node_id": format!("CS_{sha}"),
            "head_branch": branch,
            "head_sha": sha,
            "status": check["status"],
            "conclusion": check["conclusion"],
            "url": suite_url,
            "before": null,
            "after": null,
            "pull_requests": check["pull_requests"],
            "app": check["app"],
            "created_at": check["started_at"],
            "updated_at": check["started_at"],
        });
        self.emit("check_run", action, repo, actor, json!({"check_run": check}));
    }
}

/// `POST …/statuses/{sha}`.
pub(super) fn create_status(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let sha = req.param("sha").to_owned();
    if !world.store(req.repo)?.commits.contains_key(&sha) {
        return Err(Refusal::unprocessable(&format!("No commit found for SHA: {sha}")));
    }
    let state = req.needed_text("state")?.to_owned();
    if !matches!(state.as_str(), "error" | "failure" | "pending" | "success") {
        return Err(Refusal::custom(
            "Status",
            Some("state"),
            "state is not included in the list",
        ));
    }
    let description = req.owned("description")?;
    if description
        .as_ref()
        .is_some_and(|d| d.chars().count() > DESCRIPTION_CHARS_MAX)
    {
        let message = format!("description is too long (maximum is {DESCRIPTION_CHARS_MAX} characters)");
        return Err(Refusal::custom("Status", Some("description"), &message));
    }
    let target_url = req.owned("target_url")?.filter(|url| !url.is_empty());
    if target_url
        .as_ref()
        .is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://"))
    {
        return Err(Refusal::custom(
            "Status",
            Some("target_url"),
            "target_url must use http(s) scheme",
        ));
    }
    let context = req.text("context")?.unwrap_or("default").to_owned();
    let same = |s: &&Status| s.sha == sha && s.context == context;
    if world.repo(req.repo)?.statuses.iter().filter(same).count() >= STATUSES_MAX {
        let message = "This SHA and context has reached the maximum number of statuses.";
        return Err(Refusal::custom("Status", None, message));
    }
    let (id, at, creator) = (world.fresh_id(), world.now(), req.caller.account());
    let status = Status {
        id,
        sha,
        state,
        description,
        target_url,
        context,
        creator,
        at,
    };
    world.repo_mut(req.repo)?.statuses.push(status.clone());
    world.emit_status(req.repo, &status);
    Ok(Reply::created(render::status(world, world.repo(req.repo)?, &status)))
}

/// `GET …/commits/{ref}/statuses`: newest first.
pub(super) fn statuses(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let sha = world
        .resolve(req.repo, req.param("sha"))
        .ok_or_else(Refusal::not_found)?;
    let repo = world.repo(req.repo)?;
    let found = repo.statuses.iter().rev().filter(|s| s.sha == sha);
    Ok(Reply::page(
        req,
        found.map(|s| render::status(world, repo, s)).collect(),
    ))
}

/// `GET …/commits/{ref}/status`: the newest of each context, and what they come to.
pub(super) fn combined_status(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let sha = world
        .resolve(req.repo, req.param("sha"))
        .ok_or_else(Refusal::not_found)?;
    let repo = world.repo(req.repo)?;
    let all = repo.statuses.iter().filter(|s| s.sha == sha);
    let latest: BTreeMap<&str, &Status> = all.map(|s| (s.context.as_str(), s)).collect();
    let any = |states: &[&str]| latest.values().any(|s| states.contains(&s.state.as_str()));
    let state = if any(&["error", "failure"]) {
        "failure"
    } else if latest.is_empty() || any(&["pending"]) {
        "pending"
    } else {
        "success"
    };
    let url = format!("{}/commits/{sha}", render::repo_url(world, repo));
    Ok(Reply::ok(json!({
        "state": state,
        "sha": sha,
        "total_count": latest.len(),
        "statuses": latest.values().map(|s| render::status(world, repo, s)).collect::<Vec<_>>(),
        "repository": render::repo(world, repo),
        "commit_url": url,
        "url": format!("{url}/status"),
    })))
}

impl World {
    fn emit_status(&mut self, repo: u64, status: &Status) {
        let Ok(found) = self.repo(repo) else { return };
        let commit = self.store(repo).ok().and_then(|s| s.commits.get(&status.sha));
        let holds = |(name, head): (&String, &String)| {
            let branch = name.strip_prefix("refs/heads/").filter(|_| *head == status.sha)?;
            let url = format!("{}/commits/{head}", render::repo_url(self, found));
            Some(json!({"name": branch, "commit": {"sha": head, "url": url}, "protected": false}))
        };
        let fields = json!({
            "id": status.id,
            "sha": status.sha,
            "name": found.full_name,
            "target_url": status.target_url,
            "context": status.context,
            "description": status.description,
            "state": status.state,
            "commit": commit.map(|c| render::commit(self, found, &status.sha, c)),
            "branches": found.refs.iter().filter_map(holds).collect::<Vec<_>>(),
            "created_at": render::time(status.at),
            "updated_at": render::time(status.at),
        });
        self.emit("status", "", repo, status.creator, fields);
    }
}
