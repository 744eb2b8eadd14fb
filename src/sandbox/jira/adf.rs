//! Atlassian's document format: which documents Jira Cloud takes, and how one reads as text or wiki markup.
//! Structure: the Atlassian Document Format reference ("Nodes", "Marks").

use serde_json::{Value, json};

/// `Ok` if Jira would take this as a comment's body. The error is for people who debug; Jira itself says only
/// `INVALID_INPUT`.
pub(super) fn check(body: &Value) -> Result<(), String> {
    only_keys(body, &["type", "version", "content"])?;
    if body["type"] != "doc" {
        return Err("the root must be a doc".into());
    }
    if body["version"] != 1 {
        return Err("version must be 1".into());
    }
    children(body, "doc", BLOCKS, false)
}

const BLOCKS: &[&str] = &[
    "paragraph",
    "heading",
    "bulletList",
    "orderedList",
    "codeBlock",
    "blockquote",
    "panel",
    "rule",
    "table",
    "expand",
    "taskList",
    "mediaSingle",
    "mediaGroup",
];
const INLINES: &[&str] = &["text", "hardBreak", "mention", "emoji", "date", "status", "inlineCard"];
const IN_ITEM: &[&str] = &["paragraph", "bulletList", "orderedList", "codeBlock", "mediaSingle"];
const IN_PANEL: &[&str] = &[
    "paragraph",
    "heading",
    "bulletList",
    "orderedList",
    "codeBlock",
    "rule",
    "taskList",
];
const IN_QUOTE: &[&str] = &["paragraph", "bulletList", "orderedList", "codeBlock"];
const IN_CELL: &[&str] = &[
    "paragraph",
    "heading",
    "bulletList",
    "orderedList",
    "codeBlock",
    "blockquote",
    "panel",
    "rule",
    "mediaGroup",
];
const MARKS: &[&str] = &[
    "strong",
    "em",
    "code",
    "strike",
    "underline",
    "link",
    "textColor",
    "backgroundColor",
    "subsup",
];
const PANELS: &[&str] = &["info", "note", "tip", "warning", "success", "error", "custom"];

fn node(value: &Value, allowed: &[&str], within: &str) -> Result<(), String> {
    only_keys(value, &["type", "content", "attrs", "marks", "text"])?;
    let kind = value["type"].as_str().ok_or("a node has no type")?;
    if !allowed.contains(&kind) {
        return Err(format!("{kind} is not allowed in {within}"));
    }
    if kind != "text" && (value.get("text").is_some() || value.get("marks").is_some()) {
        return Err(format!("{kind} has neither text nor marks"));
    }
    let attrs = &value["attrs"];
    let has = |name: &str| attrs[name].as_str().is_some_and(|s| !s.is_empty());
    let need = |fine: bool, what: &str| fine.then_some(()).ok_or(format!("{kind} needs {what}"));
    match kind {
        "text" => text(value, within),
        "paragraph" => children(value, kind, INLINES, false),
        "heading" => {
            need(
                attrs["level"].as_u64().is_some_and(|l| (1..=6).contains(&l)),
                "attrs.level from 1 to 6",
            )?;
            children(value, kind, INLINES, false)
        }
        "bulletList" | "orderedList" => children(value, kind, &["listItem"], true),
        "listItem" => children(value, kind, IN_ITEM, true),
        "codeBlock" => children(value, kind, &["text"], false),
        "blockquote" => children(value, kind, IN_QUOTE, true),
        "panel" => {
            need(
                attrs["panelType"].as_str().is_some_and(|p| PANELS.contains(&p)),
                "a known attrs.panelType",
            )?;
            children(value, kind, IN_PANEL, true)
        }
        "expand" => children(value, kind, IN_CELL, true),
        "table" => children(value, kind, &["tableRow"], true),
        "tableRow" => children(value, kind, &["tableCell", "tableHeader"], false),
        "tableCell" | "tableHeader" => children(value, kind, IN_CELL, true),
        "taskList" => children(value, kind, &["taskItem"], true),
        "taskItem" => children(value, kind, INLINES, false),
        "mention" => need(has("id"), "attrs.id"),
        "emoji" => need(has("shortName"), "attrs.shortName"),
        "date" => need(has("timestamp"), "attrs.timestamp"),
        "status" => need(has("text") && has("color"), "attrs.text and attrs.color"),
        "inlineCard" => need(has("url"), "attrs.url"),
        "rule" | "hardBreak" => need(value.get("content").is_none(), "no content"),
        _ => Ok(()),
    }
}

fn children(value: &Value, kind: &str, allowed: &[&str], some: bool) -> Result<(), String> {
    let empty = Vec::new();
    let content = match value.get("content") {
        None if kind != "doc" => &empty,
        Some(Value::Array(content)) => content,
        _ => return Err(format!("{kind} needs an array of content")),
    };
    if some && content.is_empty() {
        return Err(format!("{kind} must not be empty"));
    }
    content.iter().try_for_each(|c| node(c, allowed, kind))
}

