//! Setting one value in TOML text, keeping the rest as it is.

use std::str::FromStr;

use serde_json::{Map, Value};
use toml_edit::{Array, Datetime, DocumentMut, InlineTable, Item, Table, TableLike, Value as Toml};

use super::Problem;
use super::pointer::{self, NewValue};

/// What the text means. Dates and times are their text.
pub(super) fn read(text: &str) -> Result<Value, Problem> {
    Ok(neutral_table(parse(text)?.as_table()))
}

/// The number at the place as it is written there; `None` for numbers inside inline lists, which are compared by
/// value.
pub(super) fn number(text: &str, tokens: &[String]) -> Option<String> {
    let document = parse(text).ok()?;
    let mut at = document.as_item();
    for token in tokens {
        at = match at {
            Item::ArrayOfTables(_) => at.get(pointer::index(token)?)?,
            _ => at.as_table_like()?.get(token)?,
        };
    }
    let repr = match at.as_value()? {
        Toml::Integer(number) => number.display_repr().into_owned(),
        Toml::Float(number) => number.display_repr().into_owned(),
        _ => return None,
    };
    Some(repr)
}

/// The text with the value set.
pub(super) fn write(text: &str, tokens: &[String], new: &NewValue) -> Result<String, Problem> {
    // The library ends lines that it writes itself with a line feed alone.
    let crlf = text.contains("\r\n") && text.matches("\r\n").count() == text.matches('\n').count();
    let mut document = parse(&if crlf {
        text.replace("\r\n", "\n")
    } else {
        text.to_owned()
    })?;
    set_item(document.as_item_mut(), tokens, new)?;
    let text = document.to_string();
    Ok(if crlf { text.replace('\n', "\r\n") } else { text })
}

fn parse(text: &str) -> Result<DocumentMut, Problem> {
    DocumentMut::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| super::line_of(text, span.start));
        Problem::at(line, error.message().lines().collect::<Vec<_>>().join("; "))
    })
}

fn lost() -> Problem {
    Problem::new("the place was not found again in the text")
}

fn set_item(item: &mut Item, tokens: &[String], new: &NewValue) -> Result<(), Problem> {
    let Some((token, rest)) = tokens.split_first() else {
        if let Item::Value(value) = item {
            return set_value(value, tokens, new);
        }
        *item = Item::Value(toml(&new.value, new)?);
        return Ok(());
    };
    match item {
        Item::Table(table) => set_in_table(table, false, token, rest, new),
        Item::ArrayOfTables(tables) => {
            let table = pointer::index(token)
                .and_then(|index| tables.get_mut(index))
                .ok_or_else(lost)?;
            match rest.split_first() {
                Some((token, rest)) => set_in_table(table, false, token, rest, new),
                None => Err(Problem::new("a whole `[[table]]` cannot be set; set values in it")),
            }
        }
        Item::Value(value) => set_value(value, tokens, new),
        Item::None => Err(lost()),
    }
}

fn set_value(value: &mut Toml, tokens: &[String], new: &NewValue) -> Result<(), Problem> {
    let Some((token, rest)) = tokens.split_first() else {
        let mut fresh = match (&*value, &new.value) {
            (Toml::Datetime(_), Value::String(text)) if Datetime::from_str(text).is_ok() => {
                Toml::from(Datetime::from_str(text).map_err(|error| Problem::new(error.to_string()))?)
            }
            _ => toml(&new.value, new)?,
        };
        *fresh.decor_mut() = value.decor().clone();
        *value = fresh;
        return Ok(());
    };
    match value {
        Toml::InlineTable(table) => set_in_table(table, true, token, rest, new),
        Toml::Array(items) => {
            let item = pointer::index(token)
                .and_then(|index| items.get_mut(index))
                .ok_or_else(lost)?;
            set_value(item, rest, new)
        }
        _ => Err(lost()),
    }
}

fn set_in_table(
    table: &mut dyn TableLike,
    inline: bool,
    token: &str,
    rest: &[String],
    new: &NewValue,
) -> Result<(), Problem> {
    if let Some(item) = table.get_mut(token).filter(|item| !item.is_none()) {
        return set_item(item, rest, new);
    }
    let value = new.nested(rest);
    // Objects that had to be made on the way get headers of their own, unless they stand inside braces. A value
    // that is itself an object stays in one line: it is one value.
    let item = if rest.is_empty() || inline {
        Item::Value(toml(&value, new)?)
    } else {
        Item::Table(table_of(&value, rest.len(), new)?)
    };
    table.insert(token, item);
    Ok(())
}

fn table_of(value: &Value, depth: usize, new: &NewValue) -> Result<Table, Problem> {
    let mut table = Table::new();
    table.set_implicit(depth > 1);
    for (name, value) in value.as_object().into_iter().flatten() {
        let item = if depth > 1 {
            Item::Table(table_of(value, depth - 1, new)?)
        } else {
            Item::Value(toml(value, new)?)
        };
        table.insert(name, item);
    }
    Ok(table)
}

fn toml(value: &Value, new: &NewValue) -> Result<Toml, Problem> {
    Ok(match value {
        Value::Null => return Err(Problem::new("TOML has no null")),
        Value::Bool(flag) => Toml::from(*flag),
        Value::Number(number) => {
            let text = new.number(number);
            Toml::from_str(&text).map_err(|_| Problem::new(format!("{text} is not a number TOML can hold")))?
        }
        Value::String(text) => Toml::from(text.as_str()),
        Value::Array(items) => {
            let items = items.iter().map(|item| toml(item, new)).collect::<Result<Array, _>>()?;
            Toml::Array(items)
        }
        Value::Object(fields) => {
            let mut table = InlineTable::new();
            for (name, value) in fields {
                table.insert(name, toml(value, new)?);
            }
            Toml::InlineTable(table)
        }
    })
}

fn neutral_table(table: &dyn TableLike) -> Value {
    let fields = table
        .iter()
        .filter_map(|(name, item)| Some((name.to_owned(), neutral_item(item)?)))
        .collect::<Map<_, _>>();
    Value::Object(fields)
}

fn neutral_item(item: &Item) -> Option<Value> {
    match item {
        Item::None => None,
        Item::Value(value) => Some(neutral(value)),
        Item::Table(table) => Some(neutral_table(table)),
        Item::ArrayOfTables(tables) => Some(tables.iter().map(|table| neutral_table(table)).collect()),
    }
}

fn neutral(value: &Toml) -> Value {
    match value {
        Toml::String(text) => Value::from(text.value().as_str()),
        Toml::Integer(number) => Value::from(*number.value()),
        Toml::Float(number) => serde_json::Number::from_f64(*number.value())
            .map_or_else(|| Value::from(number.value().to_string()), Value::Number),
        Toml::Boolean(flag) => Value::Bool(*flag.value()),
        Toml::Datetime(time) => Value::from(time.value().to_string()),
        Toml::Array(items) => items.iter().map(neutral).collect(),
        Toml::InlineTable(table) => neutral_table(table),
    }
}
