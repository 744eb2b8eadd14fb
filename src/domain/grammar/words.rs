//! A command line taken apart: words, quoted words, `name=value`.

use crate::domain::values::quote;

/// One word of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// What stands before the first `=`, in lower case, when that looks like a name and is not quoted.
    pub(super) name: Option<String>,
    /// The word, or what stands after `=`, without quotes.
    pub(super) value: String,
    /// Whether the value was quoted.
    pub(super) quoted: bool,
}

/// The words of a line, or what is wrong with its quotes.
pub(super) fn split(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (name, value) = named(rest);
        let (value, after, quoted) = match closing(value) {
            Some(close) => {
                let (value, after) = quoted_value(value, close)?;
                (value, after, true)
            }
            None => {
                let end = value.find(char::is_whitespace).unwrap_or(value.len());
                (&value[..end], &value[end..], false)
            }
        };
        words.push(Word {
            name,
            value: value.to_owned(),
            quoted,
        });
        rest = after.trim_start();
    }
    Ok(words)
}

/// The value as it has to be written behind `name=` to be read as it is. `None` if it cannot be written at all: it
/// holds both kinds of quotes, or what ends a line.
pub(super) fn written(value: &str) -> Option<String> {
    let opens = closing(value).is_some();
    if value.contains(char::is_control) {
        return None;
    }
    if !opens && !value.contains(char::is_whitespace) {
        return Some(value.to_owned());
    }
    [('"', "\"“”"), ('\'', "'")]
        .into_iter()
        .find(|(_, closes)| !value.contains(|c| closes.contains(c)))
        .map(|(quote, _)| format!("{quote}{value}{quote}"))
}

/// A leading `name=`, and what follows.
fn named(text: &str) -> (Option<String>, &str) {
    let len = text
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        .count();
    match text[len..].strip_prefix('=') {
        Some(value) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (Some(text[..len].to_ascii_lowercase()), value)
        }
        _ => (None, text),
    }
}

/// The quotes that end what this quote opens. Phones and word processors curl quotes without being asked.
fn closing(text: &str) -> Option<&'static [char]> {
    match text.chars().next()? {
        '"' | '“' | '”' | '„' => Some(&['"', '“', '”']),
        '\'' => Some(&['\'']),
        _ => None,
    }
}

fn quoted_value<'a>(text: &'a str, close: &[char]) -> Result<(&'a str, &'a str), String> {
    let mut chars = text.chars();
    chars.next();
    let inner = chars.as_str();
    let Some(end) = inner.find(close) else {
        return Err(format!("the quote that opens {} is never closed", quote(text)));
    };
    let (value, rest) = inner.split_at(end);
    let mut rest = rest.chars();
    rest.next();
    let after = rest.as_str();
    if value.trim().is_empty() {
        Err("there is nothing between the quotes".to_owned())
    } else if after.is_empty() || after.starts_with(char::is_whitespace) {
        Ok((value, after))
    } else {
        Err(format!(
            "after the quote that closes {} a space is missing",
            quote(value)
        ))
    }
}
