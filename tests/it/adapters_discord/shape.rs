//! Docs as Discord messages, and commands as Discord registers them.

use proptest::prelude::*;
use serde_json::{Value, json};
use stepherd::adapters::discord::{decode_custom_id, encode_custom_id, markdown, registration};
use stepherd::domain::command::{Action, Arg, Command, Verb};
use stepherd::domain::doc::{Block, Button, Doc, Span, Tone};
use stepherd::domain::ids::Percent;
use stepherd::domain::pipeline::ParamKind;

/// What Discord would show: backslashes before punctuation are gone. Fails on anything left that means something.
fn shown(escaped: &str) -> String {
    let mut out = String::new();
    let mut chars = escaped.chars().peekable();
    let mut line_start = true;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let next = chars.next().expect("a backslash disarms something");
                assert!(next.is_ascii_punctuation(), "{escaped:?}");
                out.push(next);
            }
            '*' | '_' | '~' | '`' | '|' | '<' | '>' | '#' | '@' | '[' | ']' => panic!("{c} is bare in {escaped:?}"),
            ':' => {
                assert_eq!(chars.peek(), Some(&' '), "{escaped:?}");
                out.push(c);
            }
            '-' | '+' if line_start => panic!("a list begins in {escaped:?}"),
            '.' | ')' => {
                let before = out.trim_start();
                let numbered = !before.is_empty() && before.chars().all(|c| c.is_ascii_digit());
                assert!(!numbered, "a numbered list begins in {escaped:?}");
                out.push(c);
            }
            c => {
                assert!(
                    !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c),
                    "{escaped:?}"
                );
                out.push(c);
            }
        }
        line_start &= c == ' ';
    }
    out
}

#[test]
fn text_is_disarmed_and_still_reads_the_same() {
    for (text, escaped) in [
        ("2 of min 3 farmers", "2 of min 3 farmers"),
        ("Step: Rebuild", "Step: Rebuild"),
        ("@everyone", r"\@everyone"),
        ("<@501> <#77> <t:1>", r"\<\@501\> \<\#77\> \<t\:1\>"),
        (":smile:", r"\:smile\:"),
        ("https://evil.example", r"https\://evil.example"),
        ("[a](https://b)", r"\[a\](https\://b)"),
        ("# big", r"\# big"),
        ("-# small", r"\-\# small"),
        ("- item", r"\- item"),
        ("farmer-3 lost", "farmer-3 lost"),
        ("1. one", r"1\. one"),
        ("1.5 of 2.5", r"1\.5 of 2.5"),
        (
            "**bold** __u__ ~~s~~ ||spoiler||",
            r"\*\*bold\*\* \_\_u\_\_ \~\~s\~\~ \|\|spoiler\|\|",
        ),
        ("`code`", r"\`code\`"),
        ("a\nb\tc\r\nd", "a b c  d"),
        ("\u{202e}evil\u{0007}", "evil"),
        (r"\*", r"\\\*"),
    ] {
        assert_eq!(markdown::escape(text), escaped);
        shown(escaped);
    }
}

fn embed(doc: &Doc) -> Value {
    serde_json::to_value(markdown::render(doc, Some("stepherd · URMO7YZ2/card")).embed).expect("JSON")
}

fn rows(doc: &Doc) -> Vec<Value> {
    let rows = serde_json::to_value(markdown::render(doc, None).rows).expect("JSON");
    rows.as_array().cloned().expect("a list")
}

#[test]
fn a_card_becomes_one_embed() {
    let doc = Doc {
        blocks: vec![
            Block::Heading(vec![Span::text("DCR *comcast*")]),
            Block::Paragraph(vec![
                Span::text("Running "),
                Span::strong("Rebuild"),
                Span::text(", say "),
                Span::code("/dcr stop"),
            ]),
            Block::Progress(Percent::clamped(42.0)),
            Block::Fields(vec![(
                "Ticket".to_owned(),
                vec![Span::link("SREPROV-3072", "https://jira.example/browse/SREPROV-3072")],
            )]),
            Block::List(vec![vec![Span::text("one")], vec![Span::text("- two")]]),
            Block::Verbatim("farmer-3 lost\n```@everyone```".to_owned()),
        ],
        buttons: Vec::new(),
        tone: Tone::Busy,
    };
    let embed = embed(&doc);
    assert_eq!(embed["title"], json!(r"DCR \*comcast\*"));
    let description = embed["description"].as_str().expect("text");
    let fence = "```\nfarmer-3 lost\n`\u{200b}`\u{200b}`@everyone`\u{200b}`\u{200b}`\n```";
    assert_eq!(
        description,
        format!("Running **Rebuild**, say `/dcr stop`\n▰▰▰▰▱▱▱▱▱▱ 42 %\n- one\n- \\- two\n{fence}")
    );
    let expected = json!([{"name": "Ticket", "value": "[SREPROV-3072](https://jira.example/browse/SREPROV-3072)", "inline": true}]);
    assert_eq!(embed["fields"], expected);
    assert_eq!(embed["color"], json!(0x0034_98DB));
    assert_eq!(embed["footer"]["text"], json!("stepherd · URMO7YZ2/card"));
}

