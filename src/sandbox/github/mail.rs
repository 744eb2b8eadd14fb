//! The webhook sender: every delivery is recorded, signed, and sent when the story says so.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use tokio::sync::Notify;

use super::git::object_id;
use super::state::{Kind, World};
use super::{lock, render};

/// GitHub waits ten seconds for an answer (Best practices for using webhooks).
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The id of the first time that something was sent.
const ATTEMPTS_FROM: u64 = 12_000_000_000;

/// The events a hook gets unless told otherwise.
const EVENTS: [&str; 7] = [
    "check_run",
    "issue_comment",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "status",
    "workflow_run",
];

/// One delivery of a webhook.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// `X-GitHub-Delivery`: the same when it is delivered again.
    pub id: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// `action` of the payload; empty if it has none.
    pub action: String,
    /// The payload.
    pub payload: Value,
    /// The status of each answer, in order; 0 where there was none.
    pub answers: Vec<u16>,
}

/// What is known of a delivery without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slip {
    /// `X-GitHub-Delivery`.
    pub id: String,
    /// The comment that it tells was made, if that is what it tells.
    pub comment: Option<u64>,
    /// It is still to be sent, or to be sent again.
    pub waits: bool,
    /// Some answer was a 2xx.
    pub accepted: bool,
}

/// One time that a delivery was sent, as the app's list of deliveries has it.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) id: u64,
    /// Which delivery.
    pub(super) of: usize,
    pub(super) at: Timestamp,
    /// It had been sent before.
    pub(super) again: bool,
    /// 0 where there was no answer.
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
}

struct Hook {
    url: String,
    secret: SecretString,
    form: bool,
}

/// The hook and what was sent to it.
pub(super) struct Mail {
    hook: Option<Hook>,
    events: Vec<String>,
    deliveries: Vec<Delivery>,
    attempts: Vec<Attempt>,
    /// Indexes of deliveries to send, next first.
    pending: VecDeque<usize>,
    /// Indexes of deliveries that are held back.
    held: Option<Vec<usize>>,
    /// Told when there is something to send.
    pub(super) stirred: Option<Arc<Notify>>,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            hook: None,
            events: EVENTS.iter().map(|e| (*e).to_owned()).collect(),
            deliveries: Vec::new(),
            attempts: Vec::new(),
            pending: VecDeque::new(),
            held: None,
            stirred: None,
        }
    }
}

impl Mail {
    pub(super) fn set_hook(&mut self, url: &str, secret: SecretString, form: bool) {
        let url = url.to_owned();
        self.hook = Some(Hook { url, secret, form });
    }

    pub(super) fn events(&self) -> &[String] {
        &self.events
    }

    pub(super) fn subscribe(&mut self, events: &[&str]) {
        self.events = events.iter().map(|e| (*e).to_owned()).collect();
    }

    pub(super) fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    pub(super) fn slips(&self) -> Vec<Slip> {
        let waiting: BTreeSet<usize> = self.pending.iter().chain(self.held.iter().flatten()).copied().collect();
        let slip = |(at, delivery): (usize, &Delivery)| Slip {
            id: delivery.id.clone(),
            comment: delivery.payload["comment"]["id"]
                .as_u64()
                .filter(|_| delivery.action == "created"),
            waits: delivery.answers.is_empty() || waiting.contains(&at),
            accepted: delivery.answers.iter().any(|status| (200..300).contains(status)),
        };
        self.deliveries.iter().enumerate().map(slip).collect()
    }

    pub(super) fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Lets go of what was held, in this order of delivery ids first, the rest as it was.
    pub(super) fn release(&mut self, first: &[String]) {
        let mut held = self.held.take().unwrap_or_default();
        held.sort_by_key(|at| {
            first
                .iter()
                .position(|id| *id == self.deliveries[*at].id)
                .unwrap_or(first.len())
        });
        self.pending.extend(held);
        self.stir();
    }

    /// Sends it once more. `false` if there is no such delivery.
    pub(super) fn again(&mut self, id: &str) -> bool {
        let found = self.deliveries.iter().position(|d| d.id == id);
        self.pending.extend(found);
        self.stir();
        found.is_some()
    }

    /// Forgets to send what is pending or held, as when the vendor has an outage.
    pub(super) fn lose(&mut self) -> usize {
        let lost = self.pending.len() + self.held.as_ref().map_or(0, Vec::len);
        self.pending.clear();
        if let Some(held) = &mut self.held {
            held.clear();
        }
        lost
    }

    fn stir(&self) {
        if let Some(stirred) = &self.stirred {
            stirred.notify_one();
        }
    }

