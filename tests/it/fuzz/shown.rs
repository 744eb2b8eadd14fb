//! Whatever outside text stands in a document, GitHub shows the document's own shape: the same headings, lists, strong
//! words, code and links as if every text in it were the letter `x`.

use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::json;
use stepherd::adapters::github::render;
use stepherd::domain::doc::{Block, Doc, Span};
use stepherd::domain::ids::Percent;
use stepherd::domain::template::Template;

/// Letters, symbols and marks that rules about words, punctuation and space treat in ways of their own.
const RARE: &[&str] = &[
    "Ⓐ",
    "ⓩ",
    "🅰",
    "ª",
    "²",
    "½",
    "〇",
    "٠",
    "𝟘",
    "ᛮ",
    "Ⅷ",
    "ａ",
    "ß",
    "İ",
    "가",
    "漢",
    "\u{300}",
    "\u{0e31}",
    "\u{fe0f}",
    "\u{200d}",
    "\u{ad}",
    "\u{115f}",
    "\u{3164}",
    "\u{feff}",
    "\u{180e}",
    "🇦",
    "€",
    "$",
    "©",
    "™",
    "№",
    "‰",
    "«",
    "„",
    "–",
    "—",
    "…",
    "·",
    "、",
    "。",
    "！",
    "／",
    "＠",
    "＃",
    "\u{200b}",
    "\u{a0}",
    "\u{3000}",
    "\u{2028}",
    "\u{85}",
    "\u{2003}",
    "\u{1680}",
    "🐑",
    "\u{2060}",
    "\u{202e}",
    "\u{0}",
    "\u{fffd}",
    "ﷺ",
    "\u{10ffff}",
];

/// What has a meaning in Markdown as GitHub reads it.
const MARKS: &[&str] = &[
    "*",
    "**",
    "_",
    "__",
    "~~",
    "`",
    "``",
    "```",
    "#",
    "# ",
    "> ",
    "- ",
    "+ ",
    "1. ",
    "|",
    "[",
    "](",
    ")",
    "![",
    "<",
    ">",
    "</a>",
    "<b>",
    "<img src=x>",
    "<!--",
    "-->",
    "&lt;",
    "&#64;",
    "\\",
    "@octocat",
    "@acme/sre",
    "#12",
    "GH-12",
    "acme/x#3",
    "https://evil.example",
    "www.evil.example",
    "mailto:a@b.example",
    "/dcr stop",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "    ",
    "$",
    "$$",
    "[x]",
    "[^1]",
    "[^1]: ",
    ":smile:",
    "===",
    "---",
    "***",
    "{",
    "}",
    "^",
    "~",
    "=",
    "!",
    "\"",
    "'",
    ":",
    "://",
    "a",
    "b",
    "1",
    " ",
];

pub fn hostile() -> impl Strategy<Value = String> {
    let bit = prop_oneof![
        3 => prop::sample::select(MARKS).prop_map(str::to_owned),
        2 => prop::sample::select(RARE).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(bit, 1..6).prop_map(|bits| bits.concat())
}

/// Whether anything of it can be seen; a text of nothing but space leaves a document another shape, rightly.
fn visible(text: &str) -> bool {
    text.chars().any(|c| {
        let reorders = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}');
        !(c.is_whitespace() || c.is_control() || c == '\u{2060}' || reorders)
    })
}

fn seen() -> impl Strategy<Value = String> {
    hostile().prop_filter("something to see", |text| visible(text))
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        3 => seen().prop_map(Span::Text),
        3 => seen().prop_map(Span::Strong),
        2 => seen().prop_map(Span::Code),
        1 => (seen(), "[ -~é]{0,12}").prop_map(|(label, rest)| Span::link(label, format!("https://ci.example/{rest}"))),
        1 => (seen(), hostile()).prop_map(|(label, url)| Span::link(label, format!("javascript:{url}"))),
    ]
}

pub fn doc() -> impl Strategy<Value = Doc> {
    let spans = || prop::collection::vec(span(), 1..4);
    let block = prop_oneof![
        1 => spans().prop_map(Block::Heading),
        3 => spans().prop_map(Block::Paragraph),
        1 => (0.0..100.0).prop_map(|percent| Block::Progress(Percent::clamped(percent))),
        1 => prop::collection::vec(spans(), 1..3).prop_map(Block::List),
        1 => prop::collection::vec((seen(), spans()), 1..3).prop_map(Block::Fields),
        1 => seen().prop_map(Block::Verbatim),
    ];
    prop::collection::vec(block, 1..4).prop_map(|blocks| Doc {
        blocks,
        ..Doc::default()
    })
}

