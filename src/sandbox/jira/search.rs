//! Finding issues by JQL, and what was changed in them: Cloud's enhanced search by page token, Data Center's search by
//! index, and changelogs. Of JQL it knows what its users use; anything else is refused as JQL that cannot be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::routes::{Service, error, number, visible};
use super::state::{Change, Issue, Site, written};
use super::{Flavour, Inner};
use crate::sandbox::wire::{Handled, Reply, lock, query};

/// The most changes that Cloud shows with an issue: the newest.
const SHOWN_WITH_ISSUE: usize = 40;
/// The most issues on a page.
const PAGE_MAX: usize = 100;
const PAGE: usize = 50;

pub(super) fn routes() -> Router<Arc<Inner>> {
    Router::new()
        .route("/rest/api/{v}/search", get(by_index))
        .route("/rest/api/{v}/search/jql", get(by_token))
        .route("/rest/api/{v}/issue/{key}/changelog", get(changelog))
}

/// `GET /search`: Data Center's. Cloud has removed it.
async fn by_index(
    State(inner): Service,
    Path(v): Path<String>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&v, &headers)?;
    let asked = query(raw);
    let site = lock(&inner.site);
    if site.flavour == Flavour::Cloud {
        let text = "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API.";
        return Err(error(410, text));
    }
    let found = find(&site, &asked, (inner.now)())?;
    let start = number(&asked, "startAt", 0)?;
    let max = number(&asked, "maxResults", PAGE)?.min(PAGE_MAX);
    let page = found.iter().skip(start).take(max);
    let issues: Vec<Value> = page
        .map(|issue| shown(&site, issue, &asked, &v, "*navigable"))
        .collect();
    Ok(Reply::json(
        200,
        json!({"expand": "schema,names", "startAt": start, "maxResults": max, "total": found.len(), "issues": issues}),
    ))
}

/// `GET /search/jql`: Cloud's.
async fn by_token(
    State(inner): Service,
    Path(v): Path<String>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&v, &headers)?;
    let asked = query(raw);
    let site = lock(&inner.site);
    if site.flavour == Flavour::DataCenter {
        return Err(Reply::json(404, json!({"message": "null for uri", "status-code": 404})));
    }
    if asked.contains_key("startAt") {
        return Err(error(
            400,
            "Invalid request payload. Refer to the REST API documentation and try again.",
        ));
    }
    let found = find(&site, &asked, (inner.now)())?;
    let start = match asked.get("nextPageToken") {
        None => 0,
        Some(token) => {
            let at = token.strip_prefix("page-").and_then(|at| at.parse::<usize>().ok());
            at.ok_or_else(|| error(400, "The provided next page token is invalid or expired."))?
        }
    };
    let max = number(&asked, "maxResults", PAGE)?.min(PAGE_MAX);
    let page = found.iter().skip(start).take(max);
    let issues: Vec<Value> = page.map(|issue| shown(&site, issue, &asked, &v, "id")).collect();
    let end = start + issues.len();
    let mut body = json!({"issues": issues, "isLast": end >= found.len()});
    if end < found.len() {
        body["nextPageToken"] = format!("page-{end}").into();
    }
    Ok(Reply::json(200, body))
}

/// `GET /issue/{key}/changelog`: Cloud's, oldest first.
async fn changelog(
    State(inner): Service,
    Path((v, key)): Path<(String, String)>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&v, &headers)?;
    let asked = query(raw);
    let site = lock(&inner.site);
    if site.flavour == Flavour::DataCenter {
        return Err(Reply::json(404, json!({"message": "null for uri", "status-code": 404})));
    }
    let all = &visible(&site, &key)?.changes;
    let start = number(&asked, "startAt", 0)?;
    let max = number(&asked, "maxResults", PAGE_MAX)?.min(PAGE_MAX);
    let page: Vec<Value> = all
        .iter()
        .skip(start)
        .take(max)
        .map(|change| site.change_json(change))
        .collect();
    let last = start + page.len() >= all.len();
    Ok(Reply::json(
        200,
        json!({"startAt": start, "maxResults": max, "total": all.len(), "isLast": last, "values": page}),
    ))
}

