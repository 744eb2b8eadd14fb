//! What Discord takes as a message. Limits: the developer documentation's "Message", "Embed Limits" and
//! "Component Reference", and the OpenAPI document's `MessageCreateRequest`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::sandbox::wire::Reply;

const CONTENT_MAX: usize = 2000;
const EMBEDS_MAX: usize = 10;
const EMBED_CHARS_MAX: usize = 6000;
const FIELDS_MAX: usize = 25;
const ROWS_MAX: usize = 5;
const BUTTONS_MAX: usize = 5;
const CUSTOM_ID_MAX: usize = 100;
const LABEL_MAX: usize = 80;
const URL_MAX: usize = 512;
const NONCE_MAX: usize = 25;

/// What is wrong with a form, by the path to the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    path: String,
    code: &'static str,
    text: String,
}

impl Wrong {
    pub(super) fn new(path: impl Into<String>, code: &'static str, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            code,
            text: text.into(),
        }
    }

    /// `embeds.0.title: Must be 256 or fewer in length.`
    pub(super) fn said(&self) -> String {
        format!("{}: {}", self.path, self.text)
    }
}

impl From<Wrong> for Reply {
    fn from(wrong: Wrong) -> Self {
        let leaf = json!({"_errors": [{"code": wrong.code, "message": wrong.text}]});
        let errors = wrong.path.rsplit('.').fold(leaf, |inner, name| json!({name: inner}));
        Self::json(
            400,
            json!({"message": "Invalid Form Body", "code": 50035, "errors": errors}),
        )
    }
}

pub(super) fn chars(value: &Value) -> usize {
    value.as_str().map_or(0, |s| s.chars().count())
}

pub(super) fn is_null(value: Option<&Value>) -> bool {
    value.is_none_or(Value::is_null)
}

/// A text of this length, or nothing if `least` is 0.
pub(super) fn text_of(value: &Value, path: &str, least: usize, most: usize) -> Result<(), Wrong> {
    if value.is_null() && least == 0 {
        return Ok(());
    }
    if value.is_null() {
        return Err(Wrong::new(path, "BASE_TYPE_REQUIRED", "This field is required"));
    }
    if !value.is_string() {
        return Err(Wrong::new(
            path,
            "STRING_TYPE_CONVERT",
            "Could not interpret the value as string.",
        ));
    }
    let length = chars(value);
    if length > most {
        return Err(Wrong::new(
            path,
            "BASE_TYPE_MAX_LENGTH",
            format!("Must be {most} or fewer in length."),
        ));
    }
    if length < least {
        return Err(Wrong::new(
            path,
            "BASE_TYPE_BAD_LENGTH",
            format!("Must be between {least} and {most} in length."),
        ));
    }
    Ok(())
}

/// An array no longer than this, or nothing.
pub(super) fn list_of<'v>(value: Option<&'v Value>, path: &str, most: usize) -> Result<&'v [Value], Wrong> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(all)) if all.len() <= most => Ok(all),
        Some(Value::Array(_)) => Err(Wrong::new(
            path,
            "BASE_TYPE_MAX_LENGTH",
            format!("Must be {most} or fewer in length."),
        )),
        Some(_) => Err(Wrong::new(
            path,
            "LIST_TYPE_CONVERT",
            "Only iterables may be used in a ListType",
        )),
    }
}

/// Everything that can be wrong with the parts of a message that are given.
pub(super) fn check(said: &Map<String, Value>) -> Result<(), Wrong> {
    let null = Value::Null;
    text_of(said.get("content").unwrap_or(&null), "content", 0, CONTENT_MAX)?;
    embeds(said.get("embeds"))?;
    components(said.get("components"))?;
    mentions(said.get("allowed_mentions"))?;
    for name in ["tts", "enforce_nonce"] {
        if !said.get(name).is_none_or(|v| v.is_null() || v.is_boolean()) {
            return Err(Wrong::new(
                name,
                "BOOLEAN_TYPE_CONVERT",
                "Must be either true or false.",
            ));
        }
    }
    if !said.get("flags").is_none_or(|v| v.is_null() || v.is_u64()) {
        return Err(Wrong::new("flags", "NUMBER_TYPE_COERCE", "Value is not int."));
    }
    match said.get("nonce") {
        Some(nonce) if nonce.is_i64() || nonce.is_u64() => Ok(()),
        other => text_of(other.unwrap_or(&null), "nonce", 0, NONCE_MAX),
    }
}

/// Whether there is anything to show. Buttons alone are not.
pub(super) fn shows_something(content: &str, embeds: &[Value]) -> bool {
    let shows = |e: &Value| {
        e.as_object()
            .is_some_and(|o| o.keys().any(|k| k != "type" && k != "color"))
    };
    !content.trim().is_empty() || embeds.iter().any(shows)
}

