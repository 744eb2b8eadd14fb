//! What counts as a command, and what it means.

mod names;
mod written;
use proptest::prelude::*;
use stepherd::domain::command::{Action, Arg, Command, Verb};
use stepherd::domain::grammar::{Found, find, resolve};
use stepherd::domain::pipeline::ParamKind;
use stepherd::domain::signal::Text;
use stepherd::domain::{ids::Platform, nearest::nearest};

fn platform(name: &str) -> Platform {
    name.parse().expect("a platform")
}

fn arg(name: &str, kind: ParamKind, required: bool) -> Arg {
    Arg {
        name: name.parse().expect("an argument's name"),
        kind,
        help: format!("the {name}"),
        required,
    }
}

fn verb(name: &str, action: Action, args: Vec<Arg>, example: &str) -> Verb {
    Verb {
        name: name.parse().expect("a verb"),
        help: format!("does {name}"),
        action,
        args,
        roles: Vec::new(),
        places: ["github", "jira"].map(platform).into(),
        example: example.to_owned(),
    }
}

fn commands() -> Vec<Command> {
    let farmers = ParamKind::Int { min: 1, max: 50 };
    let mut reset = verb("reset", Action::Stop, vec![], "/dcr reset");
    reset.places = vec![platform("discord")];
    let mut hidden = verb("hidden", Action::Stop, vec![], "");
    hidden.places = vec![];
    let verbs = vec![
        verb(
            "start",
            Action::Start,
            vec![
                arg("tenant", ParamKind::Word, true),
                arg("farmers", farmers, true),
                arg("note", ParamKind::Text, false),
                arg("offset", ParamKind::Int { min: -5, max: 5 }, false),
            ],
            "/dcr start comcast 3",
        ),
        verb(
            "retry",
            Action::Retry,
            vec![arg("run", ParamKind::Run, false)],
            "/dcr retry",
        ),
        verb("status", Action::Status, vec![], "/dcr status"),
        verb("stop", Action::Stop, vec![], "/dcr stop"),
        verb(
            "answer",
            Action::Answer,
            vec![arg("value", ParamKind::Text, true)],
            "/dcr answer yes",
        ),
        verb("help", Action::Help, vec![], "/dcr help"),
        reset,
        hidden,
    ];
    let command = |name: &str, verbs| Command {
        name: name.parse().expect("a command"),
        summary: String::new(),
        pipeline: "dcr".parse().expect("a pipeline"),
        verbs,
        triggers: Vec::new(),
        control: Vec::new(),
    };
    let bare = vec![verb("go", Action::Start, vec![], "")];
    vec![command("dcr", verbs), command("release", bare)]
}

/// `verb(name=value, …)` for a command, `! problem` for a misreading.
fn said(found: &Found) -> String {
    match found {
        Found::Invocation(invocation) => {
            let args: Vec<String> = invocation
                .args
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{}({})", invocation.verb, args.join(", "))
        }
        Found::Misread(misread) => format!("! {}", misread.problem),
    }
}

fn heard(markdown: &str) -> Vec<String> {
    let text = Text::Markdown(markdown.to_owned());
    find(&text, &commands(), &platform("github")).iter().map(said).collect()
}

fn one(markdown: &str) -> String {
    let mut heard = heard(markdown);
    assert_eq!(heard.len(), 1, "{markdown:?} gave {heard:?}");
    heard.remove(0)
}

fn suggestion(markdown: &str) -> Option<String> {
    let text = Text::Markdown(markdown.to_owned());
    match &find(&text, &commands(), &platform("github"))[..] {
        [Found::Misread(misread)] => misread.suggestion.clone(),
        other => panic!("{markdown:?} gave {other:?}"),
    }
}

