//! What stepherd writes is shown as it is meant, and what people write is a command only where it looks like one.

use proptest::prelude::*;
use serde_json::{Value, json};
use stepherd::adapters::jira::{adf, wiki};
use stepherd::domain::doc::{Block, Doc, Span, Tone};
use stepherd::domain::ids::Percent;

const LIMIT: usize = 32_767;

fn example(tone: Tone) -> Doc {
    Doc {
        blocks: vec![
            Block::Heading(vec![Span::text("DCR "), Span::strong("failed")]),
            Block::Paragraph(vec![
                Span::text("Say "),
                Span::code("/dcr retry"),
                Span::text(" or see "),
                Span::link("the log", "https://ci.example/1"),
            ]),
            Block::Progress(Percent::clamped(42.0)),
            Block::List(vec![vec![Span::text("one")], vec![Span::text("two")]]),
            Block::Fields(vec![("Step".into(), vec![Span::code("Rebuild")])]),
            Block::Verbatim("farmer-3 lost\n/dcr stop".into()),
        ],
        buttons: Vec::new(),
        tone,
    }
}

fn paragraph(text: &str) -> Doc {
    Doc::paragraph(vec![Span::text(text)])
}

#[test]
fn a_card_in_adf() {
    let text = |text: &str| json!({ "type": "text", "text": text });
    let marked = |text: &str, mark: &str| json!({ "type": "text", "text": text, "marks": [{ "type": mark }] });
    let item = |content: Value| json!({ "type": "listItem", "content": [{ "type": "paragraph", "content": content }] });
    assert_eq!(
        adf::render(&example(Tone::Bad)),
        json!({ "type": "doc", "version": 1, "content": [
            { "type": "panel", "attrs": { "panelType": "error" }, "content": [
                { "type": "heading", "attrs": { "level": 3 }, "content": [text("DCR "), marked("failed", "strong")] },
            ]},
            { "type": "paragraph", "content": [
                text("Say "), marked("/dcr retry", "code"), text(" or see "),
                { "type": "text", "text": "the log",
                  "marks": [{ "type": "link", "attrs": { "href": "https://ci.example/1" } }] },
            ]},
            { "type": "paragraph", "content": [text("████████░░░░░░░░░░░░ 42 %")] },
            { "type": "bulletList", "content": [item(json!([text("one")])), item(json!([text("two")]))] },
            { "type": "bulletList", "content": [
                item(json!([marked("Step:", "strong"), text(" "), marked("Rebuild", "code")])),
            ]},
            { "type": "codeBlock", "content": [text("farmer-3 lost\n/dcr stop")] },
        ]})
    );
}

#[test]
fn a_card_in_wiki_text() {
    let expected = "{panel:bgColor=#ffebe6}\nh3. DCR *failed*\n{panel}\n\n\
        Say {{/dcr retry}} or see [the log|https://ci.example/1]\n\n\
        ████████░░░░░░░░░░░░ 42 %\n\n\
        * one\n* two\n\n\
        * *Step:* {{Rebuild}}\n\n\
        {noformat}\nfarmer-3 lost\n\u{2060}/dcr stop\n{noformat}";
    assert_eq!(wiki::render(&example(Tone::Bad)), expected);
}

#[test]
fn tones_colour_the_headline() {
    for (tone, panel) in [(Tone::Busy, "info"), (Tone::Good, "success"), (Tone::Bad, "error")] {
        assert_eq!(adf::render(&example(tone))["content"][0]["attrs"]["panelType"], panel);
    }
    assert_eq!(adf::render(&example(Tone::Neutral))["content"][0]["type"], "heading");
    assert!(wiki::render(&example(Tone::Neutral)).starts_with("h3. "));
}

