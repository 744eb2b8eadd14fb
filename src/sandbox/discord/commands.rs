//! Application commands: what may be registered. Limits: the developer documentation's "Application Commands" and
//! the OpenAPI document's `ApplicationCommandUpdateRequest`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::rules::{Wrong, chars, is_null, list_of, text_of};
use super::{Inner, routes};
use crate::sandbox::wire::{Handled, Reply, lock};

const COMMANDS_MAX: usize = 100;
const OPTIONS_MAX: usize = 25;
const TOTAL_CHARS_MAX: usize = 8000;
const SUBCOMMAND: u64 = 1;
const GROUP: u64 = 2;

type Service = State<Arc<Inner>>;

pub(super) async fn list_global(State(inner): Service, Path(app): Path<String>, headers: HeaderMap) -> Handled {
    inner.list(&headers, &app, "")
}

pub(super) async fn list_guild(
    State(inner): Service,
    Path((app, guild)): Path<(String, String)>,
    headers: HeaderMap,
) -> Handled {
    inner.list(&headers, &app, &guild)
}

pub(super) async fn put_global(
    State(inner): Service,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    inner.put(&headers, &app, "", &body)
}

pub(super) async fn put_guild(
    State(inner): Service,
    Path((app, guild)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    inner.put(&headers, &app, &guild, &body)
}

impl Inner {
    fn own_application(&self, headers: &HeaderMap, app: &str, guild: &str) -> Result<(), Reply> {
        self.open_for(headers)?;
        if app != self.options.application_id {
            let text = "You are not authorized to perform this action on this application";
            return Err(routes::error(403, 20012, text));
        }
        if !guild.is_empty() && !lock(&self.state).guilds.contains_key(guild) {
            return Err(routes::error(403, 50001, "Missing Access"));
        }
        Ok(())
    }

    fn list(&self, headers: &HeaderMap, app: &str, guild: &str) -> Handled {
        self.own_application(headers, app, guild)?;
        let known = lock(&self.state).commands.get(guild).cloned().unwrap_or_default();
        Ok(Reply::json(200, Value::Array(known)))
    }

    fn put(&self, headers: &HeaderMap, app: &str, guild: &str, body: &Bytes) -> Handled {
        self.own_application(headers, app, guild)?;
        let said = routes::json_body(headers, body)?;
        let wanted = list_of(Some(&said), "_", COMMANDS_MAX)?;
        check_all(wanted)?;
        let mut state = lock(&self.state);
        let before = state.commands.get(guild).cloned().unwrap_or_default();
        let version = state.new_id((self.options.now)());
        let mut stored = Vec::new();
        for command in wanted {
            let old = before.iter().find(|b| b["name"] == command["name"]);
            let id = match old.and_then(|o| o["id"].as_str()) {
                Some(id) => id.to_owned(),
                None => state.new_id((self.options.now)()),
            };
            let mut new = command.clone();
            new["id"] = id.into();
            new["application_id"] = app.into();
            new["version"] = version.clone().into();
            if new["type"].is_null() {
                new["type"] = 1.into();
            }
            if is_null(new.get("default_member_permissions")) {
                new["default_member_permissions"] = Value::Null;
            }
            if !guild.is_empty() {
                new["guild_id"] = guild.into();
            }
            stored.push(new);
        }
        state.commands.insert(guild.to_owned(), stored.clone());
        Ok(Reply::json(200, json!(stored)))
    }
}

fn check_all(commands: &[Value]) -> Result<(), Wrong> {
    let mut names = BTreeSet::new();
    for (n, command) in commands.iter().enumerate() {
        let at = n.to_string();
        if !(command["type"].is_null() || command["type"].as_u64().is_some_and(|t| (1..=4).contains(&t))) {
            return Err(Wrong::new(
                format!("{at}.type"),
                "BASE_TYPE_CHOICES",
                "Value must be one of {1, 2, 3, 4}.",
            ));
        }
        named(command, &at)?;
        options(command, &at, 0)?;
        let key = (command["type"].as_u64().unwrap_or(1), command["name"].as_str());
        if !names.insert(key) {
            let text = "Application command names must be unique";
            return Err(Wrong::new(at, "APPLICATION_COMMANDS_DUPLICATE_NAME", text));
        }
        if total_chars(command) > TOTAL_CHARS_MAX {
            let text = "Command exceeds maximum size (8000)";
            return Err(Wrong::new(at, "APPLICATION_COMMAND_TOO_LARGE", text));
        }
        permissions_and_contexts(command, &at)?;
    }
    Ok(())
}

fn permissions_and_contexts(command: &Value, at: &str) -> Result<(), Wrong> {
    let bits = &command["default_member_permissions"];
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !(bits.is_null() || bits.is_u64() || bits.as_str().is_some_and(digits)) {
        let at = format!("{at}.default_member_permissions");
        return Err(Wrong::new(at, "NUMBER_TYPE_COERCE", "Value is not int."));
    }
    let known = |c: &Value| c.as_u64().is_some_and(|c| c <= 2);
    let contexts = &command["contexts"];
    if !(contexts.is_null()
        || contexts
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().all(known)))
    {
        return Err(Wrong::new(
            format!("{at}.contexts"),
            "BASE_TYPE_CHOICES",
            "Value must be one of {0, 1, 2}.",
        ));
    }
    Ok(())
}

