//! What a verified delivery means: a ticket that changed its status, a new comment, or nothing.
//!
//! Facts: Atlassian, "Webhooks" (Jira Cloud platform), "Managing webhooks" (Data Center), and Automation's
//! "Issue data (Jira format)" and "(Automation format)".

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::payload::At;
use super::{ANONYMOUS_ACCOUNT, AUTOMATION_ACCOUNT, lines, platform, thread_of};
use crate::adapters::{Unreadable, json};
use crate::domain::ids::{ThreadRef, TicketKey};
use crate::domain::signal::{
    Account, Actor, ActorKind, MessageRef, Proof, Said, Signal, Text, TicketMoved, TicketStatus,
};

/// The longest number of a ticket.
const ID_CHARS_MAX: usize = 20;

/// What the reader is told besides the payload.
#[derive(Clone, Copy)]
struct Context<'a> {
    own: Option<&'a str>,
    proof: Proof,
    received_at: Timestamp,
}

/// Reads a body, as far as its proof goes. `own` is stepherd's own account.
pub(super) fn read(body: &[u8], proof: Proof, own: Option<&str>, received_at: Timestamp) -> Result<Signal, Unreadable> {
    let payload = json::read(body).map_err(|e| Unreadable(format!("$: not JSON: {e}")))?;
    let root = At::root(&payload).object()?;
    let context = Context {
        own,
        proof,
        received_at,
    };
    let event = root.get("webhookEvent");
    match (proof, event.text()?) {
        (Proof::Automation, None) => automation(&root, context),
        // Whoever knows a rule's secret writes the body: in the shape of a webhook it could name anybody.
        (Proof::Automation, Some(_)) => Err(Unreadable(
            "$.webhookEvent: what proves itself by an Automation rule's secret is no webhook; let the rule send \
             \"Issue data (Jira format)\""
                .to_owned(),
        )),
        (_, None) => Err(event.odd("an event")),
        (_, Some("jira:issue_updated")) => updated(&root, context),
        (_, Some("comment_created")) => commented(&root, context),
        (_, Some(other)) => Ok(Signal::Nothing(format!("{} is of no interest", name_of(other)))),
    }
}

fn updated(root: &At<'_>, context: Context<'_>) -> Result<Signal, Unreadable> {
    let changelog = root.get("changelog");
    let Some(item) = status_item(&changelog)? else {
        // Data Center tells of a comment twice: by itself without its ticket, and so with it.
        if root.get("issue_event_type_name").text()? == Some("issue_commented") {
            return commented(root, context);
        }
        return Ok(Signal::Nothing("the ticket's status did not change".to_owned()));
    };
    let from = status(&item, "from", "fromString")?;
    let to = status(&item, "to", "toString")?.ok_or_else(|| item.get("to").odd("a status"))?;
    if from.as_ref().is_some_and(|from| same(from, &to)) {
        return Ok(Signal::Nothing("the ticket went to the status it had".to_owned()));
    }
    let issue = root.get("issue").object()?;
    let ticket = ticket_of(&issue)?;
    let change = changelog.get("id").id()?;
    let key = format!("jira:{}:changelog:{change}", issue.get("id").id()?);
    let at = match root.get("timestamp").moment()? {
        Some(at) => at,
        None => issue
            .get("fields")
            .get("updated")
            .moment()?
            .unwrap_or(context.received_at),
    };
    Ok(Signal::TicketMoved(TicketMoved {
        actor: actor_of(&root.get("user"), context.own)?,
        thread: thread_of(&ticket),
        fields: fields_of(&issue, &ticket),
        ticket,
        from,
        to,
        change: Some(change),
        at,
        key,
    }))
}

