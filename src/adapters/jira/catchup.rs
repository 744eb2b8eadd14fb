//! Comments and changes of status that no webhook told, found by looking at the tickets updated since a moment.
//!
//! Each is put in the shape of its webhook, so that the door reads both alike. The older version of Cloud's API is
//! used for that: its texts are the wiki text that webhooks carry. Facts: Atlassian, "Issue search" (Cloud: enhanced
//! search by page token; Data Center: `/search`), "Issue comments", "Issues: get changelogs", and "Advanced search
//! reference: JQL fields".

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::client::{Jira, encoded, id_of, odd, success};
use super::{Flavor, platform};
use crate::adapters::{CallError, Catchup, Missed, MissedDelivery};
use crate::domain::ids::Platform;

/// Tickets on a page of the search.
const TICKETS_PAGE: usize = 1000;
const PAGES_MAX: usize = 50;
/// So many tickets are read at a time; two calls each.
const TICKETS_MAX: usize = 100;
/// Comments and changes on a page.
const PAGE: usize = 100;
/// How far Jira's clock may be behind, in minutes. Asking for more than needed costs nothing: what happened before is
/// left out here.
const CLOCK_MINUTES: i64 = 5;
/// Jira's REST API in the version whose texts are wiki text.
const API: &str = "/rest/api/2";

/// Looks for what was missed on a Jira site.
pub struct JiraCatchup {
    jira: Arc<Jira>,
    /// The only projects to look at; all that stepherd may see if empty.
    projects: Vec<String>,
    /// Whether changes of status are looked for.
    transitions: bool,
}

/// A ticket that was updated.
struct Updated {
    key: String,
    at: Timestamp,
}

/// Something that happened and when.
type Found = (Timestamp, MissedDelivery);

impl JiraCatchup {
    /// Looks at these projects, or at all if none are named. `transitions` must be false where an Automation rule
    /// tells of them: its requests do not name the change, so one that was heard of could not be told from one that
    /// was not.
    pub fn new(jira: Arc<Jira>, projects: Vec<String>, transitions: bool) -> Self {
        Self {
            jira,
            projects,
            transitions,
        }
    }

    /// The tickets updated since then, in the order of their updates. The search is told how many minutes ago that
    /// was: a date would be read in the time zone of stepherd's account.
    async fn updated(&self, since: Timestamp, now: Timestamp) -> Result<Vec<Updated>, CallError> {
        let minutes = (now.as_second() - since.as_second()).max(0) / 60 + 1 + CLOCK_MINUTES;
        let within = match self.projects.as_slice() {
            [] => String::new(),
            some => format!("project in (\"{}\") AND ", some.join("\",\"")),
        };
        // Sorted by what never changes, so that no ticket slips from one page to the one before.
        let jql = format!("{within}updated >= \"-{minutes}m\" ORDER BY created ASC");
        let asked = format!("jql={}&fields=updated&maxResults={TICKETS_PAGE}", encoded(&jql));
        let mut updated = Vec::new();
        let mut next = String::new();
        for _ in 0..PAGES_MAX {
            let resource = match self.jira.flavor {
                Flavor::Cloud => "search/jql",
                Flavor::DataCenter => "search",
            };
            let page = success(self.jira.get(&format!("{API}/{resource}?{asked}{next}")).await?)?;
            let issues = list(&page, "issues")?;
            for issue in issues {
                let key = text(issue, "key").ok_or_else(|| odd("a ticket's key is missing from the answer"))?;
                let at = issue.pointer("/fields/updated").and_then(moment);
                let at = at.ok_or_else(|| odd("a ticket's `updated` is missing from the answer"))?;
                updated.extend((at >= since).then(|| Updated {
                    key: key.to_owned(),
                    at,
                }));
            }
            next = match self.jira.flavor {
                Flavor::Cloud => match text(&page, "nextPageToken") {
                    Some(token) => format!("&nextPageToken={}", encoded(token)),
                    None => break,
                },
                Flavor::DataCenter => {
                    let start = page.get("startAt").and_then(Value::as_u64).unwrap_or_default();
                    let end = start + issues.len() as u64;
                    if issues.is_empty() || page.get("total").and_then(Value::as_u64).is_none_or(|all| end >= all) {
                        break;
                    }
                    format!("&startAt={end}")
                }
            };
        }
        updated.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        Ok(updated)
    }