fn named(value: &Value, at: &str) -> Result<(), Wrong> {
    text_of(&value["name"], &format!("{at}.name"), 1, 32)?;
    text_of(&value["description"], &format!("{at}.description"), 1, 100)?;
    let name = value["name"].as_str().unwrap_or_default();
    let fine = |c: char| c == '-' || c == '_' || c == '\'' || (c.is_alphanumeric() && !c.is_uppercase());
    if !name.chars().all(fine) {
        let text = "String value did not match validation regex.";
        return Err(Wrong::new(
            format!("{at}.name"),
            "APPLICATION_COMMAND_INVALID_NAME",
            text,
        ));
    }
    Ok(())
}

fn options(holder: &Value, at: &str, depth: u8) -> Result<(), Wrong> {
    let all = list_of(holder.get("options"), &format!("{at}.options"), OPTIONS_MAX)?;
    let mut names = BTreeSet::new();
    let mut optional_seen = false;
    let nests = |o: &Value| o["type"].as_u64().is_some_and(|t| t == SUBCOMMAND || t == GROUP);
    if all.iter().any(nests) && !all.iter().all(nests) {
        let text = "Sub-command and sub-command group option types are mutually exclusive to all other types";
        return Err(Wrong::new(
            format!("{at}.options"),
            "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID",
            text,
        ));
    }
    for (n, option) in all.iter().enumerate() {
        let at = format!("{at}.options.{n}");
        let kind = option["type"]
            .as_u64()
            .filter(|t| (1..=11).contains(t))
            .unwrap_or_default();
        if kind == 0 || (kind == SUBCOMMAND && depth > 1) || (kind == GROUP && depth > 0) {
            return Err(Wrong::new(
                format!("{at}.type"),
                "UNION_TYPE_CHOICES",
                "Value of field \"type\" is not allowed",
            ));
        }
        named(option, &at)?;
        if !names.insert(option["name"].as_str()) {
            let text = "Option names must be unique";
            return Err(Wrong::new(
                format!("{at}.name"),
                "APPLICATION_COMMAND_OPTIONS_NAME_INVALID",
                text,
            ));
        }
        let required = option["required"] == true;
        if required && optional_seen {
            let text = "Required options must be placed before non-required options";
            return Err(Wrong::new(at, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", text));
        }
        optional_seen |= !required && kind > GROUP;
        if kind <= GROUP {
            options(option, &at, depth + 1)?;
        } else {
            choices(option, kind, &at)?;
        }
    }
    Ok(())
}

fn choices(option: &Value, kind: u64, at: &str) -> Result<(), Wrong> {
    let all = list_of(option.get("choices"), &format!("{at}.choices"), OPTIONS_MAX)?;
    let typed = [3, 4, 10].contains(&kind);
    let completes = option["autocomplete"] == true;
    if (!all.is_empty() || completes) && !typed || (!all.is_empty() && completes) {
        let text = "Choices and autocomplete exclude one another and need a string or number option";
        return Err(Wrong::new(at, "APPLICATION_COMMAND_OPTIONS_AUTOCOMPLETE_INVALID", text));
    }
    for (n, choice) in all.iter().enumerate() {
        let at = format!("{at}.choices.{n}");
        text_of(&choice["name"], &format!("{at}.name"), 1, 100)?;
        if kind == 3 {
            text_of(&choice["value"], &format!("{at}.value"), 1, 100)?;
        } else if !choice["value"].is_number() {
            return Err(Wrong::new(
                format!("{at}.value"),
                "NUMBER_TYPE_COERCE",
                "Value is not a number.",
            ));
        }
    }
    Ok(())
}

/// Names, descriptions and choices of a command and all that is in it.
fn total_chars(value: &Value) -> usize {
    let inner = ["options", "choices"]
        .iter()
        .filter_map(|k| value[*k].as_array())
        .flatten();
    let own: usize = ["name", "description", "value"].iter().map(|k| chars(&value[*k])).sum();
    own + inner.map(total_chars).sum::<usize>()
}
