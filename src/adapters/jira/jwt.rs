//! JSON web tokens as Atlassian signs them, judged by the time that the caller passes in.
//!
//! Facts: Atlassian, "Understanding JWT for Connect apps", "Query string hash", and "OAuth 2.0 webhooks".

use std::collections::BTreeMap;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// How far the two clocks may be apart.
const LEEWAY_S: f64 = 60.0;

/// Everything but RFC 3986's unreserved characters, so that space is `%20`, `*` is `%2A` and `~` stays.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The claims of a token that is signed with HS256 under the secret and is alive: `exp` is required, `iat` and `nbf`
/// must not lie ahead. The error says what is wrong, never what was expected.
pub(super) fn claims(token: &str, secret: &SecretString, now: Timestamp) -> Result<Map<String, Value>, &'static str> {
    if secret.expose_secret().is_empty() {
        return Err("no secret is configured for it");
    }
    let mut validation = Validation::new(Algorithm::HS256);
    // The library would ask the machine's clock; time is checked below, against the caller's.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_secret(secret.expose_secret().as_bytes());
    let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation)
        .map_err(|_| "it is not a token signed with HS256 under the configured secret")?;
    let claims = decoded.claims;
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
    let now = now.as_second() as f64;
    let expires = time(&claims, "exp")?.ok_or("it has no `exp`")?;
    if now > expires + LEEWAY_S {
        return Err("it has expired");
    }
    for name in ["iat", "nbf"] {
        if time(&claims, name)?.is_some_and(|t| t > now + LEEWAY_S) {
            return Err("it is from the future");
        }
    }
    Ok(claims)
}

fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or("one of its times is not a number"),
    }
}

/// Connect's `qsh` of a request, in lower-case hex. `target` is path and query as sent; `base_path` is the path of the
/// app's base URL, which Atlassian leaves out of the hash.
pub fn query_string_hash(method: &str, target: &str, base_path: &str) -> String {
    hex::encode(Sha256::digest(canonical_request(method, target, base_path)))
}

fn canonical_request(method: &str, target: &str, base_path: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let base = base_path.trim_end_matches('/');
    let path = match path.strip_prefix(base) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    };
    let path = path.trim_end_matches('/').replace('&', "%26");
    let path = if path.is_empty() { "/" } else { &path };
    let mut params: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "jwt") {
        params.entry(encoded(&name)).or_default().push(encoded(&value));
    }
    let query: Vec<String> = params
        .into_iter()
        .map(|(name, mut values)| {
            values.sort();
            format!("{name}={}", values.join(","))
        })
        .collect();
    format!("{}&{path}&{}", method.to_ascii_uppercase(), query.join("&"))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}
