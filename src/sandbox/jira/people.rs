//! What Jira's API answers about people and groups.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::routing::get;
use serde_json::{Value, json};

use super::routes::{Service, error, number};
use super::state::{Group, Site};
use super::{Flavour, Inner};
use crate::sandbox::wire::{Handled, Reply, lock, query};

const MEMBERS_MAX: usize = 50;

pub(super) fn routes() -> Router<Arc<Inner>> {
    Router::new()
        .route("/rest/api/{v}/myself", get(myself))
        .route("/rest/api/{v}/serverInfo", get(server_info))
        .route("/rest/api/{v}/user", get(user))
        .route("/rest/api/{v}/user/groups", get(groups_of_user))
        .route("/rest/api/{v}/group/member", get(members))
}

async fn myself(State(inner): Service, Path(v): Path<String>, headers: HeaderMap) -> Handled {
    let bot = inner.open_for(&v, &headers)?;
    Ok(Reply::json(200, lock(&inner.site).user_json(&bot)))
}

async fn server_info(State(inner): Service, Path(v): Path<String>, headers: HeaderMap) -> Handled {
    inner.open_for(&v, &headers)?;
    let site = lock(&inner.site);
    let (kind, version) = match site.flavour {
        Flavour::Cloud => ("Cloud", "1001.0.0-SNAPSHOT"),
        Flavour::DataCenter => ("Data Center", "10.3.0"),
    };
    Ok(Reply::json(
        200,
        json!({"baseUrl": site.url, "version": version, "deploymentType": kind}),
    ))
}

async fn user(State(inner): Service, Path(v): Path<String>, RawQuery(raw): RawQuery, headers: HeaderMap) -> Handled {
    inner.open_for(&v, &headers)?;
    let asked = query(raw);
    let site = lock(&inner.site);
    may_browse(&site)?;
    let id = asked_user(&site, &asked)?;
    let mut shown = site.user_json(&id);
    let names: Vec<Value> = groups_with(&site, &id).map(|(name, _)| json!({"name": name})).collect();
    let expanded = asked.get("expand").is_some_and(|e| e.split(',').any(|p| p == "groups"));
    let items = if expanded { json!(names) } else { json!([]) };
    shown["groups"] = json!({"size": names.len(), "items": items});
    Ok(Reply::json(200, shown))
}

async fn groups_of_user(
    State(inner): Service,
    Path(v): Path<String>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&v, &headers)?;
    let site = lock(&inner.site);
    if site.flavour == Flavour::DataCenter {
        return Err(Reply::json(404, json!({"message": "null for uri", "status-code": 404})));
    }
    may_browse(&site)?;
    let id = asked_user(&site, &query(raw))?;
    let url = &site.url;
    let shown = groups_with(&site, &id).map(|(name, group)| {
        let link = format!("{url}/rest/api/{v}/group?groupId={}", group.id);
        json!({"name": name, "groupId": group.id, "self": link})
    });
    Ok(Reply::json(200, shown.collect()))
}

async fn members(State(inner): Service, Path(v): Path<String>, RawQuery(raw): RawQuery, headers: HeaderMap) -> Handled {
    inner.open_for(&v, &headers)?;
    let asked = query(raw);
    let site = lock(&inner.site);
    may_browse(&site)?;
    let name = asked.get("groupname").filter(|n| !n.is_empty());
    let id = asked.get("groupId").filter(|_| site.flavour == Flavour::Cloud);
    let (group, called) = match (name, id) {
        (Some(name), _) => (site.groups.get(name), name),
        (None, Some(id)) => (site.groups.values().find(|g| g.id == *id), id),
        (None, None) => return Err(error(400, "The group name or the group id must be provided.")),
    };
    let group = group.ok_or_else(|| error(404, &format!("The group named '{called}' does not exist.")))?;
    let inactive_too = asked.get("includeInactiveUsers").is_some_and(|v| v == "true");
    let all = group
        .members
        .iter()
        .filter_map(|m| site.user(m))
        .filter(|u| u.active || inactive_too);
    let all: Vec<String> = all.map(|u| u.account_id.clone()).collect();
    let start = number(&asked, "startAt", 0)?;
    let max = number(&asked, "maxResults", MEMBERS_MAX)?.min(MEMBERS_MAX);
    let page: Vec<Value> = all.iter().skip(start).take(max).map(|m| site.user_json(m)).collect();
    let after = start + page.len();
    let url = format!("{}/rest/api/{v}/group/member?groupname={called}", site.url);
    let mut body = json!({
        "self": format!("{url}&startAt={start}&maxResults={max}"),
        "maxResults": max,
        "startAt": start,
        "total": all.len(),
        "isLast": after >= all.len(),
        "values": page,
    });
    if after < all.len() {
        body["nextPage"] = format!("{url}&startAt={after}&maxResults={max}").into();
    }
    Ok(Reply::json(200, body))
}

fn may_browse(site: &Site) -> Result<(), Reply> {
    let text = "You are not authorized to perform this operation. Administrator privileges are required.";
    if site.rights.browse_users {
        Ok(())
    } else {
        Err(error(403, text))
    }
}

/// Cloud knows people by account id only; Data Center by name or key only.
fn asked_user(site: &Site, asked: &std::collections::BTreeMap<String, String>) -> Result<String, Reply> {
    let wanted = |names: &[&str]| names.iter().find_map(|n| asked.get(*n).filter(|v| !v.is_empty()));
    let (value, missing) = match site.flavour {
        Flavour::Cloud => (
            wanted(&["accountId"]),
            "The query parameter 'accountId' must be provided.",
        ),
        Flavour::DataCenter => (wanted(&["username", "key"]), "Either username or key must be provided."),
    };
    let value = value.ok_or_else(|| error(400, missing))?;
    let fits = site.user(value).filter(|u| match site.flavour {
        Flavour::Cloud => u.account_id == *value,
        Flavour::DataCenter => u.name == *value || u.key == *value,
    });
    let user = fits.ok_or_else(|| {
        error(
            404,
            "Specified user does not exist or you do not have required permissions",
        )
    })?;
    Ok(user.account_id.clone())
}

fn groups_with<'s>(site: &'s Site, user: &'s str) -> impl Iterator<Item = (&'s String, &'s Group)> {
    site.groups
        .iter()
        .filter(move |(_, g)| g.members.iter().any(|m| m == user))
}
