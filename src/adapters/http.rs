//! JSON over HTTP to a vendor's API: time-outs, credentials, and which failures are worth another try.
//!
//! Only reads are tried again here (`again`): a mutation may have taken effect although its answer was lost, so the
//! caller must look before it acts again.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::again::{Reads, is_passing};
use super::mask::Mask;
use super::{CallError, json};
use crate::domain::run::FailureClass;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const REASON_CHARS_MAX: usize = 500;

/// How calls prove who makes them.
#[derive(Clone)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer …`.
    Bearer(SecretString),
    /// `Authorization: Bot …` (Discord).
    Bot {
        /// The bot's token.
        token: SecretString,
        /// A page about the bot.
        page: String,
    },
    /// `Authorization: Basic …`.
    Basic {
        /// User name or e-mail address.
        user: String,
        /// Password or API token.
        password: SecretString,
    },
}

/// One vendor's API at one address.
#[derive(Clone)]
pub struct Api {
    vendor: &'static str,
    base: String,
    client: reqwest::Client,
    mask: Mask,
    reads: Arc<Reads>,
}

/// An answer that came through whole. Not necessarily a good one.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Status code.
    pub status: u16,
    /// The body as JSON; `Null` if there was none.
    pub body: Value,
    /// The time by the vendor's clock, to the second, if the answer told.
    pub date: Option<jiff::Timestamp>,
    vendor: &'static str,
    call: String,
}

