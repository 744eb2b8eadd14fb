//! Check runs and commit statuses.

use serde_json::{Value, json};

use super::{account, app, foreign_app, node_id, repo_html, repo_url, time, time_or_null};
use crate::sandbox::github::state::{CheckRun, Repo, Status, World};

pub(in super::super) fn check_run(world: &World, repo: &Repo, check: &CheckRun) -> Value {
    let url = format!("{}/check-runs/{}", repo_url(world, repo), check.id);
    let html = format!("{}/runs/{}", repo_html(world, repo), check.id);
    let pulls: Vec<Value> = repo
        .pulls
        .values()
        .filter(|p| p.open && p.head_sha == check.head_sha)
        .map(|p| {
            let minimal = |id: u64, branch: &str, sha: &str| {
                let found = world.repos.get(&id);
                let name = found.map_or("", |r| r.name.as_str());
                let url = found.map(|r| repo_url(world, r));
                json!({"ref": branch, "sha": sha, "repo": {"id": id, "url": url, "name": name}})
            };
            json!({
                "id": p.id,
                "number": p.number,
                "url": format!("{}/pulls/{}", repo_url(world, repo), p.number),
                "head": minimal(p.head_repo, &p.head_ref, &p.head_sha),
                "base": minimal(repo.id, &p.base_ref, &p.base_sha),
            })
        })
        .collect();
    json!({
        "id": check.id,
        "name": check.name,
        "node_id": node_id("CR", check.id),
        "head_sha": check.head_sha,
        "external_id": check.external_id,
        "url": url,
        "html_url": html,
        "details_url": check.details_url.as_ref().unwrap_or(&html),
        "status": check.status,
        "conclusion": check.conclusion,
        "started_at": time(check.started_at),
        "completed_at": time_or_null(check.completed_at),
        "output": {
            "title": check.title,
            "summary": check.summary,
            "text": check.text,
            "annotations_count": 0,
            "annotations_url": format!("{url}/annotations"),
        },
        "check_suite": {"id": suite_id(&check.head_sha)},
        "app": if check.ours { app(world) } else { foreign_app(world) },
        "pull_requests": pulls,
    })
}

/// One suite per commit.
pub(in super::super) fn suite_id(sha: &str) -> u64 {
    sha.get(..8)
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or_default()
}

pub(in super::super) fn status(world: &World, repo: &Repo, status: &Status) -> Value {
    let creator = account(world, status.creator);
    json!({
        "url": format!("{}/statuses/{}", repo_url(world, repo), status.sha),
        "avatar_url": creator["avatar_url"],
        "id": status.id,
        "node_id": node_id("SC", status.id),
        "state": status.state,
        "description": status.description,
        "target_url": status.target_url,
        "context": status.context,
        "created_at": time(status.at),
        "updated_at": time(status.at),
        "creator": creator,
    })
}

/// A completed workflow run as its webhook shows it.
pub(in super::super) fn workflow_run(
    world: &World,
    repo: &Repo,
    (id, actor): (u64, u64),
    sha: &str,
    (name, conclusion): (&str, &str),
) -> Value {
    let (api, html) = (repo_url(world, repo), repo_html(world, repo));
    let url = format!("{api}/actions/runs/{id}");
    let head =
        |(name, head): (&String, &String)| (head == sha).then(|| name.trim_start_matches("refs/heads/").to_owned());
    let branch = repo.refs.iter().find_map(head);
    let now = time(world.now());
    let shown = super::repo(world, repo);
    let actor = account(world, actor);
    let workflow = json!({
        "id": suite_id(sha),
        "node_id": node_id("W", sha),
        "name": name,
        "path": format!(".github/workflows/{name}.yml"),
        "state": "active",
        "created_at": now,
        "updated_at": now,
        "url": format!("{api}/actions/workflows/{}", suite_id(sha)),
        "html_url": format!("{html}/actions/workflows/{name}.yml"),
        "badge_url": format!("{html}/workflows/{name}/badge.svg"),
    });
    let run = json!({
            "id": id,
            "name": name,
            "node_id": node_id("WFR", id),
            "head_branch": branch,
            "head_sha": sha,
            "path": format!(".github/workflows/{name}.yml"),
            "display_title": name,
            "run_number": 1,
            "run_attempt": 1,
            "event": "push",
            "status": "completed",
            "conclusion": conclusion,
            "workflow_id": suite_id(sha),
            "check_suite_id": suite_id(sha),
            "check_suite_node_id": node_id("CS", sha),
            "url": url,
            "html_url": format!("{html}/actions/runs/{id}"),
            "pull_requests": [],
            "created_at": now,
            "updated_at": now,
            "run_started_at": now,
            "actor": actor,
            "triggering_actor": actor,
            "jobs_url": format!("{url}/jobs"),
            "logs_url": format!("{url}/logs"),
            "check_suite_url": format!("{api}/check-suites/{}", suite_id(sha)),
            "artifacts_url": format!("{url}/artifacts"),
            "cancel_url": format!("{url}/cancel"),
            "rerun_url": format!("{url}/rerun"),
            "previous_attempt_url": null,
            "workflow_url": format!("{api}/actions/workflows/{}", suite_id(sha)),
            "head_commit": {
                "id": sha,
                "tree_id": sha,
                "message": "",
                "timestamp": now,
                "author": {"name": "ci", "email": "ci@example.invalid"},
                "committer": {"name": "ci", "email": "ci@example.invalid"},
            },
            "repository": shown,
            "head_repository": shown,
    });
    json!({"workflow_run": run, "workflow": workflow})
}
