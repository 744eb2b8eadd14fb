//! Environment variables laid over stepherd's settings.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::page::Page;
use super::shape;
use crate::domain::nearest::nearest;

/// What variables of stepherd's settings start with.
const PREFIX: &str = "STEPHERD__";

/// Lays environment variables over the file's table. Empty ones count as absent, as compose files pass them; but where
/// the database is must not be decided by a variable that somebody forgot to fill.
pub(super) fn overlay<'t>(
    env: &'t BTreeMap<String, String>,
) -> impl FnOnce(&mut Page, &mut DeTable<'t>, &serde_json::Value) {
    move |page, table, schema| {
        warn_of_near_misses(page, env, schema);
        for (name, value) in env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let path = name[PREFIX.len()..].to_lowercase();
            if value.is_empty() {
                if path.starts_with("database__url") {
                    let hint = "give it a value, or remove it to use stepherd.toml's or the usual one";
                    page.say_env(name, "it is set, and empty", Some(hint.to_owned()));
                }
                continue;
            }
            let (section, key) = path.split_once("__").unwrap_or((&path, ""));
            let form = &schema["properties"][section]["properties"][key];
            if form.is_null() {
                let all = variables(schema);
                // The prefix would make every name like every other.
                let meant = nearest(&path, all.iter().map(String::as_str));
                let hint = meant.map(|meant| format!("did you mean {PREFIX}{}?", meant.to_uppercase()));
                page.say_env(name, "there is no such setting", hint);
                continue;
            }
            let span = page.overlay(name);
            let Some(value) = env_value(form, value, &span) else {
                let wanted: Vec<&str> = shape::types(shape::unwrapped(form))
                    .into_iter()
                    .map(shape::spoken)
                    .collect();
                page.say_env(name, &format!("the value must be {}", wanted.join(" or ")), None);
                continue;
            };
            let entry = table
                .entry(Spanned::new(span.clone(), section.to_owned().into()))
                .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
            // A section that is no table is reported with the rest of the file's form.
            if let DeValue::Table(keys) = entry.get_mut() {
                keys.remove(key);
                keys.insert(
                    Spanned::new(span.clone(), key.to_owned().into()),
                    Spanned::new(span, value),
                );
            }
        }
    }
}

/// Warns of variables that are nearly a setting's: one underscore where two belong.
fn warn_of_near_misses(page: &mut Page, env: &BTreeMap<String, String>, schema: &serde_json::Value) {
    let single = &PREFIX[..PREFIX.len() - 1];
    let mistaken = env
        .keys()
        .filter(|name| name.starts_with(single) && !name.starts_with(PREFIX));
    for name in mistaken {
        let said = name[single.len()..].to_lowercase();
        let meant = variables(schema)
            .into_iter()
            .find(|path| path.replace("__", "_") == said.replace("__", "_"));
        if let Some(meant) = meant {
            page.warn_env(
                name,
                "it is not read",
                format!("did you mean {PREFIX}{}?", meant.to_uppercase()),
            );
        }
    }
}

/// Every setting's variable, without the prefix and in lower case.
fn variables(schema: &serde_json::Value) -> Vec<String> {
    let sections = schema["properties"].as_object().into_iter().flatten();
    sections
        .flat_map(|(section, form)| {
            let keys = form["properties"].as_object().into_iter().flatten();
            keys.map(move |(key, _)| format!("{section}__{key}"))
        })
        .collect()
}

/// A list is written with commas.
fn env_value<'t>(form: &serde_json::Value, text: &'t str, span: &Range<usize>) -> Option<DeValue<'t>> {
    let form = shape::unwrapped(form);
    let types = shape::types(form);
    if types.contains(&"boolean") {
        return Some(DeValue::Boolean(text.parse().ok()?));
    }
    if types.contains(&"integer") {
        text.parse::<i64>().ok()?;
        return DeValue::parse(text).ok().map(Spanned::into_inner);
    }
    if types.contains(&"array") {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let items = items.map(|item| Spanned::new(span.clone(), DeValue::String(item.into())));
        return Some(DeValue::Array(items.collect()));
    }
    Some(DeValue::String(text.into()))
}