#[test]
fn only_web_addresses_become_links() {
    for url in [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "mailto:a@b",
        "nonsense",
        "//x",
        "data:text/html,x",
    ] {
        let doc = Doc::paragraph(vec![Span::link("label", url)]);
        assert_eq!(
            adf::render(&doc)["content"][0]["content"],
            json!([{ "type": "text", "text": "label" }]),
            "{url}"
        );
        assert_eq!(wiki::render(&doc), "label", "{url}");
    }
    let sly = Doc::paragraph(vec![Span::link("a|b]", "https://x/a|b]{c}\\!d*")]);
    assert_eq!(wiki::render(&sly), "[a\\|b\\]|https://x/a%7Cb%5D%7Bc%7D/%21d%2A]");
}

#[test]
fn wiki_markup_in_outside_text_is_shown_not_obeyed() {
    for (text, expected) in [
        ("[~admin] {code}", r"\[\~admin\] \{code\}"),
        (
            "*b* _i_ -s- +u+ ^p^ ~q~ ??c??",
            r"\*b\* \_i\_ \-s\- \+u\+ \^p\^ \~q\~ \?\?c\?\?",
        ),
        ("!pic.png!", r"\!pic.png\!"),
        ("{{mono}}", r"\{\{mono\}\}"),
        ("|cell|", r"\|cell\|"),
        ("a \\\\ b", "a &#92;&#92; b"),
        ("h1. big", "&#104;1. big"),
        ("bq. quoted", "&#98;q. quoted"),
        ("# item", "&#35; item"),
        ("  # item", "&#35; item"),
        ("/dcr stop", "&#47;dcr stop"),
        ("----", r"\-\-\-\-"),
        ("see http://evil.example", r"see http&#58;//evil.example"),
        ("a\n/dcr stop", "a /dcr stop"),
        ("a\u{2028}h1. b\u{85}c", "a h1. b c"),
        ("&#42; & &amp; x&y", "&amp;#42; & &amp;amp; x&amp;y"),
        ("half 1.5 has h1", "half 1.5 has h1"),
    ] {
        assert_eq!(wiki::render(&paragraph(text)), expected, "{text}");
    }
}

#[test]
fn verbatim_text_cannot_leave_its_block() {
    let doc = Doc {
        blocks: vec![Block::Verbatim(
            "a\n{noformat}\n{NoFormat:x}/dcr stop\r\n  /dcr stop\rb\u{7}".into(),
        )],
        ..Doc::default()
    };
    let text = wiki::render(&doc);
    assert_eq!(
        text,
        "{noformat}\na\n{\u{200b}noformat}\n{\u{200b}NoFormat:x}/dcr stop\n\u{2060}  /dcr stop\nb\n{noformat}"
    );
    assert_eq!(wiki::lines(&text), Vec::<String>::new());
    assert_eq!(
        adf::render(&doc)["content"][0]["content"][0]["text"],
        "a\n{noformat}\n{NoFormat:x}/dcr stop\n  /dcr stop\nb"
    );
}

#[test]
fn a_document_that_is_too_long_is_visibly_cut() {
    let long = "x{".repeat(40_000);
    let many: Vec<Vec<Span>> = (0..5_000).map(|n| vec![Span::text(format!("item {n}"))]).collect();
    let docs = [
        Doc {
            blocks: vec![
                Block::Heading(vec![Span::text("Headline")]),
                Block::Verbatim(long.clone()),
            ],
            ..Doc::default()
        },
        Doc {
            blocks: vec![Block::Heading(vec![Span::text("Headline")]), Block::List(many.clone())],
            ..Doc::default()
        },
        Doc {
            blocks: vec![Block::Paragraph(vec![
                Span::text("Headline"),
                Span::strong(long.clone()),
            ])],
            ..Doc::default()
        },
        Doc {
            blocks: many.into_iter().map(Block::Paragraph).collect(),
            ..Doc::default()
        },
        Doc::paragraph(vec![Span::link("Headline", format!("https://x/{long}"))]),
    ];
    for (n, doc) in docs.iter().enumerate() {
        for text in [wiki::render(doc), adf::render(doc).to_string()] {
            assert!(text.chars().count() <= LIMIT, "{n}");
            assert!(text.contains("cut"), "{n}: {text}");
            assert!(n >= 3 || text.contains("Headline"), "{n}");
        }
        check_adf(&adf::render(doc));
    }
    let fits = Doc {
        blocks: vec![Block::Verbatim("x".repeat(30_000))],
        ..Doc::default()
    };
    assert!(!wiki::render(&fits).contains("cut"));
}

