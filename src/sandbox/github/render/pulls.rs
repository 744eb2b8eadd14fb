//! Pull requests, also as the issues that they are.

use serde_json::{Value, json};

use super::talk::{rollup, via_app};
use super::{account, node_id, repo, repo_html, repo_url, time, time_or_null};
use crate::sandbox::github::git::object_id;
use crate::sandbox::github::state::{Level, Pull, Repo, World};

/// `MEMBER`, `COLLABORATOR` and so on. Never to be trusted by itself, which is why it is here.
pub(super) fn association(world: &World, repo: &Repo, account: u64) -> &'static str {
    let in_team = world
        .teams
        .iter()
        .any(|((org, _), members)| *org == repo.owner && members.get(&account).is_some_and(|m| m.active));
    if repo.owner == account {
        "OWNER"
    } else if in_team {
        "MEMBER"
    } else if repo.levels.get(&account).is_some_and(|level| *level > Level::None) {
        "COLLABORATOR"
    } else {
        "NONE"
    }
}

pub(in super::super) fn label(world: &World, repo: &Repo, name: &str) -> Value {
    let id = u64::from_str_radix(&object_id("label", name.as_bytes())[..8], 16).unwrap_or_default();
    json!({
        "id": id,
        "node_id": node_id("LA", id),
        "url": format!("{}/labels/{name}", repo_url(world, repo)),
        "name": name,
        "color": "ededed",
        "default": false,
        "description": null,
    })
}

fn side(world: &World, repo_id: u64, branch: &str, sha: &str) -> Value {
    let found = world.repos.get(&repo_id);
    let owner = found.map_or(Value::Null, |r| account(world, r.owner));
    let login = owner["login"].as_str().unwrap_or("unknown").to_owned();
    json!({
        "label": format!("{login}:{branch}"),
        "ref": branch,
        "sha": sha,
        "user": owner,
        "repo": found.map_or(Value::Null, |r| repo(world, r)),
    })
}

/// A pull request in a list.
pub(in super::super) fn pull(world: &World, repo: &Repo, pull: &Pull) -> Value {
    let (api, page) = (repo_url(world, repo), repo_html(world, repo));
    let n = pull.number;
    let (url, issue, html) = (
        format!("{api}/pulls/{n}"),
        format!("{api}/issues/{n}"),
        format!("{page}/pull/{n}"),
    );
    // While open, and when closed unmerged, this is the vendor's test merge: not a sign of having been merged.
    let test_merge = object_id("test merge", format!("{}{}", pull.base_sha, pull.head_sha).as_bytes());
    let merge_commit = pull.merged.as_ref().map_or(&test_merge, |m| &m.sha);
    let statuses = format!("{api}/statuses/{}", pull.head_sha);
    let review_comment = format!("{api}/pulls/comments{{/number}}");
    let link = |href: &str| json!({"href": href});
    json!({
        "url": url,
        "id": pull.id,
        "node_id": node_id("PR", pull.id),
        "html_url": html,
        "diff_url": format!("{html}.diff"),
        "patch_url": format!("{html}.patch"),
        "issue_url": issue,
        "number": n,
        "state": if pull.open { "open" } else { "closed" },
        "locked": false,
        "title": pull.title,
        "user": account(world, pull.author),
        "body": pull.body,
        "created_at": time(pull.created_at),
        "updated_at": time(pull.updated_at),
        "closed_at": time_or_null(pull.closed_at),
        "merged_at": time_or_null(pull.merged.as_ref().map(|m| m.at)),
        "merge_commit_sha": if pull.unknown_for > 0 && pull.merged.is_none() { Value::Null } else { json!(merge_commit) },
        "assignee": null,
        "assignees": [],
        "requested_reviewers": [],
        "requested_teams": [],
        "labels": pull.labels.iter().map(|name| label(world, repo, name)).collect::<Vec<_>>(),
        "milestone": null,
        "draft": pull.draft,
        "commits_url": format!("{url}/commits"),
        "review_comments_url": format!("{url}/comments"),
        "review_comment_url": review_comment,
        "comments_url": format!("{issue}/comments"),
        "statuses_url": statuses,
        "head": side(world, pull.head_repo, &pull.head_ref, &pull.head_sha),
        "base": side(world, repo.id, &pull.base_ref, &pull.base_sha),
        "_links": {
            "self": link(&url),
            "html": link(&html),
            "issue": link(&issue),
            "comments": link(&format!("{issue}/comments")),
            "review_comments": link(&format!("{url}/comments")),
            "review_comment": link(&review_comment),
            "commits": link(&format!("{url}/commits")),
            "statuses": link(&statuses),
        },
        "author_association": association(world, repo, pull.author),
        "auto_merge": null,
        "active_lock_reason": null,
    })
}

