//! Where Discord's interactions come in: Ed25519 over timestamp and raw body, and only while the timestamp is fresh.
//! Discord itself sends forged requests now and then and drops an endpoint that does not answer them with 401.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use serenity::interactions_endpoint::Verifier;

use super::markdown::plain;
use super::read::{AUTOCOMPLETE, COMMAND, COMPONENT, Interaction, PING};
use super::thread;
use crate::adapters::{Door, DoorAnswer, Proof, RawRequest, TurnedAway, Unreadable, Verified};
use crate::domain::signal::Signal;

const SIGNATURE: &str = "x-signature-ed25519";
const TIMESTAMP: &str = "x-signature-timestamp";
/// Discord waits for three seconds; what is left is for the way.
const ANSWER_WITHIN: Duration = Duration::from_millis(2_500);
/// Of an Ed25519 signature.
const SIGNATURE_DIGITS: usize = 128;
const CHOICES_MAX: usize = 25;
const CHOICE_CHARS_MAX: usize = 100;

/// The door for Discord's interactions.
pub struct DiscordDoor {
    verifier: Verifier,
    freshness: SignedDuration,
    application_id: String,
}

impl DiscordDoor {
    /// A door for the application with this public key (64 hexadecimal digits) and id. `freshness` is how far the
    /// signed timestamp may be from now, either way; five minutes is right.
    ///
    /// # Errors
    /// When the key is no Ed25519 public key.
    pub fn new(public_key: &str, freshness: Duration, application_id: &str) -> Result<Self, String> {
        let mut key = [0_u8; 32];
        hex::decode_to_slice(public_key.trim(), &mut key)
            .map_err(|_| "Discord: the public key must be 64 hexadecimal digits".to_owned())?;
        Ok(Self {
            verifier: Verifier::try_new(key).map_err(|e| format!("Discord: {e}"))?,
            freshness: SignedDuration::try_from(freshness).unwrap_or(SignedDuration::from_mins(5)),
            application_id: application_id.to_owned(),
        })
    }
}

/// When Discord signed the request, by its own word.
fn signed_at(request: &RawRequest) -> Option<Timestamp> {
    let text = request.header(TIMESTAMP)?;
    Timestamp::from_second(text.parse().ok()?).ok()
}

impl DiscordDoor {
    /// The signature and the timestamp that the request offers; the timestamp is fresh.
    fn offered<'a>(&self, head: &'a RawRequest, now: Timestamp) -> Result<(&'a str, &'a str), TurnedAway> {
        let signature = head.header(SIGNATURE).ok_or_else(|| forged("no signature"))?;
        let timestamp = head.header(TIMESTAMP).ok_or_else(|| forged("no timestamp"))?;
        if signature.len() != SIGNATURE_DIGITS || !signature.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(forged("the signature does not hold 128 hexadecimal digits"));
        }
        let signed_at = signed_at(head).ok_or_else(|| forged("the timestamp is no time"))?;
        if now.duration_since(signed_at).abs() > self.freshness {
            return Err(forged("the timestamp is too far from now"));
        }
        Ok((signature, timestamp))
    }
}

fn forged(why: &str) -> TurnedAway {
    TurnedAway::Forged(why.to_owned())
}

impl Door for DiscordDoor {
    fn check_head(&self, head: &RawRequest, now: Timestamp) -> Result<(), TurnedAway> {
        self.offered(head, now).map(drop)
    }

    fn verify(&self, request: &RawRequest, now: Timestamp) -> Result<Verified, TurnedAway> {
        let (signature, timestamp) = self.offered(request, now)?;
        self.verifier
            .verify(signature, timestamp, &request.body)
            .map_err(|()| forged("the signature does not match"))?;
        if let Some(kind) = request.header("content-type")
            && !kind.trim_start().to_ascii_lowercase().starts_with("application/json")
        {
            return Err(TurnedAway::UnsupportedType("interactions are JSON".to_owned()));
        }
        let interaction = Interaction::parse(&request.body).map_err(TurnedAway::Malformed)?;
        let answer = match interaction.kind {
            PING => DoorAnswer::JsonOnly(r#"{"type":1}"#.to_owned()),
            // Only who asked sees the answer, and that cannot be changed later: anybody may ask.
            COMMAND => DoorAnswer::Json(r#"{"type":5,"data":{"flags":64}}"#.to_owned()),
            COMPONENT => DoorAnswer::Json(r#"{"type":6}"#.to_owned()),
            // Nothing is suggested to nobody, or for a command that cannot be told.
            AUTOCOMPLETE => match interaction.half_typed(&self.application_id) {
                Some(half_typed) => DoorAnswer::Suggest(Box::new(half_typed)),
                None => DoorAnswer::JsonOnly(self.suggestions(&[])),
            },
            _ => DoorAnswer::Accepted,
        };
        Ok(Verified {
            delivery_id: interaction.id.clone(),
            kind: interaction.label(),
            proof: Proof::BodySigned,
            answer,
            answer_within: Some(ANSWER_WITHIN),
        })
    }

    fn thread(&self, request: &RawRequest) -> Option<String> {
        let interaction = Interaction::parse(&request.body).ok()?;
        interaction.channel().map(|channel| thread(channel).to_string())
    }

    fn read(&self, request: &RawRequest, _proof: Proof, received_at: Timestamp) -> Result<Vec<Signal>, Unreadable> {
        let interaction = Interaction::parse(&request.body).map_err(Unreadable)?;
        let at = signed_at(request).unwrap_or(received_at);
        Ok(vec![interaction.signal(&self.application_id, at, received_at)?])
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[TIMESTAMP]
    }

    fn suggestions(&self, choices: &[(String, String)]) -> String {
        let choices: Vec<_> = choices
            .iter()
            // A value cut short would be another value.
            .filter(|(value, _)| !value.is_empty() && value.encode_utf16().count() <= CHOICE_CHARS_MAX)
            .take(CHOICES_MAX)
            .map(|(value, label)| {
                let label = Some(plain(label, CHOICE_CHARS_MAX)).filter(|label| !label.is_empty());
                json!({"name": label.unwrap_or_else(|| value.clone()), "value": value})
            })
            .collect();
        json!({"type": 8, "data": {"choices": choices}}).to_string()
    }
}
