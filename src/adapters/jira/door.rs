//! Where Jira's deliveries come in.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::proof::JiraProofs;
use super::{PLATFORM, catchup::REPAIRED, read};
use crate::adapters::{Door, DoorAnswer, Proof, RawRequest, TurnedAway, Unreadable, Verified, json};
use crate::domain::signal::Signal;

const IDENTIFIER: &str = "x-atlassian-webhook-identifier";
const IDENTIFIER_CHARS_MAX: usize = 200;
const KIND_CHARS_MAX: usize = 64;
const THREAD_BYTES_MAX: usize = 300;

/// The door for one Jira site.
#[derive(Debug, Clone)]
pub struct JiraDoor {
    proofs: JiraProofs,
    own: Arc<OnceCell<String>>,
}

impl JiraDoor {
    /// A door that lets in what holds one of these proofs. What the own account (`accountId`, on Data Center user key
    /// or name) writes or moves is marked as stepherd's own doing.
    pub fn new(proofs: JiraProofs, own_account_id: Option<String>) -> Self {
        Self::knowing(proofs, Arc::new(OnceCell::new_with(own_account_id)))
    }

    pub(super) fn knowing(proofs: JiraProofs, own: Arc<OnceCell<String>>) -> Self {
        Self { proofs, own }
    }
}

impl Door for JiraDoor {
    fn check_head(&self, head: &RawRequest, now: Timestamp) -> Result<(), TurnedAway> {
        self.proofs.check_head(head, now).map(drop)
    }

    fn verify(&self, request: &RawRequest, now: Timestamp) -> Result<Verified, TurnedAway> {
        let proof = self.proofs.check(request, now)?;
        let content_type = request.header("content-type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(TurnedAway::UnsupportedType(
                "the content type must be application/json".to_owned(),
            ));
        }
        Ok(Verified {
            delivery_id: delivery_id(request)?,
            kind: kind(&request.body),
            proof,
            answer: DoorAnswer::Accepted,
            answer_within: None,
        })
    }

    fn thread(&self, request: &RawRequest) -> Option<String> {
        let body = json::read(&request.body).ok()?;
        // In its envelope or bare.
        let ticket = body.pointer("/issue/key").or_else(|| body.get("key"))?.as_str()?;
        Some(format!("{PLATFORM}:{ticket}")).filter(|thread| thread.len() <= THREAD_BYTES_MAX)
    }

    fn read(&self, request: &RawRequest, proof: Proof, received_at: Timestamp) -> Result<Vec<Signal>, Unreadable> {
        read::read(&request.body, proof, self.own.get().map(String::as_str), received_at).map(|signal| vec![signal])
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Jira's identifier, the same when it delivers again. Automation and Data Center send none: there the body's digest
/// stands for it, so that the same bytes are the same delivery.
fn delivery_id(request: &RawRequest) -> Result<String, TurnedAway> {
    if !request.headers.iter().any(|(name, _)| name == IDENTIFIER) {
        return Ok(format!("sha256:{}", hex::encode(Sha256::digest(&request.body))));
    }
    request
        .header(IDENTIFIER)
        // stepherd's own names for deliveries are nobody else's to give: the first of a name is the one that counts.
        .filter(|id| !id.starts_with("sha256:") && !id.starts_with(REPAIRED))
        .filter(|id| !id.is_empty() && id.len() <= IDENTIFIER_CHARS_MAX && id.bytes().all(|b| b.is_ascii_graphic()))
        .map(str::to_owned)
        .ok_or_else(|| TurnedAway::Malformed("X-Atlassian-Webhook-Identifier is not one short word".to_owned()))
}

/// The event's name for lists; `automation` for a body without one, `unreadable` for what is not a JSON object.
fn kind(body: &[u8]) -> String {
    let Ok(Value::Object(event)) = json::read(body) else {
        return "unreadable".to_owned();
    };
    let Some(name) = event.get("webhookEvent").filter(|name| !name.is_null()) else {
        return "automation".to_owned();
    };
    let Some(name) = name.as_str() else {
        return "unreadable".to_owned();
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-' | '.');
    if !name.is_empty() && name.len() <= KIND_CHARS_MAX && name.chars().all(plain) {
        name.to_owned()
    } else {
        "other".to_owned()
    }
}
