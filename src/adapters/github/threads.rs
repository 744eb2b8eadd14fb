//! Comments on pull requests. Each ends in a hidden marker, so that a comment whose answer was lost is found
//! instead of posted again.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Github;
use super::client::{Verb, undocumented};
use super::markdown::{BODY_CHARS_MAX, fit, render};
use super::place::{Comment, Place};
use super::token::{Need, Scope};
use crate::adapters::{CallError, Marker, Posted, WordSeen, WordStands};
use crate::domain::doc::Doc;
use crate::domain::ids::ThreadRef;
use crate::domain::signal::{MessageRef, Said, Text};

/// What every comment of stepherd holds.
pub(super) const MARKER_START: &str = "<!-- stepherd:";

/// Neither `>` nor `--` may stand within an HTML comment.
const MARKER_SPECIAL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b':')
    .remove(b'/')
    .remove(b'.')
    .remove(b'_')
    .remove(b'#');

#[derive(Deserialize)]
struct Posting {
    id: u64,
    user: Option<Author>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    in_reply_to_id: Option<u64>,
    #[serde(default)]
    performed_via_github_app: Option<App>,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    node_id: String,
}

/// Who wrote a comment.
#[derive(Deserialize)]
pub(super) struct Author {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) login: String,
    #[serde(default)]
    pub(super) r#type: String,
}

#[derive(Deserialize)]
struct App {
    id: u64,
}

impl Github {
    pub(super) async fn post_comment(
        &self,
        thread: &ThreadRef,
        marker: &Marker,
        doc: &Doc,
        maybe_there: bool,
    ) -> Result<Posted, CallError> {
        let place = Place::parse(thread)?;
        let repo = &place.pr.repo;
        let posted = |id| Posted {
            message: place.message(id),
            opened: None,
        };
        if maybe_there && let Some(id) = self.find_comment(&place, marker).await? {
            let there = posted(id);
            // What was found may show an older state, and people may delete it before it is edited.
            if self.edit_comment(&there.message, marker, doc).await? {
                return Ok(there);
            }
        }
        let target = match place.root {
            None => format!("/repos/{repo}/issues/{}/comments", place.pr.number),
            Some(root) => format!("/repos/{repo}/pulls/{}/comments/{root}/replies", place.pr.number),
        };
        let body = json!({ "body": body(marker, doc) });
        let reply = self
            .client
            .call(Scope::Repo(repo, Need::WritePulls), Verb::Post, &target, Some(&body))
            .await?;
        Ok(posted(reply.json::<Posting>()?.id))
    }

    pub(super) async fn edit_comment(
        &self,
        message: &MessageRef,
        marker: &Marker,
        doc: &Doc,
    ) -> Result<bool, CallError> {
        let comment = Comment::parse(message)?;
        let body = json!({ "body": body(marker, doc) });
        let reply = self
            .client
            .call(
                Scope::Repo(&comment.repo, Need::WritePulls),
                Verb::Patch,
                &comment.target(),
                Some(&body),
            )
            .await?;
        if matches!(reply.status, 404 | 410) {
            return Ok(false);
        }
        reply.json::<Posting>()?;
        Ok(true)
    }

    pub(super) async fn withdraw_second_comment(
        &self,
        message: &MessageRef,
        marker: &Marker,
    ) -> Result<bool, CallError> {
        let (place, comment) = (Place::parse(&message.thread)?, Comment::parse(message)?);
        let ours = self.find_comments(&place, marker).await?;
        if !ours.iter().any(|id| *id != comment.id) {
            return Ok(false);
        }
        let reply = self
            .client
            .call(
                Scope::Repo(&comment.repo, Need::WritePulls),
                Verb::Delete,
                &comment.target(),
                None,
            )
            .await?;
        if reply.is_success() || matches!(reply.status, 404 | 410) {
            Ok(true)
        } else {
            Err(reply.refusal())
        }
    }

    /// 👀. GitHub answers 200 where the reaction is already there.
    pub(super) async fn react(&self, message: &MessageRef) -> Result<(), CallError> {
        let comment = Comment::parse(message)?;
        let target = format!("{}/reactions", comment.target());
        let body = json!({ "content": "eyes" });
        let reply = self
            .client
            .call(
                Scope::Repo(&comment.repo, Need::WritePulls),
                Verb::Post,
                &target,
                Some(&body),
            )
            .await?;
        // A comment that is gone needs no answer any more.
        if reply.is_success() || matches!(reply.status, 404 | 410) {
            Ok(())
        } else {
            Err(reply.refusal())
        }
    }

