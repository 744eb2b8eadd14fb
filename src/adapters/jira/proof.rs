//! The four ways in which a request from Jira proves where it comes from.
//!
//! Every proof that a request offers must hold: one that fails is not outweighed by another that would do. Of several
//! that hold the weakest counts, so that whoever knows a rule's secret gains nothing by adding a token. A request that
//! offers none is turned away; there is no way to switch proving off.
//!
//! Facts: Atlassian, "Webhooks" (secure admin webhooks), "OAuth 2.0 webhooks", "Understanding JWT for Connect apps",
//! "Send web request" of Automation.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::jwt;
use crate::adapters::signature::{hmac_sha256_matches, same_secret};
use crate::adapters::{Proof, RawRequest, TurnedAway};

const HUB_SIGNATURE: &str = "x-hub-signature";
const AUTHORIZATION: &str = "authorization";
const AUTOMATION_TOKEN: &str = "x-automation-webhook-token";
/// Of an HMAC with SHA-256.
const DIGEST_DIGITS: usize = 64;

/// The secrets that requests can prove themselves by. What is absent or empty proves nothing.
#[derive(Debug, Clone, Default)]
pub struct JiraProofs {
    /// Secrets of webhooks that an administrator made: `X-Hub-Signature: sha256=…` over the raw body. Two while one
    /// replaces the other.
    pub webhook_secrets: Vec<SecretString>,
    /// The OAuth 2.0 app's client secret: `Authorization: Bearer <JWT>`.
    pub oauth_client_secret: Option<SecretString>,
    /// The Connect installation's shared secret: `Authorization: JWT <JWT>` or `?jwt=`.
    pub connect_shared_secret: Option<SecretString>,
    /// The Connect installation's `clientKey`, if its tokens must name it.
    pub connect_client_key: Option<String>,
    /// The path of the Connect app's base URL, without a slash at the end; left out of the query string hash.
    pub connect_base_path: String,
    /// What Automation rules send in `X-Automation-Webhook-Token`.
    pub automation_secret: Option<SecretString>,
}

impl JiraProofs {
    /// Whether any request could prove itself. Without, the door should not be opened at all.
    pub fn any(&self) -> bool {
        let set = |secret: &Option<SecretString>| secret.as_ref().is_some_and(|s| !s.expose_secret().is_empty());
        self.webhook_secrets.iter().any(|s| !s.expose_secret().is_empty())
            || set(&self.oauth_client_secret)
            || set(&self.connect_shared_secret)
            || set(&self.automation_secret)
    }

    /// Checks every proof that the request offers; the weakest of them.
    pub(super) fn check(&self, request: &RawRequest, now: Timestamp) -> Result<Proof, TurnedAway> {
        let weakest = self.check_head(request, now)?;
        if let Some(signature) = single(request, HUB_SIGNATURE)? {
            self.check_signature(request, digest(signature)?)?;
        }
        Ok(weakest)
    }

    /// Checks every proof that the request's head offers; the weakest of them. Of all but the signature that is the
    /// whole of it; the signature is only looked at for its form.
    pub(super) fn check_head(&self, request: &RawRequest, now: Timestamp) -> Result<Proof, TurnedAway> {
        let mut held = Vec::new();
        if let Some(signature) = single(request, HUB_SIGNATURE)? {
            digest(signature)?;
            held.push(Proof::BodySigned);
        }
        if let Some(authorization) = single(request, AUTHORIZATION)? {
            let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                self.check_oauth(token.trim(), now)?;
                held.push(Proof::Token);
            } else if scheme.eq_ignore_ascii_case("jwt") {
                self.check_connect(request, token.trim(), now)?;
                held.push(Proof::Token);
            }
            // Any other scheme is none of Jira's: it is for a proxy on the way and proves nothing here.
        }
        for token in tokens_in_query(&request.target) {
            self.check_connect(request, &token, now)?;
            held.push(Proof::Token);
        }
        if let Some(token) = single(request, AUTOMATION_TOKEN)? {
            let secret = self.automation_secret.as_ref();
            if !secret.is_some_and(|secret| same_secret(secret, token)) {
                return Err(forged("X-Automation-Webhook-Token does not match"));
            }
            held.push(Proof::Automation);
        }
        held.into_iter().min().ok_or_else(|| {
            forged(
                "no proof: expected X-Hub-Signature, an Authorization of Bearer or JWT, or X-Automation-Webhook-Token; a \
                 webhook of Jira Data Center is unsigned until it is given a secret there",
            )
        })
    }

    fn check_signature(&self, request: &RawRequest, digest: &str) -> Result<(), TurnedAway> {
        if hmac_sha256_matches(&self.webhook_secrets, &request.body, digest) {
            Ok(())
        } else {
            Err(forged("X-Hub-Signature does not match"))
        }
    }

    fn check_oauth(&self, token: &str, now: Timestamp) -> Result<(), TurnedAway> {
        let secret = self.oauth_client_secret.as_ref();
        let secret = secret.ok_or_else(|| forged("no client secret is configured for bearer tokens"))?;
        jwt::claims(token, secret, now)
            .map(drop)
            .map_err(|why| forged(&format!("the bearer token does not hold: {why}")))
    }

    fn check_connect(&self, request: &RawRequest, token: &str, now: Timestamp) -> Result<(), TurnedAway> {
        let secret = self.connect_shared_secret.as_ref();
        let secret = secret.ok_or_else(|| forged("no shared secret is configured for Connect tokens"))?;
        let wrong = |why: &str| forged(&format!("the Connect token does not hold: {why}"));
        let claims = jwt::claims(token, secret, now).map_err(wrong)?;
        let issuer = claims.get("iss").and_then(|v| v.as_str()).unwrap_or_default();
        if issuer.is_empty() {
            return Err(wrong("it has no `iss`"));
        }
        if self.connect_client_key.as_ref().is_some_and(|key| key != issuer) {
            return Err(wrong("its `iss` is not the configured `connect_client_key`"));
        }
        if !claims.contains_key("iat") {
            return Err(wrong("it has no `iat`"));
        }
        let claimed = claims
            .get("qsh")
            .and_then(|v| v.as_str())
            .ok_or_else(|| wrong("it has no `qsh`"))?;
        let actual = jwt::query_string_hash(&request.method, &request.target, &self.connect_base_path);
        if bool::from(actual.as_bytes().ct_eq(claimed.as_bytes())) {
            Ok(())
        } else {
            Err(wrong("it was signed for another request"))
        }
    }
}

/// The header's value; sent twice or not as text, it is an offered proof that fails.
fn single<'a>(request: &'a RawRequest, name: &str) -> Result<Option<&'a str>, TurnedAway> {
    if request.headers.iter().filter(|(n, _)| n == name).count() > 1 {
        return Err(forged(&format!("{name} was sent twice")));
    }
    Ok(request.header(name))
}

/// The hexadecimal digits of a signature. Jira names the method so that it can change one day; only what is known to be
/// safe is taken.
fn digest(signature: &str) -> Result<&str, TurnedAway> {
    let digest = signature.strip_prefix("sha256=").unwrap_or_default();
    if digest.len() == DIGEST_DIGITS && digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(digest)
    } else {
        Err(forged("X-Hub-Signature is not of the form sha256=…"))
    }
}

fn tokens_in_query(target: &str) -> Vec<String> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "jwt")
        .map(|(_, token)| token.into_owned())
        .collect()
}

fn forged(why: &str) -> TurnedAway {
    TurnedAway::Forged(why.to_owned())
}
