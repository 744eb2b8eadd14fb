//! Where lines of top-level paragraphs start in CommonMark, with the extensions that forges render. Knows nothing
//! of commands.

use std::collections::BTreeMap;
use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Elements that have no content and no end tag, also the obsolete ones (HTML Standard, "Void elements" and "Parsing").
const VOID: [&str; 19] = [
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "image", "img", "input", "keygen",
    "link", "meta", "param", "source", "track", "wbr",
];

/// The source of each line of a top-level paragraph that starts with a slash: not with markup that only leads to
/// one, and not inside emphasis, links, code or HTML begun before.
pub(super) fn line_starts(source: &str) -> Vec<&str> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_GFM;
    let mut walk = Walk {
        source,
        ..Walk::default()
    };
    for (event, range) in Parser::new_ext(source, options).into_offset_iter() {
        walk.step(&event, &range);
    }
    walk.lines
}

#[derive(Default)]
struct Walk<'a> {
    source: &'a str,
    /// How many blocks are open: 1 within a top-level paragraph.
    blocks: usize,
    in_paragraph: bool,
    /// How many spans (emphasis, links) are open within the paragraph.
    spans: usize,
    /// Whether the next event starts a line.
    at_start: bool,
    enclosed: Enclosed,
    lines: Vec<&'a str>,
}

impl Walk<'_> {
    fn step(&mut self, event: &Event<'_>, range: &Range<usize>) {
        match event {
            Event::Start(_) if self.in_paragraph => {
                self.spans += 1;
                self.at_start = false;
            }
            Event::Start(tag) => {
                if self.blocks == 0 && matches!(tag, Tag::HtmlBlock) {
                    self.enclosed.read(&self.source[range.clone()]);
                }
                self.blocks += 1;
                self.in_paragraph = self.blocks == 1 && matches!(tag, Tag::Paragraph);
                self.at_start = self.in_paragraph;
            }
            Event::End(TagEnd::Paragraph) if self.in_paragraph => {
                self.in_paragraph = false;
                self.spans = 0;
                self.blocks = 0;
            }
            Event::End(_) if self.in_paragraph => self.spans = self.spans.saturating_sub(1),
            Event::End(_) => self.blocks = self.blocks.saturating_sub(1),
            Event::SoftBreak | Event::HardBreak => self.at_start = self.in_paragraph && self.spans == 0,
            Event::InlineHtml(html) if self.in_paragraph => {
                self.enclosed.read(html);
                self.at_start = false;
            }
            Event::Text(_) if self.at_start => {
                self.at_start = false;
                self.line(range.start);
            }
            _ => self.at_start = false,
        }
    }

    fn line(&mut self, start: usize) {
        let before = &self.source[..start];
        let line_start = before.rfind(['\n', '\r']).map_or(0, |newline| newline + 1);
        let line = self.source[start..].lines().next().unwrap_or_default();
        let line = line.split('\r').next().unwrap_or_default().trim();
        // A backslash at the end of a line breaks it and is not part of it.
        let line = line.strip_suffix('\\').unwrap_or(line);
        // Only whitespace before it: a backslash, for one, is not part of the text it leads to.
        if line.starts_with('/') && before[line_start..].trim().is_empty() && !self.enclosed.any() {
            self.lines.push(line);
        }
    }
}

/// Which HTML elements are open: whatever they are, they may quote, hide, strike out or list what stands in them, also
/// across blank lines. One that is never closed encloses the rest of the text.
#[derive(Default)]
struct Enclosed {
    open: BTreeMap<String, usize>,
}

impl Enclosed {
    fn any(&self) -> bool {
        !self.open.is_empty()
    }

    fn read(&mut self, html: &str) {
        let mut left = html;
        while let Some(at) = left.find('<') {
            let rest = &left[at + 1..];
            if let Some(comment) = rest.strip_prefix("!--") {
                // Unclosed, it ends with its block.
                left = comment.split_once("-->").map_or("", |(_, after)| after);
                continue;
            }
            let (closing, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
            left = rest;
            if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
                let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>'));
                let (name, attributes) = rest.split_at(end.unwrap_or(rest.len()));
                self.tag(name.to_ascii_lowercase(), closing);
                left = after_tag(attributes);
            }
        }
    }

    fn tag(&mut self, name: String, closing: bool) {
        if VOID.contains(&name.as_str()) {
            return;
        }
        if !closing {
            *self.open.entry(name).or_default() += 1;
        } else if let Some(count) = self.open.get_mut(&name) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&name);
            }
        }
    }
}

/// What follows a tag whose attributes start here. A `>` in a quoted value does not end it.
fn after_tag(attributes: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in attributes.char_indices() {
        match quote {
            Some(mark) if c == mark => quote = None,
            Some(_) => {}
            None if c == '>' => return &attributes[at + 1..],
            None if matches!(c, '"' | '\'') && before == '=' => quote = Some(c),
            None => {}
        }
        if !c.is_ascii_whitespace() {
            before = c;
        }
    }
    ""
}
