//! The little of GraphQL that is asked for: whether a comment was edited, and moving references by comparison.
//!
//! Facts: GitHub's GraphQL reference (`Comment`, `updateRefs`, `RefUpdate`). What is wrong is told with status 200.

use serde_json::{Map, Value, json};

use super::auth::admit_to_repo;
use super::render::node_id;
use super::state::{Access, Comment, World};
use super::wire::{Refusal, Reply, Req};

/// Stands for "no such reference".
const NOWHERE: &str = "0000000000000000000000000000000000000000";

/// What went wrong: the type of the error, and its message.
type Wrong = (&'static str, String);

/// `POST /graphql`.
pub(super) fn serve(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let text = req.needed_text("query")?.to_owned();
    let none = Map::new();
    let variables = req.body.get("variables").and_then(Value::as_object).unwrap_or(&none);
    let (name, answer) = if text.contains("updateRefs(") {
        ("updateRefs", update_refs(world, req, variables))
    } else if text.contains("node(") && text.contains("... on Comment") {
        ("node", comment(world, req, &text, variables))
    } else {
        (
            "",
            Err(("undefinedField", "Field doesn't exist on type 'Query'".to_owned())),
        )
    };
    Ok(Reply::ok(match answer {
        Ok(found) => json!({"data": {name: found}}),
        Err((kind, message)) => json!({
            "data": {name: null},
            "errors": [{"type": kind, "path": [name], "message": message}],
        }),
    }))
}

fn comment(world: &World, req: &Req, query: &str, variables: &Map<String, Value>) -> Result<Value, Wrong> {
    let id = text(variables, "id");
    let missing = || {
        (
            "NOT_FOUND",
            format!("Could not resolve to a node with the global id of '{id}'"),
        )
    };
    let (repo, comment) = find(world, id).ok_or_else(missing)?;
    admit_to_repo(world, &req.caller, repo, "pull_requests|issues", Access::Read).map_err(|_| missing())?;
    let editor = comment.editor.and_then(|id| world.accounts.get(&id));
    let mut shown = Map::new();
    if query.contains("lastEditedAt") {
        let at = (comment.edits > 0).then(|| comment.updated_at.to_string());
        shown.insert("lastEditedAt".to_owned(), json!(at));
    }
    if query.contains("editor") {
        shown.insert("editor".to_owned(), json!(editor.map(|by| json!({"login": by.login}))));
    }
    Ok(Value::Object(shown))
}

fn find<'w>(world: &'w World, id: &str) -> Option<(u64, &'w Comment)> {
    world.repos.values().find_map(|repo| {
        let issue = repo.comments.values().map(|said| ("IC", said));
        let review = repo.review_comments.values().map(|of| ("PRRC", &of.said));
        let mut all = issue.chain(review);
        let (_, said) = all.find(|(kind, said)| node_id(kind, said.id) == id)?;
        Some((repo.id, said))
    })
}

/// All or nothing: each reference must be where the update says it is.
fn update_refs(world: &mut World, req: &Req, variables: &Map<String, Value>) -> Result<Value, Wrong> {
    let input = variables.get("input").and_then(Value::as_object);
    let input = input.ok_or_else(|| invalid("Variable $input of type UpdateRefsInput! was provided invalid value"))?;
    let updates = input.get("refUpdates").and_then(Value::as_array).map(Vec::as_slice);
    let Some([Value::Object(update)]) = updates else {
        return Err(invalid("the stand-in takes one reference at a time"));
    };
    let id = text(input, "repositoryId");
    let repo = world.repos.values().find(|repo| node_id("R", repo.id) == id);
    let repo = repo.ok_or_else(|| {
        (
            "NOT_FOUND",
            format!("Could not resolve to a node with the global id of '{id}'"),
        )
    })?;
    let number = repo.id;
    let forbidden = |_| ("FORBIDDEN", "Resource not accessible by integration".to_owned());
    admit_to_repo(world, &req.caller, number, "contents", Access::Write).map_err(forbidden)?;
    let [branch, before, after] = ["name", "beforeOid", "afterOid"].map(|name| text(update, name).to_owned());
    let refused = |why: String| ("UNPROCESSABLE", why);
    let at = repo.refs.get(&branch).map_or(NOWHERE, String::as_str);
    if !before.is_empty() && at != before {
        return Err(refused(format!("{branch} is at {at} but expected {before}")));
    }
    if after != NOWHERE {
        return Err(refused("the stand-in only deletes".to_owned()));
    }
    if branch == format!("refs/heads/{}", repo.default_branch) {
        return Err(refused("Cannot delete the default branch".to_owned()));
    }
    let moved = world.move_ref(number, req.caller.account(), &branch, None);
    moved.map_err(|refusal| refused(refusal.to_string()))?;
    Ok(json!({"clientMutationId": null}))
}

fn invalid(why: &str) -> Wrong {
    ("INVALID", why.to_owned())
}

fn text<'v>(variables: &'v Map<String, Value>, name: &str) -> &'v str {
    variables.get(name).and_then(Value::as_str).unwrap_or_default()
}