#[test]
fn a_command_counts_where_a_line_of_a_top_level_paragraph_starts() {
    let retry = ["retry()"].as_slice();
    let table: &[(&str, &[&str])] = &[
        ("/dcr retry", retry),
        ("   /dcr retry", retry),
        ("/dcr retry\n", retry),
        ("/dcr retry   ", retry),
        ("/dcr  \t retry", retry),
        ("/dcr retry\r\n", retry),
        ("It broke again.\r\n/dcr retry\r\nThanks!", retry),
        ("/dcr retry  \nthanks", retry),
        ("/dcr retry\\\nthanks", retry),
        ("/DCR Retry", retry),
        ("\u{a0}/dcr\u{a0}retry", retry),
        ("/dcr retry\n/dcr status", &["retry()", "status()"]),
        ("/dcr retry\n\nand then\n\n/dcr status", &["retry()", "status()"]),
        ("/release go", &["go()"]),
        // Something else before it in its line.
        ("please /dcr retry", &[]),
        ("…/dcr retry", &[]),
        ("\\/dcr retry", &[]),
        ("&#47;dcr retry", &[]),
        // Not this command.
        ("", &[]),
        ("/", &[]),
        ("dcr retry", &[]),
        ("//dcr retry", &[]),
        ("/ dcr retry", &[]),
        ("/dcrx retry", &[]),
        ("/dcr-retry", &[]),
        ("/dcr/retry", &[]),
        ("/dcr, retry", &[]),
        ("/dc retry", &[]),
        ("/other retry", &[]),
        ("/approve\n/lgtm", &[]),
    ];
    for (text, expected) in table {
        assert_eq!(heard(text), *expected, "{text:?}");
    }
}

#[test]
fn what_is_quoted_listed_fenced_or_hidden_was_not_said() {
    let silent = [
        "```\n/dcr retry\n```",
        "~~~\n/dcr retry\n~~~",
        "```sh\n/dcr retry",
        "````\n```\n/dcr retry\n```\n````",
        "text\n```\n/dcr retry\n```",
        "    /dcr retry",
        "\t/dcr retry",
        "`/dcr retry`",
        "``/dcr retry``",
        "`foo\n/dcr retry\nbar`",
        "> /dcr retry",
        "> > /dcr retry",
        ">/dcr retry\n>/dcr status",
        "> quoted\n/dcr retry",
        "> [!NOTE]\n> /dcr retry",
        "- /dcr retry",
        "* /dcr retry",
        "1. /dcr retry",
        "- item\n/dcr retry",
        "- item\n\n  /dcr retry",
        "- [ ] /dcr retry",
        "# /dcr retry",
        "/dcr retry\n===",
        "/dcr retry\n---",
        "| a |\n|---|\n| /dcr retry |",
        "| a |\n|---|\n/dcr retry",
        "/dcr retry | b\n---|---\nc | d",
        "<!-- /dcr retry -->",
        "<!--\n/dcr retry\n-->",
        "<!--\n\n/dcr retry\n\n-->",
        "text <!--\n/dcr retry\n--> text",
        "<div>\n/dcr retry\n</div>",
        "<pre>\n\n/dcr retry\n\n</pre>",
        "<details><summary>log</summary>\n\n/dcr retry\n\n</details>",
        "<blockquote>\n\n/dcr retry\n\n</blockquote>",
        "see <details>\n\n/dcr retry",
        "<del>\n\n/dcr retry\n\n</del>",
        "<div>\n\n/dcr retry\n\n</div>",
        "<DIV class=\"</div>\">\n\n/dcr retry\n\n</DIV>",
        "<s>\n\n/dcr retry\n\n</s>",
        "<strike>\n\n/dcr retry\n\n</strike>",
        "<kbd>\n\n/dcr retry\n\n</kbd>",
        "<section>\n\n/dcr retry\n\n</section>",
        "<center>\n\n/dcr retry\n\n</center>",
        "<h1>\n\n/dcr retry\n\n</h1>",
        "<div>\n\n<div>\n\n</div>\n\n/dcr retry\n\n</div>",
        "<x-note>\n\n/dcr retry\n\n</x-note>",
        "see <em\nclass=x>this\n\n/dcr retry",
        "<div\n\n/dcr retry\n\n</div>",
        "<div/>\n\n/dcr retry",
        "[/dcr retry](https://example.org)",
        "[see\n/dcr retry](https://example.org)",
        "[/dcr retry]: https://example.org",
        "[^1]: /dcr retry",
        "**/dcr retry**",
        "*see\n/dcr retry*",
        "~~/dcr retry~~",
        "![see\n/dcr retry](https://example.org/a.png)",
    ];
    for text in silent {
        assert_eq!(heard(text), Vec::<String>::new(), "{text:?}");
    }
}

