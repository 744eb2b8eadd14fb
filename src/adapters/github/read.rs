//! What a delivery means. Reads only the fields it needs and ignores the rest, because GitHub adds fields at any
//! time; a needed field that is missing makes the delivery unreadable, and the field is named.

use jiff::Timestamp;
use serde_json::Value;

use super::door::OwnIdentity;
use super::pick::Wanted::{self, All, Fields};
use super::place::{Kind, Place, platform};
use super::threads::MARKER_START;
use crate::adapters::{Proof, Unreadable};
use crate::domain::ids::{PrRef, Repo, Sha};
use crate::domain::signal::{Account, Actor, ActorKind, Hint, PrChange, PrChanged, PrState, Said, Signal, Text};

/// All that is ever asked for.
static WANTED: Wanted = Fields(&[
    ("action", All),
    (
        "check_run",
        Fields(&[("app", Fields(&[("id", All)])), ("head_sha", All)]),
    ),
    (
        "comment",
        Fields(&[
            ("author_association", All),
            ("body", All),
            ("created_at", All),
            ("id", All),
            ("in_reply_to_id", All),
            ("performed_via_github_app", All),
            ("user", Fields(&[("id", All), ("type", All)])),
        ]),
    ),
    ("issue", Fields(&[("number", All), ("pull_request", All)])),
    ("label", Fields(&[("name", All)])),
    (
        "pull_request",
        Fields(&[
            ("base", Fields(&[("ref", All)])),
            ("draft", All),
            ("head", Fields(&[("sha", All)])),
            ("id", All),
            ("labels", All),
            ("merged", All),
            ("number", All),
            ("state", All),
            ("title", All),
            ("updated_at", All),
        ]),
    ),
    ("repository", Fields(&[("full_name", All)])),
    ("sender", Fields(&[("id", All), ("login", All), ("type", All)])),
    ("workflow_run", Fields(&[("head_sha", All)])),
]);

/// What tells a pull request.
static ABOUT: Wanted = Fields(&[
    ("issue", Fields(&[("number", All)])),
    ("pull_request", Fields(&[("number", All)])),
    ("repository", Fields(&[("full_name", All)])),
]);

/// The pull request (or issue) that all in the payload happened on.
pub(super) fn pr(event: &str, json: &[u8]) -> Option<PrRef> {
    let number = match event {
        "issue_comment" => "issue.number",
        "pull_request" | "pull_request_review" | "pull_request_review_comment" => "pull_request.number",
        _ => return None,
    };
    let json = ABOUT.read(json).ok()?;
    let payload = Payload { event, json: &json };
    Some(PrRef {
        repo: payload.repo().ok()?,
        number: payload.number(number).ok()?,
    })
}

/// Reads a payload.
pub(super) fn signals(event: &str, json: &[u8], proof: Proof, own: &OwnIdentity) -> Result<Vec<Signal>, Unreadable> {
    let json = WANTED
        .read(json)
        .map_err(|e| Unreadable(format!("{event}: not JSON: {e}")))?;
    let as_written = proof != Proof::Repaired;
    let payload = Payload { event, json: &json };
    let signal = match event {
        "ping" => nothing("GitHub tries the webhook"),
        "issue_comment" => comment(&payload, Kind::Issue, as_written, own)?,
        "pull_request_review_comment" => comment(&payload, Kind::Review, as_written, own)?,
        "pull_request" => pull_request(&payload, own)?,
        "check_run" => check_run(&payload, own)?,
        "workflow_run" => workflow_run(&payload)?,
        "installation" => nothing(&format!("the app's installation: {}", payload.text("action")?)),
        other => nothing(&format!("`{other}` is of no interest")),
    };
    Ok(vec![signal])
}

fn nothing(why: &str) -> Signal {
    Signal::Nothing(why.to_owned())
}

