//! JSON, with comments and trailing commas as editors' configuration files have them.

use jsonc_parser::cst::{CstInputValue, CstNode, CstRootNode};
use jsonc_parser::errors::ParseError;
use jsonc_parser::{JsonValue, ParseOptions};
use serde_json::Value;

use super::Problem;
use super::pointer::{self, NewValue};

const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// What the text means.
pub(super) fn read(text: &str) -> Result<Value, Problem> {
    let value = jsonc_parser::parse_to_value(text, &OPTIONS).map_err(|error| problem(&error))?;
    Ok(value.map_or(Value::Null, |value| neutral(&value)))
}

/// The number at the place as it is written there.
pub(super) fn number(text: &str, tokens: &[String]) -> Option<String> {
    let mut at = &jsonc_parser::parse_to_value(text, &OPTIONS).ok()??;
    for token in tokens {
        at = match at {
            JsonValue::Object(fields) => fields.get(token)?,
            JsonValue::Array(items) => items.get(pointer::index(token)?)?,
            _ => return None,
        };
    }
    match at {
        JsonValue::Number(number) => Some((*number).to_owned()),
        _ => None,
    }
}

/// The text with the value set.
pub(super) fn write(text: &str, tokens: &[String], new: &NewValue) -> Result<String, Problem> {
    let root = CstRootNode::parse(text, &OPTIONS).map_err(|error| problem(&error))?;
    let lost = || Problem::new("the place was not found again in the text");
    let Some(mut at) = root.value() else {
        root.set_value(input(&new.nested(tokens), new));
        return Ok(root.to_string());
    };
    for (depth, token) in tokens.iter().enumerate() {
        let rest = &tokens[depth + 1..];
        if let Some(object) = at.as_object() {
            let Some(property) = object.get(token) else {
                object.append(token, input(&new.nested(rest), new));
                return Ok(root.to_string());
            };
            let value = property.value().ok_or_else(lost)?;
            if rest.is_empty() || value.as_null_keyword().is_some() {
                property.set_value(input(&new.nested(rest), new));
                return Ok(root.to_string());
            }
            at = value;
        } else {
            let items = at.as_array().ok_or_else(lost)?.elements();
            at = pointer::index(token)
                .and_then(|index| items.into_iter().nth(index))
                .ok_or_else(lost)?;
            if rest.is_empty() || at.as_null_keyword().is_some() {
                replace(at, input(&new.nested(rest), new));
                return Ok(root.to_string());
            }
        }
    }
    Err(lost())
}

fn replace(node: CstNode, value: CstInputValue) {
    if let Some(object) = node.as_object() {
        object.replace_with(value);
    } else if let Some(array) = node.as_array() {
        array.replace_with(value);
    } else if let Some(text) = node.as_string_lit() {
        text.replace_with(value);
    } else if let Some(number) = node.as_number_lit() {
        number.replace_with(value);
    } else if let Some(flag) = node.as_boolean_lit() {
        flag.replace_with(value);
    } else if let Some(null) = node.as_null_keyword() {
        null.replace_with(value);
    }
}

fn input(value: &Value, new: &NewValue) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(new.number(number)),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(|item| input(item, new)).collect()),
        Value::Object(fields) => CstInputValue::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), input(value, new)))
                .collect(),
        ),
    }
}

fn neutral(value: &JsonValue<'_>) -> Value {
    match value {
        JsonValue::Null => Value::Null,
        JsonValue::Boolean(flag) => Value::Bool(*flag),
        JsonValue::Number(number) => serde_json::from_str(number).unwrap_or_else(|_| Value::from(*number)),
        JsonValue::String(text) => Value::from(text.as_ref()),
        JsonValue::Array(items) => items.iter().map(neutral).collect(),
        JsonValue::Object(fields) => Value::Object(
            fields
                .clone()
                .into_iter()
                .map(|(name, value)| (name.to_string(), neutral(&value)))
                .collect(),
        ),
    }
}

fn problem(error: &ParseError) -> Problem {
    Problem::at(error.line_display(), error.kind().to_string())
}