/// The same document with `x` for every text.
pub fn harmless(doc: &Doc) -> Doc {
    let x = || "x".to_owned();
    let span = |span: &Span| match span {
        Span::Text(_) => Span::Text(x()),
        Span::Strong(_) => Span::Strong(x()),
        Span::Code(_) => Span::Code(x()),
        Span::Link { url, .. } => Span::link(x(), url.clone()),
    };
    let spans = |spans: &Vec<Span>| spans.iter().map(span).collect::<Vec<_>>();
    let block = |block: &Block| match block {
        Block::Heading(all) => Block::Heading(spans(all)),
        Block::Paragraph(all) => Block::Paragraph(spans(all)),
        Block::Progress(percent) => Block::Progress(*percent),
        Block::List(items) => Block::List(items.iter().map(spans).collect()),
        Block::Fields(rows) => Block::Fields(rows.iter().map(|(_, all)| (x(), spans(all))).collect()),
        Block::Verbatim(_) => Block::Verbatim(x()),
    };
    Doc {
        blocks: doc.blocks.iter().map(block).collect(),
        ..Doc::default()
    }
}

/// All that GitHub's own extensions of CommonMark are, and more.
fn events(markdown: &str) -> Vec<Event<'_>> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH
        | Options::ENABLE_GFM;
    Parser::new_ext(markdown, options).collect()
}

/// The shape of what is shown: everything but the words.
fn shape(markdown: &str) -> Vec<String> {
    let mut shape: Vec<String> = Vec::new();
    for event in events(markdown) {
        let part = match event {
            // Space and invisible joiners between two spans are nobody's words.
            Event::Text(text) if text.chars().all(|c| c.is_whitespace() || c == '\u{2060}') => continue,
            Event::Text(_) => "text".to_owned(),
            Event::Code(_) => "code".to_owned(),
            other => format!("{other:?}"),
        };
        // How many pieces a text comes in says nothing.
        if part != "text" || shape.last().is_none_or(|last| last != "text") {
            shape.push(part);
        }
    }
    shape
}

/// What GitHub would make a mention, a reference or a link of in text that is rendered already. Code and what is
/// within a link is left alone by it.
fn reference(markdown: &str) -> Option<String> {
    let mut rendered = String::new();
    let mut links = 0;
    for event in events(markdown) {
        match event {
            Event::Start(Tag::Link { .. } | Tag::CodeBlock(_)) => links += 1,
            Event::End(TagEnd::Link | TagEnd::CodeBlock) => {
                links -= 1;
                rendered.push(' ');
            }
            Event::Text(text) if links == 0 => rendered.push_str(&text),
            Event::Code(_) => rendered.push(' '),
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::Item) => rendered.push('\n'),
            _ => {}
        }
    }
    let lower = rendered.to_lowercase();
    let after = |sign: &str| {
        let mut rests = lower.split(sign).skip(1);
        rests.any(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let found = ["@", "#", "gh-", "://", "www."].into_iter().find(|sign| match *sign {
        "://" | "www." => lower.contains(*sign),
        sign => after(sign),
    });
    found.map(|sign| format!("{sign} in {rendered:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn outside_text_makes_no_element_link_mention_or_command(doc in doc()) {
        let (markdown, expected) = (render(&doc), render(&harmless(&doc)));
        prop_assert_eq!(shape(&markdown), shape(&expected), "{:?}", markdown);
        prop_assert_eq!(reference(&markdown), None, "{:?}", markdown);
        prop_assert!(markdown.lines().all(|line| !line.starts_with('/')), "{:?}", markdown);
    }

    #[test]
    fn strong_words_side_by_side_stay_strong_whatever_their_letters(
        words in prop::collection::vec((0..3_u8, prop::sample::select(RARE), prop::sample::select(RARE)), 2..6),
    ) {
        let spans = words.iter().map(|(kind, first, last)| {
            let text = format!("{first}x{last}");
            match kind {
                0 => Span::Text(text),
                1 => Span::Code(text),
                _ => Span::Strong(text),
            }
        });
        let doc = Doc::paragraph(spans.collect());
        let markdown = render(&doc);
        prop_assert_eq!(shape(&markdown), shape(&render(&harmless(&doc))), "{:?}", markdown);
    }

    #[test]
    fn what_templates_for_markdown_are_given_stays_text(title in hostile(), reason in hostile()) {
        let template = Template::new("# About {{ title }}\n\nIt says {{ reason }} *here*.\n\n- {{ title }}{{ reason }}");
        let shown = |title: &str, reason: &str| template.render_markdown(&json!({ "title": title, "reason": reason })).unwrap();
        let markdown = shown(&title, &reason);
        if visible(&title) && visible(&reason) {
            prop_assert_eq!(shape(&markdown), shape(&shown("x", "x")), "{:?}", markdown);
        }
        prop_assert_eq!(reference(&markdown), None, "{:?}", markdown);
        prop_assert!(markdown.lines().all(|line| !line.starts_with('/')), "{:?}", markdown);
    }
}
