//! Comments and changes of status that no webhook told, found by looking at the tickets updated since a moment.
//!
//! Each is put in the shape of its webhook, so that the door reads both alike. Facts: Atlassian, "Issue search" (Cloud:
//! enhanced search by page token; Data Center: `/search`), "Issue comments", and "Advanced search reference: JQL
//! fields".

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::client::{Jira, encoded, id_of, odd, success};
use super::history::{API, Move, Ticket, created, list, moment, moves, text};
use super::{Flavor, platform};
use crate::adapters::{CallError, Catchup, Missed, MissedDelivery, Ours};
use crate::domain::ids::Platform;

/// How the names of what was found here begin.
pub(super) const REPAIRED: &str = "repair-";
/// Tickets on a page of the search.
const TICKETS_PAGE: usize = 1000;
const PAGES_MAX: usize = 50;
/// So many tickets are read at a time; two calls each.
const TICKETS_MAX: usize = 100;
/// Comments on a page.
const PAGE: usize = 100;
/// How far Jira's clock may be behind, in minutes. Asking for more than needed costs nothing: what happened before is
/// left out here.
const CLOCK_MINUTES: i64 = 5;

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
    /// tells of them: what no rule told of may be what its conditions keep back.
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
        let Some(ticket) = self.jira.ticket(key).await? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        if self.transitions {
            let reaches = |changes: &[Value]| changes.iter().filter_map(created).any(|at| at < since);
            let changes = self.jira.changes_back(&ticket, reaches).await?;
            let changes = changes.ok_or_else(|| odd("a ticket has more changes than can be read"))?;
            found.extend(transitions(&ticket, &moves(&changes), since));
        }
        for comment in self.comments(&ticket.path, since).await? {
            found.extend(commented(&ticket, &comment, since));
        }
        Ok(found)
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

    async fn missed(&self, _ours: &Ours, since: Timestamp, now: Timestamp) -> Missed {
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
fn transitions(ticket: &Ticket, moves: &[Move], since: Timestamp) -> Vec<Found> {
    let mut found = Vec::new();
    for (place, moved) in moves.iter().enumerate() {
        let taken_back = moves[place + 1..].iter().any(|later| moved.is_taken_back_by(later));
        if moved.at >= since && !taken_back {
            let body = ticket.webhook(moved);
            found.push(missed("transition", "changelog", &moved.id, moved.at, body));
        }
    }
    found
}

fn commented(ticket: &Ticket, comment: &Value, since: Timestamp) -> Option<Found> {
    let (id, at) = (id_of(comment)?, created(comment).filter(|at| *at >= since)?);
    // Accounts that were closed say nothing any more.
    comment.get("author").filter(|author| author.is_object())?;
    let mut body = ticket.envelope("comment_created", at);
    body.insert("comment".to_owned(), comment.clone());
    Some(missed("comment", "comment", &id, at, body))
}

fn missed(what: &'static str, named: &str, id: &str, at: Timestamp, body: Map<String, Value>) -> Found {
    let kind = body.get("webhookEvent").and_then(Value::as_str).unwrap_or_default();
    let delivery = MissedDelivery {
        what,
        delivery_id: format!("{REPAIRED}{named}-{id}"),
        kind: kind.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Value::Object(body).to_string().into_bytes(),
    };
    (at, delivery)
}
