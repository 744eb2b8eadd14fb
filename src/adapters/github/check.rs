//! A run's state beside its commit: a check run where stepherd is an app, a commit status where it has a token.
//! What already stands there is not written again.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Github;
use super::client::{Reply, Verb, undocumented};
use super::markdown::{BODY_CHARS_MAX, fit, plain_line, render};
use super::token::{Need, Scope};
use crate::adapters::http::permanent;
use crate::adapters::{CallError, CheckShow, CheckState};
use crate::domain::run::{CheckTarget, FailureClass};

const DESCRIPTION_CHARS_MAX: usize = 140;

#[derive(Deserialize)]
struct CheckRun {
    id: u64,
    #[serde(default)]
    external_id: Option<String>,
    #[serde(default)]
    app: Option<App>,
    #[serde(flatten)]
    shown: Value,
}

#[derive(Deserialize)]
struct App {
    id: u64,
}

#[derive(Deserialize)]
struct Status {
    context: String,
    state: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    target_url: Option<String>,
}

impl Github {
    pub(super) async fn show_check(&self, target: &CheckTarget, show: &CheckShow) -> Result<(), CallError> {
        match self.app_id {
            Some(app) => self.show_check_run(target, show, app).await,
            None => self.show_status(target, show).await,
        }
    }

    async fn show_check_run(&self, target: &CheckTarget, show: &CheckShow, app: u64) -> Result<(), CallError> {
        let repo = &target.repo;
        let wanted = check_run(show);
        let (verb, address, body) = match self.find_check_run(target, show, app).await? {
            Some(found) if shows(&found.shown, &wanted) => return Ok(()),
            Some(found) => (Verb::Patch, format!("/repos/{repo}/check-runs/{}", found.id), wanted),
            None => {
                let mut body = wanted;
                body["head_sha"] = json!(target.head);
                body["external_id"] = json!(show.external_id);
                (Verb::Post, format!("/repos/{repo}/check-runs"), body)
            }
        };
        let reply = self
            .client
            .call(Scope::Repo(repo, Need::WriteChecks), verb, &address, Some(&body))
            .await?;
        taken(reply)
    }

    async fn find_check_run(
        &self,
        target: &CheckTarget,
        show: &CheckShow,
        app: u64,
    ) -> Result<Option<CheckRun>, CallError> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("check_name", &show.name)
            .append_pair("filter", "all")
            .finish();
        let list = format!("/repos/{}/commits/{}/check-runs?{query}", target.repo, target.head);
        let ours = |page: Vec<Value>| {
            for item in page {
                let run: CheckRun = serde_json::from_value(item).map_err(|e| undocumented(&list, &e.to_string()))?;
                let same_app = run.app.as_ref().is_some_and(|a| a.id == app);
                let same_run = run.external_id.as_deref() == Some(&show.external_id);
                let same_name = run.shown.get("name").and_then(Value::as_str) == Some(&show.name);
                if same_app && same_run && same_name {
                    return Ok(Some(run));
                }
            }
            Ok(None)
        };
        let scope = Scope::Repo(&target.repo, Need::ReadChecks);
        self.client.find(scope, &list, ours).await
    }

    async fn show_status(&self, target: &CheckTarget, show: &CheckShow) -> Result<(), CallError> {
        let repo = &target.repo;
        let state = match show.state {
            CheckState::Queued | CheckState::InProgress => "pending",
            CheckState::Success => "success",
            CheckState::Failure => "failure",
            CheckState::Canceled => "error",
        };
        let description = shortened(&show.title, DESCRIPTION_CHARS_MAX);
        let list = format!("/repos/{repo}/commits/{}/statuses", target.head);
        // Newest first; the first one of this name is the one that counts.
        let newest = |page: Vec<Value>| {
            for item in page {
                let status: Status = serde_json::from_value(item).map_err(|e| undocumented(&list, &e.to_string()))?;
                if status.context == show.name {
                    return Ok(Some(status));
                }
            }
            Ok(None)
        };
        // Only a token of an account gets here, and it is what it is.
        let scope = Scope::Repo(repo, Need::Metadata);
        let newest = self.client.find(scope, &list, newest).await?;
        if newest.is_some_and(|s| {
            s.state == state && s.description.as_deref() == Some(&description) && s.target_url == show.url
        }) {
            return Ok(());
        }
        let body = json!({
            "state": state,
            "description": description,
            "context": show.name,
            "target_url": show.url,
        });
        let address = format!("/repos/{repo}/statuses/{}", target.head);
        let reply = self.client.call(scope, Verb::Post, &address, Some(&body)).await?;
        taken(reply)
    }
}

/// The fields that change while a run goes on.
fn check_run(show: &CheckShow) -> Value {
    let (status, conclusion) = match show.state {
        CheckState::Queued => ("queued", None),
        CheckState::InProgress => ("in_progress", None),
        CheckState::Success => ("completed", Some("success")),
        CheckState::Failure => ("completed", Some("failure")),
        CheckState::Canceled => ("completed", Some("cancelled")),
    };
    let mut body = json!({
        "name": show.name,
        "status": status,
        "output": {
            "title": shortened(&show.title, 255),
            "summary": fit(&render(&show.doc), BODY_CHARS_MAX),
        },
    });
    // A conclusion, even an absent one spelled out, would complete the check.
    if let Some(conclusion) = conclusion {
        body["conclusion"] = conclusion.into();
    }
    if let Some(url) = &show.url {
        body["details_url"] = url.as_str().into();
    }
    body
}

/// Whether what stands there says all that is wanted.
fn shows(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| there.get(key).is_some_and(|there| shows(there, value))),
        _ => there == wanted,
    }
}

fn taken(reply: Reply) -> Result<(), CallError> {
    // A commit takes a thousand statuses of one name and then no more.
    if reply.status == 422
        && reply
            .message()
            .to_ascii_lowercase()
            .contains("maximum number of statuses")
    {
        return Err(permanent(reply.describe(), FailureClass::RateLimit));
    }
    reply.json::<Value>().map(|_| ())
}

fn shortened(text: &str, chars_max: usize) -> String {
    let line = plain_line(text);
    if line.chars().count() <= chars_max {
        line
    } else {
        line.chars().take(chars_max - 1).chain(['…']).collect()
    }
}