fn comment(payload: &Payload<'_>, kind: Kind, as_written: bool, own: &OwnIdentity) -> Result<Signal, Unreadable> {
    let action = payload.text("action")?;
    if action != "created" {
        // Edited text is never obeyed: whoever approved the first wording did not see the second.
        let by = payload.number("sender.id")?;
        let id = payload.number("comment.id")?;
        return Ok(nothing(&format!("{} {id} was {action} by account {by}", kind.word())));
    }
    // Without its number it is no issue at all: a payload that has changed its shape is not to be dropped in silence.
    if kind == Kind::Issue && payload.number("issue.number").is_ok() && payload.find("issue.pull_request").is_none() {
        return Ok(nothing("a comment on an issue that is no pull request"));
    }
    if payload.json.pointer("/comment/user").is_some_and(Value::is_null) {
        return Ok(nothing("the comment's author has no account any more"));
    }
    let author = payload.number("comment.user.id")?;
    if payload.number("sender.id")? != author {
        return Ok(nothing("the comment was not sent by its author"));
    }
    // `updated_at` says nothing about edits: of a review comment it is the moment when the review was submitted.
    let created = payload.time("comment.created_at")?;
    let id = payload.number("comment.id")?;
    let repo = payload.repo()?;
    let number = payload.number(match kind {
        Kind::Issue => "issue.number",
        Kind::Review => "pull_request.number",
    })?;
    let within = vec![repo.owner().to_owned(), repo.name().to_owned()];
    let pr = PrRef { repo, number };
    let root = match kind {
        Kind::Issue => None,
        Kind::Review => Some(payload.optional_number("comment.in_reply_to_id")?.unwrap_or(id)),
    };
    let place = Place { pr: pr.clone(), root };
    // A comment may be empty; it then says nothing.
    let text = payload.find("comment.body").and_then(Value::as_str).unwrap_or_default();
    Ok(Signal::Said(Said {
        actor: speaker(payload, own, text)?,
        thread: place.thread(),
        within,
        text: Text::Markdown(text.to_owned()),
        as_written,
        at: created,
        // Not the repository's name: a comment keeps its number when the repository is renamed or transferred.
        key: format!("github:{}:{}:{id}", own.instance, kind.word()),
        message: place.message(id),
        pr: Some(pr),
    }))
}

fn speaker(payload: &Payload<'_>, own: &OwnIdentity, text: &str) -> Result<Actor, Unreadable> {
    let mut actor = sender(payload, own)?;
    if payload.find("comment.user.type").and_then(Value::as_str) != Some("User") && actor.kind == ActorKind::Human {
        actor.kind = ActorKind::Bot;
    }
    if payload.find("comment.performed_via_github_app").is_some() {
        // Another program wrote it in a person's name; whether the person meant it is not known.
        let via = payload.optional_number("comment.performed_via_github_app.id")?;
        let ours = via.is_some() && via == own.app_id;
        actor.kind = if ours { ActorKind::Ours } else { ActorKind::Bot };
    }
    // https://docs.github.com/en/graphql/reference/enums#commentauthorassociation
    let association = payload.find("comment.author_association").and_then(Value::as_str);
    actor.insider = matches!(association, Some("OWNER" | "MEMBER" | "COLLABORATOR"));
    if text.contains(MARKER_START) {
        actor.kind = ActorKind::Ours;
    }
    Ok(actor)
}

fn sender(payload: &Payload<'_>, own: &OwnIdentity) -> Result<Actor, Unreadable> {
    let id = payload.number("sender.id")?;
    let kind = match payload.text("sender.type")? {
        _ if own.account_id == Some(id) => ActorKind::Ours,
        "User" => ActorKind::Human,
        // `Bot`, and whatever else GitHub may invent: not known to be a person.
        _ => ActorKind::Bot,
    };
    Ok(Actor {
        account: Account {
            platform: platform(),
            id: id.to_string(),
        },
        name: payload.text("sender.login")?.to_owned(),
        kind,
        roles: Vec::new(),
        insider: false,
    })
}

fn pull_request(payload: &Payload<'_>, own: &OwnIdentity) -> Result<Signal, Unreadable> {
    let change = match payload.text("action")? {
        "opened" => PrChange::Opened,
        "reopened" => PrChange::Reopened,
        "synchronize" => PrChange::Pushed,
        "labeled" => PrChange::Labeled,
        "closed" if payload.flag("pull_request.merged")? => PrChange::Merged,
        "closed" => PrChange::Closed,
        other => return Ok(nothing(&format!("pull request {other}"))),
    };
    let repo = payload.repo()?;
    let pr = PrRef {
        repo,
        number: payload.number("pull_request.number")?,
    };
    let head = payload.sha("pull_request.head.sha")?;
    let at = payload.time("pull_request.updated_at")?;
    let word = match change {
        PrChange::Opened => "opened",
        PrChange::Reopened => "reopened",
        PrChange::Pushed => "pushed",
        PrChange::Labeled => "labeled",
        PrChange::Merged => "merged",
        PrChange::Closed => "closed",
    };
    let labels = labels(payload, change)?;
    Ok(Signal::PrChanged(PrChanged {
        actor: sender(payload, own)?,
        thread: Place::of(pr.clone()).thread(),
        key: format!(
            "github:{}:pull_request:{}:{word}:{head}:{at}:{}",
            own.instance,
            payload.number("pull_request.id")?,
            labels.join(",")
        ),
        pr,
        change,
        head,
        state: state(payload, change)?,
        draft: payload.find("pull_request.draft").and_then(Value::as_bool) == Some(true),
        base: payload.text("pull_request.base.ref")?.to_owned(),
        labels,
        title: payload.text("pull_request.title")?.to_owned(),
        at,
    }))
}

