//! Wiki text: what Jira Data Center's comments are written in, and what Cloud's webhooks may still carry.
//!
//! Fact: Atlassian, "Text formatting notation" of Jira.

use super::plain::{bar, fitting, one_line, several_lines, web_address};
use crate::domain::doc::{Block, Doc, Span, Tone};

/// Characters that begin or end markup wherever they stand.
const MARKUP: &[char] = &['{', '}', '[', ']', '*', '_', '-', '+', '^', '~', '?', '!', '|'];

/// Paired macros whose inside is not the writer's own plain speech.
const HIDING: &[&str] = &[
    "code", "noformat", "quote", "panel", "info", "note", "tip", "warning", "expand", "section", "column", "html",
    "csv",
];

/// Of those, the ones within which no other macro counts.
const RAW: &[&str] = &["code", "noformat", "html", "csv"];

/// How much of a tag is looked through for its name, in bytes.
const MACRO_NAME_MAX: usize = 64;

const ZERO_WIDTH_SPACE: char = '\u{200B}';
const WORD_JOINER: char = '\u{2060}';

/// The document as wiki text. Its headline stands in a panel of its tone's colour; buttons are left out. All markup in
/// texts is escaped, no line starts with a slash, and what Jira would not take for its length is visibly cut.
pub fn render(doc: &Doc) -> String {
    whole(&fitting(doc, |doc| whole(doc).chars().count()))
}

fn whole(doc: &Doc) -> String {
    let blocks: Vec<String> = doc
        .blocks
        .iter()
        .enumerate()
        .filter_map(|(at, block)| {
            let text = self::block(block)?;
            let headline = at == 0 && matches!(block, Block::Heading(_) | Block::Paragraph(_));
            Some(match colour(doc.tone) {
                Some(colour) if headline => format!("{{panel:bgColor={colour}}}\n{text}\n{{panel}}"),
                _ => text,
            })
        })
        .collect();
    blocks.join("\n\n")
}

fn colour(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Neutral => None,
        Tone::Busy => Some("#deebff"),
        Tone::Good => Some("#e3fcef"),
        Tone::Bad => Some("#ffebe6"),
    }
}

/// `None` for a block with nothing in it.
fn block(block: &Block) -> Option<String> {
    let text = match block {
        Block::Heading(spans) => format!("h3. {}", line(spans)),
        Block::Paragraph(spans) => line(spans),
        Block::Progress(percent) => escape(&bar(*percent)),
        Block::List(items) => items
            .iter()
            .map(|spans| format!("* {}", line(spans)))
            .collect::<Vec<_>>()
            .join("\n"),
        Block::Fields(rows) => rows
            .iter()
            .map(|(label, spans)| format!("* {} {}", around('*', &format!("{label}:")), line(spans)))
            .collect::<Vec<_>>()
            .join("\n"),
        Block::Verbatim(text) => format!("{{noformat}}\n{}\n{{noformat}}", verbatim(text)),
    };
    (!text.trim().is_empty()).then_some(text)
}

fn line(spans: &[Span]) -> String {
    let text: String = spans.iter().map(span).collect();
    guarded(text.trim_start())
}

fn span(span: &Span) -> String {
    match span {
        Span::Text(text) => escape(text),
        Span::Strong(text) => around('*', text),
        Span::Code(text) if text.trim().is_empty() => String::new(),
        Span::Code(text) => format!("{{{{{}}}}}", escape(text.trim())),
        Span::Link { label, url } => {
            let label = escape(if label.is_empty() { url } else { label });
            match web_address(url) {
                Some(address) => format!("[{label}|{}]", in_link(&address)),
                None => label,
            }
        }
    }
}

/// Emphasis holds only where it touches the text.
fn around(mark: char, text: &str) -> String {
    let text = one_line(text);
    let inner = text.trim();
    if inner.is_empty() {
        return text;
    }
    let lead = &text[..text.len() - text.trim_start().len()];
    let trail = &text[text.trim_end().len()..];
    format!("{lead}{mark}{}{mark}{trail}", escape(inner))
}