#[test]
fn a_command_counts_again_after_a_block_that_hid_one() {
    for text in [
        "```\n/dcr stop\n```\n/dcr retry",
        "> /dcr stop\n\n/dcr retry",
        "/dcr retry\n\n```\n/dcr stop\n```",
        "- /dcr stop\n\n/dcr retry",
        "<!-- /dcr stop -->\n\n/dcr retry",
        "<!-- <details> -->\n\n/dcr retry",
        "<details>\n\n/dcr stop\n\n</details>\n\n/dcr retry",
        "    /dcr stop\n\n/dcr retry",
        "# /dcr stop\n/dcr retry",
        "`/dcr stop`\n/dcr retry",
        "| a |\n|---|\n| /dcr stop |\n\n/dcr retry",
        "<img src=\"a.png\">\n\n/dcr retry",
        "one<br>two <input type=\"checkbox\"> three\n<hr/>\n\n/dcr retry",
        "<a href=\"x\" title=\"a > <b\">see</a> and <kbd>Ctrl</kbd>\n\n/dcr retry",
        "<p align='center'>\n  <img src=a.png>\n</p>\n\n/dcr retry",
        "</div>\n\n/dcr retry",
        "1 < 2 and <3\n\n/dcr retry",
        "<https://example.org>\n\n/dcr retry",
        "`<div>`\n\n```\n<div>\n```\n\n/dcr retry",
    ] {
        assert_eq!(heard(text), ["retry()"], "{text:?}");
    }
}

#[test]
fn lines_that_an_adapter_prepared_are_read_as_they_are() {
    let lines = ["/dcr retry", "  /dcr status ", "see /dcr stop", "> /dcr stop", ""];
    let text = Text::Lines(lines.iter().map(|line| (*line).to_owned()).collect());
    let found: Vec<String> = find(&text, &commands(), &platform("jira")).iter().map(said).collect();
    assert_eq!(found, ["retry()", "status()"]);
}

#[test]
fn help_is_asked_for_in_many_ways() {
    for (text, expected) in [
        ("/dcr", "help()"),
        ("/dcr ?", "help()"),
        ("/dcr help", "help()"),
        ("/dcr HELP", "help()"),
        ("/dcr help retry", "help(verb=retry)"),
        ("/dcr ? RETRY", "help(verb=retry)"),
        ("/dcr help verb=start", "help(verb=start)"),
        (
            "/dcr help rety",
            "! `verb`: `rety` is not one of `start`, `retry`, `status`, `stop`, `answer`, `help`, `reset`, `hidden`; \
             did you mean `retry`?",
        ),
        (
            "/dcr help retry me",
            "! `me` is a word too many: `/dcr help` takes `verb`",
        ),
        // A command that has no verb for it says what it has.
        ("/release", "! `/release` needs a verb: one of `go`"),
        ("/release help", "! `help` is not a verb of `/release`; it has `go`"),
    ] {
        assert_eq!(one(text), expected, "{text:?}");
    }
}