/// Where the change left it.
fn state(payload: &Payload<'_>, change: PrChange) -> Result<PrState, Unreadable> {
    Ok(match change {
        PrChange::Opened | PrChange::Reopened | PrChange::Pushed => PrState::Open,
        PrChange::Merged => PrState::Merged,
        PrChange::Closed => PrState::Closed,
        PrChange::Labeled => {
            let merged = payload.flag("pull_request.merged")?;
            payload.need("pull_request.state", "open or closed", |state| {
                match (state.as_str()?, merged) {
                    ("open", false) => Some(PrState::Open),
                    ("closed", true) => Some(PrState::Merged),
                    ("closed", false) => Some(PrState::Closed),
                    _ => None,
                }
            })?
        }
    })
}

/// The labels that count: for a label that was added only that one, so that adding another does not look as if
/// the first had been added again.
fn labels(payload: &Payload<'_>, change: PrChange) -> Result<Vec<String>, Unreadable> {
    if change == PrChange::Labeled {
        return Ok(vec![payload.text("label.name")?.to_owned()]);
    }
    let all = payload
        .find("pull_request.labels")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    Ok(all
        .filter_map(|label| label.get("name")?.as_str())
        .map(str::to_owned)
        .collect())
}

fn check_run(payload: &Payload<'_>, own: &OwnIdentity) -> Result<Signal, Unreadable> {
    let action = payload.text("action")?;
    if !matches!(action, "created" | "completed") {
        return Ok(nothing(&format!("check run {action}")));
    }
    // Every report of ours would otherwise make us look again and report again.
    let app = payload.optional_number("check_run.app.id")?;
    if app.is_some() && app == own.app_id {
        return Ok(nothing("stepherd's own check"));
    }
    hint(payload, "check_run.head_sha")
}

fn workflow_run(payload: &Payload<'_>) -> Result<Signal, Unreadable> {
    let action = payload.text("action")?;
    if !matches!(action, "requested" | "in_progress" | "completed") {
        return Ok(nothing(&format!("workflow run {action}")));
    }
    hint(payload, "workflow_run.head_sha")
}

fn hint(payload: &Payload<'_>, head: &str) -> Result<Signal, Unreadable> {
    Ok(Signal::Hint(Hint {
        repo: payload.repo()?,
        head: payload.sha(head)?,
    }))
}

/// A payload whose fields are asked for by path, so that what is missing can be named.
struct Payload<'a> {
    event: &'a str,
    json: &'a Value,
}

impl<'a> Payload<'a> {
    fn find(&self, path: &str) -> Option<&'a Value> {
        debug_assert!(WANTED.covers(path), "`{path}` is not among what is read");
        path.split('.')
            .try_fold(self.json, |value, field| value.get(field))
            .filter(|value| !value.is_null())
    }

    fn need<T>(&self, path: &str, what: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<T, Unreadable> {
        let value = self
            .find(path)
            .ok_or_else(|| Unreadable(format!("{}: `{path}` is missing", self.event)))?;
        read(value).ok_or_else(|| Unreadable(format!("{}: `{path}` is not {what}", self.event)))
    }

    fn text(&self, path: &str) -> Result<&'a str, Unreadable> {
        self.need(path, "text", Value::as_str)
    }

    fn flag(&self, path: &str) -> Result<bool, Unreadable> {
        self.need(path, "true or false", Value::as_bool)
    }

    fn number(&self, path: &str) -> Result<u64, Unreadable> {
        self.need(path, "a positive number", |v| v.as_u64().filter(|n| *n > 0))
    }

    fn optional_number(&self, path: &str) -> Result<Option<u64>, Unreadable> {
        match self.find(path) {
            None => Ok(None),
            Some(_) => self.number(path).map(Some),
        }
    }

    fn time(&self, path: &str) -> Result<Timestamp, Unreadable> {
        self.need(path, "a time", |v| v.as_str()?.parse().ok())
    }

    fn sha(&self, path: &str) -> Result<Sha, Unreadable> {
        self.need(path, "a commit SHA", |v| v.as_str()?.parse().ok())
    }

    fn repo(&self) -> Result<Repo, Unreadable> {
        self.need("repository.full_name", "owner/name", |v| v.as_str()?.parse().ok())
    }
}