#[test]
fn links_lead_only_where_the_web_is_and_cannot_be_broken_out_of() {
    for (url, shown) in [
        ("https://a.example/x", "[l](https://a.example/x)"),
        (
            "https://a.example/x) [y](https://b.example",
            "[l](https://a.example/x%29%20%5By%5D%28https://b.example)",
        ),
        ("javascript:alert(1)", "l"),
        ("discord://x", "l"),
        ("not a url", "l"),
        ("", "l"),
    ] {
        let doc = Doc::paragraph(vec![Span::link("l", url)]);
        assert_eq!(embed(&doc)["description"], json!(shown), "{url}");
    }
}

#[test]
fn an_empty_doc_is_still_a_message() {
    let empty = embed(&Doc::default());
    assert_eq!(empty["description"], json!("\u{200b}"));
}

fn press(label: &str, args: &[(&str, &str)]) -> Button {
    Button {
        label: label.to_owned(),
        command: "dcr".to_owned(),
        verb: "answer".to_owned(),
        args: args.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
    }
}

#[test]
fn buttons_stand_five_to_a_row_once_each_and_only_if_their_id_fits() {
    let mut buttons: Vec<Button> = (0..30)
        .map(|i| press(&format!("b{i}"), &[("run", &i.to_string())]))
        .collect();
    buttons.insert(0, press("too much", &[("run", &"x".repeat(100))]));
    buttons.insert(1, press(&"é".repeat(100), &[("run", "a")]));
    buttons.insert(2, press("again", &[("run", "a")]));
    buttons.insert(3, press(" ", &[("run", "b")]));
    let doc = Doc {
        buttons,
        ..Doc::default()
    };
    let rows = rows(&doc);
    assert_eq!(rows.len(), 5);
    let all: Vec<&Value> = rows
        .iter()
        .flat_map(|row| row["components"].as_array().expect("a list"))
        .collect();
    assert_eq!(all.len(), 25);
    assert_eq!(all[0]["custom_id"], json!("sh:dcr:answer:run=a"));
    assert_eq!(all[0]["label"].as_str().map(|label| label.chars().count()), Some(80));
    assert_eq!(all[1]["label"], json!("answer"));
    assert!(all.iter().all(|b| b["type"] == json!(2)));
}

pub(super) fn verb(name: &str, places: &[&str], args: Vec<Arg>) -> Verb {
    Verb {
        name: name.parse().expect("a name"),
        help: format!("{name} it"),
        action: Action::Start,
        args,
        roles: Vec::new(),
        places: places.iter().map(|p| p.parse().expect("a name")).collect(),
        example: String::new(),
    }
}

pub(super) fn arg(name: &str, kind: ParamKind, required: bool) -> Arg {
    Arg {
        name: name.parse().expect("a name"),
        kind,
        help: format!("the {name}"),
        required,
    }
}

pub(super) fn dcr(verbs: Vec<Verb>) -> Command {
    Command {
        name: "dcr".parse().expect("a name"),
        summary: "Cache rebuilds".to_owned(),
        pipeline: "dcr".parse().expect("a name"),
        verbs,
        triggers: Vec::new(),
        control: Vec::new(),
    }
}

#[test]
fn commands_are_registered_as_discord_documents_it() {
    let args = vec![
        arg("note", ParamKind::Text, false),
        arg("run", ParamKind::Run, true),
        arg("min", ParamKind::Int { min: -3, max: i64::MAX }, false),
        arg("dry", ParamKind::Bool, false),
        arg("size", ParamKind::Choice(vec!["s".to_owned(), "l".to_owned()]), true),
        arg(
            "many",
            ParamKind::Choice((0..26).map(|i| i.to_string()).collect()),
            false,
        ),
    ];
    let command = dcr(vec![
        verb("start", &["github", "discord"], args),
        verb("why", &["github"], Vec::new()),
    ]);
    let elsewhere = dcr(vec![verb("start", &["github"], Vec::new())]);
    let expected = json!([{
        "name": "dcr", "type": 1, "description": "Cache rebuilds", "contexts": [0],
        "options": [{"type": 1, "name": "start", "description": "start it", "options": [
            {"type": 3, "name": "run", "description": "the run", "required": true, "autocomplete": true},
            {"type": 3, "name": "size", "description": "the size", "required": true,
             "choices": [{"name": "s", "value": "s"}, {"name": "l", "value": "l"}]},
            {"type": 3, "name": "note", "description": "the note", "required": false},
            {"type": 4, "name": "min", "description": "the min", "required": false,
             "min_value": -3, "max_value": 9_007_199_254_740_991_i64},
            {"type": 5, "name": "dry", "description": "the dry", "required": false},
            {"type": 3, "name": "many", "description": "the many", "required": false},
        ]}],
    }]);
    assert_eq!(registration(&[command, elsewhere]), expected);
}

