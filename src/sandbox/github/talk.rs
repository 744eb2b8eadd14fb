//! What is said about pull requests: comments, review comments, reactions.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::auth::Caller;
use super::pulls::BODY_CHARS_MAX;
use super::render;
use super::state::{Comment, Level, Reaction, ReviewComment, World};
use super::wire::{Refusal, Reply, Req};

const SUBMITTED_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// `GET …/issues/{n}/comments`.
pub(super) fn list(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let number = req.number("n")?;
    world.pull(req.repo, number)?;
    comments(world, req, Some(number))
}

/// `GET …/issues/comments`: all of the repository.
pub(super) fn list_all(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    comments(world, req, None)
}

fn comments(world: &World, req: &Req, number: Option<u64>) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    let since = since(req)?;
    let mut found: Vec<&Comment> = repo
        .comments
        .values()
        .filter(|c| number.is_none_or(|n| c.number == n))
        .filter(|c| since.is_none_or(|at| c.updated_at >= at))
        .collect();
    if number.is_none() && req.query("sort") == Some("updated") {
        found.sort_by_key(|c| (c.updated_at, c.id));
    }
    if number.is_none() && req.query("direction") == Some("desc") {
        found.reverse();
    }
    let items = found.into_iter().map(|c| render::comment(world, repo, c)).collect();
    Ok(Reply::page(req, items))
}

fn since(req: &Req) -> Result<Option<Timestamp>, Refusal> {
    let invalid = |_| Refusal::unprocessable("since is not a valid timestamp");
    req.query("since").map(|at| at.parse().map_err(invalid)).transpose()
}

/// `POST …/issues/{n}/comments`.
pub(super) fn create(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let body = req.needed_text("body")?.to_owned();
    let id = world.comment(req.repo, req.number("n")?, req.caller.account(), body)?;
    shown(world, req.repo, id).map(Reply::created)
}

/// `GET …/issues/comments/{id}`.
pub(super) fn get(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    shown(world, req.repo, req.number("id")?).map(Reply::ok)
}

/// `PATCH …/issues/comments/{id}`.
pub(super) fn edit(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let id = req.number("id")?;
    let body = req.needed_text("body")?.to_owned();
    let author = find(world, req.repo, id)?.author;
    may_change(world, req, author)?;
    world.edit_comment(req.repo, id, req.caller.account(), body)?;
    shown(world, req.repo, id).map(Reply::ok)
}

/// `DELETE …/issues/comments/{id}`.
pub(super) fn delete(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let id = req.number("id")?;
    let author = find(world, req.repo, id)?.author;
    may_change(world, req, author)?;
    world.delete_comment(req.repo, id, req.caller.account())?;
    Ok(Reply::no_content())
}

fn find(world: &World, repo: u64, id: u64) -> Result<&Comment, Refusal> {
    world.repo(repo)?.comments.get(&id).ok_or_else(Refusal::not_found)
}

fn shown(world: &World, repo: u64, id: u64) -> Result<Value, Refusal> {
    Ok(render::comment(world, world.repo(repo)?, find(world, repo, id)?))
}

/// What others said may be changed by those who may push.
fn may_change(world: &World, req: &Req, author: u64) -> Result<(), Refusal> {
    match &req.caller {
        Caller::User(id) if *id != author && world.level(world.repo(req.repo)?, *id) < Level::Write => {
            Err(Refusal::new(403, "Must have admin rights to Repository."))
        }
        _ => Ok(()),
    }
}

fn check_body(resource: &str, body: &str) -> Result<(), Refusal> {
    let refuse = |message: &str| {
        let error = json!({"resource": resource, "code": "unprocessable", "field": "data", "message": message});
        Err(Refusal::validation(error))
    };
    if body.trim().is_empty() {
        return refuse("Body cannot be blank");
    }
    if body.chars().count() > BODY_CHARS_MAX {
        return refuse(&format!("Body is too long (maximum is {BODY_CHARS_MAX} characters)"));
    }
    Ok(())
}

/// `GET …/pulls/{n}/comments`.
pub(super) fn list_reviews(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let number = req.number("n")?;
    world.pull(req.repo, number)?;
    review_comments(world, req, Some(number))
}

