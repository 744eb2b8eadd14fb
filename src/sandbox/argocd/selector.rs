//! Kubernetes' label selectors.

use std::collections::BTreeMap;

pub(super) enum Wanted {
    Is(String, Vec<String>),
    IsNot(String, Vec<String>),
    Has(String),
    HasNot(String),
}

impl Wanted {
    pub(super) fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Is(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Self::IsNot(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Self::Has(key) => labels.contains_key(key),
            Self::HasNot(key) => !labels.contains_key(key),
        }
    }
}

/// Kubernetes' label selectors: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, joined by commas.
pub(super) fn parse_selector(text: &str) -> Option<Vec<Wanted>> {
    let mut parts = vec![String::new()];
    let mut inside = false;
    for c in text.chars() {
        match c {
            ',' if !inside => parts.push(String::new()),
            _ => {
                inside = c == '(' || (inside && c != ')');
                parts.last_mut()?.push(c);
            }
        }
    }
    let parts = parts.iter().map(|p| p.trim());
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    parts.map(parse_requirement).collect()
}

fn parse_requirement(part: &str) -> Option<Wanted> {
    let word = |w: &str| {
        let w = w.trim();
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        (!w.is_empty() && w.chars().all(fine)).then(|| w.to_owned())
    };
    let set = |s: &str| {
        let inner = s.trim().strip_prefix('(')?.strip_suffix(')')?;
        inner.split(',').map(word).collect::<Option<Vec<_>>>()
    };
    if let Some((key, rest)) = part.split_once(" notin ") {
        return Some(Wanted::IsNot(word(key)?, set(rest)?));
    }
    if let Some((key, rest)) = part.split_once(" in ") {
        return Some(Wanted::Is(word(key)?, set(rest)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Wanted::IsNot(word(key)?, vec![word(value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Wanted::Is(word(key)?, vec![word(value)?]));
    }
    match part.strip_prefix('!') {
        Some(key) => Some(Wanted::HasNot(word(key)?)),
        None => Some(Wanted::Has(word(part)?)),
    }
}
