//! What Jira's API answers about issues, transitions and comments.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::state::{Body, Comment, Issue, Site};
use super::{Flavour, Inner, adf, people, search};
use crate::sandbox::wire::{Handled, Reply, credential, is_json, lock, query};

const COMMENT_CHARS_MAX: usize = 32_767;
const PROPERTY_BYTES_MAX: usize = 32_768;
const PROPERTY_KEY_CHARS_MAX: usize = 255;
/// Cloud's page of comments; Data Center gives all.
const CLOUD_COMMENTS_MAX: usize = 100;

pub(super) fn routes(inner: Arc<Inner>) -> Router {
    let clock = Arc::clone(&inner);
    let dated = move |mut response: Response| {
        let date = (clock.now)().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(date) = HeaderValue::try_from(date) {
            response.headers_mut().insert(header::DATE, date);
        }
        async { response }
    };
    Router::new()
        .route("/rest/api/{v}/issue/{key}", get(issue))
        .route(
            "/rest/api/{v}/issue/{key}/transitions",
            get(transitions).post(transition),
        )
        .route("/rest/api/{v}/issue/{key}/comment", get(comments).post(add_comment))
        .route(
            "/rest/api/{v}/issue/{key}/comment/{id}",
            get(comment).put(edit_comment).delete(delete_comment),
        )
        .route("/rest/api/{v}/comment/{id}/properties/{name}", get(property))
        .merge(people::routes())
        .merge(search::routes())
        .fallback(async || no_such_uri())
        .layer(map_response(dated))
        .with_state(inner)
}

pub(super) type Service = State<Arc<Inner>>;

async fn issue(
    State(inner): Service,
    Path((v, key)): Path<(String, String)>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&v, &headers)?;
    let asked = query(raw);
    let site = lock(&inner.site);
    let issue = visible(&site, &key)?;
    let mut fields = site.fields_json(issue);
    let wanted: Vec<&str> = asked
        .get("fields")
        .map(|f| f.split(',').map(str::trim).collect())
        .unwrap_or_default();
    let all = wanted.is_empty() || wanted.contains(&"*all") || wanted.contains(&"*navigable");
    if wanted.contains(&"comment") {
        let shown = site.comments_of(issue).map(|c| site.comment_json(issue, c, &v, false));
        let shown: Vec<Value> = shown.collect();
        fields.insert(
            "comment".into(),
            json!({"total": shown.len(), "startAt": 0, "comments": shown}),
        );
    }
    fields.retain(|name, _| {
        let minus = wanted.iter().any(|w| w.strip_prefix('-') == Some(name));
        !minus && (all || wanted.contains(&name.as_str()))
    });
    let names: Map<String, Value> = fields
        .keys()
        .map(|id| (id.clone(), site.field_name(id).into()))
        .collect();
    let mut shown = site.issue_json(issue, &v, fields);
    if expands(&asked, "names") {
        shown["names"] = names.into();
    }
    if expands(&asked, "changelog") {
        shown["changelog"] = site.changelog_json(issue);
    }
    Ok(Reply::json(200, shown))
}

async fn transitions(State(inner): Service, Path((v, key)): Path<(String, String)>, headers: HeaderMap) -> Handled {
    inner.open_for(&v, &headers)?;
    let site = lock(&inner.site);
    let issue = visible(&site, &key)?;
    let possible = site
        .workflow(issue)
        .possible(&issue.status)
        .filter(|_| site.rights.transition);
    let shown = possible.map(|t| {
        json!({
            "id": t.id,
            "name": t.name,
            "to": site.status_json(issue, &t.to),
            "hasScreen": false,
            "isGlobal": t.from.is_empty(),
            "isInitial": false,
            "isAvailable": true,
            "isConditional": false,
            "looped": false,
        })
    });
    let shown: Vec<Value> = shown.collect();
    Ok(Reply::json(200, json!({"expand": "transitions", "transitions": shown})))
}

