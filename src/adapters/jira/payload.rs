//! Walking through a payload so that whatever is missing or odd can be named by its JSON path.

use jiff::Timestamp;
use serde_json::Value;

use crate::adapters::Unreadable;

const ID_CHARS_MAX: usize = 200;

/// A place in a payload, there or not. `null` counts as not there.
pub(super) struct At<'a> {
    value: Option<&'a Value>,
    path: String,
}

impl<'a> At<'a> {
    /// The payload itself.
    pub(super) fn root(value: &'a Value) -> Self {
        Self {
            value: Some(value),
            path: "$".to_owned(),
        }
    }

    /// A member of it.
    pub(super) fn get(&self, key: &str) -> Self {
        Self {
            value: self.value.and_then(|v| v.get(key)).filter(|v| !v.is_null()),
            path: format!("{}.{key}", self.path),
        }
    }

    /// Its elements; none if it is absent.
    pub(super) fn items(&self) -> Result<Vec<Self>, Unreadable> {
        match self.value {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items
                .iter()
                .enumerate()
                .map(|(at, value)| Self {
                    value: Some(value),
                    path: format!("{}[{at}]", self.path),
                })
                .collect()),
            Some(_) => Err(self.odd("a list")),
        }
    }

    /// Whether it is there.
    pub(super) fn is_there(&self) -> bool {
        self.value.is_some()
    }

    /// What is there.
    pub(super) fn value(&self) -> Option<&'a Value> {
        self.value
    }

    /// It, which must be an object.
    pub(super) fn object(self) -> Result<Self, Unreadable> {
        match self.value {
            Some(Value::Object(_)) => Ok(self),
            _ => Err(self.odd("an object")),
        }
    }

    /// It, which may be absent but is text if it is there.
    pub(super) fn text(&self) -> Result<Option<&'a str>, Unreadable> {
        match self.value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.odd("text")),
        }
    }

    /// An id, text or a whole number as the sender likes.
    pub(super) fn id(&self) -> Result<String, Unreadable> {
        self.id_if_there()?.ok_or_else(|| self.odd("an id"))
    }

    /// The same, absent allowed. Empty text counts as absent.
    pub(super) fn id_if_there(&self) -> Result<Option<String>, Unreadable> {
        let id = match self.value {
            None => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if number.is_u64() => number.to_string(),
            Some(_) => return Err(self.odd("an id")),
        };
        if id.chars().count() > ID_CHARS_MAX || id.chars().any(char::is_control) {
            return Err(self.odd("an id"));
        }
        Ok(Some(id).filter(|id| !id.is_empty()))
    }

    /// A moment: milliseconds since 1970, as a number or digits, or an ISO 8601 date with time and offset.
    pub(super) fn moment(&self) -> Result<Option<Timestamp>, Unreadable> {
        let moment = match self.value {
            None => return Ok(None),
            Some(Value::Number(ms)) => ms.as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            Some(Value::String(text)) => text
                .parse::<i64>()
                .ok()
                .and_then(|ms| Timestamp::from_millisecond(ms).ok())
                .or_else(|| text.parse().ok()),
            Some(_) => None,
        };
        moment.map(Some).ok_or_else(|| self.odd("a moment"))
    }

    /// What to say about it when it is not what it must be.
    pub(super) fn odd(&self, expected: &str) -> Unreadable {
        let found = match self.value {
            None => "nothing",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "a truth value",
            Some(Value::Number(_)) => "a number",
            Some(Value::String(_)) => "text",
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "an object",
        };
        Unreadable(format!("{}: expected {expected}, found {found}", self.path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}