/// What an Automation rule sends: the ticket as it is, in an envelope or bare. The rule fires on the transition, so its
/// being here means that the ticket came to the status it has; which change that was is looked up. It acts as the
/// rules' own account, whatever user the body names.
fn automation(root: &At<'_>, context: Context<'_>) -> Result<Signal, Unreadable> {
    let enveloped = root.get("issue");
    let issue = if enveloped.is_there() {
        enveloped.object()?
    } else if root.get("key").is_there() && root.get("fields").is_there() {
        At::root(root.value().unwrap_or(&Value::Null))
    } else {
        return Err(enveloped.odd("a ticket"));
    };
    let ticket = ticket_of(&issue)?;
    let fields = issue.get("fields").object()?;
    let now_in = fields.get("status").object()?;
    let to = TicketStatus {
        id: now_in.get("id").id_if_there()?.unwrap_or_default(),
        name: now_in.get("name").text()?.unwrap_or_default().to_owned(),
    };
    if to.id.is_empty() && to.name.is_empty() {
        return Err(now_in.odd("a status with an id or a name"));
    }
    let issue_id = issue.get("id").id_if_there()?;
    let issue_id = issue_id.unwrap_or_else(|| ticket.as_str().to_owned());
    Ok(Signal::TicketMoved(TicketMoved {
        actor: nobody(AUTOMATION_ACCOUNT),
        thread: thread_of(&ticket),
        fields: fields_of(&issue, &ticket),
        ticket,
        from: None,
        to,
        change: None,
        at: fields.get("updated").moment()?.unwrap_or(context.received_at),
        key: format!("jira:{issue_id}:automation"),
    }))
}

fn commented(root: &At<'_>, context: Context<'_>) -> Result<Signal, Unreadable> {
    let comment = root.get("comment").object()?;
    let id = comment.get("id").id()?;
    // It becomes part of an address and of a key.
    if !id.bytes().all(|b| b.is_ascii_digit()) {
        return Err(comment.get("id").odd("a number"));
    }
    let (created, edited) = (comment.get("created"), comment.get("updated"));
    if created.is_there() && edited.is_there() && created.value() != edited.value() {
        return Ok(Signal::Nothing(format!("comment {id} was edited")));
    }
    if !is_open(comment.value().unwrap_or(&Value::Null)) {
        return Ok(Signal::Nothing(format!(
            "not everybody on the ticket can see comment {id}, but they would see the answer"
        )));
    }
    let author = comment.get("author").object()?;
    let actor = actor_of(&author, context.own)?;
    for other in [root.get("user"), comment.get("updateAuthor")] {
        if other.is_there() && actor_of(&other, context.own)?.account != actor.account {
            return Ok(Signal::Nothing(format!(
                "comment {id} was written in somebody else's name"
            )));
        }
    }
    let body = comment.get("body");
    let text = body
        .value()
        .and_then(lines::of_body)
        .ok_or_else(|| body.odd("text or a document"))?;
    let (thread, within) = place_of_comment(root, &comment)?;
    let at = match created.moment()? {
        Some(at) => at,
        None => root.get("timestamp").moment()?.unwrap_or(context.received_at),
    };
    Ok(Signal::Said(Said {
        actor,
        text: Text::Lines(text),
        as_written: context.proof != Proof::Repaired,
        at,
        key: format!("jira:comment:{id}"),
        message: MessageRef {
            thread: thread.clone(),
            id,
        },
        thread,
        within,
        pr: None,
    }))
}

/// The change of status among the changes. A custom field may be called `status` too: it differs by its id, or on
/// Data Center by its type.
fn status_item<'a>(changelog: &At<'a>) -> Result<Option<At<'a>>, Unreadable> {
    if changelog.is_there() && changelog.value().is_some_and(|v| !v.is_object()) {
        return Err(changelog.odd("an object"));
    }
    for item in changelog.get("items").items()? {
        let item = item.object()?;
        let is_status = match item.get("fieldId").text()? {
            Some(id) => id == "status",
            None => {
                item.get("field").text()? == Some("status")
                    && item.get("fieldtype").text()?.is_none_or(|kind| kind == "jira")
            }
        };
        if is_status {
            return Ok(Some(item));
        }
    }
    Ok(None)
}

fn status(item: &At<'_>, id: &str, name: &str) -> Result<Option<TicketStatus>, Unreadable> {
    let id = item.get(id).id_if_there()?.unwrap_or_default();
    let name = item.get(name).text()?.unwrap_or_default().to_owned();
    Ok(Some(TicketStatus { id, name }).filter(|status| !(status.id.is_empty() && status.name.is_empty())))
}

pub(super) fn same(a: &TicketStatus, b: &TicketStatus) -> bool {
    if a.id.is_empty() || b.id.is_empty() {
        a.name == b.name
    } else {
        a.id == b.id
    }
}

fn ticket_of(issue: &At<'_>) -> Result<TicketKey, Unreadable> {
    let key = issue.get("key");
    let text = key.text()?.ok_or_else(|| key.odd("a ticket key"))?;
    text.parse().map_err(|e| Unreadable(format!("{}: {e}", key.path())))
}

