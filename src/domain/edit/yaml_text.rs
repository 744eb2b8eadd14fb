//! Values written as YAML: plain where that is beyond doubt for any reader, quoted where not.

use serde_json::Value;

use super::pointer::NewValue;

/// How a scalar is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// Not, where that is safe.
    Plain,
    /// `'…'`
    Single,
    /// `"…"`
    Double,
}

impl Quotes {
    /// As the text it replaces.
    pub(super) fn of(old: &str) -> Self {
        match old.as_bytes().first() {
            Some(b'\'') => Self::Single,
            Some(b'"') => Self::Double,
            _ => Self::Plain,
        }
    }
}

/// The value's lines in block style, the first without indentation of its own.
pub(super) fn block(value: &Value, new: &NewValue) -> Vec<String> {
    match value {
        Value::Object(fields) if !fields.is_empty() => fields
            .iter()
            .flat_map(|(name, value)| entry(name, value, new))
            .collect(),
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .flat_map(|item| {
                let lines = block(item, new);
                lines.into_iter().enumerate().map(|(i, line)| {
                    let lead = if i == 0 { "- " } else { "  " };
                    format!("{lead}{line}")
                })
            })
            .collect(),
        value => vec![flow(value, new, Quotes::Plain)],
    }
}

fn entry(name: &str, value: &Value, new: &NewValue) -> Vec<String> {
    let name = key(name, Quotes::Plain);
    let lines = block(value, new);
    let filled = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if filled {
        let below = lines.into_iter().map(|line| format!("  {line}"));
        std::iter::once(format!("{name}:")).chain(below).collect()
    } else {
        vec![format!("{name}: {}", lines.concat())]
    }
}

/// The value in one line.
pub(super) fn flow(value: &Value, new: &NewValue, quotes: Quotes) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => new.number(number),
        Value::String(text) => string(text, quotes),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| flow(item, new, quotes)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", key(name, quotes), flow(value, new, quotes)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// A key of a mapping.
pub(super) fn key(name: &str, quotes: Quotes) -> String {
    string(name, quotes)
}

fn string(text: &str, quotes: Quotes) -> String {
    match quotes {
        Quotes::Plain if is_plain(text) => text.to_owned(),
        Quotes::Single if text.chars().all(is_printable) => format!("'{}'", text.replace('\'', "''")),
        _ => double_quoted(text),
    }
}

/// Whether no reader, of YAML 1.1 or 1.2, could take it for anything but this text.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf", "infinity",
    ];
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
    let numeric = || {
        let lower = text.to_ascii_lowercase();
        lower.starts_with("0x")
            || lower.starts_with("0o")
            || lower.starts_with("0b")
            || lower.replace('_', "").parse::<f64>().is_ok()
            // Dates, and numbers with separators.
            || lower.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_'))
            || lower.strip_suffix(['e', '.']).is_some_and(|rest| rest.parse::<f64>().is_ok())
    };
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/'))
        && text.chars().all(inner)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && !(text.starts_with(|c: char| c.is_ascii_digit()) && numeric())
}

fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Between double quotes, with escapes where they are needed.
pub(super) fn double_quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}