/// `GET …/pulls/comments`: all of the repository.
pub(super) fn list_all_reviews(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    review_comments(world, req, None)
}

fn review_comments(world: &World, req: &Req, number: Option<u64>) -> Result<Reply, Refusal> {
    let repo = world.repo(req.repo)?;
    let since = since(req)?;
    let mut found: Vec<&ReviewComment> = repo
        .review_comments
        .values()
        .filter(|c| number.is_none_or(|n| c.said.number == n))
        .filter(|c| since.is_none_or(|at| c.said.updated_at >= at))
        .collect();
    // Without `sort`, `direction` means nothing.
    let sort = req.query("sort");
    if sort == Some("updated") {
        found.sort_by_key(|c| (c.said.updated_at, c.said.id));
    }
    if sort.is_some() && req.query("direction") == Some("desc") {
        found.reverse();
    }
    let items = found.into_iter().map(|c| render::review_comment(world, repo, c));
    Ok(Reply::page(req, items.collect()))
}

/// `POST …/pulls/{n}/comments`.
pub(super) fn create_review(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let (number, actor) = (req.number("n")?, req.caller.account());
    let body = req.needed_text("body")?.to_owned();
    world.pull(req.repo, number)?;
    if let Some(parent) = req.body.get("in_reply_to").and_then(Value::as_u64) {
        let id = world.reply(req.repo, number, parent, actor, body)?;
        return shown_review(world, req.repo, id).map(Reply::created);
    }
    let commit = req.needed_text("commit_id")?.to_owned();
    let path = req.needed_text("path")?.to_owned();
    let line = req.body.get("line").and_then(Value::as_u64);
    if line.is_none() && req.text("subject_type")? != Some("file") && !req.body.contains_key("position") {
        return Err(Refusal::missing("line"));
    }
    if !world.store(req.repo)?.commits.contains_key(&commit) {
        return Err(Refusal::custom(
            "PullRequestReviewComment",
            Some("commit_id"),
            "commit_id is not part of the pull request",
        ));
    }
    let id = world.review_comment(req.repo, number, actor, (path, line), body)?;
    shown_review(world, req.repo, id).map(Reply::created)
}

/// `POST …/pulls/{n}/comments/{id}/replies`.
pub(super) fn create_reply(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let body = req.needed_text("body")?.to_owned();
    let id = world.reply(
        req.repo,
        req.number("n")?,
        req.number("id")?,
        req.caller.account(),
        body,
    )?;
    shown_review(world, req.repo, id).map(Reply::created)
}

/// `GET …/pulls/comments/{id}`.
pub(super) fn get_review(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    shown_review(world, req.repo, req.number("id")?).map(Reply::ok)
}

/// `PATCH …/pulls/comments/{id}`.
pub(super) fn edit_review(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let id = req.number("id")?;
    let body = req.needed_text("body")?.to_owned();
    let author = find_review(world, req.repo, id)?.said.author;
    may_change(world, req, author)?;
    world.edit_review_comment(req.repo, id, req.caller.account(), body)?;
    shown_review(world, req.repo, id).map(Reply::ok)
}

/// `DELETE …/pulls/comments/{id}`.
pub(super) fn delete_review(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let id = req.number("id")?;
    let author = find_review(world, req.repo, id)?.said.author;
    may_change(world, req, author)?;
    world.delete_review_comment(req.repo, id, req.caller.account())?;
    Ok(Reply::no_content())
}

fn find_review(world: &World, repo: u64, id: u64) -> Result<&ReviewComment, Refusal> {
    world
        .repo(repo)?
        .review_comments
        .get(&id)
        .ok_or_else(Refusal::not_found)
}

fn shown_review(world: &World, repo: u64, id: u64) -> Result<Value, Refusal> {
    Ok(render::review_comment(
        world,
        world.repo(repo)?,
        find_review(world, repo, id)?,
    ))
}

/// `POST …/issues/comments/{id}/reactions`.
pub(super) fn react(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let id = req.number("id")?;
    add_reaction(world, req, |world, repo| {
        world
            .repo_mut(repo)?
            .comments
            .get_mut(&id)
            .ok_or_else(Refusal::not_found)
    })
}

