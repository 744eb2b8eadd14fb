//! What was changed of a ticket after a move, as its history tells.
//!
//! Cloud names a changed field by its id (`fieldId`), Data Center by the name that it stores (`field`), which for custom
//! fields is the one that people see. Facts: Atlassian, "Get issue" (`expand=changelog,names`), and histories as sites
//! give them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::client::id_of;
use super::history::{Move, created, number, text};
use crate::domain::since::{FieldEdit, Since};

/// What these changes tell of the time after this move. `names` are the ticket's fields: ids, and what people call them.
/// Whatever cannot be placed may have been of any field, at any time.
pub(super) fn since(changes: &[Value], moved: &Move, names: &BTreeMap<String, String>) -> Since {
    let mut later = Vec::new();
    for change in changes {
        let (Some(id), Some(at)) = (id_of(change), created(change)) else {
            return Since::Untold("an entry of its history has no number or no time".to_owned());
        };
        if id != moved.id && is_after(moved, &id, at) {
            later.push((at, number(&id), change));
        }
    }
    later.sort_by_key(|(at, id, _)| (*at, *id));
    let mut edits = BTreeMap::new();
    for (at, _, change) in later {
        let Some(items) = change.get("items").and_then(Value::as_array) else {
            return Since::Untold("an entry of its history does not say what was changed".to_owned());
        };
        for item in items {
            let fields = match fields(item, names) {
                Ok(fields) => fields,
                Err(why) => return Since::Untold(why),
            };
            let edit = FieldEdit { by: author(change), at };
            edits.extend(fields.into_iter().map(|field| (field, edit.clone())));
        }
    }
    Since::Told(edits)
}

/// Jira counts changes up, and its servers' clocks may differ: what is later by either counts as later.
fn is_after(moved: &Move, id: &str, at: Timestamp) -> bool {
    let counted = number(id).zip(number(&moved.id));
    at > moved.at || counted.is_none_or(|(id, of_move)| id > of_move)
}

/// The ids of the fields that this may be about: several custom fields may have one name.
fn fields(item: &Value, names: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    if let Some(id) = text(item, "fieldId") {
        return Ok(vec![system(id, names)]);
    }
    let Some(name) = text(item, "field") else {
        return Err("an entry of its history does not name the field".to_owned());
    };
    if text(item, "fieldtype").is_none_or(|kind| kind == "jira") {
        return Ok(vec![system(name, names)]);
    }
    let of_name = names.iter().filter(|(_, shown)| shown.as_str() == name);
    let of_name: Vec<String> = of_name.map(|(id, _)| id.clone()).collect();
    if of_name.is_empty() {
        return Err(format!(
            "its history has a change of “{name}”, which none of its fields is called"
        ));
    }
    Ok(of_name)
}

/// The id of one of Jira's own fields, of which histories use other names in places.
fn system(name: &str, names: &BTreeMap<String, String>) -> String {
    let plain = name.replace(' ', "").to_ascii_lowercase();
    let id = match plain.as_str() {
        "component" => "components",
        "fixversion" => "fixVersions",
        "issueparentassociation" | "parentissue" => "parent",
        "link" => "issuelinks",
        "version" => "versions",
        other => {
            let known = names.keys().find(|id| id.eq_ignore_ascii_case(other));
            known.map_or(other, String::as_str)
        }
    };
    id.to_owned()
}

fn author(change: &Value) -> String {
    let author = change.get("author");
    let name = author.and_then(|author| text(author, "displayName").or_else(|| text(author, "name")));
    name.unwrap_or("somebody").to_owned()
}
