//! Comments on tickets.
//!
//! A comment of ours carries its marker in a comment property, which people do not see. Jira has neither an
//! idempotency key nor a search for properties, so a comment that may have got through is looked for among the
//! newest ones of our own.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Jira, account_id, encoded, id_of, odd, success, ticket_in};
use super::payload::At;
use super::{ANONYMOUS_ACCOUNT, AUTOMATION_ACCOUNT, Flavor, PLATFORM, adf, history, lines, read, thread_of, wiki};
use crate::adapters::http::permanent;
use crate::adapters::{CallError, Marker, Posted, Threads, WordSeen, WordStands};
use crate::domain::doc::Doc;
use crate::domain::ids::{Platform, ThreadRef, TicketKey};
use crate::domain::policy::{Grant, Lookup};
use crate::domain::run::FailureClass;
use crate::domain::signal::{Account, ActorKind, MessageRef, Said, Text};

/// The comment property that holds the marker.
const PROPERTY: &str = "stepherd";
/// A webhook may name the moment at which it was sent instead of that at which the comment was written.
const APART_AT_MOST: SignedDuration = SignedDuration::from_mins(1);
const PAGE: usize = 100;
/// How far back a comment of ours is looked for. It was posted moments ago, so it is among the newest.
const PAGES_MAX: usize = 20;
/// How many members of a group Jira lists at a time.
const MEMBERS_PAGE: usize = 50;
/// How many comments are asked for their properties one by one, where the list does not tell them.
const ASKED_MAX: usize = 20;

#[async_trait]
impl Threads for Jira {
    async fn post(
        &self,
        thread: &ThreadRef,
        marker: &Marker,
        doc: &Doc,
        _title: Option<&str>,
        maybe_there: bool,
    ) -> Result<Posted, CallError> {
        let comments = self.comments(thread)?;
        // People may delete what is found before it is edited; then it is posted anew.
        if maybe_there
            && let Some(id) = self.find(&comments, marker, None).await?
            && self.put(&comments, &id, doc).await?
        {
            return Ok(posted(thread, id));
        }
        let body = json!({
            "body": self.render(doc),
            "properties": [{ "key": PROPERTY, "value": { "marker": marker.0 } }],
        });
        let made = success(self.send(Method::POST, &comments, &body).await?)?;
        let id = id_of(&made).ok_or_else(|| odd("the new comment's id is missing from the answer"))?;
        Ok(posted(thread, id))
    }

    async fn withdraw_second(&self, message: &MessageRef, marker: &Marker) -> Result<bool, CallError> {
        let comments = self.comments(&message.thread)?;
        if self.find(&comments, marker, Some(&message.id)).await?.is_none() {
            return Ok(false);
        }
        let answered = self.delete(&format!("{comments}/{}", encoded(&message.id))).await?;
        if answered.is_success() || answered.status == 404 {
            Ok(true)
        } else {
            Err(answered.refusal())
        }
    }

    async fn edit(&self, message: &MessageRef, _marker: &Marker, doc: &Doc) -> Result<bool, CallError> {
        let comments = self.comments(&message.thread)?;
        self.put(&comments, &message.id, doc).await
    }

    async fn know_self(&self) -> Result<(), CallError> {
        self.ask_self_anew().await
    }

    async fn still_stands(&self, said: &Said) -> Result<WordSeen, CallError> {
        let not = |why: &str| Ok(WordSeen::Not(why.to_owned()));
        let Text::Lines(said_lines) = &said.text else {
            return not("it is no comment in Jira");
        };
        // Nobody's word counts before it is known which is stepherd's own.
        let own = self.known_self().await?;
        let place = &said.message.thread.place;
        let issue = format!("/issue/{}", encoded(place));
        let answered = self.get(&self.path(&format!("{issue}?fields=status"))).await?;
        if answered.status == 404 {
            return Ok(WordSeen::Absent(answered.describe()));
        }
        let shown = success(answered)?;
        let issue_id = id_of(&shown).ok_or_else(|| odd("the ticket's id is missing from the answer"))?;
        let key = shown
            .get("key")
            .and_then(Value::as_str)
            .and_then(|key| key.parse().ok());
        let ticket: TicketKey = key.ok_or_else(|| odd("the ticket's key is missing from the answer"))?;
        // A ticket that was moved to another project answers under its old key, too. Data Center's comments come with
        // their ticket's id alone.
        if ticket.as_str() != place && issue_id != *place {
            return not(&format!("the ticket is {ticket} now"));
        }
        let rest = comment_path(&issue, &said.message.id);
        let native = self.path(&rest);
        // A webhook of Cloud may have carried wiki text, which reads a little differently from the same comment's
        // ADF: the older API gives it back as wiki text.
        let targets = match self.flavor {
            Flavor::Cloud => vec![native, format!("/rest/api/2{rest}")],
            Flavor::DataCenter => vec![native],
        };
        for target in targets {
            let answered = self.get(&target).await?;
            if answered.status == 404 {
                return Ok(WordSeen::Absent(answered.describe()));
            }
            let clock = answered.date;
            let comment = success(answered)?;
            let at = match told_truly(said, &comment, &issue_id, own) {
                Ok(at) => at,
                Err(why) => return not(why),
            };
            if comment.get("body").and_then(lines::of_body).as_ref() == Some(said_lines) {
                return Ok(WordSeen::Stands(WordStands {
                    at,
                    clock,
                    thread: thread_of(&ticket),
                    within: vec![ticket.project().to_owned()],
                }));
            }
        }
        not("it was edited")
    }