    /// What happened to a ticket since then. A ticket that is gone or hidden has nothing to say.
    async fn look_at(&self, key: &str, since: Timestamp) -> Result<Vec<Found>, CallError> {
        let path = format!("{API}/issue/{}", encoded(key));
        let fields = encoded("*all,-comment");
        let answered = self
            .jira
            .get(&format!("{path}?fields={fields}&expand=changelog"))
            .await?;
        if answered.status == 404 {
            return Ok(Vec::new());
        }
        let issue = success(answered)?;
        let ticket = json!({
            "id": issue.get("id"), "self": issue.get("self"), "key": issue.get("key"), "fields": issue.get("fields"),
        });
        let mut found = Vec::new();
        if self.transitions {
            let changes = self.changes(&path, &issue, since).await?;
            found.extend(transitions(&ticket, &changes, since));
        }
        for comment in self.comments(&path, since).await? {
            found.extend(commented(&ticket, &comment, since));
        }
        Ok(found)
    }

    /// The ticket's changes, at least all of those since then. Cloud shows the newest few with the ticket.
    async fn changes(&self, path: &str, issue: &Value, since: Timestamp) -> Result<Vec<Value>, CallError> {
        let shown = list(issue.get("changelog").unwrap_or(&Value::Null), "histories")?;
        let total = issue.pointer("/changelog/total").and_then(Value::as_u64);
        let whole = total.is_none_or(|total| shown.len() as u64 >= total);
        let reaches = shown.iter().filter_map(created).any(|at| at < since);
        if whole || reaches {
            return Ok(shown.clone());
        }
        let mut all = Vec::new();
        for _ in 0..PAGES_MAX {
            let target = format!("{path}/changelog?startAt={}&maxResults={PAGE}", all.len());
            let page = success(self.jira.get(&target).await?)?;
            let listed = list(&page, "values")?;
            all.extend(listed.iter().cloned());
            if listed.is_empty() || page.get("isLast") == Some(&Value::Bool(true)) {
                break;
            }
        }
        Ok(all)
    }

    /// The ticket's comments, at least all of those since then.
    async fn comments(&self, path: &str, since: Timestamp) -> Result<Vec<Value>, CallError> {
        let mut all: Vec<Value> = Vec::new();
        for _ in 0..PAGES_MAX {
            let start = all.len();
            let target = format!("{path}/comment?startAt={start}&maxResults={PAGE}&orderBy=-created");
            let page = success(self.jira.get(&target).await?)?;
            let listed = list(&page, "comments")?;
            all.extend(listed.iter().cloned());
            let reaches = listed.iter().filter_map(created).any(|at| at < since);
            let total = page.get("total").and_then(Value::as_u64);
            if listed.is_empty() || reaches || total.is_none_or(|total| all.len() as u64 >= total) {
                break;
            }
        }
        Ok(all)
    }
}

#[async_trait]
impl Catchup for JiraCatchup {
    fn platform(&self) -> Platform {
        platform()
    }

    async fn missed(&self, since: Timestamp, now: Timestamp) -> Missed {
        let mut missed = Missed {
            deliveries: Vec::new(),
            redelivered: 0,
            seen_to: now,
            trouble: None,
        };
        let updated = match self.updated(since, now).await {
            Ok(updated) => updated,
            Err(error) => {
                missed.seen_to = since;
                missed.trouble = Some(error);
                return missed;
            }
        };
        // All that were updated at the same moment are read together, so that each look gets further.
        let last = updated.get(TICKETS_MAX - 1).map(|ticket| ticket.at);
        let enough = last.map_or(updated.len(), |last| {
            updated.partition_point(|ticket| ticket.at <= last)
        });
        if let Some(last) = last.filter(|_| enough < updated.len()) {
            missed.seen_to = last.max(since);
        }
        let mut found = Vec::new();
        for ticket in &updated[..enough] {
            match self.look_at(&ticket.key, since).await {
                Ok(happened) => found.extend(happened),
                Err(CallError::Permanent { why, .. }) => {
                    tracing::warn!(ticket = ticket.key, %why, "cannot be looked at for what was missed");
                }
                Err(error) => {
                    missed.seen_to = since;
                    missed.trouble = Some(error);
                    break;
                }
            }
        }
        found.sort_by_key(|(at, _)| *at);
        missed.deliveries = found.into_iter().map(|(_, delivery)| delivery).collect();
        missed
    }
}