/// The ticket's thread and project. Data Center leaves the ticket out: the comment's own address names it, mostly by
/// number, and whoever reads the comment again learns the rest.
fn place_of_comment(root: &At<'_>, comment: &At<'_>) -> Result<(ThreadRef, Vec<String>), Unreadable> {
    let issue = root.get("issue");
    let known = |ticket: &TicketKey| (thread_of(ticket), vec![ticket.project().to_owned()]);
    if issue.is_there() {
        return Ok(known(&ticket_of(&issue.object()?)?));
    }
    let address = comment.get("self");
    let named = address.text()?.and_then(|address| {
        let (_, rest) = address.split_once("/issue/")?;
        rest.split('/').next()
    });
    if let Some(ticket) = named.and_then(|named| named.parse().ok()) {
        return Ok(known(&ticket));
    }
    let is_id = |id: &&str| (1..=ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
    let id = named.filter(is_id).ok_or_else(|| issue.odd("the comment's ticket"))?;
    let thread = ThreadRef {
        platform: platform(),
        place: id.to_owned(),
    };
    Ok((thread, Vec::new()))
}

/// Whether everybody who sees the ticket can see the comment: it is not restricted to a role or group, nor an internal
/// note of a service desk.
pub(super) fn is_open(comment: &Value) -> bool {
    let restricted = comment.get("visibility").is_some_and(|to| !to.is_null());
    !restricted && comment.get("jsdPublic") != Some(&Value::Bool(false))
}

/// Who it was, by `accountId` (Cloud) or user key, failing that name (Data Center). A change that Jira attributes to
/// nobody was made by the account of nobody.
pub(super) fn actor_of(user: &At<'_>, own: Option<&str>) -> Result<Actor, Unreadable> {
    let mut ids = Vec::new();
    for name in ["accountId", "key", "name"] {
        ids.extend(user.get(name).id_if_there()?);
    }
    let display = user.get("displayName").text()?;
    let Some(id) = ids.first() else {
        if user.is_there() {
            return Err(user.odd("a user with an accountId, key or name"));
        }
        return Ok(nobody(ANONYMOUS_ACCOUNT));
    };
    let kind = if own.is_some_and(|own| ids.iter().any(|id| id == own)) {
        ActorKind::Ours
    } else if user.get("accountType").text()? == Some("app") {
        ActorKind::Bot
    } else {
        ActorKind::Human
    };
    // On Data Center people choose their names, and may choose these.
    let reserved = [AUTOMATION_ACCOUNT, ANONYMOUS_ACCOUNT].contains(&id.as_str());
    Ok(Actor {
        account: account(&if reserved { format!("user:{id}") } else { id.clone() }),
        name: display.unwrap_or(id).to_owned(),
        kind,
        roles: Vec::new(),
        // Customers of a service desk have an account type of their own; Data Center tells none.
        insider: user.get("accountType").text()? == Some("atlassian"),
    })
}

/// An account that is no user's.
fn nobody(id: &str) -> Actor {
    Actor {
        account: account(id),
        name: id.to_owned(),
        kind: ActorKind::Human,
        roles: Vec::new(),
        insider: false,
    }
}

fn account(id: &str) -> Account {
    Account {
        platform: platform(),
        id: id.to_owned(),
    }
}

/// The ticket's fields that can be told in a line of text. What Jira leaves empty is left out.
fn fields_of(issue: &At<'_>, ticket: &TicketKey) -> BTreeMap<String, String> {
    let given = issue.get("fields");
    let mut fields: BTreeMap<String, String> = given
        .value()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), flat(value)?)))
        .collect();
    let project = given.get("project").get("key").value().and_then(Value::as_str);
    let of_key = ticket.as_str().rsplit_once('-').map_or("", |(project, _)| project);
    fields.insert("project".to_owned(), project.unwrap_or(of_key).to_owned());
    fields.insert("key".to_owned(), ticket.as_str().to_owned());
    fields
}

fn flat(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(flat_one).collect();
            (!items.is_empty()).then(|| items.join(","))
        }
        other => flat_one(other),
    }
}

fn flat_one(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(option) => ["value", "name", "key", "id"]
            .iter()
            .find_map(|name| match option.get(*name)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            }),
        _ => None,
    }
}

/// An event's name fit for a log.
fn name_of(event: &str) -> String {
    event.chars().filter(|c| !c.is_control()).take(64).collect()
}
