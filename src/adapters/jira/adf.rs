//! Atlassian Document Format: what Jira Cloud's comments are written in.
//!
//! Fact: Atlassian, "Atlassian Document Format", structure, nodes and marks.

use serde_json::{Value, json};

use super::plain::{bar, fitting, one_line, several_lines, web_address};
use crate::domain::doc::{Block, Doc, Span, Tone};

/// Kept from being taken for a command by whatever reads the page: an invisible joiner before the slash.
const WORD_JOINER: char = '\u{2060}';

/// The document as ADF. Its headline stands in a panel of its tone's colour; buttons are left out. Texts become text
/// nodes and so cannot become markup or mentions. What Jira would not take for its length is visibly cut.
pub fn render(doc: &Doc) -> Value {
    let size = |doc: &Doc| whole(doc).to_string().chars().count();
    whole(&fitting(doc, size))
}

fn whole(doc: &Doc) -> Value {
    let mut content: Vec<Value> = doc.blocks.iter().filter_map(block).collect();
    let headline = matches!(doc.blocks.first(), Some(Block::Heading(_) | Block::Paragraph(_)));
    if let (Some(kind), true, Some(first)) = (panel(doc.tone), headline, content.first_mut()) {
        *first = json!({ "type": "panel", "attrs": { "panelType": kind }, "content": [first.take()] });
    }
    json!({ "type": "doc", "version": 1, "content": content })
}

fn panel(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Neutral => None,
        Tone::Busy => Some("info"),
        Tone::Good => Some("success"),
        Tone::Bad => Some("error"),
    }
}

/// `None` for a block that would be empty where ADF forbids that.
fn block(block: &Block) -> Option<Value> {
    Some(match block {
        Block::Heading(spans) => json!({ "type": "heading", "attrs": { "level": 3 }, "content": inline(spans) }),
        Block::Paragraph(spans) => paragraph(spans),
        Block::Progress(percent) => paragraph(&[Span::text(bar(*percent))]),
        Block::List(items) => bullets(items.iter().map(|spans| paragraph(spans)).collect())?,
        Block::Fields(rows) => bullets(
            rows.iter()
                .map(|(label, spans)| {
                    let label = [Span::strong(format!("{label}:")), Span::text(" ")];
                    paragraph(&label.iter().chain(spans).cloned().collect::<Vec<_>>())
                })
                .collect(),
        )?,
        Block::Verbatim(text) => {
            let text = several_lines(text);
            let content: Vec<Value> = plain_text(&text).into_iter().collect();
            json!({ "type": "codeBlock", "content": content })
        }
    })
}

fn bullets(paragraphs: Vec<Value>) -> Option<Value> {
    let items: Vec<Value> = paragraphs
        .into_iter()
        .map(|paragraph| json!({ "type": "listItem", "content": [paragraph] }))
        .collect();
    (!items.is_empty()).then(|| json!({ "type": "bulletList", "content": items }))
}

fn paragraph(spans: &[Span]) -> Value {
    json!({ "type": "paragraph", "content": inline(spans) })
}

fn inline(spans: &[Span]) -> Vec<Value> {
    let mut nodes: Vec<Value> = Vec::new();
    let mut blank = true;
    for span in spans {
        let (text, mark) = match span {
            Span::Text(text) => (text, None),
            Span::Strong(text) => (text, Some(json!({ "type": "strong" }))),
            Span::Code(text) => (text, Some(json!({ "type": "code" }))),
            Span::Link { label, url } => {
                let link = web_address(url).map(|href| json!({ "type": "link", "attrs": { "href": href } }));
                (if label.is_empty() { url } else { label }, link)
            }
        };
        let mut text = one_line(text);
        if blank && !matches!(span, Span::Code(_)) && text.trim_start().starts_with('/') {
            text.insert(0, WORD_JOINER);
        }
        blank &= text.trim().is_empty();
        if let Some(mut node) = plain_text(&text) {
            if let Some(mark) = mark {
                node["marks"] = json!([mark]);
            }
            nodes.push(node);
        }
    }
    nodes
}

/// ADF has no empty text nodes.
fn plain_text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({ "type": "text", "text": text }))
}

/// The lines of the document's top-level paragraphs that start with plain text. Code, quotes, panels, tables, lists,
/// headings and lines that start with anything marked, mentioned or inserted are left out: nothing in them is a
/// command.
pub fn lines(adf: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for node in children(adf).filter(|node| kind(node) == "paragraph") {
        let mut line = Line::default();
        for child in children(node) {
            match kind(child) {
                "hardBreak" => lines.extend(std::mem::take(&mut line).end()),
                "text" => {
                    let text = child.get("text").and_then(Value::as_str).unwrap_or_default();
                    let marked = child
                        .get("marks")
                        .and_then(Value::as_array)
                        .is_some_and(|m| !m.is_empty());
                    for (at, part) in text.split(['\n', '\r']).enumerate() {
                        if at > 0 {
                            lines.extend(std::mem::take(&mut line).end());
                        }
                        line.add(part, !marked);
                    }
                }
                _ => line.add(inserted(child), false),
            }
        }
        lines.extend(line.end());
    }
    lines
}

#[derive(Default)]
struct Line {
    text: String,
    /// Whether the first thing on it that is not blank is plain text; `None` while all is blank.
    plain: Option<bool>,
}

impl Line {
    fn add(&mut self, text: &str, plain: bool) {
        // What shows without text of its own (a mention, a picture) starts the line, too.
        if self.plain.is_none() && !(plain && text.trim().is_empty()) {
            self.plain = Some(plain);
        }
        self.text.push_str(text);
    }

    fn end(self) -> Option<String> {
        (self.plain == Some(true)).then_some(self.text)
    }
}

fn children(node: &Value) -> impl Iterator<Item = &Value> {
    node.get("content").and_then(Value::as_array).into_iter().flatten()
}

fn kind(node: &Value) -> &str {
    node.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// What people see of a mention, an emoji, a status or a card.
fn inserted(node: &Value) -> &str {
    let attrs = node.get("attrs");
    ["text", "shortName", "url"]
        .iter()
        .find_map(|name| attrs?.get(*name)?.as_str())
        .unwrap_or_default()
}