/// `POST …/pulls/comments/{id}/reactions`.
pub(super) fn react_to_review(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let id = req.number("id")?;
    add_reaction(world, req, |world, repo| {
        let found = world.repo_mut(repo)?.review_comments.get_mut(&id);
        found.map(|c| &mut c.said).ok_or_else(Refusal::not_found)
    })
}

fn add_reaction(
    world: &mut World,
    req: &Req,
    target: impl Fn(&mut World, u64) -> Result<&mut Comment, Refusal>,
) -> Result<Reply, Refusal> {
    let content = req.needed_text("content")?.to_owned();
    if !render::REACTIONS.contains(&content.as_str()) {
        let error = json!({"resource": "Reaction", "field": "content", "code": "invalid", "value": content});
        return Err(Refusal::validation(error));
    }
    let user = req.caller.account();
    let known = target(world, req.repo)?
        .reactions
        .iter()
        .find(|r| r.user == user && r.content == content);
    if let Some(known) = known.cloned() {
        return Ok(Reply::ok(render::reaction(world, &known)));
    }
    let (id, at) = (world.fresh_id(), world.now());
    let reaction = Reaction { id, user, content, at };
    target(world, req.repo)?.reactions.push(reaction.clone());
    Ok(Reply::created(render::reaction(world, &reaction)))
}

/// `GET …/issues/comments/{id}/reactions`.
pub(super) fn reactions(world: &mut World, req: &Req) -> Result<Reply, Refusal> {
    let found = &find(world, req.repo, req.number("id")?)?.reactions;
    Ok(Reply::page(
        req,
        found.iter().map(|r| render::reaction(world, r)).collect(),
    ))
}

impl Comment {
    /// A review comment belongs to a review, and is touched again when that is submitted: GitHub's own examples of
    /// `pull_request_review_comment` payloads are updated a second after they were created, and nobody edited them.
    fn in_a_review(self) -> Self {
        let submitted = self.created_at + SUBMITTED_AFTER;
        Self {
            updated_at: submitted,
            ..self
        }
    }
}

impl World {
    fn new_comment(&mut self, number: u64, author: u64, body: String) -> Comment {
        let now = self.now();
        Comment {
            id: self.fresh_id(),
            number,
            author,
            body,
            created_at: now,
            updated_at: now,
            edits: 0,
            editor: None,
            via_app: None,
            reactions: Vec::new(),
        }
    }

    /// Comments on a pull request; the answer is the comment's id.
    pub(super) fn comment(&mut self, repo: u64, number: u64, author: u64, body: String) -> Result<u64, Refusal> {
        self.comment_via(repo, number, author, body, None)
    }

    /// The same through some other app, which has the author's leave to write in the author's name.
    pub(super) fn comment_via(
        &mut self,
        repo: u64,
        number: u64,
        author: u64,
        body: String,
        via_app: Option<u64>,
    ) -> Result<u64, Refusal> {
        check_body("IssueComment", &body)?;
        self.pull_mut(repo, number)?;
        let comment = Comment {
            via_app,
            ..self.new_comment(number, author, body)
        };
        let id = comment.id;
        self.repo_mut(repo)?.comments.insert(id, comment);
        self.emit_comment("created", repo, id, author, json!({}));
        Ok(id)
    }

    pub(super) fn edit_comment(&mut self, repo: u64, id: u64, actor: u64, body: String) -> Result<(), Refusal> {
        check_body("IssueComment", &body)?;
        let now = self.now();
        let comment = self
            .repo_mut(repo)?
            .comments
            .get_mut(&id)
            .ok_or_else(Refusal::not_found)?;
        if comment.body == body {
            return Ok(());
        }
        let before = std::mem::replace(&mut comment.body, body);
        comment.updated_at = now;
        comment.edits += 1;
        comment.editor = Some(actor);
        self.emit_comment(
            "edited",
            repo,
            id,
            actor,
            json!({"changes": {"body": {"from": before}}}),
        );
        Ok(())
    }

    pub(super) fn delete_comment(&mut self, repo: u64, id: u64, actor: u64) -> Result<(), Refusal> {
        find(self, repo, id)?;
        self.emit_comment("deleted", repo, id, actor, json!({}));
        self.repo_mut(repo)?.comments.remove(&id);
        Ok(())
    }