fn embeds(value: Option<&Value>) -> Result<(), Wrong> {
    let all = list_of(value, "embeds", EMBEDS_MAX)?;
    let mut total = 0;
    for (n, embed) in all.iter().enumerate() {
        let at = format!("embeds.{n}");
        if !embed.is_object() {
            return Err(Wrong::new(
                at,
                "MODEL_TYPE_CONVERT",
                "Only dictionaries may be used in a ModelType",
            ));
        }
        text_of(&embed["title"], &format!("{at}.title"), 0, 256)?;
        text_of(&embed["description"], &format!("{at}.description"), 0, 4096)?;
        text_of(&embed["footer"]["text"], &format!("{at}.footer.text"), 0, 2048)?;
        text_of(&embed["author"]["name"], &format!("{at}.author.name"), 0, 256)?;
        text_of(&embed["url"], &format!("{at}.url"), 0, 2048)?;
        if !(embed["color"].is_null() || embed["color"].as_u64().is_some_and(|c| c <= 0x00FF_FFFF)) {
            return Err(Wrong::new(
                format!("{at}.color"),
                "NUMBER_TYPE_MAX",
                "int value should be at most 16777215.",
            ));
        }
        let fields = list_of(embed.get("fields"), &format!("{at}.fields"), FIELDS_MAX)?;
        for (f, field) in fields.iter().enumerate() {
            text_of(&field["name"], &format!("{at}.fields.{f}.name"), 1, 256)?;
            text_of(&field["value"], &format!("{at}.fields.{f}.value"), 1, 1024)?;
            total += chars(&field["name"]) + chars(&field["value"]);
        }
        total += chars(&embed["title"]) + chars(&embed["description"]);
        total += chars(&embed["footer"]["text"]) + chars(&embed["author"]["name"]);
    }
    if total > EMBED_CHARS_MAX {
        let text = "Embed size exceeds maximum size of 6000";
        return Err(Wrong::new("embeds", "MAX_EMBED_SIZE_EXCEEDED", text));
    }
    Ok(())
}

fn components(value: Option<&Value>) -> Result<(), Wrong> {
    let rows = list_of(value, "components", ROWS_MAX)?;
    let mut ids = BTreeSet::new();
    for (n, row) in rows.iter().enumerate() {
        let at = format!("components.{n}");
        if row["type"] != 1 {
            let text = "Value of field \"type\" must be one of (1,).";
            return Err(Wrong::new(format!("{at}.type"), "UNION_TYPE_CHOICES", text));
        }
        let inside = list_of(row.get("components"), &format!("{at}.components"), BUTTONS_MAX)?;
        if inside.is_empty() {
            let text = "Must be between 1 and 5 in length.";
            return Err(Wrong::new(format!("{at}.components"), "BASE_TYPE_BAD_LENGTH", text));
        }
        for (c, component) in inside.iter().enumerate() {
            let at = format!("{at}.components.{c}");
            button(component, &at)?;
            let id = component["custom_id"].as_str();
            if id.is_some_and(|id| !ids.insert(id.to_owned())) {
                let text = "Component custom id cannot be duplicated";
                return Err(Wrong::new(
                    format!("{at}.custom_id"),
                    "COMPONENT_CUSTOM_ID_DUPLICATED",
                    text,
                ));
            }
        }
    }
    Ok(())
}

/// The stand-in knows buttons only; menus are refused so that nobody believes that they work here.
fn button(button: &Value, at: &str) -> Result<(), Wrong> {
    if button["type"] != 2 {
        let text = "Value of field \"type\" must be one of (2,).";
        return Err(Wrong::new(format!("{at}.type"), "UNION_TYPE_CHOICES", text));
    }
    let style = button["style"].as_u64().filter(|s| (1..=5).contains(s));
    let style = style.ok_or_else(|| {
        let text = "Value must be one of {1, 2, 3, 4, 5, 6}.";
        Wrong::new(format!("{at}.style"), "BASE_TYPE_CHOICES", text)
    })?;
    let link = style == 5;
    text_of(
        &button["custom_id"],
        &format!("{at}.custom_id"),
        usize::from(!link),
        CUSTOM_ID_MAX,
    )?;
    text_of(&button["url"], &format!("{at}.url"), usize::from(link), URL_MAX)?;
    text_of(&button["label"], &format!("{at}.label"), 0, LABEL_MAX)?;
    if button["label"].is_null() && button["emoji"].is_null() {
        let text = "A button must have a label or an emoji.";
        return Err(Wrong::new(at, "BUTTON_COMPONENT_INVALID", text));
    }
    if !is_null(button.get(if link { "custom_id" } else { "url" })) {
        let text = "A custom id and url cannot both be specified";
        return Err(Wrong::new(
            format!("{at}.url"),
            "BUTTON_COMPONENT_CUSTOM_ID_AND_URL_CONFLICT",
            text,
        ));
    }
    Ok(())
}

fn mentions(value: Option<&Value>) -> Result<(), Wrong> {
    let Some(value) = value.filter(|v| !v.is_null()) else {
        return Ok(());
    };
    let parse = list_of(value.get("parse"), "allowed_mentions.parse", 3)?;
    for (n, kind) in parse.iter().enumerate() {
        if !["users", "roles", "everyone"].iter().any(|k| kind == k) {
            let text = "Value must be one of ('users', 'roles', 'everyone').";
            return Err(Wrong::new(
                format!("allowed_mentions.parse.{n}"),
                "BASE_TYPE_CHOICES",
                text,
            ));
        }
    }
    for kind in ["users", "roles"] {
        let named = list_of(value.get(kind), &format!("allowed_mentions.{kind}"), 100)?;
        if !named.is_empty() && parse.iter().any(|p| p == kind) {
            let text = format!("parse:[\"{kind}\"] and {kind}: [ids...] are mutually exclusive.");
            return Err(Wrong::new(
                "allowed_mentions",
                "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
                text,
            ));
        }
    }
    Ok(())
}

/// Whether showing this rings anybody's bell.
pub(super) fn pings(content: &str, allowed: Option<&Value>) -> bool {
    let everyone = content.contains("@everyone") || content.contains("@here");
    let one = content.contains("<@");
    let Some(allowed) = allowed.filter(|a| !a.is_null()) else {
        return everyone || one;
    };
    let parses = |kinds: &[&str]| {
        let all = allowed["parse"].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).any(|p| kinds.contains(&p))
    };
    let named = ["users", "roles"]
        .iter()
        .any(|k| allowed[*k].as_array().is_some_and(|a| !a.is_empty()));
    (everyone && parses(&["everyone"])) || (one && (parses(&["users", "roles"]) || named))
}
