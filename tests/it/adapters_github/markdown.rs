//! Docs become Markdown that shows their text letter for letter and does nothing else.

use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use stepherd::adapters::github::render;
use stepherd::domain::doc::{Block, Button, Doc, Span};
use stepherd::domain::ids::Percent;

fn paragraph(spans: Vec<Span>) -> String {
    render(&Doc::paragraph(spans))
}

fn text(text: &str) -> String {
    paragraph(vec![Span::text(text)])
}

fn events(markdown: &str) -> Vec<Event<'_>> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH
        | Options::ENABLE_GFM
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    Parser::new_ext(markdown, options).collect()
}

/// What a reader sees, without the invisible joiners.
fn shown(markdown: &str) -> String {
    let shown: String = events(markdown)
        .into_iter()
        .filter_map(|event| match event {
            Event::Text(text) | Event::Code(text) => Some(text.into_string()),
            _ => None,
        })
        .collect();
    shown.replace('\u{2060}', "")
}

/// The same text as the renderer may show it: white space collapsed, what reorders text left out.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\u{2060}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' => {}
            c if c == ' ' || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// Only paragraphs of plain text, strong text and code.
fn is_harmless(markdown: &str) -> Result<(), String> {
    for event in events(markdown) {
        match event {
            Event::Text(_) | Event::Code(_) => {}
            Event::Start(Tag::Paragraph | Tag::Strong) | Event::End(TagEnd::Paragraph | TagEnd::Strong) => {}
            other => return Err(format!("{other:?} in {markdown:?}")),
        }
    }
    Ok(())
}

/// What GitHub makes links and notifications of in text that is already rendered.
fn has_reference(rendered: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let lower = rendered.to_ascii_lowercase();
    let follows = |sign: char| lower.split(sign).skip(1).any(|rest| word(rest.chars().next()));
    let gh = lower.split("gh-").skip(1).any(|rest| word(rest.chars().next()));
    follows('@') || follows('#') || gh || lower.contains("://") || lower.contains("www.")
}

fn rendered_text(markdown: &str) -> String {
    events(markdown)
        .into_iter()
        .filter_map(|event| match event {
            Event::Text(text) => Some(text.into_string()),
            // Code is never searched for references; it separates what stands around it.
            Event::Code(_) => Some(" ".to_owned()),
            _ => None,
        })
        .collect()
}

#[test]
fn blocks_become_markdown() {
    let doc = Doc {
        blocks: vec![
            Block::Heading(vec![Span::text("DCR "), Span::code("URMO7YZ2")]),
            Block::Paragraph(vec![Span::text("Step "), Span::strong("Rebuild"), Span::text(" runs.")]),
            Block::Progress(Percent::clamped(42.0)),
            Block::List(vec![
                vec![Span::text("one")],
                vec![Span::link("two", "https://ci.example/1")],
            ]),
            Block::Fields(vec![("Tenant".to_owned(), vec![Span::code("comcast")])]),
            Block::Verbatim("exit 1\n```\n/dcr retry".to_owned()),
        ],
        buttons: vec![Button {
            label: "Retry".into(),
            command: "dcr".into(),
            verb: "retry".into(),
            args: vec![],
        }],
        ..Doc::default()
    };
    let expected = "### DCR `URMO7YZ2`\n\n\
        Step **Rebuild** runs\\.\n\n\
        `▓▓▓▓░░░░░░` 42 %\n\n\
        - one\n- [two](<https://ci.example/1>)\n\n\
        * **Tenant\\:\u{2060}** `comcast`\n\n\
        ````text\nexit 1\n```\n /dcr retry\n````";
    assert_eq!(render(&doc), expected);
}

#[test]
fn a_bar_is_full_only_when_all_is_done() {
    let bar = |percent: f64| {
        render(&Doc {
            blocks: vec![Block::Progress(Percent::clamped(percent))],
            ..Doc::default()
        })
    };
    assert_eq!(bar(0.0), "`░░░░░░░░░░` 0 %");
    assert_eq!(bar(99.9), "`▓▓▓▓▓▓▓▓▓░` 99.9 %");
    assert_eq!(bar(100.0), "`▓▓▓▓▓▓▓▓▓▓` 100 %");
}

#[test]
fn text_that_looks_like_markup_is_shown_as_it_is() {
    for hostile in [
        "# heading",
        "> quote",
        "- item",
        "1. item",
        "1) item",
        "***",
        "---",
        "===",
        "| a | b |",
        "    code",
        "\tcode",
        "```sh",
        "~~~",
        "`code`",
        "**strong** _em_ ~~gone~~",
        "[link](https://evil.example)",
        "![image](https://evil.example/x.png)",
        "[a]: https://evil.example",
        "[^1]: note",
        "<script>alert(1)</script>",
        "<!-- hidden -->",
        "<https://evil.example>",
        "&lt;b&gt; &copy; &#64;",
        "a\\*b \\",
        "$x^2$ and $$y$$",
        "- [ ] task",
        "@octocat @acme/team a@b.example",
        "#12 acme/deploy#12 GH-12",
        "https://github.com/acme/deploy/issues/1 www.evil.example",
        "line one\n\n/dcr stop",
        "line one\r\n/dcr stop",
    ] {
        let markdown = text(hostile);
        assert_eq!(shown(&markdown), plain(hostile).trim(), "{markdown:?}");
        assert_eq!(is_harmless(&markdown), Ok(()));
        assert!(!has_reference(&rendered_text(&markdown)), "{markdown:?}");
        assert_eq!(markdown.lines().count(), 1, "{markdown:?}");
    }
}