    fn emit_comment(&mut self, action: &str, repo: u64, id: u64, actor: u64, more: Value) {
        let (Ok(found), Ok(comment)) = (self.repo(repo), find(self, repo, id)) else {
            return;
        };
        let Ok(pull) = self.pull(repo, comment.number) else {
            return;
        };
        let mut fields =
            json!({"issue": render::issue(self, found, pull), "comment": render::comment(self, found, comment)});
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        self.emit("issue_comment", action, repo, actor, fields);
    }

    /// Comments on a line of a file at the head of a pull request.
    pub(super) fn review_comment(
        &mut self,
        repo: u64,
        number: u64,
        author: u64,
        (path, line): (String, Option<u64>),
        body: String,
    ) -> Result<u64, Refusal> {
        check_body("PullRequestReviewComment", &body)?;
        let commit_id = self.pull_mut(repo, number)?.head_sha.clone();
        if !self.store(repo)?.flat_of_commit(&commit_id).contains_key(&path) {
            return Err(Refusal::custom(
                "PullRequestReviewComment",
                Some("path"),
                "path could not be resolved",
            ));
        }
        let said = self.new_comment(number, author, body).in_a_review();
        let comment = ReviewComment {
            said,
            commit_id,
            path,
            line,
            in_reply_to: None,
        };
        self.add_review_comment(repo, comment)
    }

    /// Replies in the thread of a review comment. A reply to a reply goes to the thread's first comment.
    pub(super) fn reply(&mut self, repo: u64, number: u64, to: u64, author: u64, body: String) -> Result<u64, Refusal> {
        check_body("PullRequestReviewComment", &body)?;
        self.pull_mut(repo, number)?;
        let parent = find_review(self, repo, to)?.clone();
        if parent.said.number != number {
            return Err(Refusal::not_found());
        }
        let said = self.new_comment(number, author, body).in_a_review();
        let comment = ReviewComment {
            said,
            in_reply_to: Some(parent.in_reply_to.unwrap_or(to)),
            ..parent
        };
        self.add_review_comment(repo, comment)
    }

    fn add_review_comment(&mut self, repo: u64, comment: ReviewComment) -> Result<u64, Refusal> {
        let (id, author) = (comment.said.id, comment.said.author);
        // The review that it belongs to has an id of its own.
        self.fresh_id();
        self.repo_mut(repo)?.review_comments.insert(id, comment);
        self.emit_review_comment("created", repo, id, author, json!({}));
        Ok(id)
    }

    pub(super) fn edit_review_comment(&mut self, repo: u64, id: u64, actor: u64, body: String) -> Result<(), Refusal> {
        check_body("PullRequestReviewComment", &body)?;
        let now = self.now();
        let found = self
            .repo_mut(repo)?
            .review_comments
            .get_mut(&id)
            .ok_or_else(Refusal::not_found)?;
        if found.said.body == body {
            return Ok(());
        }
        let before = std::mem::replace(&mut found.said.body, body);
        found.said.updated_at = now;
        found.said.edits += 1;
        found.said.editor = Some(actor);
        self.emit_review_comment(
            "edited",
            repo,
            id,
            actor,
            json!({"changes": {"body": {"from": before}}}),
        );
        Ok(())
    }

    pub(super) fn delete_review_comment(&mut self, repo: u64, id: u64, actor: u64) -> Result<(), Refusal> {
        find_review(self, repo, id)?;
        self.emit_review_comment("deleted", repo, id, actor, json!({}));
        self.repo_mut(repo)?.review_comments.remove(&id);
        Ok(())
    }

    fn emit_review_comment(&mut self, action: &str, repo: u64, id: u64, actor: u64, more: Value) {
        let (Ok(found), Ok(comment)) = (self.repo(repo), find_review(self, repo, id)) else {
            return;
        };
        let Ok(pull) = self.pull(repo, comment.said.number) else {
            return;
        };
        let mut fields = json!({
            "comment": render::review_comment(self, found, comment),
            "pull_request": render::pull(self, found, pull),
        });
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        self.emit("pull_request_review_comment", action, repo, actor, fields);
    }
}
