//! Takes secrets out of what comes back from outside: a vendor's error page may quote the request it was sent, and
//! what it says ends up in comments, checks, the database and logs.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::CallError;

/// Stands where a secret stood.
const HIDDEN: &str = "[secret]";
/// Shorter ones would take ordinary words with them.
const SECRET_BYTES_MIN: usize = 8;
/// How tokens begin that are made on the way and known to nobody beforehand: GitHub's, and JSON Web Tokens.
const TOKEN_STARTS: [&str; 7] = ["ghs_", "ghp_", "gho_", "ghu_", "ghr_", "github_pat_", "eyJ"];
/// What follows is at least this long.
const TOKEN_BYTES_MIN: usize = 16;

/// The secrets to hide, longest first, so that none is left half by another that is a part of it.
#[derive(Clone, Default)]
pub struct Mask {
    secrets: Vec<SecretString>,
}

impl Mask {
    /// Hides these, as they are and as an address would hold them.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let mut all = Vec::new();
        for secret in secrets {
            let text = secret.expose_secret();
            if text.len() < SECRET_BYTES_MIN {
                continue;
            }
            let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            if encoded != text {
                all.push(SecretString::from(encoded));
            }
            all.push(secret);
        }
        all.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self { secrets: all }
    }

    /// The text without them, and without anything that looks like a token: for what people will read.
    pub fn text(&self, text: &str) -> String {
        without_tokens(self.known(text))
    }

    fn known(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for secret in self.secrets.iter().map(ExposeSecret::expose_secret) {
            if shown.contains(secret) {
                shown = shown.replace(secret, HIDDEN);
            }
        }
        shown
    }

    /// Each text of a refusal, as `text`.
    pub fn refusal(&self, body: &mut Value) {
        each_text(body, &|text| *text = self.text(text));
    }

    /// Each text of a good answer without our secrets. What only looks like a token stays: what people wrote must be
    /// read as they wrote it.
    pub fn answer(&self, body: &mut Value) {
        if !self.secrets.is_empty() {
            each_text(body, &|text| *text = self.known(text));
        }
    }

    /// The same for why a call did not work.
    pub fn error(&self, error: CallError) -> CallError {
        match error {
            CallError::Retry { why, after, class } => CallError::Retry {
                why: self.text(&why),
                after,
                class,
            },
            CallError::Permanent { why, class } => CallError::Permanent {
                why: self.text(&why),
                class,
            },
        }
    }
}

fn each_text(value: &mut Value, change: &impl Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(map) => map.values_mut().for_each(|item| each_text(item, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn without_tokens(mut text: String) -> String {
    for start in TOKEN_STARTS {
        let mut from = 0;
        while let Some(at) = text[from..].find(start).map(|at| from + at) {
            let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            let rest = &text[at + start.len()..];
            let length = rest.find(|c| !inner(c)).unwrap_or(rest.len());
            let inside_a_word = text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            if length >= TOKEN_BYTES_MIN && !inside_a_word {
                text.replace_range(at..at + start.len() + length, HIDDEN);
                from = at + HIDDEN.len();
            } else {
                from = at + start.len();
            }
        }
    }
    text
}
