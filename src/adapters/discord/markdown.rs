//! A neutral `Doc` as a Discord message: one embed and rows of buttons, within Discord's limits.
//!
//! All text is escaped here and nowhere else. Discord's Markdown lets a backslash disarm any punctuation, so text of
//! outside origin can become neither formatting nor a mention, an emoji, a link or a heading. Limits are those of
//! Discord's "Message" and "Message components" reference; lengths are counted in UTF-16 units, which is never less
//! than what Discord counts.

use serenity::builder::{CreateActionRow, CreateButton, CreateEmbed, CreateEmbedFooter};
use serenity::model::application::ButtonStyle;
use url::Url;

use super::custom_id;
use crate::domain::doc::{Block, Button, Doc, Span, Tone};
use crate::domain::ids::Percent;

const TITLE_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 4096;
const FIELDS_MAX: usize = 25;
const FIELD_NAME_MAX: usize = 256;
const FIELD_VALUE_MAX: usize = 1024;
const FOOTER_MAX: usize = 100;
const TOTAL_MAX: usize = 6000;
/// What the fields may take together, so that title, description and footer always have their full share.
const FIELDS_ROOM: usize = TOTAL_MAX - TITLE_MAX - DESCRIPTION_MAX - FOOTER_MAX;
/// What one verbatim block may take, so that what follows it still shows.
const VERBATIM_MAX: usize = 1200;
const LINE_MAX: usize = 1500;
const URL_MAX: usize = 512;
const LABEL_MAX: usize = 80;
const BUTTONS_PER_ROW: usize = 5;
const BUTTONS_MAX: usize = 25;
const BAR_CELLS: u32 = 10;
/// Stands where Discord wants text and there is none.
const BLANK: &str = "\u{200b}";

/// A message in Discord's form.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The one embed.
    pub embed: CreateEmbed,
    /// Rows of buttons; empty if there are none.
    pub rows: Vec<CreateActionRow>,
}

/// The message that shows this. `footer` is plain text under it, cut to 100 characters.
pub fn render(doc: &Doc, footer: Option<&str>) -> Rendered {
    let (title, rest) = match doc.blocks.split_first() {
        Some((Block::Heading(spans), rest)) => (inline(spans, TITLE_MAX), rest),
        _ => (String::new(), doc.blocks.as_slice()),
    };
    let mut embed = CreateEmbed::new().colour(colour(doc.tone));
    if !title.trim().is_empty() {
        embed = embed.title(title);
    }
    let fields = fields(rest);
    let description = description(rest);
    if !description.is_empty() || fields.is_empty() {
        embed = embed.description(if description.is_empty() {
            BLANK.to_owned()
        } else {
            description
        });
    }
    embed = embed.fields(fields.into_iter().map(|(name, value)| (name, value, true)));
    if let Some(footer) = footer {
        embed = embed.footer(CreateEmbedFooter::new(plain(footer, FOOTER_MAX)));
    }
    Rendered {
        embed,
        rows: rows(&doc.buttons),
    }
}

/// Text that Discord shows as it is, on one line: punctuation that could mean something is disarmed, controls and
/// marks that turn the reading direction are dropped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut chars = text.chars().filter_map(visible).peekable();
    // A list marker counts only where a line starts, and every text may come to stand there.
    let (mut at_start, mut only_digits) = (true, true);
    while let Some(c) = chars.next() {
        let means_something = match c {
            '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '>' | '#' | '@' | '[' | ']' => true,
            // `:name:` is an emoji and `://` a link; a colon before a space is neither.
            ':' => chars.peek() != Some(&' '),
            '-' | '+' => at_start,
            '.' | ')' => only_digits,
            _ => false,
        };
        if means_something {
            out.push('\\');
        }
        out.push(c);
        if c != ' ' {
            at_start = false;
        }
        only_digits &= c.is_ascii_digit() || (at_start && c == ' ');
    }
    out
}