#[test]
fn commands_in_wiki_text_count_only_where_a_paragraph_line_starts() {
    let cases: &[(&str, &[&str])] = &[
        ("/dcr retry", &["/dcr retry"]),
        ("hello\r\n/dcr retry \r\n\r\nbye", &["hello", "/dcr retry ", "bye"]),
        ("{code}\n/dcr a\n{code}\n/dcr b", &["/dcr b"]),
        ("{code:java|title=x}\n/dcr a\n{quote}\n{code}\n/dcr b", &["/dcr b"]),
        ("{noformat}\n/dcr a\n{code}\n{noformat}\n/dcr b", &["/dcr b"]),
        ("{noformat}\n/dcr a", &[]),
        ("see {code}\n/dcr a\n{code} end\n/dcr b", &["see {code}", "/dcr b"]),
        ("{code}x{code}\n/dcr b", &["/dcr b"]),
        (
            "{quote}\n/dcr a\n{code}\n{quote}\n{code}\n/dcr a\n{quote}\n/dcr b",
            &["/dcr b"],
        ),
        ("{panel:title=x}\n/dcr a\n{panel}\n/dcr b", &["/dcr b"]),
        (r"\{code}", &[r"\{code}"]),
        ("\\{code}\n/dcr b", &["\\{code}", "/dcr b"]),
        ("bq. /dcr a\n/dcr a\n\n/dcr b", &["/dcr b"]),
        ("|a|\n/dcr a\n\n/dcr b", &["/dcr b"]),
        ("||head||\n|/dcr a|", &[]),
        ("* item\n/dcr a\n\n/dcr b", &["/dcr b"]),
        (" ** item\n# item\n- /dcr a", &[]),
        ("h2. /dcr a\n/dcr b", &["/dcr b"]),
        ("say {{quote}}\n/dcr b", &["say {{quote}}", "/dcr b"]),
        ("\\\\{code}\n/dcr a\n{code}", &["\\{code}"]),
        ("{{/dcr a}}\n{color:red}/dcr a{color}", &[]),
        (r"/dcr run tenant=a\-b\_c", &["/dcr run tenant=a-b_c"]),
        (r"\/dcr a", &[r"\/dcr a"]),
        ("", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(wiki::lines(text), *expected, "{text}");
    }
}

#[test]
fn commands_in_adf_count_only_where_a_paragraph_line_starts() {
    let text = |text: &str| json!({ "type": "text", "text": text });
    let marked = |text: &str, mark: &str| json!({ "type": "text", "text": text, "marks": [{ "type": mark }] });
    let paragraph = |content: Value| json!({ "type": "paragraph", "content": content });
    let command = || paragraph(json!([text("/dcr a")]));
    let within = |kind: &str, content: Value| json!({ "type": kind, "content": [content] });
    let br = json!({ "type": "hardBreak" });
    let mention = json!({ "type": "mention", "attrs": { "id": "1", "text": "@Eve" } });
    let cases: Vec<(&str, Value, Vec<&str>)> = vec![
        ("a line", command(), vec!["/dcr a"]),
        (
            "split runs",
            paragraph(json!([text("/dcr "), marked("retry", "strong"), text(" x")])),
            vec!["/dcr retry x"],
        ),
        (
            "breaks",
            paragraph(json!([text("hi"), br, text("/dcr a\n/dcr b")])),
            vec!["hi", "/dcr a", "/dcr b"],
        ),
        ("code", paragraph(json!([marked("/dcr a", "code")])), vec![]),
        (
            "code after blanks",
            paragraph(json!([text("  "), marked("/dcr a", "code")])),
            vec![],
        ),
        ("a link", paragraph(json!([marked("/dcr a", "link")])), vec![]),
        ("struck out", paragraph(json!([marked("/dcr a", "strike")])), vec![]),
        ("after a mention", paragraph(json!([mention, text("/dcr a")])), vec![]),
        (
            "with a mention",
            paragraph(json!([text("/dcr a "), mention])),
            vec!["/dcr a @Eve"],
        ),
        (
            "after a picture",
            paragraph(json!([{ "type": "mediaInline", "attrs": {} }, text("/dcr a")])),
            vec![],
        ),
        ("code block", within("codeBlock", text("/dcr a")), vec![]),
        ("quote", within("blockquote", command()), vec![]),
        ("panel", within("panel", command()), vec![]),
        ("list", within("bulletList", within("listItem", command())), vec![]),
        (
            "table",
            within("table", within("tableRow", within("tableCell", command()))),
            vec![],
        ),
        ("expand", within("expand", command()), vec![]),
        (
            "layout",
            within("layoutSection", within("layoutColumn", command())),
            vec![],
        ),
        ("heading", within("heading", text("/dcr a")), vec![]),
        ("empty", paragraph(json!([])), vec![]),
        ("odd", json!({ "type": "paragraph", "content": "x" }), vec![]),
    ];
    for (what, node, expected) in cases {
        let doc = json!({ "type": "doc", "version": 1, "content": [node] });
        assert_eq!(adf::lines(&doc), expected, "{what}");
    }
    let both = json!({ "content": [within("codeBlock", text("/dcr a")), command()] });
    assert_eq!(adf::lines(&both), ["/dcr a"], "a paragraph after a block counts again");
}

/// Which children each node may have, by Atlassian's document schema, as far as stepherd uses it.
fn check_adf(node: &Value) {
    let kind = node["type"].as_str().unwrap();
    let allowed: &[&str] = match kind {
        "doc" => &["panel", "heading", "paragraph", "bulletList", "codeBlock"],
        "panel" => &["heading", "paragraph"],
        "heading" | "paragraph" | "codeBlock" => &["text"],
        "bulletList" => &["listItem"],
        "listItem" => &["paragraph"],
        "text" => {
            assert!(!node["text"].as_str().unwrap().is_empty());
            for mark in node["marks"].as_array().into_iter().flatten() {
                assert!(matches!(mark["type"].as_str(), Some("strong" | "code" | "link")));
            }
            return;
        }
        other => panic!("{other}"),
    };
    let children = node["content"].as_array().unwrap();
    assert!(
        !children.is_empty() || matches!(kind, "doc" | "heading" | "paragraph" | "codeBlock"),
        "{kind}"
    );
    for child in children {
        assert!(
            allowed.contains(&child["type"].as_str().unwrap()),
            "{kind} > {}",
            child["type"]
        );
        assert!(kind != "codeBlock" || child.get("marks").is_none());
        check_adf(child);
    }
}

/// What Jira shows for escaped text: backslashes gone, entities resolved.
fn shown(wiki: &str) -> String {
    let mut out = String::new();
    let mut chars = wiki.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    for (entity, c) in [
        ("&#92;", "\\"),
        ("&#58;", ":"),
        ("&#47;", "/"),
        ("&#35;", "#"),
        ("&#104;", "h"),
        ("&#98;", "b"),
    ] {
        out = out.replace(entity, c);
    }
    out.replace("&amp;", "&")
}

fn nasty() -> impl Strategy<Value = String> {
    let bits = prop::sample::select(
        &[
            "/dcr stop",
            "{",
            "}",
            "[~x]",
            "[",
            "]",
            "|",
            "*",
            "_",
            "-",
            "+",
            "^",
            "~",
            "?",
            "!",
            "\\",
            "h1. ",
            "bq. ",
            "#",
            "{noformat}",
            "{code}",
            "\n",
            "\r",
            " ",
            "a",
            "&",
            "&#42;",
            "amp;",
            "http://x",
            ":",
            "é",
            "\u{2028}",
            "\u{0}",
            "\t",
        ][..],
    );
    prop::collection::vec(bits, 0..12).prop_map(|bits| bits.concat())
}

fn any_span() -> impl Strategy<Value = Span> {
    prop_oneof![
        nasty().prop_map(Span::Text),
        nasty().prop_map(Span::Strong),
        nasty().prop_map(Span::Code),
        (nasty(), nasty()).prop_map(|(label, url)| Span::link(label, format!("https://x/{url}"))),
        (nasty(), nasty()).prop_map(|(label, url)| Span::link(label, url)),
    ]
}

fn any_doc() -> impl Strategy<Value = Doc> {
    let spans = || prop::collection::vec(any_span(), 0..4);
    let block = prop_oneof![
        spans().prop_map(Block::Heading),
        spans().prop_map(Block::Paragraph),
        (0.0..100.0).prop_map(|p| Block::Progress(Percent::clamped(p))),
        prop::collection::vec(spans(), 0..3).prop_map(Block::List),
        prop::collection::vec((nasty(), spans()), 0..3).prop_map(Block::Fields),
        nasty().prop_map(Block::Verbatim),
    ];
    let tone = prop::sample::select(&[Tone::Neutral, Tone::Busy, Tone::Good, Tone::Bad][..]);
    (prop::collection::vec(block, 0..5), tone).prop_map(|(blocks, tone)| Doc {
        blocks,
        buttons: Vec::new(),
        tone,
    })
}

#[test]
fn a_blank_before_a_slash_does_not_make_it_a_command() {
    for spans in [
        vec![Span::text("\n"), Span::link("/dcr stop", "")],
        vec![Span::text("  "), Span::strong(""), Span::text("/dcr stop")],
    ] {
        let rendered = adf::render(&Doc {
            blocks: vec![Block::Paragraph(spans)],
            buttons: Vec::new(),
            tone: Tone::Neutral,
        });
        let lines = adf::lines(&rendered);
        assert!(
            lines.iter().all(|line| !line.trim_start().starts_with('/')),
            "{lines:?}"
        );
    }
}

proptest! {
    #[test]
    fn every_document_is_valid_adf_and_holds_no_command(doc in any_doc()) {
        let rendered = adf::render(&doc);
        check_adf(&rendered);
        prop_assert!(adf::lines(&rendered).iter().all(|line| !line.trim_start().starts_with('/')));
    }

    #[test]
    fn no_line_of_wiki_text_starts_with_a_slash(doc in any_doc()) {
        let rendered = wiki::render(&doc);
        prop_assert!(rendered.lines().all(|line| !line.trim_start().starts_with('/')), "{rendered}");
    }

    #[test]
    fn escaped_text_holds_no_markup_and_reads_as_it_was(text in nasty()) {
        let rendered = wiki::render(&paragraph(&text));
        let mut before = ' ';
        for c in rendered.chars() {
            prop_assert!(!"{}[]*_-+^~?!|".contains(c) || before == '\\', "{rendered}");
            prop_assert!(c != '\\' || before != '\\', "{rendered}");
            before = c;
        }
        let plain: String = text.chars().map(|c| if c.is_control() || c == '\u{2028}' { ' ' } else { c }).collect();
        prop_assert_eq!(shown(&rendered), plain.trim_start());
    }

    #[test]
    fn outside_text_never_closes_a_verbatim_block(text in nasty()) {
        let doc = Doc { blocks: vec![Block::Verbatim(text)], ..Doc::default() };
        let rendered = wiki::render(&doc);
        prop_assert_eq!(rendered.to_lowercase().matches("{noformat").count(), 2);
    }

    #[test]
    fn finding_lines_never_panics(text in ".{0,80}", nasty in nasty()) {
        let _ = wiki::lines(&text);
        let _ = wiki::lines(&nasty);
    }
}