#[test]
fn a_command_with_too_much_help_keeps_its_words_and_loses_the_help() {
    let args = |n: usize| (0..n).map(|i| arg(&format!("a{i}"), ParamKind::Text, false));
    let wordy = |mut arg: Arg| {
        arg.help = "x".repeat(300);
        arg
    };
    let verbs = (0..10).map(|i| verb(&format!("v{i}"), &["discord"], args(20).map(wordy).collect()));
    let registered = registration(&[dcr(verbs.collect())]);
    let options = registered[0]["options"].as_array().expect("a list");
    assert_eq!(options.len(), 10);
    assert!(registered.to_string().len() < 30_000);
    assert_eq!(options[0]["options"][0]["description"], json!("a0"));
    let few = registration(&[dcr(vec![verb("v", &["discord"], args(2).map(wordy).collect())])]);
    let help = few[0]["options"][0]["options"][0]["description"]
        .as_str()
        .expect("text");
    assert_eq!(help.chars().count(), 100);
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    let nasty = "[ -~\n]{0,40}|[*_`\\\\:@<>\\[\\]()#|~.+-]{0,30}|\\PC{0,20}|[a-z🐑é]{200,2500}";
    let span = (0..4, nasty, "[ -~]{0,30}").prop_map(|(kind, text, rest)| match kind {
        0 => Span::Text(text),
        1 => Span::Strong(text),
        2 => Span::Code(text),
        _ => Span::link(text, format!("https://a.example/{rest}")),
    });
    prop::collection::vec(span, 0..5)
}

fn docs() -> impl Strategy<Value = Doc> {
    let block = prop_oneof![
        spans().prop_map(Block::Heading),
        spans().prop_map(Block::Paragraph),
        (0.0..100.0).prop_map(|p| Block::Progress(Percent::clamped(p))),
        prop::collection::vec(spans(), 0..8).prop_map(Block::List),
        prop::collection::vec(("\\PC{0,300}", spans()), 0..30).prop_map(Block::Fields),
        "[`a\n]{0,40}|\\PC{0,3000}".prop_map(Block::Verbatim),
    ];
    prop::collection::vec(block, 0..8).prop_map(|blocks| Doc {
        blocks,
        ..Doc::default()
    })
}

proptest! {
    #[test]
    fn no_text_survives_escaping_with_a_meaning(text in "[ -~\n]{0,60}|\\PC{0,60}|[0-9.)+ -]{0,10}|\\p{any}{0,30}") {
        let escaped = markdown::escape(&text);
        let read = shown(&escaped);
        let plain = markdown::escape(&read);
        prop_assert_eq!(plain, escaped);
    }

    #[test]
    fn nor_does_text_in_pieces(pieces in prop::collection::vec("[0-9.):@a -]{0,6}|\\PC{0,20}", 0..5)) {
        let text = pieces.concat();
        let spans = pieces.into_iter().map(Span::Text).collect();
        let embed = embed(&Doc::paragraph(spans));
        let description = embed["description"].as_str().expect("text");
        if !text.trim().is_empty() {
            prop_assert_eq!(shown(&markdown::escape(&text)), shown(description));
        }
    }

    #[test]
    fn fences_stay_balanced(text in "[`a\n ]{0,60}|[`🐑]{2000}") {
        let doc = Doc { blocks: vec![Block::Verbatim(text.clone())], ..Doc::default() };
        let embed = embed(&doc);
        let description = embed["description"].as_str().expect("text");
        prop_assert_eq!(description.matches("```").count(), if text.trim().is_empty() { 0 } else { 2 });
    }

    #[test]
    fn a_button_comes_back_as_what_it_was(
        command in "\\PC{1,8}", verb in "\\PC{1,8}",
        args in prop::collection::vec(("\\PC{1,4}", "\\PC{0,6}"), 0..3),
    ) {
        let button = Button { label: "b".to_owned(), command, verb, args };
        if let Some(id) = encode_custom_id(&button) {
            prop_assert!(id.len() <= 100);
            let spoken = decode_custom_id(&id).expect("ours");
            prop_assert_eq!((spoken.command, spoken.verb, spoken.args), (button.command, button.verb, button.args));
        }
    }
}

proptest! {
    // Docs are large; what is looked for is at the edges of each limit, which few cases reach.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_doc_fits_into_a_message(doc in docs()) {
        let embed = embed(&doc);
        let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
        let within = |value: &Value, max: usize| value.is_null() || (1..=max).contains(&length(value));
        prop_assert!(within(&embed["title"], 256) && within(&embed["description"], 4096));
        let none = Vec::new();
        let fields = embed["fields"].as_array().unwrap_or(&none);
        prop_assert!(fields.len() <= 25);
        let mut total = length(&embed["title"]) + length(&embed["description"]) + length(&embed["footer"]["text"]);
        for field in fields {
            prop_assert!(length(&field["name"]) >= 1 && within(&field["name"], 256));
            prop_assert!(length(&field["value"]) >= 1 && within(&field["value"], 1024));
            total += length(&field["name"]) + length(&field["value"]);
        }
        prop_assert!(total <= 6000, "{}", total);
    }
}
