//! What people read: text without the markup that they do not see.

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use crate::cli::show::visible;

/// Markdown as its reader sees it, in lines of text.
pub(in crate::cli) fn unmarked(markdown: &str) -> String {
    let mut text = String::new();
    for event in Parser::new(markdown) {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            Event::SoftBreak | Event::HardBreak => text.push('\n'),
            Event::Start(Tag::Item) => text.push_str("\n- "),
            Event::Start(Tag::Paragraph | Tag::Heading { .. } | Tag::CodeBlock(_)) if !text.ends_with("- ") => {
                text.push('\n');
            }
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::CodeBlock | TagEnd::List(_)) => text.push('\n'),
            _ => {}
        }
    }
    tidy(&text)
}

/// Without empty lines, invisible characters and what would steer the terminal.
pub(in crate::cli) fn tidy(text: &str) -> String {
    let text = visible(text).replace(['\u{2060}', '\u{200b}'], "");
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\n")
}
