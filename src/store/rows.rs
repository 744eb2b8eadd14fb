//! The stored form of what the domain owns, and the way back.
//!
//! Stored JSON is versioned: `{"v":1,"run":{…}}`. When a change to the domain alters the form, add an upcast here:
//! it turns the old form into the new one when it is read, and counts as the new version. Golden files in the tests
//! notice a change of form before a run in flight does. A form from a newer version is refused, never guessed at.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{StoreError, Voided};
use crate::domain::effect::Effect;
use crate::domain::ids::ThreadRef;
use crate::domain::run::{History, Run};

/// Something that is stored as versioned JSON.
pub trait Stored: Serialize + DeserializeOwned {
    /// The member that holds it.
    const NAME: &'static str;
    /// The first turns version 1 into version 2, and so on; the current version is one more than there are.
    const UPCASTS: &'static [fn(Value) -> Value] = &[];
}

impl Stored for Run {
    const NAME: &'static str = "run";
}

impl Stored for History {
    const NAME: &'static str = "history";
}

impl Stored for Effect {
    const NAME: &'static str = "effect";
}

impl Stored for Voided {
    const NAME: &'static str = "voided";
}

/// The headers of a delivery.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Headers(pub(super) Vec<(String, String)>);

impl Stored for Headers {
    const NAME: &'static str = "headers";
}

/// The stored form, of the current version.
pub fn encode<T: Stored>(value: &T) -> Result<String, StoreError> {
    let inner = serde_json::to_string(value).map_err(|e| unreadable(T::NAME, e))?;
    Ok(format!("{{\"v\":{},\"{}\":{inner}}}", T::UPCASTS.len() + 1, T::NAME))
}

/// Reads a stored form of any version up to the current one. `what` names it in the error.
pub fn decode<T: Stored>(what: &str, text: &str) -> Result<T, StoreError> {
    let mut stored: Value = serde_json::from_str(text).map_err(|e| unreadable(what, e))?;
    let version = stored["v"].as_u64().and_then(|v| usize::try_from(v).ok()).unwrap_or(0);
    if version == 0 {
        return Err(unreadable(what, "it does not say which version it is"));
    }
    let current = T::UPCASTS.len() + 1;
    if version > current {
        return Err(unreadable(
            what,
            format!("a newer stepherd wrote it (form {version}, this one reads up to {current}): run that one"),
        ));
    }
    let inner = T::UPCASTS[version - 1..]
        .iter()
        .fold(stored[T::NAME].take(), |inner, upcast| upcast(inner));
    serde_json::from_value(inner).map_err(|e| unreadable(what, e))
}

/// Reads a stored name.
pub(super) fn name<T: FromStr<Err: ToString>>(what: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|e: T::Err| unreadable(what, e.to_string()))
}

/// A thread as it is stored: what `ThreadRef` displays. A platform has no colon, so no two threads share a form.
pub(super) fn thread_text(thread: &ThreadRef) -> String {
    thread.to_string()
}

/// Reads a stored thread, whatever its place looks like: what was once accepted is not judged again.
pub(super) fn thread(text: &str) -> Result<ThreadRef, StoreError> {
    let (platform, place) = text.split_once(':').unwrap_or((text, ""));
    Ok(ThreadRef {
        platform: name("a thread", platform)?,
        place: place.to_owned(),
    })
}

/// A time as it is stored.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// Reads a stored time.
pub(super) fn time(millis: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millis).map_err(|e| unreadable("a time", e))
}

/// The end of a lease that begins now, as it is stored.
pub(super) fn lease_end(now: i64, lease: Duration) -> i64 {
    now.saturating_add(span(lease))
}

/// A span of time as it is stored.
pub(super) fn span(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A count as it is stored.
pub(super) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Reads a stored count.
pub(super) fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// Reads a stored count of tries.
pub(super) fn tries(stored: i64) -> u32 {
    u32::try_from(stored.max(0)).unwrap_or(u32::MAX)
}

/// An error that says what could not be read.
pub(super) fn unreadable(what: &str, why: impl ToString) -> StoreError {
    StoreError::Unreadable {
        what: what.to_owned(),
        why: why.to_string(),
    }
}