/// Text without markup, for places that Discord shows verbatim, cut to so many UTF-16 units.
pub(super) fn plain(text: &str, max: usize) -> String {
    let clean: String = text.chars().filter_map(visible).collect();
    shorten(clean.trim(), max, str::to_owned)
}

fn visible(c: char) -> Option<char> {
    match c {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => None,
        c if c.is_whitespace() => Some(' '),
        c if c.is_control() => None,
        c => Some(c),
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The longest beginning of `raw`, with `…` where it was cut, that is no longer than `max` after `dress`.
fn shorten(raw: &str, max: usize, dress: impl Fn(&str) -> String) -> String {
    let whole = dress(raw);
    if units(&whole) <= max {
        return whole;
    }
    let ends: Vec<usize> = raw.char_indices().map(|(at, _)| at).collect();
    let cut = |chars: usize| dress(&format!("{}…", &raw[..ends.get(chars).copied().unwrap_or(raw.len())]));
    let fitting = ends.partition_point(|&end| units(&dress(&format!("{}…", &raw[..end]))) <= max);
    match fitting {
        0 => String::new(),
        n => cut(n - 1),
    }
}

fn inline(spans: &[Span], max: usize) -> String {
    let mut out = String::new();
    for span in spans {
        // Two marks of the same kind in a row would be read as one.
        let glue = if matches!(span, Span::Strong(_) | Span::Code(_)) && out.ends_with(['*', '`']) {
            BLANK
        } else {
            ""
        };
        let room = max.saturating_sub(units(&out) + units(glue));
        let whole = markup(span, span_text(span));
        if units(&whole) <= room {
            if !whole.is_empty() {
                out.push_str(glue);
                out.push_str(&whole);
            }
            continue;
        }
        let part = shorten(span_text(span), room, |text| markup(span, text));
        // A link whose address alone does not fit still has its label.
        let part = match span {
            Span::Link { label, .. } if part.is_empty() => shorten(label, room, escape),
            _ => part,
        };
        if !part.is_empty() {
            out.push_str(glue);
            out.push_str(&part);
        }
        break;
    }
    out
}

fn span_text(span: &Span) -> &str {
    match span {
        Span::Text(text) | Span::Strong(text) | Span::Code(text) => text,
        Span::Link { label, .. } => label,
    }
}

/// The span's markup around `text`.
fn markup(span: &Span, text: &str) -> String {
    let escaped = escape(text);
    if escaped.trim().is_empty() {
        return escaped;
    }
    match span {
        Span::Text(_) => escaped,
        Span::Strong(_) => format!("**{escaped}**"),
        Span::Code(_) => {
            // Nothing but a backtick ends a code span; a look-alike keeps it whole.
            let code: String = text
                .chars()
                .filter_map(visible)
                .map(|c| if c == '`' { 'ˋ' } else { c })
                .collect();
            format!("`{code}`")
        }
        Span::Link { url, .. } => match safe_url(url) {
            Some(url) => format!("[{escaped}]({url})"),
            None => escaped,
        },
    }
}

/// The address with everything encoded that could end the link; `None` unless it is http or https.
fn safe_url(url: &str) -> Option<String> {
    let parsed = Url::parse(url)
        .ok()
        .filter(|u| matches!(u.scheme(), "http" | "https"))?;
    let mut safe = String::new();
    for c in parsed.as_str().chars() {
        match c {
            '(' | ')' | '<' | '>' | '\\' | '"' | '`' | '*' | '|' | '[' | ']' | ' ' => {
                safe.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c => safe.push(c),
        }
    }
    (units(&safe) <= URL_MAX).then_some(safe)
}

fn description(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        let room = DESCRIPTION_MAX.saturating_sub(units(&out) + 1);
        let text = block_text(block, room);
        if text.trim().is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&text);
    }
    out
}

fn block_text(block: &Block, room: usize) -> String {
    let line = |prefix: &str, spans: &[Span], room: usize| {
        let text = inline(spans, LINE_MAX.min(room.saturating_sub(units(prefix))));
        if text.trim().is_empty() {
            String::new()
        } else {
            format!("{prefix}{text}")
        }
    };
    match block {
        Block::Heading(spans) => line("### ", spans, room),
        Block::Paragraph(spans) => line("", spans, room),
        Block::Progress(percent) => Some(bar(*percent)).filter(|b| units(b) <= room).unwrap_or_default(),
        Block::List(items) => {
            let mut out = String::new();
            for item in items {
                let text = line("- ", item, room.saturating_sub(units(&out) + 1));
                if text.is_empty() {
                    continue;
                }
                if !out.is_empty() {
                    out.push('\n');
                }
                out.push_str(&text);
            }
            out
        }
        Block::Verbatim(text) if text.trim().is_empty() => String::new(),
        Block::Verbatim(text) => shorten(text.trim_end(), VERBATIM_MAX.min(room), fenced),
        Block::Fields(_) => String::new(),
    }
}

fn fenced(text: &str) -> String {
    let mut body = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        // No two backticks in a row, hence nothing that could end the block.
        if c == '`' && body.ends_with('`') {
            body.push_str(BLANK);
        }
        match c {
            '\n' => body.push('\n'),
            '\r' => {}
            c => body.extend(visible(c)),
        }
    }
    format!("```\n{body}\n```")
}