impl Api {
    /// # Errors
    /// When the address is not an http(s) URL or the credentials cannot be sent in a header.
    pub fn new(vendor: &'static str, base_url: &str, auth: &Auth) -> Result<Self, String> {
        let url = Url::parse(base_url).map_err(|e| format!("{vendor}: `{base_url}` is not a URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{vendor}: `{base_url}` must start with http:// or https://"));
        }
        let mut headers = HeaderMap::new();
        if let Some(text) = auth.header() {
            let mut value = HeaderValue::from_str(text.expose_secret())
                .map_err(|_| format!("{vendor}: the credentials hold characters that cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // Nothing leads from a plain address to one that needs them, and reading them takes a while.
            .tls_built_in_root_certs(url.scheme() == "https")
            .user_agent(auth.user_agent())
            .default_headers(headers)
            .build()
            .map_err(|e| format!("{vendor}: cannot set up HTTP: {e}"))?;
        Ok(Self {
            vendor,
            base: base_url.trim_end_matches('/').to_owned(),
            client,
            mask: auth.mask(),
            reads: Arc::default(),
        })
    }

    /// Makes one call, or a few if it only reads; `target` is path and query after the base address, already
    /// percent-encoded.
    ///
    /// # Errors
    /// `CallError::Retry` when no whole answer came or the vendor asks to come back (429, 5xx, 408). Every other
    /// status is an `Answered` that the caller judges.
    pub async fn call(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Answered, CallError> {
        if method != Method::GET {
            return self.call_once(method, target, body).await;
        }
        let once = || self.call_once(Method::GET, target, body);
        self.reads.read(once, is_passing).await
    }

    async fn call_once(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Answered, CallError> {
        let call = format!("{method} {}", target.split('?').next().unwrap_or_default());
        let mut request = self.client.request(method, format!("{}{target}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let lost = |e: reqwest::Error| {
            retry(
                format!("{} {call}: {}", self.vendor, plain(e)),
                None,
                FailureClass::Infrastructure,
            )
        };
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status();
        let after = retry_after(response.headers());
        let date = response.headers().get(reqwest::header::DATE);
        let date = date.and_then(|date| http_date(date.to_str().ok()?));
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(permanent(
                    format!("{} {call}: the answer is too large", self.vendor),
                    FailureClass::Infrastructure,
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        let parsed = if bytes.is_empty() {
            Ok(Value::Null)
        } else {
            json::read(&bytes)
        };
        let mut body = match parsed {
            Ok(body) => body,
            // A failure's body need not be JSON (a proxy's page); a success's must be, or the answer was cut.
            Err(_) if !status.is_success() => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) => {
                let why = format!("{} {call}: the answer is not whole JSON: {e}", self.vendor);
                return Err(retry(why, None, FailureClass::Infrastructure));
            }
        };
        // Proxies and debug pages quote the request, credentials and all.
        if status.is_success() {
            self.mask.answer(&mut body);
        } else {
            self.mask.refusal(&mut body);
        }
        let answered = Answered {
            status: status.as_u16(),
            body,
            date,
            vendor: self.vendor,
            call,
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                let after = after.or_else(|| {
                    answered
                        .body
                        .get("retry_after")
                        .and_then(Value::as_f64)
                        .and_then(seconds)
                });
                Err(retry(answered.describe(), after, FailureClass::RateLimit))
            }
            _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                Err(retry(answered.describe(), after, FailureClass::Infrastructure))
            }
            _ => Ok(answered),
        }
    }
}

impl Answered {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a 2xx as a type; any other status is a failure in the vendor's words.
    ///
    /// # Errors
    /// As said; a 2xx whose body lacks what the type needs counts as an answer that was cut.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, CallError> {
        if !self.is_success() {
            return Err(self.refusal());
        }
        let describe = format!("{} {}", self.vendor, self.call);
        serde_json::from_value(self.body).map_err(|e| {
            retry(
                format!("{describe}: the answer is not as documented: {e}"),
                None,
                FailureClass::Infrastructure,
            )
        })
    }

    /// This answer as a failure: a permanent one, unless it is stepherd's credentials that are refused.
    pub fn refusal(&self) -> CallError {
        let class = match self.status {
            401 => return unauthorized(&self.describe()),
            403 => FailureClass::Permission,
            _ => FailureClass::User,
        };
        permanent(self.describe(), class)
    }

    /// What was called and what the vendor said, for people.
    pub fn describe(&self) -> String {
        format!(
            "{} {}: {} {}",
            self.vendor,
            self.call,
            self.status,
            message_in(&self.body)
        )
    }
}

impl Auth {
    /// Discord blocks callers whose user agent is not of the form `DiscordBot ($url, $version)` (its documentation,
    /// "User Agent").
    fn user_agent(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match self {
            Self::Bot { page, .. } => format!("DiscordBot ({page}, {version}) stepherd/{version}"),
            Self::None | Self::Bearer(_) | Self::Basic { .. } => format!("stepherd/{version}"),
        }
    }

    /// What must not come back in an answer: the secret, and the form in which it is sent.
    fn mask(&self) -> Mask {
        let secret = match self {
            Self::None => None,
            Self::Bearer(secret) | Self::Bot { token: secret, .. } | Self::Basic { password: secret, .. } => {
                Some(secret.clone())
            }
        };
        let sent = self.header();
        let sent = sent.as_ref().and_then(|header| header.expose_secret().split_once(' '));
        Mask::new(secret.into_iter().chain(sent.map(|(_, sent)| sent.to_owned().into())))
    }

    fn header(&self) -> Option<SecretString> {
        use base64::Engine as _;
        let text = match self {
            Self::None => return None,
            Self::Bearer(token) => format!("Bearer {}", token.expose_secret()),
            Self::Bot { token, .. } => format!("Bot {}", token.expose_secret()),
            Self::Basic { user, password } => {
                let pair = format!("{user}:{}", password.expose_secret());
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
        };
        Some(text.into())
    }
}

/// A failure that another try may mend.
pub fn retry(why: String, after: Option<Duration>, class: FailureClass) -> CallError {
    CallError::Retry {
        why: cut(why),
        after,
        class,
    }
}

/// stepherd's own credentials are refused (401). That says nothing about what was asked, nor about anybody, and it passes
/// when somebody has mended them: later, not no. It had no effect.
pub fn unauthorized(why: &str) -> CallError {
    let why = format!("stepherd's own credentials are refused: {why}");
    retry(why, None, FailureClass::Permission)
}

/// A failure that another try will not mend.
pub fn permanent(why: String, class: FailureClass) -> CallError {
    CallError::Permanent { why: cut(why), class }
}

/// A date as HTTP writes it.
pub fn http_date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text.trim())
        .ok()
}

/// Seconds as a duration; a day at most, `None` for what is no duration.
pub fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.min(86_400.0)).ok()
}

/// The vendors' various ways of saying what is wrong, as one line.
fn message_in(body: &Value) -> String {
    let said = match body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let first = ["message", "error", "error_description"]
                .iter()
                .find_map(|key| map.get(*key).and_then(Value::as_str));
            let listed: Vec<&str> = map
                .get("errorMessages")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let fields = map
                .get("errors")
                .filter(|e| !e.as_object().is_some_and(serde_json::Map::is_empty))
                .map(Value::to_string);
            let parts: Vec<String> = first
                .map(str::to_owned)
                .into_iter()
                .chain(listed.into_iter().map(str::to_owned))
                .chain(fields)
                .collect();
            if parts.is_empty() {
                body.to_string()
            } else {
                parts.join("; ")
            }
        }
        other => other.to_string(),
    };
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get("retry-after")?
        .to_str()
        .ok()?
        .trim()
        .parse::<f64>()
        .ok()
        .and_then(seconds)
}

/// reqwest's own text names the URL, which may carry a token in its path (Discord's interaction webhooks).
fn plain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn cut(text: String) -> String {
    if text.chars().count() <= REASON_CHARS_MAX {
        text
    } else {
        text.chars().take(REASON_CHARS_MAX).chain(['…']).collect()
    }
}
