//! One application and what the controller does to it.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{AppSeed, Beat, NAMESPACE, Operation};

pub(super) struct App {
    pub(super) seed: AppSeed,
    pub(super) head: String,
    /// The head that the last comparison saw.
    pub(super) compared: String,
    pub(super) live: String,
    pub(super) sync: &'static str,
    pub(super) health: &'static str,
    pub(super) operation: Option<Value>,
    pub(super) state: Option<Value>,
    pub(super) reconciled_at: Timestamp,
    pub(super) history: Vec<Value>,
    pub(super) beats: VecDeque<Beat>,
    pub(super) next_script: Option<Vec<Beat>>,
    pub(super) window_closed: bool,
    /// `spec.syncPolicy.automated`, if it is there.
    pub(super) automated: Option<Value>,
    pub(super) syncs: u32,
    pub(super) version: u64,
}

impl App {
    pub(super) fn compare(&mut self, now: Timestamp) {
        self.compared.clone_from(&self.head);
        self.sync = if self.live == self.head { "Synced" } else { "OutOfSync" };
        self.reconciled_at = now;
    }

    pub(super) fn beat(&mut self, now: Timestamp) -> bool {
        let Some(beat) = self.beats.pop_front() else {
            return false;
        };
        self.version += 1;
        match beat {
            Beat::Hold => {}
            Beat::Running => self.begin_operation(now),
            Beat::Succeeded => {
                self.end_operation("Succeeded", "successfully synced (all tasks run)", now);
            }
            Beat::Failed(message) => self.end_operation("Failed", &message, now),
            Beat::Error(message) => self.end_operation("Error", &message, now),
            Beat::Synced => {
                self.compare(now);
                self.health = "Progressing";
            }
            Beat::Health(health) => {
                self.health = health;
                self.reconciled_at = now;
            }
        }
        true
    }

    fn begin_operation(&mut self, now: Timestamp) {
        let Some(operation) = self.operation.clone() else {
            return;
        };
        let revision = self.resolve(&operation);
        self.state = Some(json!({
            "operation": operation,
            "phase": "Running",
            "message": "waiting for completion of hook or resources",
            "startedAt": written(now),
            "syncResult": {"revision": revision, "source": self.source(), "resources": []},
        }));
    }

    fn end_operation(&mut self, phase: &str, message: &str, now: Timestamp) {
        if self.state.is_none() {
            self.begin_operation(now);
        }
        let Some(operation) = self.operation.take() else {
            return;
        };
        let revision = self.resolve(&operation);
        if let Some(state) = self.state.as_mut() {
            state["phase"] = phase.into();
            state["message"] = message.into();
            state["finishedAt"] = written(now).into();
        }
        let dry = operation["sync"]["dryRun"] == json!(true);
        if phase == "Succeeded" && !dry {
            self.live.clone_from(&revision);
            let id = self.history.len();
            let entry = json!({"id": id, "revision": revision, "deployedAt": written(now), "source": self.source()});
            self.history.push(entry);
        }
    }

    fn resolve(&self, operation: &Value) -> String {
        match operation["sync"]["revision"].as_str() {
            Some(said) if said != self.seed.target_revision && said != "HEAD" && !said.is_empty() => said.to_owned(),
            _ => self.head.clone(),
        }
    }

    /// The revision that a sync asks for although the application is synced automatically to another.
    pub(super) fn pinned_against_auto_sync<'a>(&self, asked: &'a Map<String, Value>) -> Option<&'a str> {
        let dry = asked.get("dryRun") == Some(&json!(true));
        let revision = asked.get("revision").and_then(Value::as_str)?;
        let other = !revision.is_empty() && revision != self.seed.target_revision;
        (self.syncs_itself() && !dry && other).then_some(revision)
    }

    /// Whether automated sync is on: `automated` is there, and its `enabled` is not false.
    fn syncs_itself(&self) -> bool {
        let automated = self.automated.as_ref().filter(|automated| !automated.is_null());
        automated.is_some_and(|automated| automated["enabled"] != json!(false))
    }

    /// The operation that is asked for or under way, else the last one.
    pub(super) fn last_operation(&self) -> Option<Operation> {
        let of_state = self.state.as_ref().map(|state| &state["operation"]);
        let operation = self.operation.as_ref().or(of_state)?;
        let phase = self.state.as_ref().and_then(|state| state["phase"].as_str());
        Some(Operation {
            info: operation["info"][0]["value"].as_str().map(str::to_owned),
            live: self.operation.is_some(),
            phase: phase.unwrap_or_default().to_owned(),
        })
    }

    fn source(&self) -> Value {
        json!({"repoURL": self.seed.repo_url, "path": self.seed.path, "targetRevision": self.seed.target_revision})
    }

    pub(super) fn json(&self) -> Value {
        let mut status = json!({
            "sync": {"status": self.sync, "revision": self.compared, "comparedTo": {"source": self.source()}},
            "health": {"status": self.health},
            "reconciledAt": written(self.reconciled_at),
            "sourceType": "Kustomize",
            "history": self.history,
            "resources": [],
            "summary": {},
        });
        if let Some(state) = &self.state {
            status["operationState"] = state.clone();
        }
        let mut app = json!({
            "metadata": {
                "name": self.seed.name,
                "namespace": NAMESPACE,
                "labels": self.seed.labels,
                "resourceVersion": self.version.to_string(),
            },
            "spec": {
                "project": self.seed.project,
                "source": self.source(),
                "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
            },
            "status": status,
        });
        if let Some(automated) = &self.automated {
            app["spec"]["syncPolicy"] = json!({"automated": automated});
        }
        if let Some(operation) = &self.operation {
            app["operation"] = operation.clone();
        }
        app
    }
}

fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
