//! Whether a TOML table has the form its JSON Schema asks for. The schema is made from the raw structs, so editors
//! and stepherd agree. Goes on after each mistake, and mends the table where it can, so that what is right in a
//! file is still read and checked.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnose::did_you_mean;
use super::page::Page;
use crate::domain::nearest::nearest;

/// Marks a property in a schema as a secret that the file itself must not hold.
pub(super) const SECRET: &str = "x-secret";

/// Notes every mistake in form. Misspelt keys are put right or dropped, and items of lists that make no sense are
/// dropped. `false` if what is left still has not the form.
pub(super) fn check(page: &mut Page, schema: &Value, table: &mut Spanned<DeTable<'_>>) -> bool {
    // The document's own span is all of it; what is missing at the top is missing at its beginning.
    check_table(page, schema, table.get_mut(), 0..0, "")
}

/// The types a schema allows, `null` aside.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several
            .iter()
            .filter_map(Value::as_str)
            .filter(|t| *t != "null")
            .collect(),
        _ => Vec::new(),
    }
}

/// The schema without the wrapping that `Option` gives it.
pub(super) fn unwrapped(schema: &Value) -> &Value {
    let Some(branches) = schema["anyOf"].as_array() else {
        return schema;
    };
    let mut real = branches.iter().filter(|branch| branch["type"] != "null");
    match (real.next(), real.next()) {
        (Some(only), None) => only,
        _ => schema,
    }
}

/// The fixed words a schema allows; empty if it allows any.
pub(super) fn words(schema: &Value) -> Vec<&str> {
    let own = schema["enum"].as_array().into_iter().flatten();
    let branches = schema["oneOf"].as_array().into_iter().flatten();
    own.chain(
        branches
            .clone()
            .flat_map(|branch| branch["enum"].as_array().into_iter().flatten()),
    )
    .chain(branches.map(|branch| &branch["const"]))
    .filter_map(Value::as_str)
    .collect()
}

/// `span` is where a missing key is missing, `within` the key whose table this is.
fn check_table(page: &mut Page, schema: &Value, table: &mut DeTable<'_>, span: Range<usize>, within: &str) -> bool {
    let properties = schema["properties"].as_object();
    let known: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let open = schema
        .get("additionalProperties")
        .filter(|rest| **rest != Value::Bool(false));
    if open.is_none() {
        mend_keys(page, &known, table);
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let (mut sound, mut refused) = (true, Vec::new());
    for (key, value) in table.iter_mut() {
        let name: &str = key.get_ref();
        let Some(form) = properties.and_then(|all| all.get(name)).or(open) else {
            continue;
        };
        if form.get(SECRET).is_some() && page.variable(&value.span()).is_none() {
            refuse_secret(page, within, name, value.span());
            refused.push(name.to_owned());
            continue;
        }
        if check_value(page, form, value, key.span(), name) {
            continue;
        }
        // What may be absent is left out, so that the rest is still read and checked.
        if required.contains(&name) {
            sound = false;
        } else {
            refused.push(name.to_owned());
            page.partial = true;
        }
    }
    for key in required {
        if !table.contains_key(key) {
            page.say(span.clone(), format!("`{key}` is missing"));
            sound = false;
        }
    }
    for key in refused {
        table.remove(key.as_str());
    }
    sound
}

fn refuse_secret(page: &mut Page, section: &str, key: &str, span: Range<usize>) {
    page.hide(span.clone());
    page.say_hint(
        span,
        format!("`{key}` is a secret and does not belong in this file"),
        format!(
            "give it as the environment variable STEPHERD__{}__{} or as {key}_file = \"/run/secrets/…\", and treat \
             what stood here as leaked",
            section.to_uppercase(),
            key.to_uppercase(),
        ),
    );
}

/// Reports unknown keys; one that was surely meant to be another, absent key is taken for it.
fn mend_keys(page: &mut Page, known: &[&str], table: &mut DeTable<'_>) {
    let strangers: Vec<(String, Range<usize>)> = table
        .keys()
        .filter(|key| !known.contains(&key.get_ref().as_ref()))
        .map(|key| (key.get_ref().to_string(), key.span()))
        .collect();
    for (name, span) in strangers {
        page.push(
            span.clone(),
            format!("unknown key `{name}`"),
            did_you_mean(&name, known.iter().copied()),
        );
        let Some(value) = table.remove(name.as_str()) else {
            continue;
        };
        hide_unknown(page, &value);
        if let Some(meant) = nearest(&name, known.iter().copied()).filter(|meant| !table.contains_key(*meant)) {
            table.insert(Spanned::new(span, meant.to_owned().into()), value);
        } else {
            // What is left out here may be referred to elsewhere.
            page.partial |= matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_));
        }
    }
}