/// Changes of status since then. One that a later one took back is as good as a comment that was deleted.
fn transitions(ticket: &Value, changes: &[Value], since: Timestamp) -> Vec<Found> {
    let mut moves: Vec<(Timestamp, u64, &Value, &Value)> = Vec::new();
    for change in changes {
        let number = id_of(change).and_then(|id| id.parse().ok()).unwrap_or_default();
        if let (Some(at), Some(item)) = (created(change), status_item(change)) {
            moves.push((at, number, change, item));
        }
    }
    moves.sort_by_key(|(at, number, ..)| (*at, *number));
    let mut found = Vec::new();
    for (place, (at, _, change, item)) in moves.iter().enumerate() {
        let from = item.get("from").filter(|from| !from.is_null());
        let taken_back = from.is_some() && moves[place + 1..].iter().any(|(.., later)| later.get("to") == from);
        let Some(id) = id_of(change).filter(|_| *at >= since && !taken_back) else {
            continue;
        };
        let mut body = envelope("jira:issue_updated", *at, ticket);
        body.insert("issue_event_type_name".to_owned(), "issue_generic".into());
        if let Some(author) = change.get("author").filter(|author| author.is_object()) {
            body.insert("user".to_owned(), author.clone());
        }
        body.insert(
            "changelog".to_owned(),
            json!({ "id": id, "items": change.get("items") }),
        );
        found.push(missed("transition", "changelog", &id, *at, body));
    }
    found
}

/// The change of status in a change, as the door recognises it.
fn status_item(change: &Value) -> Option<&Value> {
    let mut items = change.get("items")?.as_array()?.iter();
    items.find(|item| match text(item, "fieldId") {
        Some(id) => id == "status",
        None => text(item, "field") == Some("status") && text(item, "fieldtype").is_none_or(|kind| kind == "jira"),
    })
}

fn commented(ticket: &Value, comment: &Value, since: Timestamp) -> Option<Found> {
    let (id, at) = (id_of(comment)?, created(comment).filter(|at| *at >= since)?);
    // Accounts that were closed say nothing any more.
    comment.get("author").filter(|author| author.is_object())?;
    let mut body = envelope("comment_created", at, ticket);
    body.insert("comment".to_owned(), comment.clone());
    Some(missed("comment", "comment", &id, at, body))
}

fn envelope(event: &str, at: Timestamp, ticket: &Value) -> Map<String, Value> {
    Map::from_iter([
        ("timestamp".to_owned(), at.as_millisecond().into()),
        ("webhookEvent".to_owned(), event.into()),
        ("issue".to_owned(), ticket.clone()),
    ])
}

fn missed(what: &'static str, named: &str, id: &str, at: Timestamp, body: Map<String, Value>) -> Found {
    let kind = body.get("webhookEvent").and_then(Value::as_str).unwrap_or_default();
    let delivery = MissedDelivery {
        what,
        delivery_id: format!("repair-{named}-{id}"),
        kind: kind.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Value::Object(body).to_string().into_bytes(),
    };
    (at, delivery)
}

fn list<'v>(value: &'v Value, name: &str) -> Result<&'v Vec<Value>, CallError> {
    let listed = value.get(name).and_then(Value::as_array);
    listed.ok_or_else(|| odd(&format!("`{name}` is missing from the answer")))
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

fn created(value: &Value) -> Option<Timestamp> {
    value.get("created").and_then(moment)
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}
