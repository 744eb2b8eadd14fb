//! No unbounded time or memory: texts made to be deep, long or costly for whoever reads them. Each takes a moment;
//! what takes more than that would take for ever if it were a little longer.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use stepherd::adapters::discord::{DiscordDoor, markdown as discord};
use stepherd::adapters::github::{self, GithubDoor, OwnIdentity};
use stepherd::adapters::jira::{JiraDoor, JiraProofs, adf, wiki};
use stepherd::adapters::{Door, RawRequest};
use stepherd::catalog;
use stepherd::domain::doc::{Block, Doc, Span};
use stepherd::domain::edit::{EditAction, apply};
use stepherd::domain::grammar;
use stepherd::domain::signal::{Proof, Text};
use stepherd::domain::template::Template;

/// Half as long as the longest text that is looked at.
const LONG: usize = 128 * 1024;
/// Far more than any of it takes without optimisation on a busy machine, less than a quadratic reader would.
const MOMENT: Duration = Duration::from_secs(5);
/// How much of such a text is shown: showing it takes a hundred times what looking through it does.
const SHOWN: usize = 12 * 1024;

/// How long this thread has been at work: what others do on the machine meanwhile does not count.
fn worked() -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(spent.split(' ').next().unwrap().parse().unwrap())
}

/// The result, unless it takes longer than a moment.
fn in_a_moment<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begin = worked();
    let result = work();
    let took = worked() - begin;
    assert!(took < MOMENT, "{what} took {took:?}");
    result
}

fn repeated(piece: &str) -> String {
    piece.repeat(LONG / piece.len())
}

/// Texts of one piece over and over: each is the worst that some reader of marks can meet.
fn hostile_texts() -> Vec<String> {
    let mut all: Vec<String> = [
        "[",
        "![",
        "]",
        "[]",
        "](",
        "[a](",
        "<",
        "<a ",
        "<a b=\"",
        "<!--",
        "<!-->",
        "<?",
        "<![CDATA[",
        "`",
        "` `` ",
        "*",
        "**a",
        "_",
        "*a_",
        "a**b*c ",
        "~",
        "~~a",
        ">",
        "> ",
        ">\n",
        "- ",
        "- -\n",
        "1. ",
        "* a\n",
        "#",
        "# \n",
        "|",
        "|a|\n",
        "|-|\n",
        "\\",
        "&",
        "&#",
        "&amp;",
        "$",
        "[^1]:",
        "[a]: <",
        "[a]: x\n",
        "{",
        "{code}",
        "{quote}",
        "{{",
        "{noformat}",
        "{panel:",
        "[~",
        "[a|",
        "!a!",
        "h1. ",
        "bq. ",
        "/",
        "/dcr ",
        "/dcr retry\n",
        "/dcr start \"",
        "/dcr start a='",
        "\n",
        "\r",
        "\r\n",
        "\t",
        " ",
        "\0",
        "\u{2028}",
        "\u{202e}",
        "\u{200b}",
        "é",
        "🐑",
        "e\u{301}",
        "<div>\n\n",
        "</div>",
        "<details>\n\n",
        "<a><b>",
        "a\n===\n",
        "---\n",
        "://",
        "www.",
        "@a",
        "#1",
        "GH-1",
        ":a:",
        "<@1>",
        "||",
    ]
    .map(repeated)
    .into();
    // Levels within levels, one more on every line.
    let stairs = |step: &str, text: &str| {
        (0..600)
            .map(|n| format!("{}{text}\n", step.repeat(n)))
            .collect::<String>()
    };
    all.extend([
        stairs(">", " a"),
        stairs("> ", "- a"),
        stairs("  ", "- a"),
        stairs("-", " a"),
        stairs("`", ""),
    ]);
    all.push(format!("{}a{}", "*".repeat(LONG / 2), "*".repeat(LONG / 2)));
    all.push(format!("{}}}", "{".repeat(LONG)));
    all.push(format!("{}:}}", "{panel".repeat(LONG / 6)));
    all.push(format!("{}\n/dcr retry", ">".repeat(100_000)));
    all.push((0..20_000).map(|n| format!("[{n}]: x\n")).collect());
    all
}

#[test]
fn no_text_takes_long_to_look_through_for_commands() {
    let commands = catalog::load(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config"),
        &std::collections::BTreeMap::new(),
    )
    .unwrap()
    .commands;
    for text in hostile_texts() {
        let what = text.chars().take(12).collect::<String>();
        let found = in_a_moment(&format!("Markdown {what:?}"), || {
            grammar::find(&Text::Markdown(text.clone()), &commands, &"github".parse().unwrap())
        });
        assert!(found.len() <= 11);
        let lines = in_a_moment(&format!("wiki text {what:?}"), || wiki::lines(&text));
        let found = in_a_moment(&format!("lines {what:?}"), || {
            grammar::find(&Text::Lines(lines), &commands, &"jira".parse().unwrap())
        });
        assert!(found.len() <= 11);
    }
}