async fn transition(
    State(inner): Service,
    Path((v, key)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    let bot = inner.open_for(&v, &headers)?;
    let said = object(&headers, &body)?;
    {
        let site = lock(&inner.site);
        visible(&site, &key)?;
        if let Some(field) = ["fields", "update"]
            .into_iter()
            .find_map(|f| said.get(f)?.as_object()?.keys().next())
        {
            let text = format!("Field '{field}' cannot be set. It is not on the appropriate screen, or unknown.");
            return Err(field_error(field, &text));
        }
    }
    let id = match said.get("transition").and_then(|t| t.get("id")) {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err(error(400, "Missing 'transition' identifier")),
    };
    let allowed = lock(&inner.site).rights.transition;
    let done = if allowed {
        inner.transition(&key, &id, &bot)
    } else {
        None
    };
    match done {
        Some(_) => {
            inner.spawn_flush();
            Ok(Reply::empty(204))
        }
        None => Err(error(
            400,
            &format!("Transition id '{id}' is not valid for this issue."),
        )),
    }
}

async fn comments(
    State(inner): Service,
    Path((v, key)): Path<(String, String)>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&v, &headers)?;
    let asked = query(raw);
    let site = lock(&inner.site);
    let issue = visible(&site, &key)?;
    let most = if site.flavour == Flavour::Cloud {
        CLOUD_COMMENTS_MAX
    } else {
        usize::MAX
    };
    let start = number(&asked, "startAt", 0)?;
    let max = number(&asked, "maxResults", most.min(1_048_576))?.min(most);
    let mut all: Vec<&Comment> = site.comments_of(issue).collect();
    match asked.get("orderBy").map_or("created", String::as_str) {
        "created" | "+created" | " created" => {}
        "-created" => all.reverse(),
        other => {
            return Err(error(
                400,
                &format!("Unsupported orderBy '{other}'. Use one of: created, -created"),
            ));
        }
    }
    let properties = expands(&asked, "properties") && site.lists_properties;
    let page = all.iter().skip(start).take(max);
    let page: Vec<Value> = page.map(|c| site.comment_json(issue, c, &v, properties)).collect();
    let body = json!({"startAt": start, "maxResults": max, "total": all.len(), "comments": page});
    Ok(Reply::json(200, body))
}

async fn add_comment(
    State(inner): Service,
    Path((v, key)): Path<(String, String)>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    let bot = inner.open_for(&v, &headers)?;
    let said = object(&headers, &body)?;
    {
        let site = lock(&inner.site);
        visible(&site, &key)?;
        if !site.rights.comment {
            let name = site.user(&bot).map_or("", |u| u.display_name.as_str());
            return Err(error(
                400,
                &format!("{name}, you do not have the permission to comment on this issue."),
            ));
        }
    }
    let properties = comment_properties(&said)?;
    let id = inner
        .add_comment(&key, &bot, comment_body(&v, &said)?, properties, None)
        .ok_or_else(no_issue)?;
    inner.spawn_flush();
    inner.show_comment(201, &v, &key, &id, &query(raw))
}

async fn comment(
    State(inner): Service,
    Path((v, key, id)): Path<(String, String, String)>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&v, &headers)?;
    inner.show_comment(200, &v, &key, &id, &query(raw))
}

