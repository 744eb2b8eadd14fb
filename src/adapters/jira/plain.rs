//! What both notations need before any markup: clean text, safe addresses, a bar, and a document short enough.

use url::Url;

use crate::domain::doc::{Block, Doc, Span};
use crate::domain::ids::Percent;

/// Jira's own limit for a comment, in characters. Both notations are measured with their markup, which is never less
/// than how Jira counts.
pub(super) const COMMENT_CHARS_MAX: usize = 32_767;

/// Texts shorter than this are not shortened further; whole blocks go instead.
const PIECE_CHARS_MIN: usize = 500;
/// Up to here blocks go one by one, so that no more is lost than must be.
const BLOCKS_FEW: usize = 20;
const CUT: &str = "… (cut)";
const CUT_BLOCKS: &str = "… (the rest is cut: a comment in Jira holds no more)";
const BAR_CELLS: u32 = 20;

/// Text as one line: line breaks and other control characters become spaces, what reorders text is left out.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .filter(|c| !reorders(*c))
        .map(|c| if c.is_control() || is_line_separator(c) { ' ' } else { c })
        .collect()
}

/// Text as lines parted by `\n`; control characters other than tabs, and what reorders
/// text, are left out.
pub(super) fn several_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| if c == '\r' || is_line_separator(c) { '\n' } else { c })
        .filter(|c| matches!(c, '\n' | '\t') || !(c.is_control() || reorders(*c)))
        .collect()
}

/// Bidirectional marks, overrides and isolates, which can make text read as something else than it is.
fn reorders(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
}

fn is_line_separator(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The address, normalised, if it is one that may be linked to.
pub(super) fn web_address(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.to_string())
}

/// A bar with its figure.
pub(super) fn bar(percent: Percent) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage of twenty cells"
    )]
    let full = (percent.as_f64() / 100.0 * f64::from(BAR_CELLS)).floor() as u32;
    let cells: String = (0..BAR_CELLS).map(|cell| if cell < full { '█' } else { '░' }).collect();
    format!("{cells} {percent}")
}

/// The document, visibly cut so that it measures no more than a comment may.
pub(super) fn fitting(doc: &Doc, measure: impl Fn(&Doc) -> usize) -> Doc {
    let mut doc = doc.clone();
    while measure(&doc) > COMMENT_CHARS_MAX {
        let longest = pieces(&mut doc).into_iter().max_by_key(|piece| piece.chars().count());
        match longest.filter(|piece| piece.chars().count() > PIECE_CHARS_MIN) {
            Some(piece) => halve(piece),
            None => drop_blocks(&mut doc),
        }
    }
    doc
}

fn halve(piece: &mut String) {
    let keep = piece.chars().count() / 2;
    *piece = piece.trim_end_matches(CUT).chars().take(keep).collect();
    piece.push_str(CUT);
}

fn drop_blocks(doc: &mut Doc) {
    let notice = Block::Paragraph(vec![Span::text(CUT_BLOCKS)]);
    if doc.blocks.last() == Some(&notice) {
        doc.blocks.pop();
    }
    // Halving keeps the number of tries small, whatever the size.
    match doc.blocks.last_mut() {
        Some(Block::List(items)) if items.len() > 1 => items.truncate(items.len() / 2),
        Some(Block::Fields(rows)) if rows.len() > 1 => rows.truncate(rows.len() / 2),
        Some(Block::Paragraph(spans) | Block::Heading(spans)) if spans.len() > 1 => spans.truncate(spans.len() / 2),
        _ => {
            let kept = doc.blocks.len();
            doc.blocks.truncate(if kept > BLOCKS_FEW {
                kept / 2
            } else {
                kept.saturating_sub(1)
            });
        }
    }
    doc.blocks.push(notice);
}

fn pieces(doc: &mut Doc) -> Vec<&mut String> {
    let mut found = Vec::new();
    for block in &mut doc.blocks {
        match block {
            Block::Heading(spans) | Block::Paragraph(spans) => found.extend(spans.iter_mut().map(text_of)),
            Block::List(items) => found.extend(items.iter_mut().flatten().map(text_of)),
            Block::Fields(rows) => {
                for (label, spans) in rows {
                    found.push(label);
                    found.extend(spans.iter_mut().map(text_of));
                }
            }
            Block::Verbatim(text) => found.push(text),
            Block::Progress(_) => {}
        }
    }
    found
}

fn text_of(span: &mut Span) -> &mut String {
    match span {
        Span::Text(text) | Span::Strong(text) | Span::Code(text) | Span::Link { label: text, .. } => text,
    }
}