    pub(super) async fn comment_stands(&self, said: &Said) -> Result<WordSeen, CallError> {
        let not = |why: &str| Ok(WordSeen::Not(why.to_owned()));
        let Text::Markdown(text) = &said.text else {
            return not("it is no comment on GitHub");
        };
        let comment = Comment::parse(&said.message)?;
        let scope = Scope::Repo(&comment.repo, Need::ReadPulls);
        let reply = self.client.get(scope, &comment.target()).await?;
        if matches!(reply.status, 404 | 410) {
            return Ok(WordSeen::Absent(reply.describe()));
        }
        let clock = reply.date;
        let now: Posting = reply.json()?;
        // Review comments do not tell.
        if now.performed_via_github_app.is_some() {
            return not("another program wrote it in the person's name");
        }
        let author = now.user.map(|user| user.id.to_string());
        if author.as_ref() != Some(&said.actor.account.id) {
            return not("somebody else wrote it");
        }
        let same_text = unix(now.body.as_deref().unwrap_or_default()) == unix(text);
        if !same_text {
            return not("it was edited");
        }
        if !said.as_written
            && let Some(why) = self.why_edited(scope, &now.node_id).await?
        {
            return not(why);
        }
        match now.created_at.parse() {
            Ok(at) => Ok(WordSeen::Stands(WordStands {
                at,
                clock,
                thread: said.thread.clone(),
                within: said.within.clone(),
            })),
            Err(_) => not("GitHub does not say when it was written"),
        }
    }

    /// Why a comment does not count whose first wording nobody has: it was edited, or GitHub does not tell. Its REST API
    /// has no field for that.
    async fn why_edited(&self, scope: Scope<'_>, node: &str) -> Result<Option<&'static str>, CallError> {
        const QUERY: &str = "query($id: ID!) { node(id: $id) { ... on Comment { lastEditedAt editor { login } } } }";
        let unknown = Ok(Some("GitHub does not tell whether it was edited"));
        let found = match self.client.graphql(scope, QUERY, json!({ "id": node })).await {
            Ok(found) => found,
            Err(CallError::Permanent { .. }) => return unknown,
            Err(error) => return Err(error),
        };
        match (found.pointer("/node/lastEditedAt"), found.pointer("/node/editor")) {
            (Some(Value::Null), Some(Value::Null)) => Ok(None),
            (None, _) | (_, None) => unknown,
            _ => Ok(Some("it was edited")),
        }
    }

    async fn find_comment(&self, place: &Place, marker: &Marker) -> Result<Option<u64>, CallError> {
        Ok(self.find_comments(place, marker).await?.into_iter().next())
    }

    /// The comments that end in this marker and are by stepherd; anybody can write a marker.
    async fn find_comments(&self, place: &Place, marker: &Marker) -> Result<Vec<u64>, CallError> {
        let repo = &place.pr.repo;
        let list = match place.root {
            None => format!("/repos/{repo}/issues/{}/comments", place.pr.number),
            Some(_) => format!("/repos/{repo}/pulls/{}/comments", place.pr.number),
        };
        let hidden = hidden(marker);
        let mut candidates: Vec<Posting> = Vec::new();
        let collect = |page: Vec<Value>| {
            for item in page {
                let posting: Posting = serde_json::from_value(item).map_err(|e| undocumented(&list, &e.to_string()))?;
                let marked = posting.body.as_deref().is_some_and(|b| b.trim_end().ends_with(&hidden));
                if marked && posting.in_reply_to_id == place.root {
                    candidates.push(posting);
                }
            }
            Ok(None::<()>)
        };
        self.client
            .find(Scope::Repo(repo, Need::ReadPulls), &list, collect)
            .await?;
        let mut ours = Vec::new();
        for posting in candidates {
            let by_app = posting.performed_via_github_app.as_ref().map(|app| app.id);
            if by_app.is_some() && by_app == self.app_id {
                ours.push(posting.id);
                continue;
            }
            if let Some(author) = &posting.user
                && self.is_own(author).await?
            {
                ours.push(posting.id);
            }
        }
        Ok(ours)
    }
}

fn hidden(marker: &Marker) -> String {
    format!("{MARKER_START}{} -->", utf8_percent_encode(&marker.0, MARKER_SPECIAL))
}

fn body(marker: &Marker, doc: &Doc) -> String {
    let hidden = hidden(marker);
    let room = BODY_CHARS_MAX.saturating_sub(hidden.len() + 2);
    format!("{}\n\n{hidden}", fit(&render(doc), room))
}

/// GitHub tells line ends differently in different places.
fn unix(text: &str) -> String {
    text.replace("\r\n", "\n")
}