fn text(value: &Value, within: &str) -> Result<(), String> {
    if value["text"].as_str().unwrap_or_default().is_empty() {
        return Err("a text node must have text".into());
    }
    let empty = Vec::new();
    let marks = match value.get("marks") {
        None => &empty,
        Some(Value::Array(marks)) => marks,
        Some(_) => return Err("marks must be an array".into()),
    };
    if within == "codeBlock" && !marks.is_empty() {
        return Err("text in a codeBlock has no marks".into());
    }
    let kinds: Vec<&str> = marks.iter().filter_map(|m| m["type"].as_str()).collect();
    for mark in marks {
        only_keys(mark, &["type", "attrs"])?;
        let kind = mark["type"].as_str().ok_or("a mark has no type")?;
        let attrs = &mark["attrs"];
        let fine = match kind {
            "link" => attrs["href"].as_str().is_some_and(|h| !h.is_empty()),
            "textColor" | "backgroundColor" => attrs["color"].as_str().is_some_and(|c| c.starts_with('#')),
            "subsup" => attrs["type"] == "sub" || attrs["type"] == "sup",
            _ => MARKS.contains(&kind),
        };
        if !fine {
            return Err(format!("the mark {kind} is unknown or lacks attrs"));
        }
        if kind == "code" && kinds.iter().any(|k| !["code", "link"].contains(k)) {
            return Err("code goes with no other mark than link".into());
        }
        if kinds.iter().filter(|k| **k == kind).count() > 1 {
            return Err(format!("the mark {kind} is there twice"));
        }
    }
    Ok(())
}

fn only_keys(value: &Value, known: &[&str]) -> Result<(), String> {
    let object = value.as_object().ok_or("a node must be an object")?;
    match object.keys().find(|k| !known.contains(&k.as_str())) {
        Some(key) => Err(format!("unknown property {key}")),
        None => Ok(()),
    }
}

/// As people read it: no markup.
pub(super) fn plain(body: &Value) -> String {
    render(body, false).trim_end().to_owned()
}

/// As API version 2 shows it.
pub(super) fn wiki(body: &Value) -> String {
    render(body, true).trim_end().to_owned()
}

fn render(value: &Value, wiki: bool) -> String {
    let inner = |joint: &str| {
        let parts: Vec<String> = value["content"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| render(c, wiki))
            .collect();
        parts.join(joint)
    };
    let attrs = &value["attrs"];
    let attr = |name: &str| attrs[name].as_str().unwrap_or_default().to_owned();
    match value["type"].as_str().unwrap_or_default() {
        "text" => marked(value, wiki),
        "hardBreak" => "\n".into(),
        "mention" if wiki => format!("[~accountid:{}]", attr("id")),
        "mention" | "status" => attr("text"),
        "emoji" => attr("shortName"),
        "date" => attr("timestamp"),
        "inlineCard" => attr("url"),
        "heading" if wiki => format!("h{}. {}\n", attrs["level"], inner("")),
        "paragraph" | "heading" => inner("") + "\n",
        "codeBlock" if wiki => format!("{{code}}{}{{code}}\n", inner("")),
        "codeBlock" => inner("") + "\n",
        "rule" => "----\n".into(),
        "panel" if wiki => format!("{{panel}}\n{}{{panel}}\n", inner("")),
        "bulletList" | "orderedList" => inner(""),
        "listItem" if wiki => format!("* {}\n", inner("").trim_end()),
        "listItem" => format!("- {}\n", inner("").trim_end()),
        "tableRow" => {
            let cells = value["content"].as_array().into_iter().flatten();
            let cells: Vec<String> = cells.map(|c| render(c, wiki).trim_end().replace('\n', " ")).collect();
            format!("| {} |\n", cells.join(" | "))
        }
        "expand" => format!("{}\n{}", attr("title"), inner("")),
        _ => inner(""),
    }
}

fn marked(value: &Value, wiki: bool) -> String {
    let mut text = value["text"].as_str().unwrap_or_default().to_owned();
    for mark in value["marks"].as_array().into_iter().flatten() {
        let href = mark["attrs"]["href"].as_str().unwrap_or_default();
        text = match mark["type"].as_str().unwrap_or_default() {
            "link" if wiki => format!("[{text}|{href}]"),
            "link" if href != text => format!("{text} ({href})"),
            "strong" if wiki => format!("*{text}*"),
            "em" if wiki => format!("_{text}_"),
            "code" if wiki => format!("{{{{{text}}}}}"),
            _ => text,
        };
    }
    text
}

/// What a person's words, or a version 2 body, look like to version 3.
pub(super) fn from_text(text: &str) -> Value {
    let mut content = Vec::new();
    let mut code: Option<Vec<&str>> = None;
    for line in text.lines() {
        let fence = line.trim().starts_with("{code") || line.trim().starts_with("{noformat");
        match (&mut code, fence) {
            (None, true) => code = Some(Vec::new()),
            (Some(lines), true) => {
                content.push(code_block(&lines.join("\n")));
                code = None;
            }
            (Some(lines), false) => lines.push(line),
            (None, false) if line.trim().is_empty() => {}
            (None, false) => match line.strip_prefix("bq. ") {
                Some(quoted) => content.push(json!({"type": "blockquote", "content": [paragraph(quoted)]})),
                None => content.push(paragraph(line)),
            },
        }
    }
    if let Some(lines) = code {
        content.push(code_block(&lines.join("\n")));
    }
    json!({"type": "doc", "version": 1, "content": content})
}

fn paragraph(text: &str) -> Value {
    json!({"type": "paragraph", "content": [{"type": "text", "text": text}]})
}

fn code_block(text: &str) -> Value {
    let content = if text.is_empty() {
        json!([])
    } else {
        json!([{"type": "text", "text": text}])
    };
    json!({"type": "codeBlock", "content": content})
}
