//! A ticket as Jira has it now, and the changes of its status, each in the shape of the webhook that tells of it: so
//! what was looked up is read by the same code as what was told.
//!
//! The older version of Cloud's API is used for that: its texts are the wiki text that webhooks carry. Facts:
//! Atlassian, "Get issue" (`expand=changelog`: on Cloud the newest changes, newest first; on Data Center all of them)
//! and "Get changelogs" (Cloud only, oldest first).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::client::{Jira, encoded, id_of, odd, success};
use crate::adapters::CallError;

/// Jira's REST API in the version whose texts are wiki text.
pub(super) const API: &str = "/rest/api/2";
/// Changes on a page.
const PAGE: u64 = 100;
/// So many pages of changes are read at most, from the newest on.
const PAGES_MAX: usize = 50;

/// A ticket as Jira has it now.
pub(super) struct Ticket {
    /// Where it is: `/rest/api/2/issue/OPS-1`.
    pub(super) path: String,
    /// Its id, key and fields, as webhooks carry them.
    issue: Value,
    /// What people call its fields, by id.
    pub(super) names: BTreeMap<String, String>,
    /// The changes that Jira shows with it.
    shown: Vec<Value>,
    /// Whether these are all.
    whole: bool,
}

/// A change of a ticket's status.
pub(super) struct Move {
    /// The changelog's id.
    pub(super) id: String,
    /// When it was.
    pub(super) at: Timestamp,
    change: Value,
}

impl Jira {
    /// The ticket with its changes; `None` if it is gone or hidden.
    pub(super) async fn ticket(&self, key: &str) -> Result<Option<Ticket>, CallError> {
        let path = format!("{API}/issue/{}", encoded(key));
        let fields = encoded("*all,-comment");
        let answered = self
            .get(&format!("{path}?fields={fields}&expand=changelog,names"))
            .await?;
        if answered.status == 404 {
            return Ok(None);
        }
        let issue = success(answered)?;
        let shown = list(issue.get("changelog").unwrap_or(&Value::Null), "histories")?.clone();
        let total = issue.pointer("/changelog/total").and_then(Value::as_u64);
        Ok(Some(Ticket {
            path,
            whole: total.is_none_or(|total| shown.len() as u64 >= total),
            issue: json!({
                "id": issue.get("id"), "self": issue.get("self"), "key": issue.get("key"), "fields": issue.get("fields"),
            }),
            names: shown_names(&issue),
            shown,
        }))
    }

    /// The ticket's changes in no order: all, or the newest ones back to where a page holds enough; `None` if there are
    /// too many to be read.
    pub(super) async fn changes_back(
        &self,
        ticket: &Ticket,
        enough: impl Fn(&[Value]) -> bool,
    ) -> Result<Option<Vec<Value>>, CallError> {
        if ticket.whole || enough(&ticket.shown) {
            return Ok(Some(ticket.shown.clone()));
        }
        let mut changes = Vec::new();
        let (_, mut end) = self.page(ticket, 0, 1).await?;
        for _ in 0..PAGES_MAX {
            let start = end.saturating_sub(PAGE);
            let page = self.changes(ticket, start, end).await?;
            let done = start == 0 || enough(&page);
            changes.extend(page);
            if done {
                return Ok(Some(changes));
            }
            end = start;
        }
        Ok(None)
    }

    /// The changes from this place on to that one, oldest first. None may be missing: what is in a gap would count as
    /// never having happened.
    async fn changes(&self, ticket: &Ticket, start: u64, end: u64) -> Result<Vec<Value>, CallError> {
        let mut changes: Vec<Value> = Vec::new();
        loop {
            let at = start + changes.len() as u64;
            if at >= end {
                return Ok(changes);
            }
            // Jira may give fewer than it is asked for.
            let (page, _) = self.page(ticket, at, end - at).await?;
            if page.is_empty() {
                return Err(odd("a page of changes is empty"));
            }
            changes.extend(page);
        }
    }

