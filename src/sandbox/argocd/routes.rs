//! What Argo CD answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::routing::{delete, get, post};
use serde_json::{Map, Value, json};

use super::super::wire::{Handled, Reply, credential, lock, query};
use super::app::App;
use super::selector::parse_selector;
use super::{Beat, Inner, NAMESPACE};

pub(super) fn routes(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/api/v1/applications", get(list))
        .route("/api/v1/applications/{name}", get(one))
        .route("/api/v1/applications/{name}/sync", post(sync))
        .route("/api/v1/applications/{name}/operation", delete(terminate))
        .fallback(async || error(404, 5, "Not Found"))
        .with_state(inner)
}

type Service = State<Arc<Inner>>;

async fn list(State(inner): Service, RawQuery(raw): RawQuery, headers: HeaderMap) -> Handled {
    inner.open_for(&headers)?;
    let asked = query(raw.clone());
    let projects: Vec<String> = form_urlencoded::parse(raw.unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == "project" || name == "projects")
        .map(|(_, value)| value.into_owned())
        .collect();
    let selector = asked.get("selector").map_or("", String::as_str);
    let wanted = parse_selector(selector).ok_or_else(|| {
        error(
            500,
            2,
            &format!("error parsing the selector: unable to parse requirement: {selector}"),
        )
    })?;
    let apps = lock(&inner.apps);
    let items: Vec<Value> = apps
        .values()
        .filter(|a| projects.is_empty() || projects.contains(&a.seed.project))
        .filter(|a| wanted.iter().all(|w| w.holds(&a.seed.labels)))
        .map(App::json)
        .collect();
    Ok(Reply::json(
        200,
        json!({"metadata": {"resourceVersion": "1"}, "items": items}),
    ))
}

async fn one(State(inner): Service, Path(name): Path<String>, RawQuery(raw): RawQuery, headers: HeaderMap) -> Handled {
    let asked = query(raw);
    let now = (inner.options.now)();
    inner.with_app(&headers, &name, &asked, |app| {
        if asked.get("refresh").is_some_and(|r| r == "normal" || r == "hard") {
            app.compare(now);
        }
        if inner.options.reads_advance {
            app.beat(now);
        }
        Ok(Reply::json(200, app.json()))
    })
}

async fn sync(State(inner): Service, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Handled {
    inner.open_for(&headers)?;
    let said = sync_request(&body)?;
    let asked: BTreeMap<String, String> = ["project", "appNamespace"]
        .into_iter()
        .filter_map(|k| Some((k.to_owned(), said.get(k)?.as_str()?.to_owned())))
        .collect();
    inner.with_app(&headers, &name, &asked, |app| {
        if app.window_closed {
            return Err(error(403, 7, "cannot sync: blocked by sync window"));
        }
        if let Some(revision) = app.pinned_against_auto_sync(&said) {
            let target = &app.seed.target_revision;
            let text = format!("Cannot sync to {revision}: auto-sync currently set to {target}");
            return Err(error(400, 9, &text));
        }
        if app.operation.is_some() {
            return Err(error(400, 9, "another operation is already in progress"));
        }
        let mut operation = json!({"sync": {}, "initiatedBy": {"username": "sandbox"}, "retry": {}});
        for name in ["revision", "prune", "dryRun", "resources", "syncStrategy"] {
            if let Some(value) = said.get(name) {
                operation["sync"][name] = value.clone();
            }
        }
        if let Some(options) = said.get("syncOptions") {
            operation["sync"]["syncOptions"] = options["items"].clone();
        }
        if let Some(infos) = said.get("infos") {
            operation["info"] = infos.clone();
        }
        app.operation = Some(operation);
        app.state = None;
        app.syncs += 1;
        app.version += 1;
        let usual = || vec![Beat::Running, Beat::Succeeded, Beat::Synced, Beat::Health("Healthy")];
        app.beats = app.next_script.take().unwrap_or_else(usual).into();
        Ok(Reply::json(200, app.json()))
    })
}

async fn terminate(
    State(inner): Service,
    Path(name): Path<String>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Handled {
    inner.with_app(&headers, &name, &query(raw), |app| {
        let (Some(_), Some(state)) = (&app.operation, &mut app.state) else {
            let text = "Unable to terminate operation. No operation is in progress";
            return Err(error(400, 3, text));
        };
        state["phase"] = "Terminating".into();
        state["message"] = "operation is terminating.".into();
        app.beats = [Beat::Failed("Operation terminated".into())].into();
        Ok(Reply::json(200, json!({})))
    })
}

fn sync_request(body: &Bytes) -> Result<Map<String, Value>, Reply> {
    let wrong = |what: &str| error(400, 3, &format!("json: cannot unmarshal {what}"));
    let Ok(Value::Object(said)) = serde_json::from_slice(body) else {
        return Err(wrong("the body into ApplicationSyncRequest"));
    };
    let fits = |name: &str, is: fn(&Value) -> bool| said.get(name).is_none_or(|v| v.is_null() || is(v));
    for name in ["revision", "project", "appNamespace", "name"] {
        if !fits(name, Value::is_string) {
            return Err(wrong(&format!("into field {name} of type string")));
        }
    }
    for name in ["prune", "dryRun"] {
        if !fits(name, Value::is_boolean) {
            return Err(wrong(&format!("into field {name} of type bool")));
        }
    }
    let is_info = |i: &Value| i["name"].is_string() && i["value"].is_string();
    let infos = said.get("infos").filter(|i| !i.is_null());
    if !infos.is_none_or(|i| i.as_array().is_some_and(|all| all.iter().all(is_info))) {
        return Err(wrong("into field infos of type []v1alpha1.Info"));
    }
    Ok(said)
}

impl Inner {
    fn open_for(&self, headers: &HeaderMap) -> Result<(), Reply> {
        match credential(headers, "Bearer") {
            Some(token) if token == self.options.token => Ok(()),
            Some(_) => Err(error(401, 16, "invalid session: token signature is invalid")),
            None => Err(error(401, 16, "no session information")),
        }
    }

    /// A caller who names no project, or the wrong one, learns nothing about what exists.
    fn with_app(
        &self,
        headers: &HeaderMap,
        name: &str,
        asked: &BTreeMap<String, String>,
        answer: impl FnOnce(&mut App) -> Handled,
    ) -> Handled {
        self.open_for(headers)?;
        let project = asked.get("project").filter(|p| !p.is_empty());
        let here = asked.get("appNamespace").is_none_or(|n| n.is_empty() || n == NAMESPACE);
        let mut apps = lock(&self.apps);
        match (apps.get_mut(name).filter(|_| here), project) {
            (Some(app), Some(project)) if app.seed.project != *project => Err(error(403, 7, "permission denied")),
            (Some(app), _) => answer(app),
            (None, None) => Err(error(403, 7, "permission denied")),
            (None, Some(_)) => Err(error(404, 5, &format!("applications.argoproj.io \"{name}\" not found"))),
        }
    }
}

fn error(status: u16, code: u32, message: &str) -> Reply {
    Reply::json(status, json!({"error": message, "code": code, "message": message}))
}
