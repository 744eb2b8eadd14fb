//! Where GitHub's webhooks come in. The signature is checked over the raw bytes before anything else is looked at;
//! only SHA-256 counts (GitHub docs, "Validating webhook deliveries").

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::OnceCell;

use super::read;
use super::rights::OwnAccount;
use crate::adapters::signature::hmac_sha256_matches;
use crate::adapters::{Door, DoorAnswer, Proof, RawRequest, TurnedAway, Unreadable, Verified, json as text};
use crate::domain::signal::Signal;

const NAME_LEN_MAX: usize = 200;
/// Of an HMAC with SHA-256.
const DIGEST_DIGITS: usize = 64;

/// Which GitHub this is, and how stepherd recognises itself in a payload, so that it never listens to its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnIdentity {
    /// The host of the API, with its port if it has one: numbers of comments are unique only within one GitHub.
    pub instance: String,
    /// The number of stepherd's GitHub App.
    pub app_id: Option<u64>,
    /// The number of the account whose token stepherd uses.
    pub account_id: Option<u64>,
}

/// The door for `/webhooks/github`.
pub struct GithubDoor {
    secrets: Vec<SecretString>,
    own: OwnIdentity,
    /// The same as GitHub tells it, which comes later.
    told: Arc<OnceCell<OwnAccount>>,
}

impl GithubDoor {
    /// `secrets`: the current webhook secret and, while it is being replaced, the previous one. Without any, every
    /// delivery is turned away.
    pub fn new(secrets: Vec<SecretString>, own: OwnIdentity) -> Self {
        Self::knowing(secrets, own, Arc::default())
    }

    pub(super) fn knowing(secrets: Vec<SecretString>, own: OwnIdentity, told: Arc<OnceCell<OwnAccount>>) -> Self {
        Self { secrets, own, told }
    }

    fn own(&self) -> OwnIdentity {
        let account_id = match self.told.get() {
            Some(OwnAccount::User(id)) => Some(*id),
            Some(OwnAccount::Bot(_)) | None => self.own.account_id,
        };
        OwnIdentity {
            account_id,
            ..self.own.clone()
        }
    }
}

impl Door for GithubDoor {
    fn check_head(&self, head: &RawRequest, _now: Timestamp) -> Result<(), TurnedAway> {
        digest(head).map(drop)
    }

    fn verify(&self, request: &RawRequest, _now: Timestamp) -> Result<Verified, TurnedAway> {
        if !hmac_sha256_matches(&self.secrets, &request.body, digest(request)?) {
            return Err(forged("X-Hub-Signature-256 does not match the body"));
        }
        let json = json_of(request).map_err(|e| match e {
            NotJson::OtherType(given) => TurnedAway::UnsupportedType(format!("content type `{given}` is not taken")),
            NotJson::NoPayload => TurnedAway::Malformed("the form has no field `payload`".to_owned()),
        })?;
        let delivery_id = request
            .header("x-github-delivery")
            .map(str::trim)
            .filter(|id| is_name(id))
            .ok_or_else(|| TurnedAway::Malformed("X-GitHub-Delivery is missing".to_owned()))?;
        let event = request.header("x-github-event").map(str::trim).unwrap_or_default();
        Ok(Verified {
            delivery_id: delivery_id.to_owned(),
            kind: kind(event, &json),
            proof: Proof::BodySigned,
            answer: DoorAnswer::Accepted,
            answer_within: None,
        })
    }

    fn thread(&self, request: &RawRequest) -> Option<String> {
        let event = request.header("x-github-event").map(str::trim)?;
        read::pr(event, &json_of(request).ok()?).map(|pr| format!("{}:{pr}", super::PLATFORM))
    }

    fn read(&self, request: &RawRequest, proof: Proof, _received_at: Timestamp) -> Result<Vec<Signal>, Unreadable> {
        let event = request
            .header("x-github-event")
            .map(str::trim)
            .filter(|event| is_name(event))
            .ok_or_else(|| Unreadable("X-GitHub-Event is missing".to_owned()))?;
        let json = json_of(request).map_err(|e| match e {
            NotJson::OtherType(given) => Unreadable(format!("content type `{given}` is not taken")),
            NotJson::NoPayload => Unreadable("the form has no field `payload`".to_owned()),
        })?;
        read::signals(event, &json, proof, &self.own())
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["content-type", "x-github-event"]
    }
}

/// The signature that the request offers, in hexadecimal digits.
fn digest(head: &RawRequest) -> Result<&str, TurnedAway> {
    let signature = head
        .header("x-hub-signature-256")
        .ok_or_else(|| forged("X-Hub-Signature-256 is missing"))?;
    let digest = signature
        .strip_prefix("sha256=")
        .ok_or_else(|| forged("X-Hub-Signature-256 does not start with sha256="))?;
    if digest.len() != DIGEST_DIGITS || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(forged("X-Hub-Signature-256 does not hold 64 hexadecimal digits"));
    }
    Ok(digest)
}

fn forged(why: &str) -> TurnedAway {
    TurnedAway::Forged(why.to_owned())
}

enum NotJson {
    OtherType(String),
    NoPayload,
}

/// The payload's bytes, whichever of the two content types the webhook is configured for.
fn json_of(request: &RawRequest) -> Result<Cow<'_, [u8]>, NotJson> {
    let given = request.header("content-type").unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "application/json" => Ok(Cow::Borrowed(&request.body)),
        "application/x-www-form-urlencoded" => form_urlencoded::parse(&request.body)
            .find(|(name, _)| name == "payload")
            .map(|(_, payload)| Cow::Owned(payload.into_owned().into_bytes()))
            .ok_or(NotJson::NoPayload),
        _ => Err(NotJson::OtherType(given.chars().take(60).collect())),
    }
}

/// `issue_comment.created`; only for lists, so whatever cannot be read is left out.
fn kind(event: &str, json: &[u8]) -> String {
    let event = if is_name(event) { event } else { "unknown" };
    match action(json).filter(|action| is_name(action)) {
        Some(action) => format!("{event}.{action}"),
        None => event.to_owned(),
    }
}

/// The payload's `action`. GitHub puts it first, so mostly the rest need not be read for that.
fn action(json: &[u8]) -> Option<String> {
    first_action(json).or_else(|| Some(text::read(json).ok()?.get("action")?.as_str()?.to_owned()))
}

fn first_action(json: &[u8]) -> Option<String> {
    let rest = json.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"action\"")?.trim_ascii_start();
    let rest = rest.strip_prefix(b":")?;
    serde_json::Deserializer::from_slice(rest).into_iter().next()?.ok()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_LEN_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}