/// Text such that Jira shows it as it is. A backslash becomes an entity, since two of them would break the line;
/// what would pass for an entity or a bare address is broken up.
fn escape(text: &str) -> String {
    let text = one_line(text);
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push_str("&#92;"),
            '&' if chars
                .peek()
                .is_some_and(|next| *next == '#' || next.is_ascii_alphabetic()) =>
            {
                out.push_str("&amp;");
            }
            ':' if chars.peek() == Some(&'/') => out.push_str("&#58;"),
            c if MARKUP.contains(&c) => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Markup that counts only where a line starts, and a slash there, are written as entities.
fn guarded(line: &str) -> String {
    let mut chars = line.chars();
    let first = chars.next();
    let rest = chars.as_str();
    let starts_block = match first {
        Some('#' | '/') => true,
        Some('h') => rest.starts_with(|c: char| c.is_ascii_digit()) && rest[1..].starts_with('.'),
        Some('b') => rest.starts_with("q."),
        _ => false,
    };
    match first {
        Some(c) if starts_block => format!("&#{};{rest}", u32::from(c)),
        _ => line.to_owned(),
    }
}

/// Within `{noformat}` nothing is markup but its own end.
fn verbatim(text: &str) -> String {
    let text = several_lines(text);
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| {
            let broken = break_macro(line);
            if broken.trim_start().starts_with('/') {
                format!("{WORD_JOINER}{broken}")
            } else {
                broken
            }
        })
        .collect();
    lines.join("\n")
}

fn break_macro(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut out = String::with_capacity(line.len());
    for (at, c) in line.char_indices() {
        out.push(c);
        if c == '{' && lower[at + 1..].trim_start().starts_with("noformat") {
            out.push(ZERO_WIDTH_SPACE);
        }
    }
    out
}

/// An address such that it cannot end its link.
fn in_link(address: &str) -> String {
    address
        .chars()
        .map(|c| match c {
            '|' | '[' | ']' | '{' | '}' | '\\' | '^' | '!' | '*' => format!("%{:02X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

/// The lines of top-level paragraphs. Code, quotes, panels, tables, lists and headings are left out, with the lines
/// that continue them: nothing in them is a command. A block that is never closed hides the rest.
pub fn lines(text: &str) -> Vec<String> {
    let mut open: Vec<&'static str> = Vec::new();
    let mut inside_block = false;
    let mut lines = Vec::new();
    for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
        let starts_open = !open.is_empty();
        follow_macros(line, &mut open);
        let trimmed = line.trim();
        if trimmed.is_empty() {
            inside_block = false;
        } else if !starts_open {
            inside_block |= begins_block(trimmed);
            if !inside_block && !is_heading(trimmed) && !trimmed.starts_with('{') {
                lines.push(unescaped(line));
            }
        }
    }
    lines
}

/// Lists, tables and `bq.` take the following lines in, up to a blank one.
fn begins_block(trimmed: &str) -> bool {
    let after_markers = trimmed.trim_start_matches(['*', '#', '-']);
    let is_list = after_markers.len() < trimmed.len() && after_markers.starts_with(char::is_whitespace);
    is_list || trimmed.starts_with('|') || trimmed.starts_with("bq.")
}

fn is_heading(trimmed: &str) -> bool {
    let mut chars = trimmed.chars();
    chars.next() == Some('h') && chars.next().is_some_and(|c| c.is_ascii_digit()) && chars.next() == Some('.')
}

/// Opens and closes paired macros as they occur on the line. Looks at each brace once, also where none is ever closed.
fn follow_macros(line: &str, open: &mut Vec<&'static str>) {
    let mut escaped = false;
    // The next closing brace.
    let mut close = line.find('}');
    for (at, c) in line.char_indices() {
        let was_escaped = escaped;
        escaped = c == '\\' && !was_escaped;
        if close.is_some_and(|end| end < at) {
            close = line[at..].find('}').map(|end| at + end);
        }
        let Some(end) = close else { return };
        let raw = open.last().is_some_and(|name| RAW.contains(name));
        if c != '{' || (was_escaped && !raw) {
            continue;
        }
        // `{{code}}` is the word in monospace, no macro.
        let monospace = line[..at].ends_with('{') && line[end + 1..].starts_with('}');
        if monospace && !raw {
            continue;
        }
        let Some(name) = macro_name(&line[at + 1..end]) else {
            continue;
        };
        match open.iter().rposition(|other| *other == name) {
            Some(at) if !raw || at + 1 == open.len() => open.truncate(at),
            None if !raw => open.push(name),
            _ => {}
        }
    }
}

/// The name of a hiding macro that stands in braces, with or without parameters.
fn macro_name(tag: &str) -> Option<&'static str> {
    // No name is longer, and a tag may be as long as the line.
    let head = &tag[..tag.floor_char_boundary(MACRO_NAME_MAX)];
    let name = match head.split_once(':') {
        Some((name, _)) => name,
        None if head.len() == tag.len() => head,
        None => return None,
    };
    HIDING
        .iter()
        .find(|hiding| name.trim().eq_ignore_ascii_case(hiding))
        .copied()
}

/// The line without the backslashes that only protect characters. What stands first stays as it is: a protected
/// slash was not meant as a command.
fn unescaped(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    out.extend(chars.next());
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek().is_some_and(|next| MARKUP.contains(next)) {
            out.extend(chars.next());
        } else {
            out.push(c);
        }
    }
    out
}