async fn property(
    State(inner): Service,
    Path((v, id, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Handled {
    inner.open_for(&v, &headers)?;
    let site = lock(&inner.site);
    let seen = site
        .issues
        .iter()
        .filter(|i| !i.hidden)
        .flat_map(|i| site.comments_of(i));
    let comment = seen.into_iter().find(|c| c.id == id).ok_or_else(|| no_comment(&id))?;
    let value = comment
        .properties
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let value = value.ok_or_else(|| error(404, &format!("The property {name} does not exist.")))?;
    Ok(Reply::json(200, json!({"key": name, "value": value})))
}

async fn edit_comment(
    State(inner): Service,
    Path((v, key, id)): Path<(String, String, String)>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    let bot = inner.open_for(&v, &headers)?;
    let said = object(&headers, &body)?;
    inner.own_comment(&key, &id, &bot, "edit")?;
    let properties = comment_properties(&said)?;
    let new = comment_body(&v, &said)?;
    inner
        .edit_comment(&key, &id, &bot, new, properties)
        .ok_or_else(|| no_comment(&id))?;
    inner.spawn_flush();
    inner.show_comment(200, &v, &key, &id, &query(raw))
}

async fn delete_comment(
    State(inner): Service,
    Path((v, key, id)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Handled {
    let bot = inner.open_for(&v, &headers)?;
    inner.own_comment(&key, &id, &bot, "delete")?;
    inner.delete_comment(&key, &id, &bot).ok_or_else(|| no_comment(&id))?;
    inner.spawn_flush();
    Ok(Reply::empty(204))
}

impl Inner {
    /// Who calls. Anonymous calls see nothing on this site.
    pub(super) fn open_for(&self, version: &str, headers: &HeaderMap) -> Result<String, Reply> {
        let site = lock(&self.site);
        let known = match site.flavour {
            Flavour::Cloud => ["2", "3"].contains(&version),
            Flavour::DataCenter => version == "2",
        };
        if !known {
            return Err(no_such_uri());
        }
        let bot = site.user(&site.bot).ok_or_else(no_such_uri)?;
        let proven = match site.flavour {
            Flavour::Cloud => {
                let expected = STANDARD.encode(format!("{}:{}", bot.email, self.token));
                credential(headers, "Basic") == Some(expected.as_str())
            }
            Flavour::DataCenter => credential(headers, "Bearer") == Some(self.token.as_str()),
        };
        if !proven {
            let text = "Client must be authenticated to access this resource.";
            return Err(Reply::json(401, json!({"message": text, "status-code": 401}))
                .with("x-seraph-loginreason", "AUTHENTICATED_FAILED"));
        }
        Ok(bot.account_id.clone())
    }

    /// The API's own deeds are told to webhooks too, but nobody waits for that.
    fn spawn_flush(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        tokio::spawn(async move { inner.flush().await });
    }

    fn show_comment(
        &self,
        status: u16,
        version: &str,
        key: &str,
        id: &str,
        asked: &BTreeMap<String, String>,
    ) -> Handled {
        let site = lock(&self.site);
        let issue = visible(&site, key)?;
        let comment = site.comments_of(issue).find(|c| c.id == id);
        let comment = comment.ok_or_else(|| no_comment(id))?;
        Ok(Reply::json(
            status,
            site.comment_json(issue, comment, version, expands(asked, "properties")),
        ))
    }

    fn own_comment(&self, key: &str, id: &str, bot: &str, verb: &str) -> Result<(), Reply> {
        let site = lock(&self.site);
        let issue = visible(&site, key)?;
        let comment = site.comments_of(issue).find(|c| c.id == id);
        let comment = comment.ok_or_else(|| no_comment(id))?;
        if comment.author != bot {
            return Err(error(
                400,
                &format!("You do not have permission to {verb} comment with id: {id}."),
            ));
        }
        Ok(())
    }
}

pub(super) fn visible<'s>(site: &'s Site, key: &str) -> Result<&'s Issue, Reply> {
    site.issue(key).filter(|i| !i.hidden).ok_or_else(no_issue)
}

fn comment_body(version: &str, said: &Map<String, Value>) -> Result<Body, Reply> {
    let invalid = |text: &str| Err(field_error("comment", text));
    let body = match (version, said.get("body")) {
        (_, None | Some(Value::Null)) => return invalid("Comment body can not be empty!"),
        ("3", Some(doc @ Value::Object(_))) => {
            if adf::check(doc).is_err() {
                return Err(error(400, "INVALID_INPUT"));
            }
            Body::Adf(doc.clone())
        }
        ("3", Some(_)) => return invalid("Comment body is not valid!"),
        (_, Some(Value::String(text))) => Body::Text(text.clone()),
        (_, Some(_)) => return invalid("Operation value must be a string"),
    };
    let plain = match &body {
        Body::Adf(doc) => adf::plain(doc),
        Body::Text(text) => text.clone(),
    };
    if plain.trim().is_empty() {
        return invalid("Comment body can not be empty!");
    }
    if plain.chars().count() > COMMENT_CHARS_MAX {
        return invalid("The entered text is too long. It exceeds the allowed limit of 32,767 characters.");
    }
    Ok(body)
}

fn comment_properties(said: &Map<String, Value>) -> Result<Vec<(String, Value)>, Reply> {
    let wrong = || {
        error(
            400,
            "Invalid request payload. Refer to the REST API documentation and try again.",
        )
    };
    let listed = match said.get("properties") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(listed)) => listed,
        Some(_) => return Err(wrong()),
    };
    let one = |p: &Value| {
        let key = p["key"]
            .as_str()
            .filter(|k| !k.is_empty() && k.chars().count() <= PROPERTY_KEY_CHARS_MAX)?;
        let value = p.get("value").filter(|v| v.to_string().len() <= PROPERTY_BYTES_MAX)?;
        Some((key.to_owned(), value.clone()))
    };
    listed.iter().map(|p| one(p).ok_or_else(wrong)).collect()
}

fn object(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, Reply> {
    if !is_json(headers) {
        return Err(Reply::json(
            415,
            json!({"message": "HTTP 415 Unsupported Media Type", "status-code": 415}),
        ));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(said)) => Ok(said),
        _ => Err(error(
            400,
            "Invalid request payload. Refer to the REST API documentation and try again.",
        )),
    }
}

pub(super) fn number(asked: &BTreeMap<String, String>, name: &str, default: usize) -> Result<usize, Reply> {
    let wrong = |text: &String| error(400, &format!("The value '{text}' of {name} is not a number."));
    asked
        .get(name)
        .map_or(Ok(default), |text| text.parse().map_err(|_| wrong(text)))
}

fn expands(asked: &BTreeMap<String, String>, what: &str) -> bool {
    asked
        .get("expand")
        .is_some_and(|e| e.split(',').any(|part| part.trim() == what))
}

pub(super) fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, json!({"errorMessages": [text], "errors": {}}))
}

fn field_error(field: &str, text: &str) -> Reply {
    Reply::json(400, json!({"errorMessages": [], "errors": {field: text}}))
}

fn no_issue() -> Reply {
    error(404, "Issue does not exist or you do not have permission to see it.")
}

fn no_comment(id: &str) -> Reply {
    error(404, &format!("Can not find a comment for the id: {id}."))
}

fn no_such_uri() -> Reply {
    Reply::json(404, json!({"message": "null for uri", "status-code": 404}))
}
