//! References, commits and trees.

use serde_json::{Value, json};

use super::{node_id, repo_html, repo_url, simple_user, time};
use crate::sandbox::github::git::{Commit, Person, TREE};
use crate::sandbox::github::state::{Repo, World};

pub(in super::super) fn git_ref(world: &World, repo: &Repo, name: &str, sha: &str) -> Value {
    let url = repo_url(world, repo);
    json!({
        "ref": name,
        "node_id": node_id("REF", name),
        "url": format!("{url}/git/{name}"),
        "object": {"type": "commit", "sha": sha, "url": format!("{url}/git/commits/{sha}")},
    })
}

fn signature(person: &Person) -> Value {
    json!({"name": person.name, "email": person.email, "date": time(person.date)})
}

fn verification() -> Value {
    json!({"verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null})
}

pub(in super::super) fn git_commit(world: &World, repo: &Repo, sha: &str, commit: &Commit) -> Value {
    let (url, html) = (repo_url(world, repo), repo_html(world, repo));
    let parent = |p: &String| json!({"sha": p, "url": format!("{url}/git/commits/{p}"), "html_url": format!("{html}/commit/{p}")});
    json!({
        "sha": sha,
        "node_id": node_id("C", sha),
        "url": format!("{url}/git/commits/{sha}"),
        "html_url": format!("{html}/commit/{sha}"),
        "author": signature(&commit.author),
        "committer": signature(&commit.committer),
        "tree": {"sha": commit.tree, "url": format!("{url}/git/trees/{}", commit.tree)},
        "message": commit.message,
        "parents": commit.parents.iter().map(parent).collect::<Vec<_>>(),
        "verification": verification(),
    })
}

/// A commit as the repository's history shows it.
pub(in super::super) fn commit(world: &World, repo: &Repo, sha: &str, commit: &Commit) -> Value {
    let (url, html) = (repo_url(world, repo), repo_html(world, repo));
    let parent =
        |p: &String| json!({"sha": p, "url": format!("{url}/commits/{p}"), "html_url": format!("{html}/commit/{p}")});
    let by = |person: &Person| {
        world
            .account_by_login(&person.name)
            .map_or(Value::Null, |a| simple_user(world, a))
    };
    json!({
        "sha": sha,
        "node_id": node_id("C", sha),
        "commit": {
            "author": signature(&commit.author),
            "committer": signature(&commit.committer),
            "message": commit.message,
            "tree": {"sha": commit.tree, "url": format!("{url}/git/trees/{}", commit.tree)},
            "url": format!("{url}/git/commits/{sha}"),
            "comment_count": 0,
            "verification": verification(),
        },
        "url": format!("{url}/commits/{sha}"),
        "html_url": format!("{html}/commit/{sha}"),
        "comments_url": format!("{url}/commits/{sha}/comments"),
        "author": by(&commit.author),
        "committer": by(&commit.committer),
        "parents": commit.parents.iter().map(parent).collect::<Vec<_>>(),
    })
}

pub(in super::super) fn tree_entry(
    world: &World,
    repo: &Repo,
    path: &str,
    mode: &str,
    sha: &str,
    size: Option<usize>,
) -> Value {
    let kind = if mode == TREE { "tree" } else { "blob" };
    let url = format!("{}/git/{kind}s/{sha}", repo_url(world, repo));
    let mut entry = json!({"path": path, "mode": mode, "type": kind, "sha": sha, "url": url});
    if let Some(size) = size {
        entry["size"] = json!(size);
    }
    entry
}
