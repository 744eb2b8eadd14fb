//! The same for Jira, in both notations, and for Discord: outside text is text, and nothing else.

use proptest::prelude::*;
use serde_json::Value;
use stepherd::adapters::discord::markdown as discord;
use stepherd::adapters::jira::{adf, wiki};
use stepherd::domain::doc::{Block, Doc, Span};

use super::shown::{doc, harmless, hostile};

/// A document of Jira's without its words.
fn without_words(node: &Value) -> Value {
    let mut node = node.clone();
    if let Some(text) = node.get_mut("text") {
        *text = "x".into();
    }
    if let Some(content) = node.get_mut("content").and_then(Value::as_array_mut) {
        for child in content.iter_mut() {
            *child = without_words(child);
        }
    }
    node
}

fn texts(node: &Value, all: &mut String) {
    all.push_str(node["text"].as_str().unwrap_or_default());
    for child in node["content"].as_array().into_iter().flatten() {
        texts(child, all);
    }
}

/// Marks that turn text around, so that it reads as something else than it is.
fn turns(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
}

/// How many marks of each kind wiki text has that are not escaped: links, code, strong.
fn wiki_marks(text: &str) -> (usize, usize, usize) {
    let (mut links, mut code, mut strong, mut others) = (0, 0, 0, Vec::new());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' => {
                // Its address is our own: it ends with the bracket and holds nothing that could.
                links += 1;
                link(&mut chars);
            }
            '{' if chars.peek() == Some(&'{') => {
                chars.next();
                code += 1;
            }
            '}' if chars.peek() == Some(&'}') => {
                chars.next();
            }
            '*' => strong += 1,
            '{' | '}' | ']' | '_' | '-' | '+' | '^' | '~' | '?' | '!' | '|' => others.push(c),
            _ => {}
        }
    }
    assert!(others.is_empty(), "{others:?} in {text:?}");
    assert_eq!(strong % 2, 0, "{text:?}");
    (links, code, strong / 2)
}

/// Reads a link to its end.
fn link(chars: &mut impl Iterator<Item = char>) {
    let mut label = String::new();
    let mut in_label = true;
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_label => label.extend(chars.next()),
            '|' if in_label => in_label = false,
            ']' => return,
            '[' | '|' => panic!("{c} in a link after {label:?}"),
            c if in_label => label.push(c),
            _ => {}
        }
    }
    panic!("a link that does not end: {label:?}")
}

/// How many links, pieces of code and strong texts Discord would find in one line of an embed. Fails on anything else
/// that has a meaning there.
fn discord_marks(text: &str) -> (usize, usize, usize) {
    let (mut links, mut code, mut strong) = (0, 0, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => assert!(chars.next().is_some_and(|c| c.is_ascii_punctuation()), "{text:?}"),
            '`' => {
                code += 1;
                assert!(chars.by_ref().any(|c| c == '`'), "code that does not end: {text:?}");
            }
            '*' => {
                assert_eq!(chars.next(), Some('*'), "{text:?}");
                strong += 1;
            }
            '[' => links += 1,
            ']' => {
                assert_eq!(chars.next(), Some('('), "{text:?}");
                let address: String = chars.by_ref().take_while(|c| *c != ')').collect();
                assert!(address.starts_with("https://ci.example/"), "{text:?}");
            }
            '_' | '~' | '|' | '<' | '>' | '#' | '@' => panic!("{c} is bare in {text:?}"),
            c => assert!(!turns(c) && !c.is_control(), "{c:?} in {text:?}"),
        }
    }
    assert_eq!(strong % 2, 0, "{text:?}");
    (links, code, strong / 2)
}

/// How many links, pieces of code and strong texts a line has by right.
fn own_marks(spans: &[Span]) -> (usize, usize, usize) {
    let count = |is: fn(&Span) -> bool| spans.iter().filter(|span| is(span)).count();
    (
        count(|span| matches!(span, Span::Link { url, .. } if url.starts_with("https://"))),
        count(|span| matches!(span, Span::Code(_))),
        count(|span| matches!(span, Span::Strong(_))),
    )
}

fn lines(doc: &Doc) -> Vec<&Vec<Span>> {
    let blocks = doc.blocks.iter();
    let spans = blocks.filter_map(|block| match block {
        Block::Paragraph(spans) | Block::Heading(spans) => Some(spans),
        _ => None,
    });
    spans.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn outside_text_becomes_text_nodes_of_jira_and_nothing_else(doc in doc()) {
        let (document, expected) = (adf::render(&doc), adf::render(&harmless(&doc)));
        prop_assert_eq!(without_words(&document), without_words(&expected));
        let mut all = String::new();
        texts(&document, &mut all);
        prop_assert!(!all.contains(turns) && !all.contains('\0'), "{:?}", all);
        prop_assert!(adf::lines(&document).iter().all(|line| !line.trim_start().starts_with('/')));
    }

    #[test]
    fn outside_text_marks_up_nothing_in_jiras_wiki_text(doc in doc()) {
        for spans in lines(&doc) {
            let text = wiki::render(&Doc::paragraph(spans.clone()));
            prop_assert_eq!(wiki_marks(&text), own_marks(spans), "{:?}", text);
            prop_assert_eq!(text.lines().count(), 1, "{:?}", text);
        }
        let text = wiki::render(&doc);
        prop_assert!(!text.contains(turns), "{:?}", text);
        prop_assert!(wiki::lines(&text).iter().all(|line| !line.trim_start().starts_with('/')), "{:?}", text);
    }

    #[test]
    fn outside_text_marks_up_nothing_on_discord(doc in doc()) {
        for spans in lines(&doc) {
            let shown = discord::render(&Doc::paragraph(spans.clone()), None);
            let embed = serde_json::to_value(shown.embed).unwrap();
            let text = embed["description"].as_str().unwrap();
            prop_assert_eq!(discord_marks(text), own_marks(spans), "{:?}", text);
            prop_assert_eq!(text.lines().count(), 1, "{:?}", text);
        }
    }

    #[test]
    fn verbatim_text_ends_only_where_its_block_does(text in hostile()) {
        let doc = Doc { blocks: vec![Block::Verbatim(text), Block::Paragraph(vec![Span::text("after")])], ..Doc::default() };
        let embed = serde_json::to_value(discord::render(&doc, None).embed).unwrap();
        let description = embed["description"].as_str().unwrap();
        let fences = description.matches("```").count();
        prop_assert!(fences == 2 && description.ends_with("\n```\nafter") || description == "after", "{:?}", description);
        prop_assert!(!description.contains(turns), "{:?}", description);
        let text = wiki::render(&doc);
        let fences = text.to_lowercase().matches("{noformat}").count();
        prop_assert!(fences == 2 && text.ends_with("{noformat}\n\nafter"), "{:?}", text);
    }
}
