//! JSON pointers over the neutral value every format reads into, and the value an edit sets. Says what a file
//! should mean afterwards; never how it is written.

use serde_json::{Map, Number, Value};

use super::Problem;

/// The deepest pointer, in parts.
const DEPTH_MAX: usize = 32;

/// A value to set.
pub(super) struct NewValue {
    /// What it means.
    pub(super) value: Value,
    /// A number as it was typed: `1.20` is the number 1.2 and yet not the same text in a file of versions.
    pub(super) literal: Option<String>,
}

impl NewValue {
    /// Text that is JSON is taken as that, other text as a string.
    pub(super) fn parse(text: &str) -> Self {
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        let literal = value.is_number().then(|| text.trim().to_owned());
        Self { value, literal }
    }

    /// The text of a scalar number in the file.
    pub(super) fn number(&self, number: &Number) -> String {
        self.literal.clone().unwrap_or_else(|| number.to_string())
    }

    /// Whether what is there needs no edit. `there` is the number as written in the file, if it is one.
    pub(super) fn is_already(&self, value: &Value, there: Option<&str>) -> bool {
        let same_text = match (&self.literal, there) {
            (Some(wanted), Some(there)) => wanted == there || !(wanted.contains('.') && there.contains('.')),
            _ => true,
        };
        *value == self.value && same_text
    }

    /// The value inside the objects that lead to it.
    pub(super) fn nested(&self, tokens: &[String]) -> Value {
        tokens.iter().rev().fold(self.value.clone(), |inner, token| {
            Value::Object(Map::from_iter([(token.clone(), inner)]))
        })
    }
}

/// The parts of a pointer, unescaped.
pub(super) fn tokens(pointer: &str) -> Result<Vec<String>, Problem> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = pointer.strip_prefix('/') else {
        return Err(Problem::new(format!("the pointer `{pointer}` must start with `/`")));
    };
    let tokens: Vec<String> = rest
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect();
    if tokens.len() > DEPTH_MAX {
        return Err(Problem::new(format!("the pointer has more than {DEPTH_MAX} parts")));
    }
    if tokens.iter().any(|token| token.chars().any(char::is_control)) {
        return Err(Problem::new("the pointer holds control characters"));
    }
    Ok(tokens)
}

/// What a part leads to from here.
pub(super) fn child<'a>(value: &'a Value, token: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(token),
        Value::Array(items) => items.get(index(token)?),
        _ => None,
    }
}

/// What the parts lead to.
pub(super) fn get<'a>(root: &'a Value, tokens: &[String]) -> Option<&'a Value> {
    tokens.iter().try_fold(root, |value, token| child(value, token))
}

/// How many parts lead to something.
pub(super) fn existing(root: &Value, tokens: &[String]) -> usize {
    (0..tokens.len())
        .take_while(|depth| get(root, &tokens[..=*depth]).is_some())
        .count()
}

/// What the file should mean afterwards. Missing objects are created, null counts as missing; anything else in the
/// way is an error.
pub(super) fn set(mut root: Value, tokens: &[String], new: &NewValue) -> Result<Value, Problem> {
    let mut at = &mut root;
    for (depth, token) in tokens.iter().enumerate() {
        let here = || format!("/{}", tokens[..depth].join("/"));
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        at = match at {
            Value::Object(fields) => fields.entry(token.clone()).or_insert(Value::Null),
            Value::Array(items) => {
                let len = items.len();
                let item = index(token).and_then(|index| items.get_mut(index));
                item.ok_or_else(|| Problem::new(format!("the list at `{}` has {len} items, no `{token}`", here())))?
            }
            _ => return Err(Problem::new(format!("what is at `{}` is no object", here()))),
        };
    }
    *at = new.value.clone();
    Ok(root)
}

/// An array index as RFC 6901 writes it: no sign, no leading zero.
pub(super) fn index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with('0');
    let digits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
    token.parse().ok().filter(|_| canonical && digits)
}
