//! Values of parameters and arguments: what people type, checked by kind and brought into one form.

use super::ids::{RunId, Sha, TicketKey};
use super::pipeline::ParamKind;

/// The longest word, in bytes.
const WORD_MAX: usize = 100;
/// The longest name, in bytes: a DNS label (RFC 1123).
const NAME_MAX: usize = 63;
/// The longest free text, in characters.
const TEXT_MAX: usize = 500;

/// The value in canonical form, or what is wrong with it, for people; the problem may quote the input, cut short.
/// Surrounding whitespace is dropped.
pub fn parse_value(kind: &ParamKind, text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    match kind {
        ParamKind::Word => word(text),
        ParamKind::Name => name(text),
        ParamKind::Text => free_text(text),
        ParamKind::Int { min, max } => int(text, *min, *max),
        ParamKind::Bool => bool(text),
        ParamKind::Choice(options) => choice(text, options),
        ParamKind::Ticket => text
            .to_ascii_uppercase()
            .parse::<TicketKey>()
            .map(String::from)
            .map_err(|_| format!("{} is not a ticket key like SREPROV-3072", quote(text))),
        ParamKind::Run => text
            .to_ascii_uppercase()
            .parse::<RunId>()
            .map(String::from)
            .map_err(|_| format!("{} is not a run id (eight characters, A-Z and 2-7)", quote(text))),
        ParamKind::Sha => text
            .to_ascii_lowercase()
            .parse::<Sha>()
            .map(String::from)
            .map_err(|_| format!("{} is not a full commit SHA (40 or 64 hexadecimal digits)", quote(text))),
    }
}

fn word(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if text.len() > WORD_MAX {
        Err(format!("{} is longer than {WORD_MAX} characters", quote(text)))
    } else if text.starts_with(['-', '.', '/']) {
        Err(format!("{} must start with a letter, a digit or `_`", quote(text)))
    } else if let Some(wrong) = text.chars().find(|c| !allowed(*c)) {
        let wrong = wrong.escape_debug();
        Err(format!(
            "{} may hold only letters, digits and `-_./`, not `{wrong}`",
            quote(text)
        ))
    } else if unsafe_in_refs(text) {
        Err(format!("{} could not stand in a path or a branch name", quote(text)))
    } else {
        Ok(text.to_owned())
    }
}

/// What git and file systems refuse or read differently although every character is allowed.
fn unsafe_in_refs(text: &str) -> bool {
    text.contains("..")
        || text.ends_with('.')
        || text.split('/').any(|part| {
            part.is_empty() || part.starts_with('.') || part.starts_with('-') || {
                let part = part.to_ascii_lowercase();
                part.ends_with(".lock") || part.ends_with(".git")
            }
        })
}

fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() > NAME_MAX {
        Err(format!("{} is longer than {NAME_MAX} characters", quote(text)))
    } else if let Some(wrong) = text.chars().find(|c| !allowed(*c)) {
        let wrong = wrong.escape_debug();
        Err(format!(
            "{} may hold only lower-case letters, digits and `-`, not `{wrong}`",
            quote(text)
        ))
    } else if text.starts_with('-') || text.ends_with('-') {
        Err(format!("{} must start and end with a letter or a digit", quote(text)))
    } else {
        Ok(text.to_owned())
    }
}

fn free_text(text: &str) -> Result<String, String> {
    if text.chars().count() > TEXT_MAX {
        Err(format!("it is longer than {TEXT_MAX} characters"))
    } else if text.chars().any(|c| c.is_control() || is_invisible(c)) {
        Err("it must be one line without control characters".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Line breaks that are not controls, and characters that reorder or hide what people see.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn int(text: &str, min: i64, max: i64) -> Result<String, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{} is not a whole number", quote(text)));
    }
    // Digits that do not fit are out of any bounds.
    match text.parse::<i64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
        _ => Err(match (min, max) {
            (least, i64::MAX) if least > i64::MIN => format!("{} is below {least}", quote(text)),
            (i64::MIN, most) if most < i64::MAX => format!("{} is above {most}", quote(text)),
            _ => format!("{} is not from {min} to {max}", quote(text)),
        }),
    }
}

fn bool(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok("true".to_owned()),
        "false" | "no" | "off" => Ok("false".to_owned()),
        _ => Err(format!("{} is not `true` or `false`", quote(text))),
    }
}

fn choice(text: &str, options: &[String]) -> Result<String, String> {
    let exact = options.iter().find(|option| *option == text);
    let folded = || {
        options
            .iter()
            .find(|option| option.to_lowercase() == text.to_lowercase())
    };
    exact.or_else(folded).cloned().ok_or_else(|| {
        let all = options
            .iter()
            .map(|option| format!("`{option}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let hint = super::nearest::nearest(text, options.iter().map(String::as_str))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        format!("{} is not one of {all}{hint}", quote(text))
    })
}

/// Outside text within a message: short, visible, and no backticks that would end the quotation.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| match c {
            '`' => '\'',
            c if c.is_control() || is_invisible(c) => '\u{fffd}',
            c => c,
        })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}