fn bar(percent: Percent) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage is within 0 to 100"
    )]
    let full = (percent.as_f64() / 100.0 * f64::from(BAR_CELLS)).floor() as u32;
    let cells: String = (0..BAR_CELLS).map(|i| if i < full { '▰' } else { '▱' }).collect();
    format!("{cells} {percent}")
}

fn fields(blocks: &[Block]) -> Vec<(String, String)> {
    let mut room = FIELDS_ROOM;
    let mut out = Vec::new();
    let rows = blocks.iter().filter_map(|block| match block {
        Block::Fields(rows) => Some(rows),
        _ => None,
    });
    for (label, value) in rows.flatten().take(FIELDS_MAX) {
        let or_blank = |text: String| if text.trim().is_empty() { BLANK.to_owned() } else { text };
        let name = or_blank(shorten(label, FIELD_NAME_MAX, escape));
        let Some(left) = room.checked_sub(units(&name)).filter(|&left| left > 0) else {
            break;
        };
        let value = or_blank(inline(value, FIELD_VALUE_MAX.min(left)));
        room = left - units(&value).min(left);
        out.push((name, value));
    }
    out
}

fn colour(tone: Tone) -> u32 {
    match tone {
        Tone::Neutral => 0x0095_A5A6,
        Tone::Busy => 0x0034_98DB,
        Tone::Good => 0x002E_CC71,
        Tone::Bad => 0x00E7_4C3C,
    }
}

fn rows(buttons: &[Button]) -> Vec<CreateActionRow> {
    let mut ids: Vec<String> = Vec::new();
    let mut built = Vec::new();
    for button in buttons {
        // Discord refuses a message in which two buttons have the same id.
        let Some(id) = custom_id::encode(button).filter(|id| !ids.contains(id)) else {
            continue;
        };
        let label = Some(plain(&button.label, LABEL_MAX)).filter(|label| !label.is_empty());
        let style = if built.is_empty() {
            ButtonStyle::Primary
        } else {
            ButtonStyle::Secondary
        };
        let label = label.unwrap_or_else(|| plain(&button.verb, LABEL_MAX));
        built.push(CreateButton::new(id.clone()).label(label).style(style));
        ids.push(id);
    }
    built.truncate(BUTTONS_MAX);
    built
        .chunks(BUTTONS_PER_ROW)
        .map(|row| CreateActionRow::Buttons(row.to_vec()))
        .collect()
}