    /// A page of changes, oldest first, and how many there are in all.
    async fn page(&self, ticket: &Ticket, start: u64, count: u64) -> Result<(Vec<Value>, u64), CallError> {
        let target = format!("{}/changelog?startAt={start}&maxResults={count}", ticket.path);
        let page = success(self.get(&target).await?)?;
        let total = page.get("total").and_then(Value::as_u64);
        let total = total.ok_or_else(|| odd("`total` is missing from the answer"))?;
        Ok((list(&page, "values")?.clone(), total))
    }
}

impl Ticket {
    /// The body of the webhook that tells of this move.
    pub(super) fn webhook(&self, moved: &Move) -> Map<String, Value> {
        let mut body = self.envelope("jira:issue_updated", moved.at);
        body.insert("issue_event_type_name".to_owned(), "issue_generic".into());
        if let Some(author) = moved.change.get("author").filter(|author| author.is_object()) {
            body.insert("user".to_owned(), author.clone());
        }
        let changelog = json!({ "id": moved.id, "items": moved.change.get("items") });
        body.insert("changelog".to_owned(), changelog);
        body
    }

    /// What every webhook about it has in common.
    pub(super) fn envelope(&self, event: &str, at: Timestamp) -> Map<String, Value> {
        Map::from_iter([
            ("timestamp".to_owned(), at.as_millisecond().into()),
            ("webhookEvent".to_owned(), event.into()),
            ("issue".to_owned(), self.issue.clone()),
        ])
    }

    /// The status that it has now.
    pub(super) fn status(&self) -> Option<&Value> {
        self.issue.pointer("/fields/status")
    }
}

impl Move {
    /// Whether it came from where that one went.
    pub(super) fn is_taken_back_by(&self, later: &Self) -> bool {
        let from = status_item(&self.change).and_then(|item| item.get("from").filter(|from| !from.is_null()));
        from.is_some() && status_item(&later.change).and_then(|item| item.get("to")) == from
    }
}

/// Whether a change of status is among these changes.
pub(super) fn tells_of_status(changes: &[Value]) -> bool {
    changes.iter().any(|change| status_item(change).is_some())
}

/// The changes of status among these changes, oldest first.
pub(super) fn moves(changes: &[Value]) -> Vec<Move> {
    let of_status = changes.iter().filter(|change| status_item(change).is_some());
    let mut moves: Vec<Move> = of_status
        .filter_map(|change| {
            Some(Move {
                id: id_of(change)?,
                at: created(change)?,
                change: change.clone(),
            })
        })
        .collect();
    moves.sort_by_key(|moved| (moved.at, number(&moved.id)));
    moves
}

/// Jira numbers changes, upwards.
pub(super) fn number(id: &str) -> Option<u64> {
    id.parse().ok()
}

fn shown_names(issue: &Value) -> BTreeMap<String, String> {
    let names = issue.get("names").and_then(Value::as_object).into_iter().flatten();
    names
        .filter_map(|(id, name)| Some((id.clone(), name.as_str()?.to_owned())))
        .collect()
}

/// The change of status in a change, as the door recognises it.
fn status_item(change: &Value) -> Option<&Value> {
    let mut items = change.get("items")?.as_array()?.iter();
    items.find(|item| match text(item, "fieldId") {
        Some(id) => id == "status",
        None => text(item, "field") == Some("status") && text(item, "fieldtype").is_none_or(|kind| kind == "jira"),
    })
}

pub(super) fn list<'v>(value: &'v Value, name: &str) -> Result<&'v Vec<Value>, CallError> {
    let listed = value.get(name).and_then(Value::as_array);
    listed.ok_or_else(|| odd(&format!("`{name}` is missing from the answer")))
}

pub(super) fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

pub(super) fn created(value: &Value) -> Option<Timestamp> {
    value.get("created").and_then(moment)
}

pub(super) fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}
