//! Docs as GitHub-flavoured Markdown.
//!
//! Everything a doc says is plain text, some of it from outside: here it is written so that GitHub shows it letter
//! for letter. It becomes no markup, HTML, link, mention or cross-reference, and no line starts a command.

use std::fmt::Write as _;

use url::Url;

use crate::domain::doc::{Block, Doc, Span};
use crate::domain::ids::Percent;

/// The most characters GitHub takes in a comment, a pull request's body or a check's summary, less one: one of
/// them counts "less than".
pub(super) const BODY_CHARS_MAX: usize = 65_535;
/// Stands invisibly where two characters must not be read together; neither a space nor punctuation in CommonMark.
const JOINER: char = '\u{2060}';
/// What a number after it makes a reference, besides `#`.
const REFERS: [&str; 3] = ["GH-", "/issues/", "/pull/"];
const BAR_CELLS: usize = 10;
const CUT_NOTE: &str = "… (cut)";

/// The doc as Markdown, without a line break at its end. Buttons are left out: comments have none, and the text
/// names the command.
pub fn render(doc: &Doc) -> String {
    let mut blocks = Vec::new();
    // Two lists in a row would become one; the other bullet keeps them apart.
    let mut bullet = '*';
    for block in &doc.blocks {
        let text = match block {
            Block::Heading(spans) => prefixed("### ", line(spans)),
            Block::Paragraph(spans) => line(spans),
            Block::Progress(percent) => bar(*percent),
            Block::List(items) => {
                bullet = other(bullet);
                list(bullet, items.iter().map(|item| line(item)))
            }
            Block::Fields(fields) => {
                bullet = other(bullet);
                list(bullet, fields.iter().map(|(label, value)| field(label, value)))
            }
            Block::Verbatim(text) => fence(text),
        };
        if !text.is_empty() {
            blocks.push(text);
        }
    }
    blocks.join("\n\n")
}

/// The text cut to this many characters, whole lines where possible, with a fence that was open closed again.
pub(super) fn fit(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    let mut open: Option<&str> = None;
    for line in text.split('\n') {
        let fence = fence_of(line);
        let closes = open.is_some_and(|o| line == o);
        // Room for this line, for closing the fence and for the note.
        let reserve = open.or(fence).map_or(0, str::len) + CUT_NOTE.chars().count() + 4;
        let room = chars_max.saturating_sub(used + reserve);
        let len = line.chars().count();
        if len + 1 > room {
            // Only inside a fence may a line be cut: elsewhere half a code span would set its text free.
            if open.is_some() && !closes {
                out.extend(line.chars().take(room.saturating_sub(1)));
                out.push('\n');
            }
            break;
        }
        out.push_str(line);
        out.push('\n');
        used += len + 1;
        open = if closes { None } else { open.or(fence) };
    }
    if let Some(open) = open {
        out.push_str(open);
        out.push('\n');
    }
    out.push('\n');
    out.push_str(CUT_NOTE);
    out
}

/// One line of plain text: no line breaks, nothing invisible that reorders text.
pub(super) fn plain_line(text: &str) -> String {
    collapse(text).trim().to_owned()
}

/// One line for a title, of a commit or a pull request: it is shown as it is and cannot be marked up, but GitHub reads
/// mentions, references and "fixes #12" in it. An invisible joiner keeps them from being read.
pub(super) fn title_line(text: &str) -> String {
    let line = plain_line(text);
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        let refers = c.is_ascii_digit()
            && REFERS.iter().any(|before| {
                out.len() >= before.len() && out.is_char_boundary(out.len() - before.len()) && {
                    out[out.len() - before.len()..].eq_ignore_ascii_case(before)
                }
            });
        if refers {
            out.push(JOINER);
        }
        out.push(c);
        if matches!(c, '@' | '#') {
            out.push(JOINER);
        }
    }
    out
}

fn fence_of(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('`');
    let len = line.len() - rest.len();
    // Ticks further on make it a code span.
    (len >= 3 && !rest.contains('`')).then(|| &line[..len])
}

fn other(bullet: char) -> char {
    if bullet == '-' { '*' } else { '-' }
}

fn prefixed(prefix: &str, text: String) -> String {
    if text.is_empty() {
        text
    } else {
        format!("{prefix}{text}")
    }
}

fn list(bullet: char, items: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = items
        .filter(|item| !item.is_empty())
        .map(|item| format!("{bullet} {item}"))
        .collect();
    lines.join("\n")
}

fn field(label: &str, value: &[Span]) -> String {
    let mut spans = vec![Span::strong(format!("{}:", label.trim())), Span::text(" ")];
    spans.extend_from_slice(value);
    line(&spans)
}

fn bar(percent: Percent) -> String {
    let filled = (percent.as_f64() / 100.0 * BAR_CELLS as f64).floor() as usize;
    let filled = filled.min(BAR_CELLS);
    format!("`{}{}` {percent}", "▓".repeat(filled), "░".repeat(BAR_CELLS - filled))
}