#[test]
fn links_lead_only_to_the_web_and_keep_their_label_otherwise() {
    let link = |url: &str| paragraph(vec![Span::link("see [this]", url)]);
    for url in [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "/relative",
        "",
        "https://",
    ] {
        assert_eq!(shown(&link(url)), "see [this]");
        assert_eq!(is_harmless(&link(url)), Ok(()), "{url}");
    }
    let tricky = link("https://ci.example/a b>(c)?x=1&copy=2#`d`");
    let targets: Vec<String> = events(&tricky)
        .into_iter()
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. }) => Some(dest_url.into_string()),
            _ => None,
        })
        .collect();
    assert_eq!(targets, ["https://ci.example/a%20b%3E(c)?x=1&copy=2#%60d%60"]);
    assert_eq!(shown(&tricky), "see [this]");
}

#[test]
fn no_line_starts_a_command() {
    let doc = Doc {
        blocks: vec![
            Block::Paragraph(vec![Span::text(" /dcr stop")]),
            Block::Paragraph(vec![Span::text(""), Span::text("/dcr"), Span::text(" stop")]),
            Block::Paragraph(vec![Span::link("/dcr stop", "nowhere")]),
            Block::Verbatim("/dcr stop\n/dcr stop".to_owned()),
        ],
        ..Doc::default()
    };
    for line in render(&doc).lines() {
        assert!(!line.starts_with('/'), "{line:?}");
    }
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~\n]{0,40}",
        "[`*_@#/:.<>&\\\\ \\[\\]()!|~$a1-]{0,30}",
        any::<String>().prop_map(|s| s.chars().take(40).collect()),
        "(@|#|gh-|GH-|https?://|www\\.|`|\\*\\*|/)?[a-z0-9]{0,5}",
    ]
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        3 => hostile().prop_map(Span::Text),
        1 => hostile().prop_map(Span::Strong),
        1 => hostile().prop_map(Span::Code),
    ]
}

fn words(span: &Span) -> &str {
    match span {
        Span::Text(text) | Span::Strong(text) | Span::Code(text) => text,
        Span::Link { label, .. } => label,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_shown_letter_for_letter(given in hostile()) {
        let markdown = text(&given);
        let expected = plain(&given);
        prop_assert_eq!(shown(&markdown), expected.trim(), "{:?}", markdown);
        prop_assert_eq!(is_harmless(&markdown), Ok(()));
        prop_assert!(!has_reference(&rendered_text(&markdown)), "{:?}", markdown);
    }

    #[test]
    fn any_row_of_spans_is_shown_letter_for_letter(spans in prop::collection::vec(span(), 0..6)) {
        let markdown = paragraph(spans.clone());
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        let given: String = spans.iter().map(|s| plain(words(s))).collect();
        prop_assert_eq!(squeezed(&shown(&markdown)), squeezed(&given), "{:?}", markdown);
        prop_assert_eq!(is_harmless(&markdown), Ok(()));
        prop_assert!(!has_reference(&rendered_text(&markdown)), "{:?}", markdown);
        prop_assert!(!markdown.starts_with('/'));
    }

    #[test]
    fn verbatim_text_stays_within_its_fence(given in "[ -~`\n/]{0,80}") {
        let doc = Doc { blocks: vec![Block::Verbatim(given.clone()), Block::Paragraph(vec![Span::text("after")])], ..Doc::default() };
        let markdown = render(&doc);
        let mut inside = String::new();
        let mut depth = 0;
        for event in events(&markdown) {
            match event {
                Event::Start(Tag::CodeBlock(_)) => depth += 1,
                Event::End(TagEnd::CodeBlock) => depth -= 1,
                Event::Text(text) if depth == 1 => inside.push_str(&text),
                Event::Text(text) => prop_assert_eq!(&*text, "after"),
                _ => {}
            }
        }
        let unpadded: Vec<&str> = inside.trim_end().split('\n').map(|l| if l.starts_with(" /") { &l[1..] } else { l }).collect();
        let given: Vec<&str> = given.trim_end().split('\n').map(|l| if l.starts_with(" /") { &l[1..] } else { l }).collect();
        if given.iter().any(|l| !l.trim().is_empty()) {
            prop_assert_eq!(unpadded, given);
        }
        prop_assert!(markdown.lines().all(|line| !line.starts_with('/')));
    }
}