/// A pull request when it is asked for itself.
pub(in super::super) fn full_pull(world: &World, repo: &Repo, found: &Pull) -> Value {
    let mut body = pull(world, repo, found);
    let (mergeable, state) = mergeability(world, repo, found);
    body["merged"] = json!(found.merged.is_some());
    body["mergeable"] = mergeable;
    body["rebaseable"] = body["mergeable"].clone();
    body["mergeable_state"] = json!(state);
    body["merged_by"] = found.merged.as_ref().map_or(Value::Null, |m| account(world, m.by));
    body["comments"] = json!(repo.comments.values().filter(|c| c.number == found.number).count());
    body["review_comments"] = json!(
        repo.review_comments
            .values()
            .filter(|c| c.said.number == found.number)
            .count()
    );
    body["maintainer_can_modify"] = json!(false);
    let (commits, (files, added, removed)) = world.store(repo.id).map_or((0, (0, 0, 0)), |store| {
        let base = store.merge_base(&found.base_sha, &found.head_sha).unwrap_or_default();
        (
            store.ahead(&found.base_sha, &found.head_sha).len(),
            store.difference(&base, &found.head_sha),
        )
    });
    body["commits"] = json!(commits);
    body["additions"] = json!(added);
    body["deletions"] = json!(removed);
    body["changed_files"] = json!(files);
    body
}

fn mergeability(world: &World, repo: &Repo, pull: &Pull) -> (Value, &'static str) {
    if !pull.open || pull.unknown_for > 0 {
        return (Value::Null, "unknown");
    }
    let base = world.branch_head(repo.id, &pull.base_ref).unwrap_or_default();
    if !world.store(repo.id).is_ok_and(|s| s.merges(&base, &pull.head_sha)) {
        return (json!(false), "dirty");
    }
    if pull.draft {
        return (json!(true), "draft");
    }
    let blocked = repo.merge_blocked.is_some() || pull.approvals.len() < repo.required_reviews;
    (json!(true), if blocked { "blocked" } else { "clean" })
}

/// A pull request as the issue that it also is.
pub(in super::super) fn issue(world: &World, repo: &Repo, pull: &Pull) -> Value {
    let (api, page) = (repo_url(world, repo), repo_html(world, repo));
    let n = pull.number;
    let (url, html) = (format!("{api}/issues/{n}"), format!("{page}/pull/{n}"));
    let comments = repo.comments.values().filter(|c| c.number == n).count();
    json!({
        "url": url,
        "repository_url": api,
        "labels_url": format!("{url}/labels{{/name}}"),
        "comments_url": format!("{url}/comments"),
        "events_url": format!("{url}/events"),
        "timeline_url": format!("{url}/timeline"),
        "html_url": html,
        "id": pull.id + 1,
        "node_id": node_id("PR", pull.id),
        "number": n,
        "title": pull.title,
        "user": account(world, pull.author),
        "labels": pull.labels.iter().map(|name| label(world, repo, name)).collect::<Vec<_>>(),
        "state": if pull.open { "open" } else { "closed" },
        "state_reason": null,
        "locked": false,
        "assignee": null,
        "assignees": [],
        "milestone": null,
        "comments": comments,
        "created_at": time(pull.created_at),
        "updated_at": time(pull.updated_at),
        "closed_at": time_or_null(pull.closed_at),
        "author_association": association(world, repo, pull.author),
        "active_lock_reason": null,
        "draft": pull.draft,
        "pull_request": {
            "url": format!("{api}/pulls/{n}"),
            "html_url": html,
            "diff_url": format!("{html}.diff"),
            "patch_url": format!("{html}.patch"),
            "merged_at": time_or_null(pull.merged.as_ref().map(|m| m.at)),
        },
        "body": pull.body,
        "reactions": rollup(&format!("{url}/reactions"), &[]),
        "performed_via_github_app": via_app(world, pull.author),
    })
}

/// An approving review as its webhook shows it.
pub(in super::super) fn approval(world: &World, repo: &Repo, found: &Pull, reviewer: u64) -> Value {
    let mut review = review(world, repo, found, reviewer);
    review["state"] = json!("approved");
    review["updated_at"] = json!(time(world.now()));
    json!({ "review": review, "pull_request": pull(world, repo, found) })
}

/// A review as lists have it; there its state is in capitals.
pub(in super::super) fn review(world: &World, repo: &Repo, found: &Pull, reviewer: u64) -> Value {
    let html = format!("{}/pull/{}#pullrequestreview-1", repo_html(world, repo), found.number);
    let url = format!("{}/pulls/{}", repo_url(world, repo), found.number);
    json!({
        "id": reviewer,
        "node_id": node_id("PRR", reviewer),
        "user": account(world, reviewer),
        "body": null,
        "commit_id": found.head_sha,
        "submitted_at": time(world.now()),
        "state": "APPROVED",
        "html_url": html,
        "pull_request_url": url,
        "author_association": association(world, repo, reviewer),
        "_links": {"html": {"href": html}, "pull_request": {"href": url}},
    })
}