#[test]
fn no_text_takes_long_to_show() {
    for mut text in hostile_texts() {
        text.truncate(text.floor_char_boundary(SHOWN));
        let what = text.chars().take(12).collect::<String>();
        let doc = Doc {
            blocks: vec![
                Block::Heading(vec![Span::Text(text.clone())]),
                Block::Paragraph(vec![Span::Strong(text.clone()), Span::Code(text.clone())]),
                Block::Verbatim(text),
            ],
            ..Doc::default()
        };
        in_a_moment(&format!("GitHub {what:?}"), || github::render(&doc));
        let document = in_a_moment(&format!("ADF {what:?}"), || adf::render(&doc));
        assert!(document.to_string().chars().count() <= 32_767);
        let text = in_a_moment(&format!("wiki {what:?}"), || wiki::render(&doc));
        assert!(text.chars().count() <= 32_767);
        in_a_moment(&format!("Discord {what:?}"), || discord::render(&doc, None));
    }
}

#[test]
fn no_depth_overflows_a_reader_of_payloads() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let bodies = [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("[{\"a\":", "}]"),
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        format!("{{\"action\":\"created\",\"comment\":{}}}", deep("[", "]")),
        format!(
            "{{\"webhookEvent\":\"comment_created\",\"comment\":{{\"body\":{}}}}}",
            deep("{\"content\":[", "]}")
        ),
        format!(
            "{{\"id\":\"1\",\"type\":2,\"data\":{{\"options\":{}}}}}",
            deep("[{\"options\":", "}]")
        ),
        format!("{{\"action\":{}}}", "9".repeat(LONG)),
        format!("{{\"action\":1{}e{}}}", "0".repeat(1_000), "9".repeat(1_000)),
        format!("\"{}\"", "\\ud800".repeat(10_000)),
        "\0".repeat(LONG),
        "\u{feff}{}".to_owned(),
    ];
    let doors: [(&str, Box<dyn Door>); 3] = [
        ("github", Box::new(GithubDoor::new(Vec::new(), OwnIdentity::default()))),
        ("jira", Box::new(JiraDoor::new(JiraProofs::default(), None))),
        (
            "discord",
            Box::new(DiscordDoor::new(&"0".repeat(64), Duration::from_secs(1), "900").unwrap()),
        ),
    ];
    for body in bodies {
        for (platform, door) in &doors {
            for event in ["issue_comment", "pull_request", "check_run", "workflow_run"] {
                let request = RawRequest {
                    method: "POST".into(),
                    target: format!("/webhooks/{platform}"),
                    headers: vec![
                        ("content-type".into(), "application/json".into()),
                        ("x-github-event".into(), event.into()),
                    ],
                    body: body.clone().into(),
                };
                let what = format!("{platform} {}", &body[..body.floor_char_boundary(20)]);
                let read = in_a_moment(&what, || door.read(&request, Proof::BodySigned, Timestamp::UNIX_EPOCH));
                // A reason ends up in a list: it must not carry the payload along.
                if let Err(why) = read {
                    assert!(why.to_string().len() < 2_000, "{what}");
                }
            }
        }
    }
}

/// A document of Jira's within which paragraphs lie as deep as the reader of JSON lets them.
#[test]
fn deep_documents_hold_no_command() {
    let inner = json!({ "type": "paragraph", "content": [{ "type": "text", "text": "/dcr stop" }] });
    let deep = (0..120).fold(inner, |inner, _| json!({ "type": "blockquote", "content": [inner] }));
    let document = json!({ "type": "doc", "content": [deep] });
    assert!(adf::lines(&document).is_empty());
    let wide: Vec<Value> = (0..50_000).map(|_| json!({ "type": "hardBreak" })).collect();
    let document = json!({ "type": "doc", "content": [{ "type": "paragraph", "content": wide }] });
    assert!(in_a_moment("hard breaks", || adf::lines(&document)).is_empty());
}