#[test]
fn arguments_are_given_by_position_or_by_name() {
    for (text, expected) in [
        ("/dcr start comcast 3", "start(farmers=3, tenant=comcast)"),
        (
            "/dcr start tenant=comcast farmers=3",
            "start(farmers=3, tenant=comcast)",
        ),
        ("/dcr start farmers=3 comcast", "start(farmers=3, tenant=comcast)"),
        ("/dcr start 3 tenant=comcast", "start(farmers=3, tenant=comcast)"),
        ("/dcr start TENANT=Comcast 003", "start(farmers=3, tenant=Comcast)"),
        ("/dcr start 'comcast' \"3\"", "start(farmers=3, tenant=comcast)"),
        (
            "/dcr start comcast 3 note=\"ask @bob, x=1 'soon'\"",
            "start(farmers=3, note=ask @bob, x=1 'soon', tenant=comcast)",
        ),
        (
            "/dcr start comcast 3 note=“größer 🐑 ünïcode”",
            "start(farmers=3, note=größer 🐑 ünïcode, tenant=comcast)",
        ),
        (
            "/dcr start comcast 3 note=it's",
            "start(farmers=3, note=it's, tenant=comcast)",
        ),
        (
            "/dcr start comcast 3 offset=-2",
            "start(farmers=3, offset=-2, tenant=comcast)",
        ),
        ("/dcr answer \"yes = no\"", "answer(value=yes = no)"),
        (
            "/dcr answer https://x.example/?a=b",
            "answer(value=https://x.example/?a=b)",
        ),
        ("/dcr answer '/dcr stop'", "answer(value=/dcr stop)"),
        ("/dcr retry run=urmo7yz2", "retry(run=URMO7YZ2)"),
    ] {
        assert_eq!(one(text), expected, "{text:?}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    for (text, expected) in [
        ("/dcr start", "`/dcr start` needs `tenant` (the tenant)"),
        ("/dcr start comcast", "`/dcr start` needs `farmers` (the farmers)"),
        ("/dcr start comcast 3 4", "`4` is a word too many"),
        (
            "/dcr retry URMO7YZ2",
            "`URMO7YZ2` is a word too many: `/dcr retry` takes `run=…`",
        ),
        (
            "/dcr status now",
            "`now` is a word too many: `/dcr status` takes nothing",
        ),
        ("/dcr status @bob", "`@bob` is a word too many"),
        ("/dcr start comcast 3 note=a note=b", "`note` is given twice"),
        ("/dcr start comcast 3 tenant=b tenant=c", "`tenant` is given twice"),
        (
            "/dcr start comcast farmer=3",
            "takes no `farmer`; did you mean `farmers`?",
        ),
        (
            "/dcr start comcast 3 colour=red",
            "takes no `colour`; takes `tenant`, `farmers`, `note=…`",
        ),
        // `k=v` never fills a position.
        ("/dcr start a=b 3", "takes no `a`"),
        ("/dcr answer a=b", "takes no `a`"),
        ("/dcr start tenant= 3", "`tenant`: it is empty"),
        ("/dcr start \"\" 3", "there is nothing between the quotes"),
        ("/dcr start '  ' 3", "there is nothing between the quotes"),
        (
            "/dcr start \"comcast 3",
            "the quote that opens `\"comcast 3` is never closed",
        ),
        ("/dcr start comcast 3 note='x", "is never closed"),
        ("/dcr start \"com\"cast 3", "a space is missing"),
        ("/dcr start -comcast 3", "`-comcast` must not start with `-`"),
        ("/dcr start --upload-pack=sh 3", "must not start with `-`"),
        ("/dcr start tenant=--force 3", "must not start with `-`"),
        ("/dcr start tenant=\"-x\" 3", "must not start with `-`"),
        ("/dcr start –force 3", "must not start with `-`"),
        ("/dcr start ../etc 3", "must start with a letter"),
        ("/dcr start a/../b 3", "could not stand in a path"),
        ("/dcr start a;b 3", "not `;`"),
        ("/dcr start a$(b) 3", "not `$`"),
        ("/dcr start tenänt 3", "not `ä`"),
        ("/dcr start comcast three", "`farmers`: `three` is not a whole number"),
        ("/dcr start comcast 3.0", "is not a whole number"),
        ("/dcr start comcast +3", "is not a whole number"),
        ("/dcr start comcast -1", "`farmers`: `-1` is not from 1 to 50"),
        ("/dcr start comcast 51", "is not from 1 to 50"),
        ("/dcr start comcast 4294967297", "is not from 1 to 50"),
        ("/dcr start comcast 99999999999999999999999", "is not from 1 to 50"),
        ("/dcr retry run=nope", "`nope` is not a run id"),
        // Another bot's command, or another of ours, in the same line.
        (
            "/dcr retry /other merge",
            "`/other` is a word too many: one line holds one command",
        ),
        ("/dcr retry /dcr status", "one line holds one command"),
        ("/dcr answer /other", "one line holds one command"),
        ("/dcr rety", "`rety` is not a verb of `/dcr`"),
        ("/dcr retry.", "`retry.` is not a verb of `/dcr`"),
        ("/dcr run=1", "`run=1` is not a verb of `/dcr`"),
        ("/dcr `whoami`", "`'whoami'` is not a verb of `/dcr`"),
    ] {
        let heard = one(text);
        let problem = heard
            .strip_prefix("! ")
            .unwrap_or_else(|| panic!("{text:?} gave {heard}"));
        assert!(problem.contains(expected), "{text:?} gave {problem}");
    }
}

#[test]
fn what_was_probably_meant_is_ready_to_type() {
    for (text, expected) in [
        ("/dcr rety", Some("/dcr retry")),
        ("/dcr RETYR run=URMO7YZ2", Some("/dcr retry run=URMO7YZ2")),
        ("/dcr strat comcast 3", Some("/dcr start comcast 3")),
        // What would still be wrong is not repeated.
        ("/dcr strat", Some("/dcr start comcast 3")),
        ("/dcr start comcast farmer=3", Some("/dcr start comcast farmers=3")),
        (
            "/dcr start comcast farmer=3 note=\"a b\"",
            Some("/dcr start comcast farmers=3 note=\"a b\""),
        ),
        ("/dcr start comcast farmer=many", Some("/dcr start comcast 3")),
        ("/dcr start", Some("/dcr start comcast 3")),
        ("/dcr retry now", Some("/dcr retry")),
        ("/dcr xyzzy", None),
    ] {
        assert_eq!(suggestion(text).as_deref(), expected, "{text:?}");
    }
}

#[test]
fn suggestions_are_understood_when_typed() {
    for text in [
        "/dcr rety",
        "/dcr strat comcast 3",
        "/dcr start comcast farmer=3 note=\"a 'b' c\"",
    ] {
        let suggested = suggestion(text).expect("a suggestion");
        assert!(!one(&suggested).starts_with('!'), "{text:?} suggested {suggested:?}");
    }
}

#[test]
fn a_verb_is_said_only_where_it_may_be() {
    assert_eq!(
        one("/dcr reset"),
        "! `/dcr reset` cannot be said on github; it can be said on discord"
    );
    assert_eq!(
        one("/dcr hidden"),
        "! `/dcr hidden` cannot be said on github; it can be said nowhere"
    );
    let text = Text::Lines(vec!["/dcr reset".to_owned()]);
    let found = find(&text, &commands(), &platform("discord"));
    assert_eq!(found.iter().map(said).collect::<Vec<_>>(), ["reset()"]);
}

#[test]
fn a_flood_of_commands_is_cut_off_with_one_answer() {
    let heard = heard(&"/dcr retry\n".repeat(200));
    assert_eq!(heard.len(), 11);
    assert!(heard[..10].iter().all(|said| said == "retry()"));
    assert_eq!(
        heard[10],
        "! only the first 10 commands of a text count; the rest was left alone"
    );
}

#[test]
fn a_line_too_long_is_refused_and_a_text_too_long_says_nothing() {
    let long = format!("/dcr answer {}", "x".repeat(2_000));
    assert_eq!(one(&long), "! a command is at most 1024 bytes long");
    assert!(heard(&format!("/dcr retry\n{}", "x".repeat(300_000))).is_empty());
    let lines = Text::Lines(vec!["/dcr retry".to_owned(), "x".repeat(300_000)]);
    assert!(find(&lines, &commands(), &platform("github")).is_empty());
}

#[test]
fn structured_commands_follow_the_same_rules() {
    let resolved = |command: &str, verb: &str, args: &[(&str, &str)]| {
        let args: Vec<(String, String)> = args.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        resolve(command, verb, &args, &commands(), &platform("github")).map(|found| said(&found))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        resolved("dcr", "start", &[("tenant", "comcast"), ("farmers", "3")]),
        some("start(farmers=3, tenant=comcast)")
    );
    assert_eq!(
        resolved("DCR", "Retry", &[("RUN", "urmo7yz2")]),
        some("retry(run=URMO7YZ2)")
    );
    assert_eq!(
        resolved("dcr", "answer", &[("value", "/a \"b\" 'c'")]),
        some("answer(value=/a \"b\" 'c')")
    );
    assert_eq!(resolved("dcr", "", &[]), some("help()"));
    assert_eq!(resolved("dcr", "help", &[("verb", "stop")]), some("help(verb=stop)"));
    assert_eq!(
        resolved("dcr", "start", &[]),
        some("! `/dcr start` needs `tenant` (the tenant)")
    );
    assert_eq!(
        resolved("dcr", "retry", &[("run", "URMO7YZ2"), ("run", "URMO7YZ3")]),
        some("! `run` is given twice")
    );
    assert_eq!(resolved("dcr", "retry", &[("run", "")]), some("! `run`: it is empty"));
    assert_eq!(
        resolved("dcr", "answer", &[("value", "--x")]),
        some("! `--x` must not start with `-`")
    );
    assert_eq!(
        resolved("dcr", "reset", &[]),
        some("! `/dcr reset` cannot be said on github; it can be said on discord")
    );
    assert_eq!(
        resolved("dcr", "answer", &[("value", &"x".repeat(5_000))]),
        some("! a command is at most 1024 bytes long")
    );
    assert_eq!(resolved("nope", "retry", &[]), None);
    assert_eq!(resolved("", "", &[]), None);
}

#[test]
fn the_nearest_word_is_found_only_when_near() {
    let verbs = ["start", "status", "stop", "retry"];
    for (typed, expected) in [
        ("retry", Some("retry")),
        ("rtry", Some("retry")),
        ("stat", Some("start")),
        ("statsu", Some("status")),
        ("xyzzy", None),
        ("", None),
    ] {
        assert_eq!(nearest(typed, verbs), expected, "{typed:?}");
    }
    assert_eq!(nearest("anything", []), None);
}

/// Pieces that meet in comments, so that random texts get far into the grammar.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("/dcr retry".to_owned()),
        4 => Just("\n".to_owned()),
        1 => prop::sample::select(vec![
            "/dcr ", "start ", "```", "~~~", "> ", "- ", "    ", "<!--", "-->", "<details>", "</details>", "`", "\"",
            "'", "=", "tenant=", "[", "](", ")", "|", "---", "\r\n", "\t", "*", "\\", "&#47;", "1. ", "[^1]: ", "“",
            "\u{0}", "é", "🐑", "<pre>", "$", "_", "/", "[!NOTE]", "#",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_flood(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        prop_assert!(heard(&text).len() <= 11);
        let lines = Text::Lines(text.lines().map(str::to_owned).collect());
        prop_assert!(find(&lines, &commands(), &platform("jira")).len() <= 11);
        resolve("dcr", &text, &[(text.clone(), text.clone())], &commands(), &platform("github"));
    }

    #[test]
    fn nothing_inside_a_block_is_ever_a_command(pieces in prop::collection::vec(piece(), 0..30)) {
        let inner = pieces.concat().replace('\r', "");
        let lines = |lead: &str| inner.lines().map(|line| format!("{lead}{line}\n")).collect::<String>();
        // What ends a block is taken out of it, so that no rest of it ends the block either.
        let unfenced = inner.replace("~~~", "~~x");
        prop_assert_eq!(heard(&format!("~~~\n{unfenced}\n~~~")), Vec::<String>::new());
        prop_assert_eq!(heard(&lines("    ")), Vec::<String>::new());
        prop_assert_eq!(heard(&lines("> ")), Vec::<String>::new());
        let uncommented = inner.replace("-->", "--x");
        prop_assert_eq!(heard(&format!("<!--\n{uncommented}\n-->")), Vec::<String>::new());
        let full = inner.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n");
        prop_assert_eq!(heard(&format!("<div>\n{full}\n</div>")), Vec::<String>::new());
    }

    #[test]
    fn no_element_that_has_content_lets_a_command_through(
        name in "[a-zA-Z][a-zA-Z0-9]{0,7}|[a-z]{1,4}-[a-z]{1,4}|del|pre|script|kbd|h[1-6]|td",
        attributes in prop::sample::select(vec!["", " class=x", " title=\"a>b\"", " title='</x>'", " hidden"]),
        blank in "\n{2,4}",
    ) {
        let void = "area base basefont bgsound br col embed frame hr image img input keygen link meta param source track wbr";
        prop_assume!(!void.split(' ').any(|void| void.eq_ignore_ascii_case(&name)));
        let closing = name.to_ascii_lowercase();
        let text = format!("<{name}{attributes}>{blank}/dcr stop{blank}</{closing}>{blank}/dcr retry");
        prop_assert_eq!(heard(&text), vec!["retry()".to_owned()], "{:?}", text);
    }

    #[test]
    fn space_around_words_changes_nothing(gaps in prop::collection::vec("[ \t\u{a0}]{1,4}", 4), lead in " {0,3}", tail in "[ \t]{0,4}", end in prop::sample::select(vec!["", "\n", "\r\n", "\r\n\r\n", "\n\nthanks"])) {
        let text = format!("{lead}/dcr{}start{}comcast{}3{}note='a  b'{tail}{end}", gaps[0], gaps[1], gaps[2], gaps[3]);
        prop_assert_eq!(heard(&text), vec!["start(farmers=3, note=a  b, tenant=comcast)".to_owned()]);
    }

    #[test]
    fn time_grows_with_the_text_and_no_faster(piece in piece(), filler in piece()) {
        // A quadratic reader takes minutes for this many.
        let text = format!("{piece}{filler}").repeat(4_000);
        prop_assert!(heard(&text[..text.floor_char_boundary(200_000)]).len() <= 11);
    }
}