    async fn answer_lookup(&self, lookup: &Lookup) -> Result<bool, CallError> {
        let unknown = |why: String| Err(permanent(why, FailureClass::Permission));
        let Grant::Group { platform, group } = &lookup.grant else {
            return unknown("Jira knows about groups only".to_owned());
        };
        if platform.as_str() != PLATFORM || lookup.account.platform.as_str() != PLATFORM {
            return unknown(format!("Jira was asked about an account or a group of {platform}"));
        }
        // These are no users.
        if [AUTOMATION_ACCOUNT, ANONYMOUS_ACCOUNT].contains(&lookup.account.id.as_str()) {
            return Ok(false);
        }
        match self.is_member(&lookup.account.id, group).await? {
            Some(is) => Ok(is),
            None => unknown(format!("Jira did not list all groups of {}", lookup.account.id)),
        }
    }

    async fn listed(&self, grant: &Grant) -> Result<Vec<Account>, CallError> {
        match grant {
            Grant::Group { platform, group } => self.members(platform, group).await,
            _ => Ok(Vec::new()),
        }
    }
}

impl Jira {
    fn issue(&self, thread: &ThreadRef) -> Result<String, CallError> {
        Ok(format!("/issue/{}", encoded(ticket_in(thread)?.as_str())))
    }

    fn comments(&self, thread: &ThreadRef) -> Result<String, CallError> {
        Ok(self.path(&format!("{}/comment", self.issue(thread)?)))
    }

    fn render(&self, doc: &Doc) -> Value {
        match self.flavor {
            Flavor::Cloud => adf::render(doc),
            Flavor::DataCenter => Value::String(wiki::render(doc)),
        }
    }

    /// Makes a comment show this; `false` if it is gone. Watchers are not mailed about every step of a status card.
    async fn put(&self, comments: &str, id: &str, doc: &Doc) -> Result<bool, CallError> {
        let target = format!("{comments}/{}?notifyUsers=false", encoded(id));
        let body = json!({ "body": self.render(doc) });
        let answered = self.send(Method::PUT, &target, &body).await?;
        match answered.status {
            404 => Ok(false),
            _ if answered.is_success() => Ok(true),
            _ => Err(answered.refusal()),
        }
    }

