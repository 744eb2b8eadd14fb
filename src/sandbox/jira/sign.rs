//! The four ways in which a Jira site proves that a webhook is its own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

const JWT_LIFE_S: i64 = 180;

/// How deliveries are signed. The secrets are made up, hence plain text.
#[derive(Clone, PartialEq, Eq)]
pub enum Signing {
    /// An administrator's webhook with a secret: `X-Hub-Signature: sha256=…` over the body.
    Admin {
        /// The secret.
        secret: String,
    },
    /// A webhook that an OAuth app registered: `Authorization: Bearer`, a JWT signed with the client secret.
    OAuth {
        /// The app's client id; the token's issuer.
        client_id: String,
        /// The app's client secret.
        client_secret: String,
    },
    /// A webhook of a Connect app: `Authorization: JWT`, with a hash of the request line.
    Connect {
        /// The site's client key; the token's issuer.
        client_key: String,
        /// The secret shared at installation.
        shared_secret: String,
        /// The path of the app's base URL, which is left out of the hash: usually empty.
        base_path: String,
    },
    /// An Automation rule's "Send web request" with a fixed header.
    Automation {
        /// The header: `X-Automation-Webhook-Token`.
        header: String,
        /// Its value.
        value: String,
    },
    /// Nothing, as Data Center does it: the URL itself is the secret.
    Unsigned,
}

impl Signing {
    /// The header that proves this request, if any.
    pub fn header(&self, method: &str, url: &Url, body: &[u8], now: Timestamp) -> Option<(String, String)> {
        let issued = now.as_second();
        let times = json!({"iat": issued, "exp": issued + JWT_LIFE_S});
        match self {
            Self::Admin { secret } => {
                let signature = hex::encode(hmac_sha256(secret, body));
                Some(("x-hub-signature".into(), format!("sha256={signature}")))
            }
            Self::OAuth {
                client_id,
                client_secret,
            } => {
                let mut claims = times;
                claims["iss"] = client_id.as_str().into();
                Some((
                    "authorization".into(),
                    format!("Bearer {}", jwt(&claims, client_secret)),
                ))
            }
            Self::Connect {
                client_key,
                shared_secret,
                base_path,
            } => {
                let mut claims = times;
                claims["iss"] = client_key.as_str().into();
                claims["qsh"] = qsh(method, url, base_path).into();
                Some(("authorization".into(), format!("JWT {}", jwt(&claims, shared_secret))))
            }
            Self::Automation { header, value } => Some((header.to_ascii_lowercase(), value.clone())),
            Self::Unsigned => None,
        }
    }
}

/// An HS256 token.
fn jwt(claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "HS256"})), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(hmac_sha256(secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn hmac_sha256(secret: &str, message: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// The query string hash: SHA-256 over `METHOD&path&sorted parameters`, as Connect's "Understanding JWT" defines it.
fn qsh(method: &str, url: &Url, base_path: &str) -> String {
    let path = url
        .path()
        .strip_prefix(base_path.trim_end_matches('/'))
        .unwrap_or(url.path());
    let path = path.trim_end_matches('/').replace('&', "%26");
    let path = if path.is_empty() { "/".to_owned() } else { path };
    let mut params: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for (name, value) in url.query_pairs().filter(|(name, _)| name != "jwt") {
        params.entry(encoded(&name)).or_default().push(encoded(&value));
    }
    let params: Vec<String> = params
        .into_iter()
        .map(|(name, mut values)| {
            values.sort();
            format!("{name}={}", values.join(","))
        })
        .collect();
    let canonical = format!("{}&{path}&{}", method.to_ascii_uppercase(), params.join("&"));
    hex::encode(Sha256::digest(canonical))
}

/// Percent-encoding as OAuth 1 wants it: everything but letters, digits and `-._~`.
fn encoded(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| {
            if keep(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