fn find<'s>(site: &'s Site, asked: &BTreeMap<String, String>, now: Timestamp) -> Result<Vec<&'s Issue>, Reply> {
    let jql = asked.get("jql").map_or("", String::as_str);
    let wrong = || error(400, &format!("Error in the JQL Query: '{jql}' cannot be read."));
    let (conditions, order) = jql.split_once(" ORDER BY ").unwrap_or((jql, "created DESC"));
    let mut projects: Option<Vec<String>> = None;
    let mut oldest = None;
    for condition in conditions.split(" AND ") {
        if let Some(names) = condition.strip_prefix("project in (").and_then(|c| c.strip_suffix(')')) {
            let unquote = |name: &str| name.trim().strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
            projects = Some(names.split(',').map(unquote).collect::<Option<_>>().ok_or_else(wrong)?);
        } else if let Some(ago) = condition
            .strip_prefix("updated >= \"-")
            .and_then(|c| c.strip_suffix("m\""))
        {
            let minutes: i64 = ago.parse().map_err(|_| wrong())?;
            oldest = Some(now - SignedDuration::from_mins(minutes));
        } else {
            return Err(wrong());
        }
    }
    let unknown = projects
        .iter()
        .flatten()
        .find(|name| !site.projects.contains_key(*name));
    if let Some(unknown) = unknown {
        let text = format!("The value '{unknown}' does not exist for the field 'project'.");
        return Err(error(400, &text));
    }
    let seen = site.issues.iter().filter(|issue| !issue.hidden);
    let mut found: Vec<&Issue> = seen
        .filter(|issue| projects.as_ref().is_none_or(|only| only.contains(&issue.project)))
        .filter(|issue| oldest.is_none_or(|oldest| issue.updated >= oldest))
        .collect();
    match order {
        "created ASC" => found.sort_by_key(|issue| issue.created),
        "created DESC" => found.sort_by_key(|issue| std::cmp::Reverse(issue.created)),
        _ => return Err(wrong()),
    }
    Ok(found)
}

fn shown(site: &Site, issue: &Issue, asked: &BTreeMap<String, String>, v: &str, usual: &str) -> Value {
    let wanted: Vec<&str> = asked.get("fields").map_or(usual, String::as_str).split(',').collect();
    if wanted == ["id"] {
        return json!({"id": issue.id});
    }
    let all = wanted.contains(&"*all") || wanted.contains(&"*navigable");
    let mut fields = site.fields_json(issue);
    fields.retain(|name, _| all || wanted.contains(&name.as_str()));
    site.issue_json(issue, v, fields)
}

impl Site {
    /// `expand=changelog` of an issue: Cloud shows the newest changes, newest first, Data Center all, oldest first.
    pub(super) fn changelog_json(&self, issue: &Issue) -> Value {
        let all = issue.changes.iter().map(|change| self.change_json(change));
        let shown: Vec<Value> = match self.flavour {
            Flavour::Cloud => all.rev().take(SHOWN_WITH_ISSUE).collect(),
            Flavour::DataCenter => all.collect(),
        };
        let total = issue.changes.len();
        json!({"startAt": 0, "maxResults": shown.len(), "total": total, "histories": shown})
    }

    fn change_json(&self, change: &Change) -> Value {
        json!({
            "id": change.id,
            "author": self.user_json(&change.author),
            "created": written(change.created),
            "items": change.items,
        })
    }

    /// One changed field: from what to what, by id and in words.
    pub(super) fn change_item(&self, field: &str, change: [Option<&String>; 4]) -> Value {
        let [from, from_text, to, to_text] = change;
        let custom = field.starts_with("customfield_");
        let name = match field {
            "components" => "Component".to_owned(),
            "fixVersions" => "Fix Version".to_owned(),
            "issuelinks" => "Link".to_owned(),
            "versions" => "Version".to_owned(),
            _ if custom => self.field_name(field),
            own => own.to_owned(),
        };
        let mut item = Map::from_iter([
            ("field".to_owned(), json!(name)),
            ("fieldtype".to_owned(), json!(if custom { "custom" } else { "jira" })),
            ("from".to_owned(), json!(from)),
            ("fromString".to_owned(), json!(from_text)),
            ("to".to_owned(), json!(to)),
            ("toString".to_owned(), json!(to_text)),
        ]);
        if self.flavour == Flavour::Cloud {
            item.insert("fieldId".to_owned(), json!(field));
        }
        Value::Object(item)
    }
}
