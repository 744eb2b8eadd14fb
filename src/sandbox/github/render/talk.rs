//! Comments and reactions.

use serde_json::{Value, json};

use super::pulls::association;
use super::{account, app, node_id, repo_html, repo_url, time};
use crate::sandbox::github::state::{Comment, Reaction, Repo, ReviewComment, World};

/// The app through which its own bot spoke.
pub(super) fn via_app(world: &World, author: u64) -> Value {
    let ours = world.app.as_ref().is_some_and(|app| app.bot == author);
    if ours { app(world) } else { Value::Null }
}

pub(in super::super) const REACTIONS: [&str; 8] =
    ["+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes"];

pub(super) fn rollup(url: &str, reactions: &[Reaction]) -> Value {
    let mut body = json!({"url": url, "total_count": reactions.len()});
    for content in REACTIONS {
        body[content] = json!(reactions.iter().filter(|r| r.content == content).count());
    }
    body
}

pub(in super::super) fn comment(world: &World, repo: &Repo, comment: &Comment) -> Value {
    let (api, page) = (repo_url(world, repo), repo_html(world, repo));
    let url = format!("{api}/issues/comments/{}", comment.id);
    json!({
        "url": url,
        "html_url": format!("{page}/pull/{}#issuecomment-{}", comment.number, comment.id),
        "issue_url": format!("{api}/issues/{}", comment.number),
        "id": comment.id,
        "node_id": node_id("IC", comment.id),
        "user": account(world, comment.author),
        "created_at": time(comment.created_at),
        "updated_at": time(comment.updated_at),
        "body": comment.body,
        "author_association": association(world, repo, comment.author),
        "reactions": rollup(&format!("{url}/reactions"), &comment.reactions),
        "performed_via_github_app": match comment.via_app {
            Some(id) => super::some_app(world, id, "somebody-elses-app", Value::Null),
            None => via_app(world, comment.author),
        },
    })
}

pub(in super::super) fn review_comment(world: &World, repo: &Repo, comment: &ReviewComment) -> Value {
    let (api, page) = (repo_url(world, repo), repo_html(world, repo));
    let said = &comment.said;
    let url = format!("{api}/pulls/comments/{}", said.id);
    let html = format!("{page}/pull/{}#discussion_r{}", said.number, said.id);
    let pull = format!("{api}/pulls/{}", said.number);
    let position = comment.line.unwrap_or(1);
    let mut body = json!({
        "url": url,
        "pull_request_review_id": said.id + 1,
        "id": said.id,
        "node_id": node_id("PRRC", said.id),
        "diff_hunk": "@@ -1 +1 @@",
        "path": comment.path,
        "commit_id": comment.commit_id,
        "original_commit_id": comment.commit_id,
        "user": account(world, said.author),
        "body": said.body,
        "created_at": time(said.created_at),
        "updated_at": time(said.updated_at),
        "html_url": html,
        "pull_request_url": pull,
        "author_association": association(world, repo, said.author),
        "_links": {"self": {"href": url}, "html": {"href": html}, "pull_request": {"href": pull}},
        "reactions": rollup(&format!("{url}/reactions"), &said.reactions),
        "start_line": null,
        "original_start_line": null,
        "start_side": null,
        "line": comment.line,
        "original_line": comment.line,
        "side": "RIGHT",
        "original_position": position,
        "position": position,
        "subject_type": if comment.line.is_some() { "line" } else { "file" },
    });
    if let Some(parent) = comment.in_reply_to {
        body["in_reply_to_id"] = json!(parent);
    }
    body
}

pub(in super::super) fn reaction(world: &World, reaction: &Reaction) -> Value {
    json!({
        "id": reaction.id,
        "node_id": node_id("REA", reaction.id),
        "user": account(world, reaction.user),
        "content": reaction.content,
        "created_at": time(reaction.at),
    })
}