#[test]
fn no_file_takes_long_to_edit() {
    let set = EditAction::Set {
        pointer: "/b".to_owned(),
        value: "1".to_owned(),
    };
    let insert = EditAction::InsertXml {
        parent: "/a".to_owned(),
        element: "<b/>".to_owned(),
    };
    let many = |line: &dyn Fn(usize) -> String| (0..20_000).map(line).collect::<String>();
    for (path, text) in [
        ("a.yaml", "{a: ".repeat(20_000)),
        ("a.yaml", (0..1_500).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("a.yaml", "? ".repeat(20_000)),
        ("a.yaml", "&a ".repeat(20_000)),
        ("a.yaml", "!!str ".repeat(20_000)),
        ("a.yaml", many(&|n| format!("k{n}: v\n"))),
        ("a.yaml", format!("a: {}\n", "x".repeat(LONG))),
        ("a.yaml", format!("a: \"{}\"\n", "\\".repeat(LONG))),
        ("a.yaml", "---\n".repeat(20_000)),
        ("a.yaml", "\0".repeat(LONG)),
        ("a.json", "{\"a\":".repeat(100_000)),
        ("a.json", "/*".repeat(100_000)),
        (
            "a.json",
            format!("{{{}\"z\":1}}", many(&|n| format!("\"k{n}\":{n},\n"))),
        ),
        ("a.json", format!("{{\"a\":{}}}", "9".repeat(LONG))),
        ("a.toml", many(&|n| format!("k{n} = {n}\n"))),
        ("a.toml", format!("[{}]\n", vec!["a"; 20_000].join("."))),
        ("a.toml", format!("a = {}", "{a=".repeat(100_000))),
        ("a.toml", "[[a]]\n".repeat(20_000)),
        ("a.toml", format!("a = {}", "9".repeat(LONG))),
    ] {
        let what = format!("{path} {:?}", &text[..text.floor_char_boundary(16)]);
        let _ = in_a_moment(&what, || apply(path, Some(&text), &set));
    }
    for text in [
        "<a>".repeat(80_000),
        format!("{}{}", "<a>".repeat(40_000), "</a>".repeat(40_000)),
        format!("<a>{}</a>", "<c/>".repeat(50_000)),
        format!(
            "<a {}/>",
            (0..20_000).map(|n| format!("k{n}=\"v\" ")).collect::<String>()
        ),
        "<!--".repeat(80_000),
        "<![CDATA[".repeat(30_000),
        "<!DOCTYPE a [<!ENTITY x \"yyyyyyyyyy\"><!ENTITY z \"&x;&x;&x;&x;&x;&x;&x;&x;\">]><a>&z;</a>".to_owned(),
        "&".repeat(LONG),
        "\0".repeat(LONG),
    ] {
        let what = format!("a.xml {:?}", &text[..text.floor_char_boundary(16)]);
        let _ = in_a_moment(&what, || apply("a.xml", Some(&text), &insert));
    }
}

#[test]
fn no_template_takes_much() {
    let context = json!({ "x": "a".repeat(1_000), "list": vec!["a"; 1_000] });
    let double = "{% set s = 'a' * 100000 %}".to_owned() + &"{% set s = s ~ s ~ s ~ s %}".repeat(30) + "{{ s|length }}";
    for source in [
        double,
        "{{ x|replace('a', x)|replace('a', x)|replace('a', x)|replace('a', x)|length }}".to_owned(),
        "{{ list|join(x)|replace('a', x)|replace('a', x)|length }}".to_owned(),
        "{{ x|replace('', x)|replace('', x)|replace('', x)|length }}".to_owned(),
        "{{ x|split('')|join(x)|split('')|join(x)|split('')|join(x)|length }}".to_owned(),
        "{% set s %}{{ x }}{{ x }}{% endset %}{{ s|length }}".to_owned(),
        "{%- set s = x ~ x %}{{ s|length }}".to_owned(),
        "{% with s = x * 2 %}{{ s|length }}{% endwith %}".to_owned(),
        "{% macro m(s) %}{{ s }}{{ s }}{% endmacro %}{{ m(m(m(x)))|length }}".to_owned(),
        "{% for a in list %}{% for b in list %}{% for c in list %}{{ a }}{% endfor %}{% endfor %}{% endfor %}"
            .to_owned(),
        "{{ range(1000000000)|list|length }}".to_owned(),
        "{{ (x * 1000000) * 1000000 }}".to_owned(),
        "{{ 9999999999999999999 ** 99999999 }}".to_owned(),
        "{{ 'a'|indent(1000000000) }}".to_owned(),
        "{{ '%099999999999d'|format(1) }}".to_owned(),
    ] {
        let what = source[..source.len().min(50)].to_owned();
        let rendered = in_a_moment(&what, || Template::new(source).render(&context));
        assert!(rendered.is_err(), "{what}: {:?}", rendered.map(|text| text.len()));
    }
}

/// The configuration is its administrator's own, yet a slip in it must be told and not end the program.
#[test]
fn no_depth_overflows_the_reader_of_configuration() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("{} = 1", vec!["a"; 50_000].join(".")),
        format!("[{}]", vec!["a"; 50_000].join(".")),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("[server]\nbody_limit_bytes = {}", "9".repeat(100_000)),
        format!("[server]\nlisten = \"{}\"", "\\uD800".repeat(10_000)),
        "\0".repeat(100_000),
        "[[person]]\n".repeat(2_000),
    ] {
        for file in ["stepherd.toml", "people.toml"] {
            let dir = tempfile::tempdir().unwrap();
            let config = dir.path().join("config");
            std::fs::create_dir_all(config.join("pipelines")).unwrap();
            std::fs::create_dir_all(dir.path().join("commands")).unwrap();
            std::fs::copy(root.join("config/people.toml"), config.join("people.toml")).unwrap();
            std::fs::write(config.join(file), &text).unwrap();
            let what = format!("{file} {}", &text[..16]);
            let loaded = in_a_moment(&what, || catalog::load(&config, &std::collections::BTreeMap::new()));
            assert!(loaded.is_err(), "{what}");
        }
    }
}