/// Spans as one line. What leads it is kept from reading as a command.
fn line(spans: &[Span]) -> String {
    let mut out = String::new();
    for span in spans {
        let piece = match span {
            Span::Text(text) => escape(text),
            Span::Strong(text) => strong(text),
            Span::Code(text) => code(text),
            Span::Link { label, url } => link(label, url),
        };
        // Two runs of the same delimiter would be read as one.
        let touching = |c: char| out.ends_with(c) && piece.starts_with(c);
        if touching('`') || touching('*') || joins(&out, &piece) {
            out.push(JOINER);
        }
        out.push_str(&piece);
    }
    let out = out.trim();
    if out.starts_with('/') {
        format!("{JOINER}{out}")
    } else {
        out.to_owned()
    }
}

/// Whether a mention or a reference would come about where two spans meet.
fn joins(before: &str, piece: &str) -> bool {
    let word = piece.starts_with(|c: char| c.is_ascii_alphanumeric());
    word && before.ends_with(['@', '#', '/', '-']) || piece.starts_with("/") && before.ends_with([':', '/'])
}

/// Text that GitHub shows as it is.
fn escape(text: &str) -> String {
    let text = collapse(text);
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    let mut before = String::new();
    while let Some(c) = rest.next() {
        match c {
            // As entities, because `<` and `&` start things even when something stands before them, and a
            // backtick must not lengthen the run of a code span beside it.
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '`' => out.push_str("&#96;"),
            '\\' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '+' | '-' | '.' | '!' | '|' | '~' | '='
            | '$' | '^' | ':' | '"' | '\'' | '@' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
        before.push(c.to_ascii_lowercase());
        // GitHub looks for these in the text it has already rendered, where escapes are gone.
        let breaks = match c {
            '@' | '#' => true,
            ':' => rest.peek() == Some(&'/'),
            '-' => before.ends_with("gh-"),
            'w' | 'W' => before.ends_with("www"),
            _ => false,
        };
        if breaks {
            out.push(JOINER);
        }
    }
    out
}

fn strong(text: &str) -> String {
    let text = collapse(text);
    let inner = text.trim();
    if inner.is_empty() {
        return if text.is_empty() { String::new() } else { " ".to_owned() };
    }
    let lead = if text.starts_with(' ') { " " } else { "" };
    let tail = if text.ends_with(' ') { " " } else { "" };
    // Beside punctuation and symbols `**` would not open or close; the joiner is neither. Some symbols count as
    // letters in Unicode (Ⓐ), none of them down here.
    let edge = |c: Option<char>| {
        if c.is_some_and(|c| c < '\u{2000}' && c.is_alphanumeric()) {
            ""
        } else {
            "\u{2060}"
        }
    };
    let (first, last) = (edge(inner.chars().next()), edge(inner.chars().next_back()));
    format!("{lead}**{first}{}{last}**{tail}", escape(inner))
}

fn code(text: &str) -> String {
    let text = collapse(text);
    if text.is_empty() {
        return text;
    }
    let ticks = "`".repeat(longest_run(&text) + 1);
    let stripped = text.starts_with(' ') && text.ends_with(' ') && !text.trim().is_empty();
    let pad = if stripped || text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

fn link(label: &str, url: &str) -> String {
    let address = Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(address) = address else {
        return escape(label);
    };
    let label = match plain_line(label) {
        label if label.is_empty() => "link".to_owned(),
        label => escape(&label),
    };
    let mut target = String::new();
    for c in address.as_str().chars() {
        match c {
            '<' => target.push_str("%3C"),
            '>' => target.push_str("%3E"),
            '\\' => target.push_str("%5C"),
            '`' => target.push_str("%60"),
            '&' => target.push_str("&amp;"),
            c => target.push(c),
        }
    }
    format!("[{label}](<{target}>)")
}

/// A fenced block. Fenced text cannot be marked up; only its own end and commands at line starts need care.
fn fence(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text: String = text
        .chars()
        .filter(|c| matches!(c, '\n' | '\t') || !(c.is_control() || reorders(*c)))
        .collect();
    let text = text.trim_end();
    if text.trim().is_empty() {
        return String::new();
    }
    let ticks = "`".repeat(longest_run(text).max(2) + 1);
    let mut out = format!("{ticks}text\n");
    for line in text.split('\n') {
        // A space keeps other bots from reading a command and does no harm when the line is copied.
        let lead = if line.starts_with('/') { " " } else { "" };
        let _ = writeln!(out, "{lead}{line}");
    }
    out + &ticks
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Runs of white space and control characters as one space; characters that reorder text left out.
fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !reorders(*c)) {
        if c == ' ' || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Bidirectional overrides and isolates, which can make text read as something else than it is.
fn reorders(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
}