    /// The comment of our own with this marker, other than this one.
    async fn find(&self, comments: &str, marker: &Marker, but: Option<&str>) -> Result<Option<String>, CallError> {
        let own = self.own_account().await?;
        let mut asked = 0;
        let mut start = 0;
        for _ in 0..PAGES_MAX {
            let target = format!("{comments}?startAt={start}&maxResults={PAGE}&orderBy=-created&expand=properties");
            let page = success(self.get(&target).await?)?;
            let listed = page.get("comments").and_then(Value::as_array);
            let listed = listed.ok_or_else(|| odd("the comments are missing from the answer"))?;
            for comment in listed {
                if comment.get("author").and_then(account_id).as_deref() != Some(own) {
                    continue;
                }
                let Some(id) = id_of(comment).filter(|id| but != Some(id)) else {
                    continue;
                };
                let found = match listed_marker(comment) {
                    Some(found) => found,
                    None if asked < ASKED_MAX => {
                        asked += 1;
                        self.marker_of(&id).await?
                    }
                    None => None,
                };
                if found.as_ref() == Some(&marker.0) {
                    return Ok(Some(id));
                }
            }
            start += listed.len();
            let total = page.get("total").and_then(Value::as_u64);
            if listed.is_empty() || total.is_some_and(|total| start as u64 >= total) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The marker in a comment's property, asked for by itself.
    async fn marker_of(&self, id: &str) -> Result<Option<String>, CallError> {
        let target = self.path(&format!("/comment/{}/properties/{PROPERTY}", encoded(id)));
        let answered = self.get(&target).await?;
        if answered.status == 404 {
            return Ok(None);
        }
        Ok(success(answered)?.get("value").and_then(marker_in))
    }

    /// The members of a group, by its name or, on Cloud, its id.
    async fn members(&self, platform: &Platform, group: &str) -> Result<Vec<Account>, CallError> {
        let mut members = Vec::new();
        let (mut by, group, mut start) = ("groupname", encoded(group), 0);
        for _ in 0..PAGES_MAX {
            let target = self.path(&format!(
                "/group/member?{by}={group}&startAt={start}&maxResults={MEMBERS_PAGE}"
            ));
            let answered = self.get(&target).await?;
            if answered.status == 404 && by == "groupname" && self.flavor == Flavor::Cloud {
                by = "groupId";
                continue;
            }
            let page = success(answered)?;
            let listed = page.get("values").and_then(Value::as_array);
            let listed = listed.ok_or_else(|| odd("the members are missing from the answer"))?;
            members.extend(listed.iter().filter_map(account_id).map(|id| Account {
                platform: platform.clone(),
                id,
            }));
            start += listed.len();
            if listed.is_empty() || page.get("isLast") == Some(&Value::Bool(true)) {
                break;
            }
        }
        Ok(members)
    }

    /// Whether the account is in the group; `None` if Jira did not list all of its groups. Group names are compared
    /// as they are written; on Cloud the group's id does, too.
    async fn is_member(&self, account: &str, group: &str) -> Result<Option<bool>, CallError> {
        let account = encoded(account);
        let is_it = |listed: &Value| {
            ["name", "groupId"]
                .iter()
                .any(|key| listed.get(*key).and_then(Value::as_str) == Some(group))
        };
        match self.flavor {
            Flavor::Cloud => {
                let target = self.path(&format!("/user/groups?accountId={account}"));
                let groups = success(self.get(&target).await?)?;
                Ok(groups.as_array().map(|groups| groups.iter().any(is_it)))
            }
            Flavor::DataCenter => {
                let target = self.path(&format!("/user?key={account}&expand=groups"));
                let user = success(self.get(&target).await?)?;
                if user.get("active") == Some(&Value::Bool(false)) {
                    return Ok(Some(false));
                }
                let Some(items) = user.pointer("/groups/items").and_then(Value::as_array) else {
                    return Ok(None);
                };
                let size = user.pointer("/groups/size").and_then(Value::as_u64);
                let all = size.is_none_or(|size| size <= items.len() as u64);
                Ok(if items.iter().any(is_it) {
                    Some(true)
                } else {
                    all.then_some(false)
                })
            }
        }
    }
}

/// When the comment was written, if it is what it was said to be: unedited, on this ticket, by a person and by this one,
/// for all to see, and neither older nor younger than was said: who makes it older would have it refused as too old, for
/// good. Else why not.
fn told_truly(said: &Said, comment: &Value, issue_id: &str, own: &str) -> Result<Timestamp, &'static str> {
    let author = comment.get("author").filter(|author| author.is_object());
    let author = author.and_then(|author| read::actor_of(&At::root(author), Some(own)).ok());
    if !author.is_some_and(|author| author.account == said.actor.account && author.kind == ActorKind::Human) {
        return Err("somebody else wrote it");
    }
    let address = comment.get("self").and_then(Value::as_str).unwrap_or_default();
    if !address.contains(&format!("/issue/{issue_id}/comment/")) {
        return Err("it stands on another ticket");
    }
    if comment.get("created") != comment.get("updated") {
        return Err("it was edited");
    }
    if !read::is_open(comment) {
        return Err("not everybody on the ticket can see it");
    }
    let created = history::created(comment).filter(|at| said.at.duration_since(*at).abs() <= APART_AT_MOST);
    created.ok_or("it was not written when it was said to be")
}

/// The marker in the properties that came with a comment. `None` if none came: a site may leave them out or empty
/// whatever the comment has.
fn listed_marker(comment: &Value) -> Option<Option<String>> {
    let properties = comment.get("properties")?.as_array().filter(|all| !all.is_empty())?;
    let ours = properties
        .iter()
        .find(|p| p.get("key").and_then(Value::as_str) == Some(PROPERTY));
    Some(ours.and_then(|p| marker_in(p.get("value")?)))
}

fn marker_in(value: &Value) -> Option<String> {
    value.get("marker")?.as_str().map(str::to_owned)
}

fn comment_path(issue: &str, id: &str) -> String {
    format!("{issue}/comment/{}", encoded(id))
}

fn posted(thread: &ThreadRef, id: String) -> Posted {
    Posted {
        message: MessageRef {
            thread: thread.clone(),
            id,
        },
        opened: None,
    }
}