    fn queue(&mut self, id: String, event: &str, payload: Value) {
        let at = self.deliveries.len();
        self.deliveries.push(Delivery {
            id,
            event: event.to_owned(),
            action: payload["action"].as_str().unwrap_or_default().to_owned(),
            payload,
            answers: Vec::new(),
        });
        match &mut self.held {
            Some(held) => held.push(at),
            None => self.pending.push_back(at),
        }
        self.stir();
    }
}

impl World {
    /// Something happened that a hook may want to know.
    pub(super) fn emit(&mut self, event: &str, action: &str, repo: u64, actor: u64, fields: Value) {
        let wanted = event == "ping" || self.mail.events.iter().any(|e| e == event);
        if self.mail.hook.is_none() || !wanted {
            return;
        }
        let mut payload = Map::new();
        if !action.is_empty() {
            payload.insert("action".to_owned(), json!(action));
        }
        if let Value::Object(fields) = fields {
            payload.extend(fields);
        }
        if let Ok(repo) = self.repo(repo) {
            payload.insert("repository".to_owned(), render::repo(self, repo));
            let owner = self.accounts.get(&repo.owner).filter(|a| a.kind == Kind::Organization);
            if let Some(org) = owner {
                payload.insert("organization".to_owned(), render::organization(self, org));
            }
            if let Some(installation) = self.installation_on(repo.owner) {
                let value = json!({"id": installation.id, "node_id": format!("I_{}", installation.id)});
                payload.insert("installation".to_owned(), value);
            }
        }
        payload.insert("sender".to_owned(), render::account(self, actor));
        let serial = self.fresh_id();
        let id = delivery_id(&format!("{}/{}/{serial}", self.url, self.now()));
        self.mail.queue(id, event, Value::Object(payload));
    }
}

/// A UUID that depends on when and where it was made, so that a stand-in started again repeats none.
fn delivery_id(seed: &str) -> String {
    let hex = object_id("delivery", seed.as_bytes());
    format!(
        "{}-{}-4{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

/// `sha256=` and the hex of the HMAC-SHA-256 of these bytes.
pub fn signature(secret: &SecretString, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).map_or_else(
        |_| String::new(),
        |mut mac| {
            mac.update(body);
            format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
        },
    )
}

/// Sends what is pending, one after another, until nothing is; the answers' statuses, 0 where there was none.
pub(super) async fn deliver_pending(world: &Arc<Mutex<World>>, client: &reqwest::Client) -> Vec<u16> {
    let mut statuses = Vec::new();
    loop {
        let Some((mut attempt, request)) = next_request(&mut lock(world), client) else {
            return statuses;
        };
        attempt.status = match request.send().await {
            Ok(answer) => answer.status().as_u16(),
            Err(_) => 0,
        };
        statuses.push(attempt.status);
        let mail = &mut lock(world).mail;
        mail.deliveries[attempt.of].answers.push(attempt.status);
        mail.attempts.push(attempt);
    }
}

fn next_request(world: &mut World, client: &reqwest::Client) -> Option<(Attempt, reqwest::RequestBuilder)> {
    let target = world.app.as_ref().map(|app| app.id);
    let now = world.now();
    let mail = &mut world.mail;
    // One at a time is sent.
    let id = ATTEMPTS_FROM + mail.attempts.len() as u64;
    let hook = mail.hook.as_ref()?;
    let of = mail.pending.pop_front()?;
    let delivery = &mail.deliveries[of];
    let json = delivery.payload.to_string();
    let (content_type, body) = if hook.form {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &json)
            .finish();
        ("application/x-www-form-urlencoded", form)
    } else {
        ("application/json", json)
    };
    let mut headers = vec![
        ("accept", "*/*".to_owned()),
        ("user-agent", "GitHub-Hookshot/0000000".to_owned()),
        ("content-type", content_type.to_owned()),
        ("x-github-delivery", delivery.id.clone()),
        ("x-github-event", delivery.event.clone()),
        ("x-github-hook-id", "1".to_owned()),
        ("x-hub-signature-256", signature(&hook.secret, body.as_bytes())),
    ];
    if let Some(app) = target {
        headers.push(("x-github-hook-installation-target-id", app.to_string()));
        headers.push(("x-github-hook-installation-target-type", "integration".to_owned()));
    }
    let request = client.post(&hook.url).timeout(ANSWER_WITHIN).body(body);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, value));
    let attempt = Attempt {
        id,
        of,
        at: now,
        again: !delivery.answers.is_empty(),
        status: 0,
        headers,
    };
    Some((attempt, request))
}