/// What stands under a key that is not known may be a secret.
fn hide_unknown(page: &mut Page, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        // A table's own span may be no more than its header.
        DeValue::Table(table) => table.values().for_each(|value| hide_unknown(page, value)),
        DeValue::Array(array) => array.iter().for_each(|value| hide_unknown(page, value)),
        _ => page.hide_unknown(value.span()),
    }
}

fn check_value(
    page: &mut Page,
    schema: &Value,
    value: &mut Spanned<DeValue<'_>>,
    key: Range<usize>,
    name: &str,
) -> bool {
    let schema = unwrapped(schema);
    let span = value.span();
    let words = words(schema);
    let allowed = if words.is_empty() {
        types(schema)
    } else {
        vec!["string"]
    };
    let found = match value.get_ref() {
        DeValue::Table(_) => "object",
        other => other.type_str(),
    };
    if !allowed.is_empty() && !allowed.contains(&found) {
        let wanted: Vec<&str> = allowed.iter().map(|t| spoken(t)).collect();
        page.say(
            span,
            format!("`{name}` must be {}, not {}", wanted.join(" or "), spoken(found)),
        );
        return false;
    }
    match value.get_mut() {
        DeValue::Table(table) => check_table(page, schema, table, if span.is_empty() { key } else { span }, name),
        DeValue::Array(array) => check_items(page, &schema["items"], array, name),
        DeValue::String(text) if !words.is_empty() && !words.contains(&text.as_ref()) => {
            let meant = nearest(text, words.iter().copied());
            page.push(
                span,
                format!("`{name}` must be one of {}, not `{text}`", words.join(", ")),
                meant.map(|best| format!("did you mean `{best}`?")),
            );
            let Some(meant) = meant else {
                return false;
            };
            *text = meant.to_owned().into();
            true
        }
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix());
            check_bounds(page, schema, number.ok(), span, name)
        }
        _ => true,
    }
}

/// Drops items that make no sense; the rest of the list is kept and checked on.
fn check_items(page: &mut Page, schema: &Value, array: &mut DeArray<'_>, name: &str) -> bool {
    let mut dropped = false;
    let mut kept = DeArray::new();
    for mut item in std::mem::replace(array, DeArray::new()) {
        let span = item.span();
        if check_value(page, schema, &mut item, span, name) {
            kept.push(item);
        } else {
            dropped = true;
        }
    }
    *array = kept;
    page.partial |= dropped;
    true
}

fn check_bounds(page: &mut Page, schema: &Value, number: Option<i64>, span: Range<usize>, name: &str) -> bool {
    let least = schema["minimum"].as_f64().unwrap_or(f64::NEG_INFINITY);
    let most = schema["maximum"].as_f64().unwrap_or(f64::INFINITY);
    #[expect(
        clippy::cast_precision_loss,
        reason = "bounds are small; a rounded number is on the same side of them"
    )]
    let fits = number.is_some_and(|number| (least..=most).contains(&(number as f64)));
    if !fits {
        let bounds = match (least.is_finite(), most.is_finite()) {
            (true, true) => format!("from {least} to {most}"),
            (true, false) => format!("at least {least}"),
            (false, true) => format!("at most {most}"),
            (false, false) => "a whole number of 64 bits".to_owned(),
        };
        page.say(span, format!("`{name}` must be {bounds}"));
    }
    fits
}

/// A type as people call it.
pub(super) fn spoken(kind: &str) -> &'static str {
    match kind {
        "string" => "text",
        "integer" => "a whole number",
        "number" | "float" => "a number with a fraction",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        "datetime" => "a date",
        _ => "something else",
    }
}
