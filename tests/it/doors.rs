//! The doors over a real socket: who is let in, who is turned away, and what is left behind of either.

mod api;
mod forged;
mod kept;
mod late;
mod secrets;
mod twice;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use stepherd::clock::Clock as _;
use stepherd::sandbox::github::signature;
use stepherd::sandbox::jira::Signing;
use stepherd::store::DeliveryView;

use crate::world::World;

const GITHUB_SECRET: &str = "github-webhook-secret";
const GITHUB_SECRET_BEFORE: &str = "github-webhook-secret-before";
const JIRA_SECRET: &str = "jira-webhook-secret";

/// A request to a door, good until it is spoilt.
#[derive(Clone)]
struct Knock {
    platform: &'static str,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Knock {
    fn new(platform: &'static str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            platform,
            query: String::new(),
            headers: headers.iter().map(pair).collect(),
            body: body.to_vec(),
        }
    }

    /// As it is with this header, or without it if there is no value.
    fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers
            .extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    /// As it is with this header once more.
    fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    fn saying(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// What a door answers: status, `Retry-After`, text.
struct Answer {
    status: u16,
    retry_after: Option<String>,
    text: String,
}

async fn knock(world: &World, knock: &Knock) -> Answer {
    let url = format!("{}/webhooks/{}{}", world.url, knock.platform, knock.query);
    let mut request = world.http.post(url).body(knock.body.clone());
    for (name, value) in &knock.headers {
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    let retry_after = response
        .headers()
        .get("retry-after")
        .map(|value| value.to_str().unwrap().to_owned());
    Answer {
        status: response.status().as_u16(),
        retry_after,
        text: response.text().await.unwrap(),
    }
}

fn ping() -> Vec<u8> {
    json!({ "zen": "Keep it logically awesome.", "hook_id": 1 })
        .to_string()
        .into_bytes()
}

/// GitHub's ping, signed with this secret.
fn github_with(secret: &str, id: &str) -> Knock {
    let body = ping();
    let signed = signature(&SecretString::from(secret), &body);
    Knock::new(
        "github",
        &[
            ("content-type", "application/json"),
            ("x-github-event", "ping"),
            ("x-github-delivery", id),
            ("x-hub-signature-256", &signed),
        ],
        &body,
    )
}

fn github(id: &str) -> Knock {
    github_with(GITHUB_SECRET, id)
}

/// Signed anew, after the body has changed.
fn signed_again(knock: Knock) -> Knock {
    let signed = signature(&SecretString::from(GITHUB_SECRET), &knock.body);
    knock.with("x-hub-signature-256", Some(&signed))
}

/// A comment on a ticket that says nothing of interest, signed in this way.
fn jira_by(signing: &Signing, id: &str, now: Timestamp) -> Knock {
    jira_body_by(signing, &comment_on_a_ticket(now), id, now)
}

fn comment_on_a_ticket(now: Timestamp) -> Vec<u8> {
    let body = json!({
        "timestamp": now.as_millisecond(), "webhookEvent": "comment_created",
        "comment": { "id": "10", "body": "hello", "author": { "accountId": "557058:ada", "displayName": "Ada" } },
        "issue": { "id": "10001", "key": "SREPROV-3072", "fields": {} },
    });
    body.to_string().into_bytes()
}

fn jira_body_by(signing: &Signing, body: &[u8], id: &str, now: Timestamp) -> Knock {
    let url = "http://stepherd.example/webhooks/jira".parse().unwrap();
    let knock = Knock::new(
        "jira",
        &[
            ("content-type", "application/json"),
            ("x-atlassian-webhook-identifier", id),
        ],
        body,
    );
    match signing.header("POST", &url, body, now) {
        Some((name, value)) => knock.and(&name.to_lowercase(), &value),
        None => knock,
    }
}

fn jira(id: &str, now: Timestamp) -> Knock {
    let secret = JIRA_SECRET.to_owned();
    jira_by(&Signing::Admin { secret }, id, now)
}

/// This body, signed as an administrator's webhook.
fn jira_of(body: &[u8], id: &str, now: Timestamp) -> Knock {
    let secret = JIRA_SECRET.to_owned();
    jira_body_by(&Signing::Admin { secret }, body, id, now)
}

fn discord_of(interaction: &Value, at: Timestamp) -> Knock {
    discord_of_body(interaction.to_string().into_bytes(), at)
}

fn discord_of_body(body: Vec<u8>, at: Timestamp) -> Knock {
    use ed25519_dalek::Signer as _;
    let timestamp = at.as_second().to_string();
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let signed = key.sign(&[timestamp.as_bytes(), &body].concat());
    Knock::new(
        "discord",
        &[
            ("content-type", "application/json"),
            ("x-signature-timestamp", &timestamp),
            ("x-signature-ed25519", &hex::encode(signed.to_bytes())),
        ],
        &body,
    )
}

/// `/dcr list`, said by Ada.
fn discord(id: &str, at: Timestamp) -> Knock {
    let member = json!({ "user": { "id": "5", "username": "ada" }, "roles": [], "permissions": "0" });
    let data =
        json!({ "id": "1", "name": "dcr", "type": 1, "options": [{ "name": "list", "type": 1, "options": [] }] });
    discord_of(
        &json!({
            "id": id, "application_id": "900", "type": 2, "token": "interaction-token", "guild_id": "300",
            "channel_id": "400", "member": member, "data": data, "version": 1,
        }),
        at,
    )
}

async fn deliveries(world: &World) -> Vec<DeliveryView> {
    world.store.deliveries(None, 100).await.unwrap()
}

/// What was counted at a door, by outcome.
async fn counted(world: &World, platform: &str, outcome: &str) -> u64 {
    let text = world.metrics.render();
    let line = format!("stepherd_deliveries_total{{platform=\"{platform}\",outcome=\"{outcome}\"}} ");
    text.lines()
        .find_map(|row| row.strip_prefix(&line))
        .map_or(0, |count| count.parse().unwrap())
}

fn now(world: &World) -> Timestamp {
    world.clock.now()
}
