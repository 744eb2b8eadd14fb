//! The declared commands as Discord wants them registered: one slash command each, a subcommand per verb
//! ("Application Commands" reference).

use serde_json::{Value, json};

use super::markdown::plain;
use super::platform;
use crate::domain::command::{Arg, Command, Verb};
use crate::domain::pipeline::ParamKind;

const OPTIONS_MAX: usize = 25;
const CHOICES_MAX: usize = 25;
const DESCRIPTION_MAX: usize = 100;
/// Names, descriptions and values of one command together.
const COMMAND_CHARS_MAX: usize = 8000;
/// Discord takes only integers that a double holds exactly.
const INT_MAX: i64 = (1 << 53) - 1;

const SUBCOMMAND: u8 = 1;
const STRING: u8 = 3;
const INTEGER: u8 = 4;
const BOOLEAN: u8 = 5;

/// The bulk list for registration: the commands with at least one verb that may be said on Discord. They work in
/// servers only and are shown to every member, unless an administrator shows them to fewer (Server Settings,
/// Integrations): who may use them is checked by stepherd.
pub fn registration(commands: &[Command]) -> Value {
    let all = commands.iter().filter_map(|command| {
        let whole = slash_command(command, true)?;
        // The help texts are the only part that can go.
        if chars_in(&whole) <= COMMAND_CHARS_MAX {
            Some(whole)
        } else {
            slash_command(command, false)
        }
    });
    Value::Array(all.collect())
}

fn slash_command(command: &Command, with_help: bool) -> Option<Value> {
    let here = platform();
    let verbs: Vec<Value> = command
        .verbs
        .iter()
        .filter(|verb| verb.places.contains(&here))
        .take(OPTIONS_MAX)
        .map(|verb| subcommand(verb, with_help))
        .collect();
    if verbs.is_empty() {
        return None;
    }
    Some(json!({
        "name": command.name.as_str(),
        "type": 1,
        "description": description(&command.summary, command.name.as_str()),
        "contexts": [0],
        "options": verbs,
    }))
}

fn subcommand(verb: &Verb, with_help: bool) -> Value {
    let (required, optional): (Vec<&Arg>, Vec<&Arg>) = verb.args.iter().partition(|arg| arg.required);
    let options: Vec<Value> = required
        .into_iter()
        .chain(optional)
        .take(OPTIONS_MAX)
        .map(|arg| option(arg, with_help))
        .collect();
    json!({
        "type": SUBCOMMAND,
        "name": verb.name.as_str(),
        "description": description(if with_help { &verb.help } else { "" }, verb.name.as_str()),
        "options": options,
    })
}

fn option(arg: &Arg, with_help: bool) -> Value {
    let kind = match arg.kind {
        ParamKind::Int { .. } => INTEGER,
        ParamKind::Bool => BOOLEAN,
        _ => STRING,
    };
    let mut option = json!({
        "type": kind,
        "name": arg.name.as_str(),
        "description": description(if with_help { &arg.help } else { "" }, arg.name.as_str()),
        "required": arg.required,
    });
    match &arg.kind {
        ParamKind::Int { min, max } => {
            option["min_value"] = json!((*min).clamp(-INT_MAX, INT_MAX));
            option["max_value"] = json!((*max).clamp(-INT_MAX, INT_MAX));
        }
        ParamKind::Run => option["autocomplete"] = json!(true),
        // A list that Discord would not take is typed instead; the grammar checks it either way.
        ParamKind::Choice(values) if offerable(values) => {
            let choices: Vec<Value> = values.iter().map(|v| json!({"name": v, "value": v})).collect();
            option["choices"] = json!(choices);
        }
        _ => {}
    }
    option
}

fn offerable(values: &[String]) -> bool {
    let fits = |value: &String| (1..=DESCRIPTION_MAX).contains(&value.encode_utf16().count());
    (1..=CHOICES_MAX).contains(&values.len()) && values.iter().all(fits)
}

/// Discord wants at least one character.
fn description(text: &str, or: &str) -> String {
    Some(plain(text, DESCRIPTION_MAX))
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| or.to_owned())
}

fn chars_in(value: &Value) -> usize {
    match value {
        Value::String(text) => text.encode_utf16().count(),
        Value::Array(items) => items.iter().map(chars_in).sum(),
        Value::Object(map) => map.values().map(chars_in).sum(),
        _ => 0,
    }
}
